"""Edges of a picture: a map to compare others with, for it knows no network."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def sobel_cam(img: NDArray[Any]) -> NDArray[np.uint8]:
    """The mean of the absolute horizontal and vertical derivatives of a picture's brightness.

    The derivatives are those of the 3 x 3 operators of Sobel and Feldman, 1968.

    Args:
        img: (H, W, 3) uint8, RGB.

    Returns:
        uint8 (H, W); either derivative counts as 255 at most

    Raises:
        ValueError: if img is something else.
    """
    import cv2

    if not (isinstance(img, np.ndarray) and img.dtype == np.uint8 and img.ndim == 3 and img.shape[2] == 3):
        given = f"{img.dtype} {img.shape}" if isinstance(img, np.ndarray) else type(img).__name__
        raise ValueError(f"img is {given}, expected uint8 (H, W, 3): np.uint8(255 * img) of a picture in [0, 1]")
    gray = cv2.cvtColor(img, cv2.COLOR_RGB2GRAY)
    across, down = (np.abs(cv2.Sobel(gray, cv2.CV_64F, *order)).clip(max=255) for order in ((1, 0), (0, 1)))
    edges: NDArray[np.uint8] = np.rint((across + down) / 2).astype(np.uint8)
    return edges
