"""Run a model once; record what the target layers return, and differentiate the scores with respect to it."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pytorch_grad_cam._engine.describe import describe
from pytorch_grad_cam._engine.explanation import ForwardPass, LayerRecord
from pytorch_grad_cam._engine.hooks import Records, gradients, record_outputs
from pytorch_grad_cam._engine.inputs import ModelInputs
from pytorch_grad_cam._engine.layers import layer_name
from pytorch_grad_cam._engine.precision import at_least_float32
from pytorch_grad_cam._engine.pytree import map_tensors, tensors_in
from pytorch_grad_cam._engine.targets import Targets

Score = Callable[[Any], tuple[Targets | None, Tensor | None]]
"""From the model's outputs to targets (B x K) and their scores (B, K)."""


def forward_pass(
    run: Callable[[ModelInputs], Any],
    model: nn.Module,
    inputs: ModelInputs,
    layers: Sequence[nn.Module],
    score: Score,
    *,
    differentiate: bool,
) -> ForwardPass:
    """Run the model once and record the target layers; floating-point scores are at least float32.

    The usual attempt computes gradients from the first target layer on. A second one, where it has to be, runs the
    model again: with cloned records where the model changed one in-place, or with gradients from the start where a
    module switched them off after the first layer.

    Args:
        run: runs the model on the inputs.
        model: the network, in eval mode.
        inputs: arguments of the model for B images.
        layers: modules of the model.
        score: from the model's outputs to targets and scores.
        differentiate: compute gradients, one backward pass through the rest of the network for each of K targets.

    Raises:
        RuntimeError: if a layer does not run, or the scores do not depend on it.
    """
    version = inputs.images._version
    start = partial(_Attempt, run, model, inputs, layers, score, differentiate)
    attempt = start()
    if attempt.overwritten:
        _check_unchanged(inputs, version)
        attempt = start(clone_records=True)
    if attempt.detached or attempt.grad_was_disabled:
        _check_unchanged(inputs, version)
        attempt = start(clone_records=attempt.clone_records, grad_from_start=True)
        if attempt.overwritten:
            _check_unchanged(inputs, version)
            attempt = start(clone_records=True, grad_from_start=True)
    if attempt.detached:
        raise RuntimeError(
            f"the scores do not depend on the output of {', '.join(map(repr, attempt.detached))} in a way that can be "
            "differentiated; expected a layer between input and output, no detach(), .numpy(), inference_mode or "
            "quantized layer after it, and targets that do not detach, round or compare; methods with "
            "derivatives = 0, such as EigenCAM, need no gradients"
        )
    return attempt.result()


class _Attempt:
    """One run of the model with hooked layers, and its gradients."""

    def __init__(
        self,
        run: Callable[[ModelInputs], Any],
        model: nn.Module,
        inputs: ModelInputs,
        layers: Sequence[nn.Module],
        score: Score,
        differentiate: bool,
        clone_records: bool = False,
        grad_from_start: bool = False,
    ) -> None:
        self.inputs, self.layers, self.clone_records = inputs, layers, clone_records
        with (
            record_outputs(layers, differentiable=differentiate, clone_records=clone_records) as records,
            torch.set_grad_enabled(grad_from_start and differentiate),
        ):
            self.outputs = run(inputs)
            self.recorded = [_record_of(layer, records, model) for layer in layers]
            self.targets, self.scores = score(self.outputs)
        self.overwritten = records.overwritten() and not clone_records
        self.grad_was_disabled = records.grad_was_disabled
        self.gradients: list[list[Any]] = []
        self.detached: list[str] = []
        # An overwritten record would fail in the backward pass.
        if not differentiate or self.scores is None or self.overwritten:
            return
        with torch.enable_grad():
            columns = self.scores.sum(dim=0).unbind()
        last = columns[-1]
        self.gradients = [gradients(column, self.recorded, keep_graph=column is not last) for column in columns]
        self.detached = [
            layer_name(model, layer)
            for layer, *per_target in zip(layers, *self.gradients, strict=True)
            if any(gradient is None for gradient in per_target)
        ]

    def result(self) -> ForwardPass:
        """The pass, cut off from the autograd graph."""
        per_layer = zip(self.layers, detach(self.recorded), *self.gradients, strict=True)
        records = tuple(LayerRecord(layer, output, tuple(per_target)) for layer, output, *per_target in per_layer)
        scores = at_least_float32(detach(self.scores))
        return ForwardPass(detach(self.outputs), self.inputs, self.targets, scores, records)


def _check_unchanged(inputs: ModelInputs, version: int) -> None:
    if inputs.images._version != version:
        raise RuntimeError("the model changes its input in-place and would have to run again; give it a clone")


def _record_of(layer: nn.Module, records: Records, model: nn.Module) -> Any:
    """Return the recorded output of a layer."""
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


def detach(output: Any) -> Any:
    """Cut an output of any structure off from the autograd graph."""
    return map_tensors(torch.detach, output)
