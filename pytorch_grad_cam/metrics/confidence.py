"""What a model still sees of a picture that is multiplied with its map (Grad-CAM++)."""

from typing import Any

import torch
from torch import Tensor, nn

from pytorch_grad_cam.metrics._scoring import Activation, Question, questioned


def average_drop(
    model: nn.Module,
    input_tensor: Tensor,
    maps: Any,
    targets: Any = None,
    *,
    activation: Activation = "softmax",
    batch_size: int | None = None,
) -> Tensor:
    """The share of its confidence that a model loses where a picture is seen through its map; lower is better.

        max(0, Y - O) / Y,    Y = score of X, O = score of X * map

    Chattopadhyay et al. (Grad-CAM++), 2018, section 5.1, https://arxiv.org/abs/1710.11063

    Differs from the paper: one share for each map, where the paper gives 100 times their mean; the preprocessed input
    is multiplied, so a pixel of map 0 becomes the mean colour; divided by the absolute value of Y, for scores that are
    no probabilities; 0 where Y is 0.

    Args:
        model: left as it was found.
        input_tensor: (B, C, *S), preprocessed.
        maps: (B, *S) in [0, 1], or (B, K, *S) for K targets of each picture.
        targets: as a method takes them; None is the best class of each picture.
        activation: of the scores of classes: "softmax" as in the paper, "sigmoid", or None for raw scores.
        batch_size: how many copies run at once; None is 32.

    Returns:
        (B,) or (B, K), in [0, 1] for probabilities

    Raises:
        ValueError: if shapes or counts do not go together, or maps hold NaN.

    Example:
        >>> maps = torch.ones(2, 32, 32)
        >>> average_drop(model, images, maps)
        tensor([0., 0.])
    """
    with questioned(model, input_tensor, maps, targets, activation, batch_size) as question:
        seen = _seen_through_maps(question)
        drop = (question.scores - seen).clamp(min=0)
        return question.answer(torch.where(question.scores == 0, 0, drop / question.scores.abs()))


def increase_in_confidence(
    model: nn.Module,
    input_tensor: Tensor,
    maps: Any,
    targets: Any = None,
    *,
    activation: Activation = "softmax",
    batch_size: int | None = None,
) -> Tensor:
    """Whether a model is more confident where a picture is seen through its map; higher is better.

        O > Y,    Y = score of X, O = score of X * map

    Chattopadhyay et al. (Grad-CAM++), 2018, section 5.1, https://arxiv.org/abs/1710.11063

    Differs from the paper: one answer for each map, where the paper gives their share in percent; the preprocessed
    input is multiplied.

    Args:
        model: left as it was found, like what follows it as `average_drop` takes it.
        input_tensor: (B, C, *S), preprocessed.
        maps: (B, *S) or (B, K, *S)
        targets: as a method takes them.
        activation: of the scores of classes.
        batch_size: how many copies run at once.

    Returns:
        bool (B,) or (B, K)

    Raises:
        ValueError: if shapes or counts do not go together, or maps hold NaN.

    Example:
        >>> increase_in_confidence(model, images, torch.ones(2, 32, 32))
        tensor([False, False])
    """
    with questioned(model, input_tensor, maps, targets, activation, batch_size) as question:
        return question.answer(_seen_through_maps(question) > question.scores)


def _seen_through_maps(question: Question) -> Tensor:
    def change(cases: Tensor, _: Tensor) -> Tensor:
        return question.pictures(cases) * question.maps[cases].unsqueeze(1)

    return question.ask(change, 1).squeeze(2)
