"""Options of the command line."""

import argparse
import re
import sys
from pathlib import Path
from typing import NoReturn

from pytorch_grad_cam import METHODS, __version__

BATCH = 16  # images of a folder per forward pass

EXAMPLES = """\
examples:
  %(prog)s
      the bundled network explains the bundled scene; nothing is downloaded

  %(prog)s --image-path dog.jpg --category "golden retriever" --whole-picture
      why ResNet-50 sees a golden retriever, overlaid on the whole photograph

  %(prog)s --image-path a.png --model resnet18 --weights my.pt --method LayerCAM
      torchvision's ResNet-18 with your own weights, and another method

A single image gives three files per class:
  METHOD_cam.jpg     the map, overlaid on the image as a heat map
  METHOD_gb.jpg      guided backpropagation: the pixels that support the class
  METHOD_cam_gb.jpg  the product of the two
With several classes, the class name follows METHOD. A folder or a glob gives an
overlay NAME.METHOD.jpg per image, under the same relative path, and a row in
results.csv and results.jsonl; the exit code is 1 if an image failed.
To share the work between processes: torchrun --nproc-per-node 2 cam.py ...
Options may be written with underscores: --image_path.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Exit with code 2 after one line, without the usage."""
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}\n")


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = _Parser(
        prog="cam.py" if Path(sys.argv[0]).name == "cam.py" else "grad-cam",
        description="Show which pixels made a vision network decide: Class Activation Maps.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"grad-cam {__version__}")

    image = parser.add_argument_group("what to explain")
    image.add_argument(
        "--image-path",
        metavar="PATH",
        nargs="+",
        action="extend",
        help="an image file (default: the bundled scene); or folders, globs such as 'photos/**/*.jpg' in quotes, or "
        "several images, for a table of results",
    )
    image.add_argument(
        "--category",
        metavar="CLASS",
        nargs="+",
        action="extend",
        help="class index or name; several give a set of files each (default: the highest score)",
    )

    network = parser.add_argument_group("the network")
    network.add_argument(
        "--model",
        metavar="NAME",
        help="demo (the bundled one), a classifier of torchvision such as resnet18, or timm/NAME "
        "(default: demo for the bundled scene, resnet50 for an image)",
    )
    network.add_argument(
        "--weights",
        metavar="FILE",
        help="file of a state dict, with any number of classes; or 'random' (default: pretrained weights)",
    )
    network.add_argument(
        "--device",
        metavar="DEVICE",
        help="cpu, cuda, cuda:1 or mps (default: cpu; under torchrun one GPU per process, if available)",
    )
    network.add_argument("--use-cuda", action="store_const", dest="device", const="cuda", help="same as --device cuda")

    explanation = parser.add_argument_group("how to explain it")
    methods = explanation.add_mutually_exclusive_group()
    methods.add_argument("--method", metavar="METHOD", type=_method, help=f"{', '.join(METHODS)} (default: gradcam)")
    methods.add_argument(
        "--methods",
        metavar="METHOD,...",
        type=_methods,
        action="extend",
        help="several methods, for a table; gradient-based methods at the same layer share one forward pass",
    )
    explanation.add_argument(
        "--target-layer",
        metavar="LAYER",
        nargs="+",
        action="extend",
        help="dotted name such as layer4.-1; the maps of several layers are averaged (default: chosen by the method)",
    )
    explanation.add_argument(
        "--list-layers",
        action="store_true",
        help="print the layers that can give a map, and the default ones; write nothing",
    )
    explanation.add_argument(
        "--aug-smooth", action="store_true", help="average over six flipped, brighter and darker copies"
    )
    explanation.add_argument(
        "--eigen-smooth", action="store_true", help="keep the first principal component only: less noise"
    )
    explanation.add_argument(
        "--batch-size",
        metavar="N",
        type=_positive,
        help=f"images of a folder per forward pass (default: {BATCH}), and copies of an image per forward pass of "
        "perturbation methods (default: automatic)",
    )

    output = parser.add_argument_group("what to write")
    output.add_argument("--output-dir", metavar="DIR", type=Path, default=Path("output"), help="default: output")
    output.add_argument(
        "--whole-picture",
        action="store_true",
        help="overlay the map on the whole original image, not on the part that the network saw",
    )

    many = parser.add_argument_group("many images")
    many.add_argument("--resume", action="store_true", help="keep the results of an earlier run, explain the rest")
    many.add_argument("--save-maps", action="store_true", help="also write the maps as .npz files")
    many.add_argument("--report", action="store_true", help="write report.html, a page that shows all results")
    many.add_argument(
        "--workers",
        metavar="N",
        type=_count,
        help="processes that read images; 0 reads in the main process (default: by the number of CPUs)",
    )
    return parser


def _methods(text: str) -> list[str]:
    return [_method(name.strip()) for name in text.split(",")]


def _method(text: str) -> str:
    wanted = text.lower()
    for name, method in METHODS.items():
        if wanted in (name.lower(), method.__name__.lower()):
            return name
    raise argparse.ArgumentTypeError(f"no method {text!r}, expected one of {', '.join(METHODS)}")


def _positive(text: str) -> int:
    if re.fullmatch(r"\d+", text) and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} given, expected a positive whole number")


def _count(text: str) -> int:
    if re.fullmatch(r"\d+", text):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} given, expected a whole number of at least 0")


def with_dashes(argument: str) -> str:
    """Replace underscores by dashes in the name of an option."""
    if not argument.startswith("--"):
        return argument
    option, equals, value = argument.partition("=")
    return option.replace("_", "-") + equals + value
