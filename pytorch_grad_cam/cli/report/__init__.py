"""A page to look at the results of a folder of pictures: report.html, one file that needs nothing else."""

import io
import json
import math
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from pytorch_grad_cam import METHODS
from pytorch_grad_cam.utils.image_files import PictureError, open_picture, write_whole

REPORT = "report.html"
Row = dict[str, Any]

# A row of a broken picture holds only its path and the error.
_EMPTY_ROW: Row = {
    **dict.fromkeys(("class", "index", "score", "method", "layer", "box", "overlay", "seconds", "error")),
    "warnings": [],
}


class _Thumbnail(NamedTuple):
    size: tuple[int, int]  # of the whole picture, width first
    jpeg: bytes


def write_report(folder: Path, root: Path | None = None, *, side: int = 256) -> Path:
    """Make a page of the results in a folder, with small copies of all pictures in it.

    It works from a file, without network, and after it was moved alone. 2,000 pictures with two methods are a file of
    some 50 MB.

    Args:
        folder: holds results.jsonl, one JSON object a line, and the overlays that it names; gets report.html.
        root: the folder that the paths of the originals are relative to; without it, or where an original cannot be
            read, the page shows the overlay alone.
        side: pixels of the longest side of the copies.

    Returns:
        the page's path

    Raises:
        OSError: if the table cannot be read or the page not be written.
        ValueError: if a line of the table is no JSON object with a path.
    """
    pictures = _read_pictures(folder / "results.jsonl")
    files: list[Path | None] = []
    for path, rows in pictures.items():
        files.append(root / path if root else None)
        files += [folder / row["overlay"] if row["overlay"] else None for row in rows]
    with ThreadPoolExecutor() as pool:
        thumbnails = list(pool.map(lambda file: _thumbnail(file, side), files))

    numbered = iter([_reference(number, thumbnail) for number, thumbnail in enumerate(thumbnails)])
    entries = [
        {"path": path, "original": next(numbered), "results": [_result(row, next(numbered)) for row in rows]}
        for path, rows in pictures.items()
    ]
    used = dict.fromkeys(row["method"] for rows in pictures.values() for row in rows if row["method"] is not None)
    methods = {key: METHODS[key].__name__ if key in METHODS else key for key in used}
    page = {"title": folder.resolve().name, "methods": methods, "pictures": entries}

    report = folder / REPORT
    write_whole({report: _render(page, thumbnails)})
    return report


def _read_pictures(table: Path) -> dict[str, list[Row]]:
    """The rows of each picture, in the order of the table."""
    pictures: dict[str, list[Row]] = {}
    with table.open(encoding="utf-8") as lines:  # not splitlines(), to which U+2028 ends a line, too
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number} of {str(table)!r} is no JSON: {error}") from error
            if not isinstance(row, dict) or not isinstance(row.get("path"), str):
                raise ValueError(f"line {number} of {str(table)!r} is {line[:80]!r}, expected an object with a path")
            pictures.setdefault(row["path"], []).append(_EMPTY_ROW | row)
    return pictures


def _thumbnail(path: Path | None, side: int) -> _Thumbnail | None:
    if path is None:
        return None
    try:
        picture = open_picture(path)
    except PictureError:  # the row says what was wrong, or the overlay shows enough
        return None
    size = picture.size
    picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return _Thumbnail(size, buffer.getvalue())


def _reference(number: int, thumbnail: _Thumbnail | None) -> Row | None:
    return thumbnail and {"id": number, "size": thumbnail.size}


def _result(row: Row, overlay: Row | None) -> Row:
    """What the page shows of a row."""
    box, score = row["box"], row["score"]
    explained = row["method"] is not None and row["error"] is None
    empty = explained and (box is None or box[2] <= box[0] or box[3] <= box[1])
    return {key: row[key] for key in _EMPTY_ROW} | {
        "score": score if score is not None and math.isfinite(score) else None,  # JSON knows no NaN
        "overlay": overlay,
        "blank": empty or any("blank" in warning for warning in row["warnings"]),
    }


def _render(page: Row, thumbnails: list[_Thumbnail | None]) -> Iterator[bytes]:
    template = Path(__file__).with_name("report.html").read_text("utf-8")
    _, script = template.split("<script>")
    script, _ = script.split("</script>", 1)
    digest = b64encode(sha256(script.encode()).digest()).decode()
    before, between = template.replace("SCRIPT-HASH", f"sha256-{digest}").split(">ROWS<")
    between, after = between.split("<!-- THUMBNAILS -->")
    # Pure ASCII without "<": no name can end the block that it stands in.
    rows = json.dumps(page, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    yield f"{before}>{rows}<{between}".encode()
    for number, thumbnail in enumerate(thumbnails):
        if thumbnail:
            yield f'<script type="text/plain" id="thumbnail-{number}">'.encode()
            yield b64encode(thumbnail.jpeg) + b"</script>\n"
    yield after.encode()
