"""Copies of a layer's output with one channel silenced in each, in whatever layout the output is."""

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
        value: of a silenced channel.

    Attributes:
        live: the channels that are not silent anyway, (n,).
        nbytes: size of one copy.
        half_precision: whether the values are.
    """

    def __init__(self, output: Any, transform: Callable[[Any], Tensor], value: float) -> None:
        self._leaves, self._structure = tree_flatten(output)
        leaves = [_dequantized(leaf) for leaf in self._leaves]
        self._index, self._positions = _positions_of_channels(leaves, self._structure, transform)
        self._tensor: Tensor = leaves[self._index]
        self._values = self._tensor.flatten()[self._positions]
        self._silence = value
        self._buffer: Tensor | None = None
        self.live = (self._values != value).any(dim=1).nonzero().flatten()
        self.nbytes = self._tensor.nbytes
        self.half_precision = self._tensor.dtype in HALF_PRECISION

    @contextmanager
    def silenced(self, channels: Tensor) -> Iterator[Any]:
        """One copy for each of some channels, that one silenced; they stand in a buffer that is used again."""
        copies = len(channels)
        if self._buffer is None or len(self._buffer) < copies:
            self._buffer = self._tensor.flatten().repeat(copies, 1)
        buffer, positions = self._buffer[:copies], self._positions[channels]
        buffer.scatter_(1, positions, self._silence)
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
    """Which of an output's tensors holds the activations, and where its channels lie in it when flattened, (C, P).

    The numbers of the channels are pulled back through the transform, as gradients are.
    """
    with torch.enable_grad():
        inputs = [leaf.detach().float().clone().requires_grad_() if _is_real(leaf) else leaf for leaf in leaves]
        activations = transform(tree_unflatten(inputs, structure))
    sources = [index for index, leaf in enumerate(leaves) if _is_real(leaf)]
    if not activations.requires_grad:
        raise ValueError("reshape_transform detaches what it is given; expected one that only picks and moves values")
    channels = activations.shape[1]
    numbers = torch.arange(1.0, channels + 1, device=activations.device, dtype=activations.dtype)
    numbers = numbers.view(-1, *[1] * (activations.ndim - 2)).expand_as(activations)
    pulled = torch.autograd.grad(
        activations, [inputs[i] for i in sources], numbers, retain_graph=True, allow_unused=True
    )
    reached = [(index, gradient) for index, gradient in zip(sources, pulled, strict=True) if gradient is not None]
    index, weighted = reached[0]
    (weight,) = torch.autograd.grad(activations, inputs[index], torch.ones_like(activations))
    number = torch.where(weight == 0, 0, weighted / weight).flatten()

    order = number.argsort(stable=True)[(number == 0).sum() :]
    if (
        len(reached) > 1
        or not len(order)
        or len(order) % channels
        or (number[order].view(channels, -1) - numbers.flatten(2)[0, :, :1]).abs().max() > 1e-3
    ):
        raise ValueError(
            "reshape_transform mixes channels or tensors; to silence one channel AblationCAM needs a transform that "
            "keeps each value of one tensor in one channel"
        )
    return index, order.view(channels, -1)


def _dequantized(leaf: Any) -> Any:
    return leaf.dequantize() if isinstance(leaf, Tensor) and leaf.is_quantized else leaf


def _is_real(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()
