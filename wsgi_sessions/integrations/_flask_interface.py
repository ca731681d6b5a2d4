"""What Flask calls to open and to save the session of a request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import flask
from flask.sessions import NullSession, SessionInterface, SessionMixin

from ..cookies.cookie import SessionCookie
from ..exceptions import SerializationError, SessionMissing
from ..request_sessions import RequestSessions, get_session
from ._flask_session import FlaskSession

T = TypeVar("T")


class _MissingSession(NullSession):
    """Stands for a session that nobody has begun: every use tells what is missing."""

    def _fail(self, *arguments: Any, **keywords: Any) -> Any:
        raise SessionMissing(
            "WSGISessions has no store, and no SessionMiddleware wraps the app: write WSGISessions(app, store), "
            "or set WSGI_SESSIONS_STORE before"
        )

    __getitem__ = __setitem__ = __delitem__ = __contains__ = __iter__ = __len__ = _fail
    get = pop = popitem = setdefault = update = clear = keys = values = items = copy = _fail


class Interface(SessionInterface):
    """What Flask calls: shows the session of a request, which the middleware loads and saves."""

    null_session_class = _MissingSession

    def __init__(self, sessions: RequestSessions | None) -> None:
        self._sessions = sessions

    def open_session(self, app: flask.Flask, request: flask.Request) -> FlaskSession | None:
        """Return the session of a request; Flask calls this when it pushes a context."""
        environ = request.environ
        sessions = self._of(app)
        if sessions is None:
            try:
                session = get_session(environ)
            except SessionMissing:
                return None
        else:
            found = sessions.find(environ)
            session = sessions.begin(environ) if found is None else found
            if found is None:
                session.__dict__["_is_detached"] = True
        view = FlaskSession.view(session)
        view._app = app
        return view

    def save_session(self, app: flask.Flask, session: SessionMixin, response: flask.Response) -> None:
        """Commit the session into a response; Flask calls this after the ``after_request`` functions."""
        if not isinstance(session, FlaskSession):
            return
        is_answer = session.is_loaded and response.status_code < 500
        if is_answer:
            session._end_if_cleared()
        sessions = self._of(app)
        if sessions is None or session._settings is not sessions._settings:
            return  # another one has begun it
        if session._is_detached:
            _commit_detached(sessions, session, response)
        elif is_answer and response.is_sequence:
            # Flask wraps every body, so the middleware could not tell that this one is complete.
            _converted(session, lambda: sessions.commit_early(session, response.status_code))
        elif is_answer:
            session._convert()

    def _of(self, app: flask.Flask) -> RequestSessions | None:
        """Return what begins sessions, also if the application was wrapped by hand."""
        wsgi_app: object = app.wsgi_app
        if self._sessions is None and isinstance(wsgi_app, RequestSessions):
            return wsgi_app
        return self._sessions

    def get_cookie_name(self, app: flask.Flask) -> str:
        """Return of the session cookie its name."""
        return self._cookie(app).name

    def get_cookie_domain(self, app: flask.Flask) -> str | None:
        """Return of the session cookie its domain, None for the host alone."""
        return self._cookie(app).domain

    def get_cookie_path(self, app: flask.Flask) -> str:
        """Return of the session cookie its path."""
        return self._cookie(app).path

    def get_cookie_httponly(self, app: flask.Flask) -> bool:
        """Return of the session cookie whether scripts cannot see it."""
        return self._cookie(app).http_only

    def get_cookie_secure(self, app: flask.Flask) -> bool:
        """Return of the session cookie whether it goes over https only."""
        return self._cookie(app).secure

    def get_cookie_samesite(self, app: flask.Flask) -> str | None:
        """Return of the session cookie its SameSite."""
        return self._cookie(app).same_site

    def get_cookie_partitioned(self, app: flask.Flask) -> bool:
        """Return of the session cookie whether it is partitioned."""
        return self._cookie(app).partitioned

    def _cookie(self, app: flask.Flask) -> SessionCookie:
        sessions = self._of(app)
        return SessionCookie() if sessions is None else sessions.cookie

    def regenerate(self, session: FlaskSession) -> None:
        """Give the session a new token, as Flask-Session's method of this name does; see ``cycle_id``."""
        session.cycle_id()


def _commit_detached(sessions: RequestSessions, session: FlaskSession, response: flask.Response) -> None:
    before, environ, status = response.headers.to_wsgi_list(), flask.request.environ, response.status_code
    response.headers[:] = _converted(
        session, lambda: sessions.commit(session, environ, status, before, body_is_complete=True)
    )


def _converted(session: FlaskSession, commit: Callable[[], T]) -> T:
    """Commit; if something cannot be stored that Flask would have converted, convert it before."""
    try:
        return commit()
    except SerializationError:
        if not session._convert():
            raise
        return commit()
