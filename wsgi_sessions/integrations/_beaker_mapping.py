"""The dictionary that Beaker's session is: it holds what Beaker keeps in it, and notes what is changed in it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from msgspec import Raw

from .. import clock, codec
from ..exceptions import SerializationError
from ..session import Session
from ..state import State
from ..values import Values
from ._beaker_terms import INTERNAL, PLACE, Terms, placed

# Each key is logged once; more of them would help nobody.
_MOST_WARNINGS = 20

_log = logging.getLogger("wsgi_sessions")


class AtLoad(NamedTuple):
    """What was known of a session when it was loaded, or begun over."""

    #: Encoded.
    values: dict[str, Raw]
    #: When it was to end, Unix milliseconds; None for a new one.
    expires: int | None
    #: The domain and path of the browser's cookie.
    place: tuple[Any, Any]


class BeakerMapping(Session):
    """A session as a dictionary, as applications know Beaker's."""

    # All of these are set on the session itself, which outlives its views.
    _terms: Terms
    #: save() or delete() was called.
    _is_saved = False
    #: Keys that were set or removed, and not stored by persist() since.
    _changed_keys: frozenset[str] = frozenset()
    #: None before it is loaded.
    _at_load: AtLoad | None = None
    #: The cookie is to be sent again.
    _is_sent_again = False

    def __getitem__(self, key: str) -> Any:
        return self._internal(key) if key in INTERNAL else super().__getitem__(key)

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in INTERNAL:
            super().__setitem__(key, value)
            self._note(key)
        elif key in PLACE:
            self._set_place(key, value)

    def __delitem__(self, key: str) -> None:
        if key not in INTERNAL:
            super().__delitem__(key)
            self._note(key)
        elif key in PLACE:
            self._set_place(key, getattr(self._terms.cookie, key[1:]))

    def __contains__(self, key: object) -> bool:
        return key in INTERNAL or super().__contains__(key)

    def __iter__(self) -> Iterator[str]:
        own = self._own_keys()
        return iter([*own, *INTERNAL] if self._terms.list_internals else own)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        """Return True, also if it is empty: applications ask whether there is a session."""
        return True

    # Not those of a Mapping: Beaker's is equal to itself only.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def get(self, key: str, /, default: Any = None, *, type: Any = None) -> Any:
        """Return a value, or the default; see :meth:`Session.get`."""
        return self._internal(key) if key in INTERNAL else super().get(key, default, type=type)

    def popitem(self) -> tuple[str, Any]:
        """Remove and return the newest key and its value, as a dict does.

        :raises KeyError: if the session is empty.
        """
        own = self._own_keys()
        if not own:
            raise KeyError("the session is empty")
        return own[-1], self.pop(own[-1])

    def update(self, other: Any = (), /, **values: Any) -> None:
        """Set the keys and values of a mapping, of pairs, and of the keyword arguments, as a dict does."""
        new = dict(other, **values)
        own = {key: value for key, value in new.items() if key not in INTERNAL}
        super().update(own)
        self._note(*own)
        for key in new.keys() - own.keys():
            self[key] = new[key]

    def clear(self) -> None:
        """Drop the data; the domain and path of the cookie stay."""
        state = self._load()
        with state.lock:
            place = {key: state.values[key] for key in PLACE if key in state.values}
            keys = [*state.values.data, *state.values.loaded]
            super().clear()
            super().update(place)
            self._note(*[key for key in keys if key not in INTERNAL])

    def copy(self) -> dict[str, Any]:
        """Return a plain dict of its keys and values."""
        return dict(self.items())

    def has_key(self, key: str) -> bool:
        """Tell whether it holds a key, as Python 2 had it."""
        return key in self

    @property
    def domain(self) -> str | None:
        """The domain of its cookie; setting another one sends a new cookie.

        :raises ValueError: if a browser would drop it.
        """
        domain: str | None = self._place[0]
        return domain

    @domain.setter
    def domain(self, domain: str | None) -> None:
        self._set_place("_domain", domain)

    @property
    def path(self) -> str:
        """The path of its cookie; setting another one sends a new cookie.

        :raises ValueError: if a browser would drop it.
        """
        path: str = self._place[1]
        return path

    @path.setter
    def path(self, path: str) -> None:
        self._set_place("_path", path)

    def _own_keys(self) -> list[str]:
        return [key for key in super().__iter__() if key not in INTERNAL]

    def _internal(self, key: str) -> Any:
        if key in PLACE:
            return self._place[PLACE.index(key)]
        state = self._load()
        return (state.created if key == "_creation_time" else clock.now()) / 1000

    def _note(self, *keys: str) -> None:
        self._known_at_load()
        self._changed_keys = self._changed_keys.union(keys)

    @property
    def _place(self) -> tuple[Any, Any]:
        values = self._load().values
        return self._place_among({key: values[key] for key in PLACE if key in values})

    @property
    def _stored_place(self) -> tuple[Any, Any]:
        stored = self._load().values.loaded
        return self._place_among(decoded({key: stored[key] for key in PLACE if key in stored}))

    def _place_among(self, found: dict[str, Any]) -> tuple[Any, Any]:
        cookie = self._terms.cookie
        return found.get("_domain", cookie.domain), found.get("_path", cookie.path)

    def _set_place(self, key: str, value: Any) -> None:
        if key == "_domain" and isinstance(value, str):
            value = value.lstrip(".") or None
        state = self._load()
        with state.lock:
            self._known_at_load()
            place = (value, self.path) if key == "_domain" else (self.domain, value)
            if place == self._place:
                return
            # What a browser would drop is refused here.
            placed(self._terms.cookie, *place)
            self._refuse_late("another domain or path")
            super().__setitem__(key, value)

    def _known_at_load(self) -> AtLoad:
        """Return what was known when it was loaded; asked for before anything is changed."""
        state = self._load()
        if self._at_load is None:
            expires = None if state.record is None else state.record.expires
            self._at_load = AtLoad(state.values.loaded, expires, self._place)
        return self._at_load

    def _load(self) -> State:
        is_first = not self.is_loaded
        state = super()._load()
        if is_first:
            self._known_at_load()
        return state

    # What is done before it is stored

    def _prepare_commit(self) -> None:
        """Do what the middleware was told to with changes that nobody has asked to save; all others are to be saved."""
        state = self._state
        if state is None or not state.is_loaded:
            return
        with state.lock:
            if self._changed_keys and not self._is_saved:
                self._settle_unsaved(state)
            self._prepare_save(state)

    def _prepare_save(self, state: State) -> None:
        """See to what the store and the browser are told beside the changes; not before, for a request may fail."""
        if state.reserved_id is not None and (self._is_saved or self._terms.options.auto):
            state.is_kept_empty = True
        if state.record is not None and (self._is_sent_again or self._place != self._known_at_load().place):
            state.announce = True

    def _settle_unsaved(self, state: State) -> None:
        if self._terms.explicit_save:
            for key in self._changed_keys:
                _restore(state, key)
        elif not self._terms.options.auto:
            self._warn_of_unsaved(state)

    def _warn_of_unsaved(self, state: State) -> None:
        warned = self._terms.warned
        if len(warned) >= _MOST_WARNINGS or self._changed_keys <= warned:
            return
        try:
            changed = self._changed_keys & (state.values.changes().keys() | state.values.removed)
        except SerializationError:
            return  # the commit raises it
        for key in sorted(changed - warned):
            warned.add(key)
            _log.warning(
                "session[%r] was changed and session.save() not called: it is stored all the same, where Beaker would "
                "have dropped the change. Call save(), set session.auto = true, or have BeakerMiddleware drop it as "
                "well, with explicit_save=True",
                key,
            )


def _restore(state: State, key: str) -> None:
    """Give a key the value that it had when the session was loaded or stored."""
    values = state.values
    values.watched.pop(key, None)
    values.removed -= {key}
    values.cleared = False
    if key in values.loaded:
        values.data[key] = values.loaded[key]
    else:
        values.data.pop(key, None)


def restore_all(values: Values, loaded: dict[str, Raw]) -> None:
    """Give all keys the values that they had when the session was loaded, whatever was stored since."""
    stored = values.loaded
    values.data = {key: encoded for key, encoded in loaded.items() if stored.get(key) == encoded}
    values.watched, values.mutations, values.cleared = {}, {}, False
    values.removed = frozenset(stored.keys() - loaded.keys())
    values.update(decoded({key: loaded[key] for key in loaded.keys() - values.data.keys()}))


def decoded(encoded: dict[str, Raw]) -> dict[str, Any]:
    """Return the values that can be decoded."""
    found = {}
    for key, value in encoded.items():
        with suppress(ValueError):
            found[key] = codec.decode(value)
    return found
