"""Turn target layers, given as modules or dotted names, into modules, and back into names."""

import difflib
from collections.abc import Sequence
from typing import Any

from torch import nn

TargetLayer = nn.Module | str
"""A module of the model, or its dotted name such as "layer4.-1"."""
TargetLayers = TargetLayer | Sequence[TargetLayer]


def resolve_layers(model: nn.Module, layers: TargetLayers) -> list[nn.Module]:
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


def _resolve(model: nn.Module, entry: TargetLayer) -> nn.Module:
    if isinstance(entry, str):
        return _by_name(model, entry)
    if not isinstance(entry, nn.Module):
        raise TypeError(f"a target layer is {type(entry).__name__}, expected a module or a name such as 'layer4.-1'")
    # A subclass of them may be called: the backbone of torchvision's segmentation models is one.
    if isinstance(entry, nn.ModuleList | nn.ModuleDict) and type(entry).forward is nn.ModuleList.forward:
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
            module = getattr(module, "_orig_mod", module)  # what torch.compile made of a part of the model
            child = getattr(module, part, None)
            module = child if isinstance(child, nn.Module) else module[int(part)]
        except (TypeError, ValueError, IndexError, KeyError):
            names = [known for known, _ in model.named_modules() if known]
            close = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names[-3:]
            raise ValueError(f"{type(model).__name__} has no layer {name!r}; close names: {', '.join(close)}") from None
    return module  # type: ignore[no-any-return]
