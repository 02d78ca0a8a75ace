"""On a GPU: the maps of the CPU, little waiting for it, nothing left on it. Skipped where there is none."""

import copy
import gc
import warnings

import numpy as np
import pytest
import torch

from pytorch_grad_cam import METHODS, EigenGradCAM, GradCAM, GuidedBackpropReLUModel, ScoreCAM
from pytorch_grad_cam.demo.network import NETWORKS, load_demo_network, to_input
from pytorch_grad_cam.demo.scenes import HELD_OUT, make_scene
from pytorch_grad_cam.metrics import deletion, road_combined
from pytorch_grad_cam.perturbation_cam import PerturbationCAM

DEVICE = "cuda"

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
    pytest.mark.filterwarnings("ignore::pytorch_grad_cam.BlankMapWarning"),
]
networks = pytest.mark.parametrize("network", NETWORKS)
methods = pytest.mark.parametrize("method", METHODS.values())


@pytest.fixture(autouse=True)
def exact():
    """Without TensorFloat-32, whose products have ten bits of mantissa."""
    settings = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [setting.allow_tf32 for setting in settings]
    for setting in settings:
        setting.allow_tf32 = False
    yield
    for setting, value in zip(settings, before, strict=True):
        setting.allow_tf32 = value


def scenes(count=2):
    """Pictures and the classes that are in each."""
    drawn = [make_scene(HELD_OUT[seed], count=2) for seed in range(count)]
    return to_input(np.stack([scene.image for scene in drawn])), [[one.label for one in s.objects] for s in drawn]


def options(method):
    return {"channels": 40} if issubclass(method, PerturbationCAM) else {}


@networks
@methods
@pytest.mark.parametrize("smoothing", [{}, {"aug_smooth": True}, {"eigen_smooth": True}], ids=["", "aug", "eigen"])
def test_maps_are_those_of_the_cpu(network, method, smoothing):
    images, classes = scenes()
    model = load_demo_network(network)
    expected = method(model, **options(method))(images, classes, **smoothing)
    found = method(model.to(DEVICE), **options(method))(images.to(DEVICE), classes, **smoothing)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-4


@methods
def test_pictures_go_where_the_model_is_and_tensors_stay_there(method):
    images, classes = scenes()
    model = load_demo_network("shufflenet").to(DEVICE)
    explanation = method(model, **options(method)).explain(images, classes)
    for tensor in (explanation.maps, *explanation.layer_maps, *explanation.weights, explanation.outputs):
        assert tensor.device.type == DEVICE
    assert images.device.type == "cpu"


def test_use_cuda_moves_the_model():
    images, classes = scenes()
    model = load_demo_network("shufflenet")
    expected = GradCAM(copy.deepcopy(model))(images, classes)
    assert np.abs(GradCAM(model, use_cuda=True)(images, classes) - expected).max() <= 1e-4
    assert next(model.parameters()).device.type == DEVICE


def waits(call):
    """How often a call waits for the GPU."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing CUDA operation" in str(warning.message) for warning in caught)


# EigenGradCAM's eigenvectors come from a library that waits.
@pytest.mark.parametrize("method", [m for m in METHODS.values() if m.derivatives and m is not EigenGradCAM])
@pytest.mark.parametrize("network", ["shufflenet", "swin"])
@pytest.mark.parametrize("several", [False, True], ids=["one class", "classes"])
def test_a_gradient_method_waits_once(network, method, several):
    images, classes = scenes()
    model, images = load_demo_network(network).to(DEVICE), images.to(DEVICE)
    cam = method(model)
    targets = classes if several else [row[0] for row in classes]
    cam(images, targets)  # which finds the layer
    assert waits(lambda: cam(images, targets)) <= 1


@methods
def test_nothing_stays_on_the_gpu(method):
    images, classes = scenes()
    model, images = load_demo_network("shufflenet").to(DEVICE), images.to(DEVICE)

    def explain():
        method(model, **options(method))(images, classes)
        gc.collect()
        return torch.cuda.memory_allocated()

    explain()
    assert explain() == explain()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@methods
def test_half_precision(method, dtype):
    images, classes = scenes()
    model = load_demo_network("shufflenet").to(DEVICE, dtype)
    maps = method(model, **options(method))(images.to(dtype), classes)
    assert maps.dtype == np.float32
    assert np.isfinite(maps).all()


def test_autocast():
    images, classes = scenes()
    model = load_demo_network("vit").to(DEVICE)
    plain = GradCAM(model)(images, classes)
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        found = GradCAM(model)(images, classes)
    assert np.corrcoef(plain.ravel(), found.ravel())[0, 1] > 0.9


def test_where_memory_runs_out_fewer_copies_run_at_once():
    images, classes = scenes(1)
    model, images = load_demo_network("shufflenet").to(DEVICE), images.to(DEVICE)
    expected = ScoreCAM(model, channels=64)(images, classes)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 64 * 2**20) / total)
    try:
        found = ScoreCAM(model, channels=64, batch_size=4096)(images.repeat(1, 1, 4, 4), classes)
        assert np.isfinite(found).all()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert np.abs(ScoreCAM(model, channels=64)(images, classes) - expected).max() <= 1e-4


@networks
def test_guided_backpropagation(network):
    images, classes = scenes(1)
    model = load_demo_network(network)
    expected = GuidedBackpropReLUModel(model, "cpu")(images, classes[0][0])
    found = GuidedBackpropReLUModel(model.to(DEVICE), DEVICE)(images.to(DEVICE), classes[0][0])
    assert np.abs(found - expected).max() <= 1e-4 * max(np.abs(expected).max(), 1)


@pytest.mark.parametrize(
    "figure",
    [
        lambda *given: deletion(*given).area,
        lambda *given: road_combined(*given, generator=torch.Generator().manual_seed(0)),
    ],
    ids=["deletion", "road"],
)
def test_metrics_run_where_the_model_is(figure):
    images, classes = scenes()
    model = load_demo_network("shufflenet")
    maps = GradCAM(model).explain(images, classes).maps
    expected = figure(model, images, maps, classes)
    found = figure(model.to(DEVICE), images.to(DEVICE), maps.to(DEVICE), classes)
    assert found.device.type == DEVICE
    assert (found.cpu() - expected).abs().max() <= 1e-3
