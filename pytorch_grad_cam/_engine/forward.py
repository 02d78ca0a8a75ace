"""What a model did for one batch: scores, and the outputs and gradients of the target layers, from one forward pass."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pytorch_grad_cam._engine.describe import describe
from pytorch_grad_cam._engine.hooks import Records, gradients, record_outputs
from pytorch_grad_cam._engine.inputs import Inputs
from pytorch_grad_cam._engine.layers import layer_name
from pytorch_grad_cam._engine.pytree import map_tensors, tensors_in
from pytorch_grad_cam._engine.replay import ModuleTrace, record
from pytorch_grad_cam._engine.targets import Targets


@dataclass(frozen=True, eq=False)
class LayerEvidence:
    """What one target layer did for one batch: B images, K targets for each, C channels, S the spatial axes.

    Floating-point numbers are float32, or float64 where the model's are.

    Attributes:
        layer: the target layer.
        output: as the layer returned it, in its last call.
        activations: (B, 1, C, *S), the output after `reshape_transform`; formulas read as in the papers.
        given: what the model was called with.
        gradients: (B, K, C, *S), d scores_bk / d activations; None for methods that do not use gradients.
        targets: what was explained; None where a method needs no target and none was given or found.
        scores: (B, K), or None as targets.
        tape: how what follows the layer can be run again, empty afterwards; None where the method does not, or has to
            record it again for each image or layer.
    """

    layer: nn.Module
    output: Any
    activations: Tensor
    given: Inputs
    # None where a method needs none; typed for the methods that read them.
    gradients: Tensor
    targets: Targets
    scores: Tensor
    tape: ModuleTrace | None = None

    @property
    def inputs(self) -> Tensor:
        """(B, C_in, *S_in)"""
        return self.given.pictures

    @property
    def spatial(self) -> tuple[int, ...]:
        """The axes S of activations and gradients."""
        return tuple(range(3, self.activations.ndim))


@dataclass(frozen=True, eq=False)
class Observation:
    """What one forward pass left behind.

    Attributes:
        outputs: as the model returned them.
        targets: what was scored, B x K, or None.
        scores: (B, K), or None as targets.
        layers: for each layer what it returned and, for each of the K targets, its gradient in the same structure.
        tape: what the pass did up to the layer, if asked for.
    """

    outputs: Any
    targets: Targets | None
    scores: Tensor | None
    layers: tuple[tuple[Any, tuple[Any, ...]], ...]
    tape: ModuleTrace | None


def observe(
    model: nn.Module,
    inputs: Inputs,
    layers: Sequence[nn.Module],
    score: Callable[[Any], tuple[Targets | None, Tensor | None]],
    *,
    differentiate: bool = False,
    taping: bool = False,
) -> Observation:
    """Run the model once and collect what the layers did.

    Args:
        model: the network, in eval mode.
        inputs: what to call it with.
        layers: modules of the model.
        score: from the model's outputs to the targets and their scores (B, K).
        differentiate: collect gradients too, one pass back through the tail of the network for each of K.
        taping: record what the model does up to the layer, of which there is only one then, as of images.

    Raises:
        RuntimeError: if a layer does not run, or the scores do not depend on it.
    """
    version = inputs.pictures._version
    own = from_the_start = False
    while True:
        with (
            record_outputs(layers, differentiable=differentiate, own=own) as records,
            torch.set_grad_enabled(from_the_start and differentiate),
        ):
            outputs, tape = record(model, layers[0], inputs) if taping else (inputs.run(model), None)
            recorded = [_record_of(layer, records, model) for layer in layers]
            targets, scores = score(outputs)
        if again := records.overwritten() and not own:
            own = True
        else:
            found = _gradients(scores, recorded) if differentiate and scores is not None else []
            detached = [
                layer_name(model, layer)
                for layer, *of in zip(layers, *found, strict=True)
                if any(gradient is None for gradient in of)  # `None in of` would ask each tensor if it equals None
            ]
            # The first layer switched gradients on. Where an ancestor of it switched them off again, as one does that
            # wraps a part of itself in no_grad, they have to be on from the start.
            again = bool(detached or records.cut) and not from_the_start
            from_the_start |= again
        if not again:
            break
        if inputs.pictures._version != version:
            raise RuntimeError("the model changes its input in place and would have to run again; give it a clone")
    if detached:
        raise RuntimeError(
            f"the scores do not depend on the output of {', '.join(map(repr, detached))} in a way that can be "
            "differentiated; expected a layer between input and output, no detach(), .numpy(), inference_mode or "
            "quantized layer after it, and targets that do not detach, round or compare; EigenCAM, ScoreCAM and "
            "AblationCAM need no gradients"
        )
    return Observation(
        outputs=detach(outputs),
        targets=targets,
        scores=detach(scores),
        layers=tuple((output, tuple(of)) for output, *of in zip(detach(recorded), *found, strict=True)),
        tape=tape,
    )


def _record_of(layer: nn.Module, records: Records, model: nn.Module) -> Any:
    """What the layer returned."""
    if layer not in records.outputs:
        raise RuntimeError(
            f"target layer {layer_name(model, layer)!r} did not run in the forward pass; expected a layer that the "
            "model calls in this thread; list_layers shows which do"
        )
    output = records.outputs[layer]
    if not tensors_in(output):
        raise ValueError(
            f"target layer {layer_name(model, layer)!r} gives {describe(output)}, in which no tensor is found; take a "
            "layer inside it, or make the type known to PyTorch by torch.utils._pytree.register_pytree_node"
        )
    return output


def _gradients(scores: Tensor, recorded: list[Any]) -> list[list[Any]]:
    """For each target, for each layer, the gradient of the scores of all images; None where there is none."""
    with torch.enable_grad():
        columns = scores.sum(dim=0).unbind()
    return [gradients(column, recorded, keep_graph=column is not columns[-1]) for column in columns]


def detach(output: Any) -> Any:
    """A layer's or a model's output, of any structure, cut off from the autograd graph."""
    return map_tensors(torch.detach, output)
