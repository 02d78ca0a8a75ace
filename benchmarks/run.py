"""A run: all libraries in turn, in processes of their own, and what needs none."""

import datetime
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import pytorch_grad_cam
from benchmarks.cases import Case
from benchmarks.imports import import_costs
from benchmarks.libraries import LIBRARIES
from benchmarks.lines import lines_of_code
from benchmarks.machine import processor, ticks
from benchmarks.networks import NETWORKS
from benchmarks.ours import five_classes, replay
from benchmarks.peers import MeasurementError, Process, install
from benchmarks.pieces import pieces
from benchmarks.plan import LONG_TAILED, Block, full_peaks, full_times, quick_peaks, quick_times
from benchmarks.results import Results


class Clock:
    """Says what is done, and how long after the start."""

    def __init__(self) -> None:
        self.start = time.monotonic()

    def say(self, what: str) -> None:
        """Print it with the minutes and seconds."""
        minutes, seconds = divmod(int(time.monotonic() - self.start), 60)
        print(f"{minutes:3}:{seconds:02}  {what}", flush=True)


def measure_all(path: Path, device: str, peers: Path, *, quick: bool) -> Results:
    """Everything, written to a file as it comes."""
    clock, before = Clock(), ticks()
    names = install(peers)
    results = Results(path, about(device, names, quick=quick))
    times, peaks = (quick_times, quick_peaks) if quick else (full_times, full_peaks)
    for blocks, lean in ((list(times()), False), (list(peaks()), True)):
        asked = [name for name in names if any(name in block.libraries for block in blocks)]
        with ExitStack() as stack:
            processes = [stack.enter_context(Process(name, device, peers, lean=lean)) for name in asked]
            for block in blocks:
                clock.say(str(block))
                measure(block, processes, results)
                results.write()
    if not quick:
        clock.say("where the time of a call goes")
        results.tables["pieces"] = pieces(device)
        clock.say("AblationCAM through replay, and five classes in one call")
        results.tables["replay"] = replay([name for name in NETWORKS if name not in LONG_TAILED], device)
        results.tables["five_classes"] = five_classes(device)
    clock.say("imports and lines of code")
    results.tables["imports"] = import_costs(names, peers, 1 if quick else 3)
    results.tables["lines"] = lines_of_code(names, peers)
    if before and (after := ticks()):
        results.about["stolen"] = (after.stolen - before.stolen) / (after.wanted - before.wanted)
    results.about["minutes"] = round((time.monotonic() - clock.start) / 60, 1)
    results.write()
    clock.say("done")
    return results


def about(device: str, names: list[str], *, quick: bool) -> dict[str, Any]:
    """The machine, the versions and the date."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "quick": quick,
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "version": pytorch_grad_cam.__version__,
        "libraries": names,
    }


def measure(block: Block, processes: list[Process], results: Results) -> None:
    """The rounds of a block; a library that fails is reported once and not asked for that case again."""
    if block.measure == "maps":
        compare_maps(block, processes, results)
        return
    for i in range(block.rounds):
        for case in block.cases:
            for process in processes[:: -1 if i % 2 else 1]:
                key = f"{process.name}: {block.measure} of {case}"
                if process.name not in block.libraries or not process.adapter.can(case) or key in results.errors:
                    continue
                warm_up = i == 0 and _is_worth_a_warm_up(block.measure, case)
                with reported(results, key):
                    results.add(block.measure, process.name, case, process.ask(block.measure, case, warm_up=warm_up))


@contextmanager
def reported(results: Results, what: str) -> Iterator[None]:
    """What one library cannot do is a result, and the run goes on."""
    try:
        yield
    except MeasurementError as error:
        results.errors[what] = str(error)
        print(f"        {what} failed: {error}", flush=True)


def _is_worth_a_warm_up(measure: str, case: Case) -> bool:
    """Not before what takes minutes; GradCAM, which comes first, does it for all methods but in times of one image."""
    first, single = case.method == "GradCAM", case.batch == 1
    return {"seconds": first or single, "memory": first and single, "after": True, "once": False}[measure]


def compare_maps(block: Block, processes: list[Process], results: Results) -> None:
    """How far the maps of each peer are from those here."""
    with tempfile.TemporaryDirectory() as folder:
        for case in block.cases:
            maps = {}
            for process in processes:
                path = Path(folder, f"{process.name}.npy")
                if process.name != "floor" and process.adapter.can(case):
                    with reported(results, f"{process.name}: maps of {case}"):
                        process.ask("maps", case, path=str(path))
                        maps[process.name] = unit(np.load(path))
            for name, of in maps.items():
                if LIBRARIES[name].requirement and "here" in maps:
                    results.add("maps", name, case, float(abs(of - maps["here"]).max()))


def unit(maps: NDArray[Any]) -> NDArray[Any]:
    """Each map of (B, H, W) stretched to [0, 1], for libraries scale differently; one that is flat becomes 0."""
    low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
    stretched: NDArray[Any] = (maps - low) / np.where(high > low, high - low, 1)
    return stretched
