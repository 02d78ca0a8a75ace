"""ROAD: how a score changes as pixels are taken out and filled in from what is around them.

`road_curve` and `road_combined` are the metric; the classes are those of the well-known package, with the same
path and calls.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pytorch_grad_cam.metrics._imputation import noisy_linear_imputation
from pytorch_grad_cam.metrics._scoring import Activation, Question, questioned
from pytorch_grad_cam.metrics.perturbation_confidence import (
    AveragerAcrossThresholds,
    PerturbationConfidenceMetric,
    RemoveLeastRelevantFirst,
    RemoveMostRelevantFirst,
)
from pytorch_grad_cam.metrics.ranking import pixel_counts, rank_pixels

PERCENTAGES = (10, 20, 30, 40, 50, 60, 70, 80, 90)

neighbors_weights = [
    ((row, column), 1 / 12 if row and column else 1 / 6)
    for row in (-1, 0, 1)
    for column in (-1, 0, 1)
    if (row, column) != (0, 0)
]
"""What each of the eight neighbours (row, column) weighs."""


def road_curve(
    model: nn.Module,
    input_tensor: Tensor,
    maps: Any,
    targets: Any = None,
    *,
    first: Literal["most", "least"] = "most",
    percentages: Sequence[float] = PERCENTAGES,
    noise: float = 0.01,
    activation: Activation = "softmax",
    batch_size: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """How much the score changes as a share of the pixels is removed and imputed.

    With the most relevant pixels first, much below 0 is good; with the least relevant first, near 0 or above.

    Rong et al., 2022, https://arxiv.org/abs/2202.00449

    Differs from the paper: a change of one score, where the paper gives the accuracy over a data set. Pixels are
    ranked, those of one value in reading order: on a map of ties exactly the asked share goes.

    Args:
        model: left as it was found.
        input_tensor: (B, C, H, W), preprocessed.
        maps: (B, H, W), or (B, K, H, W) for K targets of each picture.
        targets: as a method takes them; None is the best class of each picture.
        first: "most" or "least" relevant.
        percentages: of the pixels to remove, P of them, each from 0 to 100.
        noise: standard deviation of what is added to imputed pixels, in the units of the input.
        activation: of the scores of classes: "softmax", "sigmoid", or None for raw scores.
        batch_size: how many copies run at once; None is 32.
        generator: of the noise, on the model's device; None is PyTorch's own.

    Returns:
        (B, P) or (B, K, P), score after removal minus score before

    Raises:
        ValueError: if shapes or counts do not go together, maps hold NaN, or a percentage is none.

    Example:
        >>> road_curve(model, images, torch.rand(2, 32, 32), percentages=[0, 50]).shape
        torch.Size([2, 2])
    """
    with questioned(model, input_tensor, maps, targets, activation, batch_size) as question:
        return question.answer(_road(question, first, percentages, noise, generator))


def road_combined(
    model: nn.Module,
    input_tensor: Tensor,
    maps: Any,
    targets: Any = None,
    *,
    percentages: Sequence[float] = PERCENTAGES,
    noise: float = 0.01,
    activation: Activation = "softmax",
    batch_size: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Half of what is lost more by removing the most relevant pixels than the least; higher is better.

        (least relevant first - most relevant first) / 2, each the mean over percentages

    Args and source as in `road_curve`; the combination is that of the well-known package.

    Returns:
        (B,) or (B, K), in [-0.5, 0.5] for probabilities

    Example:
        >>> maps = torch.rand(2, 32, 32)
        >>> road_combined(model, images, maps, targets=[0, 3], percentages=[20, 80]).shape
        torch.Size([2])
    """
    with questioned(model, input_tensor, maps, targets, activation, batch_size) as question:
        shares = list(percentages) if isinstance(percentages, Iterable) else percentages
        least, most = (_road(question, first, shares, noise, generator).mean(2) for first in ("least", "most"))
        return question.answer((least - most) / 2)


def _road(
    question: Question, first: str, percentages: Sequence[float], noise: float, generator: torch.Generator | None
) -> Tensor:
    if question.maps.ndim != 3:
        raise ValueError(
            f"input_tensor has shape {tuple(question.inputs.pictures.shape)}, expected pictures (B, C, H, W): the "
            "imputation is defined for two axes"
        )
    ranks = rank_pixels(question.maps, first)
    counts = torch.tensor(pixel_counts(percentages, question.maps[0].numel()), device=ranks.device)

    def change(cases: Tensor, steps: Tensor) -> Tensor:
        removed = ranks[cases] < counts[steps, None, None]
        return noisy_linear_imputation(question.pictures(cases), removed, noise, generator=generator)

    return question.ask(change, len(counts)) - question.scores.unsqueeze(2)


class NoisyLinearImputer:
    """Fill in missing pixels from what is around them, and add noise.

    Differs from grad-cam 1.5.7: `weighting` counts, and a picture without any known pixel is filled with its mean.

    Args:
        noise: standard deviation of what is added, in the units of the picture.
        weighting: ((row, column), weight) of each of the eight neighbours; opposite ones weigh the same, and so do all
            four corners.

    Example:
        >>> picture, known = torch.tensor([[[0.0, 7.0, 2.0]]]), torch.tensor([[1, 0, 1]])
        >>> NoisyLinearImputer(noise=0)(picture, known)
        tensor([[[0., 1., 2.]]])
    """

    def __init__(
        self, noise: float = 0.01, weighting: Sequence[tuple[tuple[int, int], float]] = tuple(neighbors_weights)
    ) -> None:
        self.noise = noise
        self.weighting = weighting
        given = dict(weighting)
        horizontal, vertical, diagonal = (given.get(offset, 0.0) for offset in ((0, 1), (1, 0), (1, 1)))
        expected = {
            (row, column): diagonal if row and column else horizontal if column else vertical
            for (row, column), _ in neighbors_weights
        }
        if given != expected:
            raise ValueError(
                f"weighting is {list(weighting)}, expected ((row, column), weight) of eight neighbours: one weight in "
                "the row, one in the column, one for all corners"
            )
        self.weights = (horizontal, vertical, diagonal)

    def __call__(self, img: Tensor, mask: Tensor) -> Tensor:
        """Impute (C, H, W) where mask (H, W) is 0; or a batch (B, C, H, W) where masks (B, H, W) are."""
        batched = img.ndim == 4
        pictures, known = (img, mask) if batched else (img[None], mask[None])
        filled = noisy_linear_imputation(pictures, known.to(img.device) == 0, self.noise, self.weights)
        return filled if batched else filled[0]


class ROADMostRelevantFirst(PerturbationConfidenceMetric):
    """The change of the score once the most relevant pixels are imputed.

    Args:
        percentile: of the map, above which pixels go: 80 removes a fifth of them.

    Example:
        >>> from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget
        >>> maps, targets = np.random.rand(2, 32, 32), [ClassifierOutputSoftmaxTarget(1)] * 2
        >>> scores, pictures = ROADMostRelevantFirst(80)(images, maps, targets, model, return_visualization=True)
        >>> scores.shape, pictures.shape
        ((2,), torch.Size([2, 3, 32, 32]))
    """

    def __init__(self, percentile: float | Literal["auto"] = 80) -> None:
        super().__init__(RemoveMostRelevantFirst(percentile, NoisyLinearImputer()))


class ROADLeastRelevantFirst(PerturbationConfidenceMetric):
    """The change of the score once the least relevant pixels are imputed.

    Args:
        percentile: what is kept, as with the most relevant first: 20 removes four fifths of the pixels.
    """

    def __init__(self, percentile: float | Literal["auto"] = 20) -> None:
        super().__init__(RemoveLeastRelevantFirst(percentile, NoisyLinearImputer()))


class ROADMostRelevantFirstAverage(AveragerAcrossThresholds):
    """The mean of `ROADMostRelevantFirst` over percentiles."""

    def __init__(self, percentiles: Sequence[float] = PERCENTAGES) -> None:
        super().__init__(ROADMostRelevantFirst, percentiles)


class ROADLeastRelevantFirstAverage(AveragerAcrossThresholds):
    """The mean of `ROADLeastRelevantFirst` over percentiles."""

    def __init__(self, percentiles: Sequence[float] = PERCENTAGES) -> None:
        super().__init__(ROADLeastRelevantFirst, percentiles)


class ROADCombined:
    """(least relevant first - most relevant first) / 2, each the mean over percentiles; higher is better.

    Example:
        >>> metric = ROADCombined(percentiles=[20, 40, 60, 80])
        >>> metric(images, np.random.rand(2, 32, 32), targets=[0, 3], model=model).shape
        (2,)
    """

    def __init__(self, percentiles: Sequence[float] = PERCENTAGES) -> None:
        self.percentiles = percentiles
        self.morf_averager = ROADMostRelevantFirstAverage(percentiles)
        self.lerf_averager = ROADLeastRelevantFirstAverage(percentiles)

    def __call__(self, input_tensor: Tensor, cams: Any, targets: Any, model: nn.Module) -> NDArray[np.float32]:
        """(B,) float32"""
        averages = (self.lerf_averager, self.morf_averager)
        least, most = (average(input_tensor, cams, targets, model) for average in averages)
        return np.float32(0.5) * (least - most)
