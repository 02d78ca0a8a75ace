"""Processes of one run, started by `torchrun`; a single process is rank 0 of 1."""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed

T = TypeVar("T")


class Ranks:
    """Rank of this process, and the process group as a context manager.

    The backend is gloo on every device: only small Python objects are exchanged.

    Attributes:
        launched: True if torchrun started this process.
        rank: rank of this process, from 0.
        count: number of processes (world size).
        local_rank: rank on this machine, from 0.
        local_count: number of processes on this machine.
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
            # Ranks wait for the slowest without a limit; gloo notices a dead process at once.
            torch.distributed.init_process_group("gloo", timeout=timedelta(days=30))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.count > 1 and kind is None:
            torch.distributed.destroy_process_group()

    def broadcast(self, make: Callable[[], T]) -> T:
        """Call `make` in rank 0 and return its result in all ranks.

        Args:
            make: called in rank 0 only; its exception is raised there.

        Raises:
            SystemExit: in the other ranks, with code 2, if `make` failed in rank 0.
        """
        if self.count == 1:
            return make()
        message: list[Any] = [None]
        try:
            if self.rank == 0:
                message = [(make(),)]
        finally:
            torch.distributed.broadcast_object_list(message)
        if message[0] is None:
            raise SystemExit(2)
        return message[0][0]  # type: ignore[no-any-return]

    def barrier(self) -> None:
        """Wait until all ranks have called this method.

        Raises:
            RuntimeError: if another process has ended.
        """
        if self.count > 1:
            try:
                torch.distributed.barrier()
            except RuntimeError as error:
                raise RuntimeError("another process of this run has ended; continue with --resume") from error
