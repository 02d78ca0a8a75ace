"""Give back what was changed for the length of a block, also where Ctrl-C comes at the worst moment."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def undone_by(undo: Callable[[], None]) -> Iterator[None]:
    """Run the block, then `undo`, which is tried again if an interrupt stops it half-way.

    Make the change inside the block, so that it is undone wherever an interrupt falls: `undo` must also be right where
    the change was not made, made in part, or undone before.
    """
    try:
        yield
    finally:
        try:
            undo()
        except BaseException:
            undo()
            raise
