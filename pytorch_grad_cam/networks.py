"""Networks by name for the command line: the bundled one, torchvision's classifiers, timm's."""

import contextlib
import difflib
import math
import pickle
import re
import socket
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

if TYPE_CHECKING:
    from PIL.Image import Image

TIMEOUT = 10  # seconds without a byte from the network


class NetworkError(ValueError):
    """A network, its weights or a class that cannot be had; the message says which and why."""


class DownloadError(NetworkError):
    """Pretrained weights that could not be downloaded."""


@dataclass(frozen=True)
class Preset:
    """How a picture becomes the input of a network.

    resize: of the shorter side, or (height, width) where the proportions are not kept
    crop:   (height, width) of the centre that the network sees
    mean, std: one value per channel, in units of [0, 1]
    interpolation: as Pillow and torchvision name it, "bilinear"
    """

    resize: int | tuple[int, int]
    crop: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bilinear"

    def to_input(self, image: "Image") -> Tensor:
        """An RGB picture as input (1, 3, H, W) float32."""
        from torchvision.transforms import InterpolationMode, functional

        size = [self.resize] if isinstance(self.resize, int) else list(self.resize)
        resized = functional.resize(image, size, InterpolationMode(self.interpolation))
        pixels = functional.to_tensor(functional.center_crop(resized, list(self.crop)))
        return functional.normalize(pixels, self.mean, self.std).unsqueeze(0)

    def to_rgb(self, inputs: Tensor) -> NDArray[np.float32]:
        """An input (1, 3, H, W) as the picture it shows: (H, W, 3) float32 in [0, 1]."""
        pixels = inputs[0].cpu().movedim(0, -1) * torch.tensor(self.std) + torch.tensor(self.mean)
        return pixels.clamp(0, 1).numpy()

    def crop_box(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """What the network sees of a picture (width, height): (x0, y0, x1, y1) in its pixels, x1 and y1 exclusive."""
        # Axis by axis, x first: the side as resized, and in it the offset and length of the crop.
        resized = self.resize
        if isinstance(resized, int):
            resized = (resized * size[1] // min(size), resized * size[0] // min(size))
        spans = []
        for whole, side, crop in zip(size, resized[::-1], self.crop[::-1], strict=True):
            start = round((side - crop) / 2)
            spans.append([round(min(max(edge / side, 0), 1) * whole) for edge in (start, start + crop)])
        (x0, x1), (y0, y1) = spans
        return x0, y0, x1, y1


@dataclass(frozen=True)
class Network:
    """A classifier and what is needed to use it.

    model:   in eval mode, on the CPU
    name:    for people
    classes: the name of each output
    preset:  how to prepare a picture
    """

    model: nn.Module
    name: str
    classes: tuple[str, ...]
    preset: Preset

    def class_index(self, text: str) -> int:
        """The class that a user means by its index or its name, in any case.

        Raises:
            NetworkError: if there is none, or several classes have that name.
        """
        count = len(self.classes)
        if re.fullmatch(r"-?\d+", text):
            if 0 <= int(text) < count:
                return int(text)
            raise NetworkError(f"no class {text}: {self.name} has {count} classes, 0 to {count - 1}")
        names = [name.casefold() for name in self.classes]
        found = [index for index, name in enumerate(names) if name == text.casefold()]
        if len(found) > 1:
            raise NetworkError(f"{len(found)} classes are named {text!r}: give one of the indices {_listed(found)}")
        if not found:
            close = [self.classes[names.index(name)] for name in _close(text.casefold(), names)]
            raise NetworkError(f"{self.name} has no class {text!r}; close names: {_listed(close)}")
        return found[0]


def load_network(name: str, weights: str | None = None) -> Network:
    """A network by its name on the command line.

    Args:
        name: "demo", the name of a torchvision classifier, or "timm/NAME".
        weights: None for the pretrained ones, "random", or the path of a state dict.

    Raises:
        DownloadError: if pretrained weights cannot be downloaded.
        NetworkError: if there is no such network, or the weights do not fit it.
    """
    # Weights of a file, or a pretrained network, replace these; for random ones each run is to be the same.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(action="ignore"):
        torch.manual_seed(0)
        if name.lower() == "demo":
            return _demo(weights)
        if name.lower().startswith("timm/"):
            return _timm(name[5:], weights)
        return _torchvision(name.lower(), weights)


def _demo(weights: str | None) -> Network:
    from pytorch_grad_cam.demo import network as demo

    preset = Preset(demo.SIZE, (demo.SIZE, demo.SIZE), demo.MEAN, demo.STD)
    model = demo.load_network() if weights is None else _with_weights(demo.build_network, weights)
    return _finished(model, "the bundled network (ShuffleNet)", demo.CLASSES, preset)


def _torchvision(name: str, weights: str | None) -> Network:
    from torchvision import models

    names = models.list_models(models)
    if name not in names:
        raise NetworkError(
            f"no model {name!r}; close names: {_listed(_close(name, names))}; expected demo, one of torchvision's "
            f"{len(names)} classifiers, or timm/NAME"
        )
    default: Any = models.get_model_weights(name).DEFAULT
    transforms = default.transforms()
    (resize,), (crop,) = transforms.resize_size, transforms.crop_size
    preset = Preset(
        resize, (crop, crop), tuple(transforms.mean), tuple(transforms.std), transforms.interpolation.value
    )

    def build(**options: Any) -> nn.Module:
        size = {"image_size": crop} if name.startswith("vit_") else {}
        return models.get_model(name, weights=None, **size, **options)  # type: ignore[no-any-return]

    if weights is None:
        cached = Path(torch.hub.get_dir(), "checkpoints", Path(default.url).name).exists()
        with _downloading(name, None if cached else default.url):
            model: nn.Module = models.get_model(name, weights=default)
    else:
        model = _with_weights(build, weights)
    return _finished(model, name, default.meta["categories"], preset)


def _timm(name: str, weights: str | None) -> Network:
    try:
        import timm
    except ImportError:
        raise NetworkError(f"timm/{name} needs timm, which is not installed: pip install timm") from None
    if not timm.is_model(name):
        raise NetworkError(f"timm has no model {name!r}; close names: {_listed(_close(name, timm.list_models()))}")

    def build(**options: Any) -> nn.Module:
        return timm.create_model(name, **options)  # type: ignore[no-any-return]

    if weights is None:
        if not timm.is_model_pretrained(name):
            raise NetworkError(f"timm has no pretrained weights for {name}; give --weights FILE or --weights random")
        with _downloading(name, _timm_url(name)):
            model = build(pretrained=True)
    else:
        model = _with_weights(build, weights)
    config = timm.data.resolve_model_data_config(model)
    height, width = config["input_size"][1:]
    scaled = (math.floor(height / config["crop_pct"]), math.floor(width / config["crop_pct"]))
    if config["crop_mode"] == "border" or (config["crop_mode"] == "center" and height != width):
        raise NetworkError(f"timm/{name} pads its pictures, or crops them to no square, which is not supported here")
    resize = scaled if config["crop_mode"] == "squash" else scaled[0]
    preset = Preset(resize, (height, width), config["mean"], config["std"], config["interpolation"])
    return _finished(model, f"timm/{name}", (), preset)


def _finished(model: nn.Module, name: str, classes: Sequence[str], preset: Preset) -> Network:
    outputs = _outputs(model)
    if outputs != len(classes):
        classes = [f"class {index}" for index in range(outputs)]
    return Network(model.eval(), name, tuple(classes), preset)


def _outputs(model: nn.Module) -> int:
    """How many classes a model tells apart."""
    with torch.no_grad():
        raise NotImplementedError


def _with_weights(build: Callable[..., nn.Module], weights: str) -> nn.Module:
    """A model with random weights, or those of a file; of as many classes as the file has."""
    model = build()
    if weights == "random":
        return model
    state = _read_state_dict(weights)
    own = model.state_dict()
    differing = {
        (own[key].shape[0], tensor.shape[0]) if own[key].shape[1:] == tensor.shape[1:] else None
        for key, tensor in state.items()
        if key in own and own[key].ndim and own[key].shape != tensor.shape
    }
    raise NotImplementedError
