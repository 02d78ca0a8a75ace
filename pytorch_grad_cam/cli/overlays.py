"""A map laid over its picture, and the names of the files that such pictures are written to."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pytorch_grad_cam._engine.maps import resize
from pytorch_grad_cam.cli.networks import Network, Preset
from pytorch_grad_cam.utils.image import show_cam_on_image


def overlay(heat: Tensor, inputs: Tensor, preset: Preset, whole: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """A map (H, W) as a heat map over what the network saw, (1, 3, H, W), or over all of the picture, (H', W', 3)."""
    if whole is None:
        return show_cam_on_image(preset.to_rgb(inputs), heat.numpy(), use_rgb=True)
    pixels = whole.copy()
    x0, y0, x1, y1 = preset.crop_box((pixels.shape[1], pixels.shape[0]))
    seen = pixels[y0:y1, x0:x1]
    heat = resize(heat[None, None], seen.shape[:2])[0, 0]
    seen[:] = show_cam_on_image(seen.astype(np.float32) / 255, heat.numpy(), use_rgb=True)
    return pixels


def file_stems(method: str, network: Network, classes: Sequence[int]) -> list[str]:
    """The beginnings of the file names; of several classes each its own."""
    if len(classes) == 1:
        return [method]
    names = [re.sub(r"[^\w-]+", "_", network.classes[index]) for index in classes]
    folded = [name.casefold() for name in names]  # some file systems do not tell "Cardigan" from "cardigan"
    return [
        f"{method}_{name}" if folded.count(name.casefold()) == 1 else f"{method}_{name}_{index}"
        for name, index in zip(names, classes, strict=True)
    ]
