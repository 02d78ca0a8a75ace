"""What to explain: a target maps one image's output to a scalar; `Targets` holds K of them for each image."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import index, itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pytorch_grad_cam.utils.trees import map_tensors, tensors_in

Target = Callable[[Any], Tensor]


class ClassifierOutputTarget:
    """The score of one class.

    Args:
        category: index of the class on the last axis of the output.
    """

    def __init__(self, category: int) -> None:
        self.category = index(category)

    def __call__(self, model_output: Tensor) -> Tensor:
        """(N,) to a scalar; (B, N) to (B,)."""
        if model_output.ndim not in (1, 2):
            raise ValueError(
                f"class {self.category} was asked for, but the model returned {describe(model_output)} for an image, "
                "expected one score for each class (N,); for other outputs give a callable that maps them to a scalar, "
                "such as SemanticSegmentationTarget"
            )
        classes = model_output.shape[-1]
        if not 0 <= self.category < classes:
            raise IndexError(f"class {self.category}, but the model returned {classes} scores (0 to {classes - 1})")
        return model_output[..., self.category]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.category})"


class ClassifierOutputSoftmaxTarget(ClassifierOutputTarget):
    """The probability of one class, after a softmax over the last axis."""

    def __call__(self, model_output: Tensor) -> Tensor:
        """(N,) to a scalar; (B, N) to (B,)."""
        return super().__call__(model_output.softmax(dim=-1))


class ClassifierOutputReST(ClassifierOutputTarget):
    """The score of one class plus the logarithm of its probability (https://arxiv.org/abs/2501.06261)."""

    def __call__(self, model_output: Tensor) -> Tensor:
        """(N,) to a scalar; (B, N) to (B,)."""
        return super().__call__(model_output) + super().__call__(model_output.log_softmax(dim=-1))


class BinaryClassifierOutputTarget:
    """The only score of a binary classifier, negated for category 0."""

    def __init__(self, category: int) -> None:
        if category not in (0, 1):
            raise ValueError(f"category is {category}, expected 0 or 1")
        self.category = category

    def __call__(self, model_output: Tensor) -> Tensor:
        """(1,) to (1,)."""
        return model_output if self.category == 1 else -model_output


class SoftmaxOutputTarget:
    """All probabilities, for metrics; no target of a map, which needs a scalar."""

    def __call__(self, model_output: Tensor) -> Tensor:
        """(..., N) to (..., N) in [0, 1]."""
        return model_output.softmax(dim=-1)


class RawScoresOutputTarget:
    """All scores, for metrics; no target of a map, which needs a scalar."""

    def __call__(self, model_output: Tensor) -> Tensor:
        """(..., N), unchanged."""
        return model_output


class SemanticSegmentationTarget:
    """The scores of one class summed over the pixels of a mask.

    Args:
        category: index of the class.
        mask: (H, W), weight of each pixel.
    """

    def __init__(self, category: int, mask: Tensor | np.ndarray[Any, Any]) -> None:
        self.category = category
        self.mask = torch.as_tensor(mask)

    def __call__(self, model_output: Tensor) -> Tensor:
        """(N, H, W) to a scalar."""
        if model_output.ndim != 3 or model_output.shape[1:] != self.mask.shape or not self.category < len(model_output):
            raise ValueError(
                f"class {self.category} on a mask {tuple(self.mask.shape)} was asked for, but the model returned "
                f"{describe(model_output)} for an image, expected (N, H, W) with more classes and the mask's size"
            )
        return (model_output[self.category] * self.mask.to(model_output.device)).sum()


class FasterRCNNBoxScoreTarget:
    """How well a detector's boxes still match given ones: the sum of overlap and score of each best match.

    Args:
        labels: class of each given box.
        bounding_boxes: the given boxes (n, 4) as x0, y0, x1, y1.
        iou_threshold: a match with less overlap, or of another class, counts 0.
    """

    def __init__(self, labels: Sequence[int], bounding_boxes: Any, iou_threshold: float = 0.5) -> None:
        self.labels = labels
        self.bounding_boxes = bounding_boxes
        self.iou_threshold = iou_threshold

    def __call__(self, model_outputs: Mapping[str, Tensor]) -> Tensor:
        """One image's boxes (n, 4), labels (n,) and scores (n,) to a scalar."""
        from torchvision.ops import box_iou

        boxes = model_outputs["boxes"]
        total = boxes.new_zeros(())
        if len(boxes) == 0:
            return total
        given = torch.as_tensor(np.asarray(self.bounding_boxes), device=boxes.device, dtype=boxes.dtype)
        for overlaps, label in zip(box_iou(given, boxes), self.labels, strict=True):
            best = int(overlaps.argmax())
            if overlaps[best] > self.iou_threshold and model_outputs["labels"][best] == label:
                total = total + overlaps[best] + model_outputs["scores"][best]
        return total


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


def read_once(targets: Any) -> Any:
    """Targets in any spelling; those of an iterable that is no sequence, such as a generator, as a list."""
    at_hand = isinstance(targets, Sequence | Tensor | np.ndarray | Targets) or callable(targets)
    return targets if at_hand or not isinstance(targets, Iterable) else list(targets)


def of_first_image(targets: Any) -> Any:
    """The targets of the first image of a batch, in any spelling, as a batch of one."""
    if isinstance(targets, Targets):
        return targets.of_copies(0, 1)
    several = isinstance(targets, Sequence) or (isinstance(targets, Tensor | np.ndarray) and targets.ndim > 0)
    return targets[:1] if several and not isinstance(targets, str) else targets


def class_scores(outputs: Any, batch: int) -> Tensor | None:
    """The scores (B, N) in what a classifier returned: a tensor, `.logits`, an entry of a dict, a member of a tuple."""
    scores = _scores_tensor(outputs)
    return scores if scores is not None and scores.ndim == 2 and len(scores) == batch else None


def per_image(outputs: Any, batch: int) -> Tensor | Sequence[Any]:
    """What a model returned, image by image: a tensor (B, ...), or a list of B.

    Of a tuple with one tensor (B, N), of `.logits` and of the entries that classifiers of a dict have, that tensor; of
    all else the image's part of each tensor, in the structure that the model returned.

    Raises:
        TypeError: if it cannot be told apart.
    """
    scores = _scores_tensor(outputs)
    several_heads = isinstance(outputs, list | tuple) and len(_tables(outputs)) > 1
    if scores is not None and not several_heads and scores.ndim and len(scores) == batch:
        return scores
    if isinstance(outputs, list | tuple) and len(outputs) == batch and not isinstance(outputs[0], Tensor):
        return outputs  # a detector: one dict for each image
    tensors = tensors_in(outputs)
    if tensors and all(tensor.ndim and len(tensor) == batch for tensor in tensors):
        return [map_tensors(itemgetter(image), outputs) for image in range(batch)]
    raise TypeError(
        f"the model returned {describe(outputs)} for {batch} images; expected a tensor (B, ...), a field `logits` or "
        "`out`, tensors (B, ...) in any structure, or a list of one output for each image; wrap the model in a module "
        "that returns one of them"
    )


def describe(value: Any) -> str:
    """Type and shape of a value, field by field, for messages."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"{type(value).__name__}({', '.join(f'{name}: {describe(field)}' for name, field in value.items())})"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)} ({', '.join(describe(field) for field in value[:4])})"
    return f"a value of type {type(value).__name__}"


def _scores_tensor(outputs: Any) -> Tensor | None:
    if isinstance(outputs, Tensor):
        return outputs
    if isinstance(outputs, Mapping):
        found = [outputs[name] for name in ("logits", "logits_per_image", "out") if name in outputs]
    elif isinstance(outputs, list | tuple):
        found = _tables(outputs)
    else:
        found = [getattr(outputs, "logits", None)]
    return next((field for field in found if isinstance(field, Tensor)), None)


def _tables(outputs: Sequence[Any]) -> list[Tensor]:
    return [field for field in outputs if isinstance(field, Tensor) and field.ndim == 2]


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
