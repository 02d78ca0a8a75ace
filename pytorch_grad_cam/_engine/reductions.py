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

    Each channel is centered over space. The sign of a component is arbitrary: here it correlates positively with the
    channel sum, which gives the same map on every device and linear-algebra library. Where the channel sum is
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
    """Correlation, by sign, of the component (B, K, P) with the channel sum of x (B, K, C, P).

    (B, K, 1), at least 0 if it has.
    """
    agreement = (component * x.sum(dim=2)).sum(dim=2, keepdim=True)
    # The square of the most it could be, but for rounding: the sum of the eigenvalues is that of all squares.
    most = values[..., -1:].clamp(min=0) * values.sum(dim=2, keepdim=True) * x.shape[2]
    certain = agreement.square() > torch.finfo(x.dtype).eps * most
    return torch.where(certain, agreement, component.pow(3).sum(dim=2, keepdim=True))


def mean_of_layers(layer_maps: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    """Mean over layers of the positive part of each map, each in [0, 1] at input size; the result is in [0, 1] again.

    Args:
        layer_maps: one signed map (B, K, *S) per layer, S may differ.
        size: spatial size of the result.

    Returns:
        (B, K, *size), 0 everywhere for an image and target of which any layer's map is not finite
    """
    space = tuple(range(2, 2 + len(size)))
    # Where any of it is not finite, the rest would show half the truth.
    largest = reduce(torch.maximum, (layer_map.abs().amax(dim=space, keepdim=True) for layer_map in layer_maps))
    positive = [torch.where(largest < inf, layer_map, 0).relu() for layer_map in layer_maps]
    first, *rest = [resize(rescale(layer_map), size) for layer_map in positive]
    return rescale(sum(rest, start=first))  # of their mean it would be the same


def check_weights(method: str, weights: Tensor, activations: Tensor) -> None:
    """Check that the channel weights of a method broadcast to activations (B, 1, C, *S).

    Raises:
        ValueError: if they are not (B, K, C, 1, 1) or (B, K, C, *S).
    """
    batch, _, channels, *space = activations.shape
    fits = (
        isinstance(weights, Tensor)
        and weights.ndim == activations.ndim
        and (weights.shape[0], weights.shape[2]) == (batch, channels)
        and all(size in (1, positions) for size, positions in zip(weights.shape[3:], space, strict=True))
    )
    if not fits:
        shape = tuple(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
        ones = ", 1" * len(space)
        raise ValueError(
            f"channel_weights of {method} returned {shape} for activations {tuple(activations.shape)}; expected "
            f"({batch}, K, {channels}{ones}) or ({batch}, K, {channels}, {', '.join(map(str, space))}); "
            "keepdim=True keeps reduced axes"
        )


def check_map(method: str, layer_map: Tensor, activations: Tensor) -> None:
    """Check that a layer's map has the positions of its activations (B, 1, C, *S).

    Raises:
        ValueError: if it is not (B, K, *S).
    """
    batch, _, _, *space = activations.shape
    if layer_map.ndim != 2 + len(space) or [layer_map.shape[0], *layer_map.shape[2:]] != [batch, *space]:
        raise ValueError(
            f"the layer map of {method} is {tuple(layer_map.shape)}; expected ({batch}, K, "
            f"{', '.join(map(str, space))})"
        )
