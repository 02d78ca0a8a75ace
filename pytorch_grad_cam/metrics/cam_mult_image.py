"""Pictures multiplied with their maps: the calls of the well-known package.

The figures of the Grad-CAM++ paper, relative to the score, are `average_drop` and `increase_in_confidence`.
"""

from typing import Any

import numpy as np
from torch import Tensor

from pytorch_grad_cam.metrics.perturbation_confidence import PerturbationConfidenceMetric


def multiply_tensor_with_cam(input_tensor: Tensor, cam: Tensor) -> Tensor:
    """A preprocessed picture (C, H, W), seen through its map (H, W)."""
    return input_tensor * cam


class CamMultImageConfidenceChange(PerturbationConfidenceMetric):
    """The change of the score when pictures are multiplied with their maps.

    Example:
        >>> CamMultImageConfidenceChange()(images, np.ones((2, 32, 32)), [0, 1], model)
        array([0., 0.], dtype=float32)
    """

    def __init__(self) -> None:
        super().__init__(multiply_tensor_with_cam)


class DropInConfidence(CamMultImageConfidenceChange):
    """How much the score falls when pictures are multiplied with their maps, at least 0; lower is better.

    Differs from grad-cam 1.5.7: return_visualization works.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As `PerturbationConfidenceMetric`, max(0, before - after)."""
        return _of_scores(lambda change: np.maximum(-change, 0), super().__call__(*args, **kwargs))


class IncreaseInConfidence(CamMultImageConfidenceChange):
    """1 where the score rises when pictures are multiplied with their maps, 0 elsewhere; higher is better.

    Differs from grad-cam 1.5.7: return_visualization works.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As `PerturbationConfidenceMetric`, float32 0 or 1."""
        return _of_scores(lambda change: np.float32(change > 0), super().__call__(*args, **kwargs))


def _of_scores(compute: Any, result: Any) -> Any:
    return (compute(result[0]), *result[1:]) if isinstance(result, tuple) else compute(result)
