"""What the methods cost, here and in grad-cam 1.5.7, side by side: `python benchmarks/methods.py [--quick]`.

Batch 1, seeded weights, two threads. The libraries have one import name, so each has a process of its own, and they
take turns. A time is in plain forward passes of the same process, just before and just after; the median over rounds,
but AblationCAM of the peer and ScoreCAM run once, for minutes. What comes after the network is timed from the end of
the last forward or backward pass to the end of the call.
"""

import argparse
import logging.handlers
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchvision
from measure import in_fresh_process, peak_memory, ratio, seconds
from torch import Tensor, nn

# pytorch_grad_cam is imported inside functions: it is the peer's where its folder stands first on the path.

THREADS = 2
SOME = 32  # channels, where all of them would take long
AT_MOST = {"GradCAM": 1.1, "GradCAMPlusPlus": 1.1, "XGradCAM": 1.1, "LayerCAM": 1.1}
EIGEN = ["EigenCAM", "EigenGradCAM"]

NETWORKS: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "resnet50": ("layer4.-1", lambda output: output),
    "vgg16": ("features", lambda output: output),
    "densenet121": ("features", lambda output: output),
    "inception_v3": ("Mixed_7c", lambda output: output),
    "mobilenet_v3_large": ("features", lambda output: output),
    "convnext_tiny": ("features", lambda output: output),
    "vit_b_16": ("encoder.layers.-1.ln_1", lambda output: output[:, 1:].movedim(-1, 1)),
    "swin_t": ("features.7.1.norm1", lambda output: output.movedim(-1, 1)),
}
"""For each network the layer, and its output as a view (B, C, *S)."""


def network(name: str) -> tuple[Any, Tensor]:
    """A network with seeded weights and an image for it."""
    torch.manual_seed(0)
    options = {"init_weights": True} if name == "inception_v3" else {}
    model = torchvision.models.get_model(name, **options).eval()
    if name == "vit_b_16":  # its head starts at zero
        nn.init.normal_(model.heads.head.weight, std=0.02)
    size = 299 if name == "inception_v3" else 224
    return model, torch.randn(1, 3, size, size)


def forward(model: Any, images: Tensor) -> Tensor:
    """The plain forward pass."""
    with torch.no_grad():
        scores: Tensor = model(images)
    return scores


def call_of(name: str, model: Any, images: Tensor) -> Callable[[], Any]:
    """The plain forward pass, or a method by the name of its class, of the library that is on the path."""
    if name == "forward":
        return lambda: forward(model, images)
    import pytorch_grad_cam

    cam = getattr(pytorch_grad_cam, name)(model, [model.layer4[-1]])
    return lambda: cam(images, None)


def answer_requests() -> None:
    """For each name on a line of the input, print how many seconds the call took, and how many after the network."""
    model, images = network("resnet50")
    stopped = 0.0

    def stamp(*_: Any) -> None:
        nonlocal stopped
        stopped = time.perf_counter()

    def stamped(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            stamp()
            return result

        return call

    model.register_forward_hook(stamp)
    for name in ("grad", "backward"):
        setattr(torch.autograd, name, stamped(getattr(torch.autograd, name)))
    for line in sys.stdin:
        call = call_of(line.strip(), model, images)
        start = time.perf_counter()
        call()
        end = time.perf_counter()
        del call  # the peer's hooks go with it
        print(end - start, end - stopped, flush=True)


class Library:
    """A process that runs the methods of one of the libraries when asked; `folder` holds the peer."""

    def __init__(self, folder: Path | None) -> None:
        self.arguments = [] if folder is None else ["--import-from", str(folder)]
        command = [sys.executable, __file__, "--answer", *self.arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> "Library":
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.communicate()  # the end of its input ends it

    def seconds(self, name: str) -> tuple[float, float]:
        """What a call took, and what of it came after the network had run, forward and back."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(name, file=self.process.stdin, flush=True)
        whole, after = map(float, self.process.stdout.readline().split())
        return whole, after

    def cost(self, name: str) -> tuple[float, float]:
        """What a call took in forward passes, and the seconds after the network had run."""
        plain = [self.seconds("forward")[0] for _ in range(3)]
        whole, after = self.seconds(name)
        plain += [self.seconds("forward")[0] for _ in range(3)]
        return whole / statistics.median(plain), after

    def memory(self, name: str) -> int:
        """Peak bytes above those of the plain forward pass."""
        peaks = [int(in_fresh_process(__file__, "--memory-of", call, *self.arguments)) for call in (name, "forward")]
        return peaks[0] - peaks[1]


def compare(peer: Library, here: Library, rounds: int, quick: bool) -> None:
    """The table of both libraries."""
    print(f"ResNet-50, layer4[-1], 224 x 224\n{'':40}{'grad-cam 1.5.7':>16}{'here':>11}{'ratio':>10}{'at most':>10}")
    costs: dict[tuple[str, Library], list[tuple[float, float]]] = {}
    for i in range(rounds + 1):
        for name in [*AT_MOST, *EIGEN]:
            for library in (peer, here) if i % 2 else (here, peer):
                costs.setdefault((name, library), []).append(library.cost(name))
    # The first round is a warm-up.
    medians = {key: [statistics.median(column) for column in zip(*of[1:], strict=True)] for key, of in costs.items()}
    for name, limit in AT_MOST.items():
        a, b = medians[name, peer][0], medians[name, here][0]
        print(f"{name + ', forward passes':40}{a:15.2f}x{b:10.3f}x{b / a:10.3f}{limit:9.2f}x")
    for name in EIGEN:
        a, b = medians[name, peer][1] * 1e3, medians[name, here][1] * 1e3
        print(f"{name + ', after the network has run':40}{a:13.0f} ms{b:8.2f} ms{f'1/{a / b:.0f}':>10}{'1/100':>10}")
    if quick:
        return
    a, b = peer.cost("AblationCAM")[0], statistics.median(here.cost("AblationCAM")[0] for _ in range(rounds))
    print(f"{'AblationCAM, forward passes':40}{a:15.0f}x{b:10.2f}x{b / a:10.4f}{10:9.2f}x", flush=True)
    a, b = peer.cost("ScoreCAM")[0], here.cost("ScoreCAM")[0]
    print(f"{'ScoreCAM, forward passes':40}{a:15.0f}x{b:10.0f}x{b / a:10.3f}{0.75:10.2f}", flush=True)
    a, b = peer.memory("ScoreCAM") / 2**20, here.memory("ScoreCAM") / 2**20
    print(f"{'ScoreCAM, memory above a forward pass':40}{a:12.0f} MiB{b:7.0f} MiB{b / a:10.3f}{0.25:10.2f}", flush=True)


def whole_passes(name: str, model: Any, images: Tensor, channels: list[int]) -> Tensor:
    """All scores of the image with each of some channels silenced by a hook, all in one pass of the whole network."""
    from pytorch_grad_cam.utils.find_layers import resolve_layers

    path, view = NETWORKS[name]

    def silence(layer: nn.Module, args: Any, output: Tensor) -> Tensor:
        output = output.clone()
        view(output)[range(len(channels)), channels] = 0
        return output

    handle = resolve_layers(model, path)[0].register_forward_hook(silence)
    try:
        return forward(model, images.repeat(len(channels), 1, 1, 1))
    finally:
        handle.remove()


def replay_row(name: str, rounds: int) -> str:
    """What AblationCAM on one network takes through replay, and what through whole forward passes."""
    from pytorch_grad_cam import AblationCAM

    model, images = network(name)
    scores = forward(model, images)[0]
    category = int(scores.argmax())
    cam = AblationCAM(model, NETWORKS[name][0])
    weights = cam.explain(images, category).weights[0].flatten()
    some = torch.linspace(0, len(weights) - 1, SOME).long().tolist()
    start = time.perf_counter()
    silenced = whole_passes(name, model, images, some)[:, category]
    whole = (time.perf_counter() - start) / SOME * len(weights)
    off = (weights[some] - (scores[category] - silenced) / scores[category].abs()).abs().max()
    times = seconds({"forward": lambda: forward(model, images), "replay": lambda: cam(images, category)}, rounds)
    speed_up = whole / statistics.median(times["replay"])
    return f"{name:20}{len(weights):10}{ratio(times['replay'], times['forward']):15.1f}x{speed_up:10.0f}x{off:20.1e}"


def compare_with_whole_passes(rounds: int) -> None:
    """The table of AblationCAM on several networks."""
    messages = logging.handlers.BufferingHandler(1000)
    logger = logging.getLogger("pytorch_grad_cam.replay")
    logger.setLevel(logging.INFO)
    logger.addHandler(messages)
    print(f"\nAblationCAM through replay, and through whole forward passes: {SOME} channels in one, scaled up to all")
    print(f"{'':20}{'channels':>10}{'forward passes':>16}{'speed-up':>11}{'weights differ by':>20}")
    for name in NETWORKS:
        print(replay_row(name, rounds), flush=True)
    print(f"fell back: {len(messages.buffer)} of {len(NETWORKS)}")


def compare_numbers_of_classes(rounds: int) -> None:
    """The table of five classes of one image against one."""
    from pytorch_grad_cam import METHODS

    model, images = network("resnet50")
    classes = forward(model, images)[0].topk(5).indices.tolist()
    print("\nFive classes of one image in one call, ResNet-50, in calls for one class")
    for name, method in METHODS.items():
        options: dict[str, Any] = {"channels": SOME} if name == "scorecam" else {}
        cam = method(model, model.layer4[-1], **options)
        calls = {"one": partial(cam, images, classes[0]), "five": partial(cam, images, [classes])}
        times = seconds(calls, rounds)
        note = "".join(f"  ({number} {what})" for what, number in options.items())
        print(f"{name:40}{ratio(times['five'], times['one']):10.2f}x{note}", flush=True)


def install(folder: Path) -> None:
    """The peer, and what it imports and an environment may lack."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target"]
    subprocess.run([*pip, str(folder / "needs"), "matplotlib", "scikit-learn"], check=True)
    subprocess.run([*pip, str(folder), "--no-deps", "grad-cam==1.5.7"], check=True)


def compare_all(folder: Path, rounds: int, quick: bool) -> None:
    """All tables."""
    if not (folder / "pytorch_grad_cam").exists():
        install(folder)
    os.environ |= {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": str(THREADS), "OPENBLAS_NUM_THREADS": str(THREADS)}
    print(f"torch {torch.__version__}, {THREADS} threads, {rounds} rounds")
    with Library(folder) as peer, Library(None) as here:
        compare(peer, here, rounds, quick)
    compare_with_whole_passes(min(rounds, 3))
    compare_numbers_of_classes(rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--quick", action="store_true", help="3 rounds, the peer without AblationCAM and ScoreCAM")
    cache = Path.home() / ".cache" / "grad-cam-1.5.7"
    parser.add_argument("--peer", type=Path, default=cache, metavar="FOLDER", help="where it is, or goes to")
    parser.add_argument("--import-from", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    if arguments.import_from:
        # What the peer needs stands last, so that both libraries use the same NumPy.
        sys.path[:] = [str(arguments.import_from), *sys.path, str(arguments.import_from / "needs")]
    if arguments.answer:
        answer_requests()
    elif arguments.memory_of:
        print(peak_memory(call_of(arguments.memory_of, *network("resnet50"))))
    else:
        compare_all(arguments.peer, 3 if arguments.quick else arguments.rounds, arguments.quick)


if __name__ == "__main__":
    main()
