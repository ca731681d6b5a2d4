"""What a pickle describes, before any of it is made: lists, tuples, scalars, and these."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

MAX_NAME = 500


class Refused(Exception):
    """A pickle is broken, hostile, or beyond a limit; the message is the reason."""


class Malformed(Exception):
    """One value of a class that is known is none, or too large; the pickle may still be read."""


class OldText:
    """A Python 2 ``str``, which is text or bytes: nobody wrote down which."""

    __slots__ = ("raw", "value")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        #: Text if it is UTF-8, else the bytes. Decoded once, however often it is referred to.
        self.value: str | bytes
        try:
            self.value = raw.decode("utf-8")
        except UnicodeDecodeError:
            self.value = raw


class Pairs:
    """A dict that does not hash its keys."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: Iterable[tuple[Any, Any]] = ()) -> None:
        self.pairs = list(pairs)


class Members:
    """A set or frozenset that does not hash its members."""

    __slots__ = ("items", "kind")

    def __init__(self, kind: type, items: list[Any]) -> None:
        self.kind = kind
        self.items = items


class Name:
    """A class or function, by name."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str) -> None:
        if len(module) + len(name) > MAX_NAME:
            raise Refused("the name of a class is too long")
        self.module = module
        self.name = name


class Call:
    """What should be called, and what should be done to the result."""

    __slots__ = ("arguments", "called", "items", "named", "pairs", "state")

    def __init__(self, called: Any, arguments: Any, named: Any = None) -> None:
        # Not list(arguments): one list in the memo would be copied as often as it is passed.
        if type(arguments) is not tuple or not isinstance(called, Name | Call):
            raise Refused("a call of what is no class")
        self.called: Name | Call = called
        self.arguments = arguments
        self.named = named
        self.state: Any = None
        self.items: list[Any] = []
        self.pairs: list[tuple[Any, Any]] = []
