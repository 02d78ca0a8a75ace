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

    The channels' numbers are pulled back through the transform, as gradients are. An index tensor sent forwards would
    be shorter, but refuses transforms that pool or resize positions.
    """
    with torch.enable_grad():
        inputs = [leaf.detach().float().clone().requires_grad_() if _is_real(leaf) else leaf for leaf in leaves]
        activations = transform(tree_unflatten(inputs, structure))
    if not activations.requires_grad:
        raise ValueError("reshape_transform detaches its input; expected one that only picks and moves values")
    sources = [index for index, leaf in enumerate(leaves) if _is_real(leaf)]
    count = activations.shape[1]
    numbers = torch.arange(1.0, count + 1, device=activations.device, dtype=activations.dtype)
    numbers = numbers.view(-1, *[1] * (activations.ndim - 2)).expand_as(activations)

    def pull_back(values: Tensor) -> list[Tensor | None]:
        tensors = [inputs[source] for source in sources]
        return list(torch.autograd.grad(activations, tensors, values, retain_graph=True, allow_unused=True))

    pairs = zip(sources, pull_back(numbers), pull_back(torch.ones_like(activations)), strict=True)
    reached = [
        (source, numbered, ones) for source, numbered, ones in pairs if numbered is not None and ones is not None
    ]
    index, numbered, ones = reached[0]
    number = torch.where(ones == 0, 0, numbered / ones).flatten()
    order = number.argsort(stable=True)[(number == 0).sum() :]
    one_channel_each = len(order) and not len(order) % count
    if one_channel_each:
        distance = number[order].view(count, -1) - numbers.flatten(2)[0, :, :1]
        one_channel_each = bool(distance.abs().max() <= 1e-3)
    if len(reached) > 1 or not one_channel_each:
        raise ValueError(
            "reshape_transform mixes channels or tensors; to ablate one channel AblationCAM needs a transform that "
            "keeps each value of one tensor in one channel"
        )
    return index, order.view(count, -1)


def _dequantized(leaf: Any) -> Any:
    return leaf.dequantize() if isinstance(leaf, Tensor) and leaf.is_quantized else leaf


def _is_real(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()
