"""LayerCAM."""

from torch import Tensor

from pytorch_grad_cam._engine.explanation import LayerEvidence
from pytorch_grad_cam.base_cam import BaseCAM


class LayerCAM(BaseCAM):
    r"""LayerCAM: weight each position of each channel by its own positive gradient; sharp also in early layers.

        w_cij = relu(G_cij),    map = relu(sum_c w_c A_c)        (eq. 5 to 7)

    Jiang et al., 2021, https://doi.org/10.1109/TIP.2021.3089943

    Differs from the paper: several layers are fused by their mean, as in every method here; the authors take the
    maximum and scale early layers by a tanh.

    Example:
        >>> LayerCAM(model, [model.features])(images).shape
        (2, 32, 32)
    """

    def channel_weights(self, evidence: LayerEvidence) -> Tensor:
        """The positive gradients, (B, K, C, *S)."""
        return evidence.gradients.relu()
