"""Copies of a layer's output with one channel ablated in each, in whatever layout the output is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from pytorch_grad_cam._engine.precision import HALF_PRECISION
from pytorch_grad_cam._engine.replay import repeat


class AblatedCopies:
    """Copies of what a layer returned for one image; what no channel reaches, such as a class token, stays untouched.

    Args:
        output: what the layer returned, of any structure.
        transform: from there to activations (1, C, *S).
        value: of a ablated channel.

    Attributes:
        live: the channels that are not ablated anyway, (n,).
        nbytes: size of one copy.
        half_precision: whether the values are.
    """

    def __init__(self, output: Any, transform: Callable[[Any], Tensor], value: float) -> None:
        self._leaves, self._structure = tree_flatten(output)
        leaves = [_dequantized(leaf) for leaf in self._leaves]
        self._index, self._positions = _positions_of_channels(leaves, self._structure, transform)
        self._tensor: Tensor = leaves[self._index]
        self._values = self._tensor.flatten()[self._positions]
        self._ablated_value = value
        self._buffer: Tensor | None = None
        self.live = (self._values != value).any(dim=1).nonzero().flatten()
        self.nbytes = self._tensor.nbytes
        self.half_precision = self._tensor.dtype in HALF_PRECISION

    @contextmanager
    def ablated(self, channels: Tensor) -> Iterator[Any]:
        """One copy for each of some channels, that one ablated; they stand in a buffer that is used again."""
        copies = len(channels)
        if self._buffer is None or len(self._buffer) < copies:
            self._buffer = self._tensor.flatten().repeat(copies, 1)
        buffer, positions = self._buffer[:copies], self._positions[channels]
        buffer.scatter_(1, positions, self._ablated_value)
        version = buffer._version
        try:
            yield self._with_tensor(buffer.view(-1, *self._tensor.shape[1:]), copies)
        except BaseException:  # such as one for want of memory, of which this is the largest piece
            self._buffer = None
            raise
        if buffer._version == version:
            buffer.scatter_(1, positions, self._values[channels])
        else:  # an in-place operation of the model went over it
            self._buffer = None

    def _with_tensor(self, tensor: Tensor, copies: int) -> Any:
        original = self._leaves[self._index]
        if original.is_quantized:
            tensor = torch.quantize_per_tensor(tensor, original.q_scale(), original.q_zero_point(), original.dtype)
        leaves = [tensor if i == self._index else repeat(leaf, copies) for i, leaf in enumerate(self._leaves)]
        return tree_unflatten(leaves, self._structure)


def _positions_of_channels(leaves: list[Any], structure: Any, transform: Callable[[Any], Tensor]) -> tuple[int, Tensor]:
    """Find the tensor of an output that holds the activations, and each channel's positions in it, (C, P).

    An index tensor goes through the transform in place of each tensor. Where the transform only moves values, the
    indices that come out say where each value came from; that is proved on the values themselves.
    """
    activations = transform(tree_unflatten(leaves, structure))
    for number, leaf in enumerate(leaves):
        if not _is_real(leaf):
            continue
        indices = torch.arange(leaf.numel(), dtype=torch.float64, device=leaf.device).view_as(leaf)
        try:
            moved = transform(tree_unflatten([*leaves[:number], indices, *leaves[number + 1 :]], structure))
        except Exception:  # a transform of the user's own may join this tensor with others of another dtype
            continue
        positions = moved.flatten(2)[0].long()
        inside = moved.dtype == torch.float64 and bool(((positions >= 0) & (positions < leaf.numel())).all())
        values = leaf.flatten()[positions].to(activations.dtype) if inside else None
        if values is None or not torch.equal(values, activations.flatten(2)[0]):
            continue
        channels = torch.arange(len(positions), device=leaf.device).unsqueeze(1).expand_as(positions)
        channel_of = torch.zeros(leaf.numel(), dtype=torch.long, device=leaf.device)
        channel_of[positions] = channels
        if torch.equal(channel_of[positions], channels):  # no value belongs to two channels
            return number, positions
    raise ValueError(
        "reshape_transform computes new values or mixes tensors; to ablate one channel AblationCAM needs a transform "
        "that only picks and moves the values of one tensor"
    )


def _dequantized(leaf: Any) -> Any:
    return leaf.dequantize() if isinstance(leaf, Tensor) and leaf.is_quantized else leaf


def _is_real(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()
