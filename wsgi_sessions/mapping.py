"""The part of a session that is a dictionary, and what guards the way to its values."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, TypeVar, overload

from .conversion import convert
from .exceptions import HeadersSent, SessionDeleted, SessionFrozen, StoreError
from .presented import Standing
from .settings import Settings
from .state import State

T = TypeVar("T")

_log = logging.getLogger("wsgi_sessions")

# How far the response is. Plain numbers: every request sets them.
OPEN, HEAD_SENT, FROZEN = range(3)


class SessionMapping(MutableMapping[str, Any]):
    """A dictionary that reads what a visitor has stored when it is first used.

    :param settings: what the middleware's sessions have in common.
    :param cookie_header: the request's Cookie header.
    """

    #: None until the first use.
    _state: State | None = None
    _phase = OPEN
    #: What an integration, which has committed it before the middleware would, found to tell the browser.
    _committed: tuple[Any] | None = None

    # Never the environ: it holds the session, and the two would wait for the garbage collector together.
    def __init__(self, settings: Settings, cookie_header: str) -> None:
        self._settings = settings
        self._cookie_header = cookie_header

    def __getitem__(self, key: str) -> Any:
        state = self._state
        if state is None or not state.is_loaded:
            state = self._load()
        return state.values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        state = self._load()
        with state.lock:
            self._begin_writing(state)
            state.values[key] = value

    def __delitem__(self, key: str) -> None:
        state = self._load()
        with state.lock:
            self._begin_writing(state)
            state.values[key]  # a value that does not decode is not there
            del state.values[key]

    def __contains__(self, key: object) -> bool:
        state = self._load()
        with state.lock:
            return key in state.values

    def __iter__(self) -> Iterator[str]:
        state = self._load()
        with state.lock:
            return iter(state.values)

    def __len__(self) -> int:
        state = self._load()
        with state.lock:
            return len(state.values)

    @overload
    def get(self, key: str, /) -> Any | None: ...
    @overload
    def get(self, key: str, /, default: Any) -> Any: ...
    @overload
    def get(self, key: str, /, default: None = None, *, type: type[T]) -> T | None: ...
    @overload
    def get(self, key: str, /, default: T, *, type: type[T]) -> T: ...
    def get(self, key: str, /, default: Any = None, *, type: Any = None) -> Any:
        """Return a value, or the default.

        :param type: a dataclass, ``TypedDict``, ``msgspec.Struct`` or any other type that
            msgspec converts to: the value is returned as one, a copy that shares nothing with the session.
        :raises SerializationError: if the value is not of that type.
        """
        state = self._load()
        if key not in state.values.data:
            # Sooner known than by the KeyError.
            return default
        try:
            if type is None:
                return state.values[key]
            with state.lock:
                value = state.values.copy_of(key)
        except KeyError:
            return default
        return convert(value, type, f"session[{key!r}]")

    def pop(self, key: str, *default: Any) -> Any:
        """Remove a key and return its value, or the default, as a dict does.

        :raises KeyError: if there is neither.
        """
        state = self._load()
        with state.lock:
            self._begin_writing(state)
            return super().pop(key, *default)

    def popitem(self) -> tuple[str, Any]:
        """Remove and return the newest key and its value, as a dict does.

        :raises KeyError: if the session is empty.
        """
        state = self._load()
        with state.lock:
            self._begin_writing(state)
            keys = list(state.values)
            if not keys:
                raise KeyError("the session is empty")
            return keys[-1], self.pop(keys[-1])

    def update(self, other: Any = (), /, **values: Any) -> None:
        """Set the keys and values of a mapping, of pairs, and of the keyword arguments, as a dict does."""
        new = dict(other, **values)
        state = self._load()
        with state.lock:
            self._begin_writing(state)
            state.values.update(new)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return the value of a key; if there is none, set the default and return it."""
        state = self._load()
        with state.lock:
            self._begin_writing(state)
            return super().setdefault(key, default)

    def copy(self) -> dict[str, Any]:
        """Return a dict of its keys and values, as ``dict(session)`` does; the values are the session's own."""
        return dict(self)

    def clear(self) -> None:
        """Drop the data and keep the session; :meth:`flush` ends it."""
        state = self._load()
        with state.lock:
            self._begin_writing(state)
            state.values.clear()

    def mutate(self, key: str, function: Callable[[Any], Any], default: Any = None) -> Any:
        """Replace a value by ``function(value)`` so that no other request's change to it is lost.

        :param function: gets the value, or ``default`` if there is none, and returns the
            new one. It runs again, at commit, over what another request has stored meanwhile.
        :returns: the new value.
        :raises SerializationError: if the new value cannot be stored.
        """
        state = self._load()
        with state.lock:
            self._begin_writing(state)
            return state.values.mutate(key, function, default)

    # The way in, and what guards it

    def _load(self) -> State:
        state = self._state
        if state is not None and state.is_loaded:
            return state
        self._refuse_frozen()
        if state is None:
            if self._phase == HEAD_SENT:
                _log.warning("a session was first used after the head of its response: Vary could not be sent")
            state = self._mark_accessed()
        with state.lock:
            if not state.is_loaded:
                try:
                    state.read(self._cookie_header, may_send_cookies=self._phase == OPEN)
                except StoreError:
                    state.store_failed = True
                    raise
        return state

    def _mark_accessed(self) -> State:
        """Have the response say that it depends on the session."""
        # setdefault is atomic: of several threads, all get the state that came first.
        state: State = self.__dict__.setdefault("_state", State(self._settings))
        return state

    def _ask_store(self, action: Callable[[], None]) -> None:
        try:
            action()
        except StoreError:
            assert self._state is not None
            self._state.store_failed = True
            raise

    def _begin_writing(self, state: State) -> None:
        """Refuse what comes too late; under the lock, for the commit may have been waited for."""
        if self._phase != OPEN or state.deleted:
            self._refuse_frozen()
            if state.deleted:
                raise SessionDeleted("the session was deleted in this request; flush() leaves one to write to")
            if state.record is None and state.standing is Standing.NEW:
                self._refuse_late("a new session")
        state.is_written = True

    def _refuse_frozen(self) -> None:
        if self._phase == FROZEN:
            raise SessionFrozen("the response has ended, and its session with it")

    def _refuse_late(self, what: str) -> None:
        if self._phase == HEAD_SENT:
            raise HeadersSent(f"{what} needs a cookie, and the head of the response has left")
