"""What a run measures, in which order, and how often: the quick one in 3 minutes, the full one in 40, on two cores."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from benchmarks.cases import Case
from benchmarks.growth import axes
from benchmarks.libraries import EIGEN, GRADIENT, LIBRARIES
from benchmarks.networks import NETWORKS

QUICK_NETWORKS = ("resnet50", "mobilenet_v3_large", "swin_t")
LONG_TAILED = ("vit_b_16", "swin_t")  # much of their work comes after the layer, for AblationCAM once a channel
SLOW = ("vgg16", "vit_b_16")
EARLY = "layer1"
SOME = 32  # channels for ScoreCAM where all would take long
ALL = tuple(LIBRARIES)
BOTH = ("here", "grad-cam")


@dataclass(frozen=True)
class Block:
    """Cases of one network that take turns.

    Attributes:
        measure: a method of `worker.Worker`.
        cases: what each library does in a round, one library after the other in each.
        rounds: how often.
        libraries: those that are asked, if they have the method.
    """

    measure: str
    cases: tuple[Case, ...]
    rounds: int = 1
    libraries: tuple[str, ...] = ALL

    def __str__(self) -> str:
        more = f" and {len(self.cases) - 1} more" if len(self.cases) > 1 else ""
        return f"{self.measure}: {self.cases[0]}{more}, {self.rounds} times"


def cases(network: str, *methods: str, batch: int = 1, layer: str | None = None) -> tuple[Case, ...]:
    """One for each method."""
    return tuple(Case(network, method, batch=batch, layer=layer) for method in methods)


def of_time(*, quick: bool) -> Iterator[Block]:
    """Everything but memory: blocks of one network follow each other."""
    for network in QUICK_NETWORKS if quick else NETWORKS:
        yield Block("maps", cases(network, *GRADIENT, *EIGEN))
        yield Block("seconds", cases(network, *GRADIENT, *EIGEN), 2 if quick else 3)
        if network not in LONG_TAILED:
            yield Block("seconds", cases(network, "AblationCAM"), 2, ("floor", "here"))
        smooth = Case(network, "GradCAM", aug_smooth=True)
        yield Block("seconds", (smooth,), 2 if quick else 3, BOTH if network == "resnet50" else ("here",))
        if not quick:
            yield from _of_more_work(network)
        if network == "resnet50":
            yield Block("seconds", cases(network, *GRADIENT, layer=EARLY), 2 if quick else 3)
            yield Block("after", cases(network, *EIGEN), 5, BOTH)
    yield from _of_growth(quick=quick)
    if not quick:
        yield Block("once", cases("resnet50", "AblationCAM"), 1, ("grad-cam",))
        yield Block("once", cases("resnet50", "AblationCAM", layer="layer3.5"), 1, BOTH)
        yield Block("once", cases("resnet50", "ScoreCAM"))


def _of_more_work(network: str) -> Iterator[Block]:
    """What the quick run leaves out for each network; larger batches of ResNet-50 also grow below, with all peers."""
    rounds = 1 if network in SLOW else 2
    if network in LONG_TAILED:
        yield Block("once", cases(network, "AblationCAM"), 1, ("floor", "here"))
    yield Block("once", (Case(network, "ScoreCAM", channels=SOME),), rounds, ("floor", "here"))
    # With the floor, which is that of GradCAM, in turn: minutes later the machine is another.
    yield Block("seconds", cases(network, *GRADIENT, *EIGEN, batch=8), rounds, ("floor", "here"))
    if network != "resnet50":
        yield Block("seconds", cases(network, "GradCAM", batch=8), rounds)
        yield Block("seconds", cases(network, "GradCAM", batch=32), rounds, ("floor", "here"))


def of_memory(*, quick: bool) -> Iterator[Block]:
    """Peaks: one figure each, for they hardly vary; methods differ little: all of a peer on ResNet-50 alone."""
    for network in QUICK_NETWORKS if quick else NETWORKS:
        yield Block("memory", cases(network, "GradCAM"))
        if not quick:
            others = cases(network, *GRADIENT[1:], *EIGEN)
            yield Block("memory", others, 1, ALL if network == "resnet50" else ("here",))
            batches = (8,) if network in SLOW else (8, 32)
            yield Block("memory", tuple(Case(network, "GradCAM", batch=n) for n in batches), 1, ("floor", "here"))
        if network == "resnet50":
            yield Block("memory", cases(network, *(GRADIENT[:1] if quick else GRADIENT), layer=EARLY))


def _of_growth(*, quick: bool) -> Iterator[Block]:
    """The points of an axis in turn, also those that are measured elsewhere: another time the machine is another."""
    for axis in axes(quick=quick):
        for method in axis.methods:
            points = tuple(replace(case, method=method) for _, case in axis.points)
            # The peer silences channels one by one: minutes.
            yield Block("seconds", points, 1, ("here",) if method == "AblationCAM" else ALL)
