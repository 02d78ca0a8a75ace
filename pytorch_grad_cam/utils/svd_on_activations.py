"""The first principal component of activations in NumPy, where code written for grad-cam imports it from."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pytorch_grad_cam._engine.reductions import first_component


def get_2d_projection(activation_batch: NDArray[Any]) -> NDArray[np.float32]:
    """Project each image's activations on their first principal component; `first_component` says which sign it has.

    Args:
        activation_batch: (B, C, *S), any real dtype; NaN counts as 0. An image with infinite values has no component:
            its result is not finite.

    Returns:
        float32 (B, *S), signed
    """
    activations = np.asarray(activation_batch)
    if activations.dtype != np.float64:
        activations = activations.astype(np.float32)
    activations = np.where(np.isnan(activations), np.float32(0), activations)
    return first_component(torch.from_numpy(activations).unsqueeze(1)).squeeze(1).float().numpy()
