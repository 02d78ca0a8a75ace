"""Measure a trained network on the held-out scenes: `python -m pytorch_grad_cam.demo.evaluate --network vit`."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from pytorch_grad_cam.demo.network import NETWORKS, load_demo_network, to_input
from pytorch_grad_cam.demo.scenes import CLASSES, HELD_OUT, make_scene


@dataclass(frozen=True)
class Figures:
    """Accuracy of a network on scenes; each figure is a share in [0, 1].

    With k classes present in a scene, its prediction is the k highest scores.

    Attributes:
        objects: share of the present classes that are predicted.
        scenes: share of the scenes whose prediction is exactly the present classes.
        labels: share of all labels, present or not, with the correct sign of the logit.
    """

    objects: float
    scenes: float
    labels: float

    def __str__(self) -> str:
        return (
            f"classes present among the k highest scores: {self.objects:.2%}\n"
            f"scenes whose whole set is right:            {self.scenes:.2%}\n"
            f"labels right at logit 0:                    {self.labels:.2%}"
        )


@torch.no_grad()
def measure(network: nn.Module, seeds: Sequence[int] = HELD_OUT, batch_size: int = 100) -> Figures:
    """Measure the accuracy of a network on scenes.

    Args:
        network: (B, 3, 128, 128) float32, normalized -> (B, 12) logits; in eval mode.
        seeds: seeds of the scenes.
        batch_size: scenes per forward pass.
    """
    present = torch.zeros(len(seeds), len(CLASSES), dtype=torch.bool)
    logits = torch.zeros(len(seeds), len(CLASSES))
    for start in range(0, len(seeds), batch_size):
        scenes = [make_scene(seed) for seed in seeds[start : start + batch_size]]
        for row, scene in enumerate(scenes, start):
            present[row, [item.label for item in scene.objects]] = True
        logits[start : start + batch_size] = network(to_input(np.stack([scene.image for scene in scenes])))
    count = present.sum(1, keepdim=True)
    ranks = logits.argsort(1, descending=True).argsort(1)
    predicted = present & (ranks < count)
    return Figures(
        objects=(predicted.sum() / present.sum()).item(),
        scenes=(predicted == present).all(1).float().mean().item(),
        labels=((logits > 0) == present).float().mean().item(),
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: print the figures of a network."""
    parser = argparse.ArgumentParser(description="Measure a trained demo network on the held-out scenes.")
    parser.add_argument("--network", choices=NETWORKS, default="shufflenet")
    try:
        network = load_demo_network(parser.parse_args(argv).network)
    except (FileNotFoundError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    print(measure(network))


if __name__ == "__main__":
    main()
