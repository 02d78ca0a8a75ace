"""Synthetic images with ground truth: up to three pictograms on clutter, each with the mask of its pixels.

A seed determines its scene. Drawing uses NumPy without BLAS, so that images are equal on every machine up to rounding.

Example:
    >>> scene = make_scene(HELD_OUT[7], count=2)
    >>> scene.image.shape, len(scene.objects)
    ((128, 128, 3), 2)
    >>> all(item.name in CLASSES and item.mask.any() for item in scene.objects)
    True
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Pixels = NDArray[np.uint8]
Places = NDArray[np.float64]
Shape = Callable[[Floats, Floats], Bools]
Texture = Callable[[Floats, Floats, Generator], Floats]

SIZE = 128
"""Default height and width of an image, in pixels."""

HELD_OUT = range(0, 2_000)
"""Seeds of the scenes for evaluation."""

TRAINING = range(1_000_000, 1_000_000_000)
"""Seeds of the scenes for training."""


@dataclass(frozen=True, eq=False)
class SceneObject:
    """Pictogram in a scene.

    Attributes:
        name: class name, one of CLASSES.
        label: class index, position of the name in CLASSES.
        mask: (H, W) bool, the pixels of the object; masks of a scene are disjoint.
        box: (x0, y0, x1, y1) in pixels, tight around the mask, x1 and y1 exclusive.
    """

    name: str
    label: int
    mask: Bools
    box: tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Scene:
    """Image and its objects.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        objects: one to three objects of different classes.
    """

    image: Pixels
    objects: tuple[SceneObject, ...]


def _half_planes(x: Floats, y: Floats, sides: int, distance: float) -> NDArray[np.int64]:
    """Count, for each point, the half-planes of a regular polygon that contain it.

    Args:
        x, y: coordinates of the points, broadcastable.
        sides: number of sides of the polygon.
        distance: distance of its sides from the origin.
    """
    angles = 2 * np.pi * (np.arange(sides) / sides + 0.75)
    inside = [x * np.cos(a) + y * np.sin(a) < distance for a in angles.astype(np.float32)]
    count: NDArray[np.int64] = np.stack(inside).sum(0, dtype=np.int64)
    return count


# A pictogram maps points to True inside the shape. It fits the unit disk; x grows to the right, y upward.
PICTOGRAMS: dict[str, Shape] = {
    "star": lambda x, y: _half_planes(x, y, 5, 0.31) >= 4,
    "heart": lambda x, y: 1.5 * x**2 + (1.25 * y + 0.16 - 0.75 * np.sqrt(abs(x))) ** 2 < 0.85,
    "ring": lambda x, y: abs(np.hypot(x, y) - 0.76) < 0.22,
    "cross": lambda x, y: (np.minimum(abs(x), abs(y)) < 0.26) & (np.maximum(abs(x), abs(y)) < 0.95),
    "arrow": lambda x, y: (abs(y) < 0.18) & (abs(x + 0.35) < 0.6) | (x > 0.05) & (abs(y) < 0.78 * (0.98 - x)),
    "gear": lambda x, y: (np.hypot(x, y) > 0.3) & (np.hypot(x, y) < 0.72 + 0.25 * (np.cos(8 * np.arctan2(y, x)) > 0)),
    "crescent": lambda x, y: (np.hypot(x, y) < 0.98) & (np.hypot(x - 0.42, y) > 0.72),
    "triangle": lambda x, y: _half_planes(x, y, 3, 0.5) == 3,
    "flower": lambda x, y: np.hypot(x, y) < 0.25 + 0.73 * abs(np.cos(3 * np.arctan2(y, x))),
    "hourglass": lambda x, y: (abs(y) < 0.8) & (abs(x) < 0.06 + 0.64 * abs(y)),
    "drop": lambda x, y: abs(x) < 0.47 * (1 - y) * np.sqrt(np.maximum(1 - y**2, 0)),
    "lightning": lambda x, y: abs(x - 0.46 * y + 0.22 * np.sign(y)) < 0.42 * (1 - abs(y)),
}

CLASSES = tuple(PICTOGRAMS)

# Shapes of the clutter, none of them a class.
DISTRACTORS: dict[str, Shape] = {
    "ellipse": lambda x, y: x**2 + 3 * y**2 < 0.9,
    "bar": lambda x, y: (abs(x) < 0.95) & (abs(y) < 0.16),
    "stroke": lambda x, y: (abs(x) < 0.8) & (abs(y - 0.4 * np.sin(3 * x)) < 0.07),
    "blob": lambda x, y: (
        np.hypot(x, y) < 0.68 + 0.24 * np.cos(2 * np.arctan2(y, x)) + 0.04 * np.sin(3 * np.arctan2(y, x))
    ),
}

# A texture is the weight of the second of two colors, in [0, 1]. x and y are in pixels.
TEXTURES: dict[str, Texture] = {
    "solid": lambda x, y, rng: np.zeros_like(x),
    "stripes": lambda x, y, rng: np.clip(0.5 + 2 * np.sin(x * rng.uniform(0.6, 1.2)), 0, 1),
    "checks": lambda x, y, rng: np.clip(0.5 + 3 * np.sin(0.9 * x) * np.sin(0.9 * y), 0, 1),
    "gradient": lambda x, y, rng: np.clip(0.5 + x / 40, 0, 1),
    "speckle": lambda x, y, rng: (rng.random(x.shape, np.float32) < 0.25).astype(np.float32),
}


def _rotated(x: Floats, y: Floats, angle: float) -> tuple[Floats, Floats]:
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cos * x + sin * y, cos * y - sin * x


def _texture(x: Floats, y: Floats, rng: Generator) -> Floats:
    """Draw a random texture, rotated at random: (H, W, 1), in [0, 1]."""
    texture = TEXTURES[str(rng.choice(list(TEXTURES)))]
    return texture(*_rotated(x, y, rng.uniform(0, np.pi)), rng)[..., None]


def _smooth_noise(size: int, cells: int, rng: Generator) -> Floats:
    """Interpolate a coarse grid of random colors: (size, size, 3), float32 in [0, 1]."""
    grid = rng.random((cells + 1, cells + 1, 3), np.float32)
    position = np.arange(size, dtype=np.float32) * cells / size
    low = position.astype(int)
    part = (position - low)[:, None]
    rows: Floats = grid[low] + part[..., None] * np.diff(grid, axis=0)[low]
    noise: Floats = rows.take(low, 1) + part * np.diff(rows, axis=1).take(low, 1)
    return noise


def _draw(canvas: Floats, shape: Shape, center: Places, radius: float, rng: Generator) -> Bools:
    """Draw a shape on the canvas, rotated and colored at random; return the mask (H, W) of its pixels."""
    size = len(canvas)
    (x0, y0), (x1, y1) = np.maximum(center - radius, 0).astype(int), np.minimum(center + radius + 1, size).astype(int)
    samples = 3
    x = ((np.arange(x0 * samples, x1 * samples) + 0.5) / samples - center[0]).astype(np.float32)[None, :]
    y = (center[1] - (np.arange(y0 * samples, y1 * samples) + 0.5) / samples).astype(np.float32)[:, None]
    inside = shape(*_rotated(x / radius, y / radius, rng.uniform(0, 2 * np.pi)))
    grids = [inside[i::samples, j::samples] for i in range(samples) for j in range(samples)]
    cover = np.stack(grids).mean(0, dtype=np.float32)

    patch = canvas[y0:y1, x0:x1]
    colors = rng.random((8, 3), np.float32)
    contrast = np.linalg.norm(colors - patch.mean((0, 1)), axis=1)
    first, second = colors[contrast.argmax()], rng.random(3, np.float32)
    x, y = np.broadcast_arrays(x[:, 1::samples], y[1::samples])
    # At most 40 % of the second color, which may be that of the background: the outline must stay visible.
    patch += cover[..., None] * (first + 0.4 * _texture(x, y, rng) * (second - first) - patch)

    mask = np.zeros((size, size), np.bool_)
    mask[y0:y1, x0:x1] = cover >= 0.5
    return mask


def _background(size: int, radii: Places, centers: Places, rng: Generator) -> Floats:
    """Draw the background, with distractors outside the disks of the objects.

    Args:
        size: height and width, in pixels.
        radii: (N,) radii of the disks, in pixels.
        centers: (N, 2) centers of the disks, x first, in pixels.
        rng: random generator.

    Returns:
        (size, size, 3) float32, about in [0, 1]
    """
    pixels = np.arange(size, dtype=np.float32)
    grain = _texture(*np.meshgrid(pixels, pixels), rng) * rng.uniform(-0.1, 0.1, 3).astype(np.float32)
    coarse, fine = (int(rng.integers(low, high)) * size // SIZE for low, high in ((2, 6), (12, 40)))
    canvas = _smooth_noise(size, coarse, rng) + 0.25 * _smooth_noise(size, fine, rng) + grain
    canvas = rng.uniform(0.1, 0.5, 3).astype(np.float32) + 0.4 * canvas
    for shape in rng.choice(list(DISTRACTORS), rng.integers(4, 12)):
        radius, center = rng.uniform(6, 24), rng.uniform(0, size, 2)
        if (np.linalg.norm(centers - center, axis=1) > radii + radius).all():
            _draw(canvas, DISTRACTORS[shape], center, radius, rng)
    return canvas


def _layout(size: int, count: int, rng: Generator) -> tuple[Places, Places]:
    """Draw radii (count,) and centers (count, 2) of disjoint disks inside the image, in pixels."""
    while True:
        radii = rng.uniform(13, 28, count)
        centers = rng.uniform(radii + 1, size - 1 - radii, (2, count)).T
        distances = np.linalg.norm(centers[:, None] - centers, axis=-1) + 2 * size * np.eye(count)
        if (distances > radii[:, None] + radii + 2).all():
            return radii, centers


def _box(mask: Bools) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def make_scene(seed: int, count: int | None = None, size: int = SIZE) -> Scene:
    """Draw the scene of a seed.

    Objects have diameters of 26 to 56 pixels for every size, so an image of 64 pixels has room for one.

    Args:
        seed: at least 0; determines the scene.
        count: number of objects, 1 to 3; None draws it at random.
        size: height and width, in pixels.
    """
    rng = np.random.default_rng(seed)
    if count is None:
        count = int(rng.integers(1, 4))
    labels = rng.permutation(len(CLASSES))[:count]
    radii, centers = _layout(size, count, rng)
    canvas = _background(size, radii, centers, rng)
    objects = []
    for label, radius, center in zip(labels, radii, centers, strict=True):
        # The disks are disjoint, so no object hides another.
        mask = _draw(canvas, PICTOGRAMS[CLASSES[label]], center, radius, rng)
        objects.append(SceneObject(CLASSES[label], int(label), mask, _box(mask)))
    image = np.rint(255 * np.clip(canvas, 0, 1)).astype(np.uint8)
    return Scene(np.ascontiguousarray(image), tuple(objects))


def example_scene() -> Scene:
    """Draw the example of the README: a held-out scene with two objects."""
    return make_scene(HELD_OUT[1005])
