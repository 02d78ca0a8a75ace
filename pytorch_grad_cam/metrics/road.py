"""Compatibility with grad-cam 1.x: the ROAD classes at their old path. New code calls `metrics.road_combined`."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from pytorch_grad_cam.metrics._imputation import noisy_linear_imputation
from pytorch_grad_cam.metrics.perturbation_confidence import (
    AveragerAcrossThresholds,
    PerturbationConfidenceMetric,
    RemoveLeastRelevantFirst,
    RemoveMostRelevantFirst,
)
from pytorch_grad_cam.metrics.removal import PERCENTAGES

__all__ = [
    "AveragerAcrossThresholds",
    "NoisyLinearImputer",
    "PerturbationConfidenceMetric",
    "ROADCombined",
    "ROADLeastRelevantFirst",
    "ROADLeastRelevantFirstAverage",
    "ROADMostRelevantFirst",
    "ROADMostRelevantFirstAverage",
    "RemoveLeastRelevantFirst",
    "RemoveMostRelevantFirst",
    "neighbors_weights",
]

neighbors_weights = [
    ((row, column), 1 / 12 if row and column else 1 / 6)
    for row in (-1, 0, 1)
    for column in (-1, 0, 1)
    if (row, column) != (0, 0)
]
"""Pairs ((row, column), weight) of the eight neighbors."""


class NoisyLinearImputer:
    """Imputer that fills pixels from their neighbors and adds Gaussian noise.

    Needs SciPy: `pip install "grad-cam[metrics]"`.

    Differs from grad-cam 1.5.7: `weighting` is not ignored. If all pixels of an image are missing, each becomes the
    mean of its channel.

    Args:
        noise: standard deviation of the noise in the unit of the image, at least 0.
        weighting: pairs ((row, column), weight) of the eight neighbors. Opposite neighbors have equal weights, and so
            have all four corners.

    Raises:
        ValueError: if weighting is not of this form.

    Example:
        >>> import torch
        >>> image, known = torch.tensor([[[0.0, 7.0, 2.0]]]), torch.tensor([[1, 0, 1]])
        >>> NoisyLinearImputer(noise=0)(image, known)
        tensor([[[0., 1., 2.]]])
    """

    def __init__(
        self, noise: float = 0.01, weighting: Sequence[tuple[tuple[int, int], float]] = tuple(neighbors_weights)
    ) -> None:
        self.noise = noise
        self.weighting = weighting
        weights = dict(weighting)
        horizontal, vertical, diagonal = (weights.get(offset, 0.0) for offset in ((0, 1), (1, 0), (1, 1)))
        expected = {
            (row, column): diagonal if row and column else horizontal if column else vertical
            for (row, column), _ in neighbors_weights
        }
        if weights != expected:
            raise ValueError(
                f"weighting is {list(weighting)}, expected ((row, column), weight) of eight neighbors: one weight in "
                "the row, one in the column, one for all corners"
            )
        self.weights = (horizontal, vertical, diagonal)

    def __call__(self, img: Tensor, mask: Tensor) -> Tensor:
        """Fill the pixels of one image or a batch where the mask is 0.

        Args:
            img: floating point (C, H, W) or (B, C, H, W).
            mask: (H, W) or (B, H, W), any dtype, 0 for missing pixels.

        Returns:
            shape, dtype and device of img

        Raises:
            ValueError: if shapes do not match, or img is not finite.
            ImportError: if SciPy is not installed.
        """
        batched = img.ndim == 4
        images, known = (img, mask) if batched else (img[None], mask[None])
        filled = noisy_linear_imputation(images, known.to(img.device) == 0, self.noise, self.weights)
        return filled if batched else filled[0]


class ROADMostRelevantFirst(PerturbationConfidenceMetric):
    """Change of the score when the most relevant pixels are imputed; lower is better.

    Args:
        percentile: percentile of the map, 0 to 100; pixels above it are imputed, so 80 imputes a fifth. "auto" is
            Otsu's threshold.

    Raises:
        ValueError: if percentile is out of range.

    Example:
        >>> from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget
        >>> maps, targets = np.random.rand(2, 32, 32), [ClassifierOutputSoftmaxTarget(1)] * 2
        >>> scores, perturbed = ROADMostRelevantFirst(80)(images, maps, targets, model, return_visualization=True)
        >>> scores.shape, perturbed.shape
        ((2,), torch.Size([2, 3, 32, 32]))
    """

    def __init__(self, percentile: float | Literal["auto"] = 80) -> None:
        super().__init__(RemoveMostRelevantFirst(percentile, NoisyLinearImputer()))


class ROADLeastRelevantFirst(PerturbationConfidenceMetric):
    """Change of the score when the least relevant pixels are imputed; higher is better.

    Args:
        percentile: percent of the pixels that are kept, 0 to 100; 20 imputes four fifths. "auto" is Otsu's threshold.

    Raises:
        ValueError: if percentile is out of range.
    """

    def __init__(self, percentile: float | Literal["auto"] = 20) -> None:
        super().__init__(RemoveLeastRelevantFirst(percentile, NoisyLinearImputer()))


class ROADMostRelevantFirstAverage(AveragerAcrossThresholds):
    """Mean of `ROADMostRelevantFirst` over percentiles.

    Args:
        percentiles: list of percentiles, each 0 to 100.

    Raises:
        ValueError: if the list is empty, or a percentile is out of range.
    """

    def __init__(self, percentiles: Sequence[float] = PERCENTAGES) -> None:
        super().__init__(ROADMostRelevantFirst, percentiles)


class ROADLeastRelevantFirstAverage(AveragerAcrossThresholds):
    """Mean of `ROADLeastRelevantFirst` over percentiles.

    Args:
        percentiles: list of percentiles, each 0 to 100.

    Raises:
        ValueError: if the list is empty, or a percentile is out of range.
    """

    def __init__(self, percentiles: Sequence[float] = PERCENTAGES) -> None:
        super().__init__(ROADLeastRelevantFirst, percentiles)


class ROADCombined:
    """Half the difference of two ROAD changes, least minus most relevant pixels imputed; higher is better.

        (least - most) / 2, each the mean over the percentiles

    Args:
        percentiles: list of percentiles, each 0 to 100.

    Raises:
        ValueError: if the list is empty, or a percentile is out of range.

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
        """Score a batch.

        Args:
            input_tensor: preprocessed images (B, C, H, W).
            cams: maps (B, H, W), array or tensor.
            targets: class index or callable, or a list of B of them; None is the best class of each image.
            model: the network; its state is restored.

        Returns:
            float32 array (B,)

        Raises:
            ValueError: if shapes or counts do not match, or maps hold NaN.
            ImportError: if SciPy is not installed.
        """
        averages = (self.lerf_averager, self.morf_averager)
        least, most = (average(input_tensor, cams, targets, model) for average in averages)
        return np.float32(0.5) * (least - most)
