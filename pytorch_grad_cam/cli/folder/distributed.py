"""Several processes that share one run, as `torchrun` starts them; one alone is rank 0 of 1."""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed

T = TypeVar("T")


class Ranks:
    """This process among those of the run; a context manager.

    Only words pass between the processes, so gloo does, whatever they compute on.

    Attributes:
        rank: of this process; the first is 0.
        count: of all processes.
        local_rank: among those of this machine, local_count of them.
    """

    def __init__(self) -> None:
        launched = all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        numbers = [os.environ.get(name) if launched else None for name in names]
        self.launched = launched
        self.rank, self.count = int(numbers[0] or 0), int(numbers[1] or 1)
        self.local_rank, self.local_count = int(numbers[2] or 0), int(numbers[3] or 1)

    def __enter__(self) -> "Ranks":
        if self.count > 1:
            # The others wait for the slowest as long as it takes; one that dies is noticed at once.
            torch.distributed.init_process_group("gloo", timeout=timedelta(days=30))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.count > 1 and kind is None:
            torch.distributed.destroy_process_group()

    def from_first(self, make: Callable[[], T]) -> T:
        """What the first process makes, in all of them; where it fails, all do.

        Raises:
            SystemExit: in the others, with code 2, if it failed in the first.
        """
        if self.count == 1:
            return make()
        told: list[Any] = [None]
        try:
            if self.rank == 0:
                told = [(make(),)]
        finally:
            torch.distributed.broadcast_object_list(told)
        if told[0] is None:
            raise SystemExit(2)
        return told[0][0]  # type: ignore[no-any-return]

    def wait(self) -> None:
        """Until all processes are here.

        Raises:
            RuntimeError: if one of them has ended.
        """
        if self.count > 1:
            try:
                torch.distributed.barrier()
            except RuntimeError as error:
                raise RuntimeError("another process of this run has ended; --resume completes what is left") from error
