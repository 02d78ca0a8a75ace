"""Small trained networks that classify the pictograms of a scene.

Each returns 12 logits, one per entry of CLASSES; several can be positive at once (multi-label).

Example:
    >>> from pytorch_grad_cam.demo.scenes import CLASSES, example_scene
    >>> scene = example_scene()
    >>> scores = load_demo_network()(to_input(scene.image))[0]
    >>> sorted(CLASSES[label] for label in scores.topk(2).indices) == sorted(item.name for item in scene.objects)
    True
"""

from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.vision_transformer import ConvStemConfig

from pytorch_grad_cam.demo.scenes import CLASSES, SIZE, Pixels

# Mean and standard deviation of ImageNet, as most networks use them.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def _build_shufflenet() -> nn.Module:
    network: nn.Module = torchvision.models.shufflenet_v2_x0_5(num_classes=len(CLASSES))
    # Without the max-pool the last feature map is 8 x 8, which separates small objects.
    network.maxpool = nn.Identity()
    return network


def _build_vit() -> nn.Module:
    # Seven convolutions in the stem: with three of the same total stride, training is far slower.
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
    # Six convolutions replace the patch embedding, with the same output shape: with the original one, the network
    # hardly learns in the same time.
    stem: list[nn.Module] = []
    in_channels = 3
    for channels, stride in ((24, 2), (48, 2), (64, 1), (64, 1), (64, 1)):
        stem.append(torchvision.ops.Conv2dNormActivation(in_channels, channels, 3, stride))
        in_channels = channels
    network.get_submodule("features.0").register_module("0", nn.Sequential(*stem, nn.Conv2d(in_channels, 32, 1)))
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "shufflenet": _build_shufflenet,
    "vit": _build_vit,
    "swin": _build_swin,
}
"""Builder of each network, by name."""


def weights_path(name: str = "shufflenet") -> Path:
    """Return the path of a network's trained weights."""
    return Path(__file__).with_name(f"{name}.pt")


def build_network(name: str = "shufflenet") -> nn.Module:
    """Build a network with random weights.

    Args:
        name: one of NETWORKS: "shufflenet", "vit" or "swin".

    Returns:
        network in train mode: (B, 3, 128, 128) float32, normalized -> (B, 12) logits
    """
    return NETWORKS[name]()


def load_demo_network(name: str = "shufflenet") -> nn.Module:
    """Load a trained network.

    Args:
        name: one of NETWORKS: "shufflenet", "vit" or "swin".

    Returns:
        network in eval mode, on the CPU: (B, 3, 128, 128) float32, normalized -> (B, 12) logits

    Raises:
        FileNotFoundError: if the file of its weights is missing.
        ValueError: if the file is damaged.
    """
    network = build_network(name)
    path = weights_path(name)
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    # A damaged file can raise any exception: it is read as a pickle.
    except Exception as error:
        advice = f"install the package again, or run `python -m tools.train_demo --network {name}`"
        if not path.exists():
            raise FileNotFoundError(f"the weights file {str(path)!r} is missing: {advice}") from error
        raise ValueError(f"the weights file {str(path)!r} is damaged: {advice}") from error
    return network.eval()


def to_input(images: Pixels | Tensor) -> Tensor:
    """Normalize images to a network input.

    Args:
        images: one image (H, W, 3) or a batch (B, H, W, 3), uint8 RGB.

    Returns:
        (B, 3, H, W) float32; B is 1 for one image
    """
    pixels = torch.as_tensor(images) / 255
    normalized = (pixels - torch.tensor(MEAN)) / torch.tensor(STD)
    return normalized.reshape(-1, *pixels.shape[-3:]).permute(0, 3, 1, 2)
