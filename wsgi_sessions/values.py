"""The values of one session: decoded when read, compared when it is time to save.

A value stays encoded until its key is read. What is known to have been assigned, and what was
read and can change in place, is encoded again to see whether it differs from what was loaded;
all else cannot have changed and is not looked at.
"""

from __future__ import annotations

import logging
from _thread import RLock
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec import Raw

from . import codec
from .exceptions import SerializationError
from .mutations import Mutations, fresh

_log = logging.getLogger("wsgi_sessions.security")

_TEXT = frozenset((str,))


class Values(msgspec.Struct, eq=False):  # a Struct because every loaded session makes one, in a third of the time
    """A session's keys and values, and which of them have changed.

    Safe for threads that read a key; for everything else hold ``lock``.

    :param loaded: the encoded values of the record; owned by this object from now on.
    :param lock: the session's.
    :param data: a copy of it, in which the values that are read take the place of the encoded ones.
    """

    loaded: dict[str, Raw]
    # A value that is still a Raw has not been read, so it cannot have changed.
    data: dict[str, Any]
    lock: RLock
    # Keys whose present value has to be compared: assigned, or read and mutable.
    watched: dict[str, None] = {}
    # Keys of what was loaded that are there no more.
    removed: frozenset[str] = frozenset()
    mutations: dict[str, Mutations] = {}
    cleared: bool = False

    @property
    def has_changed(self) -> bool:
        """Whether any value differs from what was loaded.

        :raises SerializationError: if a changed value cannot be stored.
        """
        return bool(self.removed or self.changes())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.data)} keys)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("keys", len(self.data))]

    def __getitem__(self, key: str) -> Any:
        encoded = self.data[key]
        if type(encoded) is not Raw:
            return encoded
        try:
            value = codec.decode(encoded)
        except ValueError:
            with self.lock:
                self._drop_unreadable(key, encoded)
            raise KeyError(key) from None
        if type(value) not in codec.MUTABLE:
            # Decoded again the next time, which costs no more than to keep it safely.
            return value
        with self.lock:
            # Another thread may have read, written or merged it meanwhile; there must be one object for all.
            if self.data.get(key) is not encoded:
                return self[key]
            self.data[key] = value
            self.watched[key] = None
        return value

    def __contains__(self, key: object) -> bool:
        if type(self.data.get(key)) is Raw:  # type: ignore[call-overload]  # any object may be asked for
            try:
                self[key]  # type: ignore[index]  # it is a str: it was found
            except KeyError:
                return False
        return key in self.data

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[str]:
        """Iterate over a snapshot of the keys that can be read."""
        return iter([key for key in list(self.data) if key in self])

    def __setitem__(self, key: str, value: Any) -> None:
        if type(key) is not str or not key.isascii() or type(value) not in codec.STORABLE:
            _check_assignable(key, value)
        self.data[key] = value
        self.watched[key] = None
        if self.removed or self.mutations:
            self.removed -= {key}
            self.mutations.pop(key, None)

    def update(self, new: dict[str, Any]) -> None:
        """Set many values; none of them if one is refused."""
        if not _is_assignable(new):
            for key, value in new.items():
                _check_assignable(key, value)
        self.data.update(new)
        self.watched.update(dict.fromkeys(new))
        if self.removed or self.mutations:
            self.removed = self.removed.difference(new)
            for key in new:
                self.mutations.pop(key, None)

    def __delitem__(self, key: str) -> None:
        del self.data[key]
        self.watched.pop(key, None)
        self.mutations.pop(key, None)
        if key in self.loaded:
            self.removed |= {key}

    def clear(self) -> None:
        """Drop every key, also those that another request is adding meanwhile."""
        self.data.clear()
        self.watched.clear()
        self.mutations.clear()
        self.removed = frozenset(self.loaded)
        self.cleared = True

    def copy_of(self, key: str) -> Any:
        """Return a value that shares nothing with the session's own.

        :raises KeyError: if there is none.
        """
        value = self.data[key]
        if type(value) is not Raw:
            return codec.decode(_encode(key, value))
        try:
            return codec.decode(value)
        except ValueError:
            self._drop_unreadable(key, value)
            raise KeyError(key) from None

    def mutate(self, key: str, function: Callable[[Any], Any], default: Any) -> Any:
        """Put ``function(value)`` in the place of a value, ready to do it again after a conflict."""
        replayable = self._is_own_work(key)
        steps = self.mutations[key].steps if key in self.mutations else []
        value = function(self.copy_of(key) if key in self else fresh(default))
        encoded = _encode(key, value)
        self[key] = value
        if replayable:
            self.mutations[key] = Mutations([*steps, (function, default)], encoded)
        return value

    def changes(self) -> dict[str, Raw]:
        """Return the values that differ from the loaded ones, encoded; see ``removed`` for the rest.

        :raises SerializationError: if one of them cannot be stored.
        """
        changed: dict[str, Raw] = {}
        loaded, data = self.loaded, self.data
        key = ""
        try:
            for key in self.watched:
                encoded = Raw(codec.encode(data[key], ""))
                if loaded.get(key) != encoded:
                    changed[key] = encoded
        except SerializationError as error:
            raise _at(key, error) from None
        return changed

    def merged(self, changed: dict[str, Raw]) -> dict[str, Raw]:
        """Return all encoded values as they are with the changes."""
        merged = {**self.loaded, **changed}
        for key in self.removed:
            del merged[key]
        return merged

    def settle(self, stored: dict[str, Raw]) -> None:
        """Take what was just stored as what was loaded; values that the caller holds stay the same objects."""
        self.loaded = stored
        if self.removed or self.mutations or self.cleared:
            self.removed = frozenset()
            self.mutations = {}
            self.cleared = False
        # What was not watched before was not read, or cannot change.
        data = self.data
        self.watched = {key: None for key in self.watched if type(data[key]) in codec.MUTABLE}

    def settle_uncertain(self, stored: dict[str, Raw]) -> None:
        """Take a save as done that seemed to have failed; what was changed since is still to be saved."""
        self.loaded = stored
        self.removed = self.removed.intersection(stored)
        self.mutations = {}
        self.cleared = False

    def rebase(self, theirs: dict[str, Raw]) -> None:
        """Carry the changes over to what another request has stored meanwhile.

        Keys that were changed here keep their value, or have their ``mutate``
        functions applied to the other's; keys that were removed here stay removed
        (all of them after ``clear``); everything else becomes theirs.
        """
        # What a cleared session holds was all put there since, also where it equals what was there before.
        ours = dict.fromkeys(self.data if self.cleared else self.changes())
        data: dict[str, Any] = {} if self.cleared else theirs.copy()
        for key in self.removed:
            data.pop(key, None)
        for key in data.keys() & self.data.keys() - ours.keys():
            # Changed by nobody: the object that the application may hold stays in its place.
            if theirs[key] == self.loaded.get(key):
                data[key] = self.data[key]
        mutations: dict[str, Mutations] = {}
        for key in ours:
            made = self.mutations.get(key)
            if made is not None and made.result == _encode(key, self.data[key]):
                data[key] = made.replay(theirs.get(key))
                mutations[key] = made._replace(result=_encode(key, data[key]))
            else:
                data[key] = self.data[key]
        # Only now: a function that raised has left everything as it was.
        self.data = data
        self.loaded = theirs
        self.mutations = mutations
        self.removed = frozenset(theirs.keys() - data.keys())
        self.watched = ours | {key: None for key, value in data.items() if type(value) in codec.MUTABLE}

    def _is_own_work(self, key: str) -> bool:
        """Tell whether nothing but ``mutate`` has changed the key so far."""
        mutations = self.mutations.get(key)
        if mutations is not None:
            return _encode(key, self.data[key]) == mutations.result
        if self.cleared or key in self.removed:
            return False
        if key not in self.watched:
            return True
        return self.loaded.get(key) == Raw(_encode(key, self.data[key]))

    def _drop_unreadable(self, key: str, encoded: Raw) -> None:
        if self.data.get(key) is not encoded:
            return
        _log.error("a value of the session does not decode and is left out: %r", key)
        # It stays among what was loaded, and so in the store: a newer version may be able to read it.
        del self.data[key]


def _encode(key: str, value: Any) -> bytes:
    try:
        return codec.encode(value, "")
    except SerializationError as error:
        raise _at(key, error) from None


def _at(key: str, error: SerializationError) -> SerializationError:
    """Return the error of a value with the whole path to it, which is not worth forming before it is needed."""
    return SerializationError(error.reason, f"session[{key!r}]{error.path}")


def _is_assignable(new: dict[str, Any]) -> bool:
    """Tell, at the speed of C, whether all is surely well."""
    return (
        _TEXT.issuperset(map(type, new))
        and codec.STORABLE.issuperset(map(type, new.values()))
        and "".join(new).isascii()
    )


def _check_assignable(key: str, value: Any) -> None:
    """Refuse a key that is no text, and a value whose own type cannot be stored."""
    if type(key) is not str:
        raise SerializationError(f"keys of a session are str, not {type(key).__name__}")
    try:
        key.encode()
    except UnicodeEncodeError:
        raise SerializationError("a lone surrogate has no UTF-8 form", f"session[{key!r}]") from None
    try:
        codec.check(value, "")
    except SerializationError as error:
        raise _at(key, error) from None
