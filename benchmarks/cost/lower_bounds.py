"""The work that no gradient method can avoid: forward without a graph to the layer, then forward and backward."""

from typing import Any

import torch
from torch import Tensor, nn


def forward_from(model: Any, layer: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """The output of a layer as a leaf, and the scores as a function of it; parameters must not require gradients."""
    leaves: list[Tensor] = []

    def cut(_layer: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        leaves.append(output.detach().requires_grad_())
        return leaves[0].clone()  # what follows may change it in-place

    handle = layer.register_forward_hook(cut)
    try:
        scores: Tensor = model(images)
    finally:
        handle.remove()
    return leaves[0], scores


def gradient_bound(model: Any, layer: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """The gradient of each image's class score at the output of the layer."""
    x, scores = forward_from(model, layer, images)
    return torch.autograd.grad(scores.gather(1, classes[:, None]).sum(), x)[0]


def supported_class(model: Any, layer: nn.Module, image: Tensor) -> Tensor:
    """The class, of the best three, with most support at the layer: with random weights other maps are often blank."""
    x, scores = forward_from(model, layer, image)
    classes = scores[0].topk(3).indices
    gradients = [torch.autograd.grad(scores[0, index], x, retain_graph=True)[0] for index in classes]
    return classes[torch.stack([(g * x.detach()).sum() for g in gradients]).argmax()].reshape(1)
