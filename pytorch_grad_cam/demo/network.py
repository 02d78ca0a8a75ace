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
from torchvision.models.vision_transformer import ConvStemConfig

from pytorch_grad_cam.cli.checkpoints import NetworkError
from pytorch_grad_cam.demo.scenes import CLASSES, SIZE, Pixels

# Those of ImageNet, so that a picture is prepared for these networks as for any other.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def _build_shufflenet() -> nn.Module:
    network: nn.Module = torchvision.models.shufflenet_v2_x0_5(num_classes=len(CLASSES))
    # Without the max-pool the last feature map is 8 x 8: small objects keep a place of their own.
    network.maxpool = nn.Identity()
    return network


def _build_vit() -> nn.Module:
    # Seven convolutions make the tokens: with three, of the same strides, it learned far more slowly.
    stem = ((24, 2), (48, 2), (64, 1), (96, 2), (96, 1), (96, 1), (96, 1))
    network: nn.Module = torchvision.models.VisionTransformer(
        image_size=SIZE,
        patch_size=8,
        num_layers=4,
        num_heads=3,
        hidden_dim=96,
        mlp_dim=192,
        num_classes=len(CLASSES),
        conv_stem_configs=[ConvStemConfig(channels, kernel_size=3, stride=stride) for channels, stride in stem],
    )
    return network


def _build_swin() -> nn.Module:
    network: nn.Module = torchvision.models.SwinTransformer(
        patch_size=[4, 4],
        embed_dim=32,
        depths=[2, 2, 2],
        num_heads=[2, 4, 8],
        window_size=[4, 4],
        mlp_ratio=2.0,
        stochastic_depth_prob=0.0,
        num_classes=len(CLASSES),
    )
    # Six convolutions replace the one that cuts the patches, with as many channels at as many places: with that one, it
    # had hardly learned anything in the same time.
    stem: list[nn.Module] = []
    before = 3
    for channels, stride in ((24, 2), (48, 2), (64, 1), (64, 1), (64, 1)):
        stem.append(torchvision.ops.Conv2dNormActivation(before, channels, 3, stride))
        before = channels
    network.get_submodule("features.0").register_module("0", nn.Sequential(*stem, nn.Conv2d(before, 32, 1)))
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "shufflenet": _build_shufflenet,
    "vit": _build_vit,
    "swin": _build_swin,
}
"""How to build each network, by name; train.py says how each was trained."""


def weights_path(name: str = "shufflenet") -> Path:
    """The file of a network's trained weights."""
    return Path(__file__).with_name(f"{name}.pt")


def build_network(name: str = "shufflenet") -> nn.Module:
    """A network with fresh random weights: (B, 3, 128, 128) float32, normalised -> (B, 12) logits."""
    return NETWORKS[name]()


def load_network(name: str = "shufflenet") -> nn.Module:
    """The trained network, in eval mode.

    Raises:
        NetworkError: if the file of its weights is missing or damaged.
    """
    network = build_network(name)
    path = weights_path(name)
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    # A damaged file is read as a pickle, which can fail in any way.
    except Exception as error:
        reason = "is damaged" if path.exists() else "is missing"
        raise NetworkError(
            f"the file of weights {str(path)!r} {reason}: install the package again, "
            f"or train the network with `python -m tools.train_demo --network {name}`"
        ) from error
    return network.eval()


def to_input(images: Pixels | Tensor) -> Tensor:
    """What the networks take, from one picture (H, W, 3) or several (B, H, W, 3), uint8 RGB: (B, 3, H, W) float32."""
    pixels = torch.as_tensor(images) / 255
    normalised = (pixels - torch.tensor(MEAN)) / torch.tensor(STD)
    return normalised.reshape(-1, *pixels.shape[-3:]).permute(0, 3, 1, 2)
