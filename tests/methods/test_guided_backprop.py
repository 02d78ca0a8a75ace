"""Guided backpropagation against a slow version, for every way to write a ReLU."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pytorch_grad_cam import GuidedBackpropReLUModel
from pytorch_grad_cam.guided_backprop import GuidedBackpropReLUasModule
from pytorch_grad_cam.utils.find_layers import replace_all_layer_type_recursive

RELUS = {
    "module": lambda: nn.ReLU(),
    "module in place": lambda: nn.ReLU(inplace=True),
    "F.relu": lambda: F.relu,
    "F.relu in place": lambda: lambda x: F.relu(x, inplace=True),
    "F.relu_": lambda: F.relu_,
    "torch.relu": lambda: torch.relu,
    "torch.relu_": lambda: torch.relu_,
    "method": lambda: lambda x: x.relu(),
    "method in place": lambda: lambda x: x.relu_(),
    "in place, result unused": lambda: lambda x: (x.relu_(), x)[1],
}


class Mlp(nn.Module):
    """Two ReLUs with one linear layer before, between and after, on flattened pictures."""

    def __init__(self, relu):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(12, 9), nn.Linear(9, 7), nn.Linear(7, 4)])
        self.relu = relu()

    def forward(self, x):
        x = self.layers[0](x.flatten(1))
        x = self.layers[1](self.relu(x))
        return self.layers[2](self.relu(x))


def by_hand(model, image, category):
    """The guided gradient of one image, from the matrices alone."""
    matrices = [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in model.layers]
    x, outputs = image.flatten().numpy(), []
    for weight, bias in matrices[:2]:
        x = np.maximum(weight @ x + bias, 0)
        outputs.append(x)
    gradient = matrices[2][0][category]
    for (weight, _), output in zip(reversed(matrices[:2]), reversed(outputs), strict=True):
        gradient = np.where((output > 0) & (gradient > 0), gradient, 0) @ weight
    return gradient.reshape(image.shape).transpose(1, 2, 0)


@pytest.mark.parametrize("relu", RELUS)
def test_every_relu_counts_in_the_whole_batch(relu):
    model, images = Mlp(RELUS[relu]).double(), torch.randn(5, 3, 2, 2).double()
    classes = [0, 3, 1, 2, 2]
    found = GuidedBackpropReLUModel(model)(images, classes)
    assert found.shape == (5, 2, 2, 3)
    assert found.dtype == np.float32
    for gradient, image, category in zip(found, images, classes, strict=True):
        assert np.allclose(gradient, by_hand(model, image, category), atol=1e-6)


def test_a_relu_on_the_input_in_place():
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(12, 2))
    image = torch.randn(1, 3, 2, 2)
    given = image.clone()
    gradient = GuidedBackpropReLUModel(model)(image, 1)
    expected = model[2].weight.detach().clamp(min=0)[1].reshape(3, 2, 2) * (given[0] > 0)
    assert np.allclose(gradient.transpose(2, 0, 1), expected)
    assert torch.equal(image, given)


def test_one_image_gives_one_picture_and_other_settings_work():
    model = Mlp(nn.ReLU).requires_grad_(False)
    image = torch.randn(1, 3, 2, 2)
    expected = GuidedBackpropReLUModel(model=model, use_cuda=False)(image, target_category=1)
    assert expected.shape == (2, 2, 3)
    assert np.array_equal(GuidedBackpropReLUModel(model, device="cpu")(image, 1), expected)
    assert np.array_equal(GuidedBackpropReLUModel(model, "cpu")(image, 1), expected)
    with torch.inference_mode():
        assert np.array_equal(GuidedBackpropReLUModel(model)(image * 1, 1), expected)
    best = int(model(image).argmax())
    assert np.array_equal(GuidedBackpropReLUModel(model)(image), GuidedBackpropReLUModel(model)(image, best))


def test_errors():
    model = Mlp(nn.ReLU)
    with pytest.raises(IndexError, match="class 7, but the model returned 4 scores"):
        GuidedBackpropReLUModel(model)(torch.randn(1, 3, 2, 2), 7)
    with pytest.raises(ValueError, match="2 targets for 3 images"):
        GuidedBackpropReLUModel(model)(torch.randn(3, 3, 2, 2), [1, 2])
    with pytest.raises(TypeError, match="expected a torch.nn.Module"):
        GuidedBackpropReLUModel("resnet50")
    with pytest.raises(TypeError, match="input_img is a value of type ndarray, expected a torch.Tensor"):
        GuidedBackpropReLUModel(model)(np.zeros((1, 3, 2, 2)))
    with pytest.raises(ValueError, match="one target for each image"):
        GuidedBackpropReLUModel(model)(torch.randn(1, 3, 2, 2), [[1, 2]])


def test_the_module_guides_where_it_is_put():
    """As code written for grad-cam does it by hand."""
    model, image = Mlp(nn.ReLU), torch.randn(1, 3, 2, 2)
    expected = by_hand(model, image[0], 2)
    replace_all_layer_type_recursive(model, nn.ReLU, GuidedBackpropReLUasModule())
    image.requires_grad_()
    model(image)[0, 2].backward()
    assert np.allclose(image.grad[0].movedim(0, -1).numpy(), expected, atol=1e-6)
