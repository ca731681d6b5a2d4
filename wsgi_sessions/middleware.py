"""The middleware: what one request does with its session."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from werkzeug.exceptions import ServiceUnavailable

from .commit import CookieChange, commit, commit_late
from .cookies.cookie import SessionCookie
from .exceptions import RecordNotFound, SessionMissing, StoreError
from .expiry import Expiry, KeptEnd, OnSessionEnd
from .headers import forbid_storing, set_cookie, vary_by_cookie
from .mapping import FROZEN, HEAD_SENT
from .presented import Presented, Standing, load_live
from .record import Record, UnknownSchema
from .response import Headers, HeldResponse
from .saving import persist
from .session import Session
from .settings import Settings
from .state import State
from .stores.base import SessionStore, renew_after_fork
from .sweeper import Sweeper
from .token import SessionToken

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_log = logging.getLogger("wsgi_sessions")

_KEY = "wsgi_sessions.session"
_MAX_PAYLOAD = 65536
_RETRY_AFTER_SECONDS = 5


class SessionMiddleware:
    """Gives every request of a WSGI application its visitor's session.

    The application finds it with :func:`get_session`. Wrap last, around the
    finished application: ``app.wsgi_app = SessionMiddleware(app.wsgi_app, store)`` in Flask.

    :param app: the application to wrap; it is called with the very environ of the request.
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
    :raises TypeError: if an argument is of a wrong type.
    :raises ValueError: if a limit is not positive, or ``on_deleted`` has no ``sweep_every``.
    """

    def __init__(
        self,
        app: WSGIApplication,
        store: SessionStore,
        *,
        cookie: SessionCookie | None = None,
        expiry: Expiry | None = None,
        max_lifetime: timedelta | None = None,
        always_save: bool = False,
        max_payload: int = _MAX_PAYLOAD,
        error_app: WSGIApplication | None = None,
        sweep_every: timedelta | None = None,
        on_deleted: Callable[[list[Record]], object] | None = None,
    ) -> None:
        _check_callable("app", app, "a WSGI application")
        if error_app is not None:
            _check_callable("error_app", error_app, "a WSGI application")
        if on_deleted is not None:
            _check_callable("on_deleted", on_deleted, "a function")
            if sweep_every is None:
                raise ValueError("on_deleted is called by the sweeper: give sweep_every too")
        if not isinstance(always_save, bool):
            raise TypeError(f"always_save must be True or False, not {type(always_save).__name__}")
        self.app = app
        self.cookie = SessionCookie() if cookie is None else cookie
        self._settings = Settings(
            store,
            cookie=self.cookie,
            expiry=OnSessionEnd() if expiry is None else expiry,
            max_lifetime=max_lifetime,
            always_save=always_save,
            max_payload=max_payload,
        )
        self._error_app = ServiceUnavailable(retry_after=_RETRY_AFTER_SECONDS) if error_app is None else error_app
        self._sweeper = None if sweep_every is None else Sweeper(store, sweep_every, on_deleted=on_deleted)
        self._named_key = f"{_KEY}.{self.cookie.name}"
        self._is_started = False
        self._has_warned_of_http = False
        renew_after_fork(self)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Handle one request (PEP 3333)."""
        if not self._is_started:
            self._start(environ)
        if self._named_key in environ and environ[self._named_key]._phase != FROZEN:
            return self._join(environ[self._named_key], environ, start_response)
        session = Session(self._settings, environ.get("HTTP_COOKIE", ""))
        environ[_KEY] = environ[self._named_key] = session
        return _SessionResponse(environ, start_response, session=session, middleware=self).run(self.app)

    def close(self) -> None:
        """Stop the sweeper of this process, if ``sweep_every`` was given; the next request starts it again.

        A server need not call this: the thread does not keep a process from ending.
        """
        if self._sweeper is not None:
            self._sweeper.stop()
        self._is_started = False

    def _join(self, outer: Session, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Leave the request to the middleware around this one: one name, one store, one session."""
        if outer._settings.store is not self._settings.store:
            raise ValueError(
                f"two SessionMiddleware with different stores use the cookie name {self.cookie.name!r}: "
                "give one of them SessionCookie('another name')"
            )
        environ[_KEY] = outer
        return self.app(environ, start_response)

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


def _check_callable(name: str, value: object, kind: str) -> None:
    if not callable(value):
        raise TypeError(f"{name} must be {kind}, not {type(value).__name__}")


class _SessionResponse(HeldResponse, eq=False, kw_only=True):
    """The response to one request: commits its session when the head leaves."""

    session: Session
    middleware: SessionMiddleware

    def before_head(self, status: str, headers: Headers, body_is_complete: bool) -> Headers:
        session = self.session
        if session._state is None and not session._settings.always_save:
            session._phase = FROZEN if body_is_complete else HEAD_SENT
            return headers
        if not isinstance(headers, list):
            raise TypeError(f"response headers must be a list, not {type(headers).__name__} (PEP 3333)")
        code = int(status[:3])
        if code >= 500 and session._state is not None and session._state.store_failed:
            raise StoreError("the application answered a store error with a server error")
        change = commit(session, code, FROZEN if body_is_complete else HEAD_SENT)
        return self._with_session(headers, change)

    def before_replacement(self, headers: Headers) -> Headers:
        # What save() or flush() made durable before the failure is announced all the same.
        # An error_app may start late, when the session is frozen already.
        return self._with_session(headers, commit(self.session, 503, max(self.session._phase, HEAD_SENT)))

    def _with_session(self, headers: Headers, change: CookieChange | None) -> Headers:
        """Return the headers with what a response needs that may depend on its session."""
        if self.session._state is None:
            return headers
        headers = vary_by_cookie(headers)
        if change is None:
            return headers
        cookie_header = self.middleware._cookie_header(change, self.environ.get("wsgi.url_scheme", "http"))
        return forbid_storing(set_cookie(headers, self.middleware.cookie.name, cookie_header))

    def after_body(self) -> None:
        if self.status is not None:
            commit_late(self.session, int(self.status[:3]))

    def end(self) -> None:
        self.session._phase = FROZEN

    def instead_of(self, error: Exception) -> WSGIApplication | None:
        if not isinstance(error, StoreError):
            return None
        _log.error("a request was answered 503: its session could not be read or stored", exc_info=error)
        return self.middleware._error_app


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


class OpenSession(Session):
    """A session outside of a request; only here can the token of a new one be learned."""

    @property
    def token(self) -> SessionToken | None:
        """The token, once saved, if it was made here; the secret of one that exists is not known to anybody."""
        return None if self._state is None else self._state.token

    def _adopt(self, presented: Presented) -> None:
        self._state = State(self._settings)
        self._state.adopt(presented)

    def _store_changes(self) -> None:
        state = self._state
        if state is None or not state.is_loaded:
            return
        with state.lock:
            persist(state)
            if state.standing is Standing.CLOSED:
                raise RecordNotFound("the session was ended or taken over while it was open; the changes are lost")


@contextmanager
def open_session(
    store: SessionStore,
    id: str | None = None,
    *,
    expiry: Expiry | None = None,
    max_lifetime: timedelta | None = None,
    max_payload: int = _MAX_PAYLOAD,
) -> Iterator[OpenSession]:
    """Open a session outside of a request: in a job, for single sign-on, in a test.

    What was changed is stored on a clean exit, or by ``save()``; after an exception nothing is.

    :param id: the public id of a stored session; a new one otherwise.
    :param expiry: gives a stored session that has no policy of its own another end when it is used;
        without it the stored end stays, and a new session ends like with OnSessionEnd().
    :raises RecordNotFound: if there is no live session of that id, or no more when it is stored.
    :raises StoreError: if the store failed.
    """
    settings = Settings(
        store,
        cookie=None,
        expiry=KeptEnd() if expiry is None else expiry,
        max_lifetime=max_lifetime,
        always_save=False,
        max_payload=max_payload,
    )
    session = OpenSession(settings, "")
    if id is not None:
        session._adopt(_find(settings, id))
    try:
        yield session
        session._store_changes()
    finally:
        session._phase = FROZEN


def _find(settings: Settings, id: str) -> Presented:
    try:
        found = load_live(settings, id)
    except UnknownSchema as error:
        raise StoreError(f"session {id} is not for this version: {error}") from error
    if found is None:
        raise RecordNotFound(f"no live session {id!r}")
    return Presented(*found)
