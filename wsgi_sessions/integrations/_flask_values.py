"""What Flask's own session makes of values that it has no form for: their base type, their HTML, their fields."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from ..codec import STORABLE

_BASES = (dict, list, tuple, str, int, float, bytes)
# By the methods of the base, because a subclass can say what it likes.
_CONVERSIONS: dict[type, Callable[[Any], Any]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    bytes: lambda value: bytes.join(b"", [value]),
}


def as_flask_stores(value: Any) -> Any:
    """Return a value as Flask's session would have given it back in the next request.

    Enums of text and numbers, and other subclasses, become their base type; lazy strings
    and all that has ``__html__`` become ``Markup``; dataclasses become dicts. What Flask refuses stays as it is.
    """
    kind = type(value)
    if kind not in STORABLE:
        if hasattr(value, "__html__"):
            return Markup(value.__html__())
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = dataclasses.asdict(value)
        kind = next((base for base in _BASES if isinstance(value, base)), kind)
    if kind is dict:
        return {key: as_flask_stores(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return kind(as_flask_stores(item) for item in value)
    # The methods of the base, because a subclass can say what it likes.
    if type(value) is kind or kind not in _BASES:
        return value
    return (
        str.__str__(value) if kind is str else kind.__new__(kind, _number(value)) if kind is not bytes else bytes(value)
    )


def _number(value: Any) -> Any:
    return float.__float__(value) if isinstance(value, float) else int.__int__(value)
