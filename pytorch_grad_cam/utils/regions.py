"""What a map marks: the pixels near its peak, and the box around its main region."""

from typing import Any, Literal, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Region = Literal["largest", "strongest"]


def check_threshold(threshold: float) -> float:
    """A share of the peak, in (0, 1].

    Raises:
        ValueError: if it is another number.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold is {threshold!r}, expected a share of the map's peak in (0, 1]")
    return threshold


@overload
def mask_from_map(map: Tensor, threshold: float = 0.5) -> Tensor: ...
@overload
def mask_from_map(map: NDArray[Any], threshold: float = 0.5) -> NDArray[np.bool_]: ...
def mask_from_map(map: Tensor | NDArray[Any], threshold: float = 0.5) -> Tensor | NDArray[np.bool_]:
    """The pixels of at least a share of the map's peak.

    A map without a positive peak, such as a blank one, marks nothing: its mask is empty.

    Args:
        map: (..., H, W), one map or a batch; each has its own peak.
        threshold: share of the peak, in (0, 1].

    Returns:
        bool (..., H, W), a tensor on the map's device or an array, as the map is

    Raises:
        ValueError: if a map is NaN somewhere, or no (..., H, W), or the threshold is no such share.

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
    """The box around the main one of the connected regions that `mask_from_map` marks.

    Pixels that touch at a corner are connected. The box of a map that marks nothing is empty: (0, 0, 0, 0). Of regions
    of one size the first in reading order counts.

    Args:
        map: (..., H, W), one map or a batch.
        threshold: share of the map's peak, in (0, 1].
        region: "largest" is the region of most pixels, "strongest" the one that holds the peak.

    Returns:
        int64 (..., 4): (x0, y0, x1, y1) in pixels, x1 and y1 exclusive; a tensor on the map's device or an array, as
        the map is

    Raises:
        ValueError: as `mask_from_map`, or if region is neither word.

    Example:
        >>> map = np.zeros((6, 8))
        >>> map[1:3, 2:7], map[5, 0] = 0.8, 1
        >>> box_from_map(map), box_from_map(map, region="strongest")
        (array([2, 1, 7, 3]), array([0, 5, 1, 6]))
    """
    if region not in ("largest", "strongest"):
        raise ValueError(f'region is {region!r}, expected "largest" or "strongest"')
    given = real_numbers(map, "map")
    masks = mask_from_map(given, threshold).cpu().numpy()
    values = given.cpu().double().numpy()  # as the mask: what float32 cannot tell apart has a peak of its own
    height, width = values.shape[-2:]
    flat = zip(values.reshape(-1, height, width), masks.reshape(-1, height, width), strict=True)
    boxes = np.array([_main_box(one, mask, region) for one, mask in flat], np.int64).reshape(*values.shape[:-2], 4)
    return torch.from_numpy(boxes).to(map.device) if isinstance(map, Tensor) else boxes


def real_numbers(values: Any, name: str) -> Tensor:
    """Tensors, arrays, numbers, or lists of them, as one tensor that is cut off from any graph.

    Raises:
        TypeError: if they are no real numbers, naming the argument.
        ValueError: if those in a list differ in shape.
    """
    if isinstance(values, list | tuple):
        parts = [real_numbers(value, name) for value in values]
        if len({part.shape for part in parts}) != 1:
            shapes = ", ".join(str(tuple(part.shape)) for part in parts)
            raise ValueError(f"{name} is a list of shapes {shapes or 'none'}, expected one or more of one shape")
        return torch.stack(parts)
    try:
        tensor = torch.as_tensor(values if isinstance(values, Tensor) else np.ascontiguousarray(values)).detach()
    except TypeError:
        tensor = None
    if tensor is None or tensor.is_complex():
        kind = type(values).__name__ if tensor is None else str(tensor.dtype)
        raise TypeError(f"{name} is {kind}, expected an array or tensor of real numbers")
    if tensor.dtype in (torch.uint16, torch.uint32, torch.uint64):  # which PyTorch can hardly compute with
        tensor = tensor.to(torch.int64)
    return tensor if isinstance(values, Tensor | np.ndarray) else tensor.reshape(np.shape(values))


def mask_from_box(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """The pixels of boxes (..., 4), x0, y0, x1, y1 with x1 and y1 exclusive: bool (..., H, W).

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
        sizes[0] = 0  # what is not marked
        inside = labels.ravel()
        main = int(inside[(sizes[inside] == sizes.max()).argmax()])
    x, y, width, height = (int(side) for side in statistics[main, :4])
    return x, y, x + width, y + height
