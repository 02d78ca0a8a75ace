import pytest
import torch
from tiny_networks import ConvNet


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def model():
    return ConvNet().eval()


@pytest.fixture
def images():
    return torch.randn(3, 3, 12, 16)
