"""What importing costs: torch, and then a library, each in a fresh process."""

import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.libraries import LIBRARIES
from benchmarks.measure import ROOT
from benchmarks.peers import folder_of

# What peers need stands last, so that all libraries use the same NumPy.
SCRIPT = """
import sys, time
sys.path[:] = [*{first}, *sys.path, *{last}]
start = time.perf_counter()
import torch
middle = time.perf_counter()
import {module}
print(middle - start, time.perf_counter() - start, len(sys.modules))
"""


def import_costs(names: list[str], peers: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Seconds, those beside torch, and modules, by name: medians over rounds in which all take turns.

    Torch, which all of them import, is timed in the same process: the import of one process takes a quarter more than
    that of the next. Of several rounds the first fetches the files from disk, and is left out.
    """
    paths: dict[str, tuple[str, Path | None]] = {"torch": ("torch", None)}
    for name in names:
        library = LIBRARIES[name]
        place = folder_of(library, peers)
        if name != "floor":
            paths[name] = (library.module, place.resolve() if place else ROOT)
    measured: dict[str, list[_Import]] = {name: [] for name in paths}
    for i in range(rounds):
        for name in list(paths)[:: 1 if i % 2 else -1]:
            measured[name].append(_import(*paths[name], (peers / "needs").resolve()))
    costs = {}
    for name, of in measured.items():
        kept = of[1:] or of
        costs[name] = {
            "seconds": statistics.median(one.seconds for one in kept),
            "beside_torch": statistics.median(one.seconds / one.of_torch for one in kept),
            "modules": statistics.median(one.modules for one in kept),
        }
    return costs


class _Import(NamedTuple):
    of_torch: float
    seconds: float
    modules: float


def _import(module: str, place: Path | None, needs: Path) -> _Import:
    script = SCRIPT.format(module=module, first=[str(place)] if place else [], last=[str(needs)])
    # The working folder stands before all others on the path of such a process: one without packages.
    ran = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=Path(sys.executable).parent
    )
    return _Import(*map(float, ran.stdout.split()[-3:]))
