"""From what a layer returns to activations (B, C, *S): ready-made transforms, and one found from the tensor itself."""

from collections.abc import Callable, Sequence
from math import inf, prod
from typing import Any

from torch import Tensor

MAX_PREFIX = 5  # a class token, and a distillation token or four registers
MAX_DISTORTION = 1.5  # rounding and padding leave some play


def tokens_to_grid(height: int, width: int, prefix: int = 0) -> Callable[[Tensor], Tensor]:
    """A transform from tokens (B, prefix + height * width, C), or (B, height, width, C), to (B, C, height, width).

    Args:
        height: rows of patches.
        width: patches in a row.
        prefix: tokens before the patches, such as a class token and registers.
    """

    def transform(tokens: Tensor) -> Tensor:
        if tokens.ndim == 4 and tokens.shape[1:3] == (height, width):
            return tokens.movedim(-1, 1)
        if tokens.ndim != 3 or tokens.shape[1] != prefix + height * width:
            raise ValueError(
                f"the layer returned {tuple(tokens.shape)}; expected tokens (B, {prefix} + {height} * {width}, C): "
                "check height, width and prefix of the reshape_transform against the size of the input"
            )
        return tokens[:, prefix:].reshape(len(tokens), height, width, -1).movedim(-1, 1)

    return transform


def vit_reshape_transform(tensor: Tensor, height: int = 14, width: int = 14) -> Tensor:
    """Tokens of a ViT with one class token, (B, 1 + height * width, C), to (B, C, height, width)."""
    return tokens_to_grid(height, width, prefix=1)(tensor)


def swinT_reshape_transform(tensor: Tensor, height: int = 7, width: int = 7) -> Tensor:  # noqa: N802 its known name
    """Tokens of a Swin, (B, height * width, C) or (B, height, width, C), to (B, C, height, width)."""
    return tokens_to_grid(height, width)(tensor)


def find_layout(output: Any, inputs: Tensor) -> Callable[[Tensor], Tensor] | None:
    """The transform to (B, C, *S) that a layer's output needs, or None if it keeps no positions of the input.

    Channels come first or last: the spatial axes are those with the input's proportions. Tokens (B, N, C) are a grid of
    square patches of the input, after up to five others.

    Args:
        output: what the layer returned, (B, ...).
        inputs: (B, C_in, *S_in)

    Raises:
        ValueError: if several grids fit the number of tokens.
    """
    size = inputs.shape[2:]
    if not isinstance(output, Tensor) or output.ndim < 3 or len(output) != len(inputs):
        return None
    if output.ndim == inputs.ndim:
        first, last = _distortion(output.shape[2:], size), _distortion(output.shape[1:-1], size)
        if min(first, last) > MAX_DISTORTION:
            return None
        return _unchanged if first <= last else _channels_first
    if output.ndim == 3 and inputs.ndim == 4:
        grids = token_grids(output.shape[1], size)
        if len(grids) > 1:
            fits = " or ".join(f"height={h}, width={w}, prefix={prefix}" for h, w, prefix in grids)
            raise ValueError(
                f"tokens {tuple(output.shape)} of an input {tuple(inputs.shape)} fit several grids; give "
                f"reshape_transform=tokens_to_grid({fits})"
            )
        return tokens_to_grid(*grids[0]) if grids else None
    return None


def token_grids(tokens: int, size: Sequence[int]) -> list[tuple[int, int, int]]:
    """Every (height, width, prefix) that makes a number of tokens from square patches of an input of (H, W)."""
    grids = {
        (size[0] // patch, size[1] // patch) for patch in range(1, min(size) + 1) if not any(s % patch for s in size)
    }
    return [(*grid, tokens - prod(grid)) for grid in grids if prod(grid) > 1 and 0 <= tokens - prod(grid) <= MAX_PREFIX]


def _distortion(spatial: Sequence[int], size: Sequence[int]) -> float:
    """How far a grid is from the proportions of the input: 1 is exact; a single position has none."""
    strides = [whole / part for whole, part in zip(size, spatial, strict=True)]
    return max(strides) / min(strides) if max(spatial) > 1 else inf


def _unchanged(activations: Tensor) -> Tensor:
    return activations


def _channels_first(activations: Tensor) -> Tensor:
    return activations.movedim(-1, 1)
