"""Parse targets from any spelling into `Targets`: K callables for each image."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pytorch_grad_cam._engine.describe import describe
from pytorch_grad_cam._engine.outputs import class_scores, per_image
from pytorch_grad_cam.targets import (
    BinaryClassifierOutputTarget,
    ClassifierOutputTarget,
    FasterRCNNBoxScoreTarget,
    SemanticSegmentationTarget,
)

Target = Callable[[Any], Tensor]


TARGETS = (
    ClassifierOutputTarget,
    BinaryClassifierOutputTarget,
    SemanticSegmentationTarget,
    FasterRCNNBoxScoreTarget,
)
"""The classes of targets of maps, by which one is told from other functions."""


@dataclass(frozen=True)
class Targets:
    """B x K targets.

    Attributes:
        rows: K targets for each of B images.
        several: K was asked for, by a list of targets for each image; otherwise K is 1.
    """

    rows: tuple[tuple[Target, ...], ...]
    several: bool = False

    def scores(self, outputs: Any) -> Tensor:
        """The scalars (B, K) that the targets make of a model's output for the B images."""
        of_classes = class_scores(outputs, len(self.rows))
        if of_classes is not None and (classes := self.classes) is not None:
            # Each says so if there is no such class.
            columns = [ClassifierOutputTarget(category)(of_classes) for category in {c for row in classes for c in row}]
            if len(columns) == 1:
                return torch.stack(columns * len(classes[0]), dim=1)
            # To a GPU without waiting for what it is at.
            return of_classes.gather(1, torch.tensor(classes).to(of_classes.device, non_blocking=True))
        about_classes = all(isinstance(target, ClassifierOutputTarget) for row in self.rows for target in row)
        images = of_classes if about_classes and of_classes is not None else per_image(outputs, len(self.rows))
        rows = zip(self.rows, images, strict=True)
        return torch.stack([torch.stack([_scalar(target, image) for target in row]) for row, image in rows])

    def of_copies(self, image: int, copies: int) -> "Targets":
        """The targets of one image, for a batch of copies of it."""
        return Targets((self.rows[image],) * copies)

    @property
    def classes(self) -> list[list[int]] | None:
        """The classes (B x K), or None where a target is not the score of a class."""
        if not all(type(target) is ClassifierOutputTarget for row in self.rows for target in row):
            return None
        return [[target.category for target in row] for row in self.rows]  # type: ignore[attr-defined]


def resolve_targets(targets: Any, outputs: Any, batch: int) -> Targets:
    """Every spelling of a target as B x K callables.

    Args:
        targets: None for the best class of each image; one int or callable for all images; a list, tensor or array of
            B of them; a list of B lists of K, or a tensor or array of ints (B, K).
        outputs: what the model returned; None reads the classes from it.
        batch: B

    Raises:
        ValueError: if the number of targets is not the number of images.
        TypeError: if an entry is neither a class nor a callable, or None is given and the outputs hold no class scores.
    """
    if isinstance(targets, Targets):
        return targets
    if targets is None:
        scores = class_scores(outputs, batch)
        if scores is None:
            raise TypeError(
                f"targets is None, which means the best class, but the model returned {describe(outputs)}, expected "
                "scores (B, N); give targets: one callable for each image that maps its output to a scalar"
            )
        targets = scores.argmax(dim=1)
    if isinstance(targets, Tensor | np.ndarray):
        targets = targets.tolist()
    if isinstance(targets, Iterable) and not callable(targets) and not isinstance(targets, str):
        targets = list(targets)
    else:
        return Targets(((_target(targets),),) * batch)
    if len(targets) != batch:
        hint = "; for several classes of one image give a list of lists: [[281, 285]]" if batch == 1 else ""
        raise ValueError(f"{len(targets)} targets for {batch} images, expected one target for each image{hint}")
    several = [isinstance(row, list | tuple | Tensor | np.ndarray) and np.ndim(row) > 0 for row in targets]
    if not any(several):
        return Targets(tuple((_target(target),) for target in targets))
    if not all(several) or len({len(row) for row in targets}) != 1 or not len(targets[0]):
        counts = [len(row) if listed else 1 for row, listed in zip(targets, several, strict=True)]
        raise ValueError(f"targets are {counts} for {batch} images, expected lists of one length, at least 1")
    return Targets(tuple(tuple(_target(target) for target in row) for row in targets), several=True)


def score_outputs(outputs: Any, targets: Any, batch: int, *, needed: bool) -> tuple[Targets | None, Tensor | None]:
    """The targets that are meant, and their scores (B, K); where none are given or found, None if they are not needed.

    Takes and raises what `resolve_targets` does.
    """
    if targets is None and not needed and class_scores(outputs, batch) is None:
        return None, None
    resolved = resolve_targets(targets, outputs, batch)
    return resolved, resolved.scores(outputs)


def materialize(targets: Any) -> Any:
    """Targets in any spelling; those of an iterable that is no sequence, such as a generator, as a list."""
    at_hand = isinstance(targets, Sequence | Tensor | np.ndarray | Targets) or callable(targets)
    return targets if at_hand or not isinstance(targets, Iterable) else list(targets)


def first_image(targets: Any) -> Any:
    """The targets of the first image of a batch, in any spelling, as a batch of one."""
    if isinstance(targets, Targets):
        return targets.of_copies(0, 1)
    several = isinstance(targets, Sequence) or (isinstance(targets, Tensor | np.ndarray) and targets.ndim > 0)
    return targets[:1] if several and not isinstance(targets, str) else targets


def _target(target: Any) -> Target:
    if callable(target) and not isinstance(target, type):
        return target  # type: ignore[no-any-return]
    try:
        if isinstance(target, bool):
            raise TypeError
        return ClassifierOutputTarget(target)
    except TypeError:
        raise TypeError(
            f"a target is {target!r:.100}, expected a class index or a callable that maps one image's output "
            "to a scalar"
        ) from None


def _scalar(target: Target, image: Any) -> Tensor:
    score = target(image)
    if not isinstance(score, Tensor) or score.numel() != 1:
        raise ValueError(
            f"target {target!r} returned {describe(score)} for an output of {describe(image)}, expected a tensor of "
            "one number, which can be differentiated; a target maps one image's output to it"
        )
    return score.reshape(())
