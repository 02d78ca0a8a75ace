"""Compatibility with grad-cam 1.x: find and replace modules of a model."""

from collections.abc import Callable, Collection

from torch import nn


def find_layer_types_recursive(model: nn.Module, layer_types: Collection[type[nn.Module]]) -> list[nn.Module]:
    """Find the modules of a model by their exact type; subclasses do not count.

    Args:
        model: the model to search; the model itself is not in the result.
        layer_types: types of the modules to find.

    Returns:
        list of modules, each once, in the order of `model.modules()`
    """
    return find_layer_predicate_recursive(model, lambda module: type(module) in layer_types)


def find_layer_predicate_recursive(model: nn.Module, predicate: Callable[[nn.Module], bool]) -> list[nn.Module]:
    """Find the modules of a model for which a predicate is true.

    Args:
        model: the model to search; the model itself is not in the result.
        predicate: function from a module to a bool.

    Returns:
        list of modules, each once, in the order of `model.modules()`
    """
    return [module for module in model.modules() if module is not model and predicate(module)]


def replace_layer_recursive(model: nn.Module, old_layer: nn.Module, new_layer: nn.Module) -> bool:
    """Replace a module of a model in-place, at the first name that it has.

    Args:
        model: the model to change.
        old_layer: module to replace.
        new_layer: module to put there.

    Returns:
        True if the model holds old_layer
    """
    names = _module_names(model, lambda module: module is old_layer)
    for name in names[:1]:
        _set_module(model, name, new_layer)
    return bool(names)


def replace_all_layer_type_recursive(
    model: nn.Module, old_layer_type: type[nn.Module] | tuple[type[nn.Module], ...], new_layer: nn.Module
) -> None:
    """Replace all modules of a type and its subclasses in-place, by one shared module.

    Args:
        model: the model to change.
        old_layer_type: type of the modules to replace, or a tuple of types.
        new_layer: module to put at each name.
    """
    names = _module_names(model, lambda module: isinstance(module, old_layer_type))
    for name in reversed(names):  # children before their parents
        _set_module(model, name, new_layer)


def _module_names(model: nn.Module, predicate: Callable[[nn.Module], bool]) -> list[str]:
    """List all names of the modules for which the predicate is true; a shared module has several."""
    return [name for name, module in model.named_modules(remove_duplicate=False) if name and predicate(module)]


def _set_module(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
