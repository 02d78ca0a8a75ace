"""What importing costs, each in a fresh process: torch alone, then each library."""

import os
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.libraries import LIBRARIES
from benchmarks.measure import ROOT
from benchmarks.peers import folder_of

SCRIPT = """
import sys, time
start = time.perf_counter()
import {module}
print(time.perf_counter() - start, len(sys.modules))
"""


def import_costs(names: list[str], peers: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Seconds, the median over rounds in which all take turns, and modules, by name."""
    paths: dict[str, tuple[str, list[Path]]] = {"torch": ("torch", [])}
    for name in names:
        library = LIBRARIES[name]
        place = folder_of(library, peers)
        if name != "floor":
            paths[name] = (library.module, [place.resolve(), (peers / "needs").resolve()] if place else [ROOT])
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in paths}
    for i in range(rounds + 1):
        for name in list(paths)[:: 1 if i % 2 else -1]:
            measured[name].append(_import(*paths[name]))
    # The first round fetches the files from disk.
    medians = {
        name: [statistics.median(column) for column in zip(*of[1:], strict=True)] for name, of in measured.items()
    }
    return {name: {"seconds": seconds, "modules": modules} for name, (seconds, modules) in medians.items()}


def _import(module: str, path: list[Path]) -> tuple[float, float]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    # The working folder stands before all others on the path of such a process: one without packages.
    command = [sys.executable, "-c", SCRIPT.format(module=module)]
    ran = subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment, cwd=Path(sys.executable).parent
    )
    seconds, modules = ran.stdout.split()[-2:]
    return float(seconds), float(modules)
