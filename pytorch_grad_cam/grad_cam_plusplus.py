"""Grad-CAM++."""

import torch
from torch import Tensor

from pytorch_grad_cam._engine.explanation import LayerEvidence
from pytorch_grad_cam.base_cam import BaseCAM


class GradCAMPlusPlus(BaseCAM):
    r"""Grad-CAM++: weight a channel by its positive gradients, each scaled by how alone it is.

        alpha = G^2 / (2 G^2 + (sum_ij A) G^3),    w_c = sum_ij alpha relu(G)        (eq. 19 and 7)

    Chattopadhyay et al., 2018, https://arxiv.org/abs/1710.11063

    Differs from the paper: alpha is 0 where G or the denominator is 0. Eq. 19 is exact for a score Y = exp(S) of a
    piecewise linear network, G being the gradient of the logit S. It depends on the scale of S, as no other gradient
    method here does; the fewer the logits that G (sum_ij A) makes up, the less.

    Example:
        >>> GradCAMPlusPlus(model, [model.features])(images).shape
        (2, 32, 32)
    """

    def channel_weights(self, evidence: LayerEvidence) -> Tensor:
        """Sum of the scaled positive gradients over space, (B, K, C, 1, 1)."""
        gradients = evidence.gradients
        # alpha with G^2 cancelled, which small gradients would lose in float32.
        denominator = 2 + evidence.activations.sum(dim=evidence.spatial, keepdim=True) * gradients
        alpha = torch.where(denominator == 0, 0, 1 / denominator)
        return (alpha * gradients.relu()).sum(dim=evidence.spatial, keepdim=True)
