"""Deletion and insertion: how a score falls or rises as pixels go or come in the order of their relevance (RISE)."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pytorch_grad_cam.base_cam import check_count
from pytorch_grad_cam.metrics._scoring import Activation, Question, questioned
from pytorch_grad_cam.metrics.ranking import rank_pixels
from pytorch_grad_cam.utils.regions import real_numbers

Baseline = Literal["zeros", "mean", "blur"] | Tensor | NDArray[Any] | float


@dataclass(frozen=True, eq=False)
class Curve:
    """A score over the share of pixels that were changed.

    Attributes:
        shares: (n + 1,), from 0 to 1.
        scores: (B, n + 1) or (B, K, n + 1).
    """

    shares: Tensor
    scores: Tensor

    @property
    def area(self) -> Tensor:
        """The area under the curve by the trapezoidal rule, (B,) or (B, K): the mean score on the way."""
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
    """The score as pixels are deleted, the most relevant first; a low area is good.

    Petsiuk et al. (RISE), 2018, section 4.2, https://arxiv.org/abs/1806.07421

    Differs from the paper: nothing; of pixels of one value the first in reading order goes first, so that each step
    changes `step` pixels exactly, the last one what is left, and counts in the area by its share.

    Args:
        model: left as it was found.
        input_tensor: (B, C, *S), preprocessed.
        maps: (B, *S), or (B, K, *S) for K targets of each picture.
        targets: as a method takes them; None is the best class of each picture.
        step: how many pixels go at once; None is the width of the picture, as in the authors' code.
        baseline: what is put in their place: "zeros" of the preprocessed input, the "mean" of each channel of the
            picture, its "blur", or a number, array or tensor that broadcasts to the input.
        activation: of the scores of classes: "softmax" as in the paper, "sigmoid", or None for raw scores.
        batch_size: how many copies run at once; None is 32.

    Raises:
        ValueError: if shapes or counts do not go together, or maps hold NaN.

    Example:
        >>> curve = deletion(model, images, torch.rand(2, 32, 32), step=256)
        >>> curve.shares, curve.area.shape
        (tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000]), torch.Size([2]))
    """
    with questioned(model, input_tensor, maps, targets, activation, batch_size) as question:
        return _curve(question, question.inputs.pictures, baseline_pictures(baseline, question.inputs.pictures), step)


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
    """The score as pixels are put back into a blurred picture, the most relevant first; a high area is good.

    Source and arguments are those of `deletion`; baseline is the picture to begin with.

    Differs from the authors' code: the blur is a Gaussian of standard deviation 5, cut off after 5 pixels, and beyond
    the border the picture is continued by its edge; theirs is flatter, and darkens the border. Areas compare with those
    measured here, not with published ones.

    Example:
        >>> insertion(model, images, torch.rand(2, 32, 32), targets=1, step=256).scores.shape
        torch.Size([2, 5])
    """
    with questioned(model, input_tensor, maps, targets, activation, batch_size) as question:
        return _curve(question, baseline_pictures(baseline, question.inputs.pictures), question.inputs.pictures, step)


def blur(pictures: Tensor, sigma: float = 5, radius: int = 5) -> Tensor:
    """Pictures (B, C, H, W) convolved with a Gaussian; beyond the border they are continued by their edge.

    Example:
        >>> blur(torch.ones(1, 1, 2, 3)).round(decimals=4)
        tensor([[[[1., 1., 1.],
                  [1., 1., 1.]]]])
    """
    places = torch.arange(-radius, radius + 1, device=pictures.device, dtype=torch.float32)
    kernel = (-0.5 * (places / sigma) ** 2).exp()
    kernel = (kernel / kernel.sum()).to(pictures.dtype)
    channels = pictures.shape[1]
    rows = kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    padded = F.pad(pictures, (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, rows, groups=channels), rows.mT, groups=channels)


def baseline_pictures(baseline: Baseline, pictures: Tensor) -> Tensor:
    """What pictures (B, C, *S) are without any of their pixels, of the same shape."""
    if not isinstance(baseline, str):
        given = real_numbers(baseline, "baseline")
        try:
            return given.to(pictures).expand_as(pictures)
        except RuntimeError:
            raise ValueError(
                f"baseline has shape {tuple(given.shape)}, expected one that broadcasts to the input "
                f"{tuple(pictures.shape)}"
            ) from None
    if baseline == "zeros":
        return torch.zeros_like(pictures)
    if baseline == "mean":
        return pictures.mean(dim=tuple(range(2, pictures.ndim)), keepdim=True).expand_as(pictures)
    if baseline == "blur" and pictures.ndim == 4:
        return blur(pictures)
    raise ValueError(
        f'baseline is {baseline!r} for pictures {tuple(pictures.shape)}, expected "zeros", "mean", "blur" of '
        "(B, C, H, W), or values"
    )


def _curve(question: Question, start: Tensor, end: Tensor, step: int | None) -> Curve:
    maps = question.maps
    ranks = rank_pixels(maps)
    pixels = maps[0].numel()
    step = check_count("step", step, "for the width of the picture") or maps.shape[-1]
    counts = torch.tensor([*range(0, pixels, step), pixels], device=maps.device)
    targets = question.scores.shape[1]

    def change(cases: Tensor, steps: Tensor) -> Tensor:
        changed = ranks[cases] < counts[steps].view(-1, *[1] * (maps.ndim - 1))
        pictures = cases // targets
        return torch.where(changed.unsqueeze(1), end[pictures], start[pictures])

    scores = question.ask(change, len(counts))
    return Curve(counts / pixels, question.answer(scores))
