"""Run only what comes after a layer: modules that finished before it return what they returned the first time."""

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pytorch_grad_cam.hooks import hooked, record_outputs, replace_output
from pytorch_grad_cam.inputs import Inputs
from pytorch_grad_cam.undoing import undone_by
from pytorch_grad_cam.utils.trees import map_tensors

logger = logging.getLogger(__name__)

Score = Callable[[Any, int], Tensor]
"""From what the model returned for n copies of an image, and n, to their scores (n, K)."""


class Tail:
    """What comes after a layer, for one image: by replay where that is proved right, else by whole forward passes.

    The proof: with the layer's output unchanged, the image's scores come out.

    Args:
        model: the network.
        layer: a module of it that runs in the forward pass; its last call is meant.
        inputs: what to call it with, for one image.
        score: what to make of the model's output.
        expected: the image's scores (K,).

    Attributes:
        output: what the layer returned for the image.
        most_copies: how many copies can run at once; None is any number.

    Raises:
        RuntimeError: if the model gives other scores each time it runs.
    """

    def __init__(self, model: nn.Module, layer: nn.Module, inputs: Inputs, score: Score, expected: Tensor) -> None:
        self.output, tape, calls = _record(model, layer, inputs)
        self.most_copies: int | None = None
        self._score = score
        replay = partial(_replay, model, layer, inputs, tape)
        whole = partial(_run_all, model, layer, inputs, calls)
        name = type(layer).__name__
        # Two copies show whether a batch is folded into another axis, or is another axis than the first.
        for run, copies, failure in (
            (replay, 2, f"replay after {name} is not exact: every change takes a whole forward pass"),
            (whole, 2, f"copies of {name}'s output cannot run at once: every change takes a forward pass of its own"),
            (whole, 1, None),
        ):
            self._run = run
            if self._is_exact(copies, expected):
                self.most_copies = 1 if copies == 1 else None
                return
            logger.info(failure)
        raise RuntimeError(
            f"the model does not give the same scores again when {name}'s output is given back to it unchanged; "
            "expected a model without memory or randomness in eval mode, and a layer that it calls"
        )

    def __call__(self, changed: Any, copies: int) -> Tensor:
        """The scores (n, K) of n copies of the layer's output, each changed in its own way."""
        return self._score(self._run(changed, copies), copies)

    def _is_exact(self, copies: int, expected: Tensor) -> bool:
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


Tape = list[tuple[nn.Module, Any]]


def _record(model: nn.Module, layer: nn.Module, inputs: Inputs) -> tuple[Any, Tape, int]:
    """What the layer returns in its last call, the outermost calls that had finished before it, how often it is called.

    The finished calls are in order, each with its output.
    """
    finished: Tape = []
    before: Tape = []
    calls = 0

    def call(module: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if module is layer:
            before[:] = finished
        start = len(finished)
        output = forward(*args, **kwargs)
        finished[start:] = [(module, output)]  # it stands for the calls inside it
        return output

    def count(*_: Any) -> None:
        nonlocal calls
        calls += threading.get_ident() == thread

    thread = threading.get_ident()
    with (
        hooked([layer], count),
        record_outputs([layer], own=True) as records,
        _calls_go_through(call, (module for module in model.modules() if module is not model)),
    ):
        inputs.clone().run(model)
    return records.outputs[layer], before, calls


def _replay(model: nn.Module, layer: nn.Module, inputs: Inputs, tape: Tape, changed: Any, copies: int) -> Any:
    queues: dict[nn.Module, list[Any]] = defaultdict(list)
    for module, recorded in tape:
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


def _run_all(model: nn.Module, layer: nn.Module, inputs: Inputs, calls: int, changed: Any, copies: int) -> Any:
    with replace_output(layer, changed, calls):
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
        with undone_by(restore):
            for module, _ in before:
                vars(module)["forward"] = partial(dispatch, module, module.forward)
            yield
