"""What the library does to a model while it runs: listen to a layer, replace its output, hold eval mode.

Each is undone on exit, whatever happens.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only


@contextmanager
def record_outputs(layers: Sequence[nn.Module], *, differentiable: bool = False) -> Iterator[dict[nn.Module, Any]]:
    """Record what each layer returns while the block runs, in the order in which they finish.

    A layer that runs several times leaves its last output.

    What goes on to the rest of the model is a clone, so that an in-place operation there cannot change the record.
    With `differentiable`, the first recorded output becomes a leaf of the autograd graph and gradients are switched
    on from there: run the block under `torch.no_grad()` and only the part of the model after the first layer is
    differentiated, whether or not its parameters require gradients.

    Only calls from the current thread count, so models may be shared between threads.
    """
    records: dict[nn.Module, Any] = {}
    thread = threading.get_ident()

    def record(layer: nn.Module, args: Any, output: Any) -> Any:
        if threading.get_ident() != thread:
            return None
        if differentiable:
            torch.set_grad_enabled(True)
            output = tree_map_only(Tensor, _differentiable, output)
        records.pop(layer, None)
        records[layer] = output
        return tree_map_only(Tensor, torch.clone, output)

    with ExitStack() as hooks:
        for layer in layers:
            hooks.callback(layer.register_forward_hook(record).remove)
        yield records


@contextmanager
def replace_output(layer: nn.Module, output: Any, call: int = 1) -> Iterator[None]:
    """In the given call of a layer while the block runs, counted from 1 in this thread, `output` is what it returns."""
    thread = threading.get_ident()
    calls = 0

    def replace(layer: nn.Module, args: Any, returned: Any) -> Any:
        nonlocal calls
        if threading.get_ident() != thread:
            return None
        calls += 1
        return output if calls == call else None

    handle = layer.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


def detach(output: Any) -> Any:
    """A layer's or a model's output, of any structure, cut off from the autograd graph."""
    return tree_map_only(Tensor, torch.detach, output)


def _differentiable(tensor: Tensor) -> Tensor:
    if tensor.requires_grad or not tensor.is_floating_point():
        return tensor
    return tensor.detach().requires_grad_()


def gradients(score: Tensor, outputs: Sequence[Any], *, keep_graph: bool) -> list[Any]:
    """The gradient of a scalar with respect to recorded outputs, each in the structure of its output.

    An output that the score does not depend on gives None.
    """
    tensors = [t for t in tree_leaves(outputs) if isinstance(t, Tensor) and t.requires_grad]
    if not (score.requires_grad and tensors):
        return [None] * len(outputs)
    grads = torch.autograd.grad(score, tensors, retain_graph=keep_graph, allow_unused=True)
    of = {id(t): g for t, g in zip(tensors, grads, strict=True) if g is not None}
    return [
        tree_map_only(Tensor, lambda t: of.get(id(t), torch.zeros_like(t)), output)
        if any(id(t) in of for t in tree_leaves(output))
        else None
        for output in outputs
    ]


_evaluating: WeakKeyDictionary[nn.Module, tuple[int, list[nn.Module]]] = WeakKeyDictionary()
_evaluating_lock = threading.Lock()


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Hold every submodule in eval mode while the block runs, then give each its own training flag back.

    The flags are set, not `model.eval()` called: models may override `train` with more than the flag. Where several
    threads hold one model, the last one to leave gives the flags back.
    """
    with _evaluating_lock:
        holders, training = _evaluating.get(model, (0, []))
        if not holders:
            training = [module for module in model.modules() if module.training]
        _evaluating[model] = (holders + 1, training)
    try:
        for module in training:
            module.training = False
        yield
    finally:
        with _evaluating_lock:
            holders, training = _evaluating.pop(model)
            if holders > 1:
                _evaluating[model] = (holders - 1, training)
            else:
                for module in training:
                    module.training = True


def prepare_model(model: nn.Module, use_cuda: bool) -> nn.Module:
    """The module whose hooks fire, moved to the GPU if asked for.

    Raises:
        TypeError: if its layers cannot be observed.
        RuntimeError: if there is no GPU.
    """
    module = underlying_module(model)
    if use_cuda and not torch.cuda.is_available():
        raise RuntimeError("use_cuda=True, but PyTorch finds no GPU; leave it out to run where the model is")
    return module.cuda() if use_cuda else module


def prepare_input(tensor: Tensor, model: nn.Module, name: str) -> Tensor:
    """A batch (B, C, *S) where the model is, cut off from any graph; call it outside of inference mode."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} is {type(tensor).__name__}, expected a torch.Tensor (B, C, H, W)")
    if tensor.ndim < 3 or 0 in tensor.shape:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected (B, C, H, W), none of them 0")
    first = next(chain(model.parameters(), model.buffers()), tensor)
    tensor = tensor.detach().to(first.device)
    return tensor.clone() if tensor.is_inference() else tensor


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
