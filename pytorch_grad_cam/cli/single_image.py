"""Explain a single image: three output images per class."""

import argparse
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytorch_grad_cam import METHODS, BaseCAM, BlankMapWarning, Explanation, GuidedBackpropReLUModel, list_layers
from pytorch_grad_cam._engine.layers import layer_name
from pytorch_grad_cam.cli.common import (
    UsageError,
    as_lines,
    check_writable,
    choose_device,
    choose_network,
    errors_for_the_user,
    network_line,
)
from pytorch_grad_cam.cli.networks import Network
from pytorch_grad_cam.cli.overlays import file_stems, overlay
from pytorch_grad_cam.utils.image import deprocess_image
from pytorch_grad_cam.utils.image_files import encode_jpeg, open_picture, write_whole

if TYPE_CHECKING:
    from PIL.Image import Image


def explain_image(options: argparse.Namespace, prog: str) -> str:
    """Explain one image, write its overlays, or list the layers.

    Args:
        options: parsed options of the command line.
        prog: program name, for warnings.

    Returns:
        the summary, or the table of layers

    Raises:
        UsageError, PictureError, NetworkError: if the request cannot be fulfilled; then no file has been written.
    """
    if not options.list_layers:
        check_writable(options.output_dir)
    device = choose_device(options.device)
    path = _single_path(options)
    image = _open_image(path)
    network = choose_network(options, prog)
    requested = list(dict.fromkeys(network.class_index(text) for text in options.category or ()))
    inputs = network.preset.to_input(image)
    if options.list_layers:
        with errors_for_the_user():
            return str(list_layers(network.model.to(device), inputs, [requested] if requested else None))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", BlankMapWarning)
        cam, explanation, guided = _explain(network, device, inputs, requested, options)
    for warning in caught:
        print(f"{prog}: warning: {' '.join(str(warning.message).split())}", file=sys.stderr)
    assert explanation.scores is not None, "classes have scores"
    classes, scores = _classes(explanation), explanation.scores[0].tolist()
    maps = explanation.maps[0].float().cpu()
    files = {}
    pixels = np.array(image) if options.whole_picture else None
    for stem, heat, gradients in zip(file_stems(options.method, network, classes), maps, guided, strict=True):
        files[f"{stem}_cam.jpg"] = encode_jpeg(overlay(heat, inputs, network.preset, pixels))
        files[f"{stem}_gb.jpg"] = encode_jpeg(deprocess_image(gradients))
        files[f"{stem}_cam_gb.jpg"] = encode_jpeg(deprocess_image(heat.numpy()[..., None] * gradients))
    written = _write(options.output_dir, files)

    layers = ", ".join(layer_name(network.model, layer) for layer in cam.target_layers or ())
    names = [network.classes[index] for index in classes]
    labels = [name if name == f"class {i}" else f"{name} ({i})" for name, i in zip(names, classes, strict=True)]
    lines = [
        ("image", path or "the bundled scene, examples/both.png"),
        ("network", network_line(network, options)),
        ("method", f"{type(cam).__name__} at layer {layers}"),
        *(("class", f"{label}, score {score:.4g}") for label, score in zip(labels, scores, strict=True)),
        *(("wrote", str(path)) for path in written),
    ]
    return as_lines(lines)


def _explain(
    network: Network, device: torch.device, inputs: Tensor, classes: list[int], options: argparse.Namespace
) -> tuple[BaseCAM, Explanation, list[NDArray[np.float32]]]:
    """Explain the classes, or the highest score, and compute the guided gradients (H, W, 3) of each."""
    with errors_for_the_user():
        network.model.to(device)
        cam = METHODS[options.method](network.model, options.target_layer, batch_size=options.batch_size)
        explanation = cam.explain(inputs, [classes] if classes else None, options.aug_smooth, options.eigen_smooth)
        backpropagation = GuidedBackpropReLUModel(network.model)
        guided = [backpropagation(inputs, category) for category in _classes(explanation)]
    if not (all(m.isfinite().all() for m in explanation.layer_maps) and np.isfinite(guided).all()):
        raise UsageError(f"the maps or gradients of {network.name} are not finite: check its weights")
    return cam, explanation, guided


def _classes(explanation: Explanation) -> list[int]:
    targets = explanation.targets
    assert targets is not None, "classes are targets"
    assert targets.classes is not None, "the command line explains classes only"
    return targets.classes[0]


def _write(directory: Path, files: dict[str, bytes]) -> list[Path]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_whole({directory / name: data for name, data in files.items()})
    except OSError as error:
        raise UsageError(f"cannot write to {str(directory)!r}: {error.strerror}") from error
    return [directory / name for name in files]


def _single_path(options: argparse.Namespace) -> str | None:
    """Return the path of the image, the first of several, or None for the bundled scene."""
    from pytorch_grad_cam.cli.folder.discovery import find_images, means_several

    if options.image_path is None or not means_several(options.image_path):
        return options.image_path and str(options.image_path[0])
    root, paths = find_images(options.image_path, options.output_dir)
    return str(root / paths[0])


def _open_image(path: str | None) -> "Image":
    if path is not None:
        return open_picture(path)
    from PIL import Image

    from pytorch_grad_cam.demo.scenes import example_scene

    return Image.fromarray(example_scene().image)
