"""Our session with the names that Beaker's has."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

from .. import clock
from ..exceptions import RecordNotFound
from ..expiry import OnInactivity, OnSessionEnd
from ..presented import Presented, Standing, load_live
from ..record import UnknownSchema
from ..saving import create
from ..session import Session
from ..settings import Settings
from ..state import State
from ..token import SessionToken
from ._beaker_actions import BeakerActions
from ._beaker_mapping import decoded
from ._beaker_terms import INTERNAL, Terms

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


class BeakerSession(BeakerActions):
    """What ``environ["beaker.session"]`` is: a Session that also has all that Beaker's has.

    Made by :func:`show`. Some names mean what they mean to Beaker: ``save()`` only says that changes are meant to last,
    ``created`` is a number of seconds, ``accessed`` a method, and it is always true.
    """

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
            advice = ": give it to BeakerMiddleware" if hasattr(self._terms.options, name) else ""
            _log.warning("session.%s was set, which has no effect%s", name, advice)

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
        """The public id, which ``get_by_id`` accepts and no cookie does; a new session knows it before it is stored."""
        state = self._load()
        with state.lock:
            if state.record is not None:
                return state.record.id
            if state.reserved_id is None:
                if self._ended_id is not None and not state.is_worth_storing:
                    return self._ended_id
                state.reserved_id = SessionToken.generate().id
            return state.reserved_id

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
        expires = self._known_at_load().expires
        if state.is_new or expires is None:
            return None
        used = state.created
        if isinstance(state.policy, OnInactivity | OnSessionEnd):
            used = max(used, expires - state.policy.expires(0))
        return min(used, clock.now()) / 1000

    @property
    def accessed_dict(self) -> dict[str, Any]:
        """What it held when it was loaded, or begun over."""
        loaded = decoded(self._known_at_load().values)
        return {key: value for key, value in loaded.items() if key not in INTERNAL}

    @property
    def was_invalidated(self) -> bool:
        """Whether it takes the place of one that was ended: by ``invalidate()``, or before this request."""
        state = self._load()
        cookie = self._settings.cookie
        if self._was_invalidated or state.presented or state.ended or cookie is None:
            return self._was_invalidated
        return state.is_new and cookie.is_in(self._cookie_header)

    def _session(self) -> BeakerSession:
        """Return itself, as what applications look into that know how Beaker's is made."""
        return self

    @property
    def request(self) -> dict[str, Any]:
        """What applications look into that send Beaker's cookie themselves: there is none for them to send."""
        headers: dict[str, Any] = self.__dict__["_headers"]
        return headers


class DetachedBeakerSession(BeakerSession):
    """A session without a cookie, such as ``environ["beaker.get_session"]()`` returns; ``save()`` stores it at once."""

    use_cookies = False

    def save(self, accessed_only: bool = False) -> None:
        """Store it now, also an empty one.

        :param accessed_only: store no change, only that it was used; a new one is not stored.
        :raises RecordNotFound: if it was ended elsewhere since it was opened.
        """
        if accessed_only:
            self._note_use()
            return
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

    def _note_use(self) -> None:
        record = self._load().record
        # Without what was changed here.
        stored = None if record is None else find_detached(self._settings, self._terms, record.id)
        if stored is not None:
            Session.save(stored)


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
