"""Which module is meant by a target layer, and which one to take where none is named."""

import difflib
import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from pytorch_grad_cam.hooks import gradients, record_outputs
from pytorch_grad_cam.utils.model_targets import class_scores
from pytorch_grad_cam.utils.reshape_transforms import find_layout

logger = logging.getLogger(__name__)

TargetLayer = nn.Module | str


def resolve_layers(model: nn.Module, layers: TargetLayer | Sequence[TargetLayer]) -> list[nn.Module]:
    """The modules meant by one target layer or several.

    Args:
        model: the network that holds them.
        layers: modules, or dotted names such as "layer4.-1"; one nn.Sequential is one layer.

    Raises:
        TypeError: if an entry is neither a module nor a name.
        ValueError: if no layer is given, or one is no part of the model.
    """
    part = isinstance(layers, nn.Module) and any(module is layers for module in model.modules())
    if isinstance(layers, nn.Sequential) and not part:  # a slice of one is a new module that holds layers of the model
        layers = list(layers)
    if not isinstance(layers, nn.Module | str | Sequence):
        raise TypeError(f"target_layers is {type(layers).__name__}, expected a module, a name or a list of them")
    entries = [layers] if isinstance(layers, nn.Module | str) else list(layers)
    if not entries:
        raise ValueError("target_layers is empty, expected at least one module or dotted name; None picks a layer")
    return [_resolve(model, entry) for entry in entries]


def layer_name(model: nn.Module, layer: nn.Module) -> str:
    """The dotted name of a module of the model."""
    return next((name for name, module in model.named_modules() if module is layer), "") or type(layer).__name__


def find_target_layer(model: nn.Module, inputs: Tensor) -> nn.Module:
    """The last layer that keeps positions and whose gradient reaches them; the outermost where it is passed on.

    After the last attention of a ViT only the class token is read: no gradient reaches the patches.

    Args:
        model: any network of one tensor; it runs once.
        inputs: (B, C_in, *S_in); the first image is looked at.

    Raises:
        ValueError: if there is none.
    """
    modules = [module for module in model.modules() if module is not model and not isinstance(module, _POOLING)]
    image = inputs[
        :1
    ].clone()  # one, as every module's output is held at once; its own, as a model may change its input
    with record_outputs(modules, differentiable=True) as outputs, torch.no_grad():
        returned = model(image)
    score = _any_score(returned)
    # A module finishes, and so comes, after the inner ones whose output it passes on.
    recorded = [(module, output) for module, output in reversed(outputs.items()) if isinstance(output, Tensor)]
    grads = gradients(score, [output for _, output in recorded], keep_graph=False)
    for (module, output), gradient in zip(recorded, grads, strict=True):
        to_activations = find_layout(output, image)
        if to_activations is not None and gradient is not None and to_activations(gradient).any():
            logger.info(
                "target layer: %s, the last one with positions that the score depends on", layer_name(model, module)
            )
            return module
    raise ValueError(
        f"{type(model).__name__} has no layer that keeps positions, as (B, C, H, W), (B, H, W, C) or tokens "
        "(B, N, C), and that a gradient other than zero reaches; give target_layers=[module or dotted name] and, for "
        "another layout, reshape_transform"
    )


# They blur, or even enlarge, what the layer before them gives.
_POOLING = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)


def _any_score(outputs: Any) -> Tensor:
    scores = class_scores(outputs, 1)
    with torch.enable_grad():
        if scores is not None:
            return scores.max()
        return torch.stack([t.float().sum() for t in tree_leaves(outputs) if isinstance(t, Tensor)]).sum()


def _resolve(model: nn.Module, entry: TargetLayer) -> nn.Module:
    if isinstance(entry, str):
        return _by_name(model, entry)
    if not isinstance(entry, nn.Module):
        raise TypeError(f"a target layer is {type(entry).__name__}, expected a module or a name such as 'layer4.-1'")
    if isinstance(entry, nn.ModuleList | nn.ModuleDict):
        raise ValueError(f"target layer {type(entry).__name__} is never called itself; give one of its modules")
    if not any(module is entry for module in model.modules()):
        same = [name for name, module in model.named_modules() if type(module) is type(entry)]
        hint = f"; its own layers of that type: {', '.join(same[-3:])}" if same else ""
        raise ValueError(f"target layer {type(entry).__name__} is no part of the model {type(model).__name__}{hint}")
    return entry


def _by_name(model: nn.Module, name: str) -> nn.Module:
    module: Any = model
    for part in name.split("."):
        try:
            # Indices count from the end where negative, as in lists; named children come first.
            child = getattr(module, part, None)
            module = child if isinstance(child, nn.Module) else module[int(part)]
        except (TypeError, ValueError, IndexError, KeyError):
            names = [known for known, _ in model.named_modules() if known]
            close = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names[-3:]
            raise ValueError(f"{type(model).__name__} has no layer {name!r}; close names: {', '.join(close)}") from None
    return module  # type: ignore[no-any-return]
