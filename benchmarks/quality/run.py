"""Metrics of each method on held-out scenes of two objects, each explained by its own class."""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pytorch_grad_cam import METHODS, GradCAM, list_layers, metrics
from pytorch_grad_cam.demo.network import load_demo_network, to_input
from pytorch_grad_cam.demo.scenes import HELD_OUT, SIZE, make_scene

SMOOTHINGS: dict[str, dict[str, bool]] = {"plain": {}, "eigen": {"eigen_smooth": True}, "aug": {"aug_smooth": True}}
BATCH = 10
CHUNK = 50  # scenes in a file
STEPS = 5  # of deletion and insertion
STEP = -(-SIZE * SIZE // STEPS)  # pixels
PERCENTAGES = (50,)  # of ROAD
RANDOMIZED = 4  # layers, from the last on
# The folder of the figures: those of other settings lie elsewhere.
SETTINGS = f"{STEPS} steps, ROAD {' '.join(map(str, PERCENTAGES))}, {RANDOMIZED} randomized"
Row = tuple[str, str, str]
"""Network, method or bound, and smoothing."""
Figures = dict[str, NDArray[Any]]
"""Values (n, 2) of each metric, for both objects of n scenes."""


class Batch:
    """Images, classes (B x 2), masks (B, 2, H, W) and boxes (B, 2, 4) of held-out scenes."""

    def __init__(self, number: int) -> None:
        scenes = [make_scene(HELD_OUT[seed], count=2) for seed in range(number * BATCH, (number + 1) * BATCH)]
        self.images = to_input(np.stack([scene.image for scene in scenes]))
        self.classes = [[item.label for item in scene.objects] for scene in scenes]
        self.masks = torch.tensor(np.array([[item.mask for item in scene.objects] for scene in scenes])).bool()
        self.boxes = torch.tensor([[item.box for item in scene.objects] for scene in scenes])


batch_of = functools.cache(Batch)
Explain = Callable[[Batch], Tensor]


BELL = torch.exp(-0.5 * torch.linspace(-2, 2, SIZE).square())
BOUNDS: dict[str, Explain] = {
    "random map": lambda _: nn.functional.interpolate(torch.rand(BATCH, 2, 8, 8), size=(SIZE, SIZE), mode="bilinear"),
    "center map": lambda _: (BELL[:, None] * BELL).expand(BATCH, 2, -1, -1),
    "true mask": lambda batch: batch.masks.float(),
}


@functools.cache
def randomized(network: str) -> nn.Module:
    """A network whose last layers have lost what they had learned."""
    model = load_demo_network(network)
    layers = [name for name, module in model.named_modules() if list(module.parameters(recurse=False))]
    stages: list[nn.Module] = []

    def record(stage: nn.Module) -> Tensor:
        stages.append(stage)
        return torch.eye(2)[None]  # the maps are made where there are scenes

    metrics.cascading_randomization(model, record, layers=layers[: -RANDOMIZED - 1 : -1])
    return stages[-1]


def measure(model: nn.Module, explain: Explain, first: int, explain_randomized: Explain | None) -> Figures:
    """Figures of `CHUNK` scenes; maps of the network with randomized weights are compared with those of the network."""
    figures: dict[str, list[Tensor]] = {}
    # The networks were trained to say of each class by itself whether it is there: a sigmoid, not a softmax.
    common: Any = {"activation": "sigmoid"}
    for number in range(first // BATCH, (first + CHUNK) // BATCH):
        batch = batch_of(number)
        start = time.perf_counter()
        maps = explain(batch)
        milliseconds = 1000 * (time.perf_counter() - start) / BATCH
        call = model, batch.images, maps, batch.classes
        generator = torch.Generator().manual_seed(0)
        values = {
            "box": metrics.pointing_game(maps, batch.boxes),
            "mask": metrics.pointing_game(maps, batch.masks),
            "energy": metrics.energy_pointing_game(maps, batch.masks),
            "iou": metrics.mask_iou(maps, batch.masks),
            "box_iou": metrics.map_box_iou(maps, batch.boxes),
            "deletion": metrics.deletion(*call, step=STEP, **common).area,
            "insertion": metrics.insertion(*call, step=STEP, **common).area,
            "road": metrics.road_combined(*call, percentages=PERCENTAGES, generator=generator, **common),
            "milliseconds": torch.full((BATCH, 2), milliseconds),
        }
        if explain_randomized is not None:
            values["randomization"] = 1 - metrics.rank_correlation(explain_randomized(batch), maps)
        for name, value in values.items():
            figures.setdefault(name, []).append(value)
    return {name: torch.cat(values).double().numpy() for name, values in figures.items()}


def sweep(network: str, scenes: int) -> Figures:
    """The pointing game of GradCAM at every layer, by name; the automatic one stands first."""
    model = load_demo_network(network)
    layers = list_layers(model, batch_of(0).images)
    hits = {}
    for layer in dict.fromkeys(layer.name for layer in (layers.best, *layers) if layer):
        cam = GradCAM(model, layer)
        batches = map(batch_of, range(scenes // BATCH))
        try:
            values = [metrics.pointing_game(cam(batch.images, batch.classes), batch.boxes) for batch in batches]
        except ValueError:  # no gradient reaches its positions
            continue
        hits[layer] = torch.cat(values).double().numpy()
    return hits


def parts(networks: Sequence[str], methods: Sequence[str], scenes: int) -> Iterator[tuple[Row, int]]:
    """Rows of the tables and the first of each `CHUNK` scenes; what takes longest comes last."""
    for smoothing in SMOOTHINGS:
        for network in networks:
            for name in [*(BOUNDS if smoothing == "plain" else ()), *methods]:
                yield from (((network, name, smoothing), first) for first in range(0, scenes, CHUNK))


def work(row: Row, first: int) -> Figures:
    """Measure `CHUNK` scenes of a row of the tables."""
    network, name, smoothing = row
    torch.manual_seed(first)
    model = load_demo_network(network)
    if name in BOUNDS:
        return measure(model, BOUNDS[name], first, None)
    cam = METHODS[name](model)
    best = list_layers(model, batch_of(0).images).best  # taken by cam, and again after randomizing

    def explain(batch: Batch) -> Tensor:
        return cam.explain(batch.images, batch.classes, **SMOOTHINGS[smoothing]).maps

    def explain_randomized(batch: Batch) -> Tensor:
        return METHODS[name](randomized(network), best.name if best else None).explain(batch.images, batch.classes).maps

    return measure(model, explain, first, explain_randomized if smoothing == "plain" else None)


def save(path: Path, figures: Figures) -> None:
    """Write figures by name, all or none."""
    unfinished = path.with_name(f"unfinished {path.name}")
    arrays: dict[str, Any] = dict(figures)
    np.savez(unfinished, **arrays)
    unfinished.replace(path)
