"""What only this library does: AblationCAM through replay instead of whole passes, several classes in one call."""

import logging.handlers
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.floors import telling_class
from benchmarks.libraries import METHODS
from benchmarks.measure import ratio, seconds, seconds_of
from benchmarks.networks import NETWORKS, load, noise
from benchmarks.worker import forward

AT_ONCE = 8  # channels, where all would take long


def whole_passes(network: str, model: Any, images: Tensor, channels: list[int]) -> Tensor:
    """All scores of the image with each of some channels silenced by a hook, all in one pass of a whole CNN."""

    def silence(layer: Any, args: Any, output: Tensor) -> Tensor:
        output = output.clone()
        output[range(len(channels)), channels] = 0
        return output

    handle = model.get_submodule(NETWORKS[network].last).register_forward_hook(silence)
    try:
        return forward(model, images.repeat(len(channels), 1, 1, 1))
    finally:
        handle.remove()


def replay(networks: list[str], device: str) -> list[dict[str, Any]]:
    """For each network AblationCAM here, and whole passes for some channels, scaled up to all."""
    from pytorch_grad_cam import AblationCAM

    messages = logging.handlers.BufferingHandler(1000)
    logger = logging.getLogger("pytorch_grad_cam._engine.replay")
    logger.setLevel(logging.INFO)
    logger.addHandler(messages)
    rows = []
    for network in networks:
        model, images = load(network, device), noise(1, 224, device)
        scores = forward(model, images)[0]
        category = int(telling_class(network, model, images))
        cam = AblationCAM(model, NETWORKS[network].last)
        explanation, replayed = timed(partial(cam.explain, images, category))
        weights = explanation.weights[0].flatten()
        some = torch.linspace(0, len(weights) - 1, AT_ONCE).long().tolist()
        whole_passes(network, model, images, some)  # a warm-up: what it takes is scaled up
        silenced, whole = timed(partial(whole_passes, network, model, images, some))
        off = (weights[some] - (scores[category] - silenced[:, category]) / scores[category].abs()).abs().max()
        rows.append(
            {
                "network": network,
                "channels": len(weights),
                "speed_up": whole / AT_ONCE * len(weights) / replayed,
                "weights_differ_by": float(off),
                "fell_back": bool(messages.buffer),
            }
        )
        messages.flush()
    logger.removeHandler(messages)
    return rows


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives, and the seconds it took."""
    results: list[Any] = []
    took = seconds_of(lambda: results.append(function()))
    return results[0], took


def five_classes(device: str) -> dict[str, float]:
    """For each method, five classes of one image in one call, in calls for one class; ResNet-50."""
    import pytorch_grad_cam

    model, images = load("resnet50", device), noise(1, 224, device)
    classes = forward(model, images)[0].topk(5).indices.tolist()
    costs = {}
    for name in METHODS:
        options = {"channels": AT_ONCE} if name == "ScoreCAM" else {}
        cam = getattr(pytorch_grad_cam, name)(model, NETWORKS["resnet50"].last, **options)
        times = seconds({"one": partial(cam, images, classes[0]), "five": partial(cam, images, [classes])}, rounds=1)
        costs[name] = ratio(times["five"], times["one"])
    return costs
