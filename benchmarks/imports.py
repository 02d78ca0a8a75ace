"""What importing costs, each in a fresh process: torch alone, then each library."""

import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.libraries import LIBRARIES
from benchmarks.measure import ROOT
from benchmarks.peers import folder_of

# What peers need stands last, so that all libraries use the same NumPy.
SCRIPT = """
import sys, time
sys.path[:] = [*{first}, *sys.path, *{last}]
start = time.perf_counter()
import {module}
print(time.perf_counter() - start, len(sys.modules))
"""


def import_costs(names: list[str], peers: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Seconds, the median over rounds in which all take turns, and modules, by name.

    The workers have imported all of it before, so that no file is fetched from disk.
    """
    paths: dict[str, tuple[str, Path | None]] = {"torch": ("torch", None)}
    for name in names:
        library = LIBRARIES[name]
        place = folder_of(library, peers)
        if name != "floor":
            paths[name] = (library.module, place.resolve() if place else ROOT)
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in paths}
    for i in range(rounds):
        for name in list(paths)[:: 1 if i % 2 else -1]:
            measured[name].append(_import(*paths[name], (peers / "needs").resolve()))
    medians = {name: [statistics.median(column) for column in zip(*of, strict=True)] for name, of in measured.items()}
    return {name: {"seconds": seconds, "modules": modules} for name, (seconds, modules) in medians.items()}


def _import(module: str, place: Path | None, needs: Path) -> tuple[float, float]:
    script = SCRIPT.format(module=module, first=[str(place)] if place else [], last=[str(needs)])
    # The working folder stands before all others on the path of such a process: one without packages.
    ran = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=Path(sys.executable).parent
    )
    seconds, modules = ran.stdout.split()[-2:]
    return float(seconds), float(modules)
