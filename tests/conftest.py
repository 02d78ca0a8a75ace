import os
import signal

import pytest
import torch

from tests.helpers.tiny_networks import ConvNet

# What a shell runs in the background ignores Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Many tests are of small tensors, for which threads wait longer than they work, most of all beside another worker.
if "OMP_NUM_THREADS" not in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # for processes that tests start
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def model():
    return ConvNet().eval()


@pytest.fixture
def images():
    return torch.randn(3, 3, 12, 16)


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """No weights downloaded before, and a network on which nobody answers."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    use_proxy(monkeypatch, "http://127.0.0.1:9")


def use_proxy(monkeypatch, address):
    """Have all downloads go through a proxy."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, address)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("urllib.request._opener", None)  # it remembers the proxy of the first call
