"""Noisy linear imputation: missing pixels filled in from what is around them (ROAD).

The missing pixels solve a linear system, whose matrix is that of a graph: each pixel is held to its eight neighbours.
It is solved by conjugate gradients in float64, all pictures of a chunk and all channels at once, preconditioned by a
multigrid cycle in float32: on each coarser grid a cell of 2 x 2 stands for its missing pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import torch
import torch.nn.functional as F
from torch import Tensor

# Of a horizontal, a vertical and a diagonal neighbour, as the authors set them.
ROAD_WEIGHTS = (1 / 6, 1 / 6, 1 / 12)
_TOLERANCE = 2e-6  # of the first residual, in the norm of the preconditioner: under 1e-4 of the range of the picture
_MOST_STEPS = 500  # it takes about 15
_VALUES_AT_ONCE = {"cpu": 4 * 3 * 128 * 128}  # what stays in the cache
_DAMPING = 0.7
# Two cells in a row are as far apart as four pixels: constant over cells, a slope would cost twice what it does.
_COARSE_STIFFNESS = 0.5

Weights = tuple[float, float, float]


def linear_imputation(pictures: Tensor, removed: Tensor, weights: Weights = ROAD_WEIGHTS) -> Tensor:
    """Fill in missing pixels: each becomes the weighted mean of its eight neighbours, which may be missing as well.

        sum_n w_n (x_i - x_n) = 0 for each missing pixel i, over its neighbours n inside the picture

    Rong et al. (ROAD), 2022, section 4.2, https://arxiv.org/abs/2202.00449

    Differs from the paper: where every pixel of a picture is missing, each becomes the picture's mean.

    Args:
        pictures: (N, C, H, W), finite.
        removed: bool (N, H, W), True where a pixel is missing.
        weights: of a neighbour in the same row, in the same column, and at a corner; above 0.

    Returns:
        (N, C, H, W), dtype and device of the pictures; what is not missing is unchanged

    Raises:
        ValueError: if shapes, weights or values are others.

    Example:
        >>> row = torch.tensor([[[[0.0, 9.0, 9.0, 6.0]]]])
        >>> linear_imputation(row, torch.tensor([[[False, True, True, False]]])).round(decimals=4)
        tensor([[[[0., 2., 4., 6.]]]])
    """
    if pictures.ndim != 4 or removed.shape != (len(pictures), *pictures.shape[2:]) or removed.dtype != torch.bool:
        raise ValueError(
            f"pictures have shape {tuple(pictures.shape)} and removed is {removed.dtype} {tuple(removed.shape)}, "
            "expected (N, C, H, W) and torch.bool (N, H, W)"
        )
    if not pictures.is_floating_point() or 0 in pictures.shape:
        raise ValueError(
            f"pictures are {pictures.dtype} {tuple(pictures.shape)}, expected floating point, no axis of 0"
        )
    if len(weights) != 3 or not all(0 < weight < inf for weight in weights):
        raise ValueError(f"weights are {weights}, expected three above 0: horizontal, vertical, diagonal")
    if not pictures.isfinite().all():
        raise ValueError("pictures hold NaN or infinity, expected numbers")
    limit = _VALUES_AT_ONCE.get(pictures.device.type, 64 * 3 * 224 * 224)
    chunk = max(1, limit // pictures[0].numel())
    parts = zip(pictures.split(chunk), removed.split(chunk), strict=True)
    return torch.cat([_impute(some, where.unsqueeze(1), weights) for some, where in parts])


def noisy_linear_imputation(
    pictures: Tensor,
    removed: Tensor,
    noise: float = 0.01,
    weights: Weights = ROAD_WEIGHTS,
    generator: torch.Generator | None = None,
) -> Tensor:
    """`linear_imputation`, with Gaussian noise on what was filled in, so that no network sees where pixels are missing.

    Args:
        pictures: (N, C, H, W), finite.
        removed: bool (N, H, W), True where a pixel is missing.
        noise: standard deviation, in the units of the pictures.
        weights: of a neighbour in the same row, in the same column, and at a corner; above 0.
        generator: of the noise, on the device of the pictures; None is PyTorch's own.

    Returns:
        (N, C, H, W), dtype and device of the pictures

    Raises:
        ValueError: as `linear_imputation`, or if noise is below 0.

    Example:
        >>> removed = torch.zeros(2, 32, 32, dtype=torch.bool)
        >>> removed[:, 8:16] = True
        >>> filled = noisy_linear_imputation(images, removed)
        >>> bool((filled[:, :, :8] == images[:, :, :8]).all()), bool((filled[:, :, 8:16] == images[:, :, 8:16]).any())
        (True, False)
    """
    if not noise >= 0:
        raise ValueError(f"noise is {noise!r}, expected a standard deviation of at least 0")
    filled = linear_imputation(pictures, removed, weights)
    if not noise:
        return filled
    drawn = torch.randn(filled.shape, generator=generator, device=filled.device, dtype=filled.dtype)
    return torch.where(removed.unsqueeze(1), filled + noise * drawn, filled)


def _impute(pictures: Tensor, missing: Tensor, weights: Weights) -> Tensor:
    exact = torch.float32 if pictures.device.type == "mps" else torch.float64
    values, unknown = pictures.to(exact), missing.to(exact)
    known = values * (1 - unknown)
    multiply = _system(unknown, weights)
    grids = _multigrid(missing, weights)

    def precondition(residual: Tensor) -> Tensor:
        # It is linear; brought to 1, the smallest residuals of the last steps keep their digits in float32.
        scale = residual.abs().amax(dim=(2, 3), keepdim=True)
        scale = torch.where(scale > 0, scale, 1)
        return _cycle(grids, (residual / scale).float()).to(exact) * scale

    x = torch.zeros_like(values)
    residual = unknown * _neighbours(known, weights)
    direction = step = precondition(residual)
    energy = first = _dot(residual, step)
    for _ in range(_MOST_STEPS):
        if (energy <= _TOLERANCE**2 * first).all():
            break
        along = multiply(direction)
        curvature = _dot(direction, along)
        length = torch.where(curvature > 0, energy / curvature, 0)
        x = x + length * direction
        residual = residual - length * along
        step = precondition(residual)
        before, energy = energy, _dot(residual, step)
        direction = step + torch.where(before > 0, energy / before, 0) * direction
    else:
        raise RuntimeError(
            f"the imputation did not converge in {_MOST_STEPS} steps for pictures {tuple(pictures.shape)}"
        )
    nothing_known = missing.all(dim=(2, 3), keepdim=True)
    x = torch.where(nothing_known, values.mean(dim=(2, 3), keepdim=True), x)
    return torch.where(missing, x.to(pictures.dtype), pictures)


def _system(missing: Tensor, weights: Weights) -> Callable[[Tensor], Tensor]:
    """What is multiplied with values (N, C, H, W) that are 0 where nothing is missing; missing is (N, 1, H, W)."""
    degree = _neighbours(torch.ones_like(missing), weights)
    return lambda x: missing * (degree * x - _neighbours(x, weights))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=(2, 3), keepdim=True)


def _neighbours(x: Tensor, weights: Weights) -> Tensor:
    """The weighted sum of each pixel's neighbours inside the picture."""
    horizontal, vertical, diagonal = weights
    padded = F.pad(x, (1, 1, 1, 1))
    beside = padded[..., :-2] + padded[..., 2:]
    column = vertical * padded[..., 1:-1] + diagonal * beside
    return horizontal * beside[..., 1:-1, :] + column[..., :-2, :] + column[..., 2:, :]


@dataclass(frozen=True, eq=False)
class _Edges:
    """What holds pixels to each other: a weight for each pair (N, 1, h, w), named after the second of the two."""

    east: Tensor
    south: Tensor
    southeast: Tensor
    southwest: Tensor

    def pairs(self, x: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Each weight with the values of the first and of the second pixel, views of x."""
        return [
            (self.east, x[..., :-1], x[..., 1:]),
            (self.south, x[..., :-1, :], x[..., 1:, :]),
            (self.southeast, x[..., :-1, :-1], x[..., 1:, 1:]),
            (self.southwest, x[..., :-1, 1:], x[..., 1:, :-1]),
        ]

    def degree(self) -> Tensor:
        """The sum of the weights of each pixel, (N, 1, H, W)."""
        total = self.east.new_zeros(*self.south.shape[:2], self.east.shape[2], self.south.shape[3])
        for weight, first, second in self.pairs(total):
            first += weight
            second += weight
        return total

    def system(self, diagonal: Tensor) -> Callable[[Tensor], Tensor]:
        """What is multiplied with values (N, C, H, W): the diagonal, less what comes from neighbours."""

        def multiply(x: Tensor) -> Tensor:
            result = diagonal * x
            for (weight, *results), (_, first, second) in zip(self.pairs(result), self.pairs(x), strict=True):
                results[0] -= weight * second
                results[1] -= weight * first
            return result

        return multiply

    def coarser(self) -> "_Edges":
        """Between cells of 2 x 2: the sum of the weights between their pixels."""
        height, width = self.east.shape[2], self.south.shape[3]
        height, width = height + height % 2, width + width % 2
        pairs = (self.east, self.south, self.southeast, self.southwest)
        e, s, se, sw = (F.pad(w, (0, width - w.shape[3], 0, height - w.shape[2])) for w in pairs)
        last_row, last_column = height // 2 - 1, width // 2 - 1
        down_right, down_left = se[:, :, 1::2, 1::2], sw[:, :, 1::2, 1::2]
        right = e[:, :, ::2, 1::2] + e[:, :, 1::2, 1::2] + se[:, :, ::2, 1::2] + sw[:, :, ::2, 1::2]
        down = s[:, :, 1::2, ::2] + s[:, :, 1::2, 1::2] + se[:, :, 1::2, ::2] + sw[:, :, 1::2, ::2]
        return _Edges(
            _COARSE_STIFFNESS * right[..., :last_column],
            _COARSE_STIFFNESS * down[..., :last_row, :],
            _COARSE_STIFFNESS * down_right[..., :last_row, :last_column],
            _COARSE_STIFFNESS * down_left[..., :last_row, :last_column],
        )


@dataclass(frozen=True, eq=False)
class _Grid:
    """The system on one grid, and the damped inverse of its diagonal, 0 where nothing is missing."""

    multiply: Callable[[Tensor], Tensor]
    inverse: Tensor
    missing: Tensor


def _multigrid(missing: Tensor, weights: Weights) -> list[_Grid]:
    """The system on the pixels (N, 1, H, W) and on ever coarser cells, down to one row or column or nearly so."""
    m = missing.float()
    horizontal, vertical, diagonal = weights
    uniform = _Edges(*(m.new_tensor(w) for w in (horizontal, vertical, diagonal, diagonal)))
    edges = _Edges(*(weight * first * second for weight, first, second in uniform.pairs(m)))
    held = m * _neighbours(1 - m, weights)  # to pixels that are known
    grids: list[_Grid] = []
    while True:
        sums = held + edges.degree()
        inverse = torch.where(sums > 0, _DAMPING / sums, 0)
        multiply = edges.system(sums) if grids else _system(m, weights)
        grids.append(_Grid(multiply, inverse, (sums > 0).float()))
        if min(sums.shape[2:]) <= 2:
            return grids
        held, edges = _cell_sums(held), edges.coarser()


def _cycle(grids: list[_Grid], right: Tensor) -> Tensor:
    """One V-cycle: smooth, correct from the next coarser grid, smooth again; symmetric, as conjugate gradients need."""
    grid, *coarser = grids
    x = grid.inverse * right
    if not coarser:
        for _ in range(8):
            x = x + grid.inverse * (right - grid.multiply(x))
        return x
    correction = _cycle(coarser, _cell_sums(right - grid.multiply(x)))
    height, width = right.shape[2:]
    x = x + grid.missing * F.interpolate(correction, scale_factor=2)[..., :height, :width]
    return x + grid.inverse * (right - grid.multiply(x))


def _cell_sums(x: Tensor) -> Tensor:
    return 4 * F.avg_pool2d(F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2)), 2)
