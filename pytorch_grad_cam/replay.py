"""Run only what comes after a layer: modules that finished before it return what they returned the first time."""

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from pytorch_grad_cam.hooks import replace_output

logger = logging.getLogger(__name__)

Score = Callable[[Any, int], Tensor]
"""From what the model returned for n copies of an image, and n, to their scores (n, K)."""

Tail = Callable[[Any, int], Tensor]
"""From n copies of what a layer returned for an image, each changed in its own way, and n, to their scores (n, K)."""


def tail_of(model: nn.Module, layer: nn.Module, inputs: Tensor, output: Any, score: Score, expected: Tensor) -> Tail:
    """What comes after a layer, for one image: by replay where that is proved right, else by whole forward passes.

    Args:
        model: the network.
        layer: a module of it that runs in the forward pass.
        inputs: one image, (1, C, *S).
        output: what the layer returned for it.
        score: what to make of the model's output.
        expected: the image's scores (K,); a replay of the unchanged output must give the same.
    """
    tape, calls = _record(model, layer, inputs)

    def replay(changed: Any, copies: int) -> Tensor:
        return score(_replay(model, layer, inputs, tape, changed, copies), copies)

    def run_all(changed: Any, copies: int) -> Tensor:
        with replace_output(layer, changed, calls):
            return score(model(repeat(inputs, copies).clone()), copies)

    try:
        # Two copies, so that a batch folded into another axis shows.
        found = replay(tree_map_only(Tensor, torch.clone, repeat(output, 2)), 2)
        tolerance = 1e-4 + 4 * torch.finfo(found.dtype).eps
        if bool(((found - expected).abs() <= tolerance * expected.abs().max()).all()):
            return replay
        logger.info("replay after %s gives %s, not %s", type(layer).__name__, found.tolist(), expected.tolist())
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        # The model does what a replay cannot follow, such as in-place operations on what went before.
        logger.info("replay after %s failed: %s", type(layer).__name__, error)
    return run_all


def repeat(output: Any, copies: int) -> Any:
    """Copies of one image's output, of any structure: tensors (m, ...) become (copies * m, ...)."""

    def tile(tensor: Tensor) -> Tensor:
        if tensor.ndim == 0:
            return tensor
        if len(tensor) == 1:
            return tensor.expand(copies, *tensor.shape[1:])
        return tensor.repeat(copies, *[1] * (tensor.ndim - 1))

    return tree_map_only(Tensor, tile, output)


Tape = list[tuple[nn.Module, Any]]


def one_of(output: Any, image: int, images: int) -> Any:
    """What a layer returned for one image of a batch, in the structure of its output."""

    def part(tensor: Tensor) -> Tensor:
        if tensor.ndim == 0 or len(tensor) % images:
            return tensor
        rows = len(tensor) // images
        return tensor[image * rows : (image + 1) * rows]

    return tree_map_only(Tensor, part, output)


def _record(model: nn.Module, layer: nn.Module, inputs: Tensor) -> tuple[Tape, int]:
    """The outermost calls that had finished when the last call of the layer started, in order, with their outputs.

    Also how often the layer was called.
    """
    finished: Tape = []
    before: Tape = []
    calls = 0

    def call(module: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        if module is layer:
            before[:] = finished
            calls += 1
        start = len(finished)
        output = forward(*args, **kwargs)
        finished[start:] = [(module, output)]  # it stands for the calls inside it
        return output

    with _calls_go_through(call, (module for module in model.modules() if module is not model)):
        model(inputs)
    return before, calls


def _replay(model: nn.Module, layer: nn.Module, inputs: Tensor, tape: Tape, output: Any, copies: int) -> Any:
    queues: dict[nn.Module, list[Any]] = defaultdict(list)
    for module, recorded in tape:
        queues[module].append(repeat(recorded, copies))
    queues[layer].append(output)
    for queue in queues.values():
        queue.reverse()

    def call(module: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        queue = queues[module]
        return queue.pop() if queue else forward(*args, **kwargs)

    with _calls_go_through(call, list(queues)):
        outputs = model(repeat(inputs, copies))
    if queues[layer]:
        raise RuntimeError("the layer was not called")
    return outputs


# One thread at a time has calls go its way; other threads run the modules as they are meanwhile.
_one_thread = threading.RLock()


@contextmanager
def _calls_go_through(call: Callable[..., Any], modules: Iterable[nn.Module]) -> Iterator[None]:
    """While the block runs, `module(...)` is `call(module, forward, ...)` in this thread."""
    thread = threading.get_ident()

    def dispatch(module: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() != thread:
            return forward(*args, **kwargs)
        return call(module, forward, *args, **kwargs)

    with _one_thread, ExitStack() as undo:
        for module in modules:
            if isinstance(module, torch.jit.ScriptModule):
                continue
            undo.callback(_restore, module, vars(module).get("forward"))
            vars(module)["forward"] = partial(dispatch, module, module.forward)
        yield


def _restore(module: nn.Module, forward: Any) -> None:
    if forward is None:
        vars(module).pop("forward", None)
    else:
        vars(module)["forward"] = forward
