"""A process that measures one library: a request is a line of JSON, and so is each answer."""

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.cases import Case
from benchmarks.floors import FLOORS, telling_class
from benchmarks.libraries import LIBRARIES, Task
from benchmarks.measure import peak_memory, seconds_beside, seconds_of
from benchmarks.networks import load, noise

LEAST_SECONDS = 0.25  # a measurement repeats until then, or a short call would be lost in the noise
MOST_CALLS = 10
# Pictures of 224 px; for more, which take seconds, the forward pass alone warms up: of grad-cam's GradCAM for 32
# a second call takes as long as the first, its first forward pass a quarter more than the second.
FEW = 8


def forward(model: Any, images: Tensor) -> Tensor:
    """The plain forward pass, to which everything is compared."""
    with torch.no_grad():
        scores: Tensor = model(images)
    return scores


class Worker:
    """One library on one device; it keeps the last network, for requests about it come one after the other."""

    def __init__(self, name: str, device: str) -> None:
        self.adapter = LIBRARIES[name]
        self.device = device
        self.model: tuple[str, Any] = ("", None)
        self.telling_class = cache(self._telling_class)

    def answer(self, request: dict[str, Any]) -> Any:
        """What a request asks for."""
        task = self._task(Case(**request["case"]))
        if request.get("warm_up"):
            with self.adapter.start(task) as call:
                forward(task.model, task.images)
                if len(task.images) * task.case.size**2 <= FEW * 224**2:
                    call()
        measure: Callable[..., Any] = getattr(self, request["measure"])
        return measure(task, **request.get("options", {}))

    def seconds(self, task: Task) -> dict[str, list[float]]:
        """Of the call, and of the forward pass before it."""
        plain = partial(forward, task.model, task.images)
        settle = partial(forward, task.model, task.images[:1])  # as a hook keeps what it saw until it sees more
        with self.adapter.start(task) as call:
            times, calls = seconds_beside(plain, call, settle, LEAST_SECONDS, MOST_CALLS)
        return {"forward": times, "call": calls}

    def memory(self, task: Task) -> dict[str, int]:
        """Peak bytes of the forward pass and of the call, above what was in use."""
        plain = peak_memory(partial(forward, task.model, task.images))
        with self.adapter.start(task) as call:
            return {"forward": plain, "call": peak_memory(call)}

    def once(self, task: Task) -> dict[str, Any]:
        """Seconds and peak bytes of a call that takes too long to run twice."""
        plain = partial(forward, task.model, task.images)

        plain()
        before, calls = statistics.median(seconds_of(plain) for _ in range(5)), []
        with self.adapter.start(task) as call:
            peak = peak_memory(lambda: calls.append(seconds_of(call)))
        return {"seconds": {"forward": [before], "call": calls}, "peak": peak}

    def after(self, task: Task) -> float:
        """Seconds from the end of the last forward or backward pass to the end of the call."""
        with self.adapter.start(task) as call, last_pass(task.model) as ended:
            call()
            return _now() - ended[-1]

    def maps(self, task: Task, path: str) -> None:
        """Write the maps (B, H, W) to a file."""
        with self.adapter.start(task) as call:
            np.save(path, torch.as_tensor(call()).float().cpu().numpy())

    def _task(self, case: Case) -> Task:
        if self.model[0] != case.network:
            self.model = ("", None)  # freed before the next one comes
            self.telling_class.cache_clear()
            self.model = (case.network, load(case.network, self.device))
        images = noise(case.batch, case.size, self.device)
        return Task(case, self.model[1], images, self.telling_class(case.size).expand(case.batch))

    def _telling_class(self, size: int) -> Tensor:
        """Of the image that makes up every batch; the same in every library, and found before anything is measured."""
        network, model = self.model
        image = noise(1, size, self.device)
        return telling_class(network, model, image) if network in FLOORS else forward(model, image).argmax(dim=1)


@contextmanager
def last_pass(model: Any) -> Iterator[list[float]]:
    """When each forward and backward pass ended."""
    ended: list[float] = []

    def stamped(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            ended.append(_now())
            return result

        return call

    handle = model.register_forward_hook(lambda *_: ended.append(_now()))
    originals = {name: getattr(torch.autograd, name) for name in ("grad", "backward")}
    for name, function in originals.items():
        setattr(torch.autograd, name, stamped(function))
    try:
        yield ended
    finally:
        handle.remove()
        for name, function in originals.items():
            setattr(torch.autograd, name, function)


def _now() -> float:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=LIBRARIES)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path, help="where the peer is installed")
    parser.add_argument("--needs", type=Path, help="where what it imports is, if the environment lacks it")
    arguments = parser.parse_args()
    if arguments.folder:
        # What peers need stands last, so that all libraries use the same NumPy.
        sys.path[:] = [str(arguments.folder), *sys.path, str(arguments.needs)]
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    warnings.simplefilter("ignore")  # of blank maps: weights are random
    worker = Worker(arguments.name, arguments.device)
    for line in sys.stdin:
        try:
            answer = {"answer": worker.answer(json.loads(line))}
        except Exception as error:  # one library's failure is a result, and the others go on
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
