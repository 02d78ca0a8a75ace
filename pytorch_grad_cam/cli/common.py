"""Steps shared by a single image and a folder: choose the network and the device, check the output folder."""

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
    """Error for a request that cannot be fulfilled; the message is shown to the user."""


def as_lines(facts: Sequence[tuple[str, str]]) -> str:
    """Format (name, value) pairs, one per line."""
    return "\n".join(f"{name:8} {value}" for name, value in facts)


def network_line(network: Network, options: argparse.Namespace) -> str:
    """Name the network and the source of its weights."""
    weights = {None: "", "random": ", random weights"}.get(options.weights, f", weights of {options.weights}")
    return network.name + weights


@contextmanager
def errors_for_the_user() -> Iterator[None]:
    """Context manager: turn an error of the library into a UsageError."""
    try:
        yield
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        raise UsageError(f"{error}{_origin(error)}") from error


def _origin(error: Exception) -> str:
    """Describe the source line of an error from outside this package: it may be a bug of other code."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    if Path(__file__).parents[1] in Path(frame.filename).parents:
        return ""
    return f" ({type(error).__name__} in {frame.filename}, line {frame.lineno})"


def check_writable(directory: Path) -> None:
    """Raise UsageError if `directory` cannot be created or written to; creates nothing."""
    existing = next(path for path in (directory, *directory.absolute().parents) if os.path.lexists(path))
    if not existing.is_dir():
        raise UsageError(f"cannot write to {str(directory)!r}: {str(existing)!r} is not a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write to {str(directory)!r}: no permission to write in {str(existing)!r}")


def choose_network(options: argparse.Namespace, prog: str, *, or_demo: bool = True) -> Network:
    """Load the network of `--model`; without it, "demo" for the bundled scene and ResNet-50 for other images.

    Args:
        options: parsed options: `image_path`, `model` and `weights`.
        prog: program name, for warnings.
        or_demo: if the weights of ResNet-50 cannot be downloaded, warn and load the bundled network.

    Raises:
        UsageError, NetworkError: if the network or its weights cannot be loaded.
    """
    try:
        default = "demo" if options.image_path is None else "resnet50"
        return load_network(default if options.model is None else options.model, options.weights)
    except DownloadError as error:
        advice = "to choose the network: --model NAME, --weights FILE or --weights random"
        if options.model is not None:
            raise
        if not or_demo:
            raise UsageError(f"{error}; {advice}") from error
        warning = f"{prog}: warning: {error}; using the bundled network of pictograms; {advice}"
        print(" ".join(warning.split()), file=sys.stderr)
        return load_network("demo")


def choose_device(text: str | None) -> torch.device:
    """Return the torch device of a name such as "cuda:1"; None is the CPU.

    Raises:
        UsageError: if the name is unknown or the device is not available.
    """
    try:
        device = torch.device("cpu" if text is None else text)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"no device {text!r}, expected cpu, cuda, cuda:1 or mps")
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[device.type]
    if (device.index or 0) >= count:
        raise UsageError(f"device {text!r} is not available: PyTorch finds {count} {device.type} devices")
    return device
