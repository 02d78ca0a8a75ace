"""Random small networks: a map equal to the slow literal one, or a documented error; never another exception.

The default run takes 100 cases, `pytest -m fuzz` 2,000.
"""

import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from torch import nn

from pytorch_grad_cam import METHODS, BlankMapWarning
from pytorch_grad_cam._engine.layouts import first_tensor
from tests.methods.test_methods import oracle_map

CHANNELS = 26  # more than any size, so that shapes tell channels from positions
DOCUMENTED = (
    "more than one position",  # the layer is not spatial any more
    "may be laid out in",  # and which lines to write
    "no gradient reaches",
)


class Residual(nn.Module):
    def __init__(self, conv, inplace):
        super().__init__()
        self.conv, self.inplace = conv, inplace

    def forward(self, x):
        y = self.conv(x)
        if self.inplace:
            y += x
            return y.relu_()
        return (y + x).relu()


class Attention(nn.Module):
    """Over positions, channels stay first."""

    def __init__(self):
        super().__init__()
        self.attend = nn.MultiheadAttention(CHANNELS, 2, batch_first=True)

    def forward(self, x):
        tokens = x.flatten(2).mT
        return x + self.attend(tokens, tokens, tokens)[0].mT.reshape(x.shape)


class Pair(nn.Module):
    def forward(self, x):
        return x * 2, x.mean()


def block(kind, rank):
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
    name = f"{rank}d"
    return {
        "convolution": lambda: conv(CHANNELS, CHANNELS, 3, padding=1),
        "strided": lambda: conv(CHANNELS, CHANNELS, 3, stride=2, padding=1),
        "relu": nn.ReLU,
        "in-place": lambda: nn.ReLU(inplace=True),
        "tanh": nn.Tanh,
        "mean": lambda: getattr(nn, f"AvgPool{name}")(2, ceil_mode=True),
        "maximum": lambda: getattr(nn, f"MaxPool{name}")(2, ceil_mode=True),
        "batch": lambda: getattr(nn, f"BatchNorm{name}")(CHANNELS),
        "group": lambda: nn.GroupNorm(2, CHANNELS),
        "residual": lambda: Residual(conv(CHANNELS, CHANNELS, 3, padding=1), False),
        "residual in place": lambda: Residual(conv(CHANNELS, CHANNELS, 3, padding=1), True),
        "attention": Attention,
        "pair": Pair,
    }[kind]()


KINDS = [
    *("convolution", "strided", "relu", "in-place", "tanh", "mean", "maximum"),
    *("batch", "group", "residual", "residual in place", "attention", "pair"),
]


class Chain(nn.Module):
    """Blocks, then the mean over space and a linear layer; `cut` is the target layer."""

    to_activations = None

    def __init__(self, kinds, cut, rank):
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
        self.blocks = nn.ModuleList([conv(3, CHANNELS, 3, padding=1), *(block(kind, rank) for kind in kinds)])
        self.fc, self.cut = nn.Linear(CHANNELS, 3), cut

    def forward(self, x):
        return self.head(self.features(x))

    def features(self, x):
        return self.run(self.blocks[: self.cut + 1], x)

    def head(self, x):
        return self.fc(self.run(self.blocks[self.cut + 1 :], x).flatten(2).mean(2))

    def run(self, blocks, x):
        for one in blocks:
            x = one(x)
            x = x[0] if isinstance(x, tuple) else x
        return x

    def with_activations(self, features, activations):
        return activations


@st.composite
def cases(draw):
    rank = draw(st.sampled_from([1, 2, 2, 3]))
    kinds = draw(st.lists(st.sampled_from(KINDS), max_size=5))
    # PyTorch cannot differentiate what is changed in place after an operation that needs its own output.
    after = ["convolution", *kinds]
    kinds = [
        "relu" if kind == "in-place" and before not in ("convolution", "strided", "batch", "group", "mean") else kind
        for before, kind in zip(after, kinds, strict=False)
    ]
    side = st.integers(4, {1: 20, 2: 12, 3: 7}[rank])
    return {
        "method": draw(st.sampled_from(list(METHODS))),
        "rank": rank,
        "kinds": kinds,
        "cut": draw(st.integers(0, len(kinds))),
        "size": tuple(draw(side) for _ in range(rank)),
        "batch": draw(st.integers(1, 3)),
        "seed": draw(st.integers(0, 1000)),
    }


def check(outcomes, method, rank, kinds, cut, size, batch, seed):
    torch.manual_seed(seed)
    network = Chain(kinds, cut, rank).double().eval()
    images = torch.randn(batch, 3, *size, dtype=torch.float64)
    try:
        network(images)
    except RuntimeError:  # pooling what is smaller than its window
        reject()
    outcomes["networks"] += 1
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            # After an attention a series may be (B, C, L) or tokens (B, N, C); no shape tells which where C is N.
            unclear = rank == 1 and "attention" in kinds
            cam = METHODS[method](network, network.blocks[cut], first_tensor if unclear else None)
            maps = cam(images.clone(), 1)
            raw = cam.explain(images.clone(), 1).layer_maps[0][:, 0].numpy()
        except ValueError as error:
            if any(text in str(error) for text in DOCUMENTED):
                outcomes["documented errors"] += 1
                return
            raise
    assert maps.shape == (batch, *size)
    assert maps.dtype == np.float32
    assert np.isfinite(maps).all()
    assert maps.min() >= 0
    assert maps.max() <= 1
    blank = [not one.any() for one in maps]
    assert any(blank) == any(warning.category is BlankMapWarning for warning in caught)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    for image, found in zip(images, raw, strict=True):
        expected = oracle_map(method, network, image, 1)
        scale = np.abs(expected).max()
        # Where two components are as large, or a channel's sum is but rounding, the literal way has nothing to go by.
        if np.isfinite(expected).all() and scale > 1e-9 and well_posed(method, network, image):
            assert np.abs(found - expected).max() <= 1e-6 * scale
            outcomes["images whose map equals the literal formula"] += 1


def well_posed(method, network, image):
    with torch.no_grad():
        activations = network.features(image[None])[0].flatten(1)
    if method == "xgradcam":
        return bool((activations.sum(1).abs() > 1e-3 * activations.abs().sum(1)).all())
    if method == "ablationcam":
        return bool(network(image[None])[0, 1].abs() > 1e-3)
    if "eigen" not in method:
        return True
    weighted = METHODS[method](network, network.blocks[network.cut], first_tensor).explain(image[None], 1)
    x = (weighted.weights[0] * weighted.evidence[0].activations)[0, 0].flatten(1)
    x = x - x.mean(1, keepdim=True)
    values = torch.linalg.svdvals(x)
    agreement = torch.linalg.svd(x)[2][0] @ x.sum(0)
    return bool(values[0] > 1.01 * values[1] and agreement.abs() > 1e-3 * x.sum(0).norm() and x.sum(0).norm() > 1e-3)


quiet = pytest.mark.filterwarnings("ignore::pytorch_grad_cam.BlankMapWarning")


@quiet
@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_random_networks(case):
    check(Counter(), **case)


@quiet
@pytest.mark.fuzz
def test_many_random_networks(record_property):
    outcomes = Counter()

    @settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(cases())
    def run(case):
        check(outcomes, **case)

    run()
    for name, count in outcomes.items():
        record_property(name, f"{count:,}")
