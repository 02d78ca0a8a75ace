"""Train a demo network from scratch: `python -m tools.train_demo --network vit`.

Training begins with close-ups of one object each, then whole scenes follow. On whole scenes alone the loss stalls for a
long time: an object covers so little of the image that the average over all positions hides it.

RECIPES holds the settings of each shipped network; training takes 20 to 30 minutes on two CPU cores.
"""

import argparse
import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset
from torchvision.models import VisionTransformer

from pytorch_grad_cam.demo.evaluate import measure
from pytorch_grad_cam.demo.network import NETWORKS, build_network, to_input, weights_path
from pytorch_grad_cam.demo.scenes import CLASSES, SIZE, TRAINING, Pixels, make_scene
from pytorch_grad_cam.utils.image_files import write_whole

BATCH_SIZE = 32
SEEDS_PER_RUN = 10_000_000

Batch = tuple[Pixels, NDArray[np.float32], tuple[int, int]]


@dataclass(frozen=True)
class Phase:
    """Phase of a training.

    Attributes:
        places: positions of its seeds among the seeds of the run.
        steps: number of optimizer steps, of 32 images each.
        learning_rate: highest learning rate of the schedule.
        size: height and width of the scenes, in pixels.
        count: objects per scene; None draws 1 to 3.
        shifts: largest shift of an image that is smaller than the ViT's, in patches.
    """

    places: range
    steps: int
    learning_rate: float
    size: int = SIZE
    count: int | None = None
    shifts: int = 0


@dataclass(frozen=True)
class Recipe:
    """Training settings of a network.

    Attributes:
        close_ups: first phase, on close-ups of one object.
        scenes: second phase, on whole scenes.
        augment: repeat the scenes in random order, rotated by 90 degrees and with permuted channels.
        decay_vectors: apply weight decay to biases and normalization parameters too.
        largest_norm: norm to which the gradients are clipped.
        bfloat16: use autocast with bfloat16.
        channels_last: use the memory format channels_last.
    """

    close_ups: Phase
    scenes: Phase
    augment: bool = True
    decay_vectors: bool = False
    largest_norm: float = 1.0
    bfloat16: bool = True
    channels_last: bool = False


RECIPES = {
    # Enough seeds that no scene repeats.
    "shufflenet": Recipe(
        Phase(range(3000 * BATCH_SIZE), 3000, 4e-3, size=64, count=1),
        Phase(range(2200 * BATCH_SIZE), 2200, 4e-3),
        augment=False,
        decay_vectors=True,
        largest_norm=float("inf"),
        bfloat16=False,
        channels_last=True,
    ),
    "vit": Recipe(
        Phase(range(50_000), 5000, 2e-3, size=64, count=1, shifts=8),
        Phase(range(1_000_000, 1_040_000), 3000, 1.5e-3),
    ),
    "swin": Recipe(
        Phase(range(50_000), 5000, 2e-3, size=64, count=1),
        Phase(range(1_000_000, 1_040_000), 4000, 1.5e-3),
    ),
}


class SceneBatches(IterableDataset[Batch]):
    """Batches of a phase, drawn on the fly.

    Yields images (B, size, size, 3) uint8, labels (B, 12) float32 of 0 and 1, and a corner: the (row, column) of the
    images' upper left patch in the grid of a ViT.

    Args:
        phase: phase of the training.
        seeds: seeds of its scenes.
        augment: shuffle, rotate and recolor the scenes.
        random_seed: seed of the shuffling and the augmentation.
    """

    def __init__(self, phase: Phase, seeds: Sequence[int], augment: bool, random_seed: Sequence[int]) -> None:
        self.phase = phase
        self.seeds = seeds
        self.augment = augment
        self.random_seed = random_seed

    def __iter__(self) -> Iterator[Batch]:
        phase, count = self.phase, len(self.seeds)
        rng = np.random.default_rng(self.random_seed)
        rounds = phase.steps * BATCH_SIZE // count + 1
        order = np.concatenate([rng.permutation(count) if self.augment else np.arange(count) for _ in range(rounds)])
        for chosen in order[: phase.steps * BATCH_SIZE].reshape(-1, BATCH_SIZE):
            scenes = [make_scene(self.seeds[place], phase.count, phase.size) for place in chosen]
            images = [scene.image for scene in scenes]
            if self.augment:
                # Scenes have random angles and colors, so these are as probable as the original; mirrored ones are not.
                turns = rng.integers(4, size=BATCH_SIZE)
                images = [np.rot90(image, k)[..., rng.permutation(3)] for image, k in zip(images, turns, strict=True)]
            present = np.zeros((BATCH_SIZE, len(CLASSES)), np.float32)
            for row, scene in zip(present, scenes, strict=True):
                row[[item.label for item in scene.objects]] = 1
            corner = int(rng.integers(phase.shifts + 1)), int(rng.integers(phase.shifts + 1))
            yield np.stack(images), present, corner


def train(network: nn.Module, recipe: Recipe, batches: SceneBatches) -> None:
    """Train the network in place on all batches of a phase."""
    phase = batches.phase
    decayed = [p for p in network.parameters() if p.ndim > 1 or recipe.decay_vectors]
    not_decayed = [p for p in network.parameters() if p.ndim <= 1 and not recipe.decay_vectors]
    groups = [{"params": decayed, "weight_decay": 0.02}, {"params": not_decayed, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, phase.learning_rate)
    # OneCycleLR divides by the warm-up's steps, which would be 0 at 10 steps.
    total_steps = max(phase.steps, 11)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, phase.learning_rate, total_steps, pct_start=0.1)
    network.train()
    start, losses = time.monotonic(), []
    for step, (images, present, corner) in enumerate(DataLoader(batches, batch_size=None, num_workers=1), 1):
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
            logits = compute_logits(network, to_input(images), corner)
        # Sum over the 12 classes, for a loss of the size of one softmax cross-entropy.
        loss = F.binary_cross_entropy_with_logits(logits.float(), present) * len(CLASSES)
        losses.append(loss.item())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), recipe.largest_norm)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == phase.steps:
            mean, seconds = np.mean(losses[-100:]), time.monotonic() - start
            print(f"step {step}/{phase.steps}  loss {mean:.4f}  {seconds:.0f} s", flush=True)


def compute_logits(network: nn.Module, inputs: Tensor, corner: tuple[int, int]) -> Tensor:
    """Compute logits; treat images smaller than a ViT's as part of an image, at `corner` of its patch grid.

    Close-ups so train every position embedding, and none has to be interpolated later.

    Args:
        network: network to train.
        inputs: (B, 3, H, W) float32, normalized.
        corner: (row, column) of the upper left corner, in patches; used by a ViT only.

    Returns:
        (B, 12) logits
    """
    if not isinstance(network, VisionTransformer):
        return network(inputs)  # type: ignore[no-any-return]
    tokens = network.conv_proj(inputs)
    (top, left), (height, width) = corner, tokens.shape[-2:]
    side = network.image_size // network.patch_size
    embeddings = network.encoder.pos_embedding
    window = embeddings[:, 1:].unflatten(1, (side, side))[:, top : top + height, left : left + width].flatten(1, 2)
    tokens = torch.cat([network.class_token.expand(len(inputs), -1, -1), tokens.flatten(2).mT], 1)
    tokens = tokens + torch.cat([embeddings[:, :1], window], 1)
    return network.heads(network.encoder.ln(network.encoder.layers(tokens))[:, 0])  # type: ignore[no-any-return]


def train_from_scratch(name: str, close_ups: int | None = None, steps: int | None = None, seed: int = 0) -> nn.Module:
    """Train a network from random weights.

    Args:
        name: one of NETWORKS.
        close_ups: steps of 32 close-ups; None uses the recipe.
        steps: steps of 32 whole scenes; None uses the recipe.
        seed: seed of the initial weights, the scenes and the augmentation.

    Returns:
        the network in eval mode
    """
    recipe = RECIPES[name]
    torch.manual_seed(seed)
    network = build_network(name)
    if recipe.channels_last:
        network = network.to(memory_format=torch.channels_last)
    run_seeds = TRAINING[seed * SEEDS_PER_RUN :]
    for number, (phase, wanted) in enumerate(((recipe.close_ups, close_ups), (recipe.scenes, steps))):
        seeds = run_seeds[phase.places.start : phase.places.stop]
        phase = replace(phase, steps=phase.steps if wanted is None else wanted)
        train(network, recipe, SceneBatches(phase, seeds, recipe.augment, (seed, number)))
    return network.to(memory_format=torch.contiguous_format).eval()


def _check_output(path: Path) -> None:
    """Raise OSError if the file cannot be written, before the training."""
    folder = path.absolute().parent
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {str(path)!r}: it is a folder, expected a file")
    if not folder.is_dir():
        raise FileNotFoundError(f"cannot write {str(path)!r}: there is no folder {str(folder)!r}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"cannot write {str(path)!r}: no permission to write in {str(folder)!r}")


def _whole_number(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} given, expected a whole number from {low} to {high}")
        return int(text)

    return parse


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: train, write the weights, print the figures."""
    parser = argparse.ArgumentParser(description="Train a demo network from scratch.")
    steps, seeds = _whole_number(1, 1_000_000), _whole_number(0, len(TRAINING) // SEEDS_PER_RUN - 1)
    parser.add_argument("--network", choices=NETWORKS, default="shufflenet")
    parser.add_argument("--close-ups", metavar="N", type=steps, help="steps of 32 close-ups (default: as shipped)")
    parser.add_argument("--steps", metavar="N", type=steps, help="steps of 32 whole scenes (default: as shipped)")
    parser.add_argument("--seed", metavar="N", type=seeds, default=0)
    parser.add_argument("--output", metavar="FILE", type=Path, help="weights file to write (default: the shipped file)")
    arguments = parser.parse_args(argv)
    output = arguments.output or weights_path(arguments.network)

    # One thread: the DataLoader worker that draws scenes keeps the other core busy.
    torch.set_num_threads(1)
    try:
        _check_output(output)
        network = train_from_scratch(arguments.network, arguments.close_ups, arguments.steps, arguments.seed)
        buffer = io.BytesIO()
        torch.save(network.state_dict(), buffer)
        write_whole({output: buffer.getvalue()})
        print(measure(network))
    except OSError as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
