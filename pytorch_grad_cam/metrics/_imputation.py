"""Noisy linear imputation, the perturbation of ROAD: fill removed pixels from their neighbors.

The removed pixels solve a sparse linear system, the Laplacian of the pixel grid with eight neighbors per pixel. SciPy
factorizes it on the CPU in float64, once for each mask; the channels are its right-hand sides.
"""

from math import inf
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Weights = tuple[float, float, float]

ROAD_WEIGHTS: Weights = (1 / 6, 1 / 6, 1 / 12)
"""The weights of ROAD for a horizontal, a vertical and a diagonal neighbor."""


def linear_imputation(images: Tensor, removed: Tensor, weights: Weights = ROAD_WEIGHTS) -> Tensor:
    """Fill each removed pixel with the weighted mean of its eight neighbors, which may be removed as well.

        sum_n w_n (x_i - x_n) = 0 for each removed pixel i, over its neighbors n inside the image

    Needs SciPy: `pip install "grad-cam[metrics]"`.

    Rong et al. (ROAD), 2022, section 4.2, https://arxiv.org/abs/2202.00449

    Differs from the paper: if all pixels of an image are removed, each becomes the mean of its channel.

    Args:
        images: floating point (N, C, H, W), finite values in any unit.
        removed: bool (N, H, W), True for removed pixels, on any device.
        weights: of a horizontal, a vertical and a diagonal neighbor, each above 0.

    Returns:
        (N, C, H, W), dtype and device of the images. Pixels that were not removed are unchanged.

    Raises:
        ValueError: if a shape, a dtype, a weight or a value is not as documented.
        ImportError: if SciPy is not installed.

    Example:
        >>> row = torch.tensor([[[[0.0, 9.0, 9.0, 6.0]]]])
        >>> linear_imputation(row, torch.tensor([[[False, True, True, False]]])).round(decimals=4)
        tensor([[[[0., 2., 4., 6.]]]])
    """
    if images.ndim != 4 or removed.shape != (len(images), *images.shape[2:]) or removed.dtype != torch.bool:
        raise ValueError(
            f"images have shape {tuple(images.shape)} and removed is {removed.dtype} {tuple(removed.shape)}, "
            "expected (N, C, H, W) and torch.bool (N, H, W)"
        )
    if not images.is_floating_point() or 0 in images.shape:
        raise ValueError(f"images are {images.dtype} {tuple(images.shape)}, expected floating point, no axis of 0")
    if len(weights) != 3 or not all(0 < weight < inf for weight in weights):
        raise ValueError(f"weights are {weights}, expected three above 0: horizontal, vertical, diagonal")
    if not images.isfinite().all():
        raise ValueError("images hold NaN or infinity, expected finite values")
    removed = removed.to(images.device)
    adjacency = _grid_adjacency(images.shape[2], images.shape[3], weights)
    values = images.detach().cpu().double().flatten(2).numpy()
    masks = removed.cpu().flatten(1).numpy()
    solved = np.stack([_solve(adjacency, *pair) for pair in zip(values, masks, strict=True)])
    return torch.where(removed.unsqueeze(1), torch.from_numpy(solved).view(images.shape).to(images), images)


def noisy_linear_imputation(
    images: Tensor,
    removed: Tensor,
    noise: float = 0.01,
    weights: Weights = ROAD_WEIGHTS,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fill removed pixels by `linear_imputation` and add Gaussian noise to them.

    The noise keeps a network from recognizing filled pixels by their smoothness.

    Rong et al. (ROAD), 2022, section 4.2, https://arxiv.org/abs/2202.00449

    Args:
        images: floating point (N, C, H, W), finite values in any unit.
        removed: bool (N, H, W), True for removed pixels, on any device.
        noise: standard deviation of the noise in the unit of the images, at least 0.
        weights: of a horizontal, a vertical and a diagonal neighbor, each above 0.
        generator: random number generator on the device of the images; None uses PyTorch's default.

    Returns:
        (N, C, H, W), dtype and device of the images. Pixels that were not removed are unchanged.

    Raises:
        ValueError: if a shape, a dtype, a weight or a value is not as documented, or noise is negative.
        ImportError: if SciPy is not installed.

    Example:
        >>> removed = torch.zeros(2, 32, 32, dtype=torch.bool)
        >>> removed[:, 8:16] = True
        >>> filled = noisy_linear_imputation(images, removed)
        >>> bool((filled[:, :, :8] == images[:, :, :8]).all()), bool((filled[:, :, 8:16] == images[:, :, 8:16]).any())
        (True, False)
    """
    if not noise >= 0:
        raise ValueError(f"noise is {noise!r}, expected a standard deviation of at least 0")
    filled = linear_imputation(images, removed, weights)
    if not noise:
        return filled
    drawn = torch.randn(filled.shape, generator=generator, device=filled.device, dtype=filled.dtype)
    return torch.where(removed.to(filled.device).unsqueeze(1), filled + noise * drawn, filled)


def _grid_adjacency(height: int, width: int, weights: Weights) -> Any:
    """Weights between all pixels of a grid: a sparse matrix (H * W, H * W) in reading order."""
    try:
        from scipy import sparse
    except ImportError:
        raise ImportError('linear imputation (ROAD) needs SciPy: pip install "grad-cam[metrics]"') from None
    horizontal, vertical, diagonal = weights
    rows, columns = (sparse.eye(length, k=1) + sparse.eye(length, k=-1) for length in (height, width))
    in_row = sparse.kron(sparse.eye(height), horizontal * columns)
    in_other_row = sparse.kron(rows, vertical * sparse.eye(width) + diagonal * columns)
    return sparse.csr_matrix(in_row + in_other_row)


def _solve(adjacency: Any, values: NDArray[np.float64], removed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Values (C, H * W) of one image, those of removed pixels (H * W,) solved for."""
    from scipy import sparse
    from scipy.sparse.linalg import splu

    if not removed.any():
        return values
    if removed.all():
        return np.broadcast_to(values.mean(axis=1, keepdims=True), values.shape)
    neighbors = adjacency[removed]
    degrees = sparse.diags(np.asarray(neighbors.sum(axis=1)).ravel())
    laplacian = sparse.csc_matrix(degrees - neighbors[:, removed])
    factors = splu(laplacian, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    solved = values.copy()
    solved[:, removed] = factors.solve(neighbors[:, ~removed] @ values[:, ~removed].T).T
    return solved
