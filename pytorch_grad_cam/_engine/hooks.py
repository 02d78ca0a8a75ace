"""Hook layers while a model runs: record and differentiate their outputs, or replace one.

Each is undone on exit, whatever happens.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pytorch_grad_cam._engine.model_state import restoring
from pytorch_grad_cam._engine.pytree import map_tensors, tensors_in


@dataclass
class Records:
    """Outputs of layers.

    Attributes:
        outputs: of each layer that ran, the last output, in the order in which they finished.
        grad_was_disabled: gradients were switched off again between two of them.
    """

    outputs: dict[nn.Module, Any] = field(default_factory=dict)
    grad_was_disabled: bool = False
    _versions: dict[nn.Module, list[int]] = field(default_factory=dict)

    def add(self, layer: nn.Module, output: Any) -> None:
        """Take the last output of a layer."""
        self.outputs.pop(layer, None)
        self.outputs[layer] = output
        self._versions[layer] = _versions(output)

    def overwritten(self) -> bool:
        """Tell whether an in-place operation changed an output, which a layer may have got as its input, or keep."""
        return any(_versions(output) != self._versions[layer] for layer, output in self.outputs.items())


@contextmanager
def record_outputs(
    layers: Sequence[nn.Module], *, differentiable: bool = False, clone_records: bool = False
) -> Iterator[Records]:
    """Record what each layer returns while the block runs.

    The rest of the model gets a clone, so in-place operations after the layer cannot change the record.
    `clone_records=True` also clones the record, for layers that return a tensor held elsewhere.
    With `differentiable`, the first recorded output becomes a leaf of the autograd graph and gradients are switched
    on from there: run the block under `torch.no_grad()` and only the part of the model after the first layer is
    differentiated, whether or not its parameters require gradients.

    Only calls from the current thread count, so models may be shared between threads.
    """
    records = Records()
    thread = threading.get_ident()

    def record(layer: nn.Module, args: Any, output: Any) -> Any:
        if threading.get_ident() != thread:
            return None
        if clone_records:
            output = map_tensors(torch.clone, output)
        if differentiable:
            records.grad_was_disabled |= bool(records.outputs) and not torch.is_grad_enabled()
            torch.set_grad_enabled(True)
            output = map_tensors(_differentiable, output)
        records.add(layer, output)
        return map_tensors(torch.clone, output)

    with hooked(layers, record):
        yield records


@contextmanager
def hooked(layers: Sequence[nn.Module], hook: Callable[[nn.Module, Any, Any], Any]) -> Iterator[None]:
    """Have layers call a forward hook (layer, positional arguments, output) while the block runs."""

    def remove() -> None:  # by what it is: an interrupt may have come before its handle
        for layer in layers:
            for number, registered in list(layer._forward_hooks.items()):
                if registered is hook:
                    layer._forward_hooks.pop(number, None)

    with restoring(remove):
        for layer in layers:
            # Without with_kwargs, which is set after the hook: another thread would call it with too few arguments.
            layer.register_forward_hook(hook)
        yield


def gradients(score: Tensor, outputs: Sequence[Any], *, keep_graph: bool) -> list[Any]:
    """The gradient of a scalar with respect to recorded outputs, each in the structure of its output.

    An output that the score does not depend on gives None.
    """
    tensors = [t for t in tensors_in(outputs) if t.requires_grad]
    if not (score.requires_grad and tensors):
        return [None] * len(outputs)
    grads = torch.autograd.grad(score, tensors, retain_graph=keep_graph, allow_unused=True)
    gradient_of = {id(t): g for t, g in zip(tensors, grads, strict=True) if g is not None}
    return [
        map_tensors(lambda t: gradient_of[id(t)] if id(t) in gradient_of else torch.zeros_like(t), output)
        if any(id(t) in gradient_of for t in tensors_in(output))
        else None
        for output in outputs
    ]


@contextmanager
def replace_output(layer: nn.Module, output: Any, call: int = 1) -> Iterator[None]:
    """In the given call of a layer while the block runs, counted from 1 in this thread, `output` is what it returns.

    Raises:
        RuntimeError: when the block ends, if there was no such call.
    """
    thread = threading.get_ident()
    calls = 0

    def replace(layer: nn.Module, args: Any, returned: Any) -> Any:
        nonlocal calls
        if threading.get_ident() != thread:
            return None
        calls += 1
        return output if calls == call else None

    with hooked([layer], replace):
        yield
    if calls < call:
        raise RuntimeError(f"the layer was called {calls} times, and its call {call} was to be replaced")


def _versions(output: Any) -> list[int]:
    """Version counters of the tensors; 0 for those made in inference mode, which have none."""
    return [0 if tensor.is_inference() else tensor._version for tensor in tensors_in(output)]


def _differentiable(tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    if tensor.requires_grad:  # a node of its own: the module may have read from the tensor before it returned it
        return tensor.view_as(tensor)
    return tensor.detach().requires_grad_()
