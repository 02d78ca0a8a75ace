"""Batch normalisation folded into the convolution before it, while many copies of an image are scored."""

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any, NamedTuple
from weakref import ref

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.fusion import fuse_conv_bn_weights

from pytorch_grad_cam.modes import CallMode
from pytorch_grad_cam.utils.trees import tensors_in

logger = logging.getLogger(__name__)


class FoldedNorms:
    """Runs copies of an image with convolutions whose weights do what the batch normalisation after them would.

    The first copies run with the model as it is, while it is watched which convolution's output nothing but one
    normalisation reads. From then on these pairs are folded, if two copies get the same outputs again. The model is not
    changed, only what this thread's calls of convolutions and `batch_norm` do, and each is looked at: where an output
    or a weight is used otherwise than by the first copies, folding ends, and those copies run as all others did.

    Args:
        run: some of the channels, (m,), to what the model returns for the m copies changed there.
    """

    def __init__(self, run: Callable[[Tensor], Any]) -> None:
        self._run = run
        self._folds: dict[int, _Fold] | None = None

    def __call__(self, channels: Tensor) -> Any:
        """What the model returns."""
        outputs = None
        if self._folds is None:
            watch = _Watch()
            outputs = self._attempt(watch, channels)
            self._folds = {} if outputs is None else self._proved_folds(watch, channels, outputs)
        elif self._folds:
            outputs = self._attempt(_Folded(self._folds), channels)
            if outputs is None:
                self._folds = {}
        return self._run(channels) if outputs is None else outputs

    def _attempt(self, mode: "_Watch | _Folded", channels: Tensor) -> Any:
        """The outputs; None where they may be wrong, or it fails: if for another reason, the plain way fails again."""
        try:
            with mode.running():
                outputs = self._run(channels)
            return outputs if mode.is_sound() else None
        except Exception as error:  # a model that cannot be run like this fails in any way it likes
            logger.info("batch normalisation is not folded: %s", error)
            return None

    def _proved_folds(self, watch: "_Watch", channels: Tensor, outputs: Any) -> "dict[int, _Fold]":
        try:
            folds = watch.folds()
            return folds if folds and self._is_exact(folds, channels, outputs) else {}
        except Exception as error:  # weights and outputs may be tensors of any kind
            logger.info("batch normalisation is not folded: %s", error)
            return {}

    def _is_exact(self, folds: "dict[int, _Fold]", channels: Tensor, outputs: Any) -> bool:
        some = min(2, len(channels))
        gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
        with torch.random.fork_rng(gpus):  # who draws numbers gets those that he would get without this
            again = self._attempt(_Folded(folds), channels[:some])
        found, expected = tensors_in(again), tensors_in(outputs)
        return len(found) == len(expected) > 0 and all(
            _is_close(a, b[:some] if b.ndim and len(b) == len(channels) else b)
            for a, b in zip(found, expected, strict=True)
        )


def _is_close(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    if not found.is_floating_point():
        return torch.equal(found, expected)
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-9}.get(found.dtype, 0.0)
    most = tolerance * expected.abs().max() if expected.numel() else 0
    return bool(((found - expected).abs() <= most).all())


class _Norm(NamedTuple):
    """The arguments of `batch_norm`."""

    input: Any
    running_mean: Any
    running_var: Any
    weight: Any = None
    bias: Any = None
    training: bool = False
    momentum: float = 0.1
    eps: float = 1e-5


class _Fold:
    """A convolution's weight and bias with a normalisation in them."""

    def __init__(self, weight: Tensor, bias: Tensor | None, norm: _Norm) -> None:
        self._norm = norm._replace(input=None)
        self._convolution = weight, bias
        self._versions = self._versions_now()
        self.weight, self.bias = fuse_conv_bn_weights(
            weight, bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )

    @cached_property
    def _weight_with_channels_last(self) -> Tensor:
        return self.weight.contiguous(memory_format=torch.channels_last)

    def weight_for(self, given: Tensor) -> Tensor:
        """In the order of what it is applied to, or each call would bring it there."""
        last = given.ndim == 4 and given.is_contiguous(memory_format=torch.channels_last)
        return self._weight_with_channels_last if last and not given.is_contiguous() else self.weight

    @property
    def tensors(self) -> list[Tensor]:
        """All that it was made of."""
        return [tensor for tensor in (*self._convolution, *self._norm[1:5]) if tensor is not None]

    def is_of(self, weight: Tensor, bias: Tensor | None) -> bool:
        """Whether it is of this convolution, and nothing in it has changed."""
        return _same((weight, bias), self._convolution) and self._versions_now() == self._versions

    def is_with(self, norm: _Norm) -> bool:
        """Whether this normalisation is in it."""
        return not norm.training and _same(norm[1:5], self._norm[1:5]) and norm.eps == self._norm.eps

    def _versions_now(self) -> list[int]:
        """How often each tensor was changed in place."""
        return [tensor._version for tensor in self.tensors]


def _same(some: Iterable[Any], others: Iterable[Any]) -> bool:
    return all(one is other for one, other in zip(some, others, strict=True))


class _Call:
    """A call of a convolution: what it computed with, and who read what it gave."""

    def __init__(self, weight: Tensor, bias: Tensor | None, output: Tensor) -> None:
        self.weight, self.bias, self.output = weight, bias, ref(output)
        self.norms: list[_Norm] = []
        self.read_otherwise = False

    @property
    def can_be_folded(self) -> bool:
        """Whether one normalisation was all that read the output, and nobody keeps it."""
        return len(self.norms) == 1 and not self.read_otherwise and self.output() is None


class _Watch(CallMode):
    """Has each convolution's output carry its call, and each call its readers."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[_Call] = []
        self._read: set[int] = set()  # ids of tensors

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = func(*args, **kwargs)
        if func is F.batch_norm:
            norm = _Norm(*args, **kwargs)
            if call := getattr(norm.input, "call", None):
                call.norms.append(norm._replace(input=None))  # which is not to be kept
        elif func in _CONVOLUTIONS:
            given, weight, bias, *_ = _arguments(*args, **kwargs)
            self._note([given])
            if _is_foldable(given, weight):
                output.call = _Call(weight, bias, output)
                self._calls.append(output.call)
        elif not _is_about_the_shape(func, output):
            self._note(_tensors(args, kwargs))
        return output

    def _note(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            self._read.add(id(tensor))
            if call := getattr(tensor, "call", None):
                call.read_otherwise = True

    def is_sound(self) -> bool:
        """Nothing was changed."""
        return True

    def folds(self) -> dict[int, _Fold]:
        """By the id of the weight; of those that go with one normalisation in all of their calls."""
        folds: dict[int, _Fold] = {}
        apart = set()
        for call in self._calls:
            key = id(call.weight)
            if call.can_be_folded and key not in folds:
                folds[key] = _Fold(call.weight, call.bias, call.norms[0])
            fold = folds.get(key)
            if not (call.can_be_folded and fold and fold.is_of(call.weight, call.bias) and fold.is_with(call.norms[0])):
                apart.add(key)
            if (kept := call.output()) is not None:
                delattr(kept, "call")
        return {
            key: fold
            for key, fold in folds.items()
            if key not in apart and self._read.isdisjoint(map(id, fold.tensors))
        }


class _Folded(CallMode):
    """Has convolutions give what their normalisation would make of it, which then does nothing."""

    def __init__(self, folds: dict[int, _Fold]) -> None:
        super().__init__()
        self._folds = folds
        self._parts = {id(tensor) for fold in folds.values() for tensor in fold.tensors}
        self._outputs: list[ref[Tensor]] = []
        self._used_otherwise = False

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func in _CONVOLUTIONS:
            given, weight, bias, others, options = _arguments(*args, **kwargs)
            fold = self._folds.get(id(weight))
            if fold and fold.is_of(weight, bias) and _is_foldable(given, weight) and not hasattr(given, "fold"):
                output = func(given, fold.weight_for(given), fold.bias, *others, **options)
                output.fold = fold
                self._outputs.append(ref(output))
                return output
        elif func is F.batch_norm:
            norm = _Norm(*args, **kwargs)
            fold = getattr(norm.input, "fold", None)
            if fold and fold.is_with(norm):
                norm.input.fold = None  # read once; what goes on is another tensor
                return norm.input.view_as(norm.input)
        output = func(*args, **kwargs)
        if not _is_about_the_shape(func, output) and any(map(self._is_ours, _tensors(args, kwargs))):
            self._used_otherwise = True  # should the model catch what is raised
            raise _OtherUseError("something else reads a convolution's output, or its weights")
        return output

    def is_sound(self) -> bool:
        """Whether nothing but normalisations read what convolutions gave, and nobody keeps it."""
        return not self._used_otherwise and all(output() is None for output in self._outputs)

    def _is_ours(self, tensor: Tensor) -> bool:
        return hasattr(tensor, "fold") or id(tensor) in self._parts


class _OtherUseError(Exception):
    """The copies have to run again, without folds."""


_CONVOLUTIONS = {torch.conv1d, torch.conv2d, torch.conv3d}
_OF_THE_SHAPE = {Tensor.dim, Tensor.size}


def _arguments(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, *others: Any, **options: Any
) -> tuple[Tensor, Tensor, Tensor | None, tuple[Any, ...], dict[str, Any]]:
    """Those of a convolution."""
    return input, weight, bias, others, options


def _is_foldable(given: Tensor, weight: Tensor) -> bool:
    """Not in half precision, where the weights would lose what the normalisation makes up for; with a batch axis."""
    precise = given.dtype == weight.dtype in (torch.float32, torch.float64)
    return precise and given.ndim == weight.ndim and not torch.is_autocast_enabled(given.device.type)


def _is_about_the_shape(func: Any, output: Any) -> bool:
    """Whether a function reads no values: dim() and size(), and attributes that are no tensors."""
    return func in _OF_THE_SHAPE or (getattr(func, "__name__", "") == "__get__" and not isinstance(output, Tensor))


def _tensors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Tensor]:
    """Among the arguments of a function of PyTorch, and in their lists."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from (one for one in value if isinstance(one, Tensor))
