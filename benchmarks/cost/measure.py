"""A call timed beside the plain forward pass, and its peak memory."""

import ctypes
import gc
import statistics
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch.utils.benchmark import timer

# With these glibc gives every freed tensor back at once; otherwise resident memory depends on what its heap keeps.
LEAN = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
LEAST_SECONDS = 0.25  # a pair is repeated until then, or a short call would be lost in the noise
MOST_CALLS = 10


def seconds_of(function: Callable[[], Any]) -> float:
    """Wall time of one call without a warm-up, to the end of its work on the GPU."""
    start = timer()
    function()
    return timer() - start


def seconds_beside(
    forward: Callable[[], Any], call: Callable[[], Any], settle: Callable[[], Any]
) -> dict[str, list[float]]:
    """Seconds of a call, again and again, and of the forward pass before each: a shared machine changes its pace.

    Before each pair `settle` makes a library release what it keeps of its last call.
    """
    times: dict[str, list[float]] = {"forward": [], "call": []}
    start = timer()
    while len(times["call"]) < MOST_CALLS and (not times["call"] or timer() - start < LEAST_SECONDS):
        settle()
        times["forward"].append(seconds_of(forward))
        times["call"].append(seconds_of(call))
    return times


def ratio_beside(times: dict[str, list[float]]) -> float:
    """The median ratio of a call to the forward pass before it."""
    return statistics.median(call / plain for plain, call in zip(times["forward"], times["call"], strict=True))


def peak_memory(function: Callable[[], Any]) -> int:
    """Peak bytes of one call above what is in use before: of the GPU if it was used, else resident."""
    gc.collect()
    if torch.cuda.is_initialized() and torch.cuda.memory_allocated():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        return torch.cuda.max_memory_allocated() - before
    with suppress(OSError, AttributeError):  # glibc: what its heap keeps would be used again, unseen
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts again from here
    before = _resident("VmRSS")
    function()
    return _resident("VmHWM") - before


def _resident(field: str) -> int:
    status = Path("/proc/self/status")  # Linux; elsewhere memory is not measured
    lines = status.read_text().splitlines() if status.exists() else []
    return 1024 * next((int(line.split()[1]) for line in lines if line.startswith(field)), 0)
