"""Which layers of a network a map can be made at, and the one to take where none is named."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from pytorch_grad_cam.hooks import gradients, record_outputs
from pytorch_grad_cam.inputs import Inputs, prepare_inputs
from pytorch_grad_cam.modes import held_still
from pytorch_grad_cam.preparation import prepare_model
from pytorch_grad_cam.utils.layouts import Layout, Transform, find_transform, first_tensor
from pytorch_grad_cam.utils.model_targets import class_scores, of_first_image, resolve_targets

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A layer that keeps positions of the input.

    Attributes:
        name: dotted, as `target_layers` takes it.
        layer: the module.
        shape: of what it returned for one image; of the first tensor where it returned several.
        layout: how the positions lie in it, such as "(B, 1 + 14 * 14, C)".
        grid: positions along each spatial axis.
        gradient: Euclidean norm of the score's gradient at the positions; None if no gradient arrives at the layer.
        inside_attention: whether it is a part of an attention.
    """

    name: str
    layer: nn.Module
    shape: tuple[int, ...]
    layout: str
    grid: tuple[int, ...]
    gradient: float | None
    inside_attention: bool


class Candidates(list[Candidate]):
    """The layers of a network that keep positions, in the order in which they finish; printed as a table."""

    @property
    def last(self) -> Candidate | None:
        """The last one; where a layer passes on what a part of it returned, the layer.

        Those inside an attention come second, and those that pass on, or pool, what another returned are left out.
        """
        own = [one for one in self if not isinstance(one.layer, _PASSING_ON)]
        return next(reversed([one for one in own if not one.inside_attention] or own), None)

    @property
    def best(self) -> Candidate | None:
        """The last one of those that the score's gradient reaches.

        After the last attention of a ViT only the class token is read: no gradient reaches the patches there.
        """
        return Candidates(one for one in self if one.gradient).last

    def __str__(self) -> str:
        best = self.best
        rows = [("name", "kind", "output", "layout", "gradient", "")]
        for one in self:
            gradient = "none" if one.gradient is None else f"{one.gradient:.3g}"
            chosen = "<- taken if none is given" if one is best else ""
            rows.append((one.name, type(one.layer).__name__, str(one.shape), one.layout, gradient, chosen))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


# In eval mode these add nothing to what the layer before them says; pooling to a fixed size blurs or enlarges it.
_PASSING_ON = (
    *(nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
)


def list_layers(
    model: nn.Module,
    input_tensor: Any = None,
    targets: Any = None,
    *,
    reshape_transform: Transform | None = None,
    **forward_kwargs: Any,
) -> Candidates:
    """Every layer that a map can be made at, with its layout and how much of the score's gradient reaches it.

    Args:
        model: any network; it runs once, with the first image.
        input_tensor: as a CAM takes it.
        targets: as a CAM takes them; None is the best class, or the sum of all outputs of a network that
            is no classifier.
        reshape_transform: from what a layer returns to (B, C, *S); None recognises the layouts.
        forward_kwargs: further arguments of the model, by name.

    Raises:
        TypeError, ValueError: naming what was given and what was expected.

    Example:
        >>> layers = list_layers(model, images)  # print(layers) is a table
        >>> layers.best.name, layers.best.layout
        ('mix', '(B, C, 16, 16)')
    """
    model = prepare_model(model, use_cuda=False)
    with held_still(model), torch.no_grad():
        inputs = prepare_inputs(input_tensor, forward_kwargs, model, "input_tensor")

        def score(outputs: Any, targets: Any, batch: int) -> Tensor | None:
            if targets is None and class_scores(outputs, batch) is None:
                return None
            return resolve_targets(targets, outputs, batch).scores(outputs)

        return find_candidates(model, inputs, score, targets, reshape_transform)


# Of the first image only, as the outputs of all modules are held at once; but more than one, so that what has a first
# axis of 1, such as an embedding of positions, is not taken for what a layer says of an image.
_COPIES = 2


def find_candidates(
    model: nn.Module,
    inputs: Inputs,
    score: Callable[[Any, Any, int], Tensor | None],
    targets: Any,
    reshape_transform: Transform | None,
) -> Candidates:
    """Every layer that keeps positions, from one forward pass of the first image and one back.

    Args:
        model: the network, in eval mode.
        inputs: what it is called with.
        score: from the model's outputs, targets and their number to scores; None stands for the sum of all outputs.
        targets: in any spelling, for the whole batch.
        reshape_transform: of the user.

    Raises:
        ValueError: if there is none, and why.
    """
    image = inputs.image(0).copies(_COPIES)
    parts = [module for module in model.modules() if module is not model]
    with record_outputs(parts, differentiable=True) as outputs, torch.no_grad():  # until the first part has run
        returned = image.clone().run(model)
        scores = score(returned, of_first_image(targets, _COPIES), _COPIES)
    with torch.enable_grad():
        total = _sum_of_all(returned) if scores is None else scores.sum()
    tensors = [first_tensor(output) for output in outputs.values()]
    grads = gradients(total, tensors, keep_graph=False)
    names = {module: name for name, module in model.named_modules()}
    found, unclear = Candidates(), ""
    for (layer, output), tensor, gradient in zip(outputs.items(), tensors, grads, strict=True):
        try:
            transform = find_transform(output, image.pictures, model, layer, reshape_transform)
        except Exception as error:  # the user's transform is for some of the layers, and fails at others as it likes
            if reshape_transform is None:
                unclear = f"; {names[layer]}: {error}"
            continue
        if transform is None:
            continue
        layout = str(transform) if isinstance(transform, Layout) else "reshape_transform"
        grid = tuple(transform(output).shape[2:])
        norm = None if gradient is None else float(transform(gradient)[0].float().norm())
        inside = _inside_attention(model, names[layer])
        found.append(Candidate(names[layer], layer, (1, *tensor.shape[1:]), layout, grid, norm, inside))
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no layer that keeps positions of the input {tuple(inputs.pictures.shape)}, as "
            "(B, C, H, W), (B, H, W, C) or tokens (B, N, C); for another layout give target_layers and "
            f"reshape_transform{unclear}"
        )
    return found


def find_target_layer(candidates: Candidates, model: nn.Module, *, uses_gradients: bool) -> nn.Module:
    """The layer to take where none is named.

    Args:
        candidates: of the network.
        model: the network.
        uses_gradients: whether the method does.

    Raises:
        ValueError: if the method needs gradients, and none but zero arrives at any layer.
    """
    best = candidates.best
    if best is None and uses_gradients:
        raise ValueError(
            f"the gradient of the score is zero, or there is none, at every layer of "
            f"{type(model).__name__} that keeps positions; check that the weights of its head are not zero, as in some "
            "untrained networks, and that neither the model nor the target detaches, rounds or compares; through "
            "quantized layers no gradient passes: there take EigenCAM, ScoreCAM or AblationCAM"
        )
    why = "the last one that keeps positions" + " and that the score's gradient reaches" * (best is not None)
    chosen = best or candidates.last or candidates[-1]
    logger.info("target layer %s, %s %s: %s", chosen.name, type(chosen.layer).__name__, chosen.layout, why)
    return chosen.layer


def _sum_of_all(outputs: Any) -> Tensor:
    return torch.stack([t.float().sum() for t in tree_leaves(outputs) if isinstance(t, Tensor)]).sum()


def _inside_attention(model: nn.Module, name: str) -> bool:
    """Whether a module is a part of another one that is named attention, or is of a class of such a name."""
    path = name.split(".")[:-1]
    classes = [type(model.get_submodule(".".join(path[: depth + 1]))).__name__ for depth in range(len(path))]
    return any("attention" in word.lower() for word in (*path, *classes)) or any("attn" in word for word in path)
