"""The options of the command line."""

import argparse
import re
import sys
from pathlib import Path
from typing import NoReturn

from pytorch_grad_cam import METHODS, __version__

BATCH = 16  # pictures of a folder at once

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
        action="extend",
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
        action="extend",
        help="several of them, for a table; those that weight by gradients at the same layer share one forward pass",
    )
    how.add_argument(
        "--target-layer",
        metavar="LAYER",
        nargs="+",
        action="extend",
        help="dotted name such as layer4.-1; the maps of several are averaged (default: chosen by the method)",
    )
    how.add_argument(
        "--list-layers",
        action="store_true",
        help="print the layers that a map can be made at, and those that would be taken; write nothing",
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
    raise argparse.ArgumentTypeError(f"{text!r} is no positive number")


def _count(text: str) -> int:
    if re.fullmatch(r"\d+", text):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number of at least 0")


def with_dashes(argument: str) -> str:
    """The one spelling of an option that the parser knows."""
    if not argument.startswith("--"):
        return argument
    option, equals, value = argument.partition("=")
    return option.replace("_", "-") + equals + value
