"""Overlays of maps on images, and the file names of overlays."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pytorch_grad_cam._engine.maps import resize
from pytorch_grad_cam.cli.networks import Network, Preset
from pytorch_grad_cam.utils.image import show_cam_on_image


def overlay(heat: Tensor, inputs: Tensor, preset: Preset, whole: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Overlay a map as a heat map on the network's input or on the whole image.

    Args:
        heat: map (H, W), float32 in [0, 1].
        inputs: normalized network input (1, 3, H, W).
        preset: preprocessing that made the input.
        whole: original image (H', W', 3), uint8 RGB; None uses the input.

    Returns:
        (H, W, 3), or (H', W', 3) with `whole`, uint8 RGB
    """
    if whole is None:
        return show_cam_on_image(preset.to_rgb(inputs), heat.numpy(), use_rgb=True)
    pixels = whole.copy()
    x0, y0, x1, y1 = preset.crop_box((pixels.shape[1], pixels.shape[0]))
    seen = pixels[y0:y1, x0:x1]
    heat = resize(heat[None, None], seen.shape[:2])[0, 0]
    seen[:] = show_cam_on_image(seen.astype(np.float32) / 255, heat.numpy(), use_rgb=True)
    return pixels


def file_stems(method: str, network: Network, classes: Sequence[int]) -> list[str]:
    """Return a file name stem per class: the method, with the class name appended if there are several."""
    if len(classes) == 1:
        return [method]
    names = [re.sub(r"[^\w-]+", "_", network.classes[index]) for index in classes]
    folded = [name.casefold() for name in names]  # some file systems do not tell "Cardigan" from "cardigan"
    return [
        f"{method}_{name}" if folded.count(name.casefold()) == 1 else f"{method}_{name}_{index}"
        for name, index in zip(names, classes, strict=True)
    ]
