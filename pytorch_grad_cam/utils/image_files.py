"""Picture files: open any kind as RGB, write a JPEG whole or not at all."""

import io
import os
import re
import warnings
from collections.abc import Iterable, Mapping
from errno import EISDIR
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image


# Their frames are one picture: a preview or another exposure beside it, the layers that it is made of.
_ONE_PICTURE = ("MPO", "PSD")


class PictureError(ValueError):
    """A file that cannot be read as a picture, or pixels that cannot be written as one; the message says why."""


def open_picture(path: str | os.PathLike[str]) -> "Image":
    """Read a picture of any kind as RGB: upright, transparency over white, 16-bit grey scaled to 8 bits.

    Raises:
        PictureError: if there is no such file, it holds several pictures, or Pillow cannot decode it or refuses to
            because of its size.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not os.path.exists(path):
        raise PictureError(f"no such file: {os.fspath(path)!r}")
    if not os.path.isfile(path):  # to read a pipe or a device may take for ever
        kind = "a folder" if os.path.isdir(path) else "a pipe, a device or a socket"
        raise PictureError(f"{os.fspath(path)!r} is {kind}, expected a picture file")
    try:
        # Pillow warns of pictures that it then reads, and refuses those of twice that size.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as file:
                frames = getattr(file, "n_frames", 1)
                if frames > 1 and file.format not in _ONE_PICTURE:
                    raise PictureError(f"it holds {frames} pictures, expected one; save the one that you mean")
                return _to_rgb(ImageOps.exif_transpose(file))
    except UnidentifiedImageError:
        reason = "no picture of a kind that Pillow knows" if os.path.getsize(path) else "the file is empty"
    # What Pillow raises on damaged files is an open set: OSError, SyntaxError, EOFError, struct.error and more.
    except Exception as error:
        reason = str(error) or type(error).__name__
    raise PictureError(f"cannot read {os.fspath(path)!r}: {reason}")


def encode_jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """RGB pixels (H, W, 3) as a JPEG file of quality 95.

    Raises:
        PictureError: if they are too many for the format.
    """
    from PIL import Image

    buffer = io.BytesIO()
    try:
        Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    except (OSError, ValueError) as error:
        height, width = pixels.shape[:2]
        raise PictureError(f"a JPEG cannot hold {width} x {height} pixels: {error}") from error
    return buffer.getvalue()


def write_whole(files: Mapping[Path, bytes | Iterable[bytes]]) -> None:
    """Write files such that nobody, at no time, finds a part of one under its name.

    None appears before all of them are on the disk. A large one may come in pieces.

    Raises:
        OSError: if one cannot be written; then none is.
    """
    unfinished = {path.with_name(f".{uuid4().hex}.tmp"): path for path in files}
    try:
        for temporary, path in unfinished.items():
            if path.is_dir():
                raise IsADirectoryError(EISDIR, f"{path.name!r} is a folder", str(path))
            content = files[path]
            with temporary.open("wb") as file:
                file.writelines([content] if isinstance(content, bytes) else content)
        for temporary, path in unfinished.items():
            os.replace(temporary, path)
    finally:
        for temporary in unfinished:
            temporary.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Take away what `write_whole` left, anywhere in a folder, in processes that were killed."""
    for inside, _, files in os.walk(folder):
        for name in files:
            if re.fullmatch(r"\.[0-9a-f]{32}\.tmp", name):
                Path(inside, name).unlink(missing_ok=True)


def _to_rgb(image: Any) -> "Image":
    from PIL import Image

    if image.mode.startswith("I"):  # convert() would clip at 255
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise PictureError(f"its values lie in [{values.min()}, {values.max()}], expected at most 16 bits")
        image = Image.fromarray(np.rint(values / 257).astype(np.uint8))
    elif image.mode == "F":
        raise PictureError("its pixels are floating point, expected 8 or 16 bits")
    if image.mode.lower().endswith("a") or "transparency" in image.info:
        pixels = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", pixels.size, "white"), pixels)
    return image.convert("RGB")  # type: ignore[no-any-return]
