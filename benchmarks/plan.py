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


def quick_times() -> Iterator[Block]:
    """All methods on one network, two on the others."""
    for network in QUICK_NETWORKS:
        methods = (*GRADIENT, *EIGEN) if network == "resnet50" else ("GradCAM", "EigenCAM")
        yield Block("maps", cases(network, *methods))
        yield Block("seconds", cases(network, *methods), 2)
    yield Block("seconds", cases("resnet50", "AblationCAM"), 2, ("floor", "here"))
    yield Block("seconds", (Case("resnet50", "GradCAM", aug_smooth=True),), 2, ("here",))
    yield Block("after", cases("resnet50", *EIGEN), 2, BOTH)
    yield Block("seconds", cases("resnet50", "GradCAM", layer=EARLY), 2)
    yield from _growth(quick=True)


def quick_peaks() -> Iterator[Block]:
    """On one network."""
    yield Block("memory", cases("resnet50", "GradCAM"), 1, (*BOTH, "torchcam"))


def full_times() -> Iterator[Block]:
    """Blocks of one network follow each other; what takes minutes comes after them."""
    for network in NETWORKS:
        yield Block("maps", cases(network, *GRADIENT, *EIGEN))
        yield Block("seconds", cases(network, *GRADIENT, *EIGEN), 2 if network in SLOW else 3)
        yield from _perturbing(network)
        yield from _larger_batches(network)
        if network == "resnet50":
            yield Block("seconds", cases(network, *GRADIENT, layer=EARLY), 3)
            yield Block("after", cases(network, *EIGEN), 5, BOTH)
    yield from _growth(quick=False)
    yield Block("once", cases("resnet50", "AblationCAM"), 1, ("grad-cam",))
    yield Block("once", cases("resnet50", "AblationCAM", layer="layer3.5"), 1, BOTH)
    yield Block("once", cases("resnet50", "ScoreCAM"))


def _perturbing(network: str) -> Iterator[Block]:
    """What runs the network again: many channels or copies, of which the peers take minutes."""
    if network in LONG_TAILED:
        yield Block("once", cases(network, "AblationCAM"), 1, ("floor", "here"))
    else:
        yield Block("seconds", cases(network, "AblationCAM"), 2, ("floor", "here"))
    yield Block("once", (Case(network, "ScoreCAM", channels=SOME),), 1 if network in SLOW else 2, ("floor", "here"))
    smooth = Case(network, "GradCAM", aug_smooth=True)
    yield Block("seconds", (smooth,), 2, BOTH if network == "resnet50" else ("here",))


def _larger_batches(network: str) -> Iterator[Block]:
    """Beside the floor, in turn, for minutes later the machine is another; with the peers ResNet-50 grows below."""
    if network not in SLOW:
        yield Block("seconds", cases(network, *GRADIENT, *EIGEN, batch=8), 2, ("floor", "here"))
    if network != "resnet50":
        yield Block("seconds", cases(network, "GradCAM", batch=32), 1, ("floor", "here"))


def _growth(*, quick: bool) -> Iterator[Block]:
    """The points of an axis in turn, also those that are measured elsewhere: another time the machine is another."""
    libraries = tuple(name for name in ALL if not quick or name != "captum")
    for axis in axes(quick=quick):
        for method in axis.methods:
            points = tuple(replace(case, method=method) for _, case in axis.points)
            # The peer silences channels one by one: minutes.
            yield Block("seconds", points, 1, ("here",) if method == "AblationCAM" else libraries)


def full_peaks() -> Iterator[Block]:
    """One figure each, for they hardly vary; peers on some networks, all of their methods on ResNet-50 alone."""
    for network in NETWORKS:
        first = network == "resnet50"
        yield Block("memory", cases(network, "GradCAM"), 1, ALL if network in QUICK_NETWORKS else ("floor", "here"))
        yield Block("memory", cases(network, *GRADIENT[1:], *EIGEN), 1, ALL if first else ("here",))
        yield Block("memory", cases(network, "GradCAM", batch=8 if network in SLOW else 32), 1, ("here",))
        if first:
            yield Block("memory", cases(network, *GRADIENT, layer=EARLY))
