"""Targets of semantic segmentation."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pytorch_grad_cam._engine.describe import describe


class SemanticSegmentationTarget:
    """The scores of one class summed over the pixels of a mask.

    Args:
        category: index of the class.
        mask: (H, W), weight of each pixel.
    """

    def __init__(self, category: int, mask: Tensor | np.ndarray[Any, Any]) -> None:
        self.category = category
        self.mask = torch.as_tensor(mask)

    def __call__(self, model_output: Tensor) -> Tensor:
        """(N, H, W) to a scalar."""
        if model_output.ndim != 3 or model_output.shape[1:] != self.mask.shape or not self.category < len(model_output):
            raise ValueError(
                f"class {self.category} on a mask {tuple(self.mask.shape)} was asked for, but the model returned "
                f"{describe(model_output)} for an image, expected (N, H, W) with more classes and the mask's size"
            )
        return (model_output[self.category] * self.mask.to(model_output.device)).sum()
