"""The networks, with seeded random weights, and the layer at which each is explained."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torchvision
from torch import Tensor, nn


@dataclass(frozen=True)
class Network:
    """A network of torchvision, its last spatial layer, and the transform of its output that peers need."""

    title: str
    last: str
    transform: Callable[[Tensor], Tensor] | None = None


NETWORKS = {
    "resnet50": Network("ResNet-50", "layer4.2"),
    "vgg16": Network("VGG-16", "features"),
    "densenet121": Network("DenseNet-121", "features"),
    "mobilenet_v3_large": Network("MobileNet-v3-large", "features"),
    "convnext_tiny": Network("ConvNeXt-tiny", "features"),
    "vit_b_16": Network(
        "ViT-B/16",
        "encoder.layers.encoder_layer_11.ln_1",
        lambda x: x[:, 1:].reshape(len(x), 14, 14, -1).permute(0, 3, 1, 2),
    ),
    "swin_t": Network("Swin-T", "features.7.1.norm1", lambda x: x.permute(0, 3, 1, 2)),
}


def network_of(name: str) -> Network:
    """The entry of a network; `channels-C` has C channels on a 14 x 14 grid at layer `1`."""
    return NETWORKS.get(name) or Network(name, "1")


def load(name: str, device: str = "cpu") -> Any:
    """A network in eval mode."""
    torch.manual_seed(0)
    if name.startswith("channels-"):
        channels = int(name.removeprefix("channels-"))
        patches = [nn.Conv2d(3, channels, 16, stride=16), nn.ReLU()]
        head = [nn.Conv2d(channels, 64, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 1000)]
        return nn.Sequential(*patches, *head).eval().to(device)
    model = torchvision.models.get_model(name)
    if name == "vit_b_16":  # its head starts at zero
        nn.init.normal_(model.heads.head.weight, std=0.02)
    return model.eval().to(device)


def noise(batch: int, size: int, device: str = "cpu") -> Tensor:
    """A batch of copies of one image: the work does not depend on what an image shows."""
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1)).repeat(batch, 1, 1, 1).to(device)


def forward(model: Any, images: Tensor) -> Tensor:
    """The plain forward pass, to which every call is compared."""
    with torch.no_grad():
        scores: Tensor = model(images)
    return scores
