"""What a method says about one batch."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pytorch_grad_cam._engine.forward import LayerEvidence
from pytorch_grad_cam._engine.targets import Targets


@dataclass(frozen=True, eq=False)
class Explanation:
    """Maps and what they were made of, tensors on the model's device.

    Attributes:
        maps: (B, K, *S_in) in [0, 1], the mean over layers.
        layer_maps: for each target layer its raw signed map (B, K, *S), before the ReLU.
        weights: for each target layer (B, K, C, 1, 1) or (B, K, C, *S).
        evidence: for each target layer what the weights were computed from.
        outputs: as the model returned them.
    """

    maps: Tensor
    layer_maps: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    evidence: tuple[LayerEvidence, ...]
    outputs: Any

    @property
    def scores(self) -> Tensor:
        """(B, K), or None where no target was needed, given or found."""
        return self.evidence[0].scores

    @property
    def targets(self) -> Targets:
        """What was explained, B x K, or None as scores."""
        return self.evidence[0].targets
