"""The state in which a model runs while it is explained; given back on exit, whatever happens."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from pytorch_grad_cam.undoing import undone_by


@contextmanager
def held_still(model: nn.Module) -> Iterator[None]:
    """Hold a model in eval mode, run as written and not compiled, and stay out of inference mode while the block runs.

    Tensors made in inference mode cannot be differentiated. Autocast stays as the caller has it.
    """
    with eval_mode(model), eager_mode(model), torch.inference_mode(False):
        yield


# The blocks that hold each module that was in train mode, in whatever thread and as part of whatever model.
_holders: WeakKeyDictionary[nn.Module, set[object]] = WeakKeyDictionary()
_holders_lock = threading.Lock()


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Hold every submodule in eval mode while the block runs, then give each its own training flag back.

    The flags are set, not `model.eval()` called: models may override `train` with more than the flag. Where several
    threads hold a module, the last one to leave gives its flag back.
    """
    block, modules = object(), list(model.modules())

    def release() -> None:
        with _holders_lock:
            for module in modules:
                holders = _holders.get(module)
                if holders is not None and holders <= {block}:
                    module.training = True
                    del _holders[module]
                elif holders is not None:
                    holders.discard(block)

    with undone_by(release):
        with _holders_lock:
            for module in modules:
                if module.training or module in _holders:
                    _holders.setdefault(module, set()).add(block)
                    module.training = False
        yield


# Shared by all threads, as the stance of torch.compile is: the blocks that need it, and what gives the old one back.
_eager_blocks: set[object] = set()
_eager_stances: list[Any] = []
_eager_lock = threading.Lock()


@contextmanager
def eager_mode(model: nn.Module) -> Iterator[None]:
    """Have what `torch.compile` made of a model, or of parts of it, run as written while the block runs.

    Compiled code runs no hook that came after it.
    """
    compiled = any(
        vars(module).get("_compiled_call_impl") is not None  # by module.compile()
        or "_orig_mod" in module._modules  # by torch.compile(module)
        or hasattr(vars(module).get("forward"), "_torchdynamo_orig_callable")  # by torch.compile(module.forward)
        for module in model.modules()
    )
    if not (compiled and hasattr(torch.compiler, "set_stance")):  # since PyTorch 2.6
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
    with torch.autocast(device.type, enabled=False), _InFloat32():
        yield


class _InFloat32(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") != "__get__":  # of an attribute, such as a shape
            args, kwargs = at_least_float32((args, kwargs))
        return func(*args, **kwargs)


def at_least_float32(values: Any) -> Any:
    """Values of any structure, tensors in half precision as float32."""
    return tree_map_only(Tensor, _at_least_float32, values)


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in HALF_PRECISION else tensor
