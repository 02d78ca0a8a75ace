"""What GradCAM costs beside the plain forward pass, as ratios: `python benchmarks/overhead.py [--device cuda]`.

Time: median over alternating rounds. Memory: peak above what is in use before the call, median over fresh processes.
"""

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch
import torchvision
from measure import in_fresh_process, peak_memory, ratio, seconds

from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.reshape_transforms import vit_reshape_transform

CASES = {
    "resnet50-1": ("resnet50", "layer4.-1", None, 1),
    "resnet50-8": ("resnet50", "layer4.-1", None, 8),
    "resnet50-16": ("resnet50", "layer4.-1", None, 16),
    "vit_b_16-8": ("vit_b_16", "encoder.layers.-1.ln_1", vit_reshape_transform, 8),
}


def calls(case: str, device: str) -> dict[str, Callable[[], Any]]:
    """The plain forward pass and GradCAM on the same network and batch."""
    name, layer, transform, batch = CASES[case]
    torch.manual_seed(0)
    model = torchvision.models.get_model(name).eval().to(device)
    images = torch.randn(batch, 3, 224, 224, device=device)
    cam = GradCAM(model, layer, transform)

    def forward() -> Any:
        with torch.no_grad():
            return model(images)

    return {"forward": forward, "gradcam": lambda: cam(images)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--processes", type=int, default=3, help="fresh processes for each memory figure")
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        case, call = arguments.memory_of
        print(peak_memory(calls(case, arguments.device)[call]))
        return

    print(f"torch {torch.__version__}, {arguments.device}, {torch.get_num_threads()} threads, 224 x 224")
    print(f"{'':14}{'forward':>10}{'GradCAM':>10}{'ratio':>8}   {'forward':>10}{'GradCAM':>10}{'ratio':>8}")
    for case in CASES:
        times = seconds(calls(case, arguments.device), arguments.rounds)
        forward, gradcam = (statistics.median(times[call]) for call in ("forward", "gradcam"))
        peaks = {
            call: statistics.median(
                int(in_fresh_process(__file__, "--device", arguments.device, "--memory-of", case, call))
                for _ in range(arguments.processes)
            )
            for call in times
        }
        time_ratio, memory_ratio = ratio(times["gradcam"], times["forward"]), peaks["gradcam"] / peaks["forward"]
        print(
            f"{case:14}{forward * 1e3:7.0f} ms{gradcam * 1e3:7.0f} ms{time_ratio:8.3f}   "
            f"{peaks['forward'] / 2**20:6.0f} MiB{peaks['gradcam'] / 2**20:6.0f} MiB{memory_ratio:8.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
