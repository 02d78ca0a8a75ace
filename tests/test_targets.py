"""Each ready-made target against its formula."""

import numpy as np
import pytest
import torch

from pytorch_grad_cam.utils.model_targets import (
    BinaryClassifierOutputTarget,
    ClassifierOutputReST,
    ClassifierOutputSoftmaxTarget,
    ClassifierOutputTarget,
    FasterRCNNBoxScoreTarget,
    RawScoresOutputTarget,
    SemanticSegmentationTarget,
    SoftmaxOutputTarget,
    resolve_targets,
)

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
