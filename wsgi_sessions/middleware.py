"""The middleware: a WSGI application whose requests have sessions, and sessions outside of requests."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from .cookies.cookie import SessionCookie
from .exceptions import RecordNotFound, StoreError
from .expiry import Expiry, KeptEnd
from .legacy import LegacySource
from .mapping import FROZEN, HEAD_SENT
from .presented import Presented, Standing, load_live
from .record import Record, UnknownSchema
from .request_sessions import OUTAGE, RequestSessions, check_callable, freeze, get_session
from .response import Headers, HeldResponse
from .saving import persist
from .session import Session
from .settings import MAX_PAYLOAD, Settings
from .state import State
from .stores.base import SessionStore
from .token import SessionToken

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["OpenSession", "SessionMiddleware", "get_session", "open_session"]

_log = logging.getLogger("wsgi_sessions")


class SessionMiddleware(RequestSessions):
    """Gives every request of a WSGI application its visitor's session.

    The application finds it with :func:`get_session`. Wrap last, around the
    finished application: ``app.wsgi_app = SessionMiddleware(app.wsgi_app, store)``.

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
    :param legacy: other libraries whose sessions are taken over as their visitors come; see ``docs/migrating.rst``.
    :param retire: what becomes of theirs: ``"delete"``, or ``"keep"`` as long as they may be put back into service.
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
        max_payload: int = MAX_PAYLOAD,
        error_app: WSGIApplication | None = None,
        sweep_every: timedelta | None = None,
        on_deleted: Callable[[list[Record]], object] | None = None,
        legacy: Sequence[LegacySource] = (),
        retire: str = "delete",
    ) -> None:
        check_callable("app", app, "a WSGI application")
        self.app = app
        super().__init__(
            store,
            cookie=cookie,
            expiry=expiry,
            max_lifetime=max_lifetime,
            always_save=always_save,
            max_payload=max_payload,
            error_app=error_app,
            sweep_every=sweep_every,
            on_deleted=on_deleted,
            legacy=legacy,
            retire=retire,
        )

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Handle one request (PEP 3333)."""
        if self._named_key in environ and self.find(environ) is not None:
            # Whoever has begun it will commit it.
            return self.app(environ, start_response)
        return _SessionResponse(environ, start_response, session=self.begin(environ), middleware=self).run(self.app)

    def __getattr__(self, name: str) -> Any:
        message = f"SessionMiddleware has no attribute {name!r}"
        app = self.__dict__.get("app")
        if hasattr(app, name):
            kind = type(app).__name__
            message += (
                f", but the {kind} inside of it has. Keep two names: app = {kind}(...) for all that is done with the "
                "application, and application = SessionMiddleware(app, store) for the server alone"
            )
        raise AttributeError(message, name=name, obj=self)


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
        if session._committed is not None:
            return self.middleware.announce_early(session, self.environ, int(status[:3]), headers)
        return self.middleware.commit(
            session, self.environ, int(status[:3]), headers, body_is_complete=body_is_complete
        )

    def is_settled(self) -> bool:
        return self.session._committed is not None

    def before_replacement(self, headers: Headers) -> Headers:
        return self.middleware.commit_replacement(self.session, self.environ, headers)

    def after_body(self) -> None:
        if self.status is not None:
            self.middleware.end(self.session, int(self.status[:3]))

    def end(self) -> None:
        if self.session._state is None:
            # Most requests; this is faster.
            self.session._phase = FROZEN
        else:
            freeze(self.session)

    def instead_of(self, error: Exception) -> WSGIApplication | None:
        if not isinstance(error, StoreError):
            return None
        _log.error(OUTAGE, exc_info=error)
        return self.middleware.error_app


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
    max_payload: int = MAX_PAYLOAD,
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
