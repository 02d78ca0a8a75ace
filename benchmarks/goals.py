"""What this library promises, and whether the run shows it; a miss is never left out."""

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from benchmarks.cases import Case
from benchmarks.libraries import EIGEN, GRADIENT, LIBRARIES
from benchmarks.plan import EARLY, SOME
from benchmarks.results import Results, number

PEERS = tuple(name for name, library in LIBRARIES.items() if library.requirement)
LAST = Case("resnet50", "AblationCAM")
THIRD = Case("resnet50", "AblationCAM", layer="layer3.5")
SCORE = Case("resnet50", "ScoreCAM")


SCATTER = "passes of one and the same network scatter by a tenth and more on a shared machine"
OWN_COST = "a call spends one to five milliseconds of its own, whatever the network (table below, of the full run)"


@dataclass(frozen=True)
class Goal:
    """A row of the page.

    Attributes:
        what: whose figures they are.
        limit: of all of them.
        measured: the worst one, and of several the median.
        reached: None where nothing was measured.
        reason: what profiles showed to limit it; of interest where it is missed.
    """

    what: str
    limit: str
    measured: str
    reached: bool | None
    reason: str = ""


def goals(results: Results) -> list[Goal]:
    """All rows."""
    parts = (_beside_the_floor, _early, _perturbation, _beside_passes, _others)
    return [goal for part in parts for goal in part(results)]


def at_most(what: str, limit: float, figures: Mapping[str, float | None], reason: str = "") -> Goal:
    """All figures are to be no more than the limit; the worst is named."""
    return _judge(Goal(what, f"at most {limit:.2f}", "not measured", None, reason), figures, limit, 1)


def at_least(what: str, limit: float, figures: Mapping[str, float | None], reason: str = "") -> Goal:
    """All figures are to be no less than the limit; the worst is named."""
    return _judge(Goal(what, f"at least {limit:.0f}", "not measured", None, reason), figures, limit, -1)


def _judge(goal: Goal, measured: Mapping[str, float | None], limit: float, sign: int) -> Goal:
    figures = {name: figure for name, figure in measured.items() if figure is not None}
    if not figures:
        return goal
    worst = max(figures, key=lambda name: sign * figures[name])
    kept = sum(sign * figure <= sign * limit for figure in figures.values())
    text = number(figures[worst])
    if len(figures) > 1:
        median = number(statistics.median(figures.values()))
        text += f" ({worst}); median {median}; {kept} of {len(figures)} reach it"
    return replace(goal, measured=text, reached=kept == len(figures))


def divide(a: float | None, b: float | None) -> float | None:
    """Their ratio, if both were measured."""
    return None if a is None or b is None else a / b


def best_peer(results: Results, case: Case, *, memory: bool = False) -> float | None:
    """The least that a peer needs."""
    figures = (results.memory(name, case) if memory else results.ratio(name, case) for name in PEERS)
    return min((figure for figure in figures if figure is not None), default=None)


def _floor_of(case: Case) -> Case:
    return Case(case.network, "GradCAM", batch=case.batch)


def _on_last_layer(results: Results, measure: str) -> list[Case]:
    """What there is of the gradient methods at the last layers, for images of the usual size."""
    methods = (*GRADIENT, "EigenGradCAM")
    return [
        case
        for case in results.cases(measure)
        if case == Case(case.network, case.method, batch=case.batch)
        and case.method in methods
        and "-" not in case.network
    ]


def _beside_the_floor(results: Results) -> Iterator[Goal]:
    cases = _on_last_layer(results, "seconds")
    times = {case: divide(results.ratio("here", case), results.ratio("floor", _floor_of(case))) for case in cases}
    why = f"{OWN_COST}; {SCATTER}"
    for title, limit, single, reason in (("batch 1", 1.10, True, why), ("larger batches", 1.05, False, SCATTER)):
        figures = {str(case): time for case, time in times.items() if (case.batch == 1) == single}
        yield at_most(f"gradient methods, last layer, {title}: time beside the floor", limit, figures, reason)
    cases = _on_last_layer(results, "memory")
    figures = {str(case): results.memory("here", case) for case in cases}
    reason = (
        "in a ViT the way back through the last block's GELU needs more than the forward pass does anywhere; the "
        "floor, which does nothing else, needs as much"
    )
    goal = at_most("gradient methods, last layer: memory beside the forward pass", 1.05, figures, reason)
    floors = [floor for case in cases if (floor := results.memory("floor", _floor_of(case))) is not None]
    yield replace(goal, measured=f"{goal.measured}; the floor up to {max(floors):.2f}") if floors else goal


def _beside_passes(results: Results) -> Iterator[Goal]:
    """What is more than a tenth above passes for all channels wants a reason."""
    yield at_most(
        "AblationCAM: time beside the floor",
        1.10,
        _beside_own_floor(results, "AblationCAM"),
        "where little follows the layer, what is done once counts: keeping what came before it, in memory that the "
        "pass would have used again, and the proof that the replay gives the same scores; DenseNet changes the copies "
        "in place, so that they are written anew each time",
    )
    scored = _beside_own_floor(results, "ScoreCAM", channels=SOME)
    yield at_most(f"ScoreCAM, {SOME} channels: time beside the floor", 1.10, scored, SCATTER)


def _beside_own_floor(results: Results, method: str, channels: int | None = None) -> dict[str, float | None]:
    cases = [case for case in results.cases("seconds") if case == Case(case.network, method, channels=channels)]
    return {str(case): divide(results.ratio("here", case), results.ratio("floor", case)) for case in cases}


def _early(results: Results) -> Iterator[Goal]:
    for title, memory in (("time", False), ("memory", True)):
        figures = {}
        for method in GRADIENT:
            case = Case("resnet50", method, layer=EARLY)
            own = results.memory("here", case) if memory else results.ratio("here", case)
            figures[method] = divide(own, best_peer(results, case, memory=memory))
        reason = f"nearly all of it is PyTorch's way back through the network, the same in every library; {SCATTER}"
        yield at_most(f"gradient methods, `{EARLY}` of ResNet-50: {title} beside the best peer", 1, figures, reason)


def _perturbation(results: Results) -> Iterator[Goal]:
    for case, least in ((LAST, 150), (THIRD, 5)):
        layer = case.layer or "layer4.2"
        speed_up = divide(results.ratio("grad-cam", case), results.ratio("here", case))
        yield at_least(f"AblationCAM, ResNet-50 `{layer}`: times faster than grad-cam", least, {"": speed_up})
    yield at_most("AblationCAM, ResNet-50 `layer4.2`: forward passes", 6, {"": results.ratio("here", LAST)})
    for peer, limit in (("grad-cam", 0.75), ("torchcam", 0.95)):
        time = divide(results.ratio("here", SCORE), results.ratio(peer, SCORE))
        reason = (
            "nearly all of it is convolutions, as many in every library; here they do about as many operations a "
            "second as a large matrix product on the same machine (260 GFLOP/s and 210 on an AMD EPYC, 150 to 190 and "
            "160 to 200 on an Intel Xeon, when they were profiled)"
        )
        yield at_most(f"ScoreCAM, ResNet-50: time beside {peer}", limit, {"": time}, reason)
    for peer, limit in (("grad-cam", 0.25), ("torchcam", 1.0)):
        memory = divide(results.peak("here", SCORE), results.peak(peer, SCORE))
        yield at_most(f"ScoreCAM, ResNet-50: memory beside {peer}", limit, {"": memory})


def _others(results: Results) -> Iterator[Goal]:
    speed_ups = {
        method: divide(results.after("grad-cam", case), results.after("here", case))
        for method in EIGEN
        for case in [Case("resnet50", method)]
    }
    yield at_least(
        "EigenCAM and EigenGradCAM: times faster than grad-cam after the network has run",
        100,
        speed_ups,
        "some forty operations on small tensors, each slow at first as the network has just used the caches; the "
        "eigenvectors of a 49 x 49 matrix are a fifth of it",
    )
    eigen = [c for c in results.cases("seconds") if c.method == "EigenCAM" and "-" not in c.network]
    yield at_most(
        "EigenCAM: forward passes",
        1.05,
        {str(case): results.ratio("here", case) for case in eigen},
        f"{OWN_COST}; {SCATTER}",
    )
    smooth = {str(c): results.ratio("here", c) for c in results.cases("seconds") if c.aug_smooth}
    yield at_most(
        "aug_smooth: forward passes",
        6.2,
        smooth,
        "the way back through the wide head of VGG-16 six times: six floors take nearly as long, and its activations "
        "are too large for several copies at once to be faster",
    )
    imports = results.tables.get("imports", {})
    beside_torch = imports["here"]["beside_torch"] if "here" in imports else None
    reading = "what comes after torch is this library's own modules: 0.13 s after 3 on an Intel Xeon"
    yield at_most("importing: time beside that of torch", 1.1, {"": beside_torch}, reading)
    against = {
        str(case): divide(results.ratio("here", case), best_peer(results, case)) for case in results.cases("seconds")
    }
    yield at_most(
        "every row: time beside the fastest peer",
        1,
        against,
        f"on the smallest networks {OWN_COST}, of which torchcam, which checks less, has half; elsewhere ties: "
        f"{SCATTER}",
    )
