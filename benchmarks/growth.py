"""How cost grows: what is measured along each axis, and the slope of its log-log line."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.cases import Case
from benchmarks.results import Results


@dataclass(frozen=True)
class Axis:
    """One thing that grows.

    Attributes:
        label: what it is.
        points: how much of it each case has.
        methods: those that are measured along it.
    """

    label: str
    points: tuple[tuple[float, Case], ...]
    methods: tuple[str, ...] = ("GradCAM",)

    def line(self, results: Results, library: str, method: str) -> list[tuple[float, float]]:
        """How much there is and the seconds of a call, of the points that were measured.

        The seconds are the call's forward passes times those of `forward`: processes that take turns meet a machine
        that is now faster, now slower.
        """
        forward = dict(self.forward(results))
        ratios = ((x, results.ratio(library, replace(case, method=method))) for x, case in self.points)
        return [(x, ratio * forward[x]) for x, ratio in ratios if ratio is not None]

    def forward(self, results: Results) -> list[tuple[float, float]]:
        """How much there is and the seconds of the plain forward pass, beside all that was measured."""
        of_points = (
            (x, results.forward_seconds([replace(case, method=method) for method in self.methods]))
            for x, case in self.points
        )
        return [(x, y) for x, y in of_points if y is not None]


def axes(*, quick: bool) -> list[Axis]:
    """Batch, input and target layer of ResNet-50, and channels of a small network."""
    batches = (1, 2) if quick else (1, 2, 8, 32)
    sizes = (224, 320) if quick else (224, 448, 896)
    layers: dict[int, str | None] = (
        {14: "layer3", 7: None} if quick else {56: "layer1", 28: "layer2", 14: "layer3", 7: None}
    )
    channels = (64, 512) if quick else (64, 128, 256, 512, 1024, 2048)
    return [
        Axis("images in a batch", tuple((n, Case("resnet50", "GradCAM", batch=n)) for n in batches)),
        Axis("input, px", tuple((n, Case("resnet50", "GradCAM", size=n)) for n in sizes)),
        Axis(
            "positions of the target layer",
            tuple((n * n, Case("resnet50", "GradCAM", layer=layer)) for n, layer in layers.items()),
        ),
        Axis(
            "channels of the target layer",
            tuple((n, Case(f"channels-{n}", "GradCAM")) for n in channels),
            ("GradCAM", "EigenCAM", "AblationCAM"),
        ),
    ]


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Of the least-squares line through (log x, log y): 1 is proportional, 0 is constant."""
    if len(x) < 2:
        raise ValueError(f"a slope needs two points or more, and there are {len(x)}")
    u, v = [math.log(value) for value in x], [math.log(value) for value in y]
    mean_u, mean_v = sum(u) / len(u), sum(v) / len(v)
    across = sum((a - mean_u) * (b - mean_v) for a, b in zip(u, v, strict=True))
    return across / sum((a - mean_u) ** 2 for a in u)
