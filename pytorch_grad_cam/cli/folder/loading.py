"""Pictures as input of a network, decoded in the workers of a DataLoader; what cannot be read becomes an error."""

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pytorch_grad_cam.cli.networks import Preset
from pytorch_grad_cam.utils.image_files import PictureError, open_picture

if TYPE_CHECKING:
    from PIL.Image import Image

# The contents of a file are taken for the same as long as these are.
Stamp = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Picture:
    """What is known of a file after it was decoded.

    Attributes:
        path: relative to the folder of the run.
        stamp: of the file, None where there is none.
        size: width and height, upright.
        pixels: (H, W, 3) uint8, where all of the picture is asked for.
        error: why there is no input, or None.
    """

    path: str
    stamp: Stamp | None = None
    size: tuple[int, int] = (0, 0)
    pixels: Tensor | None = None
    error: str | None = None


Batch = tuple[Tensor | None, list[Picture], list[Picture]]
"""The inputs (B, 3, H, W) of the pictures that could be read, these pictures, and the others."""


class PictureFiles(Dataset[tuple[Tensor | None, Picture]]):
    """The pictures at some paths, below a root, as the preset of a network takes them.

    whole: keep the pixels as they were, too
    """

    def __init__(self, root: Path, paths: Sequence[str], preset: Preset, whole: bool) -> None:
        self.root = root
        self.paths = paths
        self.preset = preset
        self.whole = whole

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor | None, Picture]:
        """(3, H, W), or None, and the picture."""
        path = self.paths[index]
        stamp = None
        try:
            stamp = stamp_of(self.root / path)
            image = _open(self.root / path)
            _check_proportions(image.size, self.preset)
            inputs = self.preset.to_input(image)[0]
            pixels = torch.from_numpy(np.array(image)) if self.whole else None
            return inputs, Picture(path, stamp, image.size, pixels)
        # Whatever a file does, it is one picture of many.
        except Exception as error:
            reason = str(error) if isinstance(error, PictureError) else f"{type(error).__name__}: {error}"
            return None, Picture(path, stamp, error=reason)


def collate(samples: Sequence[tuple[Tensor | None, Picture]]) -> Batch:
    """One batch of those that could be read."""
    inputs = [tensor for tensor, _ in samples if tensor is not None]
    good = [picture for _, picture in samples if picture.error is None]
    return torch.stack(inputs) if inputs else None, good, [picture for _, picture in samples if picture.error]


def stamp_of(path: Path) -> Stamp | None:
    """Size and time of change, or None where there is no such file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def leave_interrupts_to_the_main_process(worker: int) -> None:
    """Ctrl-C reaches all processes of a terminal; a worker ends when the main process does, and says nothing of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Its thread that hands tensors over reports here that nobody takes them; errors of pictures go to the main process.
    sys.excepthook = lambda *_: None


def _open(path: Path) -> "Image":
    if path.is_dir():
        try:
            os.listdir(path)
        except OSError as error:
            raise PictureError(f"cannot list the folder {str(path)!r}: {error.strerror}") from None
    return open_picture(path)


def _check_proportions(size: tuple[int, int], preset: Preset) -> None:
    """Refuse what would not fit the memory when its shorter side is as long as the network wants it."""
    from PIL import Image

    if not isinstance(preset.resize, int):
        return
    width, height = (side * preset.resize // min(size) for side in size)
    limit = 2 * (Image.MAX_IMAGE_PIXELS or width * height)
    if width * height > limit:
        raise PictureError(
            f"a picture of {size[0]} x {size[1]} would be resized to {width} x {height} for the network, more than "
            f"{limit} pixels; crop it"
        )
