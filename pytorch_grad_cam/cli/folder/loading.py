"""Decode image files to network inputs in DataLoader workers; record unreadable files as errors."""

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

Fingerprint = tuple[int, int]
"""Size in bytes and modification time in ns of a file; a change of either means a changed file."""


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """Facts about an image file after decoding.

    Attributes:
        path: path relative to the root folder of the run.
        fingerprint: size and modification time of the file; None if there is no file.
        size: (width, height) in pixels, upright.
        pixels: (H, W, 3) uint8 RGB if the whole image is requested, else None.
        error: reason of a failure; None if the image was decoded.
    """

    path: str
    fingerprint: Fingerprint | None = None
    size: tuple[int, int] = (0, 0)
    pixels: Tensor | None = None
    error: str | None = None


Batch = tuple[Tensor | None, list[DecodedImage], list[DecodedImage]]
"""Inputs (B, 3, H, W), or None if B is 0; the B decoded images; the images that failed."""


class ImageFiles(Dataset[tuple[Tensor | None, DecodedImage]]):
    """Dataset of image files, preprocessed for a network.

    Args:
        root: folder that the paths are relative to.
        paths: image files.
        preset: preprocessing of the network.
        whole: also keep the pixels of the original image.
    """

    def __init__(self, root: Path, paths: Sequence[str], preset: Preset, whole: bool) -> None:
        self.root = root
        self.paths = paths
        self.preset = preset
        self.whole = whole

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor | None, DecodedImage]:
        """Return the input (3, H, W) float32, or None after a failure, and the facts about the file."""
        path = self.paths[index]
        fingerprint = None
        try:
            fingerprint = fingerprint_of(self.root / path)
            image = _open(self.root / path)
            _check_proportions(image.size, self.preset)
            inputs = self.preset.to_input(image)[0]
            pixels = torch.from_numpy(np.array(image)) if self.whole else None
            return inputs, DecodedImage(path, fingerprint, image.size, pixels)
        # Any exception: one bad file must not end the run.
        except Exception as error:
            reason = str(error) if isinstance(error, PictureError) else f"{type(error).__name__}: {error}"
            return None, DecodedImage(path, fingerprint, error=reason)


def collate(samples: Sequence[tuple[Tensor | None, DecodedImage]]) -> Batch:
    """Stack the decoded images to a batch, apart from those that failed."""
    inputs = [tensor for tensor, _ in samples if tensor is not None]
    decoded = [image for _, image in samples if image.error is None]
    return torch.stack(inputs) if inputs else None, decoded, [image for _, image in samples if image.error]


def fingerprint_of(path: Path) -> Fingerprint | None:
    """Return the size in bytes and modification time in ns, or None if there is no such file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def ignore_interrupts(worker: int) -> None:
    """Ignore Ctrl-C in a DataLoader worker: it reaches all processes, and the main process ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The queue's feeder thread would report here that nobody reads it; errors of images reach the main process.
    sys.excepthook = lambda *_: None


def _open(path: Path) -> "Image":
    if path.is_dir():
        try:
            os.listdir(path)
        except OSError as error:
            raise PictureError(f"cannot list the folder {str(path)!r}: {error.strerror}") from None
    return open_picture(path)


def _check_proportions(size: tuple[int, int], preset: Preset) -> None:
    """Refuse a narrow image that would not fit into memory after resizing its shorter side."""
    from PIL import Image

    if not isinstance(preset.resize, int):
        return
    width, height = (side * preset.resize // min(size) for side in size)
    limit = 2 * (Image.MAX_IMAGE_PIXELS or width * height)
    if width * height > limit:
        raise PictureError(
            f"the image of {size[0]} x {size[1]} would be resized to {width} x {height}, expected at most "
            f"{limit} pixels; crop it"
        )
