"""Every method of METHODS against its oracle, and the properties that hold for all of them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pytorch_grad_cam import METHODS, GradCAM, GradCAMPlusPlus, XGradCAM
from pytorch_grad_cam._engine.reductions import first_component, mean_of_layers
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection
from tests.helpers import oracles
from tests.helpers.tiny_networks import NAMES, ConvNet, GapNet, make

methods = pytest.mark.parametrize("method", METHODS)
networks = pytest.mark.parametrize("network", NAMES)


def oracle_map(method, network, picture, category):
    """The oracle's map of one image; activations and gradients come from the whole graph of a plain forward pass."""
    features = network.features(picture[None])
    (gradients,) = torch.autograd.grad(network.head(features + 0)[0, category], features)
    transform = network.to_activations or (lambda x: x)

    @torch.no_grad()
    def rest(activations):
        return network.head(network.with_activations(features, torch.tensor(activations)[None]))[0, category].item()

    @torch.no_grad()
    def score(picture):
        return network(torch.tensor(picture)[None])[0, category].item()

    activations, gradients = (transform(x.detach())[0].numpy() for x in (features, gradients))
    image = SimpleNamespace(
        activations=activations, gradients=gradients, rest=rest, picture=picture.numpy(), score=score
    )
    return getattr(oracles, METHODS[method].__name__.lower())(image)


@methods
@networks
def test_raw_maps_equal_the_oracle(method, network):
    network, layer, inputs = make(network)
    classes = [[1, 3], [0, 2], [2, 2]]
    explanation = METHODS[method](network, layer, network.to_activations).explain(inputs, classes)
    for image, row in enumerate(classes):
        for k, category in enumerate(row):
            expected = oracle_map(method, network, inputs[image], category)
            found = explanation.layer_maps[0][image, k].numpy()
            assert abs(found - expected).max() <= 1e-10 * abs(expected).max()


@methods
@networks
def test_maps_are_float32_in_the_unit_range_and_of_the_input_size(method, network):
    network, layer, inputs = make(network, torch.float32)
    maps = METHODS[method](network, layer, network.to_activations)(inputs)
    assert maps.dtype == np.float32
    assert maps.shape == (3, *inputs.shape[2:])
    assert maps.min() >= 0
    assert np.allclose(maps.reshape(3, -1).max(1), 1)


@methods
@networks
def test_a_batch_equals_a_loop_over_its_images(method, network):
    network, layer, inputs = make(network)
    cam = METHODS[method](network, layer, network.to_activations)
    one_by_one = np.concatenate([cam(image[None], [target]) for image, target in zip(inputs, [3, 0, 1], strict=True)])
    assert np.allclose(cam(inputs, [3, 0, 1]), one_by_one, atol=1e-6)


@methods
@networks
def test_several_classes_equal_separate_calls(method, network):
    network, layer, inputs = make(network)
    cam = METHODS[method](network, layer, network.to_activations)
    separate = np.stack([cam(inputs, [a, a, a]) for a in (2, 0, 3)], axis=1)
    assert np.allclose(cam(inputs, [[2, 0, 3]] * 3), separate, atol=1e-6)


@methods
def test_in_place_operations_after_the_layer_change_nothing(method):
    maps = []
    for name in ("cnn", "in-place"):
        network, layer, inputs = make(name, torch.float32)
        maps.append(METHODS[method](network, layer)(inputs))
    assert np.array_equal(*maps)


@methods
def test_the_order_of_target_layers_changes_nothing(method):
    network, _, inputs = make("cnn")
    layers = [network.features[0], network.mix, network.features[3]]
    maps = [METHODS[method](network, order)(inputs) for order in (layers, layers[::-1])]
    assert np.allclose(*maps, atol=1e-6)
    single = [METHODS[method](network, layer).explain(inputs) for layer in layers]
    together = METHODS[method](network, layers).explain(inputs)
    for alone, layer_map in zip(single, together.layer_maps, strict=True):
        assert torch.allclose(alone.layer_maps[0], layer_map, atol=1e-12)


def scale_free(method):
    """ScoreCAM's softmax and eq. 19 of Grad-CAM++ depend on the scale of the logits by their nature."""
    return method not in ("scorecam", "gradcam++")


@pytest.mark.parametrize("method", [m for m in METHODS if scale_free(m)])
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scaling_all_logits_changes_no_map(method, scale):
    network, layer, inputs = make("cnn")
    cam = METHODS[method](network, layer)
    before = cam(inputs)
    with torch.no_grad():
        network.fc.weight *= scale
        network.fc.bias *= scale
    assert np.allclose(before, cam(inputs), atol=1e-6)


@pytest.mark.parametrize("scale", [1e-10, 1e-20])
def test_gradcam_plusplus_has_no_absolute_epsilon(scale):
    """Where all gradients are small, alpha is 1/2 everywhere and the scale of the logits no longer matters."""
    network, layer, inputs = make("cnn", torch.float32)
    gradients = GradCAM(network, layer).explain(inputs).evidence[0].gradients
    expected = (gradients.relu().sum((3, 4), keepdim=True) * network.features(inputs).detach().unsqueeze(1)).sum(2)
    with torch.no_grad():
        network.fc.weight *= scale
        network.fc.bias *= scale
    found = GradCAMPlusPlus(network, layer).explain(inputs).layer_maps[0]
    assert torch.allclose(found / found.abs().max(), expected / expected.abs().max(), atol=1e-4)


@methods
def test_permuting_channels_changes_no_map(method):
    network, layer, inputs = make("cnn")
    cam = METHODS[method](network, layer)
    before = cam(inputs)
    order = torch.randperm(5)
    last = network.features[2]
    with torch.no_grad():
        last.weight.copy_(last.weight[order])
        last.bias.copy_(last.bias[order])
        network.mix.weight.copy_(network.mix.weight[:, order])
    assert np.allclose(before, cam(inputs), atol=1e-6)


@methods
@pytest.mark.parametrize("network", ["cnn", "tokens", "channels-last", "3d"])
def test_eigen_smooth_is_the_first_component_of_the_weighted_activations(method, network):
    network, layer, inputs = make(network)
    cam = METHODS[method](network, layer, network.to_activations)
    plain, smooth = cam.explain(inputs), cam.explain(inputs, eigen_smooth=True)
    weighted = (plain.weights[0] * plain.evidence[0].activations).numpy()
    for image in range(3):
        expected = oracles.first_component(weighted[image, 0])
        assert np.allclose(smooth.layer_maps[0][image, 0].numpy(), expected, atol=1e-10 * abs(expected).max())


@methods
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_give_float32_maps(method, dtype):
    network, layer, inputs = make("cnn", torch.float32)
    expected = METHODS[method](network, layer)(inputs, 1)
    maps = METHODS[method](network.to(dtype), layer)(inputs.to(dtype), 1)
    assert maps.dtype == np.float32
    assert np.abs(maps - expected).mean() < 2e-2


def test_gradcam_weights_of_a_gap_network_are_those_of_its_linear_layer():
    network, inputs = GapNet().double().eval(), torch.randn(2, 3, 5, 7).double()
    explanation = GradCAM(network, network.features).explain(inputs, [[0, 1, 2, 3]] * 2)
    expected = network.fc.weight.detach() / 35
    assert torch.allclose(explanation.weights[0].flatten(2), expected.expand(2, -1, -1), atol=1e-15)


def test_gradcam_and_xgradcam_agree_on_a_gap_network():
    network, inputs = GapNet().double().eval(), torch.randn(2, 3, 5, 7).double()
    maps = [
        method(network, network.features).explain(inputs, [[0, 1]] * 2).layer_maps[0] for method in (GradCAM, XGradCAM)
    ]
    assert torch.allclose(*maps, atol=1e-15)


class Hand(torch.nn.Module):
    """Two channels A on two positions, y = 3 A_11 + A_12 + 2 A_21: gradients (3, 1) and (2, 0)."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Identity()

    def forward(self, x):
        x = self.layer(x)
        return (3 * x[:, 0, 0, 0] + x[:, 0, 0, 1] + 2 * x[:, 1, 0, 0]).unsqueeze(1)


BY_HAND = {
    "gradcam": [2 * 1 + 1 * -5, 2 * 2 + 1 * 4],
    # alpha of the first channel 1 / (2 + 3 * 3) and 1 / (2 + 3 * 1); of the second 0, as 2 + -1 * 2 is 0.
    "gradcam++": [3 / 11 + 1 / 5, 2 * (3 / 11 + 1 / 5)],
    # (3 * 1 + 1 * 2) / 3 and (2 * -5) / -1
    "xgradcam": [5 / 3 * 1 + 10 * -5, 5 / 3 * 2 + 10 * 4],
    "layercam": [3 * 1 + 2 * -5, 1 * 2],
    # Centred: (-0.5, 0.5) and (-4.5, 4.5).
    "eigencam": [-(20.5**0.5), 20.5**0.5],
    # Centred: (0.5, -0.5) and (-5, 5).
    "eigengradcam": [-(25.25**0.5), 25.25**0.5],
    # y = -5, without the first channel -10, without the second 5: weights 5 / 5 and -10 / 5.
    "ablationcam": [1 * 1 - 2 * -5, 1 * 2 - 2 * 4],
    # Both channels as masks let the second position through: y = 2 for both, weights 1 / 2.
    "scorecam": [(1 - 5) / 2, (2 + 4) / 2],
}


@methods
def test_by_hand(method):
    network, image = Hand(), torch.tensor([[[[1.0, 2.0]], [[-5.0, 4.0]]]])
    explanation = METHODS[method](network, network.layer).explain(image, 0)
    assert explanation.scores.tolist() == [[-5.0]]
    assert explanation.layer_maps[0].flatten().tolist() == pytest.approx(BY_HAND[method], rel=1e-6)
    low, high = BY_HAND[method]
    assert explanation.maps.flatten().tolist() == [float(low > high), float(high > low)]


@methods
@settings(max_examples=12, deadline=None)
@given(
    axes=st.integers(1, 3),
    size=st.integers(4, 9),
    batch=st.integers(1, 4),
    scale=st.sampled_from([1e-8, 1.0, 1e8]),
    seed=st.integers(0, 1000),
)
def test_any_shape_batch_and_scale(method, axes, size, batch, scale, seed):
    torch.manual_seed(seed)
    network = ConvNet(axes).eval()
    inputs = torch.randn(batch, 3, *range(size, size + axes)) * scale
    cam = METHODS[method](network, network.features, batch_size=size)
    maps = cam(inputs, [[0, 1]] * batch)
    assert maps.shape == (batch, 2, *inputs.shape[2:])
    assert maps.dtype == np.float32
    assert np.isfinite(maps).all()
    assert maps.min() >= 0
    assert maps.max() <= 1


def test_layers_are_fused_by_the_mean_of_their_maps_each_rescaled_and_then_resized():
    maps = [torch.tensor([[[[-1.0, 0.0, 2.0, 4.0]]]]), torch.tensor([[[[3.0, 1.0]]]])]
    # The first to (0, 0, 0.5, 1); the second to (1, 0), enlarged to (1, 0.75, 0.25, 0); their mean to [0, 1].
    mean = torch.tensor([0.5, 0.375, 0.375, 0.5])
    expected = (mean - 0.375) / 0.125
    assert torch.allclose(mean_of_layers(maps, (1, 4)).flatten(), expected)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_components_of_tiny_and_of_huge_values(scale):
    weighted = torch.randn(2, 1, 5, 4, 4)
    expected = first_component(weighted)
    assert torch.allclose(first_component(weighted * scale) / scale, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_xgradcam_of_channels_whose_activations_cancel(dtype):
    """After a normalisation over space the sum of a channel is rounding, which is nothing to divide by."""
    network = GapNet().to(dtype).eval()
    network.features.append(torch.nn.InstanceNorm2d(6))
    explanation = XGradCAM(network, network.features).explain(torch.randn(2, 3, 32, 32, dtype=dtype) + 2, 1)
    assert not explanation.weights[0].any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(2, 5, 3, 4), (2, 30, 3, 4), (1, 4, 2, 3, 3)])
def test_the_projection_of_arrays_is_the_first_component(shape, dtype):
    activations = np.random.default_rng(0).normal(size=shape).astype(dtype)
    activations[0, 1, 0, 1] = np.nan
    found = get_2d_projection(activations)
    assert (found.shape, found.dtype) == ((shape[0], *shape[2:]), np.float32)
    for image, projection in zip(np.nan_to_num(activations), found, strict=True):
        assert np.allclose(projection, oracles.first_component(image), atol=1e-5)
    assert np.isnan(activations[0, 1, 0, 1]).all(), "the caller's array is as it was"


def test_the_projection_of_arrays_keeps_double_precision():
    activations = np.random.default_rng(0).normal(size=(1, 5, 3, 4))
    assert np.allclose(get_2d_projection(1e9 + activations), get_2d_projection(activations), atol=1e-4)
