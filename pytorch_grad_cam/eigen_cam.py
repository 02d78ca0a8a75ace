"""Eigen-CAM."""

from torch import Tensor

from pytorch_grad_cam._engine.explanation import LayerEvidence
from pytorch_grad_cam._engine.reductions import first_component
from pytorch_grad_cam.base_cam import BaseCAM


class EigenCAM(BaseCAM):
    r"""Eigen-CAM: the first principal component of the activations; no gradients, the same for every class.

        A = U S V^T,    map = relu(A v_1)        (eq. 3 and 4, A with one row per position, one column per channel)

    Muhammad and Yeasin, 2020, https://arxiv.org/abs/2008.00299

    Differs from the paper: each channel is centered over space first, and the sign of v_1, arbitrary in a singular
    value decomposition, is the one that correlates positively with the channel sum (`first_component` says more).

    Example:
        >>> EigenCAM(model, [model.features])(images).shape
        (2, 32, 32)
    """

    derivatives = 0
    needs_targets = False
    needs_normalized_activations = False

    def channel_weights(self, evidence: LayerEvidence) -> Tensor:
        """One for every channel, (B, 1, C, 1, 1)."""
        return evidence.activations.new_ones(()).expand(*evidence.activations.shape[:3], *[1] * len(evidence.spatial))

    def reduce(self, weighted: Tensor) -> Tensor:
        """Project on the first principal component, (B, K, *S)."""
        return first_component(weighted)
