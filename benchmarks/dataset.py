"""Images per second of `explain_dataset` beside a bare inference loop: `python -m benchmarks.dataset`.

GradCAM on ResNet-50 at 224 px, both over the same loader: JPEG files of 256 px that the demo generator writes, read by
the workers of a DataLoader. Speed: the median over rounds of the ratio within a round, and the lowest and highest.
Memory: how far the peak of a fresh process rises above what is in use after the first batch, over few and over many
pictures.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.measure import in_fresh_process, peak_memory
from pytorch_grad_cam import GradCAM, explain_dataset
from pytorch_grad_cam.cli.networks import Preset
from pytorch_grad_cam.demo.scenes import make_scene

PRESET = Preset(256, (224, 224), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Pictures(Dataset[Tensor]):
    """The JPEG files of a folder, as many as are asked for; those that there are come again and again."""

    def __init__(self, folder: Path, count: int) -> None:
        self.files = list(itertools.islice(itertools.cycle(sorted(folder.glob("*.jpg"))), count))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        with Image.open(self.files[index]) as picture:
            return PRESET.to_input(picture.convert("RGB"))[0]


def write_pictures(folder: Path, count: int) -> None:
    for seed in range(count):
        Image.fromarray(make_scene(seed, size=256).image).save(folder / f"{seed:05}.jpg", quality=90)


def loader_over(folder: Path, arguments: argparse.Namespace, count: int) -> DataLoader[Any]:
    return DataLoader(Pictures(folder, count), batch_size=arguments.batch_size, num_workers=arguments.workers)


def network(arguments: argparse.Namespace) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = torchvision.models.get_model(arguments.model).eval().to(arguments.device)
    return model


def bare(model: nn.Module, loader: DataLoader[Any], device: str) -> Iterator[int]:
    """The class of each image, one by one."""
    with torch.inference_mode():
        for images in loader:
            yield from model(images.to(device)).argmax(dim=1).tolist()


def seconds(results: Iterator[Any]) -> float:
    start = time.perf_counter()
    for _ in results:
        pass
    return time.perf_counter() - start


def memory_of(folder: Path, count: int, arguments: argparse.Namespace) -> int:
    cam = GradCAM(network(arguments), "layer4")
    for _ in explain_dataset(cam, loader_over(folder, arguments, arguments.batch_size)):
        pass
    return peak_memory(lambda: seconds(explain_dataset(cam, loader_over(folder, arguments, count))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        folder, count = arguments.memory_of
        print(memory_of(Path(folder), int(count), arguments))
        return

    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder), arguments.pictures)
        model, loader = network(arguments), loader_over(Path(folder), arguments, arguments.pictures)
        cam = GradCAM(model, "layer4")
        first = loader_over(Path(folder), arguments, 2 * arguments.batch_size)
        for results in (bare(model, first, arguments.device), explain_dataset(cam, first)):  # a warm-up
            seconds(results)
        times: dict[str, list[float]] = {"inference": [], "explain_dataset": []}
        for turn in range(arguments.rounds):
            for name in list(times)[:: 1 if turn % 2 else -1]:
                plain = bare(model, loader, arguments.device)
                times[name].append(seconds(plain if name == "inference" else explain_dataset(cam, loader)))
        print(
            f"{arguments.model}, torch {torch.__version__}, {arguments.device}, {torch.get_num_threads()} threads, "
            f"{arguments.workers} workers, {arguments.pictures} pictures, batch {arguments.batch_size}"
        )
        for name, of in times.items():
            print(f"{name:16} {arguments.pictures / statistics.median(of):8.2f} images/s")
        ratios = sorted(a / b for a, b in zip(times["inference"], times["explain_dataset"], strict=True))
        print(f"{'ratio':16} {statistics.median(ratios):8.3f}x   ({ratios[0]:.3f} to {ratios[-1]:.3f})")
        options = ["--model", arguments.model, "--device", arguments.device, "--workers", str(arguments.workers)]
        options += ["--batch-size", str(arguments.batch_size)]
        for count in (arguments.pictures, 4 * arguments.pictures):
            peak = int(in_fresh_process("benchmarks.dataset", *options, "--memory-of", folder, str(count)))
            print(f"{'memory':16} {peak / 2**20:8.1f} MiB over {count} pictures")


if __name__ == "__main__":
    main()
