import sys
from pathlib import Path

import pytest
import torch
from tiny_networks import ConvNet

sys.path.append(str(Path(__file__).parents[1]))  # last: only for `benchmarks`, which is not installed


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def model():
    return ConvNet().eval()


@pytest.fixture
def images():
    return torch.randn(3, 3, 12, 16)
