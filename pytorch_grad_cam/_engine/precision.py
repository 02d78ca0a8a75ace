"""Compute in float32 what a half-precision model computes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pytorch_grad_cam._engine.model_state import restoring
from pytorch_grad_cam._engine.pytree import map_tensors

HALF_PRECISION = (torch.float16, torch.bfloat16)


@contextmanager
def in_float32(device: torch.device) -> Iterator[None]:
    """Have every operation in this thread compute in float32 what is in half precision, weights too, without autocast.

    What is in half precision is only read: an operation in place on it would go to a copy, so give `at_least_float32`.
    """
    with torch.autocast(device.type, enabled=False), _InFloat32().running():
        yield


class CallMode(TorchFunctionMode):
    """Has `call` stand for each function of PyTorch that this thread calls while it is running.

    One that an interrupt leaves on PyTorch's stack of modes does nothing any more.
    """

    _runs = False

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the block."""

        def stop() -> None:
            self._runs = False

        with restoring(stop):
            self._runs = True
            with self:
                yield

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.call(func, args, kwargs or {}) if self._runs else func(*args, **(kwargs or {}))

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the result of the function."""
        raise NotImplementedError


class _InFloat32(CallMode):
    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if getattr(func, "__name__", "") != "__get__":  # of an attribute, such as a shape
            args, kwargs = at_least_float32((args, kwargs))
        return func(*args, **kwargs)


def at_least_float32(values: Any) -> Any:
    """Values of any structure, tensors in half precision as float32."""
    return map_tensors(_at_least_float32, values)


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in HALF_PRECISION else tensor
