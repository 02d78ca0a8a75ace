"""Regions of a map: the mask of the pixels near its peak, and the box around its main region."""

from typing import Any, Literal, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Region = Literal["largest", "strongest"]


def check_threshold(threshold: float) -> float:
    """Check a share of the peak of a map and return it.

    Raises:
        ValueError: if it is not in (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold is {threshold!r}, expected a share of the map's peak in (0, 1]")
    return threshold


@overload
def mask_from_map(map: Tensor, threshold: float = 0.5) -> Tensor: ...
@overload
def mask_from_map(map: NDArray[Any], threshold: float = 0.5) -> NDArray[np.bool_]: ...
def mask_from_map(map: Tensor | NDArray[Any], threshold: float = 0.5) -> Tensor | NDArray[np.bool_]:
    """Mask of the pixels whose value is at least a share of the peak of the map.

    The mask of a map without a positive value, such as a blank map, is empty.

    Args:
        map: array or tensor (..., H, W), any real dtype; each map of a batch has its own peak.
        threshold: share of the peak, in (0, 1].

    Returns:
        bool (..., H, W), an array for an array, a tensor on the same device for a tensor

    Raises:
        ValueError: if the map is not (..., H, W) or holds NaN, or threshold is out of range.
        TypeError: if the map is not real numbers.

    Example:
        >>> mask_from_map(np.array([[0.0, 0.4, 0.5], [0.0, 0.2, 1.0]])).astype(int)
        array([[0, 0, 1],
               [0, 0, 1]])
    """
    check_threshold(threshold)
    values = real_numbers(map, "map")
    if values.ndim < 2 or 0 in values.shape:
        raise ValueError(f"map has shape {tuple(values.shape)}, expected (..., H, W), none of them 0")
    if values.isnan().any():
        raise ValueError("map holds NaN, expected numbers")
    peak = values.amax(dim=(-2, -1), keepdim=True)
    mask = (values >= threshold * peak) & (peak > 0)
    return mask if isinstance(map, Tensor) else mask.numpy()


@overload
def box_from_map(map: Tensor, threshold: float = 0.5, region: Region = "largest") -> Tensor: ...
@overload
def box_from_map(map: NDArray[Any], threshold: float = 0.5, region: Region = "largest") -> NDArray[np.int64]: ...
def box_from_map(
    map: Tensor | NDArray[Any], threshold: float = 0.5, region: Region = "largest"
) -> Tensor | NDArray[np.int64]:
    """Bounding box of the main connected region of `mask_from_map`.

    Pixels that touch at a corner are connected. If the mask is empty, the box is (0, 0, 0, 0). If several regions are
    the largest, the first in reading order counts.

    Args:
        map: array or tensor (..., H, W), any real dtype; each map of a batch has its own peak.
        threshold: share of the peak, in (0, 1].
        region: "largest" for the region with the most pixels, "strongest" for the region with the peak.

    Returns:
        int64 (..., 4): (x0, y0, x1, y1) in pixels, x1 and y1 exclusive; an array for an array, a tensor on the same
        device for a tensor

    Raises:
        ValueError: if the map is not (..., H, W) or holds NaN, threshold is out of range, or region is unknown.
        TypeError: if the map is not real numbers.

    Example:
        >>> map = np.zeros((6, 8))
        >>> map[1:3, 2:7], map[5, 0] = 0.8, 1
        >>> box_from_map(map), box_from_map(map, region="strongest")
        (array([2, 1, 7, 3]), array([0, 5, 1, 6]))
    """
    if region not in ("largest", "strongest"):
        raise ValueError(f'region is {region!r}, expected "largest" or "strongest"')
    tensor = real_numbers(map, "map")
    masks = mask_from_map(tensor, threshold).cpu().numpy()
    values = tensor.cpu().double().numpy()  # float32 would make close float64 values equal, and move the peak
    height, width = values.shape[-2:]
    flat = zip(values.reshape(-1, height, width), masks.reshape(-1, height, width), strict=True)
    boxes = np.array([_main_box(*pair, region) for pair in flat], np.int64).reshape(*values.shape[:-2], 4)
    return torch.from_numpy(boxes).to(map.device) if isinstance(map, Tensor) else boxes


def real_numbers(values: Any, name: str) -> Tensor:
    """Convert tensors, arrays, numbers, or lists of them to one detached tensor.

    Args:
        values: real numbers of any dtype and shape.
        name: name of the argument, for messages.

    Raises:
        TypeError: if the values are not real numbers.
        ValueError: if the items of a list differ in shape.
    """
    if isinstance(values, list | tuple):
        parts = [real_numbers(value, name) for value in values]
        if len({part.shape for part in parts}) != 1:
            shapes = ", ".join(str(tuple(part.shape)) for part in parts)
            raise ValueError(f"{name} is a list of shapes {shapes or 'none'}, expected items of equal shape")
        return torch.stack(parts)
    try:
        tensor = torch.as_tensor(values if isinstance(values, Tensor) else np.ascontiguousarray(values)).detach()
    except TypeError:
        tensor = None
    if tensor is None or tensor.is_complex():
        kind = type(values).__name__ if tensor is None else str(tensor.dtype)
        raise TypeError(f"{name} is {kind}, expected an array or tensor of real numbers")
    if tensor.dtype in (torch.uint16, torch.uint32, torch.uint64):  # PyTorch has few operations for these
        tensor = tensor.to(torch.int64)
    return tensor if isinstance(values, Tensor | np.ndarray) else tensor.reshape(np.shape(values))


def mask_from_box(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Mask of the pixels inside boxes.

    Args:
        boxes: (..., 4) as (x0, y0, x1, y1) in pixels, x1 and y1 exclusive.
        size: (H, W) of the mask.

    Returns:
        bool (..., H, W) on the device of the boxes

    Example:
        >>> mask_from_box(torch.tensor([1, 0, 3, 1]), (2, 4)).int()
        tensor([[0, 1, 1, 0],
                [0, 0, 0, 0]], dtype=torch.int32)
    """
    x0, y0, x1, y1 = (side[..., None, None] for side in boxes.unbind(-1))
    y = torch.arange(size[0], device=boxes.device)[:, None]
    x = torch.arange(size[1], device=boxes.device)
    return (x0 <= x) & (x < x1) & (y0 <= y) & (y < y1)


def _main_box(values: NDArray[Any], mask: NDArray[np.bool_], region: str) -> tuple[int, int, int, int]:
    import cv2

    if not mask.any():
        return 0, 0, 0, 0
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if region == "strongest":
        main = int(labels.flat[values.argmax()])
    else:
        sizes = statistics[:, cv2.CC_STAT_AREA].copy()
        sizes[0] = 0  # the background
        inside = labels.ravel()
        main = int(inside[(sizes[inside] == sizes.max()).argmax()])
    x, y, width, height = (int(side) for side in statistics[main, :4])
    return x, y, x + width, y + height
