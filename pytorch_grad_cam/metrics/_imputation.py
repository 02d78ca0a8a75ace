"""Noisy linear imputation: missing pixels filled in from what is around them (ROAD).

The missing pixels solve a linear system, whose matrix is that of a graph: each pixel is held to its eight neighbours.
It is solved by conjugate gradients in float64, all pictures of a chunk and all channels at once, preconditioned by a
multigrid cycle in float32: on each coarser grid a cell of 2 x 2 stands for its missing pixels.

What lies on a grid has the shape (N * C, P, Q): around the grid there is a border of zeros, one wide, and one more
below or to the right to make P and Q even. So a neighbour is a step along one long row of memory, which is several
times as fast as many short ones: what a step finds in the border, or leaves there, is multiplied by 0.
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
_MOST_STEPS = 500  # it takes about 12
_VALUES_AT_ONCE = {"cpu": 2 * 3 * 128 * 128}  # what stays in the cache
_DAMPING = 0.9
_DENSE = 64  # cells of the coarsest grid, at most: there the system is inverted
# Two cells in a row are as far apart as four pixels: constant over cells, a slope would cost twice what it does.
_COARSE_STIFFNESS = 0.5

Weights = tuple[float, float, float]
Multiply = Callable[[Tensor], Tensor]  # a system, with values that are 0 where nothing is missing


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
    channels, height, width = pictures.shape[1:]
    values, unknown = pictures.to(exact), missing.to(exact)
    multiply = _system(unknown, channels, weights)
    grids, coarsest = _multigrid(missing, channels, weights)

    def precondition(residual: Tensor) -> Tensor:
        return _cycle(grids, coarsest, residual.float()).to(exact)

    x = _on_grid(torch.zeros_like(values))
    residual = _on_grid(unknown, channels) * _neighbours(_on_grid(values * (1 - unknown)), weights)
    # It is linear; brought to 1, the residuals of the pictures and channels are within the range of float32.
    scale = residual.abs().amax(dim=(1, 2), keepdim=True)
    residual = residual / torch.where(scale > 0, scale, 1)
    direction = step = precondition(residual)
    energy = first = _dot(residual, step)
    for _ in range(_MOST_STEPS):
        if (energy <= _TOLERANCE**2 * first).all():
            break
        along = multiply(direction)
        curvature = _dot(direction, along)
        length = torch.where(curvature > 0, energy / curvature, 0)
        x = torch.addcmul(x, length, direction)
        residual = torch.addcmul(residual, length, along, value=-1)
        step = precondition(residual)
        before, energy = energy, _dot(residual, step)
        direction = torch.addcmul(step, torch.where(before > 0, energy / before, 0), direction)
    else:
        raise RuntimeError(
            f"the imputation did not converge in {_MOST_STEPS} steps for pictures {tuple(pictures.shape)}"
        )
    x = (scale * x)[:, 1 : height + 1, 1 : width + 1].reshape(values.shape)
    # Where nothing is known x is 0.
    x = x + missing.all(dim=(2, 3), keepdim=True) * values.mean(dim=(2, 3), keepdim=True)
    return torch.where(missing, x.to(pictures.dtype), pictures)


def _on_grid(x: Tensor, channels: int = 1) -> Tensor:
    """(N, C, H, W) or (N * C, H, W) as (N * C, P, Q), with the border; channels is how often each is repeated."""
    padded = F.pad(x, (1, 1 + x.shape[-1] % 2, 1, 1 + x.shape[-2] % 2)).flatten(0, -3)
    return padded.repeat_interleave(channels, 0) if channels > 1 else padded


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=(1, 2), keepdim=True)


def _inner(x: Tensor, width: int) -> Tensor:
    """What has all of its neighbours in memory, in one row: x without its ends, which are border."""
    return x.flatten(-3)[..., width + 1 : -width - 1]


def _neighbour_sums(x: Tensor, weights: Weights) -> Tensor:
    """The weighted sum of each pixel's neighbours, over the weight of a diagonal one; laid out as `_inner`."""
    horizontal, vertical, diagonal = weights
    width, x = x.shape[2], x.flatten()
    column = x[: -2 * width] + x[2 * width :]
    beside = torch.add(column, x[width:-width], alpha=horizontal / diagonal)
    return torch.add(beside[:-2], column[1:-1], alpha=vertical / diagonal).add_(beside[2:])


def _neighbours(x: Tensor, weights: Weights) -> Tensor:
    """The weighted sum of each pixel's neighbours."""
    width = x.shape[2]
    return F.pad(weights[2] * _neighbour_sums(x, weights), (width + 1, width + 1)).view(x.shape)


def _system(missing: Tensor, channels: int, weights: Weights) -> Multiply:
    """The system on the pixels, (N, 1, H, W)."""
    degree = _neighbours(_on_grid(torch.ones_like(missing)), weights)
    unknown = _on_grid(missing, channels)
    degree = unknown * degree.repeat_interleave(channels, 0)
    width = unknown.shape[2]
    from_neighbours = -weights[2] * _inner(unknown, width)

    def multiply(x: Tensor) -> Tensor:
        result = degree * x
        _inner(result, width).addcmul_(from_neighbours, _neighbour_sums(x, weights))
        return result

    return multiply


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

    def system(self, diagonal: Tensor, channels: int) -> Multiply:
        """What is multiplied with values on a grid: the diagonal, less what comes from neighbours, a 3 x 3 stencil."""
        stencil = diagonal.new_zeros(3, 3, *diagonal.shape)
        for n, (i, j) in enumerate(((1, 2), (2, 1), (2, 2), (2, 0))):
            weight, first, _ = self.pairs(stencil[i, j])[n]
            first -= weight
            weight, _, second = self.pairs(stencil[2 - i, 2 - j])[n]
            second -= weight
        center = _on_grid(diagonal, channels)
        width = center.shape[2]
        around = [(i, j) for i in range(3) for j in range(3) if (i, j) != (1, 1)]
        terms = [(i * width + j, _inner(_on_grid(stencil[i, j], channels), width)) for i, j in around]

        def multiply(x: Tensor) -> Tensor:
            result = center * x
            inner, flat = _inner(result, width), x.flatten()
            for start, weight in terms:
                inner.addcmul_(weight, flat[start : start + len(inner)])
            return result

        return multiply

    def inverse(self, diagonal: Tensor) -> Tensor:
        """Of the system, (N, 1, cells, cells). A little is added, as it is singular where every pixel is missing."""
        diagonals = torch.diag_embed(torch.where(diagonal > 0, 1.0001 * diagonal, 1).flatten(1))
        between = torch.zeros_like(diagonals)
        cells = torch.arange(diagonal[0].numel(), device=diagonal.device).view(diagonal.shape[2:])
        for weight, first, second in self.pairs(cells):
            between[:, first.flatten(), second.flatten()] = weight.flatten(1)
        inverse: Tensor = torch.linalg.inv_ex(diagonals - between - between.mT).inverse
        return inverse.unsqueeze(1)

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

    multiply: Multiply
    inverse: Tensor
    missing: Tensor


@dataclass(frozen=True, eq=False)
class _Coarsest:
    """The inverse of the system (N, 1, cells, cells) on a grid of few cells."""

    inverse: Tensor
    height: int
    width: int


def _multigrid(missing: Tensor, channels: int, weights: Weights) -> tuple[list[_Grid], _Coarsest]:
    """The system on the pixels (N, 1, H, W) and on ever coarser cells."""
    m = missing.float()
    horizontal, vertical, diagonal = weights
    uniform = _Edges(*(m.new_tensor(w) for w in (horizontal, vertical, diagonal, diagonal)))
    edges = _Edges(*(weight * first * second for weight, first, second in uniform.pairs(m)))
    known = _neighbours(_on_grid(1 - m), weights)[:, None, 1 : m.shape[2] + 1, 1 : m.shape[3] + 1]
    held = m * known  # to pixels that are known
    grids: list[_Grid] = []
    while True:
        sums = held + edges.degree()
        height, width = sums.shape[2:]
        if height * width <= _DENSE:
            return grids, _Coarsest(edges.inverse(sums), height, width)
        multiply = edges.system(sums, channels) if grids else _system(m, channels, weights)
        inverse = torch.where(sums > 0, _DAMPING / sums, 0)
        grids.append(_Grid(multiply, _on_grid(inverse, channels), _on_grid((sums > 0).float(), channels)))
        held, edges = _cell_sums(_on_grid(held)).unsqueeze(1), edges.coarser()


def _cycle(grids: list[_Grid], coarsest: _Coarsest, right: Tensor) -> Tensor:
    """One V-cycle: smooth, correct from the next coarser grid, smooth again; symmetric, as conjugate gradients need."""
    if not grids:
        inner = right[:, 1 : coarsest.height + 1, 1 : coarsest.width + 1]
        values = inner.reshape(len(coarsest.inverse), -1, 1, coarsest.height * coarsest.width)
        solved = (coarsest.inverse * values).sum(dim=3)
        return _on_grid(solved.unflatten(2, (coarsest.height, coarsest.width)))
    grid, *coarser = grids
    x = grid.inverse * right
    cells = _cell_sums(right - grid.multiply(x))
    correction = F.interpolate(_cycle(coarser, coarsest, _on_grid(cells)).unsqueeze(0), scale_factor=2)[0]
    x.addcmul_(grid.missing, correction[:, 1 : x.shape[1] + 1, 1 : x.shape[2] + 1])
    return x.addcmul_(grid.inverse, right - grid.multiply(x))


def _cell_sums(x: Tensor) -> Tensor:
    """The sums over cells of 2 x 2 of what is on a grid, without the border."""
    rows = x[:, 1:-1:2] + x[:, 2::2]
    return rows[..., 1:-1:2] + rows[..., 2::2]
