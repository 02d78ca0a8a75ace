"""A process that measures one library: a request is a line of JSON, and so is each answer."""

import argparse
import json
import sys
import warnings
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.benchmark import Timer

from benchmarks.cost.case import Case
from benchmarks.cost.libraries import LIBRARIES, Task
from benchmarks.cost.lower_bounds import supported_class
from benchmarks.cost.measure import peak_memory, seconds_beside, seconds_of
from benchmarks.cost.networks import forward, load, network_of, noise

# The work in a call of 8 images of 224 px; calls of more take seconds, and only the forward pass warms up for them.
SMALL_WORK = 8 * 224**2


class Worker:
    """One library on one device; it keeps the last network, as requests about it follow each other."""

    def __init__(self, name: str, device: str) -> None:
        self.library = LIBRARIES[name]
        self.device = device
        self.model: tuple[str, Any] = ("", None)
        self.supported_class = cache(self._supported_class)

    def answer(self, request: dict[str, Any]) -> Any:
        """Measure what a request asks for."""
        task = self._task(Case(**request["case"]))
        if request["measure"] != "once":
            with self.library.start(task) as call:
                forward(task.model, task.images)
                if task.case.batch * task.case.size**2 <= SMALL_WORK:
                    call()
        measure: Callable[..., Any] = getattr(self, request["measure"])
        return measure(task)

    def seconds(self, task: Task) -> dict[str, list[float]]:
        """Measure the call, and the forward pass before it."""
        plain = partial(forward, task.model, task.images)
        settle = partial(forward, task.model, task.images[:1])  # a hook keeps what it saw until it sees more
        with self.library.start(task) as call:
            return seconds_beside(plain, call, settle)

    def memory(self, task: Task) -> dict[str, int]:
        """Peak bytes of the forward pass and of the call, above what was in use."""
        plain = peak_memory(partial(forward, task.model, task.images))
        with self.library.start(task) as call:
            return {"forward": plain, "call": peak_memory(call)}

    def once(self, task: Task) -> dict[str, Any]:
        """Seconds and peak bytes of a call that takes too long to run twice."""
        plain = Timer("plain()", globals={"plain": partial(forward, task.model, task.images)})
        before, calls = plain.blocked_autorange(min_run_time=1).median, []
        with self.library.start(task) as call:
            peak = peak_memory(lambda: calls.append(seconds_of(call)))
        return {"seconds": {"forward": [before], "call": calls}, "peak": peak}

    def maps(self, task: Task) -> Any:
        """The maps (B, H, W)."""
        with self.library.start(task) as call:
            return torch.as_tensor(call()).float().tolist()

    def _task(self, case: Case) -> Task:
        if self.model[0] != case.network:
            self.model = ("", None)  # freed before the next one comes
            self.model = (case.network, load(case.network, self.device))
        network, model = self.model
        index = self.supported_class(network, case.size)
        images = noise(case.batch, case.size, self.device)
        layer = model.get_submodule(case.layer or network_of(network).last)
        return Task(case, model, images, index.expand(case.batch), layer)

    def _supported_class(self, network: str, size: int) -> Tensor:
        model = self.model[1].requires_grad_(False)
        index = supported_class(model, model.get_submodule(network_of(network).last), noise(1, size, self.device))
        model.requires_grad_(True)
        return index


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
