"""The rows of a run: what they hold, and the two tables made of them."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypedDict

from pytorch_grad_cam.utils.image_files import write_whole

Row = TypedDict(
    "Row",
    {
        "path": str,
        "class": str | None,
        "index": int | None,
        "score": float | None,
        "method": str | None,
        "layer": str | None,
        "box": Sequence[int] | None,
        "overlay": str | None,
        "maps": str | None,
        "seconds": float,
        "warnings": Sequence[str],
        "error": str | None,
    },
)
"""Of a picture, a method and a class; of a picture that failed there is one, with its error and without the rest.

path: relative to the folder of the run; box: (x0, y0, x1, y1) of the map's main region in pixels of the picture, None
if it is blank; overlay, maps: files, relative to the folder of the results.
"""

COLUMNS = tuple(Row.__annotations__)


def failed_row(path: str, error: str, seconds: float = 0.0) -> Row:
    """The row of a picture without a result."""
    row: Any = dict.fromkeys(COLUMNS)
    line = plain(" ".join(error.split()))
    row.update(path=plain(path), seconds=seconds, warnings=[], error=line)
    return row  # type: ignore[no-any-return]


def plain(text: str) -> str:
    """Text that UTF-8 can hold; names of files may have bytes that it cannot."""
    return text.encode("utf-8", "backslashreplace").decode()


def write_tables(output_dir: Path, rows: Iterable[Row]) -> list[Path]:
    """Write `results.csv` and `results.jsonl`, sorted by path and method, both or none.

    In the CSV what is None is empty, the numbers of a box are parted by spaces, several warnings by " | ".
    """
    table = sorted(rows, key=lambda row: (row["path"], row["method"] or ""))  # classes keep their order
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in table]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in table:
        box = None if row["box"] is None else " ".join(map(str, row["box"]))
        writer.writerow({**row, "box": box, "warnings": " | ".join(row["warnings"])})
    files = {
        output_dir / "results.csv": text.getvalue().encode(),
        output_dir / "results.jsonl": "".join(lines).encode(),
    }
    write_whole(files)
    return list(files)


def remove_tables(output_dir: Path) -> None:
    """Take away what an earlier run left, so that no table is there that does not say what is."""
    for name in ("results.csv", "results.jsonl"):
        (output_dir / name).unlink(missing_ok=True)
