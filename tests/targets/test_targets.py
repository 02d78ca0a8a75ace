"""Each ready-made target against its formula."""

import numpy as np
import pytest
import torch
from torch import nn

from pytorch_grad_cam import METHODS
from pytorch_grad_cam._engine.targets import resolve_targets
from pytorch_grad_cam.targets import (
    BinaryClassifierOutputTarget,
    ClassifierOutputReST,
    ClassifierOutputSoftmaxTarget,
    ClassifierOutputTarget,
    FasterRCNNBoxScoreTarget,
    RawScoresOutputTarget,
    SemanticSegmentationTarget,
    SoftmaxOutputTarget,
)
from tests.helpers.tiny_networks import ConvNet

SCORES = torch.tensor([1.0, 2.0, 4.0])
PROBABILITIES = np.exp([1, 2, 4]) / np.exp([1, 2, 4]).sum()


def test_targets_of_a_classifier():
    assert ClassifierOutputTarget(1)(SCORES) == 2
    assert ClassifierOutputTarget(1)(torch.stack([SCORES, SCORES * 2])).tolist() == [2, 4]
    assert ClassifierOutputSoftmaxTarget(1)(SCORES).item() == pytest.approx(PROBABILITIES[1])
    assert ClassifierOutputReST(1)(SCORES).item() == pytest.approx(2 + np.log(PROBABILITIES[1]))
    assert SoftmaxOutputTarget()(SCORES).tolist() == pytest.approx(PROBABILITIES.tolist())
    assert RawScoresOutputTarget()(SCORES) is SCORES
    assert BinaryClassifierOutputTarget(1)(SCORES[:1]) == 1
    assert BinaryClassifierOutputTarget(0)(SCORES[:1]) == -1
    with pytest.raises(ValueError, match="category is 2, expected 0 or 1"):
        BinaryClassifierOutputTarget(2)
    with pytest.raises(ValueError, match=r"class 1 was asked for, but the model returned a tensor \(3, 4, 5\)"):
        ClassifierOutputTarget(1)(torch.zeros(3, 4, 5))


def test_target_of_a_segmentation():
    output = torch.arange(12.0).reshape(3, 2, 2)
    assert SemanticSegmentationTarget(1, np.array([[1, 0], [0, 1]]))(output) == 4 + 7
    for category, mask in ((3, np.ones((2, 2))), (1, np.ones((2, 3)))):
        with pytest.raises(ValueError, match=r"but the model returned a tensor \(3, 2, 2\)"):
            SemanticSegmentationTarget(category, mask)(output)


def test_target_of_a_detector():
    boxes = torch.tensor([[0.0, 0, 4, 4], [10, 10, 14, 14]])
    output = {"boxes": boxes, "labels": torch.tensor([1, 2]), "scores": torch.tensor([0.9, 0.8])}
    target = FasterRCNNBoxScoreTarget([1, 2], [[0, 0, 4, 4], [10, 10, 14, 12]], iou_threshold=0.4)
    assert target(output).item() == pytest.approx(1 + 0.9 + 0.5 + 0.8)
    assert FasterRCNNBoxScoreTarget([2, 2], [[0, 0, 4, 4], [10, 10, 14, 12]])(output) == 0, "class, overlap"
    assert target({"boxes": torch.zeros(0, 4), "labels": torch.zeros(0), "scores": torch.zeros(0)}) == 0
    resolved = resolve_targets(target, [output, output], 2)
    assert resolved.scores([output, output]).shape == (2, 1)


class Heads(ConvNet):
    """Classes of two kinds, in whatever structure."""

    def __init__(self, make):
        super().__init__()
        self.second = nn.Linear(7, 6)
        self.make = make

    def head(self, x):
        pooled = self.mix(self.relu(x)).sigmoid()
        mean = pooled.flatten(2).mean(2)
        return self.make(self.fc(mean), self.second(mean), pooled)


@pytest.mark.parametrize(
    ("make", "target"),
    [
        (lambda a, b, _: (a, b), lambda out: out[1][5]),
        (lambda a, b, _: [a, b], lambda out: out[1][5]),
        (lambda a, b, _: {"age": a, "sex": b}, lambda out: out["sex"][5]),
        (lambda a, b, maps: ((b, a), [maps]), lambda out: out[0][0][5]),
        (lambda a, b, _: b, lambda out: out[5]),
        (lambda a, b, maps: (maps, b), lambda out: out[5]),  # the only scores
        (lambda a, b, _: {"logits": b, "other": a}, lambda out: out[5]),
    ],
)
@pytest.mark.parametrize("name", ["gradcam", "eigencam", "ablationcam", "scorecam"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_callable_is_given_what_the_model_returned_for_its_image(make, target, name, count, images):
    model, images = Heads(make).double().eval(), images[:count].double()  # so that a difference is no rounding
    found = METHODS[name](model, "features").explain(images, target)
    model.make = lambda a, b, _: b
    expected = METHODS[name](model, "features").explain(images, 5)
    assert torch.allclose(found.scores, expected.scores, atol=1e-6)
    assert torch.allclose(found.maps, expected.maps, atol=1e-5)


def test_a_class_is_one_of_the_first_scores_in_a_tuple(images):
    model = Heads(lambda a, b, _: (a, b)).eval()
    for target in (3, ClassifierOutputTarget(3)):
        found = METHODS["gradcam"](model, "features").explain(images, target)
        assert torch.equal(found.scores[:, 0], model(images)[0][:, 3].detach())
    found = METHODS["gradcam"](model, "features").explain(images, ClassifierOutputSoftmaxTarget(3))
    assert torch.allclose(found.scores[:, 0], model(images)[0].softmax(1)[:, 3].detach())


def test_a_target_that_returns_a_plain_number(model, images):
    with pytest.raises(ValueError, match="a value of type float .* expected a tensor of one number, which can be"):
        METHODS["gradcam"](model, "features")(images, lambda out: out[0].item())
