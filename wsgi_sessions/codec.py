"""Values to JSON bytes and back, as what they were: value and type.

``str``, ``int``, ``float``, ``bool``, ``None``, ``list`` and ``dict`` are JSON as
they stand. What JSON has no form for travels as a tag, ``{"$": [name, body]}``. A
type that is in neither group is refused: msgspec alone would turn NaN into null, a
tuple or set into a list and an enum into its value, and say nothing.

Not a general serializer: it reads only what it wrote. Encodings are compared with
one another to tell whether a value changed, so equal sets have equal encodings.
"""

from __future__ import annotations

import re
import sys
from binascii import a2b_base64
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from math import isfinite
from types import NoneType
from typing import Any, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from .exceptions import SerializationError

T = TypeVar("T")

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

# A message of msgspec is a text and a place. Only these texts surely quote nothing but types and fields.
_MESSAGE = re.compile(r"(.*?)(?: - at (`key` in )?`\$((?:\.\w+|\[(?:\d+|\.\.\.)\])*)`)?", re.DOTALL)
_HARMLESS = re.compile(r"Expected `[\w |]+`, got `\w+`|Object missing required field `\w+`")

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


class _Refused(Exception):
    """A value cannot be stored; the message is the reason."""


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
    except (_Refused, UnicodeEncodeError):
        # The path is worked out only now, so that encoding need not carry it; and outside
        # of this block, because the error of the encoder holds the text it failed on.
        pass
    raise _find(value, path, (), "") or SerializationError("it was changed while it was being encoded", path)


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
    except _Refused as refused:
        raise SerializationError(str(refused), path) from None


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
        raise SerializationError(_reason(type(item)), path)

    try:
        return msgspec.to_builtins(value, builtin_types=(*_taggers, _markup() or str), enc_hook=refuse)
    except RecursionError:
        raise SerializationError("it contains itself or nests too deep", path) from None


def _tag_items(value: Sequence[Any], depth: int) -> Sequence[Any]:
    """Return a list or tuple with its items tagged: itself, if none needs it."""
    if depth > MAX_DEPTH:
        raise _Refused
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
        raise _Refused
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


def _tag_moment(value: datetime | time, depth: int) -> dict[str, Any]:
    """Return a tag whose body is ISO 8601, with the fold and the zone where that does not say all."""
    kind, zone, place = type(value).__name__, value.tzinfo, None
    if type(zone) is ZoneInfo and zone.key is not None:
        place = zone.key
    elif type(zone) is timezone:
        place = _offset(zone)
    elif zone is not None:
        raise _Refused(f"a {_name(type(zone))} is its time zone: use datetime.timezone or a ZoneInfo with a key")
    if place is None and not value.fold:
        return {"$": (kind, value.isoformat())}
    text = (value if place is None else value.replace(tzinfo=None)).isoformat()
    return {"$": (kind, (text, value.fold, place))}


def _offset(zone: timezone) -> Any:
    """Return the parts of an offset, or None if ISO 8601 says all of it."""
    offset, name = zone.utcoffset(None), zone.tzname(None)
    unnamed = name == timezone(offset).tzname(None)
    # Python 3.11 reads an offset of less than a second, +00:00:00.5, as UTC.
    if unnamed and not offset.microseconds:
        return None
    return offset.days, offset.seconds, offset.microseconds, None if unnamed else name


def _load_moment(kind: Any, body: Any) -> Any:
    text, fold, place = (body, 0, None) if type(body) is str else body
    moment = kind.fromisoformat(text).replace(fold=fold)
    if place is None:
        return moment
    if type(place) is str:
        return moment.replace(tzinfo=ZoneInfo(place))
    days, seconds, microseconds, name = place
    offset = timedelta(days, seconds, microseconds)
    return moment.replace(tzinfo=timezone(offset) if name is None else timezone(offset, name))


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
    except _Refused as refused:
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


def _reason(kind: type) -> str:
    name = _name(kind)
    if issubclass(kind, Enum):
        return f"{name} is an enum: store its value"
    for base in kind.__mro__:
        if base is str or base in _taggers:
            return f"{name} would come back as {base.__name__}: convert it to {base.__name__} first"
    if any(hasattr(kind, mark) for mark in ("__dataclass_fields__", "__struct_fields__", "__attrs_attrs__")):
        return f"{name} has fields of its own: store it with store_bucket()"
    return f"{name} cannot be stored: convert it to str, int, list, dict or another type that can"


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


class _Taggers(dict[type, Callable[[Any, int], Any]]):
    """What turns a value of a type into what the encoder takes."""

    def __missing__(self, kind: type) -> Callable[[Any, int], Any]:
        if kind is not _markup():
            raise _Refused(_reason(kind))
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
        datetime: _tag_moment,
        time: _tag_moment,
        timedelta: lambda value, depth: {"$": ("timedelta", (value.days, value.seconds, value.microseconds))},
    }
)

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
    "datetime": ((str, list), lambda body: _load_moment(datetime, body)),
    "time": ((str, list), lambda body: _load_moment(time, body)),
    "timedelta": ((list,), lambda body: timedelta(*body)),
}
