"""Time in alternating rounds and peak memory in fresh processes, both for comparison within one run."""

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch


def seconds(functions: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Wall time of each function in each round; all run in turn, so that drift of the machine hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    names = list(functions)
    for function in functions.values():  # a warm-up
        function()
    for i in range(rounds):
        for name in names if i % 2 else reversed(names):
            _synchronize()
            start = time.perf_counter()
            functions[name]()
            _synchronize()
            times[name].append(time.perf_counter() - start)
    return times


def ratio(times: list[float], reference: list[float]) -> float:
    """Median over rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(times, reference, strict=True))


def peak_memory(function: Callable[[], Any]) -> int:
    """Peak bytes that one call takes above what is in use before: of the GPU if there is work on it, else resident."""
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        return torch.cuda.max_memory_allocated() - before
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")  # Linux: the peak starts again from here
    before = _resident("VmRSS")
    function()
    return _resident("VmHWM") - before


def in_fresh_process(script: str, *arguments: str) -> str:
    """What a script prints in a process of its own.

    There glibc gives every freed tensor back at once; otherwise resident memory depends on what its heap keeps.
    """
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, script, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout.strip()


def _resident(field: str) -> int:
    status = Path("/proc/self/status")
    if not status.exists():  # no reset here: the peak of the whole process
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return int(next(line for line in status.read_text().splitlines() if line.startswith(field)).split()[1]) * 1024


def _synchronize() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
