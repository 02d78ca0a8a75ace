"""Where a model fails on its input because the two do not fit, the error says what to do."""

import copy

import pytest
import torch
from torch import nn

from pytorch_grad_cam import METHODS, GuidedBackpropReLUModel

methods = pytest.mark.parametrize("method", METHODS)


@methods
@pytest.mark.parametrize("layer", ["features", None])
@pytest.mark.parametrize(
    ("change", "advice"),
    [
        (lambda x: x.double(), r"weights are torch.float32: give the input as input_tensor.to\(torch.float32\)"),
        (lambda x: x.byte(), r"input_tensor.to\(torch.float32\)"),
        (lambda x: x.half(), r"input_tensor.to\(torch.float32\)"),
        (lambda x: x[0], r"axis of the batch is missing: give input_tensor.unsqueeze\(0\)"),
        (lambda x: x.permute(0, 2, 3, 1), r"channels stand last: give input_tensor.permute\(0, 3, 1, 2\)"),
        (lambda x: x[:, :1], "has 1 channels, and the model takes 3"),
    ],
)
def test_inputs_that_do_not_fit(method, layer, change, advice, images):
    model = nn.Sequential()
    model.features = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU())
    model.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    with pytest.raises(ValueError, match=f"Sequential cannot run on an input .*{advice}") as raised:
        METHODS[method](model.eval(), layer)(change(images))
    assert raised.value.__cause__ is not None


def test_what_the_model_raises_of_its_own_goes_through(model, images):
    error = RuntimeError("mine")

    def fail(*_):
        raise error

    model.mix.register_forward_hook(fail)
    with pytest.raises(RuntimeError) as raised:
        METHODS["gradcam"](model, model.features)(images)
    assert raised.value is error


def test_a_model_made_in_inference_mode(images):
    with torch.inference_mode():
        model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ValueError, match=r"made in inference mode .* give copy.deepcopy\(model\)"):
        METHODS["gradcam"](model, "0")(images)
    with pytest.raises(ValueError, match=r"give copy.deepcopy\(model\)"):
        GuidedBackpropReLUModel(model)(images)
    assert METHODS["gradcam"](copy.deepcopy(model), "0")(images).shape == (3, 12, 16)
    assert METHODS["ablationcam"](model, "0")(images).shape == (3, 12, 16)


def test_a_model_without_values():
    with torch.device("meta"):
        model = nn.Conv2d(3, 6, 3)
    with pytest.raises(ValueError, match="weights of Conv2d are on the meta device and have no values; load them"):
        METHODS["gradcam"](model)


@pytest.mark.parametrize(
    ("make", "raises"),
    [
        (lambda: nn.Linear(5, 4), RuntimeError),  # too few channels there, but the pictures are right
        (lambda: Complains(), ValueError),
        (lambda: Lacks(), TypeError),
    ],
)
@pytest.mark.parametrize("change", [lambda x: x, lambda x: x.byte()])
def test_pictures_are_not_blamed_for_what_else_fails(make, raises, change, images):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.neck, self.features, self.fc = nn.Conv2d(64, 8, 1), nn.Conv2d(3, 6, 3), make()

        def forward(self, x):
            return self.fc(self.features(x.float()).mean((2, 3)))

    with pytest.raises(raises) as raised:
        METHODS["gradcam"](Model().eval(), "features")(change(images))
    assert "cannot run on an input" not in str(raised.value)


class Complains(nn.Module):
    def forward(self, x):
        raise ValueError("my own complaint")


class Lacks(nn.Module):
    def forward(self, x, scale):
        return x * scale
