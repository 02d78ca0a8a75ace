"""How good maps are: against the truth, by what the model does without what they mark, and whether weights matter.

Pure functions on tensors. Those of one name with the well-known package stand where they stand there: `metrics.road`,
`metrics.cam_mult_image` and `metrics.perturbation_confidence`.
"""

from pytorch_grad_cam.metrics._imputation import linear_imputation, noisy_linear_imputation
from pytorch_grad_cam.metrics.confidence import average_drop, increase_in_confidence
from pytorch_grad_cam.metrics.localization import box_iou, energy_pointing_game, mask_iou, pointing_game
from pytorch_grad_cam.metrics.randomization import Randomization, cascading_randomization, rank_correlation
from pytorch_grad_cam.metrics.ranking import rank_pixels
from pytorch_grad_cam.metrics.removal import Curve, deletion, insertion
from pytorch_grad_cam.metrics.road import road_combined, road_curve
from pytorch_grad_cam.metrics.sensitivity import sensitivity_n

__all__ = [
    "Curve",
    "Randomization",
    "average_drop",
    "box_iou",
    "cascading_randomization",
    "deletion",
    "energy_pointing_game",
    "increase_in_confidence",
    "insertion",
    "linear_imputation",
    "mask_iou",
    "noisy_linear_imputation",
    "pointing_game",
    "rank_correlation",
    "rank_pixels",
    "road_combined",
    "road_curve",
    "sensitivity_n",
]
