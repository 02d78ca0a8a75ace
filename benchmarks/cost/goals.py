"""Thresholds for the figures of a run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from benchmarks.cost.case import Case
from benchmarks.cost.libraries import GRADIENT, PEERS
from benchmarks.cost.networks import NETWORKS
from benchmarks.cost.plan import EARLY
from benchmarks.cost.results import Results, number

Figure = Callable[[str, Case], float | None]
ABLATION, SCORE = Case("resnet50", "AblationCAM"), Case("resnet50", "ScoreCAM")
EARLY_ABLATION = replace(ABLATION, layer="layer3.5")


@dataclass(frozen=True)
class Goal:
    """A row of the page: in all kept cases the figure, divided by that of `beside`, is at most a limit."""

    title: str
    limit: float
    keep: Callable[[Case], bool]
    measure: str = "seconds"
    beside: str = ""

    def figures(self, results: Results) -> dict[str, float | None]:
        """The measured figures by case."""
        figure: Figure = {"seconds": results.ratio, "memory": results.memory, "peak": results.peak}[self.measure]
        pairs = {
            str(case): (figure("here", case), self._reference(figure, case))
            for case in results.cases(self.measure)
            if self.keep(case)
        }
        return {case: a / b if a is not None and b else None for case, (a, b) in pairs.items()}

    def _reference(self, figure: Figure, case: Case) -> float | None:
        if self.beside == "bound":  # one for all gradient methods
            return figure("bound", replace(case, method="GradCAM"))
        peers = PEERS if self.beside == "best peer" else [self.beside]
        return min((value for name in peers if (value := figure(name, case))), default=None) if self.beside else 1


def judge(limit: float, figures: Mapping[str, float | None]) -> tuple[str, bool | None]:
    """The worst figure, named, and whether all are within the limit; None if nothing was measured."""
    measured = {name: figure for name, figure in figures.items() if figure is not None}
    if not measured:
        return "not measured", None
    worst = max(measured, key=lambda name: measured[name])
    within = sum(figure <= limit for figure in measured.values())
    return f"{number(measured[worst])} ({worst}); {within} of {len(measured)} reach it", within == len(measured)


def _by_gradient(case: Case) -> bool:
    return case.method in (*GRADIENT, "EigenGradCAM") and not case.aug_smooth


GOALS = (
    Goal("gradient methods: time / lower bound", 1.1, _by_gradient, beside="bound"),
    Goal("gradient methods: memory / lower bound", 1.05, _by_gradient, "memory", "bound"),
    Goal(f"`{EARLY}` of ResNet-50: memory / best peer", 0.8, lambda case: case.layer == EARLY, "memory", "best peer"),
    Goal("EigenCAM: forward passes", 1.05, lambda case: case.method == "EigenCAM" and case.network in NETWORKS),
    Goal("aug_smooth: forward passes", 6.2, lambda case: case.aug_smooth),
    Goal("AblationCAM, ResNet-50: forward passes", 6, ABLATION.__eq__),
    Goal("AblationCAM, ResNet-50 `layer3.5`: time / grad-cam", 0.2, EARLY_ABLATION.__eq__, beside="grad-cam"),
    Goal("ScoreCAM, ResNet-50: time / torchcam", 0.9, SCORE.__eq__, beside="torchcam"),
    Goal("ScoreCAM, ResNet-50: time / grad-cam", 0.75, SCORE.__eq__, beside="grad-cam"),
    Goal("ScoreCAM, ResNet-50: memory / grad-cam", 0.25, SCORE.__eq__, "peak", "grad-cam"),
    Goal("every row: time / fastest peer", 1.0, lambda case: True, beside="best peer"),
)
