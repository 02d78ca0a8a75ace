"""The cases of a run, their order and their rounds: the quick one takes 3 minutes, the full one 40, on two cores."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from benchmarks.cost.case import Case
from benchmarks.cost.libraries import EIGEN, GRADIENT, LIBRARIES
from benchmarks.cost.networks import NETWORKS
from benchmarks.cost.scaling import axes

QUICK_NETWORKS = ("resnet50", "mobilenet_v3_large", "swin_t")
SLOW = ("vgg16", "vit_b_16")
EARLY = "layer1"
SUBSET = 32  # channels for ScoreCAM where all would take long
ALL = tuple(LIBRARIES)
HERE, BOTH, BOUND = ("here",), ("here", "grad-cam"), ("bound", "here")


@dataclass(frozen=True)
class Block:
    """Cases of one network that take turns: in each round, one library after the other measures each case."""

    measure: str  # a method of `worker.Worker`
    cases: tuple[Case, ...]
    rounds: int = 1
    libraries: tuple[str, ...] = ALL


def cases(network: str, *methods: str, batch: int = 1, layer: str | None = None) -> tuple[Case, ...]:
    """One for each method."""
    return tuple(Case(network, method, batch=batch, layer=layer) for method in methods)


def times(*, quick: bool) -> Iterator[Block]:
    """Blocks of one network follow each other; calls of minutes come last."""
    for network in QUICK_NETWORKS if quick else NETWORKS:
        first = network == "resnet50"
        methods = (*GRADIENT, *EIGEN) if first or not quick else ("GradCAM", "EigenCAM")
        yield Block("maps", cases(network, *methods))
        yield Block("seconds", cases(network, *methods), 2 if quick or network in SLOW else 3)
        if first or not quick:
            yield Block("once", cases(network, "AblationCAM"), 2, HERE)
            smooth = Case(network, "GradCAM", aug_smooth=True)
            yield Block("seconds", (smooth,), 2, BOTH if first and not quick else HERE)
        if not quick:
            yield Block("once", (Case(network, "ScoreCAM", channels=SUBSET),), 1, HERE)
            if network not in SLOW:
                yield Block("seconds", cases(network, *methods, batch=8), 2, BOUND)
            if not first:
                yield Block("seconds", cases(network, "GradCAM", batch=32), 1, BOUND)
    yield Block("seconds", cases("resnet50", *(GRADIENT[:1] if quick else GRADIENT), layer=EARLY), 2)
    for axis in axes(quick=quick):
        for method in axis.methods:
            points = tuple(replace(case, method=method) for _, case in axis.points)
            # grad-cam ablates channels one by one: minutes.
            yield Block("seconds", points, 1, HERE if method == "AblationCAM" else ALL)
    if not quick:
        yield Block("once", cases("resnet50", "AblationCAM"), 1, ("grad-cam",))
        yield Block("once", cases("resnet50", "AblationCAM", layer="layer3.5"), 1, BOTH)
        yield Block("once", cases("resnet50", "ScoreCAM"))


def peaks(*, quick: bool) -> Iterator[Block]:
    """One round each, as peaks hardly vary; peers on some networks, all of their methods on ResNet-50 alone."""
    yield Block("memory", cases("resnet50", "GradCAM"))
    if quick:
        return
    yield Block("memory", cases("resnet50", *GRADIENT[1:], *EIGEN))
    yield Block("memory", cases("resnet50", *GRADIENT, layer=EARLY))
    for network in list(NETWORKS)[1:]:
        yield Block("memory", cases(network, "GradCAM"), 1, ALL if network in QUICK_NETWORKS else BOUND)
        yield Block("memory", cases(network, *GRADIENT[1:], *EIGEN), 1, HERE)
        yield Block("memory", cases(network, "GradCAM", batch=8 if network in SLOW else 32), 1, BOUND)
