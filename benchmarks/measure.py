"""Time beside the plain forward pass, and peak memory, both for comparison within one run."""

import ctypes
import gc
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
# With these glibc gives every freed tensor back at once; otherwise resident memory depends on what its heap keeps.
LEAN = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def seconds_of(function: Callable[[], Any]) -> float:
    """Wall time of one call, to the end of its work on the GPU if there is one at work."""
    if torch.cuda.is_initialized():
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        function()
        end.record()
        torch.cuda.synchronize()
        return float(start.elapsed_time(end)) / 1e3
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def seconds_beside(
    forward: Callable[[], Any], call: Callable[[], Any], settle: Callable[[], Any], least: float, most: int
) -> tuple[list[float], list[float]]:
    """Seconds of a call, again and again for a least time, and of the forward pass before each.

    Before that, `settle` makes a library let go of what it keeps of the last call, in whose place the forward pass
    would have to find other memory.
    """
    plain: list[float] = []
    calls: list[float] = []
    begin = time.perf_counter()
    while len(calls) < most and (not calls or time.perf_counter() - begin < least):
        settle()
        plain.append(seconds_of(forward))
        calls.append(seconds_of(call))
    return plain, calls


def ratio_beside(plain: list[float], calls: list[float]) -> float:
    """The median ratio of a call to the forward pass before it."""
    return statistics.median(call / before for before, call in zip(plain, calls, strict=True))


def seconds(functions: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Wall time of each function in each round; all run in turn, so that drift of the machine hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    names = list(functions)
    for function in functions.values():  # a warm-up
        function()
    for i in range(rounds):
        for name in names if i % 2 else reversed(names):
            times[name].append(seconds_of(functions[name]))
    return times


def ratio(times: list[float], reference: list[float]) -> float:
    """Median over rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(times, reference, strict=True))


def peak_memory(function: Callable[[], Any]) -> int:
    """Peak bytes that one call takes above what is in use before: of the GPU if there is work on it, else resident."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        return torch.cuda.max_memory_allocated() - before
    with suppress(OSError, AttributeError):  # glibc: what its heap keeps would be used again, unseen
        ctypes.CDLL(None).malloc_trim(0)
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")  # Linux: the peak starts again from here
    before = _resident("VmRSS")
    function()
    return _resident("VmHWM") - before


def in_fresh_process(module: str, *arguments: str) -> str:
    """What a module prints in a process of its own."""
    command = [sys.executable, "-m", module, *arguments]
    environment = {**os.environ, **LEAN}
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT)
    return ran.stdout.strip()


def _resident(field: str) -> int:
    status = Path("/proc/self/status")
    if not status.exists():  # no reset here: the peak of the whole process
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return int(next(line for line in status.read_text().splitlines() if line.startswith(field)).split()[1]) * 1024
