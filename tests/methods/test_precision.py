"""Models and inputs of every precision and memory layout, on the bundled network and a scene of its world."""

import numpy as np
import pytest
import torch

from pytorch_grad_cam import METHODS
from pytorch_grad_cam._engine.reductions import first_component
from pytorch_grad_cam.demo.network import load_demo_network, to_input
from pytorch_grad_cam.demo.scenes import make_scene

LAYER = "conv5"
SCENES = [make_scene(seed) for seed in range(2)]
IMAGES = to_input(np.stack([scene.image for scene in SCENES]))
LABELS = [scene.objects[0].label for scene in SCENES]
methods = pytest.mark.parametrize("method", METHODS)
halves = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])


def explain(method, model, images):
    fewer = {"channels": 40} if method == "scorecam" else {}
    return METHODS[method](model, LAYER, **fewer)(images, LABELS)


def bound(method, dtype):
    # Before a component is taken, activations of 8 bits are all that there is of it: 0.024 was seen.
    return 3e-2 if (method, dtype) == ("eigencam", torch.bfloat16) else 2e-2


@methods
@halves
def test_half_precision_models(method, dtype, record_property):
    rounded = load_demo_network().to(dtype)
    expected = explain(method, load_demo_network().to(dtype).float(), IMAGES.to(dtype).float())
    maps = explain(method, rounded, IMAGES.to(dtype))
    assert maps.dtype == np.float32
    difference = np.abs(maps - expected).max()
    record_property(f"{method}, {str(dtype).removeprefix('torch.')}", f"{difference:.4f} from float32 at most")
    assert difference < bound(method, dtype)


@methods
@halves
def test_autocast(method, dtype):
    expected = explain(method, load_demo_network(), IMAGES)
    with torch.autocast("cpu", dtype):
        maps = explain(method, load_demo_network(), IMAGES)
    assert maps.dtype == np.float32
    assert np.abs(maps - expected).max() < bound(method, dtype)


@methods
def test_float64(method):
    expected = explain(method, load_demo_network(), IMAGES)
    assert np.allclose(explain(method, load_demo_network().double(), IMAGES.double()), expected, atol=1e-3)


@methods
@pytest.mark.parametrize(
    "lay",
    [
        lambda x: x.contiguous(memory_format=torch.channels_last),
        lambda x: x.permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2),
        lambda x: torch.nn.functional.pad(x, (3, 4, 1, 2))[:, :, 1:-2, 3:-4],
        lambda x: x.flip(3).contiguous().flip(3),
    ],
)
@pytest.mark.parametrize("model_layout", [torch.contiguous_format, torch.channels_last])
def test_layouts_in_memory(method, lay, model_layout):
    model = load_demo_network().double()
    expected = explain(method, model, IMAGES.double())
    images = lay(IMAGES.double())
    strides = images.stride()
    maps = explain(method, model.to(memory_format=model_layout), images)
    assert np.allclose(maps, expected, atol=1e-6)
    assert images.stride() == strides


@methods
def test_one_image_expanded_to_a_batch(method):
    model = load_demo_network().double()
    expected = explain(method, model, IMAGES[:1].double().repeat(2, 1, 1, 1))
    assert np.allclose(explain(method, model, IMAGES[:1].double().expand(2, -1, -1, -1)), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_library_computes_in_float32_under_autocast(dtype):
    """Only the model is the caller's to run in half precision: a Gram matrix of 512 x 512 positions would overflow."""
    weighted = torch.randn(1, 2, 3, 32, 32).sign() * torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)
    weighted = weighted.repeat(1, 1, 1, 16, 16)
    for shape in (weighted, weighted[..., :1, :2].contiguous()):
        expected = first_component(shape)
        with torch.autocast("cpu", dtype):
            assert torch.equal(first_component(shape), expected)
