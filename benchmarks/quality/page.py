"""The page of the figures measured so far, its plot, and the scores in the README's table of methods."""

import platform
from pathlib import Path

import numpy as np
import torch

from benchmarks.quality.run import PERCENTAGES, STEPS
from benchmarks.quality.statistics import METRICS, cell, figures_of, measured
from pytorch_grad_cam import METHODS, __version__
from pytorch_grad_cam.demo.network import NETWORKS

TITLES = {"shufflenet": "CNN (ShuffleNet, 8 x 8)", "vit": "ViT (16 x 16)", "swin": "Swin (8 x 8)"}
PAGE = """\
# How good the maps are

Written by `python -m benchmarks.quality`, {by}.

Held-out scenes of the demo world (`pytorch_grad_cam.demo`) hold two objects each; both are explained, each by its own
class, at the layer that is taken where none is given. Figures are percentages, means over scenes with 95 % intervals
(bootstrap over scenes). *Random map* and *center map* are the floor; the *true mask* is the ceiling of what is measured
against it, not of how the network answers to removed pixels.

- **peak in box, on mask**: pointing game without tolerance. **energy**: the map's share on the mask. **IoU**: of the
  mask, or the box, that the map gives at half its peak, with the true one.
- **deletion** (less is better), **insertion**, **ROAD**: how the network's confidence follows the map, in {settings}.
- **randomization**: 1 - rank correlation with the map after the last layers with parameters were randomized; 0 is a map
  that does not depend on them. Not of smoothed maps, which read the same weights.
- **ms / image**: for both classes, the median over batches; [benchmarks.md](benchmarks.md) has the speed.

{sections}

## The layer that is taken where none is given

GradCAM at every layer that keeps positions, sorted by how often the peak is in the box.

{sweeps}
"""


def write_page(results: Path, path: Path) -> None:
    """Write all figures measured so far."""
    networks = [network for network in NETWORKS if any(measured(results, network))]
    swept = [network for network in NETWORKS if (results / f"{network} sweep.npz").exists()]
    text = PAGE.format(
        by=f"version {__version__}, torch {torch.__version__.split('+')[0]}, {platform.machine()}, "
        f"{torch.get_num_threads()} thread(s)",
        settings=f"{STEPS} steps and at {', '.join(map(str, PERCENTAGES))} % of the pixels",
        sections="\n\n".join(f"## {TITLES[network]}\n\n{table(results, network)}" for network in networks),
        sweeps="\n\n".join(f"{TITLES[network]}:\n\n{sweep_table(results, network)}" for network in swept),
    )
    path.write_text(text, "utf-8")


def table(results: Path, network: str) -> str:
    """The figures of a network."""
    lines = [f"| method | smoothing | scenes | {' | '.join(METRICS.values())} |", "|---" * (3 + len(METRICS)) + "|"]
    for name, smoothing, figures in measured(results, network):
        method = METHODS[name].__name__ if name in METHODS else f"*{name}*"
        row = [method, smoothing if name in METHODS else "", str(len(figures["box"]))]
        lines.append(f"| {' | '.join([*row, *(cell(metric, figures) for metric in METRICS)])} |")
    return "\n".join(lines)


def sweep_table(results: Path, network: str) -> str:
    """The layers at which GradCAM's peak is in the box most often, and the one that is taken where none is given."""
    hits = dict(np.load(results / f"{network} sweep.npz"))
    automatic = next(iter(hits))
    ranked = sorted(hits, key=lambda layer: -hits[layer].mean())
    lines = [f"| layer of {len(hits)} | rank | peak in box |", "|---|---|---|"]
    for layer in dict.fromkeys([*ranked[:5], automatic]):
        note = " (taken where none is given)" if layer == automatic else ""
        lines.append(f"| `{layer}`{note} | {ranked.index(layer) + 1} | {cell('box', {'box': hits[layer]})} |")
    return "\n".join(lines)


def write_readme(results: Path, path: Path) -> None:
    """Put the pointing game of each plain method into the last columns of the README's table of methods."""
    lines = path.read_text("utf-8").splitlines()
    for name, method in METHODS.items():
        rows = [figures_of(results, (network, name, "plain")) for network in NETWORKS]
        scores = [f"{100 * figures['box'].mean():.0f} %" if figures else "" for figures in rows]
        for number, line in enumerate(lines):
            if line.startswith(f"| `{method.__name__}` |"):
                lines[number] = f"| {' | '.join([*line.strip('| ').split(' | ')[: -len(scores)], *scores])} |"
    path.write_text("\n".join(lines) + "\n", "utf-8")
