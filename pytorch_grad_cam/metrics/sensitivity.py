"""Sensitivity-n: correlation of the values of a map with the effect of removing pixels."""

from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from pytorch_grad_cam.metrics._scoring import Activation, score_perturbed
from pytorch_grad_cam.metrics.removal import Baseline, baseline_images


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
    """Correlation of the sum of a map over random pixels with the drop of the score when they are removed.

        corr over random sets S of n pixels of (sum of map_i over S, y(x) - y(x without S))

    Ancona et al., 2018, section 4, https://arxiv.org/abs/1711.06104

    Differs from the paper: the result is 0 if either quantity is constant, as for a blank map. A pixel is removed with
    all its channels.

    Args:
        model: the network; its state is restored.
        input_tensor: preprocessed images (B, C, *S).
        maps: array or tensor (B, *S), or (B, K, *S) for K targets per image.
        targets: class index or callable, a list of B of them, or a list of B lists of K; None is the best class of each
            image.
        n: pixels removed at once, from 1 to all.
        samples: random sets of pixels, at least 2; the same ones for all maps.
        baseline: values of removed pixels: "zeros" of the preprocessed input as in the paper, the "mean" of each
            channel of the image, the "blur" of the image, or a number, array or tensor that broadcasts to the input.
        activation: function applied to class scores: "softmax", "sigmoid", or None for raw scores as in the paper.
        batch_size: perturbed copies per forward pass, None for 32.
        generator: random number generator of the sets, on the CPU; None uses PyTorch's default.

    Returns:
        (B,) or (B, K), Pearson correlation in [-1, 1]

    Raises:
        ValueError: if shapes or counts do not match, maps hold NaN, or n or samples is out of range.

    Example:
        >>> sensitivity_n(model, images, torch.zeros(2, 32, 32), n=50, samples=10)
        tensor([0., 0.])
    """
    with score_perturbed(model, input_tensor, maps, targets, activation, batch_size) as scorer:
        values = scorer.maps.flatten(1).double()
        pixels = values.shape[1]
        counts: tuple[Any, ...] = (n, samples)
        if not (all(isinstance(count, Integral) for count in counts) and 0 < n <= pixels and samples > 1):
            raise ValueError(f"n is {n} of {pixels} pixels and samples are {samples}, expected 1 to all, and 2 or more")
        order = torch.rand(samples, pixels, generator=generator).argsort(dim=1)
        removed = torch.zeros(samples, pixels, dtype=torch.bool).scatter_(1, order[:, :n], True).to(values.device)
        replacement = baseline_images(baseline, scorer.inputs.images)

        def perturb(pairs: Tensor, steps: Tensor) -> Tensor:
            mask = removed[steps].view(-1, 1, *scorer.maps.shape[1:])
            return torch.where(mask, replacement[scorer.image_indices(pairs)], scorer.images(pairs))

        drops = scorer.original_scores.unsqueeze(2) - scorer.scores(perturb, samples)
        sums = (values @ removed.double().mT).view_as(drops)
        return scorer.squeeze(correlation(sums, drops.double()).float())


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson correlation along the last axis, 0 if either tensor is constant up to rounding.

    Args:
        first: floating point (..., N).
        second: shape and dtype of the first.

    Returns:
        (...) in [-1, 1], dtype of the arguments

    Example:
        >>> correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0, 6.0]))
        tensor(1.)
    """
    a, b = (x - x.mean(dim=-1, keepdim=True) for x in (first, second))
    rounding = torch.finfo(first.dtype).eps * first.shape[-1]
    constant = [c.norm(dim=-1) <= rounding * x.norm(dim=-1) for c, x in ((a, first), (b, second))]
    result = (a * b).sum(dim=-1) / (a.norm(dim=-1) * b.norm(dim=-1))
    return torch.where(constant[0] | constant[1], 0, result).clamp(-1, 1)
