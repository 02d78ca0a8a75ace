"""The command line, `grad-cam` or `python cam.py`: which pixels made a network name a picture."""

import argparse
import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytorch_grad_cam import (
    METHODS,
    BaseCAM,
    BlankMapWarning,
    Explanation,
    GuidedBackpropReLUModel,
    __version__,
    list_layers,
)
from pytorch_grad_cam.networks import DownloadError, Network, load_network
from pytorch_grad_cam.overlays import file_stems, overlay
from pytorch_grad_cam.utils.find_layers import layer_name
from pytorch_grad_cam.utils.image import deprocess_image
from pytorch_grad_cam.utils.pictures import PictureError, encode_jpeg, open_picture, write_whole
from pytorch_grad_cam.weights import NetworkError

if TYPE_CHECKING:
    from PIL.Image import Image

    from pytorch_grad_cam.folder.ranks import Ranks

BATCH = 16  # pictures of a folder at once
SHOWN = 5  # failed pictures; the others are in the table

EXAMPLES = """\
examples:
  %(prog)s
      the bundled network explains the bundled scene; nothing is downloaded

  %(prog)s --image-path dog.jpg --category "golden retriever" --whole-picture
      why ResNet-50 sees a golden retriever, laid over all of the photograph

  %(prog)s --image-path a.png --model resnet18 --weights my.pt --method LayerCAM
      torchvision's ResNet-18 with your own weights, and another method

Three pictures are written for a class:
  METHOD_cam.jpg     the map, laid over the picture as a heat map
  METHOD_gb.jpg      guided backpropagation: the pixels that speak for the class
  METHOD_cam_gb.jpg  the product of the two
Of several classes, each has its name after METHOD. Of a folder or a glob, each
picture gets the map laid over it, NAME.METHOD.jpg under the same relative path,
and a row in results.csv and results.jsonl; the exit code is 1 if one failed.
Several processes share the work: torchrun --nproc-per-node 2 cam.py ...
Underscores will do for the dashes within options: --image_path.
"""


class UsageError(ValueError):
    """Something that was asked for and cannot be done; the message is for the user."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, without the usage."""
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}\n")


def make_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = _Parser(
        prog="cam.py" if Path(sys.argv[0]).name == "cam.py" else "grad-cam",
        description="Show which pixels made a vision network decide: Class Activation Maps.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"grad-cam {__version__}")

    what = parser.add_argument_group("what to explain")
    what.add_argument(
        "--image-path",
        metavar="PATH",
        nargs="+",
        help="a picture of any kind (default: the bundled scene); or folders, globs such as 'photos/**/*.jpg' in "
        "quotes, and several pictures, for a table of all of them",
    )
    what.add_argument(
        "--category",
        metavar="CLASS",
        nargs="+",
        action="extend",
        help="class, by index or name; several give one set of files each (default: the best one)",
    )

    network = parser.add_argument_group("the network")
    network.add_argument(
        "--model",
        metavar="NAME",
        help="demo (the bundled one), a classifier of torchvision such as resnet18, or timm/NAME "
        "(default: demo for the bundled scene, resnet50 for a picture)",
    )
    network.add_argument(
        "--weights",
        metavar="FILE",
        help="a state dict of the model, of any number of classes; or 'random' (default: the pretrained weights)",
    )
    network.add_argument(
        "--device",
        metavar="DEVICE",
        help="cpu, cuda, cuda:1 or mps (default: cpu; under torchrun one GPU each, where there are GPUs)",
    )
    network.add_argument("--use-cuda", action="store_const", dest="device", const="cuda", help="same as --device cuda")

    how = parser.add_argument_group("how to explain it")
    methods = how.add_mutually_exclusive_group()
    methods.add_argument("--method", metavar="METHOD", type=_method, help=f"{', '.join(METHODS)} (default: gradcam)")
    methods.add_argument(
        "--methods",
        metavar="METHOD,...",
        type=_methods,
        help="several of them, for a table; those that weight by gradients share one forward pass",
    )
    how.add_argument(
        "--target-layer",
        metavar="LAYER",
        nargs="+",
        action="extend",
        help="dotted name such as layer4.-1; the maps of several are averaged (default: the last with positions)",
    )
    how.add_argument(
        "--list-layers",
        action="store_true",
        help="print the layers that a map can be made at, and the one that would be taken; write nothing",
    )
    how.add_argument("--aug-smooth", action="store_true", help="average over six flipped, brighter and darker copies")
    how.add_argument("--eigen-smooth", action="store_true", help="keep the first principal component only: less noise")
    how.add_argument(
        "--batch-size",
        metavar="N",
        type=_positive,
        help=f"pictures of a folder at once (default: {BATCH}), and copies of a picture, for methods that need many "
        "(default: chosen for you)",
    )

    output = parser.add_argument_group("what to write")
    output.add_argument("--output-dir", metavar="DIR", type=Path, default=Path("output"), help="default: output")
    output.add_argument(
        "--whole-picture",
        action="store_true",
        help="lay the map over all of the original picture, not over the part that the network saw",
    )

    many = parser.add_argument_group("many pictures")
    many.add_argument("--resume", action="store_true", help="keep what an earlier run has completed, do the rest")
    many.add_argument("--save-maps", action="store_true", help="write the maps themselves, too, as .npz")
    many.add_argument("--report", action="store_true", help="write report.html, a page to look at, of all the results")
    many.add_argument(
        "--workers",
        metavar="N",
        type=_count,
        help="processes that read pictures; 0 is none beside the main one (default: by the number of CPUs)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Explain a picture, write the result and say so.

    Args:
        argv: the arguments; None takes those of the process.

    Returns:
        0, or 1 if some of many pictures could not be explained, or 130 if it was interrupted

    Raises:
        SystemExit: with code 2, after one line on standard error, if what was asked for cannot be done.
    """
    parser = make_parser()
    options = parser.parse_args([_with_dashes(argument) for argument in (sys.argv[1:] if argv is None else argv)])
    # No default of the parser, which would not see that both were given.
    options.method = options.method or "gradcam"
    code = 0
    try:
        if _means_a_table(options):
            report, code = run_many(options, parser.prog)
        else:
            report = run(options, parser.prog)
    except (UsageError, PictureError, NetworkError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        return 130
    if report:
        # A file name, or a console, may have letters that the other has not.
        encoding = sys.stdout.encoding or "utf-8"
        print(report.encode(encoding, "backslashreplace").decode(encoding))
    return code


def run(options: argparse.Namespace, prog: str) -> str:
    """Do what the options ask for; the lines that say what was done.

    Raises:
        UsageError, PictureError, NetworkError: if it cannot be done; then nothing has been written.
    """
    if not options.list_layers:
        _check_writable(options.output_dir)
    device = _device(options.device)
    path = _one_picture(options)
    picture = _picture(path)
    network = _network(options, prog)
    asked = list(dict.fromkeys(network.class_index(text) for text in options.category or ()))
    inputs = network.preset.to_input(picture)
    if options.list_layers:
        with _errors_for_the_user():
            return str(list_layers(network.model.to(device), inputs, [asked] if asked else None))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", BlankMapWarning)
        cam, explanation, guided = _explain(network, device, inputs, asked, options)
    for warning in caught:
        print(f"{prog}: warning: {' '.join(str(warning.message).split())}", file=sys.stderr)
    classes, scores = _classes(explanation), explanation.scores[0].tolist()
    maps = explanation.maps[0].float().cpu()
    files = {}
    pixels = np.array(picture) if options.whole_picture else None
    for stem, heat, gradients in zip(file_stems(options.method, network, classes), maps, guided, strict=True):
        files[f"{stem}_cam.jpg"] = encode_jpeg(overlay(heat, inputs, network.preset, pixels))
        files[f"{stem}_gb.jpg"] = encode_jpeg(deprocess_image(gradients))
        files[f"{stem}_cam_gb.jpg"] = encode_jpeg(deprocess_image(heat.numpy()[..., None] * gradients))
    written = _write(options.output_dir, files)

    layers = ", ".join(layer_name(network.model, layer) for layer in cam.target_layers or ())
    names = [network.classes[index] for index in classes]
    labels = [name if name == f"class {i}" else f"{name} ({i})" for name, i in zip(names, classes, strict=True)]
    lines = [
        ("picture", path or "the bundled scene, examples/both.png"),
        ("network", _network_line(network, options)),
        ("method", f"{type(cam).__name__} at layer {layers}"),
        *(("class", f"{label}, score {score:.4g}") for label, score in zip(labels, scores, strict=True)),
        *(("wrote", str(path)) for path in written),
    ]
    return "\n".join(f"{name:8} {value}" for name, value in lines)


def _means_a_table(options: argparse.Namespace) -> bool:
    """Whether many pictures are asked for, or what there is for many only."""
    from pytorch_grad_cam.folder.find import means_several

    if options.list_layers:
        return False
    asked = [name for name in ("methods", "resume", "save_maps", "report") if getattr(options, name)]
    if options.image_path is None and asked:
        raise UsageError(f"--{asked[0].replace('_', '-')} needs --image-path: a folder, a glob or pictures")
    return bool(asked) or (options.image_path is not None and means_several(options.image_path))


def run_many(options: argparse.Namespace, prog: str) -> tuple[str, int]:
    """Explain many pictures, in one or several processes; what was done, said by the first, and the exit code.

    Raises:
        UsageError, PictureError, NetworkError: if it cannot be done.
    """
    from pytorch_grad_cam.folder.find import find_pictures
    from pytorch_grad_cam.folder.ranks import Ranks
    from pytorch_grad_cam.folder.run import Job, explain_folder

    with Ranks() as ranks:
        _check_writable(options.output_dir)
        device = _device_of_rank(options.device, ranks)
        root, paths = ranks.from_first(lambda: find_pictures(options.image_path, options.output_dir))
        network = _network(options, prog)
        job = Job(
            root=root,
            paths=paths,
            output_dir=options.output_dir,
            network=network,
            weights=options.weights,
            device=device,
            methods=options.methods or [options.method],
            layers=options.target_layer,
            classes=list(dict.fromkeys(network.class_index(text) for text in options.category or ())),
            aug_smooth=options.aug_smooth,
            eigen_smooth=options.eigen_smooth,
            whole_picture=options.whole_picture,
            save_maps=options.save_maps,
            batch_size=options.batch_size or BATCH,
            copies=options.batch_size,
            workers=_workers(ranks.local_count) if options.workers is None else options.workers,
            resume=options.resume,
        )
        try:
            with _errors_for_the_user():
                rows = explain_folder(job, ranks)
        except OSError as error:
            raise UsageError(f"cannot write to {str(job.output_dir)!r}: {error.strerror or error}") from error
        except KeyboardInterrupt:
            print(f"{prog}: interrupted; what is done is in {str(job.output_dir)!r}, --resume goes on", file=sys.stderr)
            raise
    if ranks.rank > 0:
        # The first alone says that some failed: torchrun ends all where one does, and the first has a report to write.
        return "", 0
    code = int(any(row["error"] for row in rows))
    written = [job.output_dir / "results.csv", job.output_dir / "results.jsonl"]
    if options.report:
        from pytorch_grad_cam.report import write_report

        written.append(write_report(job.output_dir, root))
    failed = {row["path"]: row["error"] for row in rows if row["error"]}
    methods = dict.fromkeys((row["method"], row["layer"]) for row in rows if row["method"])
    lines = [
        ("pictures", f"{len(paths)} in {root}: {len(paths) - len(failed)} explained, {len(failed)} failed"),
        ("network", _network_line(network, options)),
        *(("method", f"{METHODS[name].__name__} at layer {layer}") for name, layer in methods if name),
        *(("failed", f"{path}: {error}") for path, error in list(failed.items())[:SHOWN]),
        *[("failed", f"{len(failed) - SHOWN} more: see the table")][: len(failed) > SHOWN],
        *(("wrote", str(path)) for path in written),
    ]
    return "\n".join(f"{name:8} {value}" for name, value in lines), code


def _network_line(network: Network, options: argparse.Namespace) -> str:
    weights = {None: "", "random": ", random weights"}.get(options.weights, f", weights of {options.weights}")
    return network.name + weights


def _explain(
    network: Network, device: torch.device, inputs: Tensor, classes: list[int], options: argparse.Namespace
) -> tuple[BaseCAM, Explanation, list[NDArray[np.float32]]]:
    """The maps of the classes, or of the best one, and the guided gradients (H, W, 3) of each."""
    with _errors_for_the_user():
        network.model.to(device)
        cam = METHODS[options.method](network.model, options.target_layer, batch_size=options.batch_size)
        explanation = cam.explain(inputs, [classes] if classes else None, options.aug_smooth, options.eigen_smooth)
        backpropagation = GuidedBackpropReLUModel(network.model)
        guided = [backpropagation(inputs, category) for category in _classes(explanation)]
    if not (all(m.isfinite().all() for m in explanation.layer_maps) and np.isfinite(guided).all()):
        raise UsageError(f"the maps or gradients of {network.name} are not finite: check its weights")
    return cam, explanation, guided


def _classes(explanation: Explanation) -> list[int]:
    classes = explanation.targets.classes
    assert classes is not None, "this command line explains classes only"
    return classes[0]


@contextmanager
def _errors_for_the_user() -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        raise UsageError(f"{error}{_origin(error)}") from error


def _origin(error: Exception) -> str:
    """Where an error comes from that is not this library's own: it may be a bug and not the user's doing."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    if Path(__file__).parent in Path(frame.filename).parents:
        return ""
    return f" ({type(error).__name__} in {frame.filename}, line {frame.lineno})"


def _check_writable(directory: Path) -> None:
    """Find out before the work is done; the folder itself is made after it."""
    existing = next(path for path in (directory, *directory.absolute().parents) if os.path.lexists(path))
    if not existing.is_dir():
        raise UsageError(f"cannot write to {str(directory)!r}: {str(existing)!r} is no folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write to {str(directory)!r}: no permission to write in {str(existing)!r}")


def _write(directory: Path, files: dict[str, bytes]) -> list[Path]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_whole({directory / name: data for name, data in files.items()})
    except OSError as error:
        raise UsageError(f"cannot write to {str(directory)!r}: {error.strerror}") from error
    return [directory / name for name in files]


def _one_picture(options: argparse.Namespace) -> str | None:
    """The path of the picture; of many, whose layers alone are asked for, that of the first."""
    from pytorch_grad_cam.folder.find import find_pictures, means_several

    if options.image_path is None or not means_several(options.image_path):
        return options.image_path and str(options.image_path[0])
    root, paths = find_pictures(options.image_path, options.output_dir)
    return str(root / paths[0])


def _picture(path: str | None) -> "Image":
    if path is not None:
        return open_picture(path)
    from PIL import Image

    from pytorch_grad_cam.demo.scenes import both

    return Image.fromarray(both().image)


def _network(options: argparse.Namespace, prog: str) -> Network:
    try:
        default = "demo" if options.image_path is None else "resnet50"
        return load_network(default if options.model is None else options.model, options.weights)
    except DownloadError as error:
        if options.model is not None:
            raise
        advice = "to choose the network: --model NAME, --weights FILE or --weights random"
        warning = f"{prog}: warning: {error}; using the bundled network of pictograms instead; {advice}"
        print(" ".join(warning.split()), file=sys.stderr)
        return load_network("demo")


def _device(text: str | None) -> torch.device:
    try:
        device = torch.device("cpu" if text is None else text)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"no device {text!r}, expected cpu, cuda, cuda:1 or mps")
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[device.type]
    if (device.index or 0) >= count:
        raise UsageError(f"device {text!r} is not available: PyTorch finds {count} of {device.type}")
    return device


def _device_of_rank(text: str | None, ranks: "Ranks") -> torch.device:
    """The device of this process: one GPU each, where there are GPUs or they are asked for."""
    if ranks.launched and (text == "cuda" or (text is None and torch.cuda.is_available())):
        text = f"cuda:{ranks.local_rank % max(torch.cuda.device_count(), 1)}"
    return _device(text)


def _workers(processes: int) -> int:
    """How many workers each of the processes on this machine has."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(cpus // processes, 1), 8)


def _methods(text: str) -> list[str]:
    return list(dict.fromkeys(_method(name.strip()) for name in text.split(",")))


def _method(text: str) -> str:
    wanted = text.lower()
    for name, method in METHODS.items():
        if wanted in (name.lower(), method.__name__.lower()):
            return name
    raise argparse.ArgumentTypeError(f"no method {text!r}, expected one of {', '.join(METHODS)}")


def _positive(text: str) -> int:
    if re.fullmatch(r"\d+", text) and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no positive number")


def _count(text: str) -> int:
    if re.fullmatch(r"\d+", text):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number of at least 0")


def _with_dashes(argument: str) -> str:
    """The one spelling of an option that the parser knows."""
    if not argument.startswith("--"):
        return argument
    option, equals, value = argument.partition("=")
    return option.replace("_", "-") + equals + value
