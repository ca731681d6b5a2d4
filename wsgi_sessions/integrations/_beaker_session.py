"""Our session with the names that Beaker's has."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from .. import clock, codec
from ..exceptions import RecordNotFound
from ..expiry import OnInactivity, OnSessionEnd, to_datetime
from ..mapping import OPEN
from ..presented import Presented, Standing, load_live
from ..record import UnknownSchema
from ..saving import create
from ..session import Session
from ..settings import Settings
from ..state import State
from ..token import SessionToken
from ._beaker_mapping import INTERNAL, BeakerMapping, Terms

_log = logging.getLogger("wsgi_sessions")

_is_id = re.compile(r"[A-Za-z0-9_-]{22}").fullmatch
# What can be set on Beaker's session, and is the middleware's to know here.
_CONFIGURED: dict[str, Callable[[Terms], Any]] = {
    "timeout": lambda terms: terms.options.timeout,
    "type": lambda terms: terms.options.type,
    "key": lambda terms: terms.cookie.name,
    "secure": lambda terms: terms.cookie.secure,
    "httponly": lambda terms: terms.cookie.http_only,
    "samesite": lambda terms: terms.cookie.same_site,
    "use_cookies": lambda terms: True,
}


class BeakerSession(BeakerMapping):
    """What ``environ["beaker.session"]`` is: a Session that also has all that Beaker's has.

    Made by :func:`show`. Some names mean what they mean to Beaker: ``save()`` only says that changes are meant to last,
    ``created`` is a number of seconds, ``accessed`` a method, and it is always true.
    """

    _was_invalidated = False
    #: None for the configured one.
    _cookie_expires: bool | timedelta | datetime | None = None
    #: Stands for the id of a session that is over, or too late to be stored.
    _unused_id: str | None = None

    def __getattr__(self, name: str) -> Any:
        if name in _CONFIGURED:
            return _CONFIGURED[name](self._terms)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    def __setattr__(self, name: str, value: Any) -> None:
        own = getattr(type(self), name, None)
        is_settable = isinstance(own, property) and own.fset is not None
        if name.startswith("_") or is_settable or (own is None and name not in _CONFIGURED):
            super().__setattr__(name, value)
        elif f".{name}" not in self._terms.warned:
            self._terms.warned.add(f".{name}")
            _log.warning("session.%s was set, which has no effect: give it to BeakerMiddleware", name)

    def save(self) -> None:
        """Say that its changes are meant to last; they are stored when the response begins, or by :meth:`persist`."""
        self._is_saved = True

    def persist(self) -> None:
        """Store it now; see :meth:`Session.save`."""
        super().save()
        self._changed_keys = frozenset()

    def delete(self) -> None:
        """End it now, and have the browser drop the cookie; what is written to it afterwards begins a new one."""
        self._is_saved = True
        record = self._load().record
        self.flush()
        self._unused_id = None if record is None else record.id

    def invalidate(self) -> None:
        """End it now and start over, empty and under a new id."""
        self.flush()
        self._was_invalidated = True

    def flush(self) -> None:
        """End it now and start over; see :meth:`Session.flush`."""
        super().flush()
        self._unused_id = None

    def regenerate_id(self) -> None:
        """Give it a new token and keep the data; see :meth:`Session.cycle_id`. The public id stays."""
        self.cycle_id()

    def load(self) -> None:
        """Forget what was changed since it was loaded or stored, and read it again."""
        super().load()
        self._changed_keys = frozenset()

    def revert(self) -> None:
        """Forget what was changed since it was loaded or stored."""
        self._revert()
        self._changed_keys = frozenset()

    def lock(self) -> None:
        """Do nothing: no request waits for another one's session."""
        warnings.warn("session.lock() does nothing: changes of parallel requests are merged", DeprecationWarning, 2)

    def unlock(self) -> None:
        """Do nothing."""
        warnings.warn("session.unlock() does nothing: changes of parallel requests are merged", DeprecationWarning, 2)

    def get_by_id(self, id: str) -> DetachedBeakerSession | None:
        """Return another session by its public id, None if there is none that is alive."""
        return find_detached(self._settings, self._terms, id)

    # What it knows

    def accessed(self) -> bool:  # type: ignore[override]  # Beaker has a method there
        """Tell whether the application has looked into it. Does no I/O."""
        return self._state is not None

    def dirty(self) -> bool:
        """Tell whether ``save()`` or ``delete()`` was called. Does no I/O."""
        return self._is_saved

    @property
    def id(self) -> str:
        """The public id, which ``get_by_id`` accepts and no cookie does. To have one, a new session is stored now."""
        state = self._load()
        with state.lock:
            if state.record is None and self._may_be_stored(state):
                self._ask_store(lambda: self._store_new(state))
            if state.record is not None:
                return state.record.id
            if self._unused_id is None:
                self._unused_id = SessionToken.generate().id
            return self._unused_id

    def _may_be_stored(self, state: State) -> bool:
        is_over = state.ended and not state.is_worth_storing
        return self._phase == OPEN and state.standing is Standing.NEW and not is_over

    def _store_new(self, state: State) -> None:
        values = state.values
        if self._terms.explicit_save and not self._is_saved:
            # What it holds is not meant to last yet.
            state.values = type(values)({}, {}, state.lock)
        try:
            create(state)
        finally:
            state.values = values

    @property
    def created(self) -> float:  # type: ignore[override]  # Beaker says so
        """When it began, in Unix seconds."""
        return self._load().created / 1000

    @property
    def last_accessed(self) -> float | None:
        """When it was last used before this request, in Unix seconds; None for a new one.

        Not to the second: a tenth of the timeout may pass before a use is noted again.
        """
        state = self._load()
        _, expires, _ = self._known_at_load()
        if state.is_new or expires is None:
            return None
        used = state.created
        if isinstance(state.policy, OnInactivity | OnSessionEnd):
            used = max(used, expires - state.policy.expires(0))
        return min(used, clock.now()) / 1000

    @property
    def accessed_dict(self) -> dict[str, Any]:
        """What it held when it was loaded."""
        loaded, _, _ = self._known_at_load()
        return {key: codec.decode(value) for key, value in loaded.items() if key not in INTERNAL}

    @property
    def was_invalidated(self) -> bool:
        """Whether it takes the place of one that was ended: by ``invalidate()``, or before this request."""
        state = self._load()
        cookie = self._settings.cookie
        if self._was_invalidated or state.presented or state.ended or cookie is None:
            return self._was_invalidated
        return state.is_new and bool(cookie.candidates(self._cookie_header))

    @property
    def request(self) -> dict[str, Any]:
        """What applications look into that send Beaker's cookie themselves: there is none for them to send."""
        headers: dict[str, Any] = self.__dict__["_headers"]
        return headers

    # How long the browser keeps its cookie

    @property
    def cookie_expires(self) -> bool | timedelta | datetime:
        """Beaker's option of that name; setting it has no effect before ``_set_cookie_expires``."""
        chosen = self._cookie_expires
        return self._terms.options.cookie_expires if chosen is None else chosen

    @cookie_expires.setter
    def cookie_expires(self, cookie_expires: bool | timedelta | datetime) -> None:
        self._cookie_expires = cookie_expires

    def _set_cookie_expires(self, expires: bool | timedelta | datetime | None = None) -> bool | datetime:
        """Have this session, and its cookie, last longer or shorter than others; Beaker's way to "remember me"."""
        expires = self.cookie_expires if expires is None else expires
        if not isinstance(expires, bool | timedelta | datetime):
            raise ValueError(f"cookie_expires must be a bool, timedelta or datetime, not {type(expires).__name__}")
        self._cookie_expires = expires
        policy = self._terms.expiry(expires)
        end = to_datetime(policy.expires(clock.now()))
        if end <= to_datetime(clock.now()):
            self.delete()
        else:
            self.expiry = None if policy == self._settings.expiry else policy
        return True if expires is True else end.astimezone(UTC)

    def _set_cookie_values(self, expires: bool | timedelta | datetime | None = None) -> None:
        self._set_cookie_expires(expires)

    def _update_cookie_out(self, set_cookie: bool = True) -> None:
        self._set_cookie_expires()
        state = self._load()
        state.announce = state.announce or (set_cookie and state.record is not None)


class DetachedBeakerSession(BeakerSession):
    """A session without a cookie, such as ``environ["beaker.get_session"]()`` returns; ``save()`` stores it at once."""

    use_cookies = False

    def save(self) -> None:
        """Store it now, also an empty one.

        :raises RecordNotFound: if it was ended elsewhere since it was opened.
        """
        self._is_saved = True
        state = self._load()
        with state.lock:
            self._begin_writing(state)
            if state.record is None and state.standing is Standing.NEW:
                self._ask_store(lambda: create(state))
            else:
                Session.save(self)
            if state.standing is Standing.CLOSED:
                raise RecordNotFound("the session was ended elsewhere while it was open; the changes are lost")

    def persist(self) -> None:
        """Store it now; see :meth:`save`."""
        self.save()


def show(session: Session, terms: Terms) -> BeakerSession:
    """Return a session as one of Beaker's."""
    # What applications look for that send Beaker's cookie themselves. Nothing of it is the session itself: a cycle.
    headers = {"set_cookie": False, "cookie_out": None}
    session.__dict__.update(_terms=terms, _headers=headers, _params=terms.params, _sess=None)
    return BeakerSession.view(session)


def new_detached(settings: Settings, terms: Terms) -> DetachedBeakerSession:
    """Return a new session without a cookie."""
    return _detached(Session(settings, ""), terms)


def find_detached(settings: Settings, terms: Terms, id: str) -> DetachedBeakerSession | None:
    """Return the session with a public id; None if there is none that is alive."""
    try:
        found = load_live(settings, id) if isinstance(id, str) and _is_id(id) else None
    except UnknownSchema:
        found = None
    if found is None:
        return None
    session = Session(settings, "")
    session._state = State(settings)
    session._state.adopt(Presented(*found))
    return _detached(session, terms)


def _detached(session: Session, terms: Terms) -> DetachedBeakerSession:
    show(session, terms)
    return DetachedBeakerSession.view(session)
