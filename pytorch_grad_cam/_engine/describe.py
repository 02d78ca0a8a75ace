"""Describe values in messages."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def describe(value: Any) -> str:
    """Type and shape of a value, field by field, for messages."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"{type(value).__name__}({', '.join(f'{name}: {describe(field)}' for name, field in value.items())})"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)} ({', '.join(describe(field) for field in value[:4])})"
    return f"a value of type {type(value).__name__}"
