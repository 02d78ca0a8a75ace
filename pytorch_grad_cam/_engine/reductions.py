"""From weighted activations (B, K, C, *S) to one signed map per layer (B, K, *S), and from layers to one map."""

from collections.abc import Sequence
from functools import reduce
from math import inf

import torch
from torch import Tensor

from pytorch_grad_cam._engine.maps import rescale, resize, safe_divisor


def channel_sum(weighted: Tensor) -> Tensor:
    """Sum over channels: (B, K, C, *S) -> (B, K, *S)."""
    return weighted.sum(dim=2)


def first_component(weighted: Tensor) -> Tensor:
    """Project on the first principal component of the channels: (B, K, C, *S) -> (B, K, *S).

    What is not finite has none: there the result is not finite either.

    Each channel is centred over space. The sign of a component is arbitrary: here it correlates positively with the
    channel sum, which gives the same picture on every device and linear-algebra library. Where the channel sum is
    constant, as after a LayerNorm, the component is positive at its few strongest positions: its cubes sum above 0.
    """
    x = weighted.flatten(3)
    x = x - x.mean(dim=3, keepdim=True)
    # The Gram matrix squares the values: bring them to 1 first, or small ones would vanish.
    scale = x.abs().amax(dim=(2, 3), keepdim=True)
    x = x.div_(safe_divisor(scale))
    channels, positions = x.shape[2:]
    with torch.autocast(x.device.type, enabled=False):  # the caller's would multiply in half precision
        gram = x @ x.mT if channels < positions else x.mT @ x
        values, vectors = torch.linalg.eigh(gram.nan_to_num())  # which fails on NaN, for all images
        component: Tensor = vectors[..., -1]
        if channels < positions:
            component = (component.unsqueeze(2) @ x).squeeze(2)
        else:
            component = component * values[..., -1:].clamp(min=0).sqrt()
    component = component * scale.squeeze(2).copysign(_sign(component, x, values))
    return component.reshape(component.shape[:2] + weighted.shape[3:])


def _sign(component: Tensor, x: Tensor, values: Tensor) -> Tensor:
    """How well the component (B, K, P) of x (B, K, C, P), with its eigenvalues, has the sign that it shall have.

    (B, K, 1), at least 0 if it has.
    """
    agreement = (component * x.sum(dim=2)).sum(dim=2, keepdim=True)
    # The square of the most it could be, but for rounding: the sum of the eigenvalues is that of all squares.
    most = values[..., -1:].clamp(min=0) * values.sum(dim=2, keepdim=True) * x.shape[2]
    certain = agreement.square() > torch.finfo(x.dtype).eps * most
    return torch.where(certain, agreement, component.pow(3).sum(dim=2, keepdim=True))


def fuse(layer_maps: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    """Mean over layers of the positive part of each map, each in [0, 1] at input size; the result is in [0, 1] again.

    Args:
        layer_maps: one signed map (B, K, *S) per layer, S may differ.
        size: spatial size of the result.

    Returns:
        (B, K, *size), 0 everywhere for an image and target of which any layer's map is not finite
    """
    space = tuple(range(2, 2 + len(size)))
    # Where any of it is not finite, the rest would be a picture of half the truth.
    largest = reduce(torch.maximum, (layer_map.abs().amax(dim=space, keepdim=True) for layer_map in layer_maps))
    positive = [torch.where(largest < inf, layer_map, 0).relu() for layer_map in layer_maps]
    first, *others = [resize(rescale(layer_map), size) for layer_map in positive]
    return rescale(sum(others, start=first))  # of their mean it would be the same
