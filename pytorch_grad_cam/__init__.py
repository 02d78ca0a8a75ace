"""Class Activation Maps: which pixels made a vision network decide."""

from pytorch_grad_cam.base_cam import BaseCAM, Explanation, LayerEvidence
from pytorch_grad_cam.eigen_cam import EigenCAM
from pytorch_grad_cam.grad_cam import GradCAM
from pytorch_grad_cam.guided_backprop import GuidedBackpropReLUModel

__version__ = "2.0.0"

METHODS: dict[str, type[BaseCAM]] = {
    "gradcam": GradCAM,
    "eigencam": EigenCAM,
}
"""Every method by the name it has on the command line."""

__all__ = [
    "METHODS",
    "BaseCAM",
    "EigenCAM",
    "Explanation",
    "GradCAM",
    "GuidedBackpropReLUModel",
    "LayerEvidence",
    "__version__",
]
