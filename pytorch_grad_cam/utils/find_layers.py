"""Compatibility with grad-cam 1.x: find and replace modules of a model."""

from collections.abc import Callable, Collection

from torch import nn


def find_layer_types_recursive(model: nn.Module, layer_types: Collection[type[nn.Module]]) -> list[nn.Module]:
    """The modules in a model of one of these types, not of subclasses, each once, in the order of `modules()`."""
    return find_layer_predicate_recursive(model, lambda module: type(module) in layer_types)


def find_layer_predicate_recursive(model: nn.Module, predicate: Callable[[nn.Module], bool]) -> list[nn.Module]:
    """The modules in a model of which the predicate holds, each once, in the order of `modules()`."""
    return [module for module in model.modules() if module is not model and predicate(module)]


def replace_layer_recursive(model: nn.Module, old_layer: nn.Module, new_layer: nn.Module) -> bool:
    """Put a module in the first place where a model holds another; say whether there is one. This changes the model."""
    places = _places(model, lambda module: module is old_layer)
    for name in places[:1]:
        _put(model, name, new_layer)
    return bool(places)


def replace_all_layer_type_recursive(
    model: nn.Module, old_layer_type: type[nn.Module] | tuple[type[nn.Module], ...], new_layer: nn.Module
) -> None:
    """Put one module in all places where a model holds another of a type or its subclasses. This changes the model."""
    for name in reversed(_places(model, lambda module: isinstance(module, old_layer_type))):  # inner ones first
        _put(model, name, new_layer)


def _places(model: nn.Module, predicate: Callable[[nn.Module], bool]) -> list[str]:
    """All names by which a model holds modules of which the predicate holds."""
    return [name for name, module in model.named_modules(remove_duplicate=False) if name and predicate(module)]


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
