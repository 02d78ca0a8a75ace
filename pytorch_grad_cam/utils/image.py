"""Conversions between images, model inputs, gradients and maps as overlays."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytorch_grad_cam._compat.not_implemented import create_labels_legend, show_factorization_on_image  # noqa: F401
from pytorch_grad_cam._engine.maps import rescale, resize

COLORMAP_JET = 2  # cv2.COLORMAP_JET, so that importing this module does not import cv2


def scale_cam_image(cam: NDArray[Any], target_size: Sequence[int] | None = None) -> NDArray[np.float32]:
    """Min-max each map of a batch to [0, 1] and resize it.

    Args:
        cam: (B, *S), any real dtype.
        target_size: size of the result in pixels, last axis first: (width, height), the order of cv2. None keeps the
            size.

    Returns:
        float32 (B, *size) in [0, 1]

    Raises:
        ValueError: if cam has no spatial axis, or target_size does not have one value per spatial axis.
    """
    return _scaled("cam", cam, "B", target_size)


def scale_accross_batch_and_channels(
    tensor: NDArray[Any], target_size: Sequence[int] | None = None
) -> NDArray[np.float32]:
    """Min-max each channel of a batch to [0, 1] and resize it; the spelling is that of grad-cam 1.x.

    Args:
        tensor: (B, C, *S), any real dtype.
        target_size: size of the result in pixels, last axis first: (width, height), the order of cv2. None keeps the
            size.

    Returns:
        float32 (B, C, *size) in [0, 1]

    Raises:
        ValueError: if tensor has no spatial axis, or target_size does not have one value per spatial axis.
    """
    return _scaled("tensor", tensor, "BC", target_size)


def _scaled(name: str, values: NDArray[Any], axes: str, target_size: Sequence[int] | None) -> NDArray[np.float32]:
    """Min-max and resize each map; axes names the axes before the spatial ones."""
    maps = torch.from_numpy(np.array(values, np.float32))  # a copy, since PyTorch has no negative strides
    leading, size = maps.shape[: len(axes)], maps.shape[len(axes) :]
    if not size or (target_size is not None and len(target_size) != len(size)):
        raise ValueError(
            f"{name} has shape {tuple(maps.shape)} and target_size is {target_size}; expected "
            f"({', '.join(axes)}, H, W) and a size (W, H), or one axis more or less for both"
        )
    scaled = resize(rescale(maps.reshape(-1, 1, *size)), size if target_size is None else tuple(target_size)[::-1])
    return scaled.reshape(*leading, *scaled.shape[2:]).numpy()


def preprocess_image(
    img: NDArray[Any], mean: Sequence[float] = (0.5, 0.5, 0.5), std: Sequence[float] = (0.5, 0.5, 0.5)
) -> Tensor:
    """Convert an image to the input of a network: `(img - mean) / std`, channels first.

    Args:
        img: (H, W, C), usually RGB, uint8 in [0, 255] or floating point in [0, 1]; or a PIL image.
        mean: one value per channel, for values in [0, 1].
        std: one value per channel, above 0, for values in [0, 1].

    Returns:
        float32 (1, C, H, W)

    Raises:
        TypeError: if img is not an array of uint8 or floating point.
        ValueError: if the shape or the range of img is not as documented, mean or std does not have one value per
            channel, or std is not above 0.
    """
    statistics = [torch.tensor(np.asarray(values, np.float32)) for values in (mean, std)]
    if not statistics[0].shape == statistics[1].shape == (len(mean),):
        shapes = " and ".join(str(tuple(values.shape)) for values in statistics)
        raise ValueError(f"mean and std have shapes {shapes}, expected one value for each channel in both")
    pixels = np.asarray(img)
    if pixels.ndim == 2 and len(mean) == 1:  # a grayscale image of PIL has no channel axis
        pixels = pixels[..., None]
    image = torch.from_numpy(_unit_range(pixels, "img", len(mean)).astype(np.float32)).permute(2, 0, 1)
    if not (statistics[1] > 0).all():
        raise ValueError(f"std is {list(std)}, expected values above 0")
    return ((image - statistics[0][:, None, None]) / statistics[1][:, None, None]).contiguous().unsqueeze(0)


def deprocess_image(img: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert an array of any range, such as a gradient, to an image.

    The mean becomes mid-gray, and one standard deviation is a tenth of the range.

    Args:
        img: any shape, any real dtype.

    Returns:
        uint8, shape of img

    Raises:
        ValueError: if a value is not finite.
    """
    img = np.asarray(img)
    if not np.isfinite(img).all():
        raise ValueError("img holds NaN or infinity, expected finite values")
    img = img - img.mean()
    img = img / (img.std() + 1e-5)
    return (np.clip(img * 0.1 + 0.5, 0, 1) * 255).astype(np.uint8)


def show_cam_on_image(
    img: NDArray[Any],
    mask: NDArray[Any],
    use_rgb: bool = False,
    colormap: int = COLORMAP_JET,
    image_weight: float = 0.5,
) -> NDArray[np.uint8]:
    """Overlay a map on its image as a heat map.

    The blend is scaled so that its largest value is 255.

    Args:
        img: (H, W, 3), floating point in [0, 1].
        mask: map (H, W) in [0, 1], any real dtype.
        use_rgb: True if the channels of img are RGB, False for BGR, the order of cv2.
        colormap: one of the constants `cv2.COLORMAP_*`.
        image_weight: weight of the image in the blend, in [0, 1].

    Returns:
        uint8 (H, W, 3), channels in the order of img

    Raises:
        TypeError: if img is not an array of floating point.
        ValueError: if a shape or a range is not as documented, or the sizes of img and mask differ.
    """
    import cv2

    if getattr(img, "dtype", None) == np.uint8:
        raise TypeError("img is uint8, expected floating point in [0, 1]: pass np.float32(img) / 255")
    img = _unit_range(img, "img")
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise ValueError(f"mask has shape {mask.shape}, expected one map (H, W): take one of a batch, maps[0]")
    if mask.shape != img.shape[:2]:
        raise ValueError(
            f"mask is {mask.shape} and img is {img.shape[:2]} (height, width), expected the same: resize the map with "
            "cv2.resize(mask, (img.shape[1], img.shape[0])). Or pass the image in the size of the model input."
        )
    _check_unit_range(mask, "mask", "")
    if not 0 <= image_weight <= 1:
        raise ValueError(f"image_weight is {image_weight}, expected a share in [0, 1]")

    heatmap: NDArray[Any] = cv2.applyColorMap((255 * mask.clip(0, 1)).astype(np.uint8), colormap)
    if use_rgb:
        heatmap = heatmap[..., ::-1]
    blend = (1 - image_weight) * (heatmap.astype(np.float32) / 255) + image_weight * img
    return (255 * (blend / (blend.max() or 1))).astype(np.uint8)


def _unit_range(img: NDArray[Any], name: str, channels: int = 3) -> NDArray[np.floating[Any]]:
    """Check an image (H, W, C) and convert it to [0, 1]; uint8 is divided by 255."""
    if not isinstance(img, np.ndarray) or not (img.dtype == np.uint8 or np.issubdtype(img.dtype, np.floating)):
        kind = f"an array of {img.dtype}" if isinstance(img, np.ndarray) else type(img).__name__
        raise TypeError(f"{name} is {kind}, expected a NumPy array of uint8 or floating point")
    if img.ndim != 3 or img.shape[2] != channels or not img.size:
        hint = "; channels come last: img.transpose(1, 2, 0)" if img.ndim == 3 and img.shape[0] == channels else ""
        raise ValueError(f"{name} has shape {img.shape}, expected (H, W, {channels}){hint}")
    if img.dtype == np.uint8:
        return img.astype(np.float32) / 255
    _check_unit_range(img, name, "; divide 8-bit values by 255" if img.min() >= 0 else "; it may be normalized already")
    return img


def _check_unit_range(values: NDArray[Any], name: str, hint: str) -> None:
    # A mean or an interpolation may be outside by rounding.
    if not (values.min() >= -1e-6 and values.max() <= 1 + 1e-6):
        raise ValueError(f"{name} lies in [{values.min():.4g}, {values.max():.4g}], expected [0, 1]{hint}")
