"""Subclasses written for grad-cam 1.x, and what they may call."""

import numpy as np
import pytest
import torch

from pytorch_grad_cam import GradCAM, explain_dataset
from pytorch_grad_cam.activations_and_gradients import ActivationsAndGradients
from tests.helpers import peer_subclasses
from tests.helpers.peer_process import run_peer
from tests.helpers.tiny_networks import ConvNet


@pytest.mark.peer
def test_maps_are_those_of_the_peer(request, tmp_path):
    expected = run_peer(request.config, peer_subclasses.__file__, tmp_path / "subclasses.npz")
    maps = peer_subclasses.maps()
    assert sorted(expected) == sorted(maps)
    for name, array in maps.items():
        assert np.allclose(array, expected[name], rtol=0, atol=1e-5), name


@pytest.fixture
def classes():
    return {cls.__name__: cls for cls in peer_subclasses.subclasses()}


def by_hand(model, images, classes):
    """Activations and gradients of `features`, (3, 5, 6, 8), of the scores of the classes."""
    activations = model.features(images).detach().requires_grad_()
    scores = model.head(activations)[torch.arange(3), torch.tensor(classes)]
    return activations.detach(), torch.autograd.grad(scores.sum(), activations)[0]


def scaled(maps):
    """Rescaled and resized positive maps, as of one layer."""
    maps = maps.relu()
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    maps = (maps - low) / (high - low)
    maps = torch.nn.functional.interpolate(maps[:, None], (12, 16), mode="bilinear")[:, 0]
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return ((maps - low) / (high - low)).numpy()


def test_own_weights(classes, model, images):
    activations, gradients = by_hand(model, images, [0, 2, 1])
    weights = gradients.relu().mean((2, 3), keepdim=True)
    found = classes["OwnWeights"](model, [model.features])(images, targets=[0, 2, 1])
    assert np.allclose(found, scaled((weights * activations).sum(1)), atol=1e-5)


def test_own_image_and_its_super(classes, model, images):
    activations, gradients = by_hand(model, images, [0, 2, 1])
    grad_cam = (gradients.mean((2, 3), keepdim=True) * activations).sum(1)
    expected = scaled(grad_cam + (gradients * activations).relu().sum(1))
    found = classes["OwnImage"](model, [model.features])(images, targets=[0, 2, 1])
    assert np.allclose(found, expected, atol=1e-5)


def test_own_forward_runs_and_nothing_is_left_on_the_model(classes, model, images):
    found = classes["OwnForward"](model, [model.features])(images)
    activations, gradients = by_hand(model, images, [1, 1, 1])
    assert np.allclose(found, scaled((gradients.mean((2, 3), keepdim=True) * activations).sum(1)), atol=1e-5)
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())


def test_every_point_is_called(classes, model, images):
    for name, cls in classes.items():
        if name in ("OwnForward", "OwnAggregate"):  # which are GradCAM, the second of one layer
            continue
        maps = cls(model, "features")(images, 0)
        assert maps.shape != (3, 12, 16) or not np.allclose(maps, GradCAM(model, "features")(images, 0)), name
    two = ["features.1", "features"]
    assert not np.allclose(classes["OwnAggregate"](model, two)(images, 0), GradCAM(model, two)(images, 0))


def test_a_subclass_of_a_subclass_and_a_mixin_are_called_too(classes, model, images):
    class Derived(classes["OwnWeights"]):
        pass

    class Half:
        def aggregate_multi_layers(self, cam_per_target_layer):
            return super().aggregate_multi_layers(cam_per_target_layer) / 2

    class Mixed(Half, GradCAM):
        pass

    expected = classes["OwnWeights"](model, "features")(images, 1)
    assert np.array_equal(Derived(model, "features")(images, 1), expected)
    assert np.allclose(Mixed(model, "features")(images, 1), GradCAM(model, "features")(images, 1) / 2, atol=1e-5)


def test_what_needs_more_than_a_map_refuses(classes, model, images):
    cam = classes["OwnWeights"](model, "features")
    with pytest.raises(TypeError, match="OwnWeights overrides get_cam_weights of grad-cam 1.x"):
        cam.explain(images)
    with pytest.raises(TypeError, match="OwnWeights overrides get_cam_weights"):
        list(explain_dataset(cam, [images]))
    with pytest.raises(ValueError, match="one target for each image"):
        cam(images, [[0, 1]] * 3)


def test_weights_of_a_wrong_shape(model, images):
    class Wrong(GradCAM):
        def get_cam_weights(self, *_):
            return np.ones((3, 4))

    with pytest.raises(ValueError, match=r"get_cam_weights of Wrong returned \(3, 4\) .* expected \(3, 5\)"):
        Wrong(model, "features")(images)


def test_arguments_that_nothing_would_read_are_refused(model):
    with pytest.raises(TypeError, match="subclasses with a forward of their own"):
        GradCAM(model, "features", compute_input_gradient=True)
    with pytest.raises(TypeError, match="subclasses with a forward of their own"):
        GradCAM(model, "features", None, False, True, None, False)


@pytest.mark.parametrize("frozen", [False, True])
def test_activations_and_gradients(images, frozen):
    model = ConvNet().eval().requires_grad_(not frozen)
    record = ActivationsAndGradients(model, [model.features[1], model.features], None)
    for _ in range(2):
        outputs = record(images)
        outputs[torch.arange(3), torch.tensor([0, 2, 1])].sum().backward()
    activations, gradients = by_hand(model, images, [0, 2, 1])
    assert torch.allclose(record.activations[1], activations)
    assert torch.allclose(record.gradients[1], gradients)
    assert record.gradients[0].shape == record.activations[0].shape
    assert not any(module._forward_hooks for module in model.modules())


def test_a_constructor_of_old_may_set_what_the_old_base_class_set(model, images, classes):
    class Old(classes["OwnForward"]):
        def __init__(self, model, target_layers):
            super().__init__(model, target_layers)
            self.device = next(self.model.parameters()).device
            self.activations_and_grads = ActivationsAndGradients(self.model, target_layers, None)

    expected = classes["OwnForward"](model, [model.features])(images)
    assert np.array_equal(Old(model, [model.features])(images), expected)


@pytest.mark.parametrize("name", ["get_cam_weights", "get_cam_image", "forward", "aggregate_multi_layers"])
def test_a_method_set_on_one_object_is_refused_and_not_ignored(model, name):
    with pytest.raises(AttributeError, match=f"{name} of one object would never be called; override it in a subclass"):
        setattr(GradCAM(model, "features"), name, lambda *args: None)


def test_no_transforms_to_smooth_over(classes, model, images):
    with pytest.raises(ValueError, match="tta_transforms is empty"):
        classes["OwnAggregate"](model, "features", tta_transforms=[])(images, 1, aug_smooth=True)
