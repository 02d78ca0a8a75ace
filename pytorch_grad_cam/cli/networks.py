"""Load networks by name: the bundled one, classifiers of torchvision and of timm."""

import contextlib
import difflib
import importlib
import math
import pickle
import re
import socket
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pytorch_grad_cam.cli.checkpoints import NetworkError, read_state_dict

if TYPE_CHECKING:
    from PIL.Image import Image

TIMEOUT = 10  # seconds without data from the server


class DownloadError(NetworkError):
    """Error for pretrained weights that could not be downloaded."""


@dataclass(frozen=True)
class Preset:
    """Preprocessing of an image: resize, center crop, normalize.

    Attributes:
        resize: length of the shorter side in pixels, or (height, width) to ignore the aspect ratio.
        crop: (height, width) of the center crop in pixels.
        mean: mean of each channel, for pixels in [0, 1].
        std: standard deviation of each channel, for pixels in [0, 1].
        interpolation: value of torchvision's InterpolationMode, such as "bilinear".
    """

    resize: int | tuple[int, int]
    crop: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bilinear"

    def to_input(self, image: "Image") -> Tensor:
        """Preprocess an RGB image (PIL) to an input (1, 3, H, W), float32."""
        from torchvision.transforms import InterpolationMode, functional

        size = [self.resize] if isinstance(self.resize, int) else list(self.resize)
        resized = functional.resize(image, size, InterpolationMode(self.interpolation))
        pixels = functional.to_tensor(functional.center_crop(resized, list(self.crop)))
        inputs: Tensor = functional.normalize(pixels, self.mean, self.std)
        return inputs.unsqueeze(0)

    def to_rgb(self, inputs: Tensor) -> NDArray[np.float32]:
        """Undo the normalization of an input (1, 3, H, W): return RGB (H, W, 3), float32 in [0, 1]."""
        pixels = inputs[0].cpu().movedim(0, -1) * torch.tensor(self.std) + torch.tensor(self.mean)
        return pixels.clamp(0, 1).numpy()

    def crop_box(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return the part of an image that the network sees.

        Args:
            size: (width, height) of the image in pixels.

        Returns:
            (x0, y0, x1, y1) in pixels of the image, x1 and y1 exclusive
        """
        # Per axis, x first: map the crop from the resized image back to the original.
        resized = self.resize
        if isinstance(resized, int):
            resized = (resized * size[1] // min(size), resized * size[0] // min(size))
        spans = []
        for whole, side, crop in zip(size, resized[::-1], self.crop[::-1], strict=True):
            start = round((side - crop) / 2)
            first, last = (round(min(max(edge / side, 0), 1) * whole) for edge in (start, start + crop))
            first = min(first, whole - 1)  # the crop of a narrow image may be less than one pixel
            spans.append((first, max(last, first + 1)))
        (x0, x1), (y0, y1) = spans
        return x0, y0, x1, y1


@dataclass(frozen=True)
class Network:
    """Classifier with its class names and preprocessing.

    Attributes:
        model: classifier in eval mode, on the CPU.
        name: display name.
        classes: name of each output.
        preset: preprocessing of its images.
    """

    model: nn.Module
    name: str
    classes: tuple[str, ...]
    preset: Preset

    def class_index(self, text: str) -> int:
        """Return the index of a class.

        Args:
            text: class index, or class name in upper or lower case.

        Raises:
            NetworkError: if no class, or more than one, has that name.
        """
        count = len(self.classes)
        if re.fullmatch(r"-?\d+", text):
            if 0 <= int(text) < count:
                return int(text)
            raise NetworkError(f"no class {text}: {self.name} has {count} classes, 0 to {count - 1}")
        names = [name.casefold() for name in self.classes]
        matches = [index for index, name in enumerate(names) if name == text.casefold()]
        if len(matches) > 1:
            raise NetworkError(f"{len(matches)} classes are named {text!r}: give one of the indices {_listed(matches)}")
        if not matches:
            close = [self.classes[names.index(name)] for name in _close(text.casefold(), names)]
            raise NetworkError(f"{self.name} has no class {text!r}; close names: {_listed(close)}")
        return matches[0]


def load_network(name: str, weights: str | None = None) -> Network:
    """Load a network by name.

    Args:
        name: "demo", the name of a torchvision classifier, or "timm/NAME".
        weights: None for pretrained weights, "random", or the path of a state dict.

    Returns:
        the network in eval mode, on the CPU

    Raises:
        DownloadError: if pretrained weights cannot be downloaded.
        NetworkError: if the name is unknown, or the weights do not fit the network.
    """
    # Seeded: random weights are the same in every run.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        if name.lower() == "demo":
            return _demo(weights)
        if name.lower().startswith("timm/"):
            return _timm(name[5:], weights)
        return _torchvision(name.lower(), weights)


def _demo(weights: str | None) -> Network:
    from pytorch_grad_cam.demo import network, scenes

    def build(num_classes: int = len(scenes.CLASSES)) -> nn.Module:
        if num_classes != len(scenes.CLASSES):
            raise NetworkError(
                f"{weights!r} has {num_classes} classes, expected the {len(scenes.CLASSES)} of the bundled network"
            )
        return network.build_network()

    preset = Preset(scenes.SIZE, (scenes.SIZE, scenes.SIZE), network.MEAN, network.STD)
    if weights is None:
        try:
            model = network.load_demo_network()
        except (FileNotFoundError, ValueError) as error:
            raise NetworkError(str(error)) from error
    else:
        model = _with_weights(build, weights, len(scenes.CLASSES))[0]
    return Network(model.eval(), "the bundled network of pictograms", scenes.CLASSES, preset)


def _torchvision(name: str, weights: str | None) -> Network:
    from torchvision import models

    names = models.list_models(models)
    if name not in names:
        raise NetworkError(
            f"no model {name!r}; expected demo, timm/NAME or a classifier of torchvision, such as "
            + _listed(_close(name, names))
        )
    default: Any = models.get_model_weights(name).DEFAULT
    transforms, classes = default.transforms(), tuple(default.meta["categories"])
    (resize,), (crop,) = transforms.resize_size, transforms.crop_size
    mean, std = tuple(transforms.mean), tuple(transforms.std)
    preset = Preset(resize, (crop, crop), mean, std, transforms.interpolation.value)

    def build(**options: Any) -> nn.Module:
        if name.startswith("vit_"):
            options["image_size"] = crop
        elif name in ("googlenet", "inception_v3"):  # as torchvision builds them for its weights
            options["transform_input"] = True
        return models.get_model(name, weights=None, **options)  # type: ignore[no-any-return]

    if weights is None:
        cached = Path(torch.hub.get_dir(), "checkpoints", Path(default.url).name).exists()
        with _downloading(name, None if cached else default.url):
            model: nn.Module = models.get_model(name, weights=default)
    else:
        model, count = _with_weights(build, weights, len(classes))
        classes = classes if count == len(classes) else _numbered(count)
    return Network(model.eval(), name, classes, preset)


def _timm(name: str, weights: str | None) -> Network:
    try:
        timm = importlib.import_module("timm")
    except ImportError:
        raise NetworkError(f"timm/{name} needs the package timm: pip install timm") from None
    try:
        published = timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # an unknown tag after the name
        raise NetworkError(str(error)) from None
    if not timm.is_model(name) or published is None:
        raise NetworkError(f"timm has no model {name!r}; close names: {_listed(_close(name, timm.list_models()))}")

    def build(**options: Any) -> nn.Module:
        return timm.create_model(name, **options)  # type: ignore[no-any-return]

    if weights is None:
        if not timm.is_model_pretrained(name):
            raise NetworkError(f"timm has no pretrained weights of {name}; use --weights FILE or --weights random")
        with _downloading(f"timm/{name}", _hub_unless_cached(published)):
            model = build(pretrained=True)
        count = published.num_classes
    else:
        model, count = _with_weights(build, weights, published.num_classes)
    config = timm.data.resolve_model_data_config(model)
    height, width = config["input_size"][1:]
    squash = config["crop_mode"] == "squash"
    if not squash and (config["crop_mode"] != "center" or height != width):
        raise NetworkError(f"timm/{name} pads its images or crops them to a rectangle, which is not supported")
    scaled = (math.floor(height / config["crop_pct"]), math.floor(width / config["crop_pct"]))
    resize = scaled if squash else scaled[0]
    preset = Preset(resize, (height, width), config["mean"], config["std"], config["interpolation"])
    return Network(model.eval(), f"timm/{name}", _numbered(count), preset)


def _hub_unless_cached(published: Any) -> str | None:
    """Return the URL of the server of timm's weights, or None if they are cached."""
    import huggingface_hub

    if not published.hf_hub_id:
        return published.url or None
    files = (published.hf_hub_filename, "model.safetensors", "pytorch_model.bin")
    cached = any(huggingface_hub.try_to_load_from_cache(published.hf_hub_id, file) for file in files if file)
    return None if cached else huggingface_hub.constants.ENDPOINT


@contextlib.contextmanager
def _downloading(name: str, url: str | None) -> Iterator[None]:
    """Context manager: turn a failed download into a DownloadError; redirect the libraries' output to stderr.

    Args:
        name: network, for the message.
        url: server to try first; None if the weights are cached.
    """
    # torch.hub sets no timeout, so a silent server would block forever; only the global default reaches its sockets.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        # Try the URL first: offline, torch.hub would announce a download, and the Hugging Face hub would retry for 50
        # seconds with 12 lines on stderr, instead of one line at once.
        if url is not None:
            urlopen(url).close()
        with contextlib.redirect_stdout(sys.stderr):
            yield
    # RuntimeError, EOFError and UnpicklingError: the file is damaged.
    except (OSError, HTTPException, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        source = f" from {url}" if url else ""
        raise DownloadError(f"cannot load the pretrained weights of {name}{source}: {error}") from error
    finally:
        socket.setdefaulttimeout(before)


def _with_weights(build: Callable[..., nn.Module], weights: str, count: int) -> tuple[nn.Module, int]:
    """Build a model with random weights or those of a file.

    Args:
        build: makes a model of `count` classes; the keyword `num_classes` sets another number.
        weights: "random", or the path of a state dict.
        count: default number of classes.

    Returns:
        the model and its number of classes
    """
    model = build()
    if weights == "random":
        for module in model.modules():
            if isinstance(module, nn.Linear) and not module.weight.any():  # the head of torchvision's ViT starts at 0
                nn.init.trunc_normal_(module.weight, std=0.02)
        return model, count
    state = read_state_dict(weights)
    heads = {
        (len(value), len(state[key]))
        for key, value in model.state_dict().items()
        if key in state and value.ndim == state[key].ndim and value.shape[:1] != state[key].shape[:1]
    }
    try:
        if len(heads) == 1 and (head := heads.pop())[0] == count:
            count = head[1]
            if count == 0:
                raise NetworkError(f"{weights!r} has a head of 0 classes, expected at least 1")
            model = build(num_classes=count)
        model.load_state_dict(state)
    # Constructors of models may raise any exception for an unexpected number of classes.
    except Exception as error:
        if isinstance(error, NetworkError):
            raise
        raise NetworkError(f"{weights!r} does not fit the network: {textwrap.shorten(str(error), 240)}") from None
    return model, count


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"class {index}" for index in range(count))


def _close(name: str, names: Sequence[str]) -> list[str]:
    return difflib.get_close_matches(name, names, n=4, cutoff=0.4) or list(names[:4])


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))
