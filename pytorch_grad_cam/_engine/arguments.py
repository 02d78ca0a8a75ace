"""Arguments with two names, counts, and positional arguments of old releases."""

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any


def either(name: str, value: Any, other_name: str, other: Any) -> Any:
    """Return the value of an argument that has two names.

    Raises:
        TypeError: if both were given.
    """
    if value is not None and other is not None:
        raise TypeError(f"{name} and {other_name} are the same argument, and both were given")
    return other if value is None else value


def check_count(name: str, value: Any, meaning: str) -> int | None:
    """Check a whole number of at least 1, or None.

    Args:
        name: of the argument, for the message.
        value: what was given.
        meaning: of None, for the message.

    Raises:
        ValueError: for anything else.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} is {value!r}, expected a whole number of at least 1, or None {meaning}")
    return int(value)


def legacy_positional(
    name: str, values: Sequence[Any], order: Sequence[str], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Name the positional arguments after target_layers, as releases of grad-cam order them.

    Releases before 1.5 had use_cuda, a bool, before reshape_transform.

    Args:
        name: of the class, for messages.
        values: the positional arguments.
        order: their names, reshape_transform first.
        options: arguments given by name, None for those left out.

    Raises:
        TypeError: if there are too many, or one was given by name as well.
    """
    names = ["use_cuda", *order] if values and isinstance(values[0], bool) else list(order)
    if len(values) > len(names):
        raise TypeError(
            f"{name} takes model, target_layers, {', '.join(names)} by position, in this order, got {len(values) + 2}"
        )
    named = dict(zip(names, values, strict=False))
    for argument, value in named.items():
        if value is not None and options.get(argument) not in (None, False):
            raise TypeError(f"{argument} was given twice, by position and by name")
    return {**options, **{argument: value for argument, value in named.items() if value is not None}}
