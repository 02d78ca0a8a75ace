"""Train a demo network from scratch, on scenes drawn as it goes: `python -m pytorch_grad_cam.demo.train`.

First on close-ups of one object each, then on whole scenes. Whole scenes alone teach nothing for a long time: an object
covers so little of the picture that averaging over it all hides it.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from pytorch_grad_cam.demo.evaluate import measure
from pytorch_grad_cam.demo.network import NETWORKS, build_network, to_input, weights_path
from pytorch_grad_cam.demo.scenes import CLASSES, SIZE, TRAINING, Pixels, make_scene

BATCH_SIZE = 32
CLOSE_UP = 64
SEEDS_PER_RUN = 10_000_000


class SceneDataset(Dataset[tuple[Pixels, Tensor]]):
    """Scenes of some seeds: pictures (size, size, 3) uint8 and the classes present, (12,) float32 of 0 and 1."""

    def __init__(self, seeds: Sequence[int], count: int | None = None, size: int = SIZE) -> None:
        self.seeds = seeds
        self.count = count
        self.size = size

    def __len__(self) -> int:
        return len(self.seeds)

    def __getitem__(self, index: int) -> tuple[Pixels, Tensor]:
        scene = make_scene(self.seeds[index], self.count, self.size)
        present = torch.zeros(len(CLASSES))
        present[[one.label for one in scene.objects]] = 1
        return scene.image, present


def train(network: nn.Module, scenes: SceneDataset, learning_rate: float) -> None:
    """Train the network in place, once through the scenes."""
    loader = DataLoader(scenes, BATCH_SIZE, num_workers=1)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=len(loader), pct_start=0.1)
    network.train()
    start = time.monotonic()
    for step, (images, present) in enumerate(loader, 1):
        # The sum over the classes, so that the twelve answers weigh as much as one with softmax would.
        loss = nn.functional.binary_cross_entropy_with_logits(network(to_input(images)), present) * len(CLASSES)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == len(loader):
            print(f"step {step}/{len(loader)}  loss {loss.item():.4f}  {time.monotonic() - start:.0f} s", flush=True)


def save(network: nn.Module, path: Path) -> None:
    """Write the weights, whole or not at all."""
    unfinished = path.with_suffix(".tmp")
    torch.save(network.state_dict(), unfinished)
    unfinished.replace(path)


def main() -> None:
    """Run from the shell."""
    parser = argparse.ArgumentParser(description="Train a demo network from scratch.")
    parser.add_argument("--network", choices=NETWORKS, default="shufflenet")
    parser.add_argument("--close-ups", type=int, default=3000, help="steps of 32 close-ups")
    parser.add_argument("--steps", type=int, default=2200, help="steps of 32 whole scenes")
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="the file of weights to write (default: the one that is shipped)")
    arguments = parser.parse_args()

    # One thread: the worker that draws scenes is as busy, and threads that wait for each other take time from it.
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    network = build_network(arguments.network).to(memory_format=torch.channels_last)
    seeds = TRAINING[arguments.seed * SEEDS_PER_RUN :]
    close_ups = SceneDataset(seeds[: arguments.close_ups * BATCH_SIZE], count=1, size=CLOSE_UP)
    scenes = SceneDataset(seeds[: arguments.steps * BATCH_SIZE])
    for dataset in (close_ups, scenes):
        train(network, dataset, arguments.learning_rate)
    save(network.to(memory_format=torch.contiguous_format), arguments.output or weights_path(arguments.network))
    print(measure(network.eval()))


if __name__ == "__main__":
    main()
