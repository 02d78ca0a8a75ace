"""Class Activation Maps: which pixels made a vision network decide."""

from pytorch_grad_cam._compat.not_implemented import (  # noqa: F401
    FEM,
    KPCA_CAM,
    SESS,
    DeepFeatureFactorization,
    FinerCAM,
    FullGrad,
    GradCAMElementWise,
    HiResCAM,
    RandomCAM,
    RefineCAM,
    SegEigenCAM,
    ShapleyCAM,
    run_dff_on_image,
)
from pytorch_grad_cam._engine.blank_maps import BlankMapWarning
from pytorch_grad_cam._engine.explanation import Explanation, LayerEvidence
from pytorch_grad_cam._engine.layer_selection import list_layers
from pytorch_grad_cam.ablation_cam import AblationCAM
from pytorch_grad_cam.ablation_layer import AblationLayer, AblationLayerFasterRCNN, AblationLayerVit  # noqa: F401
from pytorch_grad_cam.activations_and_gradients import ActivationsAndGradients
from pytorch_grad_cam.base_cam import BaseCAM
from pytorch_grad_cam.dataset import ImageResult, explain_dataset
from pytorch_grad_cam.eigen_cam import EigenCAM
from pytorch_grad_cam.eigen_grad_cam import EigenGradCAM
from pytorch_grad_cam.grad_cam import GradCAM
from pytorch_grad_cam.grad_cam_plusplus import GradCAMPlusPlus
from pytorch_grad_cam.guided_backprop import GuidedBackpropReLUModel
from pytorch_grad_cam.layer_cam import LayerCAM
from pytorch_grad_cam.score_cam import ScoreCAM
from pytorch_grad_cam.xgrad_cam import XGradCAM

__version__ = "2.0.0"

METHODS: dict[str, type[BaseCAM]] = {
    "gradcam": GradCAM,
    "gradcam++": GradCAMPlusPlus,
    "xgradcam": XGradCAM,
    "layercam": LayerCAM,
    "eigencam": EigenCAM,
    "eigengradcam": EigenGradCAM,
    "ablationcam": AblationCAM,
    "scorecam": ScoreCAM,
}
"""Every method by the name it has on the command line."""

__all__ = [
    "METHODS",
    "AblationCAM",
    "ActivationsAndGradients",
    "BaseCAM",
    "BlankMapWarning",
    "EigenCAM",
    "EigenGradCAM",
    "Explanation",
    "GradCAM",
    "GradCAMPlusPlus",
    "GuidedBackpropReLUModel",
    "ImageResult",
    "LayerCAM",
    "LayerEvidence",
    "ScoreCAM",
    "XGradCAM",
    "__version__",
    "explain_dataset",
    "list_layers",
]
