"""Average drop and increase in confidence (Grad-CAM++): scores of images multiplied with their maps."""

from typing import Any

import torch
from torch import Tensor, nn

from pytorch_grad_cam.metrics._scoring import Activation, PerturbationScorer, score_perturbed


def average_drop(
    model: nn.Module,
    input_tensor: Tensor,
    maps: Any,
    targets: Any = None,
    *,
    activation: Activation = "softmax",
    batch_size: int | None = None,
) -> Tensor:
    """Relative drop of the score when an image is multiplied with its map; lower is better.

        max(0, Y - O) / Y,    Y = score of X, O = score of X * map

    Chattopadhyay et al. (Grad-CAM++), 2018, section 5.1, https://arxiv.org/abs/1710.11063

    Differs from the paper:
        - The result is one share per map. The paper reports 100 times their mean.
        - The preprocessed input is multiplied, so a pixel with map 0 becomes the mean color of the preprocessing.
        - The divisor is the absolute value of Y, for scores that are not probabilities. The result is 0 if Y is 0.

    Args:
        model: the network; its state is restored.
        input_tensor: preprocessed images (B, C, *S).
        maps: array or tensor (B, *S) in [0, 1], or (B, K, *S) for K targets per image.
        targets: class index or callable, a list of B of them, or a list of B lists of K; None is the best class of each
            image.
        activation: function applied to class scores: "softmax" as in the paper, "sigmoid", or None for raw scores.
        batch_size: perturbed copies per forward pass, None for 32.

    Returns:
        (B,) or (B, K), in [0, 1] for probabilities

    Raises:
        ValueError: if shapes or counts do not match, or maps hold NaN.

    Example:
        >>> maps = torch.ones(2, 32, 32)
        >>> average_drop(model, images, maps)
        tensor([0., 0.])
    """
    with score_perturbed(model, input_tensor, maps, targets, activation, batch_size) as scorer:
        original = scorer.original_scores
        drop = (original - _scores_of_products(scorer)).clamp(min=0)
        return scorer.squeeze(torch.where(original == 0, 0, drop / original.abs()))


def increase_in_confidence(
    model: nn.Module,
    input_tensor: Tensor,
    maps: Any,
    targets: Any = None,
    *,
    activation: Activation = "softmax",
    batch_size: int | None = None,
) -> Tensor:
    """True for each map that raises the score when the image is multiplied with it; more are better.

        O > Y,    Y = score of X, O = score of X * map

    Chattopadhyay et al. (Grad-CAM++), 2018, section 5.1, https://arxiv.org/abs/1710.11063

    Differs from the paper: the result is one bool per map, where the paper reports their share in percent. The
    preprocessed input is multiplied.

    Args:
        model: the network; its state is restored.
        input_tensor: preprocessed images (B, C, *S).
        maps: array or tensor (B, *S) in [0, 1], or (B, K, *S) for K targets per image.
        targets: class index or callable, a list of B of them, or a list of B lists of K; None is the best class of each
            image.
        activation: function applied to class scores: "softmax" as in the paper, "sigmoid", or None for raw scores.
        batch_size: perturbed copies per forward pass, None for 32.

    Returns:
        bool (B,) or (B, K)

    Raises:
        ValueError: if shapes or counts do not match, or maps hold NaN.

    Example:
        >>> increase_in_confidence(model, images, torch.ones(2, 32, 32))
        tensor([False, False])
    """
    with score_perturbed(model, input_tensor, maps, targets, activation, batch_size) as scorer:
        return scorer.squeeze(_scores_of_products(scorer) > scorer.original_scores)


def _scores_of_products(scorer: PerturbationScorer) -> Tensor:
    def perturb(pairs: Tensor, _: Tensor) -> Tensor:
        return scorer.images(pairs) * scorer.maps[pairs].unsqueeze(1)

    return scorer.scores(perturb, 1).squeeze(2)
