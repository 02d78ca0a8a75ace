"""The growth of time along an axis, such as the batch: the slope of its log-log line."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.cost.case import Case
from benchmarks.cost.results import Results


@dataclass(frozen=True)
class Axis:
    """A quantity that grows: its value in each case, and the methods that are measured along it."""

    label: str
    points: tuple[tuple[float, Case], ...]
    methods: tuple[str, ...] = ("GradCAM",)

    def line(self, results: Results, library: str, method: str) -> list[tuple[float, float]]:
        """Value and seconds of the measured points.

        Seconds are a call's forward passes times the median forward pass of all libraries: a shared machine changes its
        pace from one process to the next.
        """
        cases = [(x, replace(case, method=method)) for x, case in self.points]
        seconds = ((x, results.ratio(library, case), results.forward_seconds(case)) for x, case in cases)
        return [(x, ratio * forward) for x, ratio, forward in seconds if ratio is not None and forward is not None]


def axes(*, quick: bool) -> list[Axis]:
    """Batch, input and target layer of ResNet-50, and channels of a small network."""
    resnet = Case("resnet50", "GradCAM")
    batches = (1, 2) if quick else (1, 2, 8, 32)
    sizes = (224, 320) if quick else (224, 448, 896)
    layers = ((56, "layer1"), (28, "layer2"), (14, "layer3"), (7, None))[2 if quick else 0 :]
    channels = (64, 512) if quick else (64, 128, 256, 512, 1024, 2048)
    points = tuple((n, Case(f"channels-{n}", "GradCAM")) for n in channels)
    return [
        Axis("images in a batch", tuple((n, replace(resnet, batch=n)) for n in batches)),
        Axis("input, px", tuple((n, replace(resnet, size=n)) for n in sizes)),
        Axis("positions of the target layer", tuple((n * n, replace(resnet, layer=layer)) for n, layer in layers)),
        Axis("channels of the target layer", points, ("GradCAM", "EigenCAM", "AblationCAM")),
    ]


def slope(line: Sequence[tuple[float, float]]) -> float:
    """Slope of the least-squares line through (log x, log y): 1 is proportional, 0 is constant."""
    x, y = np.log(np.array(line)).T
    return float(np.polyfit(x, y, 1)[0])
