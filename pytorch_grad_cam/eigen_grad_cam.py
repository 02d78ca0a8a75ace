"""Eigen-Grad-CAM."""

from torch import Tensor

from pytorch_grad_cam._engine.explanation import LayerEvidence
from pytorch_grad_cam._engine.reductions import first_component
from pytorch_grad_cam.base_cam import BaseCAM


class EigenGradCAM(BaseCAM):
    r"""Eigen-Grad-CAM: the first principal component of activation times gradient; Eigen-CAM that knows the class.

        G * A = U S V^T,    map = relu((G * A) v_1)        (one row per position, one column per channel)

    Eigen-CAM (Muhammad and Yeasin, 2020, https://arxiv.org/abs/2008.00299) on the gradient-weighted activations, as
    introduced by the well-known package of this import name; there is no paper of its own.

    Differs from the paper: as EigenCAM, each channel is centered over space and the sign of v_1 is fixed.

    Example:
        >>> EigenGradCAM(model, [model.features])(images).shape
        (2, 32, 32)
    """

    def channel_weights(self, evidence: LayerEvidence) -> Tensor:
        """The gradients, (B, K, C, *S)."""
        return evidence.gradients

    def reduce(self, weighted: Tensor) -> Tensor:
        """Project on the first principal component, (B, K, *S)."""
        return first_component(weighted)
