"""Smoothing by augmentation, on ttach."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pytorch_grad_cam._engine.batching import copies_per_pass
from pytorch_grad_cam._engine.describe import describe
from pytorch_grad_cam._engine.explanation import Explanation
from pytorch_grad_cam._engine.inputs import ModelInputs
from pytorch_grad_cam._engine.pytree import tensors_in
from pytorch_grad_cam._engine.targets import Targets

logger = logging.getLogger(__name__)


def average_over_augmentations(
    explain: Callable[[ModelInputs, Targets | None], Explanation],
    inputs: ModelInputs,
    targets: Targets | None,
    transforms: Iterable[Any] | None = None,
) -> Explanation:
    """The explanation of clean images, its maps averaged over augmented copies of them.

    The class is the one that the clean image is explained for, in every copy.

    Args:
        explain: inputs and targets to their explanation.
        inputs: of images (B, C, H, W), which alone are augmented.
        targets: as `BaseCAM` takes them.
        transforms: a `ttach.Compose`; None is horizontal flip x brightness 0.9, 1, 1.1: six copies.

    Raises:
        ValueError: if the inputs have not two spatial axes.
    """
    images = inputs.images
    if images.ndim != 4:
        raise ValueError(f"aug_smooth takes images (B, C, H, W), and the input is {describe(images)}; leave it out")
    transforms = smoothing_transforms(transforms)
    copies = [transform.augment_image(images) for transform in transforms]
    # Usually one of the copies is the clean image; then its explanation is not computed twice.
    clean = explain(inputs, targets)
    others = [number for number, copy in enumerate(copies) if not torch.equal(copy, images)]
    together = copies_per_pass(images)
    maps = [clean.maps] * len(copies)
    for start in range(0, len(others), together):
        run = others[start : start + together]
        found = _maps_of(explain, inputs, clean.targets, [copies[number] for number in run])
        for number, of_copy in zip(run, found, strict=True):
            maps[number] = of_copy
    straight = [transform.deaugment_mask(one) for transform, one in zip(transforms, maps, strict=True)]
    return replace(clean, maps=torch.stack(straight).mean(dim=0))


def smoothing_transforms(transforms: Iterable[Any] | None) -> list[Any]:
    """List the transforms of `tta_transforms`; None is horizontal flip x brightness 0.9, 1, 1.1.

    Raises:
        ValueError: if there are none.
    """
    import ttach

    if transforms is None:
        transforms = ttach.Compose([ttach.HorizontalFlip(), ttach.Multiply(factors=[0.9, 1, 1.1])])
    if not (listed := list(transforms)):
        raise ValueError("tta_transforms is empty, expected at least one transform of ttach")
    return listed


def _maps_of(
    explain: Callable[[ModelInputs, Any], Explanation],
    inputs: ModelInputs,
    targets: Targets | None,
    copies: list[Tensor],
) -> list[Tensor]:
    """The maps of copies of the batch, explained together where that can be, as a transform may change the size."""
    count, batch = len(copies), len(inputs)
    # What else the model takes may be for all images, and have as many rows as there are copies.
    alone = not tensors_in((inputs.args, inputs.kwargs))
    if count > 1 and alone and len({copy.shape for copy in copies}) == 1:
        several = inputs.with_images(torch.cat(copies))
        try:
            explained = explain(several, targets and Targets(targets.rows * count, targets.has_target_axis))
            return list(explained.maps.split(batch))
        except Exception as error:
            logger.debug("%d copies of a batch cannot run at once: %s", count, error)
    return [explain(inputs.with_images(copy), targets).maps for copy in copies]
