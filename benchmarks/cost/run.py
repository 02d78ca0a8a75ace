"""A run: all libraries in turn, in processes of their own."""

import datetime
import os
import platform
import re
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch.utils import collect_env

import pytorch_grad_cam
from benchmarks.cost import plan
from benchmarks.cost.libraries import PEERS
from benchmarks.cost.peers import MeasurementError, Process, install
from benchmarks.cost.plan import Block
from benchmarks.cost.results import Results


def measure_all(path: Path, device: str, peers: Path, methods: Collection[str], *, quick: bool) -> Results:
    """Measure the plan of some methods, and write answers to a file as they come."""
    start = time.monotonic()
    names = install(peers)
    results = Results(path, about(device, names, quick=quick))
    for blocks, lean in ((plan.times(quick=quick), False), (plan.peaks(quick=quick), True)):
        chosen = (replace(b, cases=tuple(case for case in b.cases if case.method in methods)) for b in blocks)
        kept = [block for block in chosen if block.cases]
        with ExitStack() as stack:
            asked = [name for name in names if any(name in block.libraries for block in kept)]
            processes = [stack.enter_context(Process(name, device, peers, lean=lean)) for name in asked]
            for block in kept:
                minutes, seconds = divmod(int(time.monotonic() - start), 60)
                print(f"{minutes:3}:{seconds:02}  {block.measure}: {block.cases[0]} ...", flush=True)
                measure(block, processes, results)
                results.write()
    results.about["minutes"] = round((time.monotonic() - start) / 60, 1)
    results.write()
    return results


def about(device: str, names: list[str], *, quick: bool) -> dict[str, Any]:
    """The machine, the versions and the date."""
    model = re.search(r"Model name:\s*(.+)", collect_env.get_cpu_info(collect_env.run) or "")
    processor = model[1].strip() if model else platform.processor()
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"
    versions = f"Python {platform.python_version()}, torchvision {torchvision.__version__}"
    return {
        "date": datetime.date.today().isoformat(),
        "quick": quick,
        "device": name,
        "machine": f"{name}, {processor}, {os.cpu_count()} cores, torch {torch.__version__}",
        "versions": f"{torch.get_num_threads()} threads, {versions}; here {pytorch_grad_cam.__version__}",
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
                if process.name in block.libraries and process.library.can(case) and key not in results.errors:
                    with reported(results, key):
                        results.add(block.measure, process.name, case, process.ask(block.measure, case))


@contextmanager
def reported(results: Results, call: str) -> Iterator[None]:
    """Keep the error of a library as a result, and go on."""
    try:
        yield
    except MeasurementError as error:
        results.errors[call] = str(error)
        print(f"        {call} failed: {error}", flush=True)


def compare_maps(block: Block, processes: list[Process], results: Results) -> None:
    """The difference of the maps of each peer from those here."""
    for case in block.cases:
        maps = {}
        for process in processes:
            if process.name != "bound" and process.library.can(case):
                with reported(results, f"{process.name}: maps of {case}"):
                    maps[process.name] = stretch(np.array(process.ask("maps", case)))
        for name in set(maps) & set(PEERS) if "here" in maps else ():
            results.add("maps", name, case, float(abs(maps[name] - maps["here"]).max()))


def stretch(maps: NDArray[Any]) -> NDArray[Any]:
    """Each map of (B, H, W) stretched to [0, 1], as libraries scale differently; a constant one becomes 0."""
    low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
    stretched: NDArray[Any] = (maps - low) / np.where(high > low, high - low, 1)
    return stretched
