"""Image files: open any format as RGB, encode JPEG, write files atomically."""

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


# Formats whose frames belong to one image: previews, other exposures, layers.
_ONE_IMAGE = ("MPO", "PSD")


class PictureError(ValueError):
    """Error of a file that cannot be read as an image, or of pixels that cannot be encoded; the message says why."""


def open_picture(path: str | os.PathLike[str]) -> "Image":
    """Read an image file of any format as RGB.

    The EXIF orientation is applied, transparency is blended over white, and 16-bit grayscale is scaled to 8 bits.

    Args:
        path: file to read.

    Returns:
        PIL image of mode "RGB"

    Raises:
        PictureError: if the file does not exist, holds several images, is too large for Pillow, or cannot be decoded.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not os.path.exists(path):
        raise PictureError(f"no such file: {os.fspath(path)!r}")
    if not os.path.isfile(path):  # reading a pipe or a device may never end
        kind = "a folder" if os.path.isdir(path) else "a pipe, a device or a socket"
        raise PictureError(f"{os.fspath(path)!r} is {kind}, expected an image file")
    try:
        # Pillow warns of large images that it reads, and raises for those of twice that size.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as file:
                frames = getattr(file, "n_frames", 1)
                if frames > 1 and file.format not in _ONE_IMAGE:
                    raise PictureError(f"it holds {frames} images, expected one: save the image that you mean")
                return _to_rgb(ImageOps.exif_transpose(file))
    except UnidentifiedImageError:
        reason = "not an image format that Pillow knows" if os.path.getsize(path) else "the file is empty"
    # Pillow raises many types for damaged files: OSError, SyntaxError, EOFError, struct.error and more.
    except Exception as error:
        reason = str(error) or type(error).__name__
    raise PictureError(f"cannot read {os.fspath(path)!r}: {reason}")


def encode_jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """Encode an image as JPEG of quality 95.

    Args:
        pixels: RGB, uint8 (H, W, 3).

    Returns:
        content of the file

    Raises:
        PictureError: if a side is too long for the format.
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
    """Write files atomically: no reader ever sees a partial file.

    All files are written under temporary names and then renamed.

    Args:
        files: content of each file, bytes or an iterable of chunks of bytes.

    Raises:
        OSError: if a file cannot be written; then none appears.
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
    """Remove the temporary files of killed `write_whole` calls in a folder and its subfolders."""
    for parent, _, files in os.walk(folder):
        for name in files:
            if re.fullmatch(r"\.[0-9a-f]{32}\.tmp", name):
                Path(parent, name).unlink(missing_ok=True)


def _to_rgb(image: Any) -> "Image":
    from PIL import Image

    if image.mode.startswith("I"):  # convert() clips at 255
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
