"""Metrics of faithfulness and sanity against their oracles, by hand, and what holds for all of them."""

import copy
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
from pytorch_grad_cam.metrics.ranking import pixel_counts
from pytorch_grad_cam.metrics.removal import blur
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
def pictures():
    return torch.randn(3, 3, 12, 16, dtype=torch.float64)


@pytest.fixture
def net(pictures):
    return sharpen(ConvNet().double().eval(), pictures)


@pytest.fixture
def maps():
    """With ties, half of each 0."""
    return (torch.rand(3, 2, 12, 16, dtype=torch.float64) - 0.5).clamp(min=0).mul(20).round() / 10


def score_of(net, category, activation):
    @torch.no_grad()
    def score(picture):
        scores = net(torch.tensor(picture)[None])[0]
        return (scores.softmax(0) if activation == "softmax" else scores)[category].item()

    return score


def by_oracle(net, pictures, maps, oracle, activation="softmax"):
    """(B, K, ...) of whatever the oracle gives for a picture, a map and a score."""
    return np.array(
        [
            [
                oracle(picture, heat, score_of(net, category, activation))
                for heat, category in zip(row, categories, strict=True)
            ]
            for picture, row, categories in zip(pictures.numpy(), maps.numpy(), CLASSES, strict=True)
        ]
    )


@pytest.mark.parametrize("activation", ["softmax", None])
def test_average_drop_and_increase(net, pictures, maps, activation):
    options = {"targets": CLASSES, "activation": activation}

    def drop(picture, heat, score):
        return max(0, score(picture) - score(picture * heat)) / abs(score(picture))

    expected = by_oracle(net, pictures, maps, drop, activation)
    assert (expected > 0).any()
    assert (expected == 0).any()
    assert np.allclose(average_drop(net, pictures, maps, **options), expected, atol=1e-12)
    assert np.array_equal(increase_in_confidence(net, pictures, maps, **options), expected == 0)


@pytest.mark.parametrize("step", [1, 50, 192, 500])
def test_deletion_and_insertion(net, pictures, maps, step):
    for metric, ends in (
        (deletion, lambda picture: (picture, 0 * picture)),
        (insertion, lambda picture: (oracles.blur(picture), picture)),
    ):
        found = metric(net, pictures, maps, CLASSES, step=step)

        def oracle(picture, heat, score, ends=ends):
            scores, area = oracles.curve(*ends(picture), heat, score, step)
            return [*scores, area]

        expected = by_oracle(net, pictures, maps, oracle)
        assert np.allclose(found.scores, expected[..., :-1], atol=1e-7)
        assert np.allclose(found.area, expected[..., -1], atol=1e-7)
        assert found.shares[0] == 0
        assert found.shares[-1] == 1


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


def test_baselines(net, pictures, maps):
    means = pictures.mean((2, 3), keepdim=True)
    for name, tensor in (("mean", means), ("blur", blur(pictures)), ("zeros", torch.zeros(1))):
        by_name, given = (deletion(net, pictures, maps, CLASSES, step=64, baseline=b) for b in (name, tensor))
        assert torch.equal(by_name.scores, given.scores)
    assert np.allclose(blur(pictures)[1], oracles.blur(pictures[1].numpy()))
    for wrong in ("black", torch.zeros(5, 5)):
        with pytest.raises(ValueError, match="baseline"):
            deletion(net, pictures, maps, CLASSES, baseline=wrong)


@pytest.mark.parametrize("first", ["most", "least"])
def test_road(net, pictures, maps, first):
    percentages = [0, 10, 33, 90]
    found = road_curve(net, pictures, maps, CLASSES, first=first, percentages=percentages, noise=0)
    for i, percentage in enumerate(percentages):
        oracle = partial(oracles.road, percentage=percentage, most=first == "most")
        expected = by_oracle(net, pictures, maps, oracle)
        assert np.allclose(found[..., i], expected, atol=1e-5)
        assert percentage == 0 or abs(expected).max() > 1e-2


def test_road_combined_is_half_of_least_less_most(net, pictures, maps):
    options = {"targets": CLASSES, "percentages": [20, 60], "noise": 0}
    least, most = (road_curve(net, pictures, maps, first=first, **options).mean(2) for first in ("least", "most"))
    assert torch.allclose(road_combined(net, pictures, maps, **options), (least - most) / 2, atol=1e-12)


@pytest.mark.parametrize("size", [(1, 9), (9, 1), (2, 2), (3, 3), (7, 12), (16, 16), (17, 31)])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, "all but one", "smooth"])
def test_imputation_solves_the_dense_system(size, share):
    rng = np.random.default_rng(0)
    pictures = rng.normal(size=(4, 2, *size)) * [[[[1]], [[100]]]]
    if share == "smooth":
        y, x = np.mgrid[: size[0], : size[1]]
        missing = np.stack([(y - i) ** 2 + (x - 2 * i) ** 2 > 9 * i for i in range(4)])
        missing[:, 0, -1] = False
    else:
        count = size[0] * size[1] - 1 if share == "all but one" else int(share * size[0] * size[1])
        missing = rng.permuted(np.arange(size[0] * size[1]) < count + np.zeros((4, 1)), axis=1).reshape(4, *size)
    for weights in ((1 / 6, 1 / 6, 1 / 12), (0.3, 0.1, 0.05)):
        expected = np.stack([oracles.impute(*pair, weights) for pair in zip(pictures, missing, strict=True)])
        found = linear_imputation(torch.tensor(pictures), torch.tensor(missing), weights).numpy()
        assert abs(found - expected).max() <= 1e-4 * abs(pictures).max()
        kept = np.broadcast_to(~missing[:, None], pictures.shape)
        assert np.array_equal(found[kept], pictures[kept])


def test_imputation_by_hand():
    flat = torch.full((1, 1, 40, 40), 3.5)
    where = torch.rand(1, 40, 40) < 0.9
    assert torch.allclose(linear_imputation(flat, where), flat, atol=1e-4)
    line = torch.linspace(0, 1, 33).expand(1, 1, 33)[None]  # a slope stays one
    inner = torch.zeros(1, 1, 33, dtype=torch.bool)
    inner[..., 1:-1] = True
    assert torch.allclose(linear_imputation(line * (1 - inner.float()), inner), line, atol=1e-4)


def test_a_picture_of_which_nothing_is_known_becomes_its_mean(pictures):
    removed = torch.ones(3, 12, 16, dtype=torch.bool)
    removed[1, 0, 0] = False
    filled = linear_imputation(pictures, removed)
    assert torch.allclose(filled[0], pictures[0].mean((1, 2), keepdim=True))
    assert torch.allclose(filled[1], pictures[1, :, :1, :1], atol=1e-4)


def test_noise_falls_on_missing_pixels_alone(pictures):
    removed = torch.rand(3, 12, 16) < 0.5
    clean = linear_imputation(pictures, removed)
    noisy = [
        noisy_linear_imputation(pictures, removed, 0.1, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    assert torch.equal(noisy[0], noisy[1])
    assert not torch.equal(noisy[0], noisy[2])
    where = removed[:, None].expand_as(clean)
    assert torch.equal(noisy[0][~where], pictures[~where])
    assert (noisy[0] - clean)[where].std() == pytest.approx(0.1, rel=0.15)
    assert torch.equal(noisy_linear_imputation(pictures, removed, 0), clean)


def test_imputation_refuses_what_it_cannot_fill(pictures):
    removed = torch.ones(3, 12, 16, dtype=torch.bool)
    for given in ((pictures[0], removed), (pictures, removed[0]), (pictures, removed.float())):
        with pytest.raises(ValueError, match=r"expected \(N, C, H, W\)"):
            linear_imputation(*given)
    with pytest.raises(ValueError, match="NaN"):
        linear_imputation(pictures * torch.nan, removed)
    with pytest.raises(ValueError, match="weights"):
        linear_imputation(pictures, removed, (1, 0, 1))
    with pytest.raises(ValueError, match="noise"):
        noisy_linear_imputation(pictures, removed, -1)


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


def test_sensitivity_n(net, pictures, maps):
    found = sensitivity_n(net, pictures, maps, CLASSES, n=30, samples=20, generator=torch.Generator().manual_seed(5))
    order = torch.rand(20, 192, generator=torch.Generator().manual_seed(5)).argsort(1)
    sets = [row[:30].tolist() for row in order]

    def oracle(picture, heat, score):
        falls = []
        for one in sets:
            without = picture.copy().reshape(3, -1)
            without[:, one] = 0
            falls.append(score(picture) - score(without.reshape(picture.shape)))
        return oracles.pearson([heat.flat[one].sum() for one in sets], falls)

    assert np.allclose(found, by_oracle(net, pictures, maps, oracle, None), atol=1e-6)


def test_sensitivity_n_of_a_linear_model_is_1_for_its_own_terms():
    class Linear(torch.nn.Module):
        def forward(self, x):
            return (x[:, 0] * torch.arange(20.0).view(4, 5)).sum((1, 2))[:, None]

    pictures = torch.rand(2, 1, 4, 5)
    maps = pictures[:, 0] * torch.arange(20.0).view(4, 5)
    assert sensitivity_n(Linear(), pictures, maps, 0, n=5).tolist() == pytest.approx([1, 1])
    assert sensitivity_n(Linear(), pictures, -maps, 0, n=5).tolist() == pytest.approx([-1, -1])
    assert sensitivity_n(Linear(), pictures, torch.full_like(maps, 0.3), 0, n=5).tolist() == [0, 0]
    for wrong in ({"n": 0}, {"n": 21}, {"n": 3, "samples": 1}):
        with pytest.raises(ValueError, match="expected 1 to all"):
            sensitivity_n(Linear(), pictures, maps, 0, **wrong)


def test_rank_correlation():
    first, second = np.random.default_rng(0).integers(0, 5, (2, 3, 4, 5)).astype(float)
    expected = [oracles.spearman(a, b) for a, b in zip(first, second, strict=True)]
    assert np.allclose(rank_correlation(first, second), expected, atol=1e-6)
    assert rank_correlation(np.zeros((4, 5)), first[0]) == 0
    with pytest.raises(ValueError, match="expected the same"):
        rank_correlation(first, second[:2])


@pytest.mark.filterwarnings("ignore::pytorch_grad_cam.BlankMapWarning")
class TestRandomisation:
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
        found = cascading_randomization(model, GradCAM, images, target_layers=[model.features])
        assert found.similarity.shape == (4, 3)
        assert (found.similarity < 0.99).all()
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
def test_a_batch_equals_a_loop_for_any_batch_size(net, pictures, maps, metric):
    together = metric(net, pictures, maps, CLASSES)
    for size in (1, 5):
        assert torch.allclose(
            metric(net, pictures, maps, CLASSES, batch_size=size).double(), together.double(), atol=1e-6
        )
    for b, classes in enumerate(CLASSES):
        for k, category in enumerate(classes):
            alone = metric(net, pictures[b : b + 1], maps[b : b + 1, k].numpy(), category)
            assert torch.allclose(alone[0].double(), together[b, k].double(), atol=1e-5)


@every_metric
def test_none_means_the_best_class_of_the_unchanged_picture(net, pictures, maps, metric):
    with torch.no_grad():
        best = net(pictures).argmax(1)
    for targets in (best, best.tolist(), [ClassifierOutputTarget(c) for c in best.tolist()]):
        assert torch.equal(metric(net, pictures, maps[:, 0]), metric(net, pictures, maps[:, 0], targets))


@every_metric
def test_activations(net, pictures, maps, metric):
    heat = maps[:, 0]
    own = [ClassifierOutputSoftmaxTarget(1)] * 3
    assert torch.allclose(metric(net, pictures, heat, 1), metric(net, pictures, heat, own, activation=None))
    assert torch.allclose(metric(net, pictures, heat, 1), metric(net, pictures, heat, own)), "not softmaxed twice"
    sigmoid = metric(net, pictures, heat, lambda output: output[1].sigmoid())
    assert torch.allclose(metric(net, pictures, heat, 1, activation="sigmoid"), sigmoid)
    with pytest.raises(ValueError, match="activation is 'relu'"):
        metric(net, pictures, heat, 1, activation="relu")


@every_metric
def test_the_model_and_what_was_given_stay_as_they_were(net, pictures, maps, metric):
    net.train()
    net.mix.eval()
    before = copy.deepcopy(net.state_dict()), pictures.clone(), maps.clone()
    metric(net, pictures, maps, CLASSES)
    with pytest.raises(IndexError, match="class 7"):
        metric(net, pictures, maps[:, 0], 7)
    assert net.training
    assert not net.mix.training
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert all(torch.equal(value, before[0][name]) for name, value in net.state_dict().items())
    assert torch.equal(pictures, before[1])
    assert torch.equal(maps, before[2])
    assert not any(module._forward_hooks for module in net.modules())


@every_metric
def test_the_model_runs_in_eval_mode_and_without_gradients(net, pictures, maps, metric):
    seen = []
    dropping = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.BatchNorm2d(3).double(), net)
    dropping[0].register_forward_hook(lambda module, given, output: seen.append(torch.is_grad_enabled()))
    expected = metric(dropping.eval(), pictures, maps, CLASSES)
    assert torch.equal(metric(dropping.train(), pictures, maps, CLASSES), expected)
    assert dropping[0].training
    assert not any(seen)


@every_metric
def test_a_model_that_changes_its_input_in_place(net, pictures, maps, metric):
    class InPlace(torch.nn.Module):
        def forward(self, x):
            return net(x.mul_(2))

    given = pictures.clone()
    found = metric(InPlace(), pictures, maps, CLASSES)
    assert torch.equal(pictures, given)
    assert found.isfinite().all()


@every_metric
def test_float32_half_precision_and_inference_mode(pictures, maps, metric):
    net = ConvNet().eval()
    expected = metric(net, pictures.float(), maps, CLASSES)
    with torch.inference_mode():
        assert torch.allclose(metric(net, pictures.float(), maps, CLASSES), expected)
    half = metric(net.bfloat16(), pictures.bfloat16(), maps, CLASSES)
    assert half.dtype in (torch.float32, torch.bool)


@every_metric
def test_what_does_not_go_together_is_an_error(net, pictures, maps, metric):
    for wrong, message in (
        (maps[:, 0, :6], r"maps have shape \(3, 6, 16\) for pictures of 12 x 16"),
        (maps[:2, 0], r"maps have shape \(2, 12, 16\) for an input \(3, 3, 12, 16\), which is 3"),
        (maps, "2 maps and 1 targets"),
        (maps[:, 0] * torch.nan, "NaN"),
        (maps[None], "3 pictures|expected"),
    ):
        with pytest.raises(ValueError, match=message):
            metric(net, pictures, wrong, 1)
    with pytest.raises(ValueError, match="1 maps and 2 targets"):
        metric(net, pictures, maps[:, 0], CLASSES)
    with pytest.raises(ValueError, match="2 targets for 3 images"):
        metric(net, pictures, maps[:, 0], [1, 2])
    with pytest.raises(TypeError, match="input_tensor"):
        metric(net, None, maps[:, 0], 1)
    with pytest.raises(ValueError, match="batch_size"):
        metric(net, pictures, maps[:, 0], 1, batch_size=0)


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

    def forward(self, pictures, factors):
        return self.net(pictures) * factors


@every_metric
@pytest.mark.parametrize("batch_size", [None, 2])
def test_other_arguments_go_with_their_pictures(net, pictures, maps, metric, batch_size):
    factors = torch.tensor([[1.0], [5.0], [-2.0]], dtype=torch.float64)
    found = metric(Scaled(net), (pictures, factors), maps, CLASSES, batch_size=batch_size)
    for i in range(3):
        alone = metric(Scaled(net), (pictures[i : i + 1], factors[i : i + 1]), maps[i : i + 1], CLASSES[i : i + 1])
        assert torch.allclose(found[i].double(), alone[0].double(), atol=1e-6)


def test_what_is_no_number_is_no_good_figure(net, pictures, maps):
    assert average_drop(net, pictures * torch.nan, maps, CLASSES).isnan().all()


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("targets", [1, [[0, 1], [2, 3]]])
def test_randomisation_of_series_and_volumes(axes, targets):
    network, given = ConvNet(axes=axes).eval(), torch.randn(2, 3, *[8] * axes)
    stages = cascading_randomization(network, GradCAM, given, targets, target_layers="features")
    assert stages.similarity.shape == (4, 2) if targets == 1 else (4, 2, 2)


def test_randomisation_in_inference_mode(net, pictures):
    expected = cascading_randomization(net, GradCAM, pictures, 1, "features").similarity
    with torch.inference_mode():
        assert torch.equal(cascading_randomization(net, GradCAM, pictures, 1, "features").similarity, expected)


def test_randomisation_of_parametrised_and_shared_weights():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 4, 3), torch.nn.Conv2d(4, 4, 3))
    torch.nn.utils.parametrizations.weight_norm(network[0])
    network[2].weight = network[1].weight
    model = torch.nn.Sequential(network, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    stages = cascading_randomization(model, GradCAM, torch.randn(1, 3, 8, 8), 1, target_layer="0.2")
    assert stages.layers == ("0.2", "0.1", "0.0")
    one = cascading_randomization(model, GradCAM, torch.randn(1, 3, 8, 8), 1, "0.2", layers="0.1")
    assert one.layers == ("0.1",)


def test_an_instance_for_a_class(net, pictures):
    with pytest.raises(TypeError, match="expected the class GradCAM"):
        cascading_randomization(net, GradCAM(net), pictures)


@pytest.mark.parametrize("value", [0.5, np.full((3, 1, 1), 0.5), torch.full((3, 1, 1), 0.5)])
def test_a_baseline_is_any_value_that_broadcasts(net, pictures, maps, value):
    expected = deletion(net, pictures, maps, CLASSES, baseline=torch.full((1,), 0.5)).scores
    assert torch.equal(deletion(net, pictures, maps, CLASSES, baseline=value).scores, expected)


def test_numbers_that_are_none_are_errors(net, pictures, maps):
    one = maps[:, 0]
    for call, error, message in (
        (lambda: sensitivity_n(net, pictures, one, n=3.5), ValueError, "n is 3.5"),
        (lambda: sensitivity_n(net, pictures, one, n=3, samples=1), ValueError, "samples are 1, expected"),
        (lambda: road_combined(net, pictures, one, percentages=50), ValueError, "percentages are 50"),
        (lambda: road_curve(net, pictures, one, percentages=["a"]), ValueError, "percentages are"),
        (lambda: deletion(net, pictures, one + 0j), TypeError, "complex"),
        (lambda: deletion(net, pictures, None), TypeError, "NoneType"),
        (lambda: deletion(net, pictures, "map"), TypeError, "str"),
        (lambda: deletion(net, pictures[0], one[0]), ValueError, "which is 3 pictures"),
        (lambda: linear_imputation(pictures.byte(), one > 0), ValueError, "torch.uint8"),
        (lambda: linear_imputation(pictures[:0], one[:0] > 0), ValueError, "no axis of 0"),
        (lambda: linear_imputation(pictures, one > 0, (1, 1, np.inf)), ValueError, "weights"),
    ):
        with pytest.raises(error, match=message):
            call()
    percentages = iter([20, 50])
    assert torch.equal(
        road_combined(net, pictures, one, noise=0, percentages=percentages),
        road_combined(net, pictures, one, noise=0, percentages=[20, 50]),
    )
