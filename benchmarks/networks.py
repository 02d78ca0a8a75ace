"""The networks, with seeded weights, and where each is explained."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

Transform = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Network:
    """A network of torchvision by its name there.

    Attributes:
        title: as the page calls it.
        last: the last layer that keeps positions.
        transform: to (B, C, H, W), as the documentation of the peers gives it; this library needs none.
    """

    title: str
    last: str
    transform: Transform | None = None


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


def load(name: str, device: str = "cpu") -> Any:
    """A network in eval mode; `channels-C` is a small one whose target layer has C channels on a 14 x 14 grid."""
    torch.manual_seed(0)
    if name.startswith("channels-"):
        return with_channels(int(name.removeprefix("channels-"))).eval().to(device)
    model = torchvision.models.get_model(name)
    if name == "vit_b_16":  # its head starts at zero
        nn.init.normal_(model.heads.head.weight, std=0.02)
    return model.eval().to(device)


def with_channels(channels: int) -> nn.Module:
    """Patches of 16 px to that many channels, layer `1`, and from them to 1,000 classes."""
    return nn.Sequential(
        nn.Conv2d(3, channels, 16, stride=16),
        nn.ReLU(),
        nn.Conv2d(channels, 64, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 1000),
    )


def last_layer(name: str) -> str:
    """Where a network is explained unless a case says otherwise."""
    return "1" if name.startswith("channels-") else NETWORKS[name].last


def transform_of(name: str) -> Transform | None:
    """What the peers need for it."""
    return NETWORKS[name].transform if name in NETWORKS else None


def noise(batch: int, size: int, device: str = "cpu") -> Tensor:
    """One image again and again: the work does not depend on what is to be seen."""
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1)).repeat(batch, 1, 1, 1).to(device)
