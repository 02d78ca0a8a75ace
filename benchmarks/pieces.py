"""Where the time of one call goes: what it spends beside the passes of the network, piece by piece, in place."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from importlib import import_module
from typing import Any
from unittest.mock import patch

from benchmarks.floors import floor_gradient, telling_class
from benchmarks.measure import seconds_of
from benchmarks.networks import NETWORKS, load, noise
from benchmarks.worker import forward

CALLS = (("mobilenet_v3_large", "GradCAM"), ("mobilenet_v3_large", "EigenCAM"), ("resnet50", "GradCAM"))
# What each piece is called, and what it is made of: modules of this library, or the method, and names in them.
PIECES = {
    "passes of the network": ("inputs.Inputs.run", "evidence.gradients"),
    "the input": ("base_cam.prepare_inputs",),
    "eval and eager mode": ("base_cam.held_still",),
    "hooks": ("evidence.record_outputs", "hooks.map_tensors"),
    "targets and scores": ("base_cam.score_outputs",),
    "positions in the layer's output": ("base_cam.find_transform",),
    "weights of channels": ("cam.channel_weights",),
    "channels to one map": ("cam.reduce",),
    "to the size of the picture": ("base_cam.fuse",),
    "whether a map is blank": ("base_cam.warn_of_blank_maps",),
}
ROUNDS = 20


class Stopwatch:
    """Seconds by name; while something runs inside something else, only the inner is charged."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._running: list[str] = []
        self._since = 0.0

    @contextmanager
    def charging(self, name: str) -> Iterator[None]:
        """Charge the time of the block."""
        self._stop()
        self._running.append(name)
        try:
            yield
        finally:
            self._stop()
            self._running.pop()

    def charged(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function whose calls are charged; of a context manager, its start and its end."""

        def call(*args: Any, **kwargs: Any) -> Any:
            with self.charging(name):
                result = function(*args, **kwargs)
            return around(result) if isinstance(result, AbstractContextManager) else result

        @contextmanager
        def around(context: AbstractContextManager[Any]) -> Iterator[Any]:
            with self.charging(name):
                entered = context.__enter__()
            try:
                yield entered
            finally:
                with self.charging(name):
                    context.__exit__(None, None, None)

        return call

    def _stop(self) -> None:
        now = time.perf_counter()
        if self._running:
            self.spent[self._running[-1]] = self.spent.get(self._running[-1], 0) + now - self._since
        self._since = now


def seconds_of_pieces(cam: Any, call: Callable[[], Any]) -> dict[str, float]:
    """Of one call of a method, and of all that is not in `PIECES`."""
    watch = Stopwatch()
    with ExitStack() as stack:
        for name, parts in PIECES.items():
            for part in parts:
                owner, attribute = _find(cam, part)
                stack.enter_context(patch.object(owner, attribute, watch.charged(name, getattr(owner, attribute))))
        with watch.charging("all else"):
            call()
    return watch.spent


def _find(cam: Any, part: str) -> tuple[Any, str]:
    module, *path, attribute = part.split(".")
    owner = cam if module == "cam" else import_module(f"pytorch_grad_cam.{module}")
    for name in path:
        owner = getattr(owner, name)
    return owner, attribute


def pieces(device: str) -> list[dict[str, Any]]:
    """For each of `CALLS`, medians of the pieces, of the plain forward pass before each call, and of the floor."""
    import pytorch_grad_cam

    rows = []
    for network, method in CALLS:
        model, images = load(network, device), noise(1, 224, device)
        classes = telling_class(network, model, images)
        cam = getattr(pytorch_grad_cam, method)(model, NETWORKS[network].last)
        call = partial(cam, images, classes.tolist())
        call()  # a warm-up
        plain, floor, found = [], [], []
        for _ in range(ROUNDS):
            plain.append(seconds_of(partial(forward, model, images)))
            found.append(seconds_of_pieces(cam, call))
            floor.append(seconds_of(partial(floor_gradient, network, model, images, classes)))
        rows.append(
            {
                "network": network,
                "method": method,
                "forward": statistics.median(plain),
                "floor": statistics.median(floor),
                "pieces": {
                    name: statistics.median(one.get(name, 0.0) for one in found) for name in (*PIECES, "all else")
                },
            }
        )
    return rows
