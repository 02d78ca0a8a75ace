"""Journal of finished images on disk, one line per batch, from which a killed run resumes."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pytorch_grad_cam.utils.image_files import write_whole

FOLDER = ".records"

Record = dict[str, Any]
"""Record of an image: its `path`, `settings` of the run, `fingerprint` of the file, and `rows` of the table."""


class Journal:
    """Append-only journal of one process; each line is synced to disk before the next.

    Args:
        output_dir: folder of the results.
        rank: rank of this process, from 0.
    """

    def __init__(self, output_dir: Path, rank: int) -> None:
        self.path = output_dir / FOLDER / f"{rank}.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def append(self, records: Sequence[Record]) -> None:
        """Write the records of a batch as one line; if the process is killed meanwhile, the line is ignored."""
        line = "\n" + json.dumps(records, ensure_ascii=False) + "\n"  # Ctrl-C may have cut off the line before
        with open(self.path, "ab") as file:
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())


def read_records(output_dir: Path) -> Iterator[Record]:
    """Yield the records of all processes; skip incomplete lines."""
    for path in sorted((output_dir / FOLDER).glob("*.jsonl")):
        with open(path, "rb") as file:
            for line in file:
                try:
                    yield from json.loads(line)
                except ValueError:
                    continue


def rewrite(output_dir: Path, keep: Sequence[Record]) -> None:
    """Replace all journals by one file that holds the records in `keep`."""
    folder = output_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "kept.jsonl"
    write_whole({kept: b"".join(json.dumps([record], ensure_ascii=False).encode() + b"\n" for record in keep)})
    for path in folder.glob("*.jsonl"):
        if path != kept:
            path.unlink()
