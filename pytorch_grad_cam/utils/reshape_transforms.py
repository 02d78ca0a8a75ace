"""Transforms from tokens to activations (B, C, *S), for layouts that are not detected automatically."""

from collections.abc import Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor

from pytorch_grad_cam._engine.describe import describe
from pytorch_grad_cam._engine.layouts import Layout, Transform, first_tensor
from pytorch_grad_cam._engine.maps import resize


def tokens_to_grid(*grid: int, prefix: int = 0) -> Transform:
    """Make a transform from tokens (B, prefix + N, C), with N patches, to activations (B, C, *grid).

    The transform also accepts (B, *grid, C). If the layer returns several tensors, it takes the first.

    Args:
        grid: number of patches along each axis, such as height and width.
        prefix: number of tokens before the patches, such as class and register tokens.

    Returns:
        function from the output of a layer to a tensor (B, C, *grid); raises ValueError if the number of tokens is not
        prefix + N

    Example:
        >>> import torch
        >>> tokens_to_grid(14, 14, prefix=1)(torch.zeros(2, 197, 768)).shape
        torch.Size([2, 768, 14, 14])
    """

    def transform(output: Any) -> Tensor:
        tokens = first_tensor(output)
        if isinstance(tokens, Tensor) and tuple(tokens.shape[1:-1]) == grid:
            return Layout(grid, channels_last=True)(tokens)
        layout = Layout(grid, channels_last=True, prefix=prefix)
        if not isinstance(tokens, Tensor) or tokens.ndim != 3 or tokens.shape[1] != prefix + prod(grid):
            raise ValueError(
                f"the layer returned {describe(output)}; expected tokens {layout}: check grid and prefix of the "
                "reshape_transform for this input size"
            )
        return layout(tokens)

    return transform


def vit_reshape_transform(tensor: Tensor, height: int = 14, width: int = 14) -> Tensor:
    """Reshape tokens of a ViT with one class token, (B, 1 + height * width, C), to (B, C, height, width).

    Args:
        tensor: tokens (B, 1 + height * width, C).
        height: rows of patches.
        width: columns of patches.

    Raises:
        ValueError: if the number of tokens is not 1 + height * width.
    """
    return tokens_to_grid(height, width, prefix=1)(tensor)


def fasterrcnn_reshape_transform(x: Mapping[str, Tensor]) -> Tensor:
    """Concatenate the levels of a feature pyramid along the channels, in the size of the level "pool".

    Absolute values are taken, since the signs of the levels are arbitrary.

    Args:
        x: levels {name: (B, C, H_l, W_l)}, among them "pool".

    Returns:
        (B, L * C, H, W) for L levels
    """
    size = x["pool"].shape[2:]
    return torch.cat([resize(level.abs(), size) for level in x.values()], dim=1)


def swinT_reshape_transform(tensor: Tensor, height: int = 7, width: int = 7) -> Tensor:  # noqa: N802 name in grad-cam 1.x
    """Reshape tokens of a Swin, (B, height * width, C) or (B, height, width, C), to (B, C, height, width).

    Args:
        tensor: tokens (B, height * width, C) or (B, height, width, C).
        height: rows of patches.
        width: columns of patches.

    Raises:
        ValueError: if the number of tokens is not height * width.
    """
    return tokens_to_grid(height, width)(tensor)
