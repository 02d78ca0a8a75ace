"""How good the maps are where the truth is known: writes docs/quality.md, docs/quality.png and the README's scores.

    python benchmarks/quality.py                                    # all of it: hours on two cores
    python benchmarks/quality.py --networks vit --methods gradcam   # a part of it; the page is written of all there is
    python benchmarks/quality.py --share 1/2                        # every other part, for one of two processes

Each method explains both objects of held-out scenes of the demo world, by each demo network, as it is and smoothed.
What is done lies in build/quality/, a file for each row and 50 scenes, and is not done again: after a change of
methods, or of the layers that they take, delete that folder. Needs matplotlib: pip install ".[docs]".
"""

import argparse
import functools
import platform
import re
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pytorch_grad_cam import METHODS, BaseCAM, BlankMapWarning, GradCAM, __version__, list_layers
from pytorch_grad_cam._engine.layers import layer_name
from pytorch_grad_cam.demo.network import NETWORKS, load_network, to_input
from pytorch_grad_cam.demo.scenes import HELD_OUT, SIZE, Scene, make_scene
from pytorch_grad_cam.metrics import (
    box_iou,
    cascading_randomization,
    deletion,
    energy_pointing_game,
    insertion,
    mask_iou,
    pointing_game,
    rank_correlation,
    road_combined,
)

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "quality.md"
README = ROOT / "README.md"
PLOT = ROOT / "docs" / "quality.png"
TITLES = {"shufflenet": "CNN (ShuffleNet, 8 x 8)", "vit": "ViT (16 x 16)", "swin": "Swin (8 x 8)"}
SMOOTHINGS: dict[str, dict[str, bool]] = {"plain": {}, "eigen": {"eigen_smooth": True}, "aug": {"aug_smooth": True}}
BATCH = 10
CHUNK = 50  # scenes in a file
STEPS = 5  # of deletion and insertion
PERCENTAGES = (50,)  # of ROAD
RANDOMISED = 4  # layers, from the last on
# Figures of other settings lie elsewhere.
SETTINGS = f"{STEPS} steps, ROAD {' '.join(map(str, PERCENTAGES))}, {RANDOMISED} randomized"
RESULTS = ROOT / "build" / "quality" / SETTINGS
METRICS = {
    # name: (title, whether more is better, in percent)
    "box": ("peak in box", True, True),
    "mask": ("peak on mask", True, True),
    "energy": ("energy", True, True),
    "iou": ("IoU, mask", True, True),
    "box_iou": ("IoU, box", True, True),
    "deletion": ("deletion", False, True),
    "insertion": ("insertion", True, True),
    "road": ("ROAD", True, True),
    "randomisation": ("randomisation", True, False),
    "milliseconds": ("ms / picture", False, False),
}
Explain = Callable[[Tensor, list[list[int]], list[Scene]], Tensor]


def random_maps(images: Tensor, classes: list[list[int]], scenes: list[Scene]) -> Tensor:
    """Noise on an 8 x 8 grid, resized as maps are."""
    noise = torch.rand(len(images), 2, 8, 8)
    return nn.functional.interpolate(noise, size=images.shape[2:], mode="bilinear")


def centre_maps(images: Tensor, classes: list[list[int]], scenes: list[Scene]) -> Tensor:
    """A bell in the middle, for each class the same."""
    bell = torch.exp(-0.5 * torch.linspace(-2, 2, SIZE).square())
    return (bell[:, None] * bell).expand(len(images), 2, -1, -1)


def true_masks(images: Tensor, classes: list[list[int]], scenes: list[Scene]) -> Tensor:
    """1 on the object, 0 elsewhere."""
    return torch.tensor(np.array([[one.mask for one in scene.objects] for scene in scenes])).float()


BOUNDS: dict[str, Explain] = {"random map": random_maps, "centre map": centre_maps, "true mask": true_masks}


@functools.cache
def batch(number: int) -> tuple[Tensor, list[list[int]], list[Scene], Tensor, Tensor]:
    """Pictures, classes (B x 2), scenes, masks (B, 2, H, W) and boxes (B, 2, 4)."""
    scenes = [make_scene(HELD_OUT[seed], count=2) for seed in range(number * BATCH, (number + 1) * BATCH)]
    images = to_input(np.stack([scene.image for scene in scenes]))
    classes = [[one.label for one in scene.objects] for scene in scenes]
    boxes = torch.tensor([[one.box for one in scene.objects] for scene in scenes])
    return images, classes, scenes, true_masks(images, classes, scenes).bool(), boxes


def against_truth(maps: Tensor, masks: Tensor, boxes: Tensor) -> dict[str, Tensor]:
    """Figures (B, 2) of maps (B, 2, H, W)."""
    return {
        "box": pointing_game(maps, boxes),
        "mask": pointing_game(maps, masks),
        "energy": energy_pointing_game(maps, masks),
        "iou": mask_iou(maps, masks),
        "box_iou": box_iou(maps, boxes),
    }


def faithfulness(model: nn.Module, images: Tensor, maps: Tensor, classes: list[list[int]]) -> dict[str, Tensor]:
    """Figures (B, 2) of maps (B, 2, H, W)."""
    # The networks were trained to say of each class by itself whether it is there: a sigmoid, not a softmax.
    common: Any = {"activation": "sigmoid"}
    step = -(-SIZE * SIZE // STEPS)
    return {
        "deletion": deletion(model, images, maps, classes, step=step, **common).area,
        "insertion": insertion(model, images, maps, classes, step=step, **common).area,
        "road": road_combined(
            model, images, maps, classes, percentages=PERCENTAGES, generator=torch.Generator().manual_seed(0), **common
        ),
    }


@functools.cache
def randomized(network: str) -> nn.Module:
    """A network whose last layers have lost what they had learnt."""
    model = load_network(network)
    layers = [name for name, module in model.named_modules() if list(module.parameters(recurse=False))]
    stages: list[nn.Module] = []

    def maps_of(stage: nn.Module) -> Tensor:
        stages.append(stage)
        return torch.eye(2)[None]  # the maps are made where there are scenes

    cascading_randomization(model, maps_of, layers=layers[: -RANDOMISED - 1 : -1])
    return stages[-1]


def measure(model: nn.Module, explain: Explain, first: int, without_memory: Explain | None) -> dict[str, NDArray[Any]]:
    """Figures (n, 2) of each metric over `CHUNK` scenes.

    Args:
        model: the network.
        explain: what is measured.
        first: of the scenes.
        without_memory: the same of the network with randomized weights, if it is to be compared.
    """
    figures: dict[str, list[Tensor]] = {}
    for number in range(first // BATCH, (first + CHUNK) // BATCH):
        images, classes, drawn, masks, boxes = batch(number)
        start = time.perf_counter()
        maps = explain(images, classes, drawn)
        found = {"milliseconds": torch.full((BATCH, 2), 1000 * (time.perf_counter() - start) / BATCH)}
        found |= against_truth(maps, masks, boxes) | faithfulness(model, images, maps, classes)
        if without_memory is not None:
            found["randomisation"] = 1 - rank_correlation(without_memory(images, classes, drawn), maps)
        for name, values in found.items():
            figures.setdefault(name, []).append(values)
    return {name: torch.cat(values).double().numpy() for name, values in figures.items()}


def sweep(name: str, scenes: int) -> dict[str, NDArray[Any]]:
    """The pointing game (n, 2) of GradCAM at every layer, by name; the automatic one stands first."""
    model, batches = load_network(name), range(scenes // BATCH)
    layers = list_layers(model, batch(0)[0])
    automatic = [layers.best.name] if layers.best else []
    names = list(dict.fromkeys([*automatic, *(layer.name for layer in layers)]))
    hits = {}
    for layer in names:
        cam = GradCAM(model, layer)
        try:
            hits[layer] = np.concatenate([_hits(cam, *batch(number)) for number in batches])
        except ValueError:  # no gradient reaches its positions
            continue
    return hits


def _hits(cam: BaseCAM, images: Tensor, classes: list[list[int]], scenes: Any, masks: Tensor, boxes: Tensor) -> Any:
    return pointing_game(cam(images, classes), boxes).double().numpy()


Row = tuple[str, str, str]
"""Network, method or bound, and smoothing."""


def rows(networks: Sequence[str], methods: Sequence[str]) -> Iterator[Row]:
    """Of the tables; what costs most comes last."""
    for smoothing in SMOOTHINGS:
        for network in networks:
            if smoothing == "plain":
                yield from ((network, bound, smoothing) for bound in BOUNDS)
            yield from ((network, method, smoothing) for method in methods)


def parts(networks: Sequence[str], methods: Sequence[str], scenes: int) -> Iterator[tuple[Row, int]]:
    """Rows and the first of each `CHUNK` scenes; rows that take hours grow together, for whoever stops them."""
    chunks = range(0, scenes, CHUNK)
    long = [(n, m, s) for n, m, s in rows(networks, methods) if s != "plain" and METHODS[m].runs_again]
    short = [row for row in rows(networks, methods) if row not in long]
    yield from ((row, first) for row in short for first in chunks)
    yield from ((row, first) for first in chunks for row in long)


def work(row: Row, first: int) -> dict[str, NDArray[Any]]:
    """Measure `CHUNK` scenes of one row of the tables."""
    network, name, smoothing = row
    torch.manual_seed(first)
    model = load_network(network)
    if name in BOUNDS:
        return measure(model, BOUNDS[name], first, None)
    cam = METHODS[name](model)

    def explain(images: Tensor, classes: list[list[int]], drawn: list[Scene]) -> Tensor:
        return cam.explain(images, classes, **SMOOTHINGS[smoothing]).maps

    def explain_randomised(images: Tensor, classes: list[list[int]], drawn: list[Scene]) -> Tensor:
        layers = [layer_name(model, layer) for layer in cam.target_layers or ()]  # that of the trained network
        return METHODS[name](randomized(network), layers).explain(images, classes).maps

    return measure(model, explain, first, explain_randomised if smoothing == "plain" else None)


def result_path(row: Row, first: int) -> Path:
    """Where the figures of a part of a row lie."""
    return RESULTS / f"{' '.join(row)} {first:04}.npz"


def save(path: Path, figures: dict[str, Any]) -> None:
    """Write figures by name, all or none."""
    unfinished = path.with_name(f"unfinished {path.name}")
    np.savez(unfinished, **figures)
    unfinished.replace(path)


def figures_of(row: Row) -> dict[str, NDArray[Any]]:
    """All that has been measured of a row, by metric; empty if nothing has."""
    found: dict[str, list[NDArray[Any]]] = {}
    for path in sorted(RESULTS.glob(f"{' '.join(row)} [0-9]*.npz")):
        for name, values in np.load(path).items():
            found.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in found.items()}


def interval(values: NDArray[Any]) -> tuple[float, float]:
    """The mean over scenes and half of its 95 % interval, by bootstrap over scenes."""
    of_scenes = values.mean(1)
    rng = np.random.default_rng(0)
    means = of_scenes[rng.integers(len(of_scenes), size=(1000, len(of_scenes)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(of_scenes.mean()), float(high - low) / 2


def cell(name: str, figures: Any) -> str:
    """A figure as it stands in a table."""
    if name not in figures:
        return ""
    if name == "milliseconds":
        return f"{np.median(figures[name]):.1f}"
    _, _, percent = METRICS[name]
    mean, half = interval(figures[name])
    return f"{100 * mean:.1f} ± {100 * half:.1f}" if percent else f"{mean:.2f} ± {half:.2f}"


def measured(network: str) -> Iterator[tuple[str, str, dict[str, NDArray[Any]]]]:
    """Method, smoothing and figures of what has been measured, bounds first and last."""
    for name in ("random map", "centre map", *METHODS, "true mask"):
        for smoothing in SMOOTHINGS:
            if figures := figures_of((network, name, smoothing)):
                yield name, smoothing, figures


def table(network: str) -> str:
    """The figures of one network."""
    lines = [
        f"| method | smoothing | scenes | {' | '.join(title for title, *_ in METRICS.values())} |",
        f"|---|---|---|{'---|' * len(METRICS)}",
    ]
    for name, smoothing, figures in measured(network):
        title = METHODS[name].__name__ if name in METHODS else f"*{name}*"
        cells = [title, smoothing if name in METHODS else "", str(len(figures["box"]))]
        shown = {metric: figures[metric] for metric in figures if smoothing == "plain" or metric != "randomisation"}
        lines.append(f"| {' | '.join([*cells, *(cell(metric, shown) for metric in METRICS)])} |")
    return "\n".join(lines)


def sweep_table(network: str) -> str:
    """The layers at which GradCAM's peak is in the box most often, and the one that is taken where none is given."""
    hits = dict(np.load(RESULTS / f"{network} sweep.npz"))
    automatic = next(iter(hits))
    ranked = sorted(hits, key=lambda layer: -hits[layer].mean())
    shown = dict.fromkeys([*ranked[:5], automatic])
    lines = [f"| layer of {len(hits)} | rank | peak in box |", "|---|---|---|"]
    for layer in shown:
        mean, half = interval(hits[layer])
        note = " (taken where none is given)" if layer == automatic else ""
        lines.append(f"| `{layer}`{note} | {ranked.index(layer) + 1} | {100 * mean:.1f} ± {100 * half:.1f} |")
    return "\n".join(lines)


def write_page() -> None:
    """Write all that has been measured."""
    networks = [network for network in NETWORKS if any(measured(network))]
    sections = [f"## {TITLES[network]}\n\n{table(network)}" for network in networks]
    swept = [network for network in NETWORKS if (RESULTS / f"{network} sweep.npz").exists()]
    sweeps = "\n\n".join(f"{TITLES[network]}:\n\n{sweep_table(network)}" for network in swept)
    percentages = ", ".join(map(str, PERCENTAGES))
    PAGE.write_text(
        f"""# How good the maps are

Written by `python benchmarks/quality.py`, version {__version__}, torch {torch.__version__.split("+")[0]}, \
{platform.machine()}, {torch.get_num_threads()} thread(s).

Held-out scenes of the demo world (`pytorch_grad_cam.demo`) hold two objects each; both are explained, each by its own
class, at the layer that is taken where none is given. Figures are percentages, means over scenes with 95 % intervals
(bootstrap over scenes). *Random map* and *centre map* are the floor; the *true mask* is the ceiling of what is measured
against it, not of how the network answers to removed pixels.

- **peak in box, on mask**: pointing game without tolerance. **energy**: the map's share on the mask. **IoU**: of the
  mask, or the box, that the map gives at half its peak, with the true one.
- **deletion** (less is better), **insertion**, **ROAD**: how the network's own confidence follows the map, in \
{STEPS} steps
  and at {percentages} % of the pixels.
- **randomisation**: 1 - rank correlation with the map after the last {RANDOMISED} layers with parameters were \
randomized;
  0 is a map that does not depend on them. Not of smoothed maps, which read the same weights.
- **ms / picture**: for both classes, the median over batches of {BATCH}; other work may have shared the machine: an
  order of magnitude ([benchmarks.md](benchmarks.md) has the speed).

![Peaks in the box, insertion and ROAD](quality.png)

{(chr(10) * 2).join(sections)}

## The layer that is taken where none is given

GradCAM at every layer that keeps positions, sorted by how often the peak is in the box.

{sweeps}
""",
        "utf-8",
    )
    draw_plot(networks)


def write_readme() -> None:
    """Put the pointing game of each plain method into the last columns of the README's table of methods."""
    lines = README.read_text("utf-8").splitlines()
    for name, method in METHODS.items():
        found = [figures_of((network, name, "plain")) for network in NETWORKS]
        figures = [f"{100 * of['box'].mean():.0f} %" if of else "" for of in found]
        for number, line in enumerate(lines):
            if line.startswith(f"| `{method.__name__}` |"):
                kept = line.strip("| ").split(" | ")[:4]
                lines[number] = f"| {' | '.join([*kept, *figures])} |"
    README.write_text("\n".join(lines) + "\n", "utf-8")


def draw_plot(networks: list[str]) -> None:
    """For each network a row of bars for each of three metrics."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import Patch

    shown = ("box", "insertion", "road")
    figure, axes = plt.subplots(
        len(shown), len(networks), figsize=(4.6 * len(networks), 9), squeeze=False, sharey="row"
    )
    colours = {"plain": "#3465a4", "eigen": "#4e9a06", "aug": "#f57900"}
    for column, network in enumerate(networks):
        drawn = list(measured(network))
        names = list(dict.fromkeys(name for name, *_ in drawn))
        for row, metric in enumerate(shown):
            ax = axes[row, column]
            for name, smoothing, figures in drawn:
                if metric in figures:
                    mean, half = interval(figures[metric])
                    offset = 0.0 if name not in METHODS else 0.26 * (list(SMOOTHINGS).index(smoothing) - 1)
                    colour = colours[smoothing] if name in METHODS else "#888a85"
                    ax.bar(names.index(name) + offset, 100 * mean, 0.25, yerr=100 * half, color=colour, ecolor="black")
            ax.set_xticks(range(len(names)), names if row == len(shown) - 1 else [], rotation=60, ha="right")
            ax.grid(axis="y", alpha=0.3)
            ax.set_axisbelow(True)
            if row == 0:
                ax.set_title(TITLES[network])
            if column == 0:
                ax.set_ylabel(f"{METRICS[metric][0]}, %")
    handles = [Patch(color=colour) for colour in colours.values()]
    figure.legend(handles, colours, loc="upper right", ncols=3)
    figure.tight_layout(rect=(0, 0, 1, 0.97))
    figure.savefig(PLOT, dpi=80)


def part_of(text: str) -> tuple[int, int]:
    """I and N of "I/N"."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is no share such as 1/2, the first of two")
    return int(found[1]), int(found[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--scenes", type=int, default=500, help=f"of each row; {CHUNK} are done at a time")
    parser.add_argument("--share", type=part_of, default=(1, 1), metavar="I/N", help="for the I-th of N processes")
    arguments = parser.parse_args()
    share, count = arguments.share
    RESULTS.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore", BlankMapWarning)
    for network in arguments.networks:
        path = RESULTS / f"{network} sweep.npz"
        if not path.exists():
            save(path, sweep(network, arguments.scenes // 5))
    for number, (row, first) in enumerate(parts(arguments.networks, arguments.methods, arguments.scenes)):
        path = result_path(row, first)
        if number % count == share - 1 and not path.exists():
            start = time.perf_counter()
            save(path, work(row, first))
            print(f"{path.stem}: {time.perf_counter() - start:.0f} s", flush=True)
    write_page()
    write_readme()


if __name__ == "__main__":
    main()
