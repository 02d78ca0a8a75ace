"""Compatibility with grad-cam 1.x: edges of an image, a map to compare others with, which knows no network."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def sobel_cam(img: NDArray[Any]) -> NDArray[np.uint8]:
    """The mean of the absolute horizontal and vertical derivatives of an image's brightness.

    The derivatives are those of the 3 x 3 operators of Sobel and Feldman, 1968.

    Args:
        img: (H, W, 3) uint8, RGB; a fourth channel, alpha, does not count.

    Returns:
        uint8 (H, W); either derivative counts as 255 at most

    Raises:
        TypeError: if img is no array of uint8.
        ValueError: if its shape is another one.
    """
    import cv2

    if not isinstance(img, np.ndarray) or img.dtype != np.uint8:
        given = f"an array of {img.dtype}" if isinstance(img, np.ndarray) else type(img).__name__
        raise TypeError(f"img is {given}, expected one of uint8: np.uint8(255 * img) of an image in [0, 1]")
    if img.ndim != 3 or img.shape[2] not in (3, 4) or not img.size:
        raise ValueError(f"img has shape {img.shape}, expected (H, W, 3)")
    gray = cv2.cvtColor(img, cv2.COLOR_RGB2GRAY)
    across, down = (np.abs(cv2.Sobel(gray, cv2.CV_64F, *order)).clip(max=255) for order in ((1, 0), (0, 1)))
    edges: NDArray[np.uint8] = np.rint((across + down) / 2).astype(np.uint8)
    return edges
