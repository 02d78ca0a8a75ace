"""Rescaling and resizing of maps."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_INTERPOLATION = {1: "linear", 2: "bilinear", 3: "trilinear"}


def rescale(maps: Tensor) -> Tensor:
    """Min-max each map (B, K, *S) to [0, 1]; a constant map becomes 0."""
    space = tuple(range(2, maps.ndim))
    low = maps.amin(space, keepdim=True)
    return (maps - low).div_(safe_divisor(maps.amax(space, keepdim=True).sub_(low)))


def safe_divisor(values: Tensor) -> Tensor:
    """Divisors of what is 0 wherever they are: there the quotient is 0, not NaN."""
    return torch.where(values > 0, values, 1)


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Linear interpolation of maps (B, K, *S) to (B, K, *size), pixel centers aligned as in `cv2.resize`."""
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    return F.interpolate(maps, tuple(size), mode=_INTERPOLATION[len(size)], align_corners=False)
