"""Foreign values as ours: what the codec can store, and what had to be left behind and why."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any

from .. import codec
from ..exceptions import SerializationError
from ..legacy import LegacyError, Reason
from .unknown import Convert, Unknown

#: What a key that is no text becomes, as JSON writers have it.
_KEYS: dict[Any, str] = {None: "null", True: "true", False: "false"}
_PLAIN = frozenset((bool, float, type(None)))
_MAPPINGS = frozenset((dict, OrderedDict, defaultdict, Counter))
_LISTS = frozenset((list, deque, range))
# Characters of a path that a log is shown, and a hook: a key may be as long as the session.
_LONGEST_PATH, _LONGEST_PATH_OF_HOOK = 100, 1000

# Where a value is: where its container is, and its key or index there. Put together where somebody is told only.
_Path = tuple["_Path | None", str | int]


def storable(data: dict[Any, Any], convert: Convert | None) -> tuple[dict[str, Any], tuple[tuple[str, str], ...]]:
    """Return what of a session the codec can store, and the path and reason of each thing that was dropped.

    What cannot be stored takes the key of the nearest dict around it along, not the session: a list without one of
    its items would be another list. Keys of the session itself become text; those of dicts in it stay what they are.
    The values of ``data`` are copied where they are containers, and not changed.

    >>> storable({1: [b"x"], "f": Unknown("app.Form")}, None)
    ({'1': [b'x']}, (('f', 'an instance of app.Form'),))

    :param convert: as :class:`~wsgi_sessions.migration.base.Source` has it; what it raises drops the value.
    :raises LegacyError: under a caller that has left too little room for what is nested.
    """
    conversion = _Conversion(convert)
    try:
        kept = conversion.session(data)
    except RecursionError:
        pass
    else:
        return kept, tuple(conversion.dropped)
    raise LegacyError(Reason.CORRUPT, "nested too deeply")


class _Dropped(Exception):
    """A value cannot be stored; the message is the reason."""


class _Conversion:
    def __init__(self, convert: Convert | None) -> None:
        self.convert = convert
        self.dropped: list[tuple[str, str]] = []

    def session(self, data: dict[Any, Any]) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, value in data.items():
            try:
                name = _key_text(key)
                if name in kept:
                    raise _Dropped("another key has the same text")
                kept[name] = self.value(value, (None, name), 0)
            except _Dropped as reason:
                self.drop((None, _shown(key)), str(reason))
        return kept

    def drop(self, path: _Path, reason: str) -> None:
        self.dropped.append((_printable(_joined(path, _LONGEST_PATH + 1)), reason))

    def value(self, value: Any, path: _Path, depth: int) -> Any:
        """Return the form in which a value can be stored.

        :param depth: how many containers it is in.
        """
        kind = type(value)
        if kind in _PLAIN:
            return value
        if convert := _CONVERSIONS.get(kind):
            if depth >= codec.MAX_DEPTH:
                raise _Dropped("nested too deeply")
            return convert(self, value, path, depth + 1)
        if kind is Unknown:
            return self.unknown(value, path, depth)
        if kind is bytearray:
            return bytes(value)
        return _leaf(value)

    def mapping(self, value: dict[Any, Any], path: _Path, depth: int) -> dict[Any, Any]:
        kept = {}
        for key, item in value.items():
            place = path, _shown(key)
            try:
                # What a key becomes must not depend on a hook, or two could become one.
                kept[_Conversion(None).value(key, place, depth)] = self.value(item, place, depth)
            except _Dropped as reason:
                self.drop(place, str(reason))
            except TypeError:
                self.drop(place, "a key that has no hash")
        return kept

    def items(self, value: Iterable[Any], path: _Path, depth: int) -> list[Any]:
        return [self.value(item, (path, index), depth) for index, item in enumerate(value)]

    def members(self, value: set[Any] | frozenset[Any], path: _Path, depth: int) -> Any:
        try:
            return type(value)(_Conversion(None).value(item, path, depth) for item in value)
        except TypeError:
            raise _Dropped("a member that has no hash") from None

    def unknown(self, value: Unknown, path: _Path, depth: int) -> Any:
        reason = _reason(value)
        if self.convert is None:
            raise _Dropped(reason)
        try:
            converted = self.convert(_joined(path, _LONGEST_PATH_OF_HOOK), value)
        except LookupError:
            raise _Dropped(reason) from None
        except Exception as error:  # it is the application's, and this session may be one of many
            raise _Dropped(f"{reason}: convert raised {type(error).__name__}") from None
        if type(converted) is Unknown:
            raise _Dropped(reason)
        return self.value(converted, path, depth + 1)


def _leaf(value: Any) -> Any:
    if type(value) is str and value.isascii():
        return value
    # Of a Markup it is the text that has to have a UTF-8 form.
    try:
        codec.encode(value)
    except SerializationError as error:
        reason = error.reason
    else:
        return value
    raise _Dropped(reason)


def _reason(value: Unknown) -> str:
    if value.name.startswith("builtins.") and value.name[9:] in ("dict", "set", "frozenset"):
        return f"a {value.name[9:]} whose keys are instances of other classes"
    return f"an instance of {value.name}"


def _key_text(key: Any) -> str:
    """Return the text that a key of the session becomes."""
    if type(key) is bytes:
        try:
            key = key.decode("utf-8")
        except UnicodeDecodeError:
            raise _Dropped("a key of bytes that are no text") from None
    if isinstance(key, str):
        return str.__str__(_leaf(key))
    if type(key) in (bool, type(None)):
        return _KEYS[key]
    if type(key) in (int, float):
        return _number_text(key)
    raise _Dropped(f"a key of type {type(key).__name__}")


def _number_text(key: float) -> str:
    try:
        return str(key)
    except ValueError:
        raise _Dropped("a key with too many digits") from None


def _shown(key: Any) -> str:
    """Return what a path calls a key."""
    return key if type(key) is str else f"({type(key).__name__})"


def _joined(path: _Path, longest: int) -> str:
    """Return a path as text, of which no more than its beginning is made."""
    steps: list[str | int] = []
    place: _Path | None = path
    while place is not None:
        place, step = place
        steps.append(step)
    text = str(steps.pop())[:longest]
    while steps and len(text) < longest:
        text = f"{text}.{steps.pop()}"[:longest]
    return text


def _printable(path: str) -> str:
    """Return a path as a log may show it: keys may come from visitors, and so line breaks in them."""
    shown = "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in path[: _LONGEST_PATH + 1]
    )
    return shown if len(shown) <= _LONGEST_PATH else f"{shown[: _LONGEST_PATH - 3]}..."


# Containers: what of them is stored. Their subclasses, such as a named tuple, are not among them.
_CONVERSIONS: dict[type, Callable[[_Conversion, Any, _Path, int], Any]] = {
    **dict.fromkeys(_MAPPINGS, _Conversion.mapping),
    **dict.fromkeys(_LISTS, _Conversion.items),
    tuple: lambda conversion, value, path, depth: tuple(conversion.items(value, path, depth)),
    set: _Conversion.members,
    frozenset: _Conversion.members,
}
