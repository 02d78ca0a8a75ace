"""Maps against the truth: where the object is, as a mask of its pixels or as a box.

Every function takes maps (..., H, W), arrays or tensors, with masks (..., H, W) or boxes (..., 4), and gives one figure
for each map, a tensor (...) where the maps are. Boxes are (x0, y0, x1, y1) in pixels, x1 and y1 exclusive. A mask or
box without a pixel is a ValueError, and so are shapes that do not go together and maps that hold NaN.
"""

from typing import Any

import torch
from torch import Tensor

from pytorch_grad_cam.metrics._validation import as_maps, as_masks
from pytorch_grad_cam.utils.regions import Region, box_from_map, mask_from_box, mask_from_map


def pointing_game(maps: Any, truth: Any, tolerance: float = 0) -> Tensor:
    """Whether the peak of each map lies on the object.

    Of several pixels that share the peak the first in reading order counts. A constant map has no peak: it misses.

    Zhang et al., 2016, section 5.1, https://arxiv.org/abs/1608.00507

    Differs from the paper: no tolerance unless asked for; the paper forgives 15 pixels.

    Args:
        maps: (..., H, W)
        truth: masks (..., H, W) or boxes (..., 4).
        tolerance: how far from the object, in pixels from centre to centre, still counts as a hit.

    Returns:
        bool (...)

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
    # argmax leaves open which of equals it gives.
    peak = (flat == flat.amax(-1, keepdim=True)).int().cumsum(-1).eq(0).sum(-1)
    height, width = maps.shape[-2:]
    y, x = (torch.arange(length, device=maps.device) for length in (height, width))
    rows, columns = (peak // width)[..., None] - y, (peak % width)[..., None] - x
    near = rows.square()[..., :, None] + columns.square()[..., None, :] <= tolerance**2
    hit: Tensor = (near & masks).flatten(-2).any(-1) & (flat.amax(-1) > flat.amin(-1))
    return hit


def energy_pointing_game(maps: Any, truth: Any) -> Tensor:
    """The share of each map's energy, the sum of its values, that lies on the object.

        sum of L_ij inside / sum of L_ij everywhere

    A blank map has no energy: 0.

    Wang et al. (Score-CAM), 2020, section 4.3, https://arxiv.org/abs/1910.01279

    Differs from the paper: nothing; besides boxes it takes masks.

    Args:
        maps: (..., H, W), at least 0.
        truth: masks (..., H, W) or boxes (..., 4).

    Returns:
        (...) in [0, 1], the dtype of the maps

    Example:
        >>> energy_pointing_game(torch.tensor([[0.0, 1.0], [1.0, 2.0]]), [1, 0, 2, 2])
        tensor(0.7500)
    """
    maps = as_maps(maps)
    if maps.min() < 0:
        raise ValueError(f"maps go down to {maps.min().item():.4g}, expected values of at least 0: give maps.relu()")
    masks = as_masks(truth, maps)
    values = maps / maps.amax(dim=(-2, -1), keepdim=True)  # however large, their sum is finite
    share = (values * masks).sum(dim=(-2, -1)) / values.sum(dim=(-2, -1))
    result: Tensor = share.nan_to_num(0)
    return result


def mask_iou(maps: Any, truth: Any, threshold: float = 0.5) -> Tensor:
    """Intersection over union of the pixels that each map marks, `mask_from_map`, with those of the object.

    A blank map marks nothing: 0.

    Args:
        maps: (..., H, W)
        truth: masks (..., H, W) or boxes (..., 4), which stand for all their pixels.
        threshold: share of the map's peak from which a pixel is marked, in (0, 1].

    Returns:
        float32 (...) in [0, 1]

    Example:
        >>> mask_iou(torch.tensor([[0.0, 0.9], [0.6, 1.0]]), torch.tensor([[0, 1], [0, 1]]))
        tensor(0.6667)
    """
    maps = as_maps(maps)
    return _iou(mask_from_map(maps, threshold), as_masks(truth, maps))


def box_iou(maps: Any, truth: Any, threshold: float = 0.5, region: Region = "largest") -> Tensor:
    """Intersection over union of the box around the main region of each map, `box_from_map`, with the object's box.

    A blank map has no box: 0. With threshold=0.15 a localisation counts in section 4.1 of Grad-CAM
    (https://arxiv.org/abs/1610.02391) if this is above 0.5.

    Args:
        maps: (..., H, W)
        truth: boxes (..., 4), or masks (..., H, W), for which the boxes around them stand.
        threshold: share of the map's peak from which a pixel is marked, in (0, 1].
        region: the main one of the connected regions, "largest" or "strongest".

    Returns:
        float32 (...) in [0, 1]

    Example:
        >>> box_iou(torch.tensor([[0.0, 0.9], [0.6, 1.0]]), [1, 0, 2, 2])
        tensor(0.5000)
    """
    maps = as_maps(maps)
    masks = as_masks(truth, maps)
    height, width = maps.shape[-2:]
    box = mask_from_box(box_from_map(maps, threshold, region), (height, width))
    rows, columns = (_filled(masks.any(axis)) for axis in (-1, -2))
    around = rows[..., :, None] & columns[..., None, :]
    return _iou(box, around)


def _filled(inside: Tensor) -> Tensor:
    """From the first True to the last along the last axis."""
    inside = inside.int()
    return (inside.cumsum(-1) > 0) & (inside.flip(-1).cumsum(-1).flip(-1) > 0)


def _iou(first: Tensor, second: Tensor) -> Tensor:
    return (first & second).sum(dim=(-2, -1)) / (first | second).sum(dim=(-2, -1))
