"""Compatibility with grad-cam 1.x: project activations on their first principal component, in NumPy."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pytorch_grad_cam._compat.not_implemented import get_2d_projection_kernel, get_2d_projection_with_sign_correction
from pytorch_grad_cam._engine.reductions import first_component

__all__ = ["get_2d_projection", "get_2d_projection_kernel", "get_2d_projection_with_sign_correction"]


def get_2d_projection(activation_batch: NDArray[Any]) -> NDArray[np.float32]:
    """Project the activations of each image on their first principal component.

    The sign of a component is arbitrary; here it correlates positively with the sum of the activations over channels.

    Args:
        activation_batch: (B, C, *S), any real dtype. NaN counts as 0.

    Returns:
        float32 (B, *S), signed; not finite for an image with infinite values
    """
    activations = np.asarray(activation_batch)
    if activations.dtype != np.float64:
        activations = activations.astype(np.float32)
    activations = np.where(np.isnan(activations), np.float32(0), activations)
    return first_component(torch.from_numpy(activations).unsqueeze(1)).squeeze(1).float().numpy()
