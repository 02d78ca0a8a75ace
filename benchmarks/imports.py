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
    """Seconds, those beside torch, and modules, by name: medians over rounds in which all take turns.

    Of several rounds the first fetches the files from disk, and is left out.
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
    costs = {}
    for name, of in measured.items():
        kept = list(zip(of, measured["torch"], strict=True))[1 if rounds > 1 else 0 :]
        costs[name] = {
            "seconds": statistics.median(seconds for (seconds, _), _ in kept),
            "beside_torch": statistics.median(seconds / torch for (seconds, _), (torch, _) in kept),
            "modules": statistics.median(modules for (_, modules), _ in kept),
        }
    return costs


def _import(module: str, place: Path | None, needs: Path) -> tuple[float, float]:
    script = SCRIPT.format(module=module, first=[str(place)] if place else [], last=[str(needs)])
    # The working folder stands before all others on the path of such a process: one without packages.
    ran = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=Path(sys.executable).parent
    )
    seconds, modules = ran.stdout.split()[-2:]
    return float(seconds), float(modules)
