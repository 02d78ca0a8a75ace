"""What is done so far, on disk: whole lines, one for each batch, so that a run that was killed can go on."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pytorch_grad_cam.utils.image_files import write_whole

FOLDER = ".records"

Record = dict[str, Any]
"""Of one picture: `path`, `settings` of the run, `stamp` of the file, and its `rows` of the table."""


class Journal:
    """The records of one process; a line is on the disk before the next is begun.

    Args:
        output_dir: the folder of the results.
        rank: of this process.
    """

    def __init__(self, output_dir: Path, rank: int) -> None:
        self.path = output_dir / FOLDER / f"{rank}.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def append(self, records: Sequence[Record]) -> None:
        """Write the records of a batch: all of them, or, where the process is killed, a line that does not count."""
        line = "\n" + json.dumps(records, ensure_ascii=False) + "\n"  # apart from what Ctrl-C has left of another
        with open(self.path, "ab") as file:
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())


def read_records(output_dir: Path) -> Iterator[Record]:
    """All records of all processes; a line that is not whole is passed over."""
    for path in sorted((output_dir / FOLDER).glob("*.jsonl")):
        with open(path, "rb") as file:
            for line in file:
                try:
                    yield from json.loads(line)
                except ValueError:
                    continue


def rewrite(output_dir: Path, keep: Sequence[Record]) -> None:
    """Replace all records by some of them, in one file that no process appends to."""
    folder = output_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "kept.jsonl"
    write_whole({kept: b"".join(json.dumps([record], ensure_ascii=False).encode() + b"\n" for record in keep)})
    for path in folder.glob("*.jsonl"):
        if path != kept:
            path.unlink()
