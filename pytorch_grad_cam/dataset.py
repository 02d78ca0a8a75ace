"""Explain all that a DataLoader gives: one result for each image as it comes, in constant memory."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pytorch_grad_cam._engine.blank_maps import causes_of_blank_maps
from pytorch_grad_cam._engine.describe import describe
from pytorch_grad_cam._engine.explanation import Explanation
from pytorch_grad_cam._engine.progress import progress_bar
from pytorch_grad_cam._engine.targets import TARGETS
from pytorch_grad_cam.base_cam import BaseCAM, explain_together
from pytorch_grad_cam.utils.regions import box_from_map

_LABELS = ("labels", "label")


@dataclass(frozen=True, eq=False)
class ImageResult:
    """Result of one method for one image and K targets; K is an axis also where it is 1.

    Attributes:
        index: of the image, in the order of the loader.
        method: the name of the method's class.
        maps: (K, *S_in) float32 in [0, 1].
        classes: what was explained, K, or None where a target is not the score of a class.
        scores: of the targets, K, or None where the method needed no target.
        warnings: of each target why its map is blank, or None, K.
        seconds: of the time that its batch took, the share of one image and method.
        sample: what else the batch holds for the image: the rest of a tuple as a tuple, of a dict as a dict.
    """

    index: int
    method: str
    maps: NDArray[np.float32]
    classes: tuple[int, ...] | None
    scores: tuple[float, ...] | None
    warnings: tuple[str | None, ...]
    seconds: float
    sample: Any

    @property
    def map(self) -> NDArray[np.float32]:
        """The map of the first target, (*S_in)."""
        return self.maps[0]  # type: ignore[no-any-return]

    @property
    def boxes(self) -> NDArray[np.int64]:
        """The box of each map's main region, (K, 4), in pixels of the input; that of a blank map is all 0."""
        return box_from_map(self.maps)


def explain_dataset(
    cam: BaseCAM | Sequence[BaseCAM],
    loader: Iterable[Any],
    targets: Any = None,
    aug_smooth: bool = False,
    eigen_smooth: bool = False,
    *,
    progress: bool | None = None,
) -> Iterator[ImageResult]:
    """Explain every image that a loader gives, batch by batch; nothing is kept of those that have been yielded.

    Args:
        cam: a method, or several of one model; those that weight by gradients share one forward pass.
        loader: a DataLoader, or any iterable of batches: images (B, C, *S_in); a tuple or list that begins with
            them, as a dataset with labels gives it; a dict with `pixel_values`, whose other tensors, but for the
            labels, go to the model, too.
        targets: None for the best class of each image; an int, or one of `utils.model_targets`, for all; "labels" for
            the second member of the tuple, or `labels` or `label` of the dict; or a function of the batch to what a
            method takes as targets.
        aug_smooth: average over augmented copies of each image.
        eigen_smooth: reduce by the first principal component.
        progress: show a bar with images per second; None shows it on a terminal.

    Yields:
        for each image, in the order of the loader, one result of each method

    Raises:
        TypeError: if loader gives no batches, or something else than batches of images.
        TypeError, ValueError, IndexError, RuntimeError: as a method does.

    Example:
        >>> from pytorch_grad_cam import GradCAM
        >>> from torch.utils.data import DataLoader
        >>> loader = DataLoader(images, batch_size=2)
        >>> for result in explain_dataset(GradCAM(model), loader):
        ...     print(result.index, result.method, result.map.shape)
        0 GradCAM (32, 32)
        1 GradCAM (32, 32)
    """
    cams = list(cam) if isinstance(cam, Sequence) else [cam]
    if not cams or not all(isinstance(method, BaseCAM) for method in cams):
        raise TypeError(f"cam is {cam!r}, expected a method such as GradCAM(model), or a list of some")
    if isinstance(loader, Tensor | Mapping | str) or not isinstance(loader, Iterable):
        raise TypeError(f"loader is {describe(loader)}, expected a DataLoader or another iterable of batches")
    return _explain_all(cams, loader, check_targets(targets), aug_smooth, eigen_smooth, progress)


def _explain_all(
    cams: Sequence[BaseCAM],
    loader: Iterable[Any],
    targets: Any,
    aug_smooth: bool,
    eigen_smooth: bool,
    progress: bool | None,
) -> Iterator[ImageResult]:
    index = 0
    names = ", ".join(type(cam).__name__ for cam in cams)
    with progress_bar(names, _number_of_images(loader), " images", progress, leave=True) as advance:
        for batch in loader:
            results = explain_batch(cams, batch, targets, aug_smooth, eigen_smooth, first=index)
            yield from results
            count = len(results) // len(cams)
            index += count
            advance(count)


def explain_batch(
    cams: Sequence[BaseCAM],
    batch: Any,
    targets: Any = None,
    aug_smooth: bool = False,
    eigen_smooth: bool = False,
    *,
    first: int = 0,
) -> list[ImageResult]:
    """The results of one batch, image by image, of each in the order of the methods; takes what explain_dataset does.

    first: the index of its first image
    """
    start = time.perf_counter()
    inputs, samples = _take_apart(batch)
    if not samples:
        return []
    wanted = check_targets(targets)
    if wanted == "labels":
        wanted = _labels(batch)
    elif callable(wanted) and not isinstance(wanted, TARGETS):  # which are for every image, as a class is
        wanted = wanted(batch)
    explanations = explain_together(cams, inputs, wanted, aug_smooth, eigen_smooth)
    maps = [explanation.maps.float().cpu() for explanation in explanations]
    of_methods = list(map(_facts, cams, explanations, maps))
    seconds = (time.perf_counter() - start) / (len(samples) * len(cams))
    return [
        # A copy, as a part of the batch would keep all of it.
        ImageResult(first + image, type(cam).__name__, map[image].numpy().copy(), *facts[image], seconds, sample)
        for image, sample in enumerate(samples)
        for cam, map, facts in zip(cams, maps, of_methods, strict=True)
    ]


def check_targets(targets: Any) -> Any:
    """The targets, if they may hold for any batch.

    Raises:
        TypeError, ValueError: if not.
    """
    if isinstance(targets, str) and targets != "labels":
        raise ValueError(f'targets is {targets!r}, expected None, a class, "labels" or a function of the batch')
    if not (targets is None or isinstance(targets, str | int) or callable(targets)):
        raise TypeError(
            f'targets is {describe(targets)}, expected None, a class, "labels" or a function of the batch; for classes '
            "of your own give a function: lambda batch: [[281, 285]] * len(batch[0])"
        )
    return targets


def _facts(cam: BaseCAM, explanation: Explanation, maps: Tensor) -> list[tuple[Any, Any, tuple[str | None, ...]]]:
    """Classes, scores and warnings of each image."""
    count, several = maps.shape[:2]
    targets, scores = explanation.targets, explanation.scores
    classes = None if targets is None else targets.classes
    causes = causes_of_blank_maps(cam.model, explanation, maps)
    return [
        (
            None if classes is None else tuple(classes[image]),
            None if scores is None else tuple(scores[image].tolist()),
            tuple(causes.get((image, target)) for target in range(several)),
        )
        for image in range(count)
    ]


def _take_apart(batch: Any) -> tuple[Any, list[Any]]:
    """The input of the model, and what else there is for each image."""
    if isinstance(batch, Mapping):
        inputs = {name: value for name, value in batch.items() if isinstance(value, Tensor) and name not in _LABELS}
        images = inputs.get("pixel_values")
        others = {name: value for name, value in batch.items() if name != "pixel_values"}
        if isinstance(images, Tensor):
            each = [(name, value) for name, value in others.items() if _for_each(value, len(images))]
            return inputs, [{name: value[i] for name, value in each} for i in range(len(images))]
    elif isinstance(batch, Tensor):
        return batch, [()] * len(batch)
    elif isinstance(batch, list | tuple) and batch and isinstance(batch[0], Tensor):
        rest = [value for value in batch[1:] if _for_each(value, len(batch[0]))]
        return batch[0], [tuple(value[i] for value in rest) for i in range(len(batch[0]))]
    raise TypeError(
        f"the loader gave {describe(batch)}, expected a batch: images (B, C, H, W), a tuple or list that begins with "
        "them, or a dict with `pixel_values`"
    )


def _for_each(value: Any, count: int) -> bool:
    listed = isinstance(value, Sequence | Tensor | np.ndarray) and not isinstance(value, str)
    return listed and getattr(value, "ndim", 1) > 0 and len(value) == count


def _labels(batch: Any) -> Any:
    if isinstance(batch, Mapping):
        found = [batch[name] for name in _LABELS if name in batch]
    else:
        found = list(batch[1:2]) if isinstance(batch, list | tuple) else []
    if not found:
        raise ValueError(f'targets is "labels", but the loader gave {describe(batch)}, expected (images, labels, ...)')
    return found[0]


def _number_of_images(loader: Any) -> int | None:
    """Number of images, or None where the loader does not say."""
    try:
        return len(loader.dataset)
    except (AttributeError, TypeError):
        return None
