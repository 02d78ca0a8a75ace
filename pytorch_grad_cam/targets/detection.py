"""Targets of object detection."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


class FasterRCNNBoxScoreTarget:
    """Sum of overlap and score over the detector's best match of each given box.

    Args:
        labels: class of each given box.
        bounding_boxes: the given boxes (n, 4) as x0, y0, x1, y1.
        iou_threshold: a match with less overlap, or of another class, counts 0.
    """

    def __init__(self, labels: Sequence[int], bounding_boxes: Any, iou_threshold: float = 0.5) -> None:
        self.labels = labels
        self.bounding_boxes = bounding_boxes
        self.iou_threshold = iou_threshold

    def __call__(self, model_outputs: Mapping[str, Tensor]) -> Tensor:
        """One image's boxes (n, 4), labels (n,) and scores (n,) to a scalar."""
        from torchvision.ops import box_iou

        boxes = model_outputs["boxes"]
        total = boxes.new_zeros(())
        if len(boxes) == 0:
            return total
        given = torch.as_tensor(np.asarray(self.bounding_boxes), device=boxes.device, dtype=boxes.dtype)
        for overlaps, label in zip(box_iou(given, boxes), self.labels, strict=True):
            best = int(overlaps.argmax())
            if overlaps[best] > self.iou_threshold and model_outputs["labels"][best] == label:
                total = total + overlaps[best] + model_outputs["scores"][best]
        return total
