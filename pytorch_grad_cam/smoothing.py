"""Smoothing by augmentation, on ttach."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pytorch_grad_cam.utils.model_targets import describe

if TYPE_CHECKING:
    from pytorch_grad_cam.base_cam import Explanation


def average_over_augmentations(
    explain: Callable[[Tensor, Any], "Explanation"],
    inputs: Tensor,
    targets: Any,
    transforms: Iterable[Any] | None = None,
) -> "Explanation":
    """The explanation of clean images, its maps averaged over augmented copies of them.

    The class is the one that the clean image is explained for, in every copy.

    Args:
        explain: inputs and targets to their explanation.
        inputs: (B, C, H, W)
        targets: as `BaseCAM` takes them.
        transforms: a `ttach.Compose`; None is horizontal flip x brightness 0.9, 1, 1.1: six copies.

    Raises:
        ValueError: if the inputs have not two spatial axes.
    """
    import ttach

    if not isinstance(inputs, Tensor) or inputs.ndim != 4:
        raise ValueError(f"aug_smooth takes pictures (B, C, H, W), and the input is {describe(inputs)}; leave it out")
    if transforms is None:
        transforms = ttach.Compose([ttach.HorizontalFlip(), ttach.Multiply(factors=[0.9, 1, 1.1])])
    if not (transforms := list(transforms)):
        raise ValueError("tta_transforms is empty, expected at least one transform of ttach")
    copies = [(transform, transform.augment_image(inputs)) for transform in transforms]
    # Usually one of the copies is the clean image; then its explanation is not computed twice.
    clean = explain(inputs, targets)
    maps = [
        transform.deaugment_mask(
            clean.maps if torch.equal(augmented, inputs) else explain(augmented, clean.targets).maps
        )
        for transform, augmented in copies
    ]
    return replace(clean, maps=torch.stack(maps).mean(dim=0))
