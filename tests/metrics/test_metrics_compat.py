"""The classes of `metrics` that the well-known package has: its paths, calls and results."""

import copy

import numpy as np
import pytest
import torch

from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.metrics.arcc import ARCC, Coherency, Complexity, batch_pearson_coherency
from pytorch_grad_cam.metrics.cam_mult_image import (
    CamMultImageConfidenceChange,
    DropInConfidence,
    IncreaseInConfidence,
    multiply_tensor_with_cam,
)
from pytorch_grad_cam.metrics.perturbation_confidence import (
    AveragerAcrossThresholds,
    PerturbationConfidenceMetric,
    RemoveLeastRelevantFirst,
    RemoveMostRelevantFirst,
)
from pytorch_grad_cam.metrics.road import (
    NoisyLinearImputer,
    ROADCombined,
    ROADLeastRelevantFirst,
    ROADLeastRelevantFirstAverage,
    ROADMostRelevantFirst,
    ROADMostRelevantFirstAverage,
    neighbors_weights,
)
from pytorch_grad_cam.targets import ClassifierOutputSoftmaxTarget, SoftmaxOutputTarget
from tests.helpers import metric_oracles as oracles
from tests.helpers import peer_metrics
from tests.helpers.peer_process import run_peer
from tests.helpers.tiny_networks import ConvNet

TARGETS = [ClassifierOutputSoftmaxTarget(category) for category in (1, 3, 0)]


@pytest.fixture
def model(model, images):
    return peer_metrics.sharpen(model, images)


@pytest.fixture
def maps():
    return np.random.default_rng(0).random((3, 12, 16), np.float32)


def scores(model, images):
    with torch.no_grad():
        return model(images).softmax(1)[range(3), [1, 3, 0]].numpy()


def test_multiplied_images(model, images, maps):
    seen = images * torch.tensor(maps)[:, None]
    assert torch.equal(multiply_tensor_with_cam(images[0], torch.tensor(maps[0])), seen[0])
    change = scores(model, seen) - scores(model, images)
    for metric, expected in (
        (CamMultImageConfidenceChange(), change),
        (DropInConfidence(), np.maximum(-change, 0)),
        (IncreaseInConfidence(), change > 0),
    ):
        result = metric(images, maps, TARGETS, model)
        assert result.dtype == np.float32
        assert np.allclose(result, expected, atol=1e-7)
        again, perturbed = metric(images, torch.tensor(maps), TARGETS, model, return_visualization=True)
        assert np.array_equal(again, result)
        assert torch.equal(perturbed, seen)
    after = CamMultImageConfidenceChange()(images, maps, TARGETS, model, return_diff=False)
    assert np.allclose(after, scores(model, seen))
    every = CamMultImageConfidenceChange()(images, maps, [SoftmaxOutputTarget()] * 3, model)
    assert every.shape == (3, 4)
    assert np.allclose(every[range(3), [1, 3, 0]], change, atol=1e-7)


@pytest.mark.parametrize("percentile", [0, 10, 80, 100])
@pytest.mark.parametrize("remove", [RemoveMostRelevantFirst, RemoveLeastRelevantFirst])
@pytest.mark.parametrize("zeros", [0, 0.9, 1])
def test_exactly_the_asked_share_goes_however_many_pixels_are_equal(remove, percentile, zeros):
    heat = torch.rand(20, 25)
    heat.view(-1)[torch.randperm(500)[: int(500 * zeros)]] = 0
    known = remove(percentile, lambda image, mask: mask)(torch.zeros(3, 20, 25), heat)
    assert known.sum() == 5 * percentile
    gone, kept = heat[known == 0], heat[known == 1]
    if len(gone) and len(kept):
        assert gone.min() >= kept.max() if remove is RemoveMostRelevantFirst else gone.max() <= kept.min()


def test_auto_removes_what_otsu_finds():
    heat = torch.full((10, 10), 0.1)
    heat[2:5, 3:7] = 0.9
    keep = RemoveMostRelevantFirst("auto", lambda image, mask: mask)(None, heat)
    assert torch.equal(keep == 0, heat == 0.9)
    keep = RemoveLeastRelevantFirst("auto", lambda image, mask: mask)(None, heat)
    assert torch.equal(keep == 0, heat == 0.1)


def test_the_imputer(images):
    known = (torch.rand(12, 16) < 0.4).float()
    result = NoisyLinearImputer(noise=0)(images[0], known)
    assert np.allclose(result, oracles.impute(images[0].double().numpy(), known.numpy() == 0), atol=1e-6)
    weighting = [(offset, 1.0 if 0 in offset else 0.1) for offset, _ in neighbors_weights]
    other = NoisyLinearImputer(0, weighting)(images[0], known)
    expected = oracles.impute(images[0].double().numpy(), known.numpy() == 0, (1, 1, 0.1))
    assert np.allclose(other, expected, atol=1e-6)
    batch = NoisyLinearImputer(0)(images, known.expand(3, -1, -1))
    assert torch.allclose(batch[0], result, atol=1e-5)
    assert NoisyLinearImputer().noise == 0.01
    with pytest.raises(ValueError, match="weighting"):
        NoisyLinearImputer(weighting=neighbors_weights[:3])


def test_road(model, images, maps):
    """With noise of 0.01, which barely shows."""
    oracle = {True: [], False: []}
    pairs = zip(images.double().numpy(), maps, (1, 3, 0), strict=True)
    for image, heat, category in pairs:

        @torch.no_grad()
        def score(image, category=category):
            return model(torch.tensor(image).float()[None]).softmax(1)[0, category].item()

        for most in oracle:
            oracle[most].append([oracles.road(image, heat, score, percent, most) for percent in (70, 20)])
    most, least = (np.array(oracle[key]) for key in (True, False))
    close = {"atol": 5e-3}
    assert abs(most).max() > 3e-2
    assert np.allclose(ROADMostRelevantFirst(30)(images, maps, TARGETS, model), most[:, 0], **close)
    assert np.allclose(ROADLeastRelevantFirst(80)(images, maps, TARGETS, model), least[:, 1], **close)
    percentiles = [30, 80]
    assert np.allclose(ROADMostRelevantFirstAverage(percentiles)(images, maps, TARGETS, model), most.mean(1), **close)
    assert np.allclose(ROADLeastRelevantFirstAverage(percentiles)(images, maps, TARGETS, model), least.mean(1), **close)
    combined = ROADCombined(percentiles=percentiles)(images, maps, TARGETS, model)
    assert combined.dtype == np.float32
    assert np.allclose(combined, (least - most).mean(1) / 2, **close)
    assert ROADCombined().percentiles == tuple(range(10, 100, 10))
    assert (ROADMostRelevantFirst().perturbation.percentile, ROADLeastRelevantFirst().perturbation.percentile) == (
        80,
        20,
    )


def test_arcc(model, images, maps):
    categories = [1, 3, 0]
    cam = GradCAM(model, model.features)
    seen = cam(images * torch.tensor(maps)[:, None], categories)
    correlations = [oracles.pearson(heat.ravel(), other.ravel()) for heat, other in zip(maps, seen, strict=True)]
    complexity = [sum(abs(heat).ravel()) / heat.size for heat in maps]
    assert np.allclose(batch_pearson_coherency(maps, seen), correlations, atol=1e-6)
    assert np.allclose(Complexity()(maps), complexity, atol=1e-6)
    coherency = Coherency()(images, maps, categories, model, cam)
    assert np.allclose(coherency, [(value + 1) / 2 for value in correlations], atol=1e-6)
    metric = ARCC(cam, road_percentiles=[30, 80])
    assert metric.road.percentiles == [30, 80]
    metric.road = lambda *arguments: np.float32([0.2, 0.9, -0.1])  # above 0.5 counts as 1, below 0 as 0
    result = metric(images, maps, categories, model)
    for i, road in enumerate([0.4, 1]):
        expected = 3 / (1 / coherency[i] + 1 / (1 - complexity[i]) + 1 / road)
        assert result[i] == pytest.approx(expected, rel=1e-5)
    assert result[2] == 0
    assert result.dtype == np.float32


def test_averager_takes_any_metric():
    averager = AveragerAcrossThresholds(lambda percentile: lambda *arguments: np.array([percentile, 0.0]), [10, 30])
    assert averager(None, None, None, None).tolist() == [20, 0]


def test_model_and_arguments_stay_as_they_were(model, images, maps):
    model.train()
    before = copy.deepcopy(model.state_dict()), images.clone(), maps.copy(), list(TARGETS)

    def spoil(image, heat):
        return image.mul_(0)

    PerturbationConfidenceMetric(spoil)(images, maps, TARGETS, model)
    ROADCombined([50])(images, maps, TARGETS, model)
    assert model.training
    assert all(torch.equal(value, before[0][name]) for name, value in model.state_dict().items())
    assert torch.equal(images, before[1])
    assert np.array_equal(maps, before[2])
    assert before[3] == TARGETS


def test_what_does_not_go_together_is_an_error(model, images, maps):
    metric = DropInConfidence()
    with pytest.raises(ValueError, match=r"cams have shape \(2, 12, 16\)"):
        metric(images, maps[:2], TARGETS, model)
    with pytest.raises(ValueError, match="2 targets for 3 images"):
        metric(images, maps, TARGETS[:2], model)
    with pytest.raises(ValueError, match="2 targets for each image"):
        metric(images, maps, [[1, 2]] * 3, model)
    for wrong in (-1, 101):
        with pytest.raises(ValueError, match="percentages"):
            ROADMostRelevantFirst(wrong)


@pytest.mark.peer
def test_results_are_those_of_the_peer(request, tmp_path):
    expected = run_peer(request.config, peer_metrics.__file__, tmp_path / "metrics.npz")
    for name, result in peer_metrics.results(ConvNet).items():
        off = abs(result - expected[name]).max()
        print(f"{name}: at most {off:.1e} off")
        assert off <= 1e-5, name
        assert expected[name].std() > 1e-3, "there is something to compare"


@pytest.mark.parametrize("percentiles", [[], [200], 20, ["most"]])
def test_percentiles_that_are_none(percentiles):
    with pytest.raises(ValueError, match="percentages are"):
        ROADCombined(percentiles)
    with pytest.raises(ValueError, match="percentages are"):
        ROADMostRelevantFirst("foo")
