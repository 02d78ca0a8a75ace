"""What Linux says of the machine, for the page: which processor, and how much of it the host of a virtual one kept."""

import platform
from pathlib import Path
from typing import NamedTuple


class Ticks(NamedTuple):
    """Time of all processors since the start of the machine.

    Attributes:
        wanted: in which there was work.
        stolen: of that, what the host gave to other machines.
    """

    wanted: int
    stolen: int


def ticks(statistics: Path = Path("/proc/stat")) -> Ticks | None:
    """None on systems that do not count them."""
    if not statistics.exists():
        return None
    user, nice, system, _idle, _waiting, interrupts, soft, stolen, *_ = map(
        int, statistics.read_text().split("\n")[0].split()[1:]
    )
    return Ticks(user + nice + system + interrupts + soft + stolen, stolen)


def processor() -> str:
    """Its name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
