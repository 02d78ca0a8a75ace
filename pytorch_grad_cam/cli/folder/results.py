"""Rows of the results, and the tables results.csv and results.jsonl."""

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
"""Result of an image, a method and a class; a failed image has one row, with `path`, `seconds` and `error` only.

Attributes:
    path: image file, relative to the root folder of the run.
    class: class name.
    index: class index.
    score: output of the model for the class.
    method: name in METHODS.
    layer: dotted layer names, comma-separated.
    box: (x0, y0, x1, y1) around the map's main region in pixels of the image, x1 and y1 exclusive; None if blank.
    overlay: JPEG file of the overlay, relative to the folder of the results.
    maps: .npz file of the map, relative to the folder of the results, or None.
    seconds: computing time of the map.
    warnings: causes of a blank map.
    error: reason of a failure, or None.
"""

COLUMNS = tuple(Row.__annotations__)


def failed_row(path: str, error: str, seconds: float = 0.0) -> Row:
    """Make the row of an image that failed."""
    row: Any = dict.fromkeys(COLUMNS)
    line = to_utf8(" ".join(error.split()))
    row.update(path=to_utf8(path), seconds=seconds, warnings=[], error=line)
    return row  # type: ignore[no-any-return]


def to_utf8(text: str) -> str:
    """Escape the surrogates of file names that are not UTF-8, so that the text can be encoded."""
    return text.encode("utf-8", "backslashreplace").decode()


def write_tables(output_dir: Path, rows: Iterable[Row]) -> list[Path]:
    """Write `results.csv` and `results.jsonl`, sorted by path and method, both or none.

    In the CSV, None is an empty cell, the numbers of a box are separated by spaces and warnings by " | ".

    Returns:
        the two paths
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
    """Delete the tables of an earlier run, which would be outdated."""
    for name in ("results.csv", "results.jsonl"):
        (output_dir / name).unlink(missing_ok=True)
