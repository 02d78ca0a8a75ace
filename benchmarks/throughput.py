"""Images per second of `explain_dataset` beside a bare inference loop: `python -m benchmarks.throughput`.

GradCAM on a network of torchvision at 224 px, over scenes of the demo in memory. The ratio is the median over rounds,
with the lowest and highest.
"""

import argparse
import statistics
from typing import Any

import torch
import torchvision
from torch.utils.data import DataLoader

from benchmarks.cost.measure import seconds_of
from pytorch_grad_cam import GradCAM, explain_dataset
from pytorch_grad_cam.demo.scenes import make_scene


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--layer", default="layer4")
    parser.add_argument("--device", default="cpu")
    for name, default in {"images": 500, "batch-size": 16, "workers": 1, "rounds": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = torchvision.models.get_model(arguments.model).eval().to(arguments.device)
    cam = GradCAM(model, arguments.layer)
    scenes: Any = [
        torch.from_numpy(make_scene(seed, size=224).image).permute(2, 0, 1) / 255 for seed in range(arguments.images)
    ]
    loader = DataLoader(scenes, batch_size=arguments.batch_size, num_workers=arguments.workers)

    def infer() -> None:
        with torch.inference_mode():
            for images in loader:
                model(images.to(arguments.device)).argmax(dim=1).tolist()

    def explain() -> None:
        for _ in explain_dataset(cam, loader):
            pass

    loops = {"inference": infer, "explain_dataset": explain}
    times: dict[str, list[float]] = {name: [] for name in loops}
    for turn in range(arguments.rounds + 1):  # the first warms up
        for name in list(loops)[:: 1 if turn % 2 else -1]:
            times[name].append(seconds_of(loops[name]))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; {vars(arguments)}")
    for name, seconds in times.items():
        print(f"{name:16} {arguments.images / statistics.median(seconds[1:]):8.2f} images/s")
    ratios = sorted(a / b for a, b in zip(*(seconds[1:] for seconds in times.values()), strict=True))
    print(f"{'ratio':16} {statistics.median(ratios):8.3f}x   ({ratios[0]:.3f} to {ratios[-1]:.3f})")


if __name__ == "__main__":
    main()
