"""A progress bar on a terminal, and nothing elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def progress_bar(
    name: str, total: int | None, unit: str, progress: bool | None = None, *, leave: bool = False
) -> Iterator[Callable[[int], Any]]:
    """Yield the function that advances the bar; `progress` shows it or not, None shows it on a terminal."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    if not (terminal if progress is None else progress):
        # Not a bar that is hidden: all bars share a lock, which an interrupt may leave taken for other threads.
        yield lambda _: None
        return
    from tqdm import tqdm

    with tqdm(total=total, desc=name, unit=unit, leave=leave) as bar:
        yield bar.update
