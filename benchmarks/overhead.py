"""What GradCAM costs beside the plain forward pass, as ratios: `python benchmarks/overhead.py [--device cuda]`.

The floor is what no implementation can do without: the forward pass without gradients up to the layer, then the rest of
the network forward and back to it, written out by hand for each network.
Time: median over alternating rounds. Memory: peak above what is in use before the call, median over fresh processes.
"""

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch
import torchvision
from measure import in_fresh_process, peak_memory, ratio, seconds
from torch import Tensor, nn

from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.reshape_transforms import vit_reshape_transform


def resnet_floor(model: Any, images: Tensor) -> Tensor:
    """The gradient of the best scores at `layer4[-1]`."""
    with torch.no_grad():
        x = nn.Sequential(*list(model.children())[:-2])(images)
    x.requires_grad_()
    return best_gradient(model.fc(model.avgpool(x).flatten(1)), x)


def vit_floor(model: Any, images: Tensor) -> Tensor:
    """The gradient of the best scores at `ln_1` of the last block."""
    *blocks, last = model.encoder.layers
    with torch.no_grad():
        tokens = torch.cat([model.class_token.expand(len(images), -1, -1), model._process_input(images)], dim=1)
        tokens = nn.Sequential(*blocks)(tokens + model.encoder.pos_embedding)
        x = last.ln_1(tokens)
    x.requires_grad_()
    attended = last.self_attention(x, x, x, need_weights=False)[0] + tokens
    return best_gradient(model.heads(model.encoder.ln(attended + last.mlp(last.ln_2(attended)))[:, 0]), x)


def best_gradient(scores: Tensor, x: Tensor) -> Tensor:
    """The gradient of the best score of each image."""
    return torch.autograd.grad(scores.max(dim=1).values.sum(), x)[0]


RESNET = ("resnet50", "layer4.-1", None, resnet_floor)
VIT = ("vit_b_16", "encoder.layers.-1.ln_1", vit_reshape_transform, vit_floor)
CASES = {"resnet50-1": (RESNET, 1), "resnet50-8": (RESNET, 8), "resnet50-16": (RESNET, 16), "vit_b_16-8": (VIT, 8)}


def calls(case: str, device: str) -> dict[str, Callable[[], Any]]:
    """The plain forward pass, the floor and GradCAM on the same network and batch."""
    (name, layer, transform, floor), batch = CASES[case]
    torch.manual_seed(0)
    model = torchvision.models.get_model(name).eval().to(device)
    images = torch.randn(batch, 3, 224, 224, device=device)
    cam = GradCAM(model, layer, transform)

    def forward() -> Any:
        with torch.no_grad():
            return model(images)

    return {"forward": forward, "floor": lambda: floor(model, images), "gradcam": lambda: cam(images)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--processes", type=int, default=3, help="fresh processes for each memory figure")
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        case, call = arguments.memory_of
        print(peak_memory(calls(case, arguments.device)[call]))
        return

    print(
        f"torch {torch.__version__}, {arguments.device}, {torch.get_num_threads()} threads, 224 x 224, batch behind -"
    )
    print(f"{'':14}{'time: forward':>16}{'floor':>9}{'GradCAM':>9}{'memory: forward':>20}{'floor':>9}{'GradCAM':>9}")
    for case in CASES:
        times = seconds(calls(case, arguments.device), arguments.rounds)
        peaks = {
            call: statistics.median(
                int(in_fresh_process(__file__, "--device", arguments.device, "--memory-of", case, call))
                for _ in range(arguments.processes)
            )
            for call in times
        }
        print(
            f"{case:14}{statistics.median(times['forward']) * 1e3:13.0f} ms"
            f"{ratio(times['floor'], times['forward']):8.3f}x{ratio(times['gradcam'], times['forward']):8.3f}x"
            f"{peaks['forward'] / 2**20:16.0f} MiB"
            f"{peaks['floor'] / peaks['forward']:8.3f}x{peaks['gradcam'] / peaks['forward']:8.3f}x",
            flush=True,
        )


if __name__ == "__main__":
    main()
