"""Grad-CAM."""

from torch import Tensor

from pytorch_grad_cam._engine.explanation import LayerEvidence
from pytorch_grad_cam.base_cam import BaseCAM


class GradCAM(BaseCAM):
    r"""Grad-CAM: weight a channel by its gradient, averaged over space.

        w_c = mean_ij d y / d A_cij,    map = relu(sum_c w_c A_c)        (eq. 1 and 2)

    Selvaraju et al., 2017, https://arxiv.org/abs/1610.02391

    Differs from the paper: nothing.

    Example:
        >>> GradCAM(model, [model.features])(images).shape
        (2, 32, 32)
    """

    needs_normalized_activations = False

    def channel_weights(self, evidence: LayerEvidence) -> Tensor:
        """Mean of the gradients over space, (B, K, C, 1, 1)."""
        return evidence.gradients.mean(dim=evidence.spatial, keepdim=True)
