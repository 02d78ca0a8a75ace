"""Parse targets from any spelling into `Targets`: K callables for each image."""

from collections.abc import Callable, Iterable
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
"""From the output of one image to a scalar."""


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
        has_target_axis: K was asked for, by a list of targets for each image; otherwise K is 1.
    """

    rows: tuple[tuple[Target, ...], ...]
    has_target_axis: bool = False

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


TargetsLike = (
    None
    | int
    | Target
    | Targets
    | Tensor
    | np.ndarray[Any, Any]
    | Iterable[int | Target]
    | Iterable[Iterable[int | Target]]
)
"""Every spelling of targets for a batch."""


def parse_targets(targets: Any, batch: int) -> Targets | None:
    """Parse every spelling of a target into B x K callables; None, for the method's default, stays None.

    Args:
        targets: one int or callable for all images; a list, tensor or array of B of them; a list of B lists of K, or a
            tensor or array of ints (B, K).
        batch: B

    Raises:
        ValueError: if the number of targets is not the number of images.
        TypeError: if an entry is neither a class nor a callable.
    """
    if targets is None or isinstance(targets, Targets):
        return targets
    if isinstance(targets, Tensor | np.ndarray):
        targets = targets.tolist()
    if isinstance(targets, Iterable) and not callable(targets) and not isinstance(targets, str):
        listed: list[Any] = list(targets)
    else:
        return Targets(((_target(targets),),) * batch)
    if len(listed) != batch:
        hint = "; for several classes of one image give a list of lists: [[281, 285]]" if batch == 1 else ""
        raise ValueError(f"{len(listed)} targets for {batch} images, expected one target for each image{hint}")
    is_list = [isinstance(row, list | tuple | Tensor | np.ndarray) and np.ndim(row) > 0 for row in listed]
    if not any(is_list):
        return Targets(tuple((_target(target),) for target in listed))
    if not all(is_list) or len({len(row) for row in listed}) != 1 or not len(listed[0]):
        counts = [len(row) if several else 1 for row, several in zip(listed, is_list, strict=True)]
        raise ValueError(f"targets are {counts} for {batch} images, expected lists of one length, at least 1")
    return Targets(tuple(tuple(_target(target) for target in row) for row in listed), has_target_axis=True)


def best_class(outputs: Any, batch: int | None = None) -> Tensor:
    """Find the best class of each image, (B,).

    Args:
        outputs: what the model returned for B images.
        batch: B; None takes the number of rows.

    Raises:
        TypeError: if the outputs hold no scores (B, N).
    """
    scores = class_scores(outputs, batch)
    if scores is None:
        raise TypeError(
            f"targets is None, which means the best class, but the model returned {describe(outputs)}, expected "
            "scores (B, N); give targets: one callable for each image that maps its output to a scalar"
        )
    return scores.argmax(dim=1)


def resolve_targets(targets: TargetsLike, outputs: Any, batch: int) -> Targets:
    """Parse targets as `parse_targets` does; None is the best class of each image."""
    parsed = parse_targets(best_class(outputs, batch) if targets is None else targets, batch)
    assert parsed is not None
    return parsed


def score_outputs(
    outputs: Any,
    targets: Targets | None,
    batch: int,
    *,
    needed: bool,
    default: Callable[[Any], Any] | None = None,
) -> tuple[Targets | None, Tensor | None]:
    """Score targets, (B, K); without any, where none are needed and there is no best class, both results are None.

    Args:
        outputs: what the model returned for B images.
        targets: B x K, or None for the default.
        batch: B
        needed: whether there have to be targets.
        default: from the outputs to targets in any spelling; None is the best class.
    """
    if targets is None:
        if not needed and class_scores(outputs, batch) is None:
            return None, None
        targets = resolve_targets(None if default is None else default(outputs), outputs, batch)
    return targets, targets.scores(outputs)


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
