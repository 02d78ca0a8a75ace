"""Records of a call: one forward pass, what it shows of each target layer, and the explanation made of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from pytorch_grad_cam._engine.inputs import ModelInputs
from pytorch_grad_cam._engine.targets import Targets


@dataclass(frozen=True, eq=False)
class LayerRecord:
    """Output and gradients of one target layer, in the structure that the layer returned.

    Attributes:
        layer: the target layer.
        output: what it returned in its last call.
        gradients: for each of K targets the gradient of the scores of all images, in the structure of the output;
            empty for methods that use no gradients.
    """

    layer: nn.Module
    output: Any
    gradients: tuple[Any, ...] = ()


@dataclass(frozen=True, eq=False)
class ForwardPass:
    """One forward pass with a batch of B images, K targets for each.

    Attributes:
        outputs: as the model returned them.
        inputs: what the model was called with.
        targets: B x K, or None where the method needs no target and none was given or found.
        scores: (B, K), or None as targets.
        layers: one record for each target layer.
    """

    outputs: Any
    inputs: ModelInputs
    targets: Targets | None
    scores: Tensor | None
    layers: tuple[LayerRecord, ...]


@dataclass(eq=False)
class LayerEvidence:
    """Activations and gradients of one target layer: B images, K targets, C channels, S the spatial axes.

    Floating-point numbers are float32, or float64 where the model's are.

    Attributes:
        layer: the target layer.
        output: what the layer returned in its last call.
        activations: (B, 1, C, *S), the output after `reshape_transform`; formulas read as in the papers.
        forward: the forward pass, with the model's inputs and outputs, targets and scores.
        transform: from an output of the layer to activations (B, C, *S).
        weights: (B, K, C, 1, 1) or (B, K, C, *S), set by `BaseCAM.layer_map`; None for maps made without weights.
    """

    layer: nn.Module
    output: Any
    activations: Tensor
    forward: ForwardPass
    transform: Callable[[Any], Tensor]
    maybe_gradients: Tensor | None = None
    weights: Tensor | None = None

    @property
    def gradients(self) -> Tensor:
        """(B, K, C, *S), d scores_bk / d activations.

        Raises:
            AttributeError: if the method has `derivatives = 0`, for which no gradients are computed.
        """
        if self.maybe_gradients is None:
            raise AttributeError("no gradients were computed; a method that reads them needs derivatives = 1")
        return self.maybe_gradients

    @property
    def targets(self) -> Targets:
        """B x K targets.

        Raises:
            AttributeError: if there are none, as may be where a method has `needs_targets = False`.
        """
        if self.forward.targets is None:
            raise AttributeError("nothing was scored; a method that reads targets or scores needs needs_targets = True")
        return self.forward.targets

    @property
    def scores(self) -> Tensor:
        """(B, K), the scores of the targets; raises as `targets` does."""
        if self.forward.scores is None:
            raise AttributeError("nothing was scored; a method that reads targets or scores needs needs_targets = True")
        return self.forward.scores

    @property
    def spatial(self) -> tuple[int, ...]:
        """The spatial axes of activations and gradients."""
        return tuple(range(3, self.activations.ndim))


@dataclass(frozen=True, eq=False)
class Explanation:
    """Maps of a batch and what they were made of: tensors on the model's device.

    Attributes:
        maps: (B, K, *S_in) in [0, 1], fused from all target layers.
        layer_maps: for each target layer its raw signed map (B, K, *S), before the ReLU.
        evidence: for each target layer what its map was computed from.
        forward: the forward pass.
    """

    maps: Tensor
    layer_maps: tuple[Tensor, ...]
    evidence: tuple[LayerEvidence, ...]
    forward: ForwardPass

    @property
    def weights(self) -> tuple[Tensor | None, ...]:
        """For each target layer the channel weights, (B, K, C, 1, 1) or (B, K, C, *S)."""
        return tuple(evidence.weights for evidence in self.evidence)

    @property
    def scores(self) -> Tensor | None:
        """(B, K), or None where no target was needed, given or found."""
        return self.forward.scores

    @property
    def targets(self) -> Targets | None:
        """B x K, or None as scores."""
        return self.forward.targets

    @property
    def outputs(self) -> Any:
        """The model's outputs."""
        return self.forward.outputs
