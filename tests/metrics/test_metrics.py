"""Metrics of faithfulness and sanity against their oracles, by hand, and what holds for all of them."""

import copy
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch

from pytorch_grad_cam import EigenCAM, GradCAM
from pytorch_grad_cam.metrics import (
    average_drop,
    cascading_randomization,
    deletion,
    increase_in_confidence,
    insertion,
    linear_imputation,
    noisy_linear_imputation,
    rank_correlation,
    rank_pixels,
    road_combined,
    road_curve,
    sensitivity_n,
)
from pytorch_grad_cam.metrics.removal import blur, pixel_counts
from pytorch_grad_cam.targets import ClassifierOutputSoftmaxTarget, ClassifierOutputTarget
from tests.helpers import metric_oracles as oracles
from tests.helpers.peer_metrics import sharpen
from tests.helpers.tiny_networks import ConvNet

CLASSES = [[0, 3], [2, 1], [1, 1]]
ASKED = {
    "average_drop": average_drop,
    "increase_in_confidence": increase_in_confidence,
    "deletion": lambda *args, **kwargs: deletion(*args, step=50, **kwargs).scores,
    "insertion": lambda *args, **kwargs: insertion(*args, step=50, **kwargs).area,
    "road_curve": partial(road_curve, noise=0, percentages=[20, 70]),
    "road_combined": partial(road_combined, noise=0, percentages=[30]),
}
every_metric = pytest.mark.parametrize("metric", ASKED.values(), ids=ASKED)


@pytest.fixture
def inputs():
    return torch.randn(3, 3, 12, 16, dtype=torch.float64)


@pytest.fixture
def net(inputs):
    return sharpen(ConvNet().double().eval(), inputs)


@pytest.fixture
def maps():
    """With ties, half of each 0."""
    return (torch.rand(3, 2, 12, 16, dtype=torch.float64) - 0.5).clamp(min=0).mul(20).round() / 10


def score_of(net, category, activation):
    @torch.no_grad()
    def score(image):
        scores = net(torch.tensor(image)[None])[0]
        return (scores.softmax(0) if activation == "softmax" else scores)[category].item()

    return score


def by_oracle(net, inputs, maps, oracle, activation="softmax"):
    """(B, K, ...) of whatever the oracle gives for an image, a map and a score."""
    return np.array(
        [
            [
                oracle(image, heat, score_of(net, category, activation))
                for heat, category in zip(row, categories, strict=True)
            ]
            for image, row, categories in zip(inputs.numpy(), maps.numpy(), CLASSES, strict=True)
        ]
    )


@pytest.mark.parametrize("activation", ["softmax", None])
def test_average_drop_and_increase(net, inputs, maps, activation):
    options = {"targets": CLASSES, "activation": activation}

    def drop(image, heat, score):
        return max(0, score(image) - score(image * heat)) / abs(score(image))

    expected = by_oracle(net, inputs, maps, drop, activation)
    assert (expected > 0).any()
    assert (expected == 0).any()
    assert np.allclose(average_drop(net, inputs, maps, **options), expected, atol=1e-12)
    assert np.array_equal(increase_in_confidence(net, inputs, maps, **options), expected == 0)


@pytest.mark.parametrize("step", [1, 50, 192, 500])
def test_deletion_and_insertion(net, inputs, maps, step):
    for metric, ends in (
        (deletion, lambda image: (image, 0 * image)),
        (insertion, lambda image: (oracles.blur(image), image)),
    ):
        result = metric(net, inputs, maps, CLASSES, step=step)

        def oracle(image, heat, score, ends=ends):
            scores, area = oracles.curve(*ends(image), heat, score, step)
            return [*scores, area]

        expected = by_oracle(net, inputs, maps, oracle)
        assert np.allclose(result.scores, expected[..., :-1], atol=1e-7)
        assert np.allclose(result.area, expected[..., -1], atol=1e-7)
        assert result.shares[0] == 0
        assert result.shares[-1] == 1


def test_every_step_changes_exactly_the_asked_pixels_also_on_a_blank_map():
    class Count(torch.nn.Module):
        """The score is how many pixels are not 0."""

        def forward(self, x):
            return (x != 0).float().sum((1, 2, 3))[:, None]

    curve = deletion(Count(), torch.ones(1, 1, 6, 7), torch.zeros(1, 6, 7), 0, step=10, activation=None)
    assert curve.scores.tolist() == [[42, 32, 22, 12, 2, 0]]
    assert curve.shares.tolist() == pytest.approx([0, 10 / 42, 20 / 42, 30 / 42, 40 / 42, 1])
    default = deletion(Count(), torch.ones(1, 1, 6, 7), torch.zeros(1, 6, 7), 0, activation=None)
    assert default.scores.tolist() == [[42, 35, 28, 21, 14, 7, 0]]
    assert default.area.tolist() == [21]


def test_baselines(net, inputs, maps):
    means = inputs.mean((2, 3), keepdim=True)
    for name, tensor in (("mean", means), ("blur", blur(inputs)), ("zeros", torch.zeros(1))):
        by_name, by_value = (deletion(net, inputs, maps, CLASSES, step=64, baseline=b) for b in (name, tensor))
        assert torch.equal(by_name.scores, by_value.scores)
    assert np.allclose(blur(inputs)[1], oracles.blur(inputs[1].numpy()))
    for wrong in ("black", torch.zeros(5, 5)):
        with pytest.raises(ValueError, match="baseline"):
            deletion(net, inputs, maps, CLASSES, baseline=wrong)


@pytest.mark.parametrize("first", ["most", "least"])
def test_road(net, inputs, maps, first):
    percentages = [0, 10, 33, 90]
    result = road_curve(net, inputs, maps, CLASSES, first=first, percentages=percentages, noise=0)
    for i, percentage in enumerate(percentages):
        oracle = partial(oracles.road, percentage=percentage, most=first == "most")
        expected = by_oracle(net, inputs, maps, oracle)
        assert np.allclose(result[..., i], expected, atol=1e-5)
        assert percentage == 0 or abs(expected).max() > 1e-2


def test_road_combined_is_half_of_least_less_most(net, inputs, maps):
    options = {"targets": CLASSES, "percentages": [20, 60], "noise": 0}
    least, most = (road_curve(net, inputs, maps, first=first, **options).mean(2) for first in ("least", "most"))
    assert torch.allclose(road_combined(net, inputs, maps, **options), (least - most) / 2, atol=1e-12)


@pytest.mark.parametrize("size", [(1, 9), (9, 1), (2, 2), (3, 3), (7, 12), (16, 16), (17, 31)])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, "all but one", "smooth"])
def test_imputation_solves_the_dense_system(size, share):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(4, 2, *size)) * [[[[1]], [[100]]]]
    if share == "smooth":
        y, x = np.mgrid[: size[0], : size[1]]
        missing = np.stack([(y - i) ** 2 + (x - 2 * i) ** 2 > 9 * i for i in range(4)])
        missing[:, 0, -1] = False
    else:
        count = size[0] * size[1] - 1 if share == "all but one" else int(share * size[0] * size[1])
        missing = rng.permuted(np.arange(size[0] * size[1]) < count + np.zeros((4, 1)), axis=1).reshape(4, *size)
    for weights in ((1 / 6, 1 / 6, 1 / 12), (0.3, 0.1, 0.05)):
        expected = np.stack([oracles.impute(*pair, weights) for pair in zip(inputs, missing, strict=True)])
        result = linear_imputation(torch.tensor(inputs), torch.tensor(missing), weights).numpy()
        assert abs(result - expected).max() <= 1e-10 * abs(inputs).max()
        kept = np.broadcast_to(~missing[:, None], inputs.shape)
        assert np.array_equal(result[kept], inputs[kept])


def test_imputation_by_hand():
    flat = torch.full((1, 1, 40, 40), 3.5)
    where = torch.rand(1, 40, 40) < 0.9
    assert torch.allclose(linear_imputation(flat, where), flat, atol=1e-6)
    line = torch.linspace(0, 1, 33).expand(1, 1, 33)[None]  # a slope stays one
    inner = torch.zeros(1, 1, 33, dtype=torch.bool)
    inner[..., 1:-1] = True
    assert torch.allclose(linear_imputation(line * (1 - inner.float()), inner), line, atol=1e-6)


def test_an_image_of_which_nothing_is_known_becomes_its_mean(inputs):
    removed = torch.ones(3, 12, 16, dtype=torch.bool)
    removed[1, 0, 0] = False
    filled = linear_imputation(inputs, removed)
    assert torch.allclose(filled[0], inputs[0].mean((1, 2), keepdim=True))
    assert torch.allclose(filled[1], inputs[1, :, :1, :1], atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_imputation_keeps_the_dtype_and_the_arguments(inputs, dtype):
    images, removed = inputs.to(dtype), torch.rand(3, 12, 16) < 0.5
    before = images.clone(), removed.clone()
    filled = linear_imputation(images, removed)
    assert filled.dtype == dtype
    assert filled.is_contiguous()
    assert torch.equal(images, before[0])
    assert torch.equal(removed, before[1])
    assert torch.equal(linear_imputation(images, torch.zeros_like(removed)), images)


def test_imputation_without_scipy_says_what_to_install(inputs, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match=r'needs SciPy: pip install "grad-cam\[metrics\]"'):
        linear_imputation(inputs, torch.ones(3, 12, 16, dtype=torch.bool))


def test_importing_the_metrics_loads_no_scipy():
    code = (
        "import sys, torch; before = set(sys.modules); import pytorch_grad_cam.metrics, pytorch_grad_cam.metrics.arcc; "
    )
    code += "print([name for name in sys.modules if name.partition('.')[0] == 'scipy' and name not in before])"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"


def test_noise_falls_on_missing_pixels_alone(inputs):
    removed = torch.rand(3, 12, 16) < 0.5
    clean = linear_imputation(inputs, removed)
    noisy = [
        noisy_linear_imputation(inputs, removed, 0.1, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    assert torch.equal(noisy[0], noisy[1])
    assert not torch.equal(noisy[0], noisy[2])
    where = removed[:, None].expand_as(clean)
    assert torch.equal(noisy[0][~where], inputs[~where])
    assert (noisy[0] - clean)[where].std() == pytest.approx(0.1, rel=0.15)
    assert torch.equal(noisy_linear_imputation(inputs, removed, 0), clean)


def test_imputation_refuses_what_it_cannot_fill(inputs):
    removed = torch.ones(3, 12, 16, dtype=torch.bool)
    for arguments in ((inputs[0], removed), (inputs, removed[0]), (inputs, removed.float())):
        with pytest.raises(ValueError, match=r"expected \(N, C, H, W\)"):
            linear_imputation(*arguments)
    with pytest.raises(ValueError, match="NaN"):
        linear_imputation(inputs * torch.nan, removed)
    with pytest.raises(ValueError, match="weights"):
        linear_imputation(inputs, removed, (1, 0, 1))
    with pytest.raises(ValueError, match="noise"):
        noisy_linear_imputation(inputs, removed, -1)


@pytest.mark.parametrize("first", ["most", "least"])
def test_ranks_are_a_stable_order(maps, first):
    flat = maps.flatten(0, 1)
    for heat, ranks in zip(flat.numpy(), rank_pixels(flat, first).numpy(), strict=True):
        for place, spot in enumerate(oracles.order(heat, first == "most")):
            assert ranks[spot] == place


def test_pixel_counts():
    assert pixel_counts([0, 10, 50, 99.9, 100], 128 * 128) == [0, 1638, 8192, 16368, 16384]
    for wrong in ([], [101], [-1], [float("nan")]):
        with pytest.raises(ValueError, match="percentages"):
            pixel_counts(wrong, 10)


def test_sensitivity_n(net, inputs, maps):
    result = sensitivity_n(net, inputs, maps, CLASSES, n=30, samples=20, generator=torch.Generator().manual_seed(5))
    order = torch.rand(20, 192, generator=torch.Generator().manual_seed(5)).argsort(1)
    sets = [row[:30].tolist() for row in order]

    def oracle(image, heat, score):
        falls = []
        for indices in sets:
            without = image.copy().reshape(3, -1)
            without[:, indices] = 0
            falls.append(score(image) - score(without.reshape(image.shape)))
        return oracles.pearson([heat.flat[indices].sum() for indices in sets], falls)

    assert np.allclose(result, by_oracle(net, inputs, maps, oracle, None), atol=1e-6)


def test_sensitivity_n_of_a_linear_model_is_1_for_its_own_terms():
    class Linear(torch.nn.Module):
        def forward(self, x):
            return (x[:, 0] * torch.arange(20.0).view(4, 5)).sum((1, 2))[:, None]

    inputs = torch.rand(2, 1, 4, 5)
    maps = inputs[:, 0] * torch.arange(20.0).view(4, 5)
    assert sensitivity_n(Linear(), inputs, maps, 0, n=5).tolist() == pytest.approx([1, 1])
    assert sensitivity_n(Linear(), inputs, -maps, 0, n=5).tolist() == pytest.approx([-1, -1])
    assert sensitivity_n(Linear(), inputs, torch.full_like(maps, 0.3), 0, n=5).tolist() == [0, 0]
    for wrong in ({"n": 0}, {"n": 21}, {"n": 3, "samples": 1}):
        with pytest.raises(ValueError, match="expected 1 to all"):
            sensitivity_n(Linear(), inputs, maps, 0, **wrong)


def test_rank_correlation():
    first, second = np.random.default_rng(0).integers(0, 5, (2, 3, 4, 5)).astype(float)
    expected = [oracles.spearman(a, b) for a, b in zip(first, second, strict=True)]
    assert np.allclose(rank_correlation(first, second), expected, atol=1e-6)
    assert rank_correlation(np.zeros((4, 5)), first[0]) == 0
    with pytest.raises(ValueError, match="expected equal shapes"):
        rank_correlation(first, second[:2])


@pytest.mark.filterwarnings("ignore::pytorch_grad_cam.BlankMapWarning")
class TestRandomization:
    def test_cascades_from_the_last_layer_and_leaves_the_model(self, model, images):
        state = copy.deepcopy(model.state_dict())
        stages = []

        def explain(stage):
            stages.append({name: p.detach().clone() for name, p in stage.named_parameters()})
            return torch.rand(3, 4, 4)

        layers = cascading_randomization(model, explain).layers
        assert layers == ("fc", "mix", "features.2", "features.0")
        for count, stage in enumerate(stages):
            changed = {name.rpartition(".")[0] for name, value in stage.items() if not torch.equal(value, state[name])}
            assert changed == set(layers[:count])
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())

    def test_maps_that_read_the_model_change_and_others_do_not(self, model, images):
        blind = cascading_randomization(model, lambda stage: images.mean(1))
        assert np.allclose(blind.similarity, 1)
        result = cascading_randomization(model, GradCAM, images, target_layers=[model.features])
        assert result.similarity.shape == (4, 3)
        assert (result.similarity < 0.99).all()
        head_only = cascading_randomization(model, EigenCAM, images, 1, "features", layers=["fc", "mix"])
        assert np.allclose(head_only.similarity, 1), "EigenCAM reads nothing behind its layer"

    def test_class_and_layer_are_those_of_the_trained_model(self, model, images):
        free = cascading_randomization(model, GradCAM, images)
        with torch.no_grad():
            best = model(images).argmax(1).tolist()
        cam = GradCAM(model)
        cam(images)
        name = next(name for name, module in model.named_modules() if module is cam.target_layers[0])
        fixed = cascading_randomization(model, GradCAM, images, best, name)
        assert torch.equal(free.similarity, fixed.similarity)
        several = cascading_randomization(model, GradCAM, images, [[c, c] for c in best], name)
        assert torch.allclose(several.similarity, fixed.similarity[..., None].expand(-1, -1, 2), atol=1e-5)

    def test_the_seed_decides(self, model, images):
        first, again, other = (
            cascading_randomization(model, GradCAM, images, 1, seed=seed).similarity for seed in (0, 0, 1)
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_unknown_layers(self, model):
        with pytest.raises(ValueError, match=r"expected names of layers .*features\.0"):
            cascading_randomization(model, lambda stage: torch.rand(2, 4, 4), layers=["head"])


@every_metric
def test_a_batch_equals_a_loop_for_any_batch_size(net, inputs, maps, metric):
    together = metric(net, inputs, maps, CLASSES)
    for size in (1, 5):
        assert torch.allclose(
            metric(net, inputs, maps, CLASSES, batch_size=size).double(), together.double(), atol=1e-6
        )
    for b, classes in enumerate(CLASSES):
        for k, category in enumerate(classes):
            alone = metric(net, inputs[b : b + 1], maps[b : b + 1, k].numpy(), category)
            assert torch.allclose(alone[0].double(), together[b, k].double(), atol=1e-5)


@every_metric
def test_none_means_the_best_class_of_the_unchanged_image(net, inputs, maps, metric):
    with torch.no_grad():
        best = net(inputs).argmax(1)
    for targets in (best, best.tolist(), [ClassifierOutputTarget(c) for c in best.tolist()]):
        assert torch.equal(metric(net, inputs, maps[:, 0]), metric(net, inputs, maps[:, 0], targets))


@every_metric
def test_activations(net, inputs, maps, metric):
    heat = maps[:, 0]
    callables = [ClassifierOutputSoftmaxTarget(1)] * 3
    assert torch.allclose(metric(net, inputs, heat, 1), metric(net, inputs, heat, callables, activation=None))
    assert torch.allclose(metric(net, inputs, heat, 1), metric(net, inputs, heat, callables)), "not softmaxed twice"
    sigmoid = metric(net, inputs, heat, lambda output: output[1].sigmoid())
    assert torch.allclose(metric(net, inputs, heat, 1, activation="sigmoid"), sigmoid)
    with pytest.raises(ValueError, match="activation is 'relu'"):
        metric(net, inputs, heat, 1, activation="relu")


@every_metric
def test_the_model_and_what_was_given_stay_as_they_were(net, inputs, maps, metric):
    net.train()
    net.mix.eval()
    before = copy.deepcopy(net.state_dict()), inputs.clone(), maps.clone()
    metric(net, inputs, maps, CLASSES)
    with pytest.raises(IndexError, match="class 7"):
        metric(net, inputs, maps[:, 0], 7)
    assert net.training
    assert not net.mix.training
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert all(torch.equal(value, before[0][name]) for name, value in net.state_dict().items())
    assert torch.equal(inputs, before[1])
    assert torch.equal(maps, before[2])
    assert not any(module._forward_hooks for module in net.modules())


@every_metric
def test_the_model_runs_in_eval_mode_and_without_gradients(net, inputs, maps, metric):
    seen = []
    dropping = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.BatchNorm2d(3).double(), net)
    dropping[0].register_forward_hook(lambda module, arguments, output: seen.append(torch.is_grad_enabled()))
    expected = metric(dropping.eval(), inputs, maps, CLASSES)
    assert torch.equal(metric(dropping.train(), inputs, maps, CLASSES), expected)
    assert dropping[0].training
    assert not any(seen)


@every_metric
def test_a_model_that_changes_its_input_in_place(net, inputs, maps, metric):
    class InPlace(torch.nn.Module):
        def forward(self, x):
            return net(x.mul_(2))

    before = inputs.clone()
    result = metric(InPlace(), inputs, maps, CLASSES)
    assert torch.equal(inputs, before)
    assert result.isfinite().all()


@every_metric
def test_float32_half_precision_and_inference_mode(inputs, maps, metric):
    net = ConvNet().eval()
    expected = metric(net, inputs.float(), maps, CLASSES)
    with torch.inference_mode():
        assert torch.allclose(metric(net, inputs.float(), maps, CLASSES), expected)
    half = metric(net.bfloat16(), inputs.bfloat16(), maps, CLASSES)
    assert half.dtype in (torch.float32, torch.bool)


@every_metric
def test_what_does_not_go_together_is_an_error(net, inputs, maps, metric):
    for wrong, message in (
        (maps[:, 0, :6], r"maps have shape \(3, 6, 16\) for images of 12 x 16"),
        (maps[:2, 0], r"maps have shape \(2, 12, 16\) for an input \(3, 3, 12, 16\), which is 3"),
        (maps, "2 maps and 1 targets"),
        (maps[:, 0] * torch.nan, "NaN"),
        (maps[None], "3 images|expected"),
    ):
        with pytest.raises(ValueError, match=message):
            metric(net, inputs, wrong, 1)
    with pytest.raises(ValueError, match="1 maps and 2 targets"):
        metric(net, inputs, maps[:, 0], CLASSES)
    with pytest.raises(ValueError, match="2 targets for 3 images"):
        metric(net, inputs, maps[:, 0], [1, 2])
    with pytest.raises(TypeError, match="input_tensor"):
        metric(net, None, maps[:, 0], 1)
    with pytest.raises(ValueError, match="batch_size"):
        metric(net, inputs, maps[:, 0], 1, batch_size=0)


def test_other_numbers_of_axes(maps):
    series, volume = ConvNet(axes=1).eval(), ConvNet(axes=3).eval()
    assert deletion(series, torch.randn(2, 3, 20), torch.rand(2, 20), 1, step=5).scores.shape == (2, 5)
    assert average_drop(volume, torch.randn(2, 3, 6, 8, 10), torch.rand(2, 6, 8, 10)).shape == (2,)
    with pytest.raises(ValueError, match="two axes"):
        road_curve(series, torch.randn(2, 3, 20), torch.rand(2, 20), 1)
    with pytest.raises(ValueError, match="blur"):
        insertion(series, torch.randn(2, 3, 20), torch.rand(2, 20), 1)


class Scaled(torch.nn.Module):
    """A network with another argument for each image."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, inputs, factors):
        return self.net(inputs) * factors


@every_metric
@pytest.mark.parametrize("batch_size", [None, 2])
def test_other_arguments_go_with_their_images(net, inputs, maps, metric, batch_size):
    factors = torch.tensor([[1.0], [5.0], [-2.0]], dtype=torch.float64)
    result = metric(Scaled(net), (inputs, factors), maps, CLASSES, batch_size=batch_size)
    for i in range(3):
        alone = metric(Scaled(net), (inputs[i : i + 1], factors[i : i + 1]), maps[i : i + 1], CLASSES[i : i + 1])
        assert torch.allclose(result[i].double(), alone[0].double(), atol=1e-6)


def test_what_is_no_number_is_no_good_figure(net, inputs, maps):
    assert average_drop(net, inputs * torch.nan, maps, CLASSES).isnan().all()


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("targets", [1, [[0, 1], [2, 3]]])
def test_randomization_of_series_and_volumes(axes, targets):
    network, volumes = ConvNet(axes=axes).eval(), torch.randn(2, 3, *[8] * axes)
    stages = cascading_randomization(network, GradCAM, volumes, targets, target_layers="features")
    assert stages.similarity.shape == (4, 2) if targets == 1 else (4, 2, 2)


def test_randomization_in_inference_mode(net, inputs):
    expected = cascading_randomization(net, GradCAM, inputs, 1, "features").similarity
    with torch.inference_mode():
        assert torch.equal(cascading_randomization(net, GradCAM, inputs, 1, "features").similarity, expected)


def test_randomization_of_parametrized_and_shared_weights():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 4, 3), torch.nn.Conv2d(4, 4, 3))
    torch.nn.utils.parametrizations.weight_norm(network[0])
    network[2].weight = network[1].weight
    model = torch.nn.Sequential(network, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    stages = cascading_randomization(model, GradCAM, torch.randn(1, 3, 8, 8), 1, target_layer="0.2")
    assert stages.layers == ("0.2", "0.1", "0.0")
    single = cascading_randomization(model, GradCAM, torch.randn(1, 3, 8, 8), 1, "0.2", layers="0.1")
    assert single.layers == ("0.1",)


def test_an_instance_for_a_class(net, inputs):
    with pytest.raises(TypeError, match="expected the class GradCAM"):
        cascading_randomization(net, GradCAM(net), inputs)


@pytest.mark.parametrize("value", [0.5, np.full((3, 1, 1), 0.5), torch.full((3, 1, 1), 0.5)])
def test_a_baseline_is_any_value_that_broadcasts(net, inputs, maps, value):
    expected = deletion(net, inputs, maps, CLASSES, baseline=torch.full((1,), 0.5)).scores
    assert torch.equal(deletion(net, inputs, maps, CLASSES, baseline=value).scores, expected)


def test_numbers_that_are_none_are_errors(net, inputs, maps):
    heat = maps[:, 0]
    for call, error, message in (
        (lambda: sensitivity_n(net, inputs, heat, n=3.5), ValueError, "n is 3.5"),
        (lambda: sensitivity_n(net, inputs, heat, n=3, samples=1), ValueError, "samples are 1, expected"),
        (lambda: road_combined(net, inputs, heat, percentages=50), ValueError, "percentages are 50"),
        (lambda: road_curve(net, inputs, heat, percentages=["a"]), ValueError, "percentages are"),
        (lambda: deletion(net, inputs, heat + 0j), TypeError, "complex"),
        (lambda: deletion(net, inputs, None), TypeError, "NoneType"),
        (lambda: deletion(net, inputs, "map"), TypeError, "str"),
        (lambda: deletion(net, inputs[0], heat[0]), ValueError, "which is 3 images"),
        (lambda: linear_imputation(inputs.byte(), heat > 0), ValueError, "torch.uint8"),
        (lambda: linear_imputation(inputs[:0], heat[:0] > 0), ValueError, "no axis of 0"),
        (lambda: linear_imputation(inputs, heat > 0, (1, 1, np.inf)), ValueError, "weights"),
    ):
        with pytest.raises(error, match=message):
            call()
    percentages = iter([20, 50])
    assert torch.equal(
        road_combined(net, inputs, heat, noise=0, percentages=percentages),
        road_combined(net, inputs, heat, noise=0, percentages=[20, 50]),
    )
