"""Small networks that name the pictograms of a scene, with their trained weights.

Each gives 12 logits, one for each of CLASSES; several can be positive at once.

Example:
    >>> from pytorch_grad_cam.demo.scenes import CLASSES, both
    >>> scores = load_network()(to_input(both().image))[0]
    >>> sorted(CLASSES[label] for label in scores.topk(2).indices) == sorted(one.name for one in both().objects)
    True
"""

from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from pytorch_grad_cam.demo.scenes import CLASSES, Pixels

# Those of ImageNet, so that a picture is prepared for these networks as for any other.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def _build_shufflenet() -> nn.Module:
    network: nn.Module = torchvision.models.shufflenet_v2_x0_5(num_classes=len(CLASSES))
    # Without the max-pool the last feature map is 8 x 8: small objects keep a place of their own.
    network.maxpool = nn.Identity()
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {"shufflenet": _build_shufflenet}
"""How to build each network, by name; train.py trains any of them."""


def weights_path(name: str = "shufflenet") -> Path:
    """The file of a network's trained weights."""
    return Path(__file__).with_name(f"{name}.pt")


def build_network(name: str = "shufflenet") -> nn.Module:
    """A network with fresh random weights: (B, 3, 128, 128) float32, normalised -> (B, 12) logits."""
    return NETWORKS[name]()


def load_network(name: str = "shufflenet") -> nn.Module:
    """The trained network, in eval mode."""
    network = build_network(name)
    network.load_state_dict(torch.load(weights_path(name), map_location="cpu", weights_only=True))
    return network.eval()


def to_input(images: Pixels | Tensor) -> Tensor:
    """What the networks take, from one picture (H, W, 3) or several (B, H, W, 3), uint8 RGB: (B, 3, H, W) float32."""
    pixels = torch.as_tensor(images) / 255
    normalised = (pixels - torch.tensor(MEAN)) / torch.tensor(STD)
    return normalised.reshape(-1, *pixels.shape[-3:]).permute(0, 3, 1, 2)
