"""The state of a model during a call: checked, in eval and eager mode, restored on exit whatever happens."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn


@contextmanager
def inference_state(model: nn.Module) -> Iterator[None]:
    """Hold a model in eval mode, run as written and not compiled, and stay out of inference mode while the block runs.

    Tensors made in inference mode cannot be differentiated. Autocast stays as the caller has it.
    """
    modules, compiled = _modules_and_compiled(model)
    with eval_mode(modules), eager_mode() if compiled else nullcontext(), torch.inference_mode(False):
        yield


def _modules_and_compiled(model: nn.Module) -> tuple[list[nn.Module], bool]:
    """All modules, in any order, and whether `torch.compile` made something else of one.

    In one go, for after a forward pass a module is no longer in the cache, and a small network has hundreds.
    """
    modules = {model: None}
    waiting = [model]
    compiled = False
    while waiting:
        module = waiting.pop()
        attributes, parts = vars(module), module._modules
        compiled = (
            compiled
            or attributes.get("_compiled_call_impl") is not None  # by module.compile()
            or "_orig_mod" in parts  # by torch.compile(module)
            or (
                "forward" in attributes and hasattr(attributes["forward"], "_torchdynamo_orig_callable")
            )  # by compiling its forward
        )
        for part in parts.values():
            if part is not None and part not in modules:
                modules[part] = None
                waiting.append(part)
    return list(modules), compiled


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

    with restoring(release):
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

    with restoring(leave):
        with _eager_lock:
            if not _eager_blocks:
                _eager_stances.append(torch.compiler.set_stance("force_eager"))
            _eager_blocks.add(block)
        yield


def prepare_model(model: nn.Module, use_cuda: bool) -> nn.Module:
    """The module whose hooks fire, moved to the GPU if asked for.

    Raises:
        TypeError: if its layers cannot be observed.
        ValueError: if its weights have no values.
        RuntimeError: if there is no GPU.
    """
    module = underlying_module(model)
    if any(parameter.is_meta for parameter in module.parameters()):
        raise ValueError(
            f"weights of {type(module).__name__} are on the meta device and have no values; load them first, as with "
            "load_state_dict(weights, assign=True)"
        )
    if use_cuda and not torch.cuda.is_available():
        raise RuntimeError("use_cuda=True, but PyTorch finds no GPU; leave it out to run where the model is")
    return module.cuda() if use_cuda else module


def underlying_module(model: nn.Module) -> nn.Module:
    """The module whose hooks fire: what `torch.compile` or DataParallel wrap.

    Raises:
        TypeError: for anything that is no nn.Module, and for a ScriptModule, whose layers run no Python hooks.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is {type(model).__name__}, expected a torch.nn.Module")
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError("model is a ScriptModule, whose layers cannot be observed; give the nn.Module it was made from")
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return underlying_module(model.module)
    compiled = getattr(model, "_orig_mod", None)  # of torch.compile's OptimizedModule
    return model if compiled is None else underlying_module(compiled)


@contextmanager
def restoring(undo: Callable[[], None]) -> Iterator[None]:
    """Run the block, then `undo`, which is tried again if an interrupt stops it half-way.

    Make the change inside the block, so that it is undone wherever an interrupt falls: `undo` must also be right where
    the change was not made, made in part, or undone before.
    """
    try:
        yield
    finally:
        try:
            undo()
        except BaseException:
            undo()
            raise
