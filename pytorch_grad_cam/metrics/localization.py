"""Localization metrics: maps against the masks or boxes of objects.

Each function takes maps (..., H, W) with masks (..., H, W) or boxes (..., 4), arrays or tensors. It returns one value
per map, a tensor (...) on the device of the maps. Boxes are (x0, y0, x1, y1) in pixels, x1 and y1 exclusive.
"""

from typing import Any

import torch
from torch import Tensor

from pytorch_grad_cam.metrics._validation import as_maps, as_masks
from pytorch_grad_cam.utils.regions import Region, box_from_map, mask_from_box, mask_from_map


def pointing_game(maps: Any, truth: Any, tolerance: float = 0) -> Tensor:
    """True for each map whose peak lies on the object.

    If several pixels share the peak, the first in reading order counts. A constant map has no peak and is a miss.

    Zhang et al., 2016, section 5.1, https://arxiv.org/abs/1608.00507

    Differs from the paper: the default tolerance is 0; the paper uses 15 pixels.

    Args:
        maps: (..., H, W), any real dtype, finite.
        truth: masks (..., H, W), nonzero inside the object; or boxes (..., 4) as (x0, y0, x1, y1) in pixels.
        tolerance: largest distance from peak to object that is a hit, in pixels between pixel centers.

    Returns:
        bool (...)

    Raises:
        ValueError: if shapes do not match, a mask or box is empty, maps hold NaN, or tolerance is negative.
        TypeError: if maps or truth are not real numbers.

    Example:
        >>> map = torch.zeros(4, 4)
        >>> map[1, 2] = 1
        >>> pointing_game(map, [0, 0, 2, 4]), pointing_game(map, [0, 0, 2, 4], tolerance=1)
        (tensor(False), tensor(True))
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance is {tolerance!r}, expected a distance in pixels of at least 0")
    maps = as_maps(maps)
    masks = as_masks(truth, maps)
    flat = maps.flatten(-2)
    # argmax does not promise the first of equal values.
    peak = (flat == flat.amax(-1, keepdim=True)).int().cumsum(-1).eq(0).sum(-1)
    height, width = maps.shape[-2:]
    y, x = (torch.arange(length, device=maps.device) for length in (height, width))
    rows, columns = (peak // width)[..., None] - y, (peak % width)[..., None] - x
    near = rows.square()[..., :, None] + columns.square()[..., None, :] <= tolerance**2
    hit: Tensor = (near & masks).flatten(-2).any(-1) & (flat.amax(-1) > flat.amin(-1))
    return hit


def energy_pointing_game(maps: Any, truth: Any) -> Tensor:
    """Share of the energy of each map, the sum of its values, that lies on the object.

        sum of L_ij inside / sum of L_ij everywhere

    The share of a blank map is 0.

    Wang et al. (Score-CAM), 2020, section 4.3, https://arxiv.org/abs/1910.01279

    Differs from the paper: masks are accepted besides boxes.

    Args:
        maps: (..., H, W), any real dtype, finite and at least 0.
        truth: masks (..., H, W), nonzero inside the object; or boxes (..., 4) as (x0, y0, x1, y1) in pixels.

    Returns:
        (...) in [0, 1], float64 for float64 maps, otherwise float32

    Raises:
        ValueError: if shapes do not match, a mask or box is empty, or maps hold NaN or a negative value.
        TypeError: if maps or truth are not real numbers.

    Example:
        >>> energy_pointing_game(torch.tensor([[0.0, 1.0], [1.0, 2.0]]), [1, 0, 2, 2])
        tensor(0.7500)
    """
    maps = as_maps(maps)
    if maps.min() < 0:
        raise ValueError(f"maps have a minimum of {maps.min().item():.4g}, expected at least 0: pass maps.relu()")
    masks = as_masks(truth, maps)
    values = maps / maps.amax(dim=(-2, -1), keepdim=True)  # keeps the sum finite
    share = (values * masks).sum(dim=(-2, -1)) / values.sum(dim=(-2, -1))
    result: Tensor = share.nan_to_num(0)
    return result


def mask_iou(maps: Any, truth: Any, threshold: float = 0.5) -> Tensor:
    """Intersection over union of the mask of each map, see `mask_from_map`, with the mask of the object.

    The IoU of a blank map is 0.

    Args:
        maps: (..., H, W), any real dtype, finite.
        truth: masks (..., H, W), nonzero inside the object; or boxes (..., 4) as (x0, y0, x1, y1) in pixels, with all
            pixels of a box inside the object.
        threshold: share of the peak of the map, in (0, 1]; pixels of at least this value are in its mask.

    Returns:
        float32 (...) in [0, 1]

    Raises:
        ValueError: if shapes do not match, a mask or box is empty, maps hold NaN, or threshold is out of range.
        TypeError: if maps or truth are not real numbers.

    Example:
        >>> mask_iou(torch.tensor([[0.0, 0.9], [0.6, 1.0]]), torch.tensor([[0, 1], [0, 1]]))
        tensor(0.6667)
    """
    maps = as_maps(maps)
    return _iou(mask_from_map(maps, threshold), as_masks(truth, maps))


def map_box_iou(maps: Any, truth: Any, threshold: float = 0.5, region: Region = "largest") -> Tensor:
    """Intersection over union of the box of each map, see `box_from_map`, with the box of the object.

    The IoU of a blank map is 0. Section 4.1 of Grad-CAM (https://arxiv.org/abs/1610.02391) counts a localization as
    correct if this is above 0.5 for threshold=0.15.

    Args:
        maps: (..., H, W), any real dtype, finite.
        truth: boxes (..., 4) as (x0, y0, x1, y1) in pixels; or masks (..., H, W), of which the bounding box is taken.
        threshold: share of the peak of the map, in (0, 1]; pixels of at least this value are in its mask.
        region: connected region of the mask to put the box around, "largest" or "strongest".

    Returns:
        float32 (...) in [0, 1]

    Raises:
        ValueError: if shapes do not match, a mask or box is empty, maps hold NaN, or threshold or region is unknown.
        TypeError: if maps or truth are not real numbers.

    Example:
        >>> map_box_iou(torch.tensor([[0.0, 0.9], [0.6, 1.0]]), [1, 0, 2, 2])
        tensor(0.5000)
    """
    maps = as_maps(maps)
    masks = as_masks(truth, maps)
    height, width = maps.shape[-2:]
    box = mask_from_box(box_from_map(maps, threshold, region), (height, width))
    rows, columns = (_fill(masks.any(axis)) for axis in (-1, -2))
    return _iou(box, rows[..., :, None] & columns[..., None, :])


def _fill(inside: Tensor) -> Tensor:
    """Set all values from the first True to the last, along the last axis."""
    inside = inside.int()
    return (inside.cumsum(-1) > 0) & (inside.flip(-1).cumsum(-1).flip(-1) > 0)


def _iou(first: Tensor, second: Tensor) -> Tensor:
    return (first & second).sum(dim=(-2, -1)) / (first | second).sum(dim=(-2, -1))
