"""Flask: ``flask.session`` is our session.

``WSGISessions(app, store)`` is all it takes::

    from flask import Flask, session
    from wsgi_sessions import SQLiteStore
    from wsgi_sessions.integrations.flask import WSGISessions

    app = Flask(__name__)
    WSGISessions(app, SQLiteStore("/var/lib/app/sessions.db"))

An application that runs behind a SessionMiddleware already needs only ``WSGISessions(app)``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

try:
    import flask
    from flask.sessions import SessionInterface, SessionMixin
    from werkzeug.exceptions import HTTPException
except ImportError as error:
    raise ImportError("the integration needs Flask: pip install wsgi-sessions[flask]") from error

from ..cookies.cookie import SessionCookie
from ..exceptions import SessionMissing
from ..expiry import Expiry
from ..mapping import OPEN
from ..middleware import SessionMiddleware
from ..record import Record
from ..request_sessions import RequestSessions, get_session
from ..session import Session
from ..settings import MAX_PAYLOAD
from ..stores.base import SessionStore
from ._buckets import View, inject_bucket
from ._flask_commands import sessions_commands
from ._flask_config import browser_session_expiry, checked_store, cookie_of, expiry_of, permanent_expiry, store_of

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class FlaskSession(Session, SessionMixin):
    """The session as ``flask.session``, with the attributes that Flask documents."""

    # Both are set on the session itself, which outlives its views.
    _app: flask.Flask
    #: No middleware will commit it: a test's, or that of a request context without a request.
    _is_detached = False
    _is_marked = False

    @property
    def new(self) -> bool:  # type: ignore[override]  # Flask has an attribute there
        """Whether the visitor presented no live session."""
        return self.is_new

    @property
    def accessed(self) -> bool:
        """Whether the response may depend on it; then it has ``Vary: Cookie``.

        Flask sets it when ``flask.session`` is touched; nothing is read for that. It cannot be taken back.
        """
        return self._state is not None

    @accessed.setter
    def accessed(self, accessed: bool) -> None:
        if accessed and self._state is None and self._phase == OPEN:
            self._mark_accessed()

    @property
    def modified(self) -> bool:
        """Whether there is anything to save.

        Changes are noticed, also inside of lists and dictionaries, so nobody has to set it. Set to False it
        forgets what was changed so far.
        """
        return self._is_marked or self.is_modified

    @modified.setter
    def modified(self, modified: bool) -> None:
        self._is_marked = bool(modified)
        if not modified:
            self._revert()

    @property
    def permanent(self) -> bool:
        """Whether it outlives the browser.

        Then it ends PERMANENT_SESSION_LIFETIME after its last use.
        """
        return self.expiry.persistent

    @permanent.setter
    def permanent(self, permanent: bool) -> None:
        if bool(permanent) == self._settings.expiry.persistent:
            self.expiry = None  # the default again
        else:
            self.expiry = permanent_expiry(self._app) if permanent else browser_session_expiry(self._app)

    @property
    def sid(self) -> str | None:
        """The public id, under Flask-Session's name for it. Here it opens no session."""
        return self.id

    def clear(self) -> None:
        """Start over, as Flask's applications expect at login and logout.

        What is stored afterwards goes with a new token; if nothing is, the session ends with the response.
        """
        super().clear()
        if self.owner is not None:
            self.owner = None
        self.expiry = None  # the default again
        if self._phase == OPEN:
            self.cycle_id()

    def _end_if_emptied(self) -> None:
        """End a session that holds nothing any more, as Flask does; what another request has added stays."""
        if self.is_loaded and not len(self) and self.owner is None and not self.is_new and self.is_modified:
            self.save()
            if not len(self):
                self.flush()


class WSGISessions:
    """Gives a Flask application our sessions.

    :param app: None if it comes later, with :meth:`init_app`.
    :param store: where sessions are kept, or its URL; without one what the configuration says
        (``WSGI_SESSIONS_STORE``, or Flask-Session's ``SESSION_TYPE``), or that of a SessionMiddleware around the app.
    :param cookie: in place of what the ``SESSION_COOKIE_*`` say.
    :param signed: sign the cookie with ``SECRET_KEY``, and read what ``SECRET_KEY_FALLBACKS`` signed.
    :param expiry: in place of what ``PERMANENT_SESSION_LIFETIME`` says for sessions that are not permanent.
    :param max_lifetime: as for SessionMiddleware, like all that follow.
    :raises TypeError: if an argument is of a wrong type.
    :raises ValueError: if a value, or the configuration, makes no sense.
    """

    def __init__(
        self,
        app: flask.Flask | None = None,
        store: SessionStore | str | None = None,
        *,
        cookie: SessionCookie | None = None,
        signed: bool | None = None,
        expiry: Expiry | None = None,
        max_lifetime: timedelta | None = None,
        always_save: bool = False,
        max_payload: int = MAX_PAYLOAD,
        error_app: WSGIApplication | None = None,
        sweep_every: timedelta | None = None,
        on_deleted: Callable[[list[Record]], object] | None = None,
    ) -> None:
        if cookie is not None and signed:
            raise TypeError("either cookie or signed: write cookie=SignedCookie(keys) for keys of its own")
        self._store = store
        self._cookie = cookie
        self._signed = signed
        self._expiry = expiry
        self._options: dict[str, Any] = {
            "max_lifetime": max_lifetime,
            "always_save": always_save,
            "max_payload": max_payload,
            "error_app": error_app,
            "sweep_every": sweep_every,
            "on_deleted": on_deleted,
        }
        if app is not None:
            self.init_app(app)

    def init_app(self, app: flask.Flask, store: SessionStore | str | None = None) -> None:
        """Give an application its sessions; its configuration is read now.

        :param store: for this application, in place of the constructor's.
        """
        found = self._store if store is None else store
        found = store_of(app) if found is None else checked_store(found)
        sessions = None
        if found is not None:
            signed = bool(app.config.get("SESSION_USE_SIGNER")) if self._signed is None else self._signed
            sessions = SessionMiddleware(
                app.wsgi_app,
                found,
                cookie=cookie_of(app, signed) if self._cookie is None else self._cookie,
                expiry=expiry_of(app) if self._expiry is None else self._expiry,
                **self._options,
            )
            app.wsgi_app = sessions  # type: ignore[method-assign]  # as Flask's documentation tells one to
            app.cli.add_command(sessions_commands(found))
        app.session_interface = _Interface(sessions)


class _Interface(SessionInterface):
    """What Flask calls: shows the session of a request, which the middleware loads and saves."""

    def __init__(self, sessions: RequestSessions | None) -> None:
        self._sessions = sessions

    def open_session(self, app: flask.Flask, request: flask.Request) -> FlaskSession:
        sessions = self._sessions
        if sessions is None:
            session = _around(request)
        else:
            found = sessions.find(request.environ)
            session = sessions.begin(request.environ) if found is None else found
            if found is None:
                session.__dict__["_is_detached"] = True
        view = FlaskSession.view(session)
        view._app = app
        return view

    def save_session(self, app: flask.Flask, session: SessionMixin, response: flask.Response) -> None:
        if not isinstance(session, FlaskSession):
            return
        is_answer = session.is_loaded and response.status_code < 500
        if is_answer:
            session._end_if_emptied()
        sessions = self._sessions
        if sessions is None or session._settings is not sessions._settings:
            return  # another one has begun it
        # Flask wraps every body, so the middleware could not tell that one is complete.
        if session._is_detached or (is_answer and response.is_sequence):
            before = response.headers.to_wsgi_list()
            after = sessions.commit_early(session, flask.request.environ, response.status_code, before)
            if after is not before:
                response.headers[:] = after
        if session._is_detached:
            sessions.end(session)

    def regenerate(self, session: FlaskSession) -> None:
        """Give the session a new token, as Flask-Session's method of this name does; see ``cycle_id``."""
        session.cycle_id()


def _around(request: flask.Request) -> Session:
    """Return the session of the middleware around an application that has no store of its own."""
    try:
        return get_session(request.environ)
    except SessionMissing:
        raise SessionMissing(
            "WSGISessions has no store, and no SessionMiddleware wraps the app: write WSGISessions(app, store), "
            "or set WSGI_SESSIONS_STORE before"
        ) from None


def with_bucket(kind: type[Any], name: str | None = None, *, parameter: str | None = None) -> Callable[[View], View]:
    """Give a view a typed part of its session: a dataclass, TypedDict or Struct, stored if the view changes it.

    The parameter is the one that is annotated with the type::

        @app.get("/")
        @with_bucket(Guest)
        def index(guest: Guest): ...

    It is also stored when the view answers with ``abort()``, but not when it fails.

    :param name: the key in the session; the qualified name of the type unless given.
    :param parameter: its name, if not by annotation.
    :raises TypeError: if the view has no such parameter.
    """
    return inject_bucket(kind, name, parameter, find_session=lambda arguments: flask.session, answers=(HTTPException,))
