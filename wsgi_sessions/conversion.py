"""Stored values as typed ones, and typed ones as what can be stored: dataclasses, TypedDicts, Structs.

The types are msgspec's to know; what it says of a mismatch is passed on only
where it is certain to quote no value.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from .codec import native_types, refusal
from .exceptions import SerializationError

T = TypeVar("T")

# A message of msgspec is a text and a place. Only these texts surely quote nothing but types and fields.
_MESSAGE = re.compile(r"(.*?)(?: - at (`key` in )?`\$((?:\.\w+|\[(?:\d+|\.\.\.)\])*)`)?", re.DOTALL)
_HARMLESS = re.compile(r"Expected `[\w |]+`, got `\w+`|Object missing required field `\w+`")


def convert(value: Any, type: type[T], path: str) -> T:
    """Return a decoded value as a dataclass, TypedDict, Struct or other type.

    :param value: a copy that nobody else holds: parts of it become parts of the result.
    :raises SerializationError: if it does not fit; it tells the types, not the value.
    """
    try:
        return msgspec.convert(value, type)
    except msgspec.ValidationError as error:
        message = str(error)
    text, key, steps = _MESSAGE.fullmatch(message).groups(default="")  # type: ignore[union-attr]  # any text matches
    text = text[0].lower() + text[1:] if _HARMLESS.fullmatch(text) else "it does not fit the type"
    raise SerializationError("in a key: " + text if key else text, path + re.sub(r"\.(\w+)", r"['\1']", steps))


def to_plain(value: Any, path: str) -> Any:
    """Return a dataclass, Struct, TypedDict or attrs instance as what :func:`encode` takes.

    Sets become lists, for members need not be hashable once they are plain, and
    enums their values; :func:`convert` to the same type turns them back.

    :raises SerializationError: if it holds what has no plain form.
    """

    def refuse(item: Any) -> Any:
        raise SerializationError(refusal(type(item)), path)

    try:
        return msgspec.to_builtins(value, builtin_types=native_types(), enc_hook=refuse)
    except RecursionError:
        raise SerializationError("it contains itself or nests too deep", path) from None
