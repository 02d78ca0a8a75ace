"""Run only what comes after a layer: modules that finished before it return what they returned the first time."""

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pytorch_grad_cam._engine.hooks import hooked, replace_output
from pytorch_grad_cam._engine.inputs import ModelInputs
from pytorch_grad_cam._engine.model_state import restoring
from pytorch_grad_cam._engine.pytree import map_tensors

logger = logging.getLogger(__name__)

Score = Callable[[Any, int], Tensor]
"""From what the model returned for n copies of an image, and n, to their scores (n, K)."""


@dataclass(eq=False)
class ModuleTrace:
    """Record of a forward pass with one image, up to the last call of a layer and with its output.

    Attributes:
        finished: the outermost calls that had finished before, in order: a module and what its forward returned.
        calls: how often the layer was called in all.
        output: what the layer returned.
    """

    finished: list[tuple[nn.Module, Any]] = field(default_factory=list)
    calls: int = 0
    output: Any = None

    def clear(self) -> None:
        """Let go of what was returned."""
        self.finished, self.output = [], None


class LayerTail:
    """The rest of a model after a layer, for one image: by replay where that is proved right, else by whole passes.

    The proof: with the layer's output unchanged, the image's scores come out.

    Args:
        model: the network.
        layer: a module of it that runs in the forward pass; its last call is meant.
        inputs: what to call it with, for one image.
        traces: of passes with the image, at least one; the first that can be replayed is taken, else the last.
        score: what to make of the model's output.
        expected: the image's scores (K,).

    Attributes:
        output: what the layer returned for the image.
        most_copies: how many copies can run at once; None is any number.

    Raises:
        RuntimeError: if what follows the layer gives other scores each time it runs.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: nn.Module,
        inputs: ModelInputs,
        traces: Iterable[ModuleTrace],
        score: Score,
        expected: Tensor,
    ) -> None:
        self.most_copies: int | None = None
        self._score = score
        name = type(layer).__name__
        # Two copies show whether a batch is folded into another axis, or is another axis than the first.
        for trace in traces:
            self.output = trace.output
            self._run: Callable[[Any, int], Any] = partial(_replay, model, layer, inputs, trace)
            if self._is_exact(2, expected):
                return
        logger.info(f"replay after {name} is not exact: every change takes a whole forward pass")
        self._run = partial(_run_all, model, layer, inputs, trace)
        if self._is_exact(2, expected):
            return
        logger.info(f"copies of {name}'s output cannot run at once: every change takes a forward pass of its own")
        self.most_copies = 1
        if self._is_exact(1, expected):
            return
        raise RuntimeError(
            f"the model does not give the same scores again when {name}'s output is given back to it unchanged; "
            "expected a model without memory or randomness in eval mode, and a layer that it calls"
        )

    def __call__(self, changed: Any, copies: int) -> Tensor:
        """The scores (n, K) of n copies of the layer's output, each changed in its own way."""
        return self._score(self._run(changed, copies), copies)

    def _is_exact(self, copies: int, expected: Tensor) -> bool:
        """Tell whether unchanged copies give the expected scores."""
        try:
            found = self(map_tensors(torch.clone, repeat(self.output, copies)), copies)
        except Exception as error:  # a model that cannot be run like this fails in any way it likes
            logger.info("%s: %s", type(error).__name__, error)
            return False
        # Copies of an image may take another kernel, and so another rounding, than the image alone.
        tolerance = {torch.float64: 1e-9, torch.float32: 1e-3}.get(found.dtype, 8 * torch.finfo(found.dtype).eps)
        largest = expected.abs().nan_to_num(0, 0).max()
        return torch.allclose(
            found.to(expected.dtype), expected.expand_as(found), 0, float(tolerance * largest), equal_nan=True
        )


def repeat(output: Any, copies: int) -> Any:
    """Copies of one image's output, of any structure: tensors (m, ...) become (copies * m, ...)."""

    def tile(tensor: Tensor) -> Tensor:
        if tensor.ndim == 0:
            return tensor
        if len(tensor) == 1:
            return tensor.expand(copies, *tensor.shape[1:])
        return tensor.repeat(copies, *[1] * (tensor.ndim - 1))

    return map_tensors(tile, output)


def record(model: nn.Module, layer: nn.Module, inputs: ModelInputs) -> tuple[Any, ModuleTrace]:
    """Run the model; return its outputs and the trace up to the layer."""
    trace = ModuleTrace()
    finished: list[tuple[nn.Module, Any]] = []
    closed = False  # inside a call that will stand for all calls inside it: what they return need not be kept

    def call(module: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        nonlocal closed
        if module is layer:
            trace.finished[:] = finished
        if closed:
            return forward(*args, **kwargs)
        start, closed = len(finished), module is layer or not any(inner is layer for inner in module.modules())
        try:
            output = forward(*args, **kwargs)
        finally:
            closed = False
        finished[start:] = [(module, output)]
        return output

    def keep(module: nn.Module, args: Any, output: Any) -> None:
        if threading.get_ident() == thread:
            trace.calls += 1
            trace.output = map_tensors(torch.clone, output)  # whatever becomes of it afterwards

    thread = threading.get_ident()
    with hooked([layer], keep), _calls_go_through(call, (m for m in model.modules() if m is not model)):
        return inputs.run(model), trace


def _replay(
    model: nn.Module, layer: nn.Module, inputs: ModelInputs, trace: ModuleTrace, changed: Any, copies: int
) -> Any:
    queues: dict[nn.Module, list[Any]] = defaultdict(list)
    for module, recorded in trace.finished:
        queues[module].append(repeat(recorded, copies))
    queues[layer].append(changed)
    for queue in queues.values():
        queue.reverse()

    def call(module: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        queue = queues[module]
        return queue.pop() if queue else forward(*args, **kwargs)

    def last_word(module: nn.Module, args: Any, returned: Any) -> Any:
        # The layer's own hooks went over its output once already, when it was recorded.
        return changed if threading.get_ident() == thread and not queues[layer] else None

    thread = threading.get_ident()
    with hooked([layer], last_word), _calls_go_through(call, list(queues)):
        outputs = inputs.copies(copies).run(model)
    if queues[layer]:
        raise RuntimeError("the layer was not called")
    return outputs


def _run_all(
    model: nn.Module, layer: nn.Module, inputs: ModelInputs, trace: ModuleTrace, changed: Any, copies: int
) -> Any:
    with replace_output(layer, changed, trace.calls):
        return inputs.copies(copies).clone().run(model)


# One thread at a time has calls go its way; other threads run the modules as they are meanwhile.
_one_thread = threading.RLock()


@contextmanager
def _calls_go_through(call: Callable[..., Any], modules: Iterable[nn.Module]) -> Iterator[None]:
    """While the block runs, `module(...)` is `call(module, forward, ...)` in this thread.

    Hooks cannot keep a module from running, so each module has another `forward` for that long, which leaves other
    threads alone.
    """
    thread = threading.get_ident()

    def dispatch(module: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() != thread:
            return forward(*args, **kwargs)
        return call(module, forward, *args, **kwargs)

    def restore() -> None:
        for module, forward in before:
            if forward is None:
                vars(module).pop("forward", None)
            else:
                vars(module)["forward"] = forward

    with _one_thread:
        before = [(m, vars(m).get("forward")) for m in modules if not isinstance(m, torch.jit.ScriptModule)]
        with restoring(restore):
            for module, _ in before:
                vars(module)["forward"] = partial(dispatch, module, module.forward)
            yield
