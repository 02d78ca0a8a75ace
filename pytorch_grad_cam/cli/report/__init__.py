"""HTML report of a folder run: report.html, a self-contained page."""

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

# The row of a failed image holds only its path and the error.
_EMPTY_ROW: Row = {
    **dict.fromkeys(("class", "index", "score", "method", "layer", "box", "overlay", "seconds", "error")),
    "warnings": [],
}


class _Thumbnail(NamedTuple):
    size: tuple[int, int]  # (width, height) of the original, in pixels
    jpeg: bytes


def write_report(folder: Path, root: Path | None = None, *, side: int = 256) -> Path:
    """Write report.html, a page that shows the results of a folder run with thumbnails of all images.

    The page is self-contained: it needs no server, no network and no other file. With 2,000 images and two methods it
    has about 50 MB.

    Args:
        folder: folder with results.jsonl, one JSON object per line, and the overlays; report.html is written there.
        root: folder that the paths of the original images are relative to. If it is None or an image is unreadable, the
            page shows the overlay alone.
        side: longest side of a thumbnail, in pixels.

    Returns:
        path of the page

    Raises:
        OSError: if the table cannot be read or the page cannot be written.
        ValueError: if a line of the table is not a JSON object with a path.
    """
    images = _read_images(folder / "results.jsonl")
    files: list[Path | None] = []
    for path, rows in images.items():
        files.append(root / path if root else None)
        files += [folder / row["overlay"] if row["overlay"] else None for row in rows]
    with ThreadPoolExecutor() as pool:
        thumbnails = list(pool.map(lambda file: _thumbnail(file, side), files))

    numbered = iter([_reference(number, thumbnail) for number, thumbnail in enumerate(thumbnails)])
    entries = [
        {"path": path, "original": next(numbered), "results": [_result(row, next(numbered)) for row in rows]}
        for path, rows in images.items()
    ]
    used = dict.fromkeys(row["method"] for rows in images.values() for row in rows if row["method"] is not None)
    methods = {key: METHODS[key].__name__ if key in METHODS else key for key in used}
    page = {"title": folder.resolve().name, "methods": methods, "images": entries}

    report = folder / REPORT
    write_whole({report: _render(page, thumbnails)})
    return report


def _read_images(table: Path) -> dict[str, list[Row]]:
    """Read the rows of each image, in the order of the table."""
    images: dict[str, list[Row]] = {}
    with table.open(encoding="utf-8") as lines:  # not splitlines(), which also splits at U+2028
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number} of {str(table)!r} is not JSON: {error}") from error
            if not isinstance(row, dict) or not isinstance(row.get("path"), str):
                raise ValueError(f"line {number} of {str(table)!r} is {line[:80]!r}, expected an object with a path")
            images.setdefault(row["path"], []).append(_EMPTY_ROW | row)
    return images


def _thumbnail(path: Path | None, side: int) -> _Thumbnail | None:
    if path is None:
        return None
    try:
        image = open_picture(path)
    except PictureError:  # the row has the error, or the overlay is shown alone
        return None
    size = image.size
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return _Thumbnail(size, buffer.getvalue())


def _reference(number: int, thumbnail: _Thumbnail | None) -> Row | None:
    return thumbnail and {"id": number, "size": thumbnail.size}


def _result(row: Row, overlay: Row | None) -> Row:
    """Select the values of a row that the page shows."""
    box, score = row["box"], row["score"]
    explained = row["method"] is not None and row["error"] is None
    empty = explained and (box is None or box[2] <= box[0] or box[3] <= box[1])
    return {key: row[key] for key in _EMPTY_ROW} | {
        "score": score if score is not None and math.isfinite(score) else None,  # JSON has no NaN
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
    # ASCII without "<": no name can close the script element around it.
    rows = json.dumps(page, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    yield f"{before}>{rows}<{between}".encode()
    for number, thumbnail in enumerate(thumbnails):
        if thumbnail:
            yield f'<script type="text/plain" id="thumbnail-{number}">'.encode()
            yield b64encode(thumbnail.jpeg) + b"</script>\n"
    yield after.encode()
