"""Batch normalisation folded into the convolution before it, while many copies of an image are scored."""

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple
from weakref import ref

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.fusion import fuse_conv_bn_weights

from pytorch_grad_cam.modes import CallMode

logger = logging.getLogger(__name__)


class FoldedNorms:
    """Scores copies of an image with convolutions whose weights do what the batch normalisation after them would.

    The first copies are scored with the model as it is, while it is watched which convolution's output nothing but one
    normalisation reads. From then on these pairs are folded, if two copies get the same scores again. The model is not
    changed, only what this thread's calls of convolutions and `batch_norm` do, and each is looked at: where an output
    is used otherwise than it was by the first copies, folding ends, and those copies are scored as all others were.

    Args:
        score: some of the channels, (m,), to the scores (m, K) of the copies changed there.
    """

    def __init__(self, score: Callable[[Tensor], Tensor]) -> None:
        self._score = score
        self._folds: dict[int, _Fold] | None = None

    def __call__(self, channels: Tensor) -> Tensor:
        """The scores (m, K)."""
        if self._folds is None:
            return self._score_and_watch(channels)
        if self._folds:
            try:
                with _Folded(self._folds).running():
                    return self._score(channels)
            except _OtherUseError:
                logger.info("batch normalisation is not folded any more: what a convolution gives is used otherwise")
                self._folds = {}
        return self._score(channels)

    def _score_and_watch(self, channels: Tensor) -> Tensor:
        self._folds = {}
        watch = _Watch()
        try:
            with watch.running():
                scores = self._score(channels)
        except Exception as error:  # if it was not the watching, the plain way fails again
            logger.info("batch normalisation is not folded: %s", error)
            return self._score(channels)
        try:
            folds = watch.folds()
            if folds and self._is_exact(folds, channels[:2], scores[:2]):
                self._folds = folds
        except Exception as error:  # a model that cannot be run like this fails in any way it likes
            logger.info("batch normalisation is not folded: %s", error)
        return scores

    def _is_exact(self, folds: "dict[int, _Fold]", channels: Tensor, expected: Tensor) -> bool:
        with _Folded(folds).running():
            found = self._score(channels)
        tolerance = 1e-9 if expected.dtype == torch.float64 else 1e-5
        return bool(((found - expected).abs() <= tolerance * expected.abs().amax(dim=0)).all())


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
        fused, self.bias = fuse_conv_bn_weights(
            weight, bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        as_copies_are = weight.ndim == 4 and weight.device.type == "cpu"  # or each call would bring it there
        self.weight = fused.contiguous(memory_format=torch.channels_last) if as_copies_are else fused

    def is_of(self, weight: Tensor, bias: Tensor | None) -> bool:
        """Whether it is of this convolution, and nothing in it has changed."""
        return _same((weight, bias), self._convolution) and self._versions_now() == self._versions

    def is_with(self, norm: _Norm) -> bool:
        """Whether this normalisation is in it."""
        return not norm.training and _same(norm[1:5], self._norm[1:5]) and norm.eps == self._norm.eps

    def _versions_now(self) -> list[int]:
        """How often each tensor was changed in place."""
        return [tensor._version for tensor in (*self._convolution, *self._norm[1:5]) if tensor is not None]


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

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = func(*args, **kwargs)
        if func is F.batch_norm:
            norm = _Norm(*args, **kwargs)
            if call := getattr(norm.input, "call", None):
                call.norms.append(norm._replace(input=None))  # which is not to be kept
        elif not _is_about_the_shape(func, output):
            for tensor in _tensors(args, kwargs):
                if call := getattr(tensor, "call", None):
                    call.read_otherwise = True
        if func in _CONVOLUTIONS:
            given, weight, bias, *_ = _arguments(*args, **kwargs)
            if _is_foldable(given, weight):
                output.call = _Call(weight, bias, output)
                self._calls.append(output.call)
        return output

    def folds(self) -> "dict[int, _Fold]":
        """By the id of the weight; of those that go with one normalisation in all of their calls."""
        folds: dict[int, _Fold] = {}
        apart = set()
        for call in self._calls:
            key = id(call.weight)
            if call.can_be_folded:
                fold = folds.setdefault(key, _Fold(call.weight, call.bias, call.norms[0]))
            if not call.can_be_folded or not (fold.is_of(call.weight, call.bias) and fold.is_with(call.norms[0])):
                apart.add(key)
            if (kept := call.output()) is not None:
                delattr(kept, "call")
        return {key: fold for key, fold in folds.items() if key not in apart}


class _Folded(CallMode):
    """Has convolutions give what their normalisation would make of it, which then does nothing."""

    def __init__(self, folds: dict[int, _Fold]) -> None:
        super().__init__()
        self._folds = folds

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func in _CONVOLUTIONS:
            given, weight, bias, others, options = _arguments(*args, **kwargs)
            fold = self._folds.get(id(weight))
            if fold and fold.is_of(weight, bias) and _is_foldable(given, weight) and not hasattr(given, "fold"):
                output = func(given, fold.weight, fold.bias, *others, **options)
                output.fold = fold
                return output
        elif func is F.batch_norm:
            norm = _Norm(*args, **kwargs)
            fold = getattr(norm.input, "fold", None)
            if fold and fold.is_with(norm):
                norm.input.fold = None  # read once; what goes on is another tensor
                return norm.input.view_as(norm.input)
        output = func(*args, **kwargs)
        if not _is_about_the_shape(func, output) and any(hasattr(t, "fold") for t in _tensors(args, kwargs)):
            raise _OtherUseError
        return output


class _OtherUseError(Exception):
    """Something else than its normalisation reads what a convolution with folded weights gave."""


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
