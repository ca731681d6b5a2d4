"""The session: a lazy mapping over what a store keeps for one visitor."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, MutableMapping
from datetime import datetime, timedelta
from typing import Any, TypeVar, overload

from . import clock, codec
from .exceptions import HeadersSent, SerializationError, SessionDeleted, SessionFrozen, StoreError
from .expiry import Expiry, to_datetime
from .presented import Standing
from .saving import persist
from .settings import Settings, check_expiry
from .state import State

T = TypeVar("T")

_log = logging.getLogger("wsgi_sessions")
# How far the response is. Plain numbers: every request sets them.
OPEN, HEAD_SENT, FROZEN = range(3)
# An index over owners in MySQL takes no longer text.
_LONGEST_OWNER = 255


class Session(MutableMapping[str, Any]):
    """What one visitor's requests have in common: a dictionary that is there again next time.

    Nothing is read before the first use and nothing written before the response
    leaves, and then only if something changed; a change inside a list or a
    dictionary counts. Threads of one request may share it.

    Every method that looks into the session can raise StoreError; every one that
    changes it SessionFrozen after the response, SessionDeleted after ``delete()``
    and HeadersSent where the change needs a cookie and the head is out.

    :param settings: what the middleware's sessions have in common.
    :param cookie_header: the request's Cookie header.
    """

    # Never the environ: it holds the session, and the two would wait for the garbage collector together.
    __slots__ = ("__weakref__", "_cookie_header", "_phase", "_settings", "_state")

    def __init__(self, settings: Settings, cookie_header: str) -> None:
        self._settings = settings
        self._cookie_header = cookie_header
        self._state: State | None = None
        self._phase = OPEN

    # The mapping

    def __getitem__(self, key: str) -> Any:
        state = self._load()
        with state.lock:
            return state.values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        state = self._writable()
        with state.lock:
            state.values[key] = value

    def __delitem__(self, key: str) -> None:
        state = self._writable()
        with state.lock:
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
        with state.lock:
            try:
                if type is None:
                    return state.values[key]
                value = state.values.copy_of(key)
            except KeyError:
                return default
        return codec.convert(value, type, f"session[{key!r}]")

    def popitem(self) -> tuple[str, Any]:
        """Remove and return the newest key and its value, as a dict does.

        :raises KeyError: if the session is empty.
        """
        state = self._writable()
        with state.lock:
            keys = list(state.values)
            if not keys:
                raise KeyError("the session is empty")
            return keys[-1], self.pop(keys[-1])

    def update(self, other: Any = (), /, **values: Any) -> None:
        """Set the keys and values of a mapping, of pairs, and of the keyword arguments, as a dict does."""
        new = dict(other, **values)
        state = self._writable()
        with state.lock:
            for key, value in new.items():
                state.values[key] = value

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return the value of a key; if there is none, set the default and return it."""
        with self._writable().lock:
            return super().setdefault(key, default)

    def clear(self) -> None:
        """Drop the data and keep the session; :meth:`flush` ends it."""
        state = self._writable()
        with state.lock:
            state.values.clear()

    def mutate(self, key: str, function: Callable[[Any], Any], default: Any = None) -> Any:
        """Replace a value by ``function(value)`` so that no other request's change to it is lost.

        :param function: gets the value, or ``default`` if there is none, and returns the
            new one. It runs again, at commit, over what another request has stored meanwhile.
        :returns: the new value.
        :raises SerializationError: if the new value cannot be stored.
        """
        state = self._writable()
        with state.lock:
            return state.values.mutate(key, function, default)

    # What is known about it

    @property
    def id(self) -> str | None:
        """The public id, safe in logs and URLs; None until the session is first saved."""
        record = self._load().record
        return None if record is None else record.id

    @property
    def is_new(self) -> bool:
        """Whether the visitor presented no live session."""
        return self._load().is_new

    @property
    def is_empty(self) -> bool:
        """Whether it holds no keys."""
        return len(self) == 0

    @property
    def created(self) -> datetime:
        """When it began, an aware UTC datetime; ``cycle_id`` does not change it."""
        return to_datetime(self._load().created)

    @property
    def owner(self) -> str | None:
        """The user it belongs to, by which a user's sessions are listed and ended.

        Setting another owner gives the session a new token, as :meth:`cycle_id` does.

        :raises TypeError: if it is set to anything but a str or None.
        :raises ValueError: if that is not 1 to 255 characters of text.
        """
        return self._load().owner

    @owner.setter
    def owner(self, owner: str | None) -> None:
        _check_owner(owner)
        state = self._writable()
        with state.lock:
            if owner != state.owner:
                self._refuse_late("a new owner")
                state.owner = owner

    @property
    def expiry(self) -> Expiry:
        """The policy that holds for it: its own, or the middleware's.

        A policy set here is stored with the session; None gives it the middleware's again.

        :raises TypeError: if it is set to anything but a policy or None.
        """
        return self._load().policy

    @expiry.setter
    def expiry(self, expiry: Expiry | None) -> None:
        if expiry is not None:
            check_expiry(expiry)
        state = self._writable()
        with state.lock:
            if state.policy.persistent or (expiry or self._settings.expiry).persistent:
                self._refuse_late("a new expiry")
            # The same object stands for no change.
            state.own_expiry = state.stored_expiry if expiry == state.stored_expiry else expiry

    @property
    def expiry_date(self) -> datetime:
        """When it ends if nothing more happens, an aware UTC datetime."""
        state = self._load()
        with state.lock:
            return to_datetime(state.expires(clock.now()))

    @property
    def expiry_age(self) -> timedelta:
        """How long it lives if nothing more happens; never negative."""
        state = self._load()
        with state.lock:
            now = clock.now()
            return timedelta(milliseconds=max(0, state.expires(now) - now))

    @property
    def is_loaded(self) -> bool:
        """Whether the store has been asked. Does no I/O."""
        return self._state is not None and self._state.is_loaded

    @property
    def accessed(self) -> bool:
        """Whether the application has looked into it. Does no I/O."""
        return self._state is not None

    @property
    def is_modified(self) -> bool:
        """Whether there is anything to save. Does no I/O."""
        state = self._state
        if state is None or not state.is_loaded:
            return False
        with state.lock:
            try:
                return state.is_changed
            except SerializationError:
                return True

    # What can be done with it

    def save(self) -> None:
        """Store it now. What this made durable is announced to the browser whatever the status.

        :raises SerializationError: if a value cannot be stored.
        :raises SessionTooLarge: if all of them together are over the limit.
        """
        state = self._writable()
        with state.lock:
            self._ask_store(lambda: persist(state))

    def load(self) -> None:
        """Forget what was changed since it was loaded or saved, and read it again."""
        if not self.is_loaded:
            self._load()
            return
        state = self._load()
        with state.lock:
            self._ask_store(lambda: state.read_again(self._cookie_header))

    def flush(self) -> None:
        """End it now and start over, empty and under a new id: call this at logout."""
        state = self._load()
        self._refuse_frozen()
        with state.lock:
            self._ask_store(state.end)

    def delete(self) -> None:
        """End it now; writing to it afterwards raises SessionDeleted."""
        self.flush()
        self._load().deleted = True

    def cycle_id(self) -> None:
        """Give it a new token when it is saved and keep the data: call this at login.

        The public id, which opens nothing, stays. If the response fails, so does the old token.
        """
        state = self._writable()
        with state.lock:
            self._refuse_late("a new token")
            state.cycle = True

    def __repr__(self) -> str:
        state = self._state
        if state is None or not state.is_loaded:
            return f"<{type(self).__name__}: not loaded>"
        id = None if state.record is None else state.record.id
        return f"<{type(self).__name__} {id!r}: {len(state.values)} keys>"

    # The way in, and what guards it

    def _load(self) -> State:
        state = self._state
        if state is None:
            state = self._make_state()
        elif state.is_loaded:
            return state
        with state.lock:
            if not state.is_loaded:
                try:
                    state.read(self._cookie_header)
                except StoreError:
                    state.store_failed = True
                    raise
        return state

    def _make_state(self) -> State:
        self._refuse_frozen()
        with self._settings.making_state:
            if self._state is None:
                if self._phase == HEAD_SENT:
                    _log.warning("a session was first used after the head of its response: Vary could not be sent")
                self._state = State(self._settings)
            return self._state

    def _ask_store(self, action: Callable[[], None]) -> None:
        try:
            action()
        except StoreError:
            assert self._state is not None
            self._state.store_failed = True
            raise

    def _writable(self) -> State:
        state = self._load()
        if self._phase == OPEN and not state.deleted:
            return state
        self._refuse_frozen()
        if state.deleted:
            raise SessionDeleted("the session was deleted in this request; flush() leaves one to write to")
        if state.record is None and state.standing is Standing.NEW:
            self._refuse_late("a new session")
        return state

    def _refuse_frozen(self) -> None:
        if self._phase == FROZEN:
            raise SessionFrozen("the response has ended, and its session with it")

    def _refuse_late(self, what: str) -> None:
        if self._phase == HEAD_SENT:
            raise HeadersSent(f"{what} needs a cookie, and the head of the response has left")


def _check_owner(owner: object) -> None:
    if owner is None:
        return
    if type(owner) is not str:
        raise TypeError(f"owner must be a str or None, not {type(owner).__name__}: write str(user.id)")
    # Surrogates cannot be encoded, and PostgreSQL stores no NUL.
    if not 1 <= len(owner) <= _LONGEST_OWNER or "\0" in owner or any("\ud800" <= char <= "\udfff" for char in owner):
        raise ValueError(f"owner must be 1 to {_LONGEST_OWNER} characters of text")
