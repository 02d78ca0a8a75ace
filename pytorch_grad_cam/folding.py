"""Batch normalisation folded into the convolution before it, while many copies of an image are scored."""

import logging
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode

logger = logging.getLogger(__name__)


class FoldedNorms:
    """Scores copies of an image with convolutions whose weights do what the batch normalisation after them would.

    The first copies are scored with the model as it is, while it is watched which normalisation follows which
    convolution. From then on these pairs are folded if the first copy gets its score again. If it does not, as where
    something else reads the convolution's output too, none is. The model is not changed, only what this thread's
    calls of `conv2d` and `batch_norm` do.

    Args:
        score: some of the channels, (m,), to the scores (m, K) of the copies changed there.
    """

    def __init__(self, score: Callable[[Tensor], Tensor]) -> None:
        self._score = score
        self._folds: dict[int, _Fold] | None = None

    def __call__(self, channels: Tensor) -> Tensor:
        """The scores (m, K)."""
        if self._folds is None:
            with _Watch() as watch:
                scores = self._score(channels)
            self._folds = watch.folds
            if not self._is_exact(channels[:1], scores[:1]):
                logger.info("batch normalisation is not folded, for scores would differ")
                self._folds = {}
            return scores
        if not self._folds:
            return self._score(channels)
        with _Folded(self._folds):
            return self._score(channels)

    def _is_exact(self, channels: Tensor, expected: Tensor) -> bool:
        if not self._folds:
            return True
        tolerance = 1e-9 if expected.dtype == torch.float64 else 1e-5
        return torch.allclose(self(channels), expected, 0, tolerance * float(expected.abs().max()))


class _Fold:
    """A convolution's weight and bias with a normalisation in them; `variance` tells which normalisation."""

    def __init__(self, weight: Tensor, bias: Tensor | None, norm: "_Norm") -> None:
        self.original = weight  # held, lest its id come to stand for another tensor
        self.variance = norm.variance
        weight, self.bias = fuse_conv_bn_weights(
            weight, bias, norm.mean, norm.variance, norm.eps, norm.weight, norm.bias
        )
        last = norm.input.ndim == 4 and norm.input.is_contiguous(memory_format=torch.channels_last)
        # In the order of the pictures, or each call would bring it there.
        self.weight = weight.contiguous(memory_format=torch.channels_last) if last else weight


class _Watch(TorchFunctionMode):
    """Finds what can be folded, by the id of the convolution's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.folds: dict[int, _Fold] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if func in _CONVOLUTIONS:
            call = _Convolution(*args, **kwargs)
            # In half precision the weights would lose what the normalisation makes up for.
            if output.dtype == call.weight.dtype in (torch.float32, torch.float64):
                output.made_by = call.weight, call.bias
        elif func is F.batch_norm:
            norm = _Norm(*args, **kwargs)
            if not norm.training and (made_by := getattr(norm.input, "made_by", None)):
                weight, bias = made_by
                self.folds[id(weight)] = _Fold(weight, bias, norm)
        return output


class _Folded(TorchFunctionMode):
    def __init__(self, folds: dict[int, _Fold]) -> None:
        super().__init__()
        self._folds = folds

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _CONVOLUTIONS:
            call = _Convolution(*args, **kwargs)
            if fold := self._folds.get(id(call.weight)):
                output = func(call.input, fold.weight, fold.bias, *call.others, **call.options)
                output.normalised_by = fold.variance
                return output
        elif func is F.batch_norm:
            norm = _Norm(*args, **kwargs)
            if getattr(norm.input, "normalised_by", None) is norm.variance:
                return norm.input
        return func(*args, **kwargs)


_CONVOLUTIONS = {torch.conv1d, torch.conv2d, torch.conv3d}


class _Convolution:
    """The arguments of `conv2d` and its like."""

    def __init__(self, input: Tensor, weight: Tensor, bias: Tensor | None = None, *others: Any, **options: Any) -> None:
        self.input, self.weight, self.bias, self.others, self.options = input, weight, bias, others, options


class _Norm:
    """The arguments of `batch_norm`."""

    def __init__(
        self,
        input: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> None:
        self.input, self.mean, self.variance, self.weight, self.bias = input, running_mean, running_var, weight, bias
        self.training, self.eps = training, eps
