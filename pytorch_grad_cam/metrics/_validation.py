"""Checks of the maps, masks and boxes that users pass as arrays or tensors."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pytorch_grad_cam.utils.regions import mask_from_box, real_numbers


def as_maps(maps: Any, size: Sequence[int] | None = None, device: torch.device | None = None) -> Tensor:
    """Convert maps to a float32 tensor (..., *size), or float64 for float64 maps, and check them.

    Args:
        maps: array or tensor (..., H, W), or (..., *size), of any real dtype.
        size: expected last axes; None checks only that there are two.
        device: device of the result; None keeps that of the maps.

    Raises:
        ValueError: if the shape does not match, or a value is not finite.
    """
    tensor = real_numbers(maps, "maps").to(device)
    if size is not None and tuple(tensor.shape[-len(size) :]) != tuple(size):
        raise ValueError(
            f"maps have shape {tuple(tensor.shape)} for images of {' x '.join(map(str, size))}, expected one value "
            "for each pixel: resize the maps"
        )
    if tensor.ndim < 2 or 0 in tensor.shape:
        raise ValueError(f"maps have shape {tuple(tensor.shape)}, expected (..., H, W), none of them 0")
    tensor = tensor if tensor.dtype == torch.float64 else tensor.float()
    if not tensor.isfinite().all():
        raise ValueError("maps hold NaN or infinity, expected finite values")
    return tensor


def as_masks(truth: Any, maps: Tensor) -> Tensor:
    """Convert masks or boxes to bool masks with the shape and the device of the maps.

    Args:
        truth: masks (..., H, W) of any real dtype, nonzero inside the object; or boxes (..., 4) as (x0, y0, x1, y1) in
            pixels, x1 and y1 exclusive.
        maps: (..., H, W)

    Raises:
        ValueError: if the shapes do not match, or a mask or box is empty.
    """
    values = real_numbers(truth, "masks or boxes").to(maps.device)
    if values.isnan().any():
        raise ValueError("masks or boxes hold NaN, expected numbers")
    if values.shape == maps.shape:
        masks = values != 0
    elif values.shape == (*maps.shape[:-2], 4):
        masks = mask_from_box(values, (maps.shape[-2], maps.shape[-1]))
    else:
        raise ValueError(
            f"masks or boxes have shape {tuple(values.shape)} for maps {tuple(maps.shape)}, expected masks "
            f"{tuple(maps.shape)} or boxes {(*maps.shape[:-2], 4)}"
        )
    empty = ~masks.flatten(-2).any(-1)
    if empty.any():
        first = empty.flatten().nonzero()[0].item()
        raise ValueError(
            f"{int(empty.sum())} of {empty.numel()} masks or boxes are empty, the first at index {first}. Expected at "
            "least one pixel each: leave out the maps of objects that are not in the image."
        )
    return masks
