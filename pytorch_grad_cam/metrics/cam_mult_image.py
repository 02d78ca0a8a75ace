"""Compatibility with grad-cam 1.x: scores of images multiplied with their maps, at their old path.

New code calls `metrics.average_drop` and `metrics.increase_in_confidence`, the figures of the Grad-CAM++ paper.
"""

from typing import Any

import numpy as np
from torch import Tensor

from pytorch_grad_cam.metrics.perturbation_confidence import PerturbationConfidenceMetric


def multiply_tensor_with_cam(input_tensor: Tensor, cam: Tensor) -> Tensor:
    """Multiply a preprocessed image (C, H, W) with its map (H, W)."""
    return input_tensor * cam


class CamMultImageConfidenceChange(PerturbationConfidenceMetric):
    """Change of the score when images are multiplied with their maps.

    Example:
        >>> CamMultImageConfidenceChange()(images, np.ones((2, 32, 32)), [0, 1], model)
        array([0., 0.], dtype=float32)
    """

    def __init__(self) -> None:
        super().__init__(multiply_tensor_with_cam)


class DropInConfidence(CamMultImageConfidenceChange):
    """Drop of the score when images are multiplied with their maps, at least 0; lower is better.

    Differs from grad-cam 1.5.7: return_visualization works.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Score a batch; arguments of `PerturbationConfidenceMetric.__call__`.

        Returns:
            float32 array (B,), max(0, before - after); with return_visualization a pair of it and the images
        """
        return _map_scores(lambda change: np.maximum(-change, 0), super().__call__(*args, **kwargs))


class IncreaseInConfidence(CamMultImageConfidenceChange):
    """1 for each image whose score rises when it is multiplied with its map, otherwise 0; higher is better.

    Differs from grad-cam 1.5.7: return_visualization works.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Score a batch; arguments of `PerturbationConfidenceMetric.__call__`.

        Returns:
            float32 array (B,) of 0 and 1; with return_visualization a pair of it and the images
        """
        return _map_scores(lambda change: np.float32(change > 0), super().__call__(*args, **kwargs))


def _map_scores(compute: Any, result: Any) -> Any:
    return (compute(result[0]), *result[1:]) if isinstance(result, tuple) else compute(result)
