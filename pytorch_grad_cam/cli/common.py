"""What explaining one picture and explaining many begin with: the network, the device, where to write."""

import argparse
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from pytorch_grad_cam.cli.networks import DownloadError, Network, load_network


class UsageError(ValueError):
    """Something that was asked for and cannot be done; the message is for the user."""


def as_lines(said: Sequence[tuple[str, str]]) -> str:
    """What was done, a line for each thing, its name first."""
    return "\n".join(f"{name:8} {value}" for name, value in said)


def network_line(network: Network, options: argparse.Namespace) -> str:
    """The network, and where its weights are from."""
    weights = {None: "", "random": ", random weights"}.get(options.weights, f", weights of {options.weights}")
    return network.name + weights


@contextmanager
def errors_for_the_user() -> Iterator[None]:
    """What the library refuses in the block is a UsageError."""
    try:
        yield
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        raise UsageError(f"{error}{_origin(error)}") from error


def _origin(error: Exception) -> str:
    """Where an error comes from that is not this library's own: it may be a bug and not the user's doing."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    if Path(__file__).parents[1] in Path(frame.filename).parents:
        return ""
    return f" ({type(error).__name__} in {frame.filename}, line {frame.lineno})"


def check_writable(directory: Path) -> None:
    """Find out before the work is done; the folder itself is made after it."""
    existing = next(path for path in (directory, *directory.absolute().parents) if os.path.lexists(path))
    if not existing.is_dir():
        raise UsageError(f"cannot write to {str(directory)!r}: {str(existing)!r} is no folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write to {str(directory)!r}: no permission to write in {str(existing)!r}")


def choose_network(options: argparse.Namespace, prog: str, *, or_demo: bool = True) -> Network:
    """The network that is asked for; or the bundled one where that which is taken for photographs cannot be had."""
    try:
        default = "demo" if options.image_path is None else "resnet50"
        return load_network(default if options.model is None else options.model, options.weights)
    except DownloadError as error:
        advice = "to choose the network: --model NAME, --weights FILE or --weights random"
        if options.model is not None:
            raise
        if not or_demo:
            raise UsageError(f"{error}; {advice}") from error
        warning = f"{prog}: warning: {error}; using the bundled network of pictograms instead; {advice}"
        print(" ".join(warning.split()), file=sys.stderr)
        return load_network("demo")


def choose_device(text: str | None) -> torch.device:
    """The device of a name; None is the CPU."""
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
