"""Tensors in values of any structure, as models take and return them; a single tensor, the usual case, is quick."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only


def map_tensors(change: Callable[[Tensor], Any], value: Any) -> Any:
    """Change each tensor of a structure."""
    return change(value) if isinstance(value, Tensor) else tree_map_only(Tensor, change, value)


def tensors_in(value: Any) -> list[Tensor]:
    """List every tensor of a structure, in order."""
    return [value] if isinstance(value, Tensor) else [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
