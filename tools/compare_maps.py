"""Compare the maps of two commits: save them at one with `save FILE`, at the other again, then `compare FILE FILE`."""

import sys

import numpy as np
import torch

from pytorch_grad_cam import METHODS
from pytorch_grad_cam.demo import network, scenes


def networks():
    """Yield the bundled networks and eight tiny ones of the tests: name, network, target layers, inputs."""
    load = getattr(network, "load_demo_network", None) or network.load_network
    batch = torch.cat([network.to_input(scenes.make_scene(seed).image) for seed in (1, 2)])
    for name in network.NETWORKS:
        yield name, load(name), None, batch
    try:
        from tests.helpers import tiny_networks
    except ModuleNotFoundError:  # before the tests had folders
        from tests import tiny_networks
    for name in tiny_networks.NAMES:
        model, layer, images = tiny_networks.make(name)
        yield name, model, layer, images
    torch.manual_seed(0)
    images = torch.randn(3, 3, 12, 16)
    yield "gap", tiny_networks.GapNet().eval(), None, images
    yield "bfloat16", tiny_networks.ConvNet().bfloat16().eval(), None, images.bfloat16()


def save(path):
    """Write the maps of every method on every network."""
    maps = {}
    for name, model, layers, images in networks():
        for method, cls in METHODS.items():
            options = {"channels": 12} if hasattr(cls, "image_weights") else {}
            for targets in (None, [[0, 1]] * len(images)):
                key = f"{name} {method} {targets}"
                try:
                    maps[key] = cls(model, layers, **options)(images, targets=targets)
                except Exception as error:
                    maps[key] = np.array(f"{type(error).__name__}")
    np.savez(path, **maps)
    print(len(maps), "maps,", sum(value.dtype.kind == "U" for value in maps.values()), "errors")


def compare(path, other):
    """Print the largest difference of any two maps, and fail above 1e-6."""
    first, second = np.load(path), np.load(other)
    assert sorted(first) == sorted(second), "the files hold maps of other networks or methods"
    worst = 0.0, ""
    for key in first:
        a, b = first[key], second[key]
        if a.dtype.kind == "U" or b.dtype.kind == "U":
            assert str(a) == str(b), f"{key}: {a} and {b}"
            continue
        worst = max(worst, (float(np.abs(a - b).max()), key))
    print(f"{len(first.files)} maps, largest difference {worst[0]:.3g} ({worst[1]})")
    sys.exit(worst[0] > 1e-6)


if __name__ == "__main__":
    {"save": save, "compare": compare}[sys.argv[1]](*sys.argv[2:])
