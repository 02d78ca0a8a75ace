"""Figures of all scenes of a row, and their means with 95 % intervals."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.run import SMOOTHINGS, Figures, Row
from pytorch_grad_cam import METHODS

# Titles by name.
METRICS = {"box": "peak in box", "mask": "peak on mask", "energy": "energy", "iou": "IoU, mask", "box_iou": "IoU, box"}
METRICS |= {"deletion": "deletion", "insertion": "insertion", "road": "ROAD", "randomization": "randomization"}
METRICS |= {"milliseconds": "ms / image"}


def figures_of(results: Path, row: Row) -> Figures:
    """All measured figures of a row, by metric; empty if there are none."""
    chunks: dict[str, list[NDArray[Any]]] = {}
    for path in sorted(results.glob(f"{' '.join(row)} [0-9]*.npz")):
        for name, values in np.load(path).items():
            chunks.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in chunks.items()}


def measured(results: Path, network: str) -> Iterator[tuple[str, str, Figures]]:
    """Method, smoothing and figures of the measured rows, bounds first and last."""
    for name in ("random map", "center map", *METHODS, "true mask"):
        for smoothing in SMOOTHINGS:
            if figures := figures_of(results, (network, name, smoothing)):
                yield name, smoothing, figures


def interval(values: NDArray[Any]) -> tuple[float, float]:
    """The mean over scenes and half of its 95 % interval, by bootstrap over scenes."""
    scenes = values.mean(1)
    rng = np.random.default_rng(0)
    means = scenes[rng.integers(len(scenes), size=(1000, len(scenes)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(scenes.mean()), float(high - low) / 2


def cell(name: str, figures: Figures) -> str:
    """A figure as it stands in a table."""
    if name not in figures:
        return ""
    if name == "milliseconds":
        return f"{np.median(figures[name]):.1f}"
    mean, half = interval(figures[name])
    return f"{mean:.2f} ± {half:.2f}" if name == "randomization" else f"{100 * mean:.1f} ± {100 * half:.1f}"
