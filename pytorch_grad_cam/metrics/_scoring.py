"""What every metric of faithfulness asks: how a model scores changed copies of the pictures that were explained."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pytorch_grad_cam._engine.inputs import Inputs, prepare_inputs
from pytorch_grad_cam._engine.model_state import inference_state
from pytorch_grad_cam._engine.outputs import class_scores
from pytorch_grad_cam._engine.targets import Targets, resolve_targets
from pytorch_grad_cam.base_cam import check_count
from pytorch_grad_cam.metrics._validation import as_maps

Activation = Literal["softmax", "sigmoid"] | None
Change = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Question:
    """B pictures with K maps and targets each; a case is one of the B x K.

    Attributes:
        model: in eval mode while the question stands.
        inputs: what it is called with.
        targets: B x K
        maps: (B x K, *S), of each case.
        scores: (B, K), of the unchanged pictures.
        activation: of the scores of classes.
        batch_size: how many changed copies run at once.
        several: K was asked for, by an axis of the maps.
    """

    model: nn.Module
    inputs: Inputs
    targets: Targets
    maps: Tensor
    scores: Tensor
    activation: Activation
    batch_size: int
    several: bool

    def pictures(self, cases: Tensor) -> Tensor:
        """The unchanged pictures (m, C, *S) of cases (m,)."""
        return self.inputs.pictures[cases // self.scores.shape[1]]

    def ask(self, change: Change, steps: int) -> Tensor:
        """The scores (B, K, steps) of changed copies.

        Args:
            change: numbers of cases (m,) and of steps (m,) to changed pictures (m, C, *S).
            steps: how many copies there are of each case.
        """
        numbers = torch.arange(self.scores.numel() * steps, device=self.inputs.pictures.device)
        rows = [(target,) for row in self.targets.rows for target in row]
        parts = []
        for some in numbers.split(self.batch_size):
            cases = some // steps
            pictures = change(cases, some % steps).to(self.inputs.pictures.dtype)
            outputs = self.inputs.rows(cases // self.scores.shape[1]).with_pictures(pictures).run(self.model)
            targets = Targets(tuple(rows[case] for case in cases.tolist()))
            parts.append(_scores(targets, outputs, len(some), self.activation))
        return torch.cat(parts).view(*self.scores.shape, steps)

    def answer(self, values: Tensor) -> Tensor:
        """Values (B, K, ...) as they are given back: (B, ...) where K was not asked for."""
        return values if self.several else values[:, 0]


@contextmanager
def questioned(
    model: nn.Module, input_tensor: Any, maps: Any, targets: Any, activation: Activation, batch_size: int | None
) -> Iterator[Question]:
    """Ask a model while the block runs; it is in eval mode there, without gradients, and left as it was.

    Args:
        model: any network.
        input_tensor: (B, C, *S)
        maps: (B, *S), or (B, K, *S) for K targets of each picture.
        targets: as a method takes them; None is the best class of each unchanged picture.
        activation: what scores of classes go through over all classes, "softmax" or "sigmoid"; None takes them as they
            are. Targets that are callables of their own get the model's output unchanged.
        batch_size: how many copies run at once; None is 32.

    Raises:
        ValueError: if shapes or counts do not go together, or maps hold NaN.
        TypeError: if input_tensor is no tensor.
    """
    if activation not in ("softmax", "sigmoid", None):
        raise ValueError(f'activation is {activation!r}, expected "softmax", "sigmoid" or None')
    size = check_count("batch_size", batch_size, "for 32") or 32
    with torch.inference_mode(False):
        inputs = prepare_inputs(input_tensor, {}, model, "input_tensor")
    batch, space = len(inputs), inputs.pictures.shape[2:]
    with inference_state(model), torch.no_grad():
        values = as_maps(maps, space, inputs.pictures.device)
        several = values.ndim == len(space) + 2
        if len(values) != batch or values.ndim not in (len(space) + 1, len(space) + 2):
            raise ValueError(
                f"maps have shape {tuple(values.shape)} for an input {tuple(inputs.pictures.shape)}, which is {batch} "
                f"pictures; expected {(batch, *space)}, or {(batch, 'K', *space)} for K targets of each"
            )
        outputs = inputs.clone().run(model)  # it may change its input in place
        resolved = resolve_targets(targets, outputs, batch)
        count = values.shape[1] if several else 1
        if len(resolved.rows[0]) != count:
            raise ValueError(
                f"{count} maps and {len(resolved.rows[0])} targets for each picture, expected as many maps as targets"
            )
        scores = _scores(resolved, outputs, batch, activation)
        yield Question(model, inputs, resolved, values.reshape(-1, *space), scores, activation, size, several)


def _scores(targets: Targets, outputs: Any, batch: int, activation: Activation) -> Tensor:
    of_classes = class_scores(outputs, batch) if activation and targets.classes is not None else None
    if of_classes is not None:
        of_classes = of_classes if of_classes.dtype == torch.float64 else of_classes.float()
        outputs = of_classes.softmax(dim=1) if activation == "softmax" else of_classes.sigmoid()
    scores = targets.scores(outputs)
    return scores if scores.dtype == torch.float64 else scores.float()
