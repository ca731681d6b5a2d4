"""The sessions of requests: begun with an environ, committed into the head of its response."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from werkzeug.exceptions import ServiceUnavailable

from .commit import CookieChange, commit, commit_late
from .cookies.cookie import SessionCookie
from .exceptions import SessionMissing, StoreError
from .expiry import Expiry, OnSessionEnd
from .headers import forbid_storing, set_cookie, vary_by_cookie
from .legacy import LegacySource
from .mapping import FROZEN, HEAD_SENT
from .record import Record
from .response import Headers
from .session import Session
from .settings import MAX_PAYLOAD, Settings
from .stores.base import SessionStore, renew_after_fork
from .sweeper import Sweeper
from .takeover import Takeover

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

_log = logging.getLogger("wsgi_sessions")

_KEY = "wsgi_sessions.session"
#: Seconds after which a visitor may come back whose session could not be read or stored.
RETRY_AFTER = 5
#: What is logged then.
OUTAGE = "a request was answered 503: its session could not be read or stored"


class RequestSessions:
    """Begins the session of each request of an application, and commits it into the response.

    :class:`SessionMiddleware` does this around a WSGI application. A framework's integration that
    sees requests and responses itself calls ``find`` and, if there is none, ``begin``, then ``commit`` and ``end``.

    :param store: where sessions are kept.
    :param cookie: its name and attributes, and whether it is signed or encrypted.
    :param expiry: when sessions end: OnSessionEnd, OnInactivity or AtDateTime.
    :param max_lifetime: caps every session from its creation, whatever its activity.
    :param always_save: count every request as activity, also one that does not touch its session.
    :param max_payload: the most bytes that a stored session may have.
    :param error_app: answers in place of a request whose session could not be
        read or stored; the default says 503 with Retry-After.
    :param sweep_every: delete expired records this often, from a thread in each process.
    :param on_deleted: called in that thread with each batch of deleted records.
    :param legacy: other libraries whose sessions are taken over as their visitors come; see ``docs/migrating.rst``.
    :param retire: what becomes of theirs: ``"delete"``, or ``"keep"`` as long as they may be put back into service.
    :raises TypeError: if an argument is of a wrong type.
    :raises ValueError: if a limit is not positive, or ``on_deleted`` has no ``sweep_every``.
    """

    def __init__(
        self,
        store: SessionStore,
        *,
        cookie: SessionCookie | None = None,
        expiry: Expiry | None = None,
        max_lifetime: timedelta | None = None,
        always_save: bool = False,
        max_payload: int = MAX_PAYLOAD,
        error_app: WSGIApplication | None = None,
        sweep_every: timedelta | None = None,
        on_deleted: Callable[[list[Record]], object] | None = None,
        legacy: Sequence[LegacySource] = (),
        retire: str = "delete",
    ) -> None:
        if error_app is not None:
            check_callable("error_app", error_app, "a WSGI application")
        if on_deleted is not None:
            check_callable("on_deleted", on_deleted, "a function")
            if sweep_every is None:
                raise ValueError("on_deleted is called by the sweeper: give sweep_every too")
        if not isinstance(always_save, bool):
            raise TypeError(f"always_save must be True or False, not {type(always_save).__name__}")
        self.cookie = SessionCookie() if cookie is None else cookie
        takeover = Takeover(legacy, retire)
        takeover.check_cookie(self.cookie)
        self._takeover = takeover if legacy else None
        self._settings = Settings(
            store,
            cookie=self.cookie,
            expiry=OnSessionEnd() if expiry is None else expiry,
            max_lifetime=max_lifetime,
            always_save=always_save,
            max_payload=max_payload,
            takeover=self._takeover,
        )
        #: Answers instead of a request whose session could not be read or stored.
        self.error_app: WSGIApplication = (
            ServiceUnavailable(retry_after=RETRY_AFTER) if error_app is None else error_app
        )
        self._sweeper = None if sweep_every is None else Sweeper(store, sweep_every, on_deleted=on_deleted)
        self._named_key = f"{_KEY}.{self.cookie.name}"
        self._is_started = False
        self._has_warned_of_http = False
        renew_after_fork(self)

    @property
    def legacy_counts(self) -> dict[tuple[str, str], int]:
        """How many legacy sessions this process has taken over, and why it has not others, by system and reason."""
        return {} if self._takeover is None else dict(self._takeover.counts)

    @property
    def store(self) -> SessionStore:
        """Where sessions are kept."""
        return self._settings.store

    def find(self, environ: WSGIEnvironment) -> Session | None:
        """Return the session that another one has begun for this request under the same cookie name.

        It is then the other's to commit: one name, one store, one session.

        :raises ValueError: if it is kept in another store.
        """
        outer: Session | None = environ.get(self._named_key)
        if outer is None or outer._phase == FROZEN:
            return None
        if outer._settings.store is not self._settings.store:
            raise ValueError(
                f"two SessionMiddleware with different stores use the cookie name {self.cookie.name!r}: "
                "give one of them SessionCookie('another name')"
            )
        environ[_KEY] = outer
        return outer

    def begin(self, environ: WSGIEnvironment) -> Session:
        """Return a new session for a request; :func:`get_session` finds it from now on."""
        if not self._is_started:
            self._start(environ)
        session = Session(self._settings, environ.get("HTTP_COOKIE", ""))
        environ[_KEY] = environ[self._named_key] = session
        return session

    def commit(
        self, session: Session, environ: WSGIEnvironment, status: int, headers: Headers, *, body_is_complete: bool
    ) -> Headers:
        """Store what a session holds, and return the headers with what has to be said of it.

        :param status: the status code of the response.
        :param headers: the application's own list; it is not changed.
        :param body_is_complete: nothing of the application runs any more: this is the end of the session, too.
        :raises StoreError: if it may not have been stored, or if this is a server error after the store had failed.
        :raises SerializationError: if a value cannot be stored.
        :raises SessionTooLarge: if all of them together are over the limit.
        """
        if status >= 500 and session._state is not None and session._state.store_failed:
            raise StoreError("the application answered a store error with a server error")
        change = commit(session, status, FROZEN if body_is_complete else HEAD_SENT)
        return self._with_session(session, environ, headers, change)

    def commit_early(self, session: Session, status: int) -> None:
        """Store what a session holds before the WSGI middleware would, for a response whose body is there as a whole.

        The middleware adds the headers and looks at nothing again but what is assigned until then.
        Parameters and errors are those of :meth:`commit`; an outage that is raised here becomes a 503 there.
        """
        try:
            change = commit(session, status, HEAD_SENT)
        except StoreError:
            if session._state is not None:
                session._state.store_failed = True
            raise
        if session._state is not None:
            session._state.is_written = False
            session._committed = (change,)

    def announce_early(self, session: Session, environ: WSGIEnvironment, status: int, headers: Headers) -> Headers:
        """Return the headers of a response whose session was committed early, and end it."""
        assert session._committed is not None
        assert session._state is not None
        headers = self._with_session(session, environ, headers, session._committed[0])
        self.end(session, status if session._state.is_written else None)
        return headers

    def commit_replacement(self, session: Session, environ: WSGIEnvironment, headers: Headers) -> Headers:
        """Return the headers of the response that ``error_app`` gave in place of the application's."""
        # What save() or flush() made durable before the failure is announced all the same.
        # An error_app may start late, when the session is frozen already.
        change = commit(session, 503, max(session._phase, HEAD_SENT))
        return self._with_session(session, environ, headers, change)

    def end(self, session: Session, status: int | None = None) -> None:
        """Freeze a session, when nothing of the application runs any more for its request.

        :param status: the status code, if what was changed while the body was sent shall be saved before.
        """
        if status is not None:
            commit_late(session, status)
        freeze(session)

    def close(self) -> None:
        """Stop the sweeper of this process, if ``sweep_every`` was given; the next request starts it again.

        A server need not call this: the thread does not keep a process from ending.
        """
        if self._sweeper is not None:
            self._sweeper.stop()
        self._is_started = False

    def _start(self, environ: WSGIEnvironment) -> None:
        """Do what has to be done once in each process."""
        self._is_started = True
        store = self._settings.store
        if environ.get("wsgi.multiprocess") and not store.shared:
            _log.warning(
                "the server runs several processes and %s is not shared between them: sessions will come and go; "
                "use FileStore or a database",
                type(store).__name__,
            )
        if self._sweeper is not None and not environ.get("wsgi.run_once"):
            self._sweeper.start()

    def _after_fork(self) -> None:
        self._is_started = False

    def _with_session(
        self, session: Session, environ: WSGIEnvironment, headers: Headers, change: CookieChange | None
    ) -> Headers:
        """Return the headers with what a response needs that may depend on its session."""
        if session._state is None:
            return headers
        headers = vary_by_cookie(headers)
        if change is None:
            return headers
        session._state.if_lost = None
        cookie_header = self._cookie_header(change, environ.get("wsgi.url_scheme", "http"))
        headers = forbid_storing(set_cookie(headers, self.cookie.name, cookie_header))
        return [*headers, *session._state.removals] if session._state.removals else headers

    def _cookie_header(self, change: CookieChange, scheme: str) -> tuple[str, str]:
        if self.cookie.secure and scheme == "http" and not self._has_warned_of_http:
            self._has_warned_of_http = True
            _log.warning(
                "a Secure cookie was sent over http, and browsers will not return it except to localhost. "
                "Behind a proxy that speaks https, have the server take wsgi.url_scheme from it "
                "(gunicorn --forwarded-allow-ips, werkzeug's ProxyFix); without https, use SessionCookie(secure=False)"
            )
        return self.cookie.header(change.token, change.max_age)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._settings.store!r}, {self.cookie!r})"


def freeze(session: Session) -> None:
    """Let nothing happen to the session of a request any more, and see to one that no response has told of."""
    session._phase = FROZEN
    state = session._state
    if state is not None and state.if_lost is not None:
        state.if_lost()
        state.if_lost = None


def check_callable(name: str, value: object, kind: str) -> None:
    """Raise TypeError unless a value can be called."""
    if not callable(value):
        raise TypeError(f"{name} must be {kind}, not {type(value).__name__}")


def get_session(environ: WSGIEnvironment, name: str | None = None) -> Session:
    """Return the session of a request.

    :param name: the cookie name, where several middlewares are nested; the innermost one's otherwise.
    :raises SessionMissing: if there is none.
    """
    session = environ.get(_KEY if name is None else f"{_KEY}.{name}")
    if isinstance(session, Session):
        return session
    raise SessionMissing(
        "the environ holds no session"
        + ("" if name is None else f" of the cookie name {name!r}")
        + ": is SessionMiddleware wrapped around this app?"
    )
