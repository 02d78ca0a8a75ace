"""Maps, masks and boxes as users give them, arrays or tensors, checked."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pytorch_grad_cam.utils.regions import mask_from_box, real_numbers


def as_maps(maps: Any, size: Sequence[int] | None = None, device: torch.device | None = None) -> Tensor:
    """Maps as float32, or float64 where they are: (..., *size), checked.

    Args:
        maps: array or tensor of any real dtype.
        size: the last axes, where they are known.
        device: where the maps are needed; None leaves them there.

    Raises:
        ValueError: if they have another shape, or hold what is not finite.
    """
    tensor = real_numbers(maps, "maps").to(device)
    if size is not None and tuple(tensor.shape[-len(size) :]) != tuple(size):
        raise ValueError(
            f"maps have shape {tuple(tensor.shape)} for pictures of {' x '.join(map(str, size))}, expected one value "
            "for each pixel: resize the maps"
        )
    if tensor.ndim < 2 or 0 in tensor.shape:
        raise ValueError(f"maps have shape {tuple(tensor.shape)}, expected (..., H, W), none of them 0")
    tensor = tensor if tensor.dtype == torch.float64 else tensor.float()
    if not tensor.isfinite().all():
        raise ValueError("maps hold NaN or infinity, expected numbers")
    return tensor


def as_masks(truth: Any, maps: Tensor) -> Tensor:
    """Masks, or boxes as the masks of their pixels: bool, of the shape of the maps and where they are.

    Args:
        truth: masks (..., H, W), any dtype, not 0 is inside; or boxes (..., 4) as x0, y0, x1, y1, x1 and y1 exclusive.
        maps: (..., H, W)

    Raises:
        ValueError: if the shapes do not go together, or a mask or box holds no pixel.
    """
    given = real_numbers(truth, "masks or boxes").to(maps.device)
    if given.isnan().any():
        raise ValueError("masks or boxes hold NaN, expected numbers")
    if given.shape == maps.shape:
        masks = given != 0
    elif given.shape == (*maps.shape[:-2], 4):
        masks = mask_from_box(given, (maps.shape[-2], maps.shape[-1]))
    else:
        raise ValueError(
            f"masks or boxes have shape {tuple(given.shape)} for maps {tuple(maps.shape)}, expected masks "
            f"{tuple(maps.shape)} or boxes {(*maps.shape[:-2], 4)}"
        )
    empty = ~masks.flatten(-2).any(-1)
    if empty.any():
        first = empty.flatten().nonzero()[0].item()
        raise ValueError(
            f"{int(empty.sum())} of {empty.numel()} masks or boxes hold no pixel, the first is number {first}; "
            "expected the pixels of an object: leave out the maps of what is not there"
        )
    return masks
