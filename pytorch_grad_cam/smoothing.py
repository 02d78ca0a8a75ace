"""Smoothing by augmentation, on ttach."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from pytorch_grad_cam.inputs import Inputs
from pytorch_grad_cam.utils.model_targets import describe

if TYPE_CHECKING:
    from pytorch_grad_cam.base_cam import Explanation


def average_over_augmentations(
    explain: Callable[[Inputs, Any], "Explanation"],
    inputs: Inputs,
    targets: Any,
    transforms: Iterable[Any] | None = None,
) -> "Explanation":
    """The explanation of clean images, its maps averaged over augmented copies of them.

    The class is the one that the clean image is explained for, in every copy.

    Args:
        explain: inputs and targets to their explanation.
        inputs: of pictures (B, C, H, W), which alone are augmented.
        targets: as `BaseCAM` takes them.
        transforms: a `ttach.Compose`; None is horizontal flip x brightness 0.9, 1, 1.1: six copies.

    Raises:
        ValueError: if the inputs have not two spatial axes.
    """
    import ttach

    pictures = inputs.pictures
    if pictures.ndim != 4:
        raise ValueError(f"aug_smooth takes pictures (B, C, H, W), and the input is {describe(pictures)}; leave it out")
    if transforms is None:
        transforms = ttach.Compose([ttach.HorizontalFlip(), ttach.Multiply(factors=[0.9, 1, 1.1])])
    if not (transforms := list(transforms)):
        raise ValueError("tta_transforms is empty, expected at least one transform of ttach")
    copies = [(transform, transform.augment_image(pictures)) for transform in transforms]
    # Usually one of the copies is the clean image; then its explanation is not computed twice.
    clean = explain(inputs, targets)
    maps = [
        transform.deaugment_mask(
            clean.maps
            if torch.equal(augmented, pictures)
            else explain(inputs.with_pictures(augmented), clean.targets).maps
        )
        for transform, augmented in copies
    ]
    return replace(clean, maps=torch.stack(maps).mean(dim=0))
