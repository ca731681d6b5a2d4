"""The dictionary that Beaker's session is: it holds what Beaker keeps in it, and notes what is changed in it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from copy import copy
from typing import Any

from .. import clock
from ..cookies.cookie import SessionCookie
from ..exceptions import SerializationError
from ..session import Session
from ..state import State
from ._beaker_config import Configuration

#: Where the cookie is set, which is stored where it is not as configured.
PLACE = ("_domain", "_path")
#: The keys that Beaker keeps in a session for itself; ours answers to them.
INTERNAL = (*PLACE, "_creation_time", "_accessed_time")
# Each key is logged once; more of them would help nobody.
_MOST_WARNINGS = 20

_log = logging.getLogger("wsgi_sessions")


class Terms:
    """What all sessions of one BeakerMiddleware have in common.

    :param cookie: how it is set unless a session says otherwise.
    :param explicit_save: what is not saved is lost.
    :param list_internals: Beaker's own keys are among the others.
    """

    def __init__(
        self, configuration: Configuration, cookie: SessionCookie, *, explicit_save: bool, list_internals: bool
    ) -> None:
        self.options = configuration.options
        self.expiry = configuration.expiry
        self.cookie = cookie
        self.explicit_save = explicit_save and not self.options.auto
        self.list_internals = list_internals
        #: What has been logged once.
        self.warned: set[str] = set()
        #: What applications look for in Beaker's ``_params``, and no secret.
        self.params = {
            "key": cookie.name,
            **{name: getattr(self.options, name) for name in ("type", "auto", "timeout", "cookie_expires")},
        }


def placed(cookie: SessionCookie, domain: str | None, path: str) -> SessionCookie:
    """Return a cookie like another one, but for another place.

    :raises TypeError: if domain or path is no text.
    :raises ValueError: if a browser would drop it.
    """
    plain = SessionCookie(
        cookie.name,
        path=path,
        domain=domain,
        secure=cookie.secure,
        http_only=cookie.http_only,
        same_site=cookie.same_site,
        partitioned=cookie.partitioned,
    )
    if type(cookie) is SessionCookie:
        return plain
    # One with keys: they cannot be asked for, and do not depend on the place.
    moved = copy(cookie)
    for name in ("domain", "path", "_attributes"):
        object.__setattr__(moved, name, getattr(plain, name))
    return moved


class BeakerMapping(Session):
    """A session as a dictionary, as applications know Beaker's."""

    # All of these are set on the session itself, which outlives its views.
    _terms: Terms
    #: save() or delete() was called.
    _is_saved = False
    #: Keys that were set or removed, and not stored by persist() since.
    _changed_keys: frozenset[str] = frozenset()
    #: What was stored when it was loaded, when it was to end, and the place of its cookie; None before.
    _at_load: tuple[dict[str, Any], int | None, tuple[Any, Any]] | None = None

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

    def __repr__(self) -> str:
        # Whoever shows an environ shows it as well, and has not looked into it for that.
        return repr(dict(self.items())) if self.is_loaded else super().__repr__()

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
        values, cookie = self._load().values, self._terms.cookie
        stored = {key: values[key] for key in PLACE if key in values}
        return stored.get("_domain", cookie.domain), stored.get("_path", cookie.path)

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
            state.announce = state.announce or state.record is not None

    def _known_at_load(self) -> tuple[dict[str, Any], int | None, tuple[Any, Any]]:
        """Return what was known when it was loaded; asked for before anything is changed."""
        state = self._load()
        if self._at_load is None:
            expires = None if state.record is None else state.record.expires
            self._at_load = (state.values.loaded, expires, self._place)
        return self._at_load

    def _load(self) -> State:
        is_first = not self.is_loaded
        state = super()._load()
        if is_first:
            self._known_at_load()
        return state

    # What becomes of changes that nobody has asked to save

    def _settle_unsaved(self) -> None:
        """Do with them what the middleware was told to, before the session is stored."""
        state = self._state
        if state is None or not state.is_loaded or self._is_saved or not self._changed_keys:
            return
        with state.lock:
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
