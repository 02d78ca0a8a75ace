"""Networks small enough to check by hand or by loops, each split into what comes before and after its target layer."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Network(nn.Module):
    """`features`, the target layer, then `head`; `to_activations` is its reshape_transform where it needs one."""

    to_activations = None

    def forward(self, x):
        return self.head(self.features(x))

    def with_activations(self, features: Tensor, activations: Tensor) -> Tensor:
        """The features with other activations (B, C, *S) in them."""
        return activations


class ConvNet(Network):
    """Convolutions over 1, 2 or 3 axes, then a head that is not linear, so that gradients differ over space."""

    def __init__(self, axes: int = 2, inplace: bool = False, classes: int = 4) -> None:
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
        self.features = nn.Sequential(
            conv(3, 6, 3, padding=1), nn.ReLU(), conv(6, 5, 3, stride=2, padding=1), nn.Tanh()
        )
        self.relu = nn.ReLU(inplace=inplace)
        self.mix = conv(5, 7, 3, padding=1)
        self.fc = nn.Linear(7, classes)

    def head(self, x: Tensor) -> Tensor:
        return self.fc(self.mix(self.relu(x)).sigmoid().flatten(2).mean(2))


class GapNet(Network):
    """Convolution, ReLU, mean over space, linear: Grad-CAM's weights are those of the linear layer over H W."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
        self.fc = nn.Linear(6, classes)

    def head(self, x: Tensor) -> Tensor:
        return self.fc(x.mean((2, 3)))


class Tokens(Network):
    """A small ViT: a class token before 4 x 4 patches of 4 x 4 pixels, one attention, the class token read."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.cls = nn.Parameter(torch.randn(1, 1, 8))
        self.norm = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.fc = nn.Linear(8, classes)

    def features(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).mT
        return self.norm(torch.cat([self.cls.expand(len(x), -1, -1), tokens], 1))

    def head(self, x: Tensor) -> Tensor:
        return self.fc(x[:, 0] + self.attention(x, x, x)[0][:, 0])

    @staticmethod
    def to_activations(tokens: Tensor) -> Tensor:
        return tokens[:, 1:].reshape(len(tokens), 4, 4, -1).permute(0, 3, 1, 2)

    def with_activations(self, features: Tensor, activations: Tensor) -> Tensor:
        return torch.cat([features[:, :1], activations.flatten(2).mT], 1)


class ChannelsLast(Network):
    """Features as (B, H, W, C), like a Swin's."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, stride=2, padding=1)
        self.norm = nn.LayerNorm(12)
        self.fc = nn.Linear(12, classes)

    def features(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x).permute(0, 2, 3, 1))

    def head(self, x: Tensor) -> Tensor:
        return self.fc(F.gelu(x).square().mean((1, 2)))

    @staticmethod
    def to_activations(x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2)

    def with_activations(self, features: Tensor, activations: Tensor) -> Tensor:
        return activations.permute(0, 2, 3, 1)


def make(name: str, dtype: torch.dtype = torch.float64) -> tuple[Network, nn.Module, Tensor]:
    """A seeded network in eval mode, its target layer and a batch of 3 inputs."""
    torch.manual_seed(0)
    network, size = {
        "cnn": lambda: (ConvNet(), (12, 16)),
        "1d": lambda: (ConvNet(axes=1), (20,)),
        "3d": lambda: (ConvNet(axes=3), (6, 8, 10)),
        "in-place": lambda: (ConvNet(inplace=True), (12, 16)),
        "tokens": lambda: (Tokens(), (16, 16)),
        "channels-last": lambda: (ChannelsLast(), (12, 16)),
    }[name]()
    layer = network.norm if isinstance(network, Tokens | ChannelsLast) else network.features
    return network.to(dtype).eval(), layer, torch.randn(3, 3, *size, dtype=dtype)


NAMES = ["cnn", "1d", "3d", "in-place", "tokens", "channels-last"]
