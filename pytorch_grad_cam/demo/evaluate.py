"""Measure a trained network on the held-out scenes: `python -m pytorch_grad_cam.demo.evaluate --network vit`."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from pytorch_grad_cam.cli.checkpoints import NetworkError
from pytorch_grad_cam.demo.network import NETWORKS, load_network, to_input
from pytorch_grad_cam.demo.scenes import CLASSES, HELD_OUT, make_scene


@dataclass(frozen=True)
class Figures:
    """How well a network names what is in scenes; each figure is a share in [0, 1].

    objects: of the classes present, those among the k highest scores, where k classes are present
    scenes:  of the scenes, those whose k highest scores are exactly the classes present
    labels:  of all labels, present or not, those on the right side of logit 0
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
    """The figures of a network, which must be in eval mode, on the scenes of these seeds."""
    present = torch.zeros(len(seeds), len(CLASSES), dtype=torch.bool)
    logits = torch.zeros(len(seeds), len(CLASSES))
    for start in range(0, len(seeds), batch_size):
        scenes = [make_scene(seed) for seed in seeds[start : start + batch_size]]
        for row, scene in enumerate(scenes, start):
            present[row, [one.label for one in scene.objects]] = True
        logits[start : start + batch_size] = network(to_input(np.stack([scene.image for scene in scenes])))
    count = present.sum(1, keepdim=True)
    ranks = logits.argsort(1, descending=True).argsort(1)
    found = present & (ranks < count)
    return Figures(
        objects=(found.sum() / present.sum()).item(),
        scenes=(found == present).all(1).float().mean().item(),
        labels=((logits > 0) == present).float().mean().item(),
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the shell."""
    parser = argparse.ArgumentParser(description="Measure a trained demo network on the held-out scenes.")
    parser.add_argument("--network", choices=NETWORKS, default="shufflenet")
    try:
        network = load_network(parser.parse_args(argv).network)
    except NetworkError as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    print(measure(network))


if __name__ == "__main__":
    main()
