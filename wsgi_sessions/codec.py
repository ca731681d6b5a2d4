"""Values to JSON bytes and back, as what they were: value and type.

``str``, ``int``, ``float``, ``bool``, ``None``, ``list`` and ``dict`` are JSON as
they stand. What JSON has no form for travels as a tag, ``{"$": [name, body]}``. A
type that is in neither group is refused: msgspec alone would turn NaN into null, a
tuple or set into a list and an enum into its value, and say nothing.

Not a general serializer: it reads only what it wrote. Encodings are compared with
one another to tell whether a value changed, so equal sets have equal encodings.
"""

from __future__ import annotations

import sys
from binascii import a2b_base64
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from math import isfinite
from types import NoneType
from typing import Any
from uuid import UUID

import msgspec

from .exceptions import SerializationError
from .moments import Refused, load_moment, name_of, tag_moment

#: How deep containers may nest. A tagged one takes up to four levels of JSON, and both
#: directions must stay clear of Python's recursion limit (1000) under a framework's own frames.
MAX_DEPTH = 64

#: The types whose contents can change in place after they were read; a tuple may hold lists.
MUTABLE: frozenset[type] = frozenset((list, dict, set, tuple))

# A plain dict never holds the key "$", and inside a JSON string the quotes are escaped,
# so in our compact output these bytes occur where a tag starts and nowhere else.
_MARK = b'{"$":'
# Beyond these, JSON readers disagree, and Python limits the digits of decimal text (CVE-2020-10735).
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1
_SCALARS: frozenset[type] = frozenset((str, bool, NoneType))
_CONTAINERS: frozenset[type] = frozenset((list, dict, tuple, set, frozenset))

_dump = msgspec.json.Encoder().encode
_parse = msgspec.json.Decoder().decode

# Beyond ValueError: Decimal and overflows raise ArithmeticErrors, a zone that is not installed LookupError or OSError,
# Markup ImportError, a body of another shape TypeError, deep nesting RecursionError; msgspec 0.19 its own.
_BROKEN = (
    msgspec.DecodeError,
    ValueError,
    ArithmeticError,
    LookupError,
    OSError,
    ImportError,
    TypeError,
    RecursionError,
)


def encode(value: Any, path: str = "value") -> bytes:
    """Return the JSON of a value.

    >>> encode({"seen": (1, 2)})
    b'{"seen":{"$":["tuple",[1,2]]}}'

    :param path: what an error calls the value, such as ``session['cart']``.
    :raises SerializationError: if the value, or anything in it, is of another type, holds a
        lone surrogate, contains itself or nests deeper than :data:`MAX_DEPTH`.
    """
    kind = type(value)
    try:
        if kind in _SCALARS or (kind is int and _INT_MIN <= value <= _INT_MAX):
            return _dump(value)
        return _dump(_taggers[kind](value, 1))
    except (Refused, UnicodeEncodeError, RuntimeError):  # the last: another thread has changed a dict or set
        # The path is worked out only now, so that encoding need not carry it; and outside
        # of this block, because the error of the encoder holds the text it failed on.
        pass
    raise _culprit(value, path) or SerializationError("it was changed while it was being encoded", path)


def decode(encoded: bytes | memoryview | msgspec.Raw) -> Any:
    """Return the value that :func:`encode` was given: equal, and of the same type.

    >>> decode(b'{"seen":{"$":["tuple",[1,2]]}}')
    {'seen': (1, 2)}

    :raises ValueError: if the bytes are not a value; the message never quotes them.
    """
    try:
        value = _parse(encoded)
        # One byte is found at the speed of memchr; most values do not hold it, and no tag is without it.
        if type(value) not in _CONTAINERS or b"$" not in (text := bytes(encoded)) or _MARK not in text:
            return value
        return _untag(value)
    except _BROKEN:
        # Left behind here, not chained: a decoder's message can quote what it met.
        pass
    raise ValueError("not the encoding of a value")


def check(value: Any, path: str) -> None:
    """Refuse a value whose own type cannot be stored, without a look inside.

    :raises SerializationError: if so.
    """
    kind = type(value)
    try:
        if kind not in _SCALARS:
            _taggers[kind]
    except Refused as refused:
        raise SerializationError(str(refused), path) from None


def native_types() -> tuple[type, ...]:
    """Return the types that are stored as what they are, besides ``str``, ``bool`` and ``None``."""
    return (*_taggers, _markup() or str)


def _tag_items(value: Sequence[Any], depth: int) -> Sequence[Any]:
    """Return a list or tuple with its items tagged: itself, if none needs it."""
    if depth > MAX_DEPTH:
        raise Refused
    tagged: list[Any] | None = None
    for index, item in enumerate(value):
        kind = type(item)
        if kind in _SCALARS or (kind is int and _INT_MIN <= item <= _INT_MAX):
            continue
        form = _taggers[kind](item, depth + 1)
        if form is not item:
            tagged = tagged or list(value)
            tagged[index] = form
    return tagged or value


def _tag_dict(value: dict[Any, Any], depth: int) -> dict[str, Any]:
    """Return a dict with its values tagged: itself, if none needs it."""
    if depth > MAX_DEPTH:
        raise Refused
    if "$" in value:
        return _tag_pairs(value, depth)
    tagged: dict[str, Any] | None = None
    for key, item in value.items():
        if type(key) is not str:
            return _tag_pairs(value, depth)
        kind = type(item)
        if kind in _SCALARS or (kind is int and _INT_MIN <= item <= _INT_MAX):
            continue
        form = _taggers[kind](item, depth + 1)
        if form is not item:
            tagged = tagged or dict(value)
            tagged[key] = form
    return tagged or value


def _tag_pairs(value: dict[Any, Any], depth: int) -> dict[str, Any]:
    return {"$": ("dict", [_tag_items(pair, depth) for pair in value.items()])}


def _tag_set(value: set[Any] | frozenset[Any], depth: int) -> dict[str, Any]:
    members = sorted(map(_dump, _tag_items([*value], depth)))
    return {"$": (type(value).__name__, list(map(msgspec.Raw, members)))}


def _load_markup(body: str) -> Any:
    from markupsafe import Markup  # optional: there if the application that stored one still has it

    return Markup(body)


def _markup() -> type | None:
    """Return the class Markup if anybody imported it; if nobody did, no value is one."""
    return getattr(sys.modules.get("markupsafe"), "Markup", None)


def _untag(value: Any) -> Any:
    """Return the list or dict just decoded with its tags resolved; it is changed in place."""
    if type(value) is dict and "$" in value:
        ((name, body),) = value.values()
        types, load = _LOADERS[name]
        if type(body) not in types:
            raise ValueError
        return load(body)
    for place, item in value.items() if type(value) is dict else enumerate(value):
        if type(item) in _CONTAINERS:
            value[place] = _untag(item)
    return value


def _culprit(value: Any, path: str) -> SerializationError | None:
    try:
        return _find(value, path, (), "")
    except RuntimeError:  # it is still being changed
        return None


def _find(value: Any, path: str, above: tuple[Any, ...], place: str) -> SerializationError | None:
    """Return the error for the first thing in a value that cannot be stored.

    :param above: the containers that the value is in.
    :param place: said before the reason where no path leads: in a key, in a member.
    """
    if fault := _fault(value, above):
        return SerializationError(place + fault, path)
    if type(value) not in _CONTAINERS:
        return None
    found = (_find(child, step, (*above, value), where) for child, step, where in _children(value, path, place))
    return next(filter(None, found), None)


def _fault(value: Any, above: tuple[Any, ...]) -> str | None:
    """Return why a value cannot be stored, whatever it contains; None if it can."""
    try:
        if type(value) not in _CONTAINERS:
            _dump(_tag_items([value], 0))
        elif any(value is outer for outer in above):
            return "it contains itself"
        elif len(above) >= MAX_DEPTH:
            return f"nested deeper than {MAX_DEPTH} levels"
    except Refused as refused:
        return str(refused)
    except UnicodeEncodeError:
        return "a lone surrogate has no UTF-8 form: decode the text without errors='surrogateescape'"
    return None


def _children(value: Any, path: str, place: str) -> Iterator[tuple[Any, str, str]]:
    """Yield what a container holds, each with its path and place."""
    if type(value) is dict:
        yield from ((key, path, place or "in a key: ") for key in value)
    if type(value) in (set, frozenset):
        place = place or "in a member: "
    for key, item in value.items() if type(value) is dict else enumerate(value):
        yield item, path if place else f"{path}[{key!r}]", place


def refusal(kind: type) -> str:
    """Return why values of a type cannot be stored, and what to do about it."""
    name = name_of(kind)
    if issubclass(kind, Enum):
        return f"{name} is an enum: store its value"
    for base in kind.__mro__:
        if base is str or base in _taggers:
            return f"{name} would come back as {base.__name__}: convert it to {base.__name__} first"
    if any(hasattr(kind, mark) for mark in ("__dataclass_fields__", "__struct_fields__", "__attrs_attrs__")):
        return f"{name} has fields of its own: store it with store_bucket()"
    return f"{name} cannot be stored: convert it to str, int, list, dict or another type that can"


class _Taggers(dict[type, Callable[[Any, int], Any]]):
    """What turns a value of a type into what the encoder takes."""

    def __missing__(self, kind: type) -> Callable[[Any, int], Any]:
        if kind is not _markup():
            raise Refused(refusal(kind))
        return lambda value, depth: {"$": ("Markup", str.__str__(value))}


# The encoder itself writes bytes as base64, Decimal and UUID as text and date as ISO 8601.
_taggers = _Taggers(
    {
        int: lambda value, depth: value if _INT_MIN <= value <= _INT_MAX else {"$": ("int", hex(value))},
        float: lambda value, depth: value if isfinite(value) else {"$": ("float", repr(value))},
        list: _tag_items,
        dict: _tag_dict,
        tuple: lambda value, depth: {"$": ("tuple", _tag_items(value, depth))},
        set: _tag_set,
        frozenset: _tag_set,
        bytes: lambda value, depth: {"$": ("bytes", value)},
        Decimal: lambda value, depth: {"$": ("Decimal", str(value))},
        UUID: lambda value, depth: {"$": ("UUID", value)},
        date: lambda value, depth: {"$": ("date", value)},
        datetime: tag_moment,
        time: tag_moment,
        timedelta: lambda value, depth: {"$": ("timedelta", (value.days, value.seconds, value.microseconds))},
    }
)

#: The types that are surely storable as far as can be told without a look inside.
STORABLE: frozenset[type] = _SCALARS | frozenset(_taggers)

# By name of the tag: the types its body may have, and what makes the value of it.
_LOADERS: dict[str, tuple[tuple[type, ...], Callable[..., Any]]] = {
    "int": ((str,), lambda body: int(body, 16)),
    "float": ((str,), float),
    "dict": ((list,), lambda body: dict(map(tuple, _untag(body)))),
    "tuple": ((list,), lambda body: tuple(_untag(body))),
    "set": ((list,), lambda body: set(_untag(body))),
    "frozenset": ((list,), lambda body: frozenset(_untag(body))),
    "bytes": ((str,), lambda body: a2b_base64(body, strict_mode=True)),
    "Decimal": ((str,), Decimal),
    "UUID": ((str,), UUID),
    "Markup": ((str,), _load_markup),
    "date": ((str,), date.fromisoformat),
    "datetime": ((str, list), lambda body: load_moment(datetime, body)),
    "time": ((str, list), lambda body: load_moment(time, body)),
    "timedelta": ((list,), lambda body: timedelta(*body)),
}
