"""Scores of perturbed images: the part that all faithfulness metrics share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pytorch_grad_cam._engine.arguments import check_count
from pytorch_grad_cam._engine.inputs import ModelInputs, prepare_inputs
from pytorch_grad_cam._engine.model_state import inference_state
from pytorch_grad_cam._engine.outputs import class_scores
from pytorch_grad_cam._engine.targets import Targets, resolve_targets
from pytorch_grad_cam.metrics._validation import as_maps

Activation = Literal["softmax", "sigmoid"] | None
Perturb = Callable[[Tensor, Tensor], Tensor]
"""From indices of pairs (m,) and of steps (m,) to perturbed images (m, C, *S)."""


@dataclass(frozen=True, eq=False)
class PerturbationScorer:
    """Scorer of perturbed copies of B images with K targets each; a pair is one image with one of its targets.

    Attributes:
        model: the network, in eval mode.
        inputs: inputs of the model for the B images.
        targets: B x K targets.
        maps: one map for each pair, (B x K, *S).
        original_scores: scores of the unchanged images, (B, K).
        activation: function applied to class scores.
        batch_size: number of perturbed copies per forward pass.
        has_target_axis: True if the maps have an axis of K.
    """

    model: nn.Module
    inputs: ModelInputs
    targets: Targets
    maps: Tensor
    original_scores: Tensor
    activation: Activation
    batch_size: int
    has_target_axis: bool

    def image_indices(self, pairs: Tensor) -> Tensor:
        """Return the index of the image of each pair (m,)."""
        return pairs // self.original_scores.shape[1]

    def images(self, pairs: Tensor) -> Tensor:
        """Return the unchanged image of each pair (m,), as (m, C, *S)."""
        return self.inputs.images[self.image_indices(pairs)]

    def scores(self, perturb: Perturb, steps: int) -> Tensor:
        """Score perturbed copies.

        Args:
            perturb: function from indices of pairs (m,) and of steps (m,) to perturbed images (m, C, *S).
            steps: number of copies of each pair.

        Returns:
            (B, K, steps)
        """
        copies = torch.arange(self.original_scores.numel() * steps, device=self.inputs.images.device)
        rows = [(target,) for row in self.targets.rows for target in row]
        scores = []
        for batch in copies.split(self.batch_size):
            pairs = batch // steps
            images = perturb(pairs, batch % steps).to(self.inputs.images.dtype)
            outputs = self.inputs.rows(self.image_indices(pairs)).with_images(images).run(self.model)
            targets = Targets(tuple(rows[pair] for pair in pairs.tolist()))
            scores.append(_scores(targets, outputs, len(batch), self.activation))
        return torch.cat(scores).view(*self.original_scores.shape, steps)

    def squeeze(self, values: Tensor) -> Tensor:
        """Remove the axis of K from values (B, K, ...) if the maps have none."""
        return values if self.has_target_axis else values[:, 0]


@contextmanager
def score_perturbed(
    model: nn.Module, input_tensor: Any, maps: Any, targets: Any, activation: Activation, batch_size: int | None
) -> Iterator[PerturbationScorer]:
    """Check the arguments of a metric and yield a scorer.

    Inside the block the model is in eval mode and gradients are off. Its state is restored afterwards.

    Args:
        model: the network.
        input_tensor: preprocessed images (B, C, *S), or a tuple or dict of model inputs that holds them.
        maps: array or tensor (B, *S), or (B, K, *S) for K targets per image.
        targets: class index or callable, a list of B of them, or a list of B lists of K; None is the best class of each
            unchanged image.
        activation: "softmax" or "sigmoid" over all classes, None for raw scores. Callables that are not about classes
            get the output of the model unchanged.
        batch_size: perturbed copies per forward pass, None for 32.

    Raises:
        ValueError: if shapes or counts do not match, or maps hold NaN.
        TypeError: if input_tensor is not a tensor.
    """
    if activation not in ("softmax", "sigmoid", None):
        raise ValueError(f'activation is {activation!r}, expected "softmax", "sigmoid" or None')
    batch_size = check_count("batch_size", batch_size, "for 32") or 32
    with torch.inference_mode(False):
        inputs = prepare_inputs(input_tensor, {}, model, "input_tensor")
    batch, spatial = len(inputs), inputs.images.shape[2:]
    with inference_state(model), torch.no_grad():
        values = as_maps(maps, spatial, inputs.images.device)
        has_target_axis = values.ndim == len(spatial) + 2
        if len(values) != batch or values.ndim not in (len(spatial) + 1, len(spatial) + 2):
            raise ValueError(
                f"maps have shape {tuple(values.shape)} for an input {tuple(inputs.images.shape)}, which is {batch} "
                f"images; expected {(batch, *spatial)}, or {(batch, 'K', *spatial)} for K targets of each"
            )
        outputs = inputs.clone().run(model)  # the model may change its input in-place
        resolved = resolve_targets(targets, outputs, batch)
        count = values.shape[1] if has_target_axis else 1
        if len(resolved.rows[0]) != count:
            raise ValueError(
                f"{count} maps and {len(resolved.rows[0])} targets for each image, expected as many maps as targets"
            )
        scores = _scores(resolved, outputs, batch, activation)
        pair_maps = values.reshape(-1, *spatial)
        yield PerturbationScorer(model, inputs, resolved, pair_maps, scores, activation, batch_size, has_target_axis)


def _scores(targets: Targets, outputs: Any, batch: int, activation: Activation) -> Tensor:
    logits = class_scores(outputs, batch) if activation and targets.classes is not None else None
    if logits is not None:
        logits = logits if logits.dtype == torch.float64 else logits.float()
        outputs = logits.softmax(dim=1) if activation == "softmax" else logits.sigmoid()
    scores = targets.scores(outputs)
    return scores if scores.dtype == torch.float64 else scores.float()
