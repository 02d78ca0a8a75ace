"""Metrics of maps: pure functions on tensors, by kind.

The classes of grad-cam 1.x keep their paths: `metrics.road`, `metrics.cam_mult_image`, `metrics.arcc` and
`metrics.perturbation_confidence`.
"""

from pytorch_grad_cam.metrics._imputation import linear_imputation, noisy_linear_imputation
from pytorch_grad_cam.metrics.confidence import average_drop, increase_in_confidence
from pytorch_grad_cam.metrics.localization import energy_pointing_game, map_box_iou, mask_iou, pointing_game
from pytorch_grad_cam.metrics.randomization import Randomization, cascading_randomization, rank_correlation
from pytorch_grad_cam.metrics.removal import Curve, deletion, insertion, rank_pixels, road_combined, road_curve
from pytorch_grad_cam.metrics.sensitivity import sensitivity_n

__all__ = [  # noqa: RUF022 by kind
    # Localization: maps against masks or boxes of objects.
    "pointing_game",
    "energy_pointing_game",
    "mask_iou",
    "map_box_iou",
    # Confidence: images multiplied with their maps.
    "average_drop",
    "increase_in_confidence",
    # Removal: pixels removed or inserted in the order of their relevance.
    "deletion",
    "insertion",
    "Curve",
    "road_curve",
    "road_combined",
    "rank_pixels",
    "linear_imputation",
    "noisy_linear_imputation",
    # Sensitivity: values of the map against the effect of removing pixels.
    "sensitivity_n",
    # Randomization: maps of models with random parameters.
    "cascading_randomization",
    "Randomization",
    "rank_correlation",
]
