"""Pixels in the order of their relevance, and exact numbers of them."""

from collections.abc import Iterable
from math import floor
from numbers import Real
from typing import Any

import torch
from torch import Tensor


def rank_pixels(maps: Tensor, first: str = "most") -> Tensor:
    """The place of each pixel in the order of relevance: 0 is the first to go.

    Every place is taken once: of pixels of one value the first in reading order goes first.

    Args:
        maps: (N, *S)
        first: "most" or "least" relevant.

    Returns:
        int64 (N, *S), each map a permutation of 0 to the number of its pixels - 1

    Example:
        >>> rank_pixels(torch.tensor([[0.0, 2.0, 0.0, 1.0]]))
        tensor([[2, 0, 3, 1]])
    """
    if first not in ("most", "least"):
        raise ValueError(f'first is {first!r}, expected "most" or "least"')
    order = maps.flatten(1).argsort(dim=1, descending=first == "most", stable=True)
    places = torch.arange(order.shape[1], device=maps.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places).view(maps.shape)


def pixel_counts(percentages: Any, pixels: int) -> list[int]:
    """How many of the pixels each percentage is, to the nearest whole one, halves up.

    Raises:
        ValueError: if there is none, or one lies outside of 0 to 100.

    Example:
        >>> pixel_counts([0, 12.5, 90], pixels=20)
        [0, 3, 18]
    """
    given = list(percentages) if isinstance(percentages, Iterable) else []
    if not given or not all(isinstance(one, Real) and 0 <= float(one) <= 100 for one in given):
        raise ValueError(f"percentages are {percentages!r}, expected a list of at least one, each from 0 to 100")
    return [floor(pixels * float(one) / 100 + 0.5) for one in given]
