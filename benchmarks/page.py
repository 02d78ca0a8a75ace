"""docs/benchmarks.md and the README's headline, both from the results of a run."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.cases import Case
from benchmarks.goals import PEERS, goals
from benchmarks.growth import axes, slope
from benchmarks.libraries import EIGEN, GRADIENT, LIBRARIES, METHODS
from benchmarks.networks import NETWORKS
from benchmarks.ours import AT_ONCE
from benchmarks.plan import EARLY, SOME
from benchmarks.plots import COLOURS, plot_growth
from benchmarks.results import Results, number

TITLES = {name: library.title for name, library in LIBRARIES.items()}
SMALL = 1e-3  # a difference of maps that is due to rounding
Figure = Callable[[str, Case], float | None]

HOW = """\
Each library runs in a process of its own, with the same seeded weights, the same picture of noise, in a batch again and
again, and the same class, and they are asked in turn. Of its best three classes that is taken which has most support at
the layer: the maps of others are often blank with random weights, and this library takes some milliseconds to say why.
(Of the small networks with 64 to 2048 channels the best class is taken.)

**Time** is a call in plain `no_grad` forward passes of the same process, of which the one just before it counts; the
median over rounds. A pass of one image before that lets go of what a library keeps of its last call, such as torchcam
its graph. What a library lets its user do once, such as constructing its object, is not in it; torchcam's and
grad-cam's hooks, and torchcam's forward pass, are. **Memory** is the peak above what was in use before the call, in
that of the forward pass: resident memory on a CPU, in processes whose allocator gives freed memory back at once. The
**floor** is written by hand for each network: the forward pass without gradients to the layer, and what follows forward
and back; for AblationCAM the forward pass, and what follows for a copy per channel; for ScoreCAM a forward pass for
a copy per channel.
The layers are {layers}. All maps have the size of the input. grad-cam and torchcam get a `reshape_transform` for
transformers, captum has none. A dash: the library has no such method, or it was not measured.\
"""


def write_page(results: Results, path: Path) -> None:
    """The page, and beside it the plot of growth."""
    plot = path.with_suffix(".png")
    plot_growth(results, axes(quick=results.about["quick"]), plot)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(sections(results, plot.name)) + "\n", "utf-8")


def sections(results: Results, plot: str) -> Iterator[str]:
    """One after the other."""
    about = results.about
    stolen = about.get("stolen", 0)
    others = f" Its host gave {stolen:.0%} of the time in which it was at work to others." if stolen >= 0.01 else ""
    # Where a measure was found wrong after a run of 40 minutes, its own figures can be put in their place, and say so.
    again = f" Measured again after this run, as a run does it now: {about['again']}." if "again" in about else ""
    yield "# What it costs, beside other libraries"
    yield (
        f"Written by `python -m benchmarks{' --quick' * about['quick']}` on {about['date']}, in "
        f"{about.get('minutes', '?')} minutes: {about['device']}, {about['processor']}, {about['cores']} cores, "
        f"{about['threads']} threads, {about['system']}, Python {about['python']}, torch {about['torch']}, torchvision "
        f"{about['torchvision']}; {', '.join(TITLES[name] for name in PEERS if name in about['libraries'])}; here "
        f"{about['version']}.{others}{again}"
    )
    layers = ", ".join(f"`{network.last}` of {network.title}" for network in NETWORKS.values())
    yield HOW.format(layers=layers)
    yield "## Goals"
    verdicts = {True: "yes", False: "**no**", None: "not measured"}
    found = goals(results)
    rows = ([goal.what, goal.limit, goal.measured, verdicts[goal.reached]] for goal in found)
    yield table(["goal", "limit", "measured", "reached"], rows)
    if missed := [f"- {goal.what}: {goal.reason}" for goal in found if goal.reached is False and goal.reason]:
        yield "What limits those that are missed, as profiles show it:"
        yield "\n".join(missed)
    yield from section(
        "Where the time of a call goes, milliseconds",
        pieces_table(results.tables.get("pieces", [])),
        "Batch 1, the median of calls that each follow a forward pass, as it is when a call comes in real work: the "
        "caches hold what the network needed. Taking the time itself costs some hundredths in each row.",
    )
    yield from _time_and_memory(results)
    yield from _sign(results)
    yield from _growth(results, plot)
    yield from _tables(results)
    if results.errors:
        yield "## What failed"
        yield "\n".join(f"- {what}: {why.splitlines()[0]}" for what, why in results.errors.items())


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown; nothing if there are no rows."""
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) if lines[2:] else ""


def section(title: str, of_table: str, *paragraphs: str) -> list[str]:
    """A table under its title and what there is to say of it; nothing if it has no rows."""
    return [f"## {title}", *paragraphs, of_table] if of_table else []


def beside_each_other(results: Results, measure: str, figure: Figure, keep: Callable[[Case], bool]) -> str:
    """A table of cases by libraries, of this library's cases."""
    names = [name for name in TITLES if name in results.about["libraries"]]
    rows = [
        [_network(case.network), method_title(case), str(case.batch), *(number(figure(name, case)) for name in names)]
        for case in results.cases(measure)
        if keep(case)
    ]
    return table(["network", "method", "batch", *(TITLES[name] for name in names)], rows)


def method_title(case: Case) -> str:
    """The method and how it was called."""
    some = f", {case.channels} channels" if case.channels else ""
    return case.method + some + ", `aug_smooth`" * case.aug_smooth + (f", `{case.layer}`" if case.layer else "")


def _network(name: str) -> str:
    return NETWORKS[name].title if name in NETWORKS else name


def _usual(case: Case) -> bool:
    """Gradient and Eigen methods at the last layer, where not only growth is shown."""
    plain = case == Case(case.network, case.method, batch=case.batch)
    return plain and case.method in (*GRADIENT, *EIGEN) and case.network in NETWORKS and case.batch in (1, 8, 32)


def _early(case: Case) -> bool:
    return case.layer == EARLY


def _perturbing(case: Case) -> bool:
    return (case.method in ("AblationCAM", "ScoreCAM") or case.aug_smooth) and case.network in NETWORKS


def pieces_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A column for each call, and first what it is compared with."""
    head = ["", *(f"{_network(row['network'])}, {row['method']}" for row in rows)]
    lines = [["*plain forward pass*", *(f"{1e3 * row['forward']:.2f}" for row in rows)]]
    lines.append(["*floor of gradient methods*", *(f"{1e3 * row['floor']:.2f}" for row in rows)])
    for name in rows[0]["pieces"] if rows else ():
        lines.append([name, *(f"{1e3 * row['pieces'][name]:.2f}" for row in rows)])
    return table(head, lines) if rows else ""


def _time_and_memory(results: Results) -> Iterator[str]:
    for measure, figure, unit in (
        ("seconds", results.ratio, "Time, in forward passes"),
        ("memory", results.memory, "Memory, in that of a forward pass"),
    ):
        yield from section(f"{unit}, last layer", beside_each_other(results, measure, figure, _usual))
        early = beside_each_other(results, measure, figure, _early)
        yield from section(f"{unit}, `{EARLY}` of ResNet-50", early)
    yield from section(
        "AblationCAM, ScoreCAM and smoothing, in forward passes",
        beside_each_other(results, "seconds", results.ratio, _perturbing),
        "Calls of minutes, AblationCAM of grad-cam and ScoreCAM for all channels, ran once, on ResNet-50; elsewhere "
        f"ScoreCAM looks at {SOME} channels. These are in forward passes of all the libraries that did the same.",
    )
    case = Case("resnet50", "ScoreCAM")
    peaks = [[TITLES[name], _mebibytes(results.peak(name, case))] for name in TITLES if results.peak(name, case)]
    yield from section(
        "Memory of ScoreCAM, ResNet-50, MiB",
        table(["library", "peak"], peaks),
        "In the call timed above; the allocator of its process may keep what is freed.",
    )
    yield from section(
        "EigenCAM and EigenGradCAM after the network has run, milliseconds",
        beside_each_other(results, "after", lambda name, case: _milliseconds(results.after(name, case)), bool),
    )


def _mebibytes(peak: float | None) -> str:
    return number(None if peak is None else peak / 2**20)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3


def _sign(results: Results) -> Iterator[str]:
    cases = dict.fromkeys(case for name in PEERS for case in results.cases("maps", name))
    rows = [
        [_network(case.network), case.method, *(_difference(results.difference(name, case)) for name in PEERS)]
        for case in cases
    ]
    yield from section(
        "Agreement of the maps",
        table(["network", "method", *(TITLES[name] for name in PEERS)], rows),
        "The largest difference of any pixel from the map here, batch 1, each map stretched to [0, 1] by its least and "
        "greatest value, for libraries scale differently. Where it is large a peer resizes, rectifies or weights in "
        "another way: weights are random, activations and gradients faint beside the constants that peers add. "
        "The sign of a principal component is left to chance by grad-cam. DenseNet rectifies the layer's output in "
        "place; grad-cam and torchcam take that for what the layer returned.",
    )


def _difference(figure: float | None) -> str:
    if figure is None:
        return "-"
    return f"{figure:.0e}" if figure < SMALL else f"{figure:.3f}"


def _growth(results: Results, plot: str) -> Iterator[str]:
    rows = []
    for axis in axes(quick=results.about["quick"]):
        lines = {"forward pass": axis.forward(results)}
        for name in COLOURS:
            lines |= {f"{TITLES[name]}, {method}": axis.line(results, name, method) for method in axis.methods}
        rows += [[axis.label, of, f"{slope(*zip(*line, strict=True)):.2f}"] for of, line in lines.items() if line[1:]]
    yield from section(
        "How time grows",
        table(["what grows", "of", "slope"], rows),
        f"![Seconds of a call by batch, input, target layer and channels]({plot})",
        "The slope of the log-log line: 1 is proportional, 0 is constant. Seconds are a call's forward passes times "
        "the median forward pass of all libraries.",
    )


def _tables(results: Results) -> Iterator[str]:
    imports = results.tables.get("imports", {})
    costs = (
        (
            TITLES.get(name, name),
            f"{cost['seconds']:.2f} s",
            number(cost["beside_torch"]),
            f"{cost['modules']:.0f}",
        )
        for name, cost in imports.items()
    )
    yield from section(
        "Importing",
        table(["library", "time", "beside torch", "modules loaded"], costs),
        "Torch, which all of them import, was timed in the same process: imports scatter from one process to the next.",
    )
    lines = (
        (TITLES[name], f"{of['needed']:,}", str(of["files"]), f"{of['whole']:,}")
        for name, of in results.tables.get("lines", {}).items()
    )
    yield from section(
        "Lines of code",
        table(["library", "needed by the methods", "in files", "whole package"], lines),
        "Neither blank, nor comment, nor docstring. What methods need is what they import of their own package.",
    )
    replayed = (
        (
            _network(row["network"]),
            str(row["channels"]),
            number(row["speed_up"]),
            f"{row['weights_differ_by']:.0e}",
            "yes" if row["fell_back"] else "no",
        )
        for row in results.tables.get("replay", [])
    )
    yield from section(
        "AblationCAM through replay",
        table(["network", "channels", "times faster", "weights differ by", "fell back"], replayed),
        f"Of CNNs, beside whole forward passes: {AT_ONCE} channels in one, scaled up to all; weights are theirs. In "
        "transformers more follows the layer, as the forward passes above show.",
    )
    five = ([method, number(cost)] for method, cost in results.tables.get("five_classes", {}).items())
    yield from section(
        "Five classes of one image in one call",
        table(["method", "calls for one class"], five),
        f"ResNet-50, batch 1, measured once; ScoreCAM with {AT_ONCE} channels.",
    )


def headline(results: Results) -> str:
    """Time and memory on ResNet-50 in a small table."""
    names = ["here", *(name for name in PEERS if name in results.about["libraries"])]
    cases = [Case("resnet50", method) for method in METHODS]
    rows = [[case.method, *(number(results.ratio(name, case)) for name in names)] for case in cases]
    memory = [number(results.memory(name, Case("resnet50", "GradCAM"))) for name in names]
    head = ["ResNet-50, time in forward passes", *(TITLES[name] for name in names)]
    about = results.about
    where = f"{about['device']}, {about['processor']}, {about['cores']} cores, torch {about['torch']}, {about['date']}"
    lines = table(head, [*rows, ["GradCAM, memory in that of a forward pass", *memory]])
    return f"{lines}\n\nOn: {where}. What takes minutes, ScoreCAM and AblationCAM of grad-cam, ran once."


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
