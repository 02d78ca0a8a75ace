"""Removal metrics: scores as pixels are removed or inserted in the order of their relevance (RISE, ROAD)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import floor
from numbers import Real
from typing import Any, Literal

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pytorch_grad_cam._engine.arguments import check_count
from pytorch_grad_cam.metrics._imputation import noisy_linear_imputation
from pytorch_grad_cam.metrics._scoring import Activation, PerturbationScorer, score_perturbed
from pytorch_grad_cam.utils.regions import real_numbers

Baseline = Literal["zeros", "mean", "blur"] | Tensor | NDArray[Any] | float

PERCENTAGES = (10, 20, 30, 40, 50, 60, 70, 80, 90)


@dataclass(frozen=True, eq=False)
class Curve:
    """Scores over the share of changed pixels.

    Attributes:
        shares: (n + 1,), from 0 to 1.
        scores: (B, n + 1) or (B, K, n + 1).
    """

    shares: Tensor
    scores: Tensor

    @property
    def area(self) -> Tensor:
        """Area under the curve by the trapezoidal rule, (B,) or (B, K): the mean score."""
        return torch.trapezoid(self.scores, self.shares.to(self.scores))


def deletion(
    model: nn.Module,
    input_tensor: Tensor,
    maps: Any,
    targets: Any = None,
    *,
    step: int | None = None,
    baseline: Baseline = "zeros",
    activation: Activation = "softmax",
    batch_size: int | None = None,
) -> Curve:
    """Scores as pixels are replaced by a baseline, the most relevant first; a low area is better.

    Petsiuk et al. (RISE), 2018, section 4.2, https://arxiv.org/abs/1806.07421

    Differs from the paper: pixels of equal value are ranked in reading order, so each step changes exactly `step`
    pixels. The last step changes the rest and counts by its share in the area.

    Args:
        model: the network; its state is restored.
        input_tensor: preprocessed images (B, C, *S).
        maps: array or tensor (B, *S), or (B, K, *S) for K targets per image.
        targets: class index or callable, a list of B of them, or a list of B lists of K; None is the best class of each
            image.
        step: pixels changed per step; None is the width of the image, as in the code of the authors.
        baseline: values of deleted pixels: "zeros" of the preprocessed input, the "mean" of each channel of the image,
            the "blur" of the image, or a number, array or tensor that broadcasts to the input.
        activation: function applied to class scores: "softmax" as in the paper, "sigmoid", or None for raw scores.
        batch_size: perturbed copies per forward pass, None for 32.

    Returns:
        `Curve` with scores (B, n + 1) or (B, K, n + 1); its area is (B,) or (B, K)

    Raises:
        ValueError: if shapes or counts do not match, maps hold NaN, or the baseline is unknown.

    Example:
        >>> curve = deletion(model, images, torch.rand(2, 32, 32), step=256)
        >>> curve.shares, curve.area.shape
        (tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000]), torch.Size([2]))
    """
    with score_perturbed(model, input_tensor, maps, targets, activation, batch_size) as scorer:
        images = scorer.inputs.images
        return _curve(scorer, images, baseline_images(baseline, images), step)


def insertion(
    model: nn.Module,
    input_tensor: Tensor,
    maps: Any,
    targets: Any = None,
    *,
    step: int | None = None,
    baseline: Baseline = "blur",
    activation: Activation = "softmax",
    batch_size: int | None = None,
) -> Curve:
    """Scores as the pixels of an image are inserted into a baseline, the most relevant first; a high area is better.

    Petsiuk et al. (RISE), 2018, section 4.2, https://arxiv.org/abs/1806.07421

    Differs from the paper: pixels of equal value are ranked in reading order. The blur is a Gaussian with a standard
    deviation of 5 pixels, cut off at 5 pixels, and the border is replicated. The kernel of the authors is flatter and
    darkens the border, so published areas are not comparable.

    Args:
        model: the network; its state is restored.
        input_tensor: preprocessed images (B, C, *S).
        maps: array or tensor (B, *S), or (B, K, *S) for K targets per image.
        targets: class index or callable, a list of B of them, or a list of B lists of K; None is the best class of each
            image.
        step: pixels changed per step; None is the width of the image, as in the code of the authors.
        baseline: image to begin with: "zeros" of the preprocessed input, the "mean" of each channel of the image, the
            "blur" of the image, or a number, array or tensor that broadcasts to the input.
        activation: function applied to class scores: "softmax" as in the paper, "sigmoid", or None for raw scores.
        batch_size: perturbed copies per forward pass, None for 32.

    Returns:
        `Curve` with scores (B, n + 1) or (B, K, n + 1); its area is (B,) or (B, K)

    Raises:
        ValueError: if shapes or counts do not match, maps hold NaN, or the baseline is unknown.

    Example:
        >>> insertion(model, images, torch.rand(2, 32, 32), targets=1, step=256).scores.shape
        torch.Size([2, 5])
    """
    with score_perturbed(model, input_tensor, maps, targets, activation, batch_size) as scorer:
        images = scorer.inputs.images
        return _curve(scorer, baseline_images(baseline, images), images, step)


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
    """Change of the score when a share of the pixels is removed and imputed (ROAD).

    If the most relevant pixels are removed, lower is better; if the least relevant are removed, higher is better.
    Needs SciPy: `pip install "grad-cam[metrics]"`.

    Rong et al., 2022, https://arxiv.org/abs/2202.00449

    Differs from the paper: the result is the change of a score, where the paper reports the accuracy over a dataset.
    Pixels of equal value are ranked in reading order, so exactly the share asked for is removed.

    Args:
        model: the network; its state is restored.
        input_tensor: preprocessed images (B, C, H, W).
        maps: array or tensor (B, H, W), or (B, K, H, W) for K targets per image.
        targets: class index or callable, a list of B of them, or a list of B lists of K; None is the best class of each
            image.
        first: pixels to remove, the "most" or the "least" relevant.
        percentages: P shares of the pixels to remove, each in percent, 0 to 100.
        noise: standard deviation of the noise on imputed pixels, in the unit of the preprocessed input.
        activation: function applied to class scores: "softmax", "sigmoid", or None for raw scores.
        batch_size: perturbed copies per forward pass, None for 32.
        generator: random number generator of the noise on the device of the model; None uses PyTorch's default.

    Returns:
        (B, P) or (B, K, P), score after removal minus score before

    Raises:
        ValueError: if shapes or counts do not match, maps hold NaN, or a percentage is out of range.
        ImportError: if SciPy is not installed.

    Example:
        >>> road_curve(model, images, torch.rand(2, 32, 32), percentages=[0, 50]).shape
        torch.Size([2, 2])
    """
    with score_perturbed(model, input_tensor, maps, targets, activation, batch_size) as scorer:
        return scorer.squeeze(_road(scorer, first, percentages, noise, generator))


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
    """Half the difference of two ROAD changes, least relevant minus most relevant pixels removed; higher is better.

        (least - most) / 2, each the mean of `road_curve` over the percentages

    Needs SciPy: `pip install "grad-cam[metrics]"`.

    Rong et al., 2022, https://arxiv.org/abs/2202.00449; the combination is that of grad-cam 1.5.7.

    Args:
        model: the network; its state is restored.
        input_tensor: preprocessed images (B, C, H, W).
        maps: array or tensor (B, H, W), or (B, K, H, W) for K targets per image.
        targets: class index or callable, a list of B of them, or a list of B lists of K; None is the best class of each
            image.
        percentages: shares of the pixels to remove, each in percent, 0 to 100.
        noise: standard deviation of the noise on imputed pixels, in the unit of the preprocessed input.
        activation: function applied to class scores: "softmax", "sigmoid", or None for raw scores.
        batch_size: perturbed copies per forward pass, None for 32.
        generator: random number generator of the noise on the device of the model; None uses PyTorch's default.

    Returns:
        (B,) or (B, K), in [-0.5, 0.5] for probabilities

    Raises:
        ValueError: if shapes or counts do not match, maps hold NaN, or a percentage is out of range.
        ImportError: if SciPy is not installed.

    Example:
        >>> maps = torch.rand(2, 32, 32)
        >>> road_combined(model, images, maps, targets=[0, 3], percentages=[20, 80]).shape
        torch.Size([2])
    """
    with score_perturbed(model, input_tensor, maps, targets, activation, batch_size) as scorer:
        shares = list(percentages) if isinstance(percentages, Iterable) else percentages
        least, most = (_road(scorer, first, shares, noise, generator).mean(2) for first in ("least", "most"))
        return scorer.squeeze((least - most) / 2)


def rank_pixels(maps: Tensor, first: str = "most") -> Tensor:
    """Rank the pixels of each map by relevance, from 0.

    Ranks are unique: pixels of equal value are ranked in reading order.

    Args:
        maps: (N, *S), any real dtype.
        first: pixels of the lowest rank, the "most" or the "least" relevant.

    Returns:
        int64 (N, *S), a permutation of 0 to the number of pixels - 1 for each map

    Raises:
        ValueError: if first is neither word.

    Example:
        >>> rank_pixels(torch.tensor([[0.0, 2.0, 0.0, 1.0]]))
        tensor([[2, 0, 3, 1]])
    """
    if first not in ("most", "least"):
        raise ValueError(f'first is {first!r}, expected "most" or "least"')
    order = maps.flatten(1).argsort(dim=1, descending=first == "most", stable=True)
    ranks = torch.arange(order.shape[1], device=maps.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, ranks).view(maps.shape)


def pixel_counts(percentages: Any, pixels: int) -> list[int]:
    """Convert percentages to numbers of pixels, rounded half up.

    Args:
        percentages: list of at least one number in percent, 0 to 100.
        pixels: number of pixels of an image.

    Raises:
        ValueError: if the list is empty, or a percentage is out of range.

    Example:
        >>> pixel_counts([0, 12.5, 90], pixels=20)
        [0, 3, 18]
    """
    values = list(percentages) if isinstance(percentages, Iterable) else []
    if not values or not all(isinstance(value, Real) and 0 <= float(value) <= 100 for value in values):
        raise ValueError(f"percentages are {percentages!r}, expected a list of at least one, each from 0 to 100")
    return [floor(pixels * float(value) / 100 + 0.5) for value in values]


def blur(images: Tensor, sigma: float = 5, radius: int = 5) -> Tensor:
    """Convolve images with a Gaussian; the border is replicated.

    Args:
        images: floating point (B, C, H, W).
        sigma: standard deviation in pixels.
        radius: distance in pixels at which the kernel is cut off.

    Returns:
        (B, C, H, W), dtype and device of the images

    Example:
        >>> blur(torch.ones(1, 1, 2, 3)).round(decimals=4)
        tensor([[[[1., 1., 1.],
                  [1., 1., 1.]]]])
    """
    offsets = torch.arange(-radius, radius + 1, device=images.device, dtype=torch.float32)
    kernel = (-0.5 * (offsets / sigma) ** 2).exp()
    kernel = (kernel / kernel.sum()).to(images.dtype)
    channels = images.shape[1]
    rows = kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    padded = F.pad(images, (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, rows, groups=channels), rows.mT, groups=channels)


def baseline_images(baseline: Baseline, images: Tensor) -> Tensor:
    """Make the images that replace removed pixels.

    Args:
        baseline: "zeros", the "mean" of each channel of the image, the "blur" of the image, or a number, array or
            tensor that broadcasts to the images.
        images: (B, C, *S)

    Returns:
        (B, C, *S), dtype and device of the images

    Raises:
        ValueError: if the baseline is unknown or does not broadcast.
    """
    if not isinstance(baseline, str):
        values = real_numbers(baseline, "baseline")
        try:
            return values.to(images).expand_as(images)
        except RuntimeError:
            raise ValueError(
                f"baseline has shape {tuple(values.shape)}, expected one that broadcasts to the input "
                f"{tuple(images.shape)}"
            ) from None
    if baseline == "zeros":
        return torch.zeros_like(images)
    if baseline == "mean":
        return images.mean(dim=tuple(range(2, images.ndim)), keepdim=True).expand_as(images)
    if baseline == "blur" and images.ndim == 4:
        return blur(images)
    raise ValueError(
        f'baseline is {baseline!r} for images {tuple(images.shape)}, expected "zeros", "mean", "blur" for images '
        "(B, C, H, W), or values"
    )


def _curve(scorer: PerturbationScorer, start: Tensor, end: Tensor, step: int | None) -> Curve:
    maps = scorer.maps
    ranks = rank_pixels(maps)
    pixels = maps[0].numel()
    step = check_count("step", step, "for the width of the image") or maps.shape[-1]
    counts = torch.tensor([*range(0, pixels, step), pixels], device=maps.device)

    def perturb(pairs: Tensor, steps: Tensor) -> Tensor:
        changed = ranks[pairs] < counts[steps].view(-1, *[1] * (maps.ndim - 1))
        indices = scorer.image_indices(pairs)
        return torch.where(changed.unsqueeze(1), end[indices], start[indices])

    scores = scorer.scores(perturb, len(counts))
    return Curve(counts / pixels, scorer.squeeze(scores))


def _road(
    scorer: PerturbationScorer,
    first: str,
    percentages: Sequence[float],
    noise: float,
    generator: torch.Generator | None,
) -> Tensor:
    if scorer.maps.ndim != 3:
        raise ValueError(
            f"input_tensor has shape {tuple(scorer.inputs.images.shape)}, expected images (B, C, H, W): the imputation "
            "is defined for two axes"
        )
    ranks = rank_pixels(scorer.maps, first)
    counts = torch.tensor(pixel_counts(percentages, scorer.maps[0].numel()), device=ranks.device)

    def perturb(pairs: Tensor, steps: Tensor) -> Tensor:
        removed = ranks[pairs] < counts[steps, None, None]
        return noisy_linear_imputation(scorer.images(pairs), removed, noise, generator=generator)

    return scorer.scores(perturb, len(counts)) - scorer.original_scores.unsqueeze(2)
