"""The page of a run, and the table of the README."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks.cost.case import Case
from benchmarks.cost.goals import GOALS, judge
from benchmarks.cost.libraries import EIGEN, GRADIENT, LIBRARIES, METHODS, PEERS
from benchmarks.cost.networks import NETWORKS, network_of
from benchmarks.cost.plan import EARLY, SUBSET
from benchmarks.cost.results import Results, number
from benchmarks.cost.scaling import axes, slope

ROUNDING = 1e-3  # a smaller difference of maps comes from rounding
HOW = """\
Each library runs in a process of its own, with the same seeded random weights, the same image of noise and the same
class, and they take turns. **Time** is a call in plain `no_grad` forward passes of the same process, each compared
with the pass just before it; the median over rounds. **Memory** is the peak above what was in use before the call, in
that of the forward pass: resident memory on a CPU. Constructing a library's object is not measured. The **lower bound**
is the work that no gradient method can avoid: forward without a graph to the layer, the rest forward and backward.
The layers are {layers}. All maps have the size of the input. A dash: no such method, or not measured."""
AGREEMENT = """\
The largest difference of any pixel from the map here, each map stretched to [0, 1]. Where it is large a peer resizes,
rectifies or weights in another way, or leaves the sign of a principal component to chance: with random weights
activations and gradients are faint beside the constants that peers add."""


def sections(results: Results) -> Iterator[str]:
    """Paragraphs and tables in order."""
    about = results.about
    yield "# What it costs, beside other libraries"
    peers = ", ".join(LIBRARIES[name].title for name in PEERS if name in about["libraries"])
    minutes = f"in {about.get('minutes', '?')} minutes"
    command = f"python -m benchmarks{' --quick' * about['quick']}"
    yield f"Written by `{command}` on {about['date']}, {minutes}: {about['machine']}, {about['versions']}, {peers}."
    yield HOW.format(layers=", ".join(f"`{network.last}` of {network.title}" for network in NETWORKS.values()))
    verdicts = {True: "yes", False: "**no**", None: "-"}
    goals = [(goal, *judge(goal.limit, goal.figures(results))) for goal in GOALS]
    rows = ([goal.title, f"at most {goal.limit:g}", text, verdicts[reached]] for goal, text, reached in goals)
    yield from _section("Goals", table(["goal", "limit", "worst", "reached"], rows))
    time, memory = "Time, in forward passes", "Memory, in that of a forward pass"
    for title, measure, figure in ((time, "seconds", results.ratio), (memory, "memory", results.memory)):
        yield from _section(f"{title}, last layer", _table_of(results, measure, figure, _is_plain))
        early = _table_of(results, measure, figure, lambda case: case.layer == EARLY)
        yield from _section(f"{title}, `{EARLY}` of ResNet-50", early)
    perturbing = _table_of(results, "seconds", results.ratio, _is_perturbing)
    note = f"Calls of minutes ran once, on ResNet-50; elsewhere ScoreCAM looks at {SUBSET} channels."
    yield from _section("AblationCAM, ScoreCAM and smoothing, in forward passes", perturbing, note)
    score = _table_of(results, "peak", results.peak, lambda case: case == Case("resnet50", "ScoreCAM"))
    yield from _section("Memory of ScoreCAM, ResNet-50, MiB", score)
    yield from _section("Agreement of the maps", _agreement(results), AGREEMENT)
    slopes = (
        [axis.label, f"{LIBRARIES[name].title}, {method}", f"{slope(line):.2f}"]
        for axis in axes(quick=about["quick"])
        for method in axis.methods
        for name in LIBRARIES
        if len(line := axis.line(results, name, method)) > 1
    )
    note = "The slope of the log-log line of seconds: 1 is proportional, 0 is constant."
    yield from _section("How time grows", table(["axis", "call", "slope"], slopes), note)
    if results.errors:
        yield "## What failed"
        yield "\n".join(f"- {call}: {error.splitlines()[0]}" for call, error in results.errors.items())


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; empty if there are no rows."""
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) if lines[2:] else ""


def _section(title: str, content: str, *paragraphs: str) -> list[str]:
    return [f"## {title}", *paragraphs, content] if content else []


def _table_of(
    results: Results, measure: str, figure: Callable[[str, Case], float | None], keep: Callable[[Case], bool]
) -> str:
    """Cases by libraries."""
    names = [name for name in LIBRARIES if name in results.about["libraries"]]
    rows = (
        [network_of(case.network).title, case.call, str(case.batch), *(number(figure(name, case)) for name in names)]
        for case in results.cases(measure)
        if keep(case)
    )
    return table(["network", "method", "batch", *(LIBRARIES[name].title for name in names)], rows)


def _is_plain(case: Case) -> bool:
    plain = case == Case(case.network, case.method, batch=case.batch)
    return plain and case.method in (*GRADIENT, *EIGEN) and case.network in NETWORKS and case.batch in (1, 8, 32)


def _is_perturbing(case: Case) -> bool:
    return case.network in NETWORKS and (case.method in ("AblationCAM", "ScoreCAM") or case.aug_smooth)


def _agreement(results: Results) -> str:
    def text(figure: float | None) -> str:
        return "-" if figure is None else f"{figure:.0e}" if figure < ROUNDING else f"{figure:.3f}"

    rows = (
        [network_of(case.network).title, case.method, *(text(results.difference(name, case)) for name in PEERS)]
        for case in results.cases("maps", "grad-cam")
    )
    return table(["network", "method", *(LIBRARIES[name].title for name in PEERS)], rows)


def headline(results: Results) -> str:
    """Time and memory on ResNet-50 in a small table."""
    names = ["here", *(name for name in PEERS if name in results.about["libraries"])]
    cases = [Case("resnet50", method) for method in METHODS]
    rows = [[case.method, *(number(results.ratio(name, case)) for name in names)] for case in cases]
    memory = [number(results.memory(name, cases[0])) for name in names]
    head = ["ResNet-50, time in forward passes", *(LIBRARIES[name].title for name in names)]
    lines = table(head, [*rows, ["GradCAM, memory in that of a forward pass", *memory]])
    machine = f"{results.about['machine']}, {results.about['date']}"
    return f"{lines}\n\nOn: {machine}. What takes minutes, ScoreCAM and AblationCAM of grad-cam, ran once."


def write_headline(results: Results, path: Path) -> None:
    """Put the table between the two marks of a page.

    Raises:
        SystemExit: if the page has no such marks.
    """
    text = path.read_text("utf-8")
    start, end = "<!-- benchmarks -->", "<!-- /benchmarks -->"
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise SystemExit(f"{path.name} needs {start} and, after it, {end}, each once: the headline figures go between")
    between = f"{start}\n{headline(results)}\n{end}"
    path.write_text(re.sub(f"{start}.*{end}", lambda _: between, text, flags=re.S), "utf-8")
