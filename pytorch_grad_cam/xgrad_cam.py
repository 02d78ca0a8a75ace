"""XGrad-CAM."""

import torch
from torch import Tensor

from pytorch_grad_cam._engine.explanation import LayerEvidence
from pytorch_grad_cam.base_cam import BaseCAM


class XGradCAM(BaseCAM):
    r"""XGrad-CAM: weight a channel by its gradient, averaged over space in proportion to its activation.

        w_c = sum_ij G A / sum_ij A        (eq. 8)

    Fu et al., 2020, https://arxiv.org/abs/2008.02312

    Differs from the paper: w_c is 0 where the activations cancel, their sum being nothing but rounding.

    Example:
        >>> XGradCAM(model, [model.features])(images).shape
        (2, 32, 32)
    """

    def channel_weights(self, evidence: LayerEvidence) -> Tensor:
        """Mean of the gradients over space, weighted by the activations, (B, K, C, 1, 1)."""
        activations, space = evidence.activations, evidence.spatial
        total = activations.sum(dim=space, keepdim=True)
        rounding = torch.finfo(total.dtype).eps ** 0.5 * activations.abs().sum(dim=space, keepdim=True)
        weighted = (evidence.gradients * activations).sum(dim=space, keepdim=True)
        return torch.where(total.abs() > rounding, weighted / total, 0)
