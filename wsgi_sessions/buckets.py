"""Typed namespaces: one key of a mapping, read and written as a class of yours.

A bucket is a dataclass, ``msgspec.Struct``, attrs class or ``TypedDict`` whose fields
are stored under one key. Not for counters that parallel requests raise: a bucket is
written whole, so of two writers of one key the last wins; see ``Session.mutate``.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, TypeVar

from . import codec
from .conversion import convert, to_plain

T = TypeVar("T")

# Stands for a key that is not there: None can be stored.
_ABSENT = object()


def load_bucket(session: MutableMapping[str, Any], type: type[T], name: str | None = None) -> T:
    """Return what is stored under a name as an instance of ``type``.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Guest:
    ...     pageviews: int = 0
    >>> load_bucket({"Guest": {"pageviews": 3}}, Guest)
    Guest(pageviews=3)

    The instance is yours: what becomes of it does not reach the session until
    it is stored. Where nothing is stored it is a new ``type()``.

    :param name: the key; the qualified name of the type unless given.
    :raises TypeError: if the name is left out for a type that does not have one of its own, such as ``dict``.
    :raises SerializationError: if what is stored is not of that type.
    """
    name = name or _default_name(type)
    path = f"session[{name!r}]"
    stored = session.get(name, _ABSENT)
    if stored is _ABSENT:
        return type()
    return convert(codec.decode(codec.encode(stored, path)), type, path)


def store_bucket(session: MutableMapping[str, Any], value: Any, name: str | None = None) -> None:
    """Store an instance under a name, for :func:`load_bucket` to read.

    :param name: the key; the qualified name of the value's type unless given.
    :raises TypeError: if the name is left out for a ``TypedDict``, which is a plain dict once it is made.
    :raises SerializationError: if the value holds what cannot be stored; the session is unchanged.
    """
    name = name or _default_name(type(value))
    session[name] = _storable(value, name)[0]


@contextmanager
def bucket(session: MutableMapping[str, Any], type: type[T], name: str | None = None) -> Iterator[T]:
    """Load a bucket, and store it when the block ends if the block changed it.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Guest:
    ...     pageviews: int = 0
    >>> session = {}
    >>> with bucket(session, Guest) as guest:
    ...     guest.pageviews += 1
    >>> session
    {'Guest': {'pageviews': 1}}

    Nothing is stored when the block raises.

    :param name: the key; the qualified name of the type unless given.
    :raises TypeError: if the name is left out for a type that does not have one of its own, such as ``dict``.
    :raises SerializationError: if what is stored is not of that type, or what is to be stored cannot be.
    """
    name = name or _default_name(type)
    value = load_bucket(session, type, name)
    _, before = _storable(value, name)
    yield value
    plain, after = _storable(value, name)
    if after != before:
        session[name] = plain


def _storable(value: Any, name: str) -> tuple[Any, bytes]:
    """Return the plain form of a value, and its encoding."""
    path = f"session[{name!r}]"
    plain = to_plain(value, path)
    return plain, codec.encode(plain, path)


def _default_name(kind: type) -> str:
    if kind.__module__ == "builtins":
        raise TypeError(f"name is missing: {kind.__qualname__} is no type of yours that could give it one")
    return kind.__qualname__
