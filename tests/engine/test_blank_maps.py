"""A blank map says why, once a call, and nothing that is not a number becomes a picture."""

import re
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from pytorch_grad_cam import METHODS, BlankMapWarning
from tests.helpers.tiny_networks import ConvNet, GapNet

methods = pytest.mark.parametrize("method", METHODS)
with_gradients = pytest.mark.parametrize("method", [name for name, one in METHODS.items() if one.derivatives])


def explain(method, model, layers, *arguments, **options):
    """The maps, and what the one warning said."""
    with pytest.warns(BlankMapWarning) as caught:
        maps = METHODS[method](model, layers)(*arguments, **options)
    assert len(caught) == 1
    assert caught[0].filename == __file__, "it points to the line of the user"
    return maps, str(caught[0].message)


@methods
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_a_number_in_one_picture(method, value, images):
    model = ConvNet().double().eval()
    images = images.double()
    # Before the target layer a tanh would make 1 of what is infinite.
    layer = model.features[2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = METHODS[method](model, layer)(images, 1)
    images[1, 0, 3, 4] = value
    maps, said = explain(method, model, layer, images, 1)
    assert "image 1: 1 of 576 values of the input are NaN or infinite; check how the images were" in said
    assert np.isfinite(maps).all()
    assert not maps[1].any()
    assert np.allclose(maps[[0, 2]], expected[[0, 2]], atol=1e-6), "the others are as they would be without it"


@methods
def test_not_a_number_in_a_weight(method, model, images):
    model.features[0].weight.data[0, 0, 0, 0] = torch.nan
    maps, said = explain(method, model, model.features, images, 1)
    assert "3 of 3 maps are blank" in said
    assert "1 of 162 values of weight 'features.0.weight' are NaN or infinite; check the file" in said
    assert not maps.any()


@methods
def test_numbers_that_overflow_in_the_layer(method, images):
    model = ConvNet().eval()
    model.features[2].weight.data *= 1e38
    _, said = explain(method, model, model.features[2], images * 1e4, 1)
    assert "values of what layer 'features.2' returned are NaN or infinite; numbers grew too large" in said


@with_gradients
def test_a_score_that_is_not_a_number(method, model, images):
    _, said = explain(method, model, model.features, images, lambda scores: scores[0] / 0)
    assert "values of the score are NaN or infinite" in said


@methods
def test_activations_of_zero(method, model, images):
    nn.init.zeros_(model.features[2].weight)
    nn.init.zeros_(model.features[2].bias)
    _, said = explain(method, model, model.features, images, 1)
    assert re.search(r"images 0, 1, 2: what layer 'features' returned is 0 everywhere(, score|: nothing)", said)


@with_gradients
def test_a_gradient_of_zero(method, model, images):
    nn.init.zeros_(model.fc.weight)
    _, said = explain(method, model, model.features, images, 1)
    assert "the score's gradient is 0 everywhere at layer 'features', score" in said


def test_weights_of_zero(model, images):
    nn.init.zeros_(model.fc.weight)
    _, said = explain("ablationcam", model, model.features, images, 1)
    assert "the weights of all 5 channels of layer 'features' are 0" in said


def test_all_negative_before_the_relu(images):
    model = GapNet().eval()
    model.fc.weight.data = -model.fc.weight.data.abs()
    explanation = METHODS["gradcam"](model, model.features)
    _, said = explain("gradcam", model, model.features, images, 1)
    with pytest.warns(BlankMapWarning):
        raw = explanation.explain(images, 1).layer_maps[0]
    assert raw.max() <= 0
    negative = f"image 0: the map of layer 'features' is negative at {(raw[0] < 0).sum()} of 192 positions and nowhere"
    assert f"{negative} positive before the ReLU ({raw[0].min():.3g} to {raw[0].max():.3g}, score" in said


def test_all_positions_alike(images):
    model = GapNet().eval()
    model.fc.weight.data = model.fc.weight.data.abs()
    nn.init.zeros_(model.features[0].weight)
    nn.init.ones_(model.features[0].bias)
    _, said = explain("gradcam", model, model.features, images, 1)
    assert "all 192 positions of layer 'features' are alike" in said


def test_of_several_layers_the_one_that_is_broken(images):
    model = ConvNet().eval()
    model.mix.bias.data[0] = torch.nan
    maps, said = explain("eigencam", model, [model.features, model.mix], images)
    assert "weight 'mix.bias'" in said
    assert "alike" not in said
    assert not maps.any()


@pytest.mark.parametrize(
    "smooth", [{"aug_smooth": True}, {"eigen_smooth": True}, {"aug_smooth": True, "eigen_smooth": True}]
)
def test_once_a_call_whatever_the_smoothing(smooth, model, images):
    images[0] = torch.nan
    maps, said = explain("gradcam", model, model.features, images, [[0, 1]] * 3, **smooth)
    assert "2 of 6 maps are blank. image 0: 576 of 576" in said
    assert np.isfinite(maps).all()


def test_explain_warns_as_a_call_does_and_keeps_the_raw_values(model, images):
    images[0] = torch.nan
    with pytest.warns(BlankMapWarning, match="image 0") as caught:
        explanation = METHODS["gradcam"](model, model.features).explain(images, 1)
    assert caught[0].filename == __file__
    assert explanation.maps.isfinite().all()
    assert explanation.layer_maps[0][0].isnan().all()


@methods
def test_good_maps_are_silent_and_the_warning_can_be_an_error(method, model, images):
    with warnings.catch_warnings():
        warnings.simplefilter("error", BlankMapWarning)
        # Whether a random network speaks for a target is chance; here it does, for all methods, in two images.
        METHODS[method](model, "mix")(images[::2], lambda scores: scores.square().sum())
        with pytest.raises(BlankMapWarning):
            METHODS[method](model, "mix")(images * torch.nan)
