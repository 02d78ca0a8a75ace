"""The state in which a model runs while it is explained; given back on exit, whatever happens."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pytorch_grad_cam.undoing import undone_by
from pytorch_grad_cam.utils.trees import map_tensors


@contextmanager
def held_still(model: nn.Module) -> Iterator[None]:
    """Hold a model in eval mode, run as written and not compiled, and stay out of inference mode while the block runs.

    Tensors made in inference mode cannot be differentiated. Autocast stays as the caller has it.
    """
    modules, compiled = _look_over(model)
    with eval_mode(modules), eager_mode() if compiled else nullcontext(), torch.inference_mode(False):
        yield


def _look_over(model: nn.Module) -> tuple[list[nn.Module], bool]:
    """All modules, in any order, and whether `torch.compile` made something else of one.

    In one go, for after a forward pass a module is no longer in the cache, and a small network has hundreds.
    """
    found = {model: None}
    waiting = [model]
    compiled = False
    while waiting:
        module = waiting.pop()
        own, parts = vars(module), module._modules
        compiled = (
            compiled
            or own.get("_compiled_call_impl") is not None  # by module.compile()
            or "_orig_mod" in parts  # by torch.compile(module)
            or ("forward" in own and hasattr(own["forward"], "_torchdynamo_orig_callable"))  # by compiling its forward
        )
        for part in parts.values():
            if part is not None and part not in found:
                found[part] = None
                waiting.append(part)
    return list(found), compiled


# The blocks that hold each module that was in train mode, in whatever thread and as part of whatever model.
_holders: WeakKeyDictionary[nn.Module, set[object]] = WeakKeyDictionary()
_holders_lock = threading.Lock()


@contextmanager
def eval_mode(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Hold modules in eval mode while the block runs, then give each its own training flag back.

    The flags are set, not `model.eval()` called: models may override `train` with more than the flag. Where several
    threads hold a module, the last one to leave gives its flag back.
    """
    block = object()

    def release() -> None:
        with _holders_lock:
            for module in modules if _holders else ():
                holders = _holders.get(module)
                if holders is not None and holders <= {block}:
                    module.training = True
                    del _holders[module]
                elif holders is not None:
                    holders.discard(block)

    with undone_by(release):
        with _holders_lock:
            held = bool(_holders)
            for module in modules:
                if getattr(module, "training", False) or (held and module in _holders):  # a frozen one has no flag
                    _holders.setdefault(module, set()).add(block)
                    module.training = False
        yield


# Shared by all threads, as the stance of torch.compile is: the blocks that need it, and what gives the old one back.
_eager_blocks: set[object] = set()
_eager_stances: list[Any] = []
_eager_lock = threading.Lock()


@contextmanager
def eager_mode() -> Iterator[None]:
    """Have what `torch.compile` made run as written while the block runs.

    Compiled code runs no hook that came after it.
    """
    if not hasattr(torch.compiler, "set_stance"):  # since PyTorch 2.6
        yield
        return
    block = object()

    def leave() -> None:
        with _eager_lock:
            _eager_blocks.discard(block)
            while _eager_stances and not _eager_blocks:
                _eager_stances[-1].__exit__(None, None, None)
                _eager_stances.pop()

    with undone_by(leave):
        with _eager_lock:
            if not _eager_blocks:
                _eager_stances.append(torch.compiler.set_stance("force_eager"))
            _eager_blocks.add(block)
        yield


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

        with undone_by(stop):
            self._runs = True
            with self:
                yield

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.call(func, args, kwargs or {}) if self._runs else func(*args, **(kwargs or {}))

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the function is to return."""
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
