"""Ready-made transforms from tokens to activations (B, C, *S), for layouts that are not recognised by themselves."""

from collections.abc import Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor

from pytorch_grad_cam._engine.describe import describe
from pytorch_grad_cam._engine.layouts import Layout, Transform, first_tensor
from pytorch_grad_cam._engine.maps import resize


def tokens_to_grid(*grid: int, prefix: int = 0) -> Transform:
    """A transform from tokens (B, prefix + N, C), N the number of patches, to activations (B, C, *grid).

    What already has its grid, (B, *grid, C), keeps it. Of an output of several tensors the first is taken.

    Args:
        grid: patches along each axis: height and width.
        prefix: tokens before the patches, such as a class token and registers.

    Raises:
        ValueError: if there are not as many tokens, when the transform is called.

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
                "reshape_transform against the size of the input"
            )
        return layout(tokens)

    return transform


def vit_reshape_transform(tensor: Tensor, height: int = 14, width: int = 14) -> Tensor:
    """Tokens of a ViT with one class token, (B, 1 + height * width, C), to (B, C, height, width)."""
    return tokens_to_grid(height, width, prefix=1)(tensor)


def fasterrcnn_reshape_transform(x: Mapping[str, Tensor]) -> Tensor:
    """The levels of a feature pyramid, {name: (B, C, H_l, W_l)}, as one: (B, L * C, H, W) of the level "pool".

    Magnitudes, resized: the levels differ in scale, and their signs mean nothing there.
    """
    size = x["pool"].shape[2:]
    return torch.cat([resize(level.abs(), size) for level in x.values()], dim=1)


def swinT_reshape_transform(tensor: Tensor, height: int = 7, width: int = 7) -> Tensor:  # noqa: N802 its known name
    """Tokens of a Swin, (B, height * width, C) or (B, height, width, C), to (B, C, height, width)."""
    return tokens_to_grid(height, width)(tensor)
