"""Targets: what is explained. A target maps the output of one image to a scalar; one file for each kind of output."""

from pytorch_grad_cam.targets.classification import (
    BinaryClassifierOutputTarget,
    ClassifierOutputReST,
    ClassifierOutputSoftmaxTarget,
    ClassifierOutputTarget,
    RawScoresOutputTarget,
    SoftmaxOutputTarget,
)
from pytorch_grad_cam.targets.detection import FasterRCNNBoxScoreTarget
from pytorch_grad_cam.targets.segmentation import SemanticSegmentationTarget

__all__ = [
    "BinaryClassifierOutputTarget",
    "ClassifierOutputReST",
    "ClassifierOutputSoftmaxTarget",
    "ClassifierOutputTarget",
    "FasterRCNNBoxScoreTarget",
    "RawScoresOutputTarget",
    "SemanticSegmentationTarget",
    "SoftmaxOutputTarget",
]
