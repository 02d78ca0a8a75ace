"""Networks by name for the command line: the bundled one, torchvision's classifiers, timm's."""

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

TIMEOUT = 10  # seconds without a byte from the network


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
        inputs: Tensor = functional.normalize(pixels, self.mean, self.std)
        return inputs.unsqueeze(0)

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
            first, last = (round(min(max(edge / side, 0), 1) * whole) for edge in (start, start + crop))
            first = min(first, whole - 1)  # of a narrow picture it saw less than one pixel
            spans.append((first, max(last, first + 1)))
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
    # Random weights are to be the same ones in each run.
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
            raise NetworkError(f"{weights!r} has {num_classes} classes, the bundled network {len(scenes.CLASSES)}")
        return network.build_network()

    preset = Preset(scenes.SIZE, (scenes.SIZE, scenes.SIZE), network.MEAN, network.STD)
    model = network.load_network() if weights is None else _with_weights(build, weights, len(scenes.CLASSES))[0]
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
        elif name in ("googlenet", "inception_v3"):  # as torchvision builds them for its own weights
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
        raise NetworkError(f"timm/{name} needs timm, which is not installed: pip install timm") from None
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
            raise NetworkError(f"timm has no pretrained weights of {name}; give --weights FILE or --weights random")
        with _downloading(f"timm/{name}", _hub_unless_cached(published)):
            model = build(pretrained=True)
        count = published.num_classes
    else:
        model, count = _with_weights(build, weights, published.num_classes)
    config = timm.data.resolve_model_data_config(model)
    height, width = config["input_size"][1:]
    squash = config["crop_mode"] == "squash"
    if not squash and (config["crop_mode"] != "center" or height != width):
        raise NetworkError(f"timm/{name} pads its pictures or crops them to no square, which is not supported here")
    scaled = (math.floor(height / config["crop_pct"]), math.floor(width / config["crop_pct"]))
    resize = scaled if squash else scaled[0]
    preset = Preset(resize, (height, width), config["mean"], config["std"], config["interpolation"])
    return Network(model.eval(), f"timm/{name}", _numbered(count), preset)


def _hub_unless_cached(published: Any) -> str | None:
    import huggingface_hub

    if not published.hf_hub_id:
        return published.url or None
    files = (published.hf_hub_filename, "model.safetensors", "pytorch_model.bin")
    cached = any(huggingface_hub.try_to_load_from_cache(published.hf_hub_id, file) for file in files if file)
    return None if cached else huggingface_hub.constants.ENDPOINT


@contextlib.contextmanager
def _downloading(name: str, url: str | None) -> Iterator[None]:
    """Whatever keeps pretrained weights from arriving is a DownloadError; what the libraries say is no output.

    The url is asked for before the libraries, which announce a download, or try for a minute, whether it works or not.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        if url is not None:
            urlopen(url).close()
        with contextlib.redirect_stdout(sys.stderr):
            yield
    # A RuntimeError is a file that arrived, or lay in the cache, damaged.
    except (OSError, HTTPException, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        where = f" from {url}" if url else ""
        raise DownloadError(f"cannot load the pretrained weights of {name}{where}: {error}") from error
    finally:
        socket.setdefaulttimeout(before)


def _with_weights(build: Callable[..., nn.Module], weights: str, count: int) -> tuple[nn.Module, int]:
    """A model with random weights, or those of a file, and how many classes it tells apart.

    build makes one of `count` classes, or of num_classes.
    """
    model = build()
    if weights == "random":
        for module in model.modules():
            if isinstance(module, nn.Linear) and not module.weight.any():  # so starts the head of torchvision's ViT
                nn.init.trunc_normal_(module.weight, std=0.02)
        return model, count
    state = read_state_dict(weights)
    heads = {
        (len(own), len(state[key]))
        for key, own in model.state_dict().items()
        if key in state and own.ndim == state[key].ndim and own.shape[:1] != state[key].shape[:1]
    }
    try:
        if len(heads) == 1 and (head := heads.pop())[0] == count:
            count = head[1]
            if count == 0:
                raise NetworkError(f"{weights!r} has a head of 0 classes")
            model = build(num_classes=count)
        model.load_state_dict(state)
    # What the constructors of models raise for a number of classes that they do not expect is an open set, too.
    except Exception as error:
        if isinstance(error, NetworkError):
            raise
        raise NetworkError(f"{weights!r} does not fit: {textwrap.shorten(str(error), 240)}") from None
    return model, count


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"class {index}" for index in range(count))


def _close(name: str, names: Sequence[str]) -> list[str]:
    return difflib.get_close_matches(name, names, n=4, cutoff=0.4) or list(names[:4])


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))
