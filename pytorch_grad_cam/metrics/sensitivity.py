"""Sensitivity-n: whether what a map says of pixels is what their removal does."""

from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from pytorch_grad_cam.metrics._scoring import Activation, questioned
from pytorch_grad_cam.metrics.removal import Baseline, baseline_pictures


def sensitivity_n(
    model: nn.Module,
    input_tensor: Tensor,
    maps: Any,
    targets: Any = None,
    *,
    n: int,
    samples: int = 100,
    baseline: Baseline = "zeros",
    activation: Activation = None,
    batch_size: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The correlation of how much a map gives to random pixels with how much the score falls without them.

        corr over random sets S of n pixels of (sum of map_i over S, y(x) - y(x without S))

    Ancona et al., 2018, section 4, https://arxiv.org/abs/1711.06104

    Differs from the paper: 0 where either of the two is constant, as for a blank map. A pixel goes with all its
    channels.

    Args:
        model: left as it was found.
        input_tensor: (B, C, *S), preprocessed.
        maps: (B, *S), or (B, K, *S) for K targets of each picture.
        targets: as a method takes them; None is the best class of each picture.
        n: how many pixels are removed at once.
        samples: how many sets are drawn; all maps are asked about the same ones.
        baseline: what is put in the place of a pixel: "zeros" of the preprocessed input as in the paper, the "mean" of
            each channel, the "blur" of the picture, or a tensor that broadcasts to the input.
        activation: of the scores of classes: "softmax", "sigmoid", or None for raw scores as in the paper.
        batch_size: how many copies run at once; None is 32.
        generator: of the sets, on the CPU; None is PyTorch's own.

    Returns:
        (B,) or (B, K), Pearson's correlation in [-1, 1]

    Raises:
        ValueError: if shapes or counts do not go together, or maps hold NaN.

    Example:
        >>> sensitivity_n(model, images, torch.zeros(2, 32, 32), n=50, samples=10)
        tensor([0., 0.])
    """
    with questioned(model, input_tensor, maps, targets, activation, batch_size) as question:
        values = question.maps.flatten(1).double()
        pixels = values.shape[1]
        counts: tuple[Any, ...] = (n, samples)
        if not (all(isinstance(count, Integral) for count in counts) and 0 < n <= pixels and samples > 1):
            raise ValueError(f"n is {n} of {pixels} pixels and samples are {samples}, expected 1 to all, and 2 or more")
        order = torch.rand(samples, pixels, generator=generator).argsort(dim=1)
        removed = torch.zeros(samples, pixels, dtype=torch.bool).scatter_(1, order[:, :n], True).to(values.device)
        replacement = baseline_pictures(baseline, question.inputs.pictures)
        targets_each = question.scores.shape[1]

        def change(cases: Tensor, steps: Tensor) -> Tensor:
            where = removed[steps].view(-1, 1, *question.maps.shape[1:])
            return torch.where(where, replacement[cases // targets_each], question.pictures(cases))

        falls = question.scores.unsqueeze(2) - question.ask(change, samples)
        given = (values @ removed.double().mT).view_as(falls)
        return question.answer(correlation(given, falls.double()).float())


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's correlation along the last axis; 0 where either is constant, but for rounding.

    Example:
        >>> correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0, 6.0]))
        tensor(1.)
    """
    a, b = (x - x.mean(dim=-1, keepdim=True) for x in (first, second))
    rounding = torch.finfo(first.dtype).eps * first.shape[-1]
    constant = [c.norm(dim=-1) <= rounding * x.norm(dim=-1) for c, x in ((a, first), (b, second))]
    result = (a * b).sum(dim=-1) / (a.norm(dim=-1) * b.norm(dim=-1))
    return torch.where(constant[0] | constant[1], 0, result).clamp(-1, 1)
