"""Flask: ``flask.session`` is our session.

``WSGISessions(app, store)`` is all it takes::

    from flask import Flask, session
    from wsgi_sessions import SQLiteStore
    from wsgi_sessions.integrations.flask import WSGISessions

    app = Flask(__name__)
    WSGISessions(app, SQLiteStore("sessions.db"))

An application that runs behind a SessionMiddleware already needs only ``WSGISessions(app)``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

try:
    import flask
    from werkzeug.exceptions import HTTPException
except ImportError as error:
    raise ImportError("the integration needs Flask: pip install wsgi-sessions[flask]") from error

from ..cookies.cookie import SessionCookie
from ..expiry import Expiry
from ..legacy import LegacySource
from ..middleware import SessionMiddleware
from ..record import Record
from ..settings import MAX_PAYLOAD
from ..stores.base import SessionStore
from ._buckets import View, inject_bucket
from ._flask_commands import sessions_commands
from ._flask_config import checked_store, cookie_of, expiry_of, store_of
from ._flask_interface import Interface
from ._flask_session import FlaskSession
from ._without_store import refuse_without_store

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["FlaskSession", "WSGISessions", "with_bucket"]


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
    :raises ValueError: if a value, or the configuration, makes no sense, or the app was given to one before.
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
        legacy: Sequence[LegacySource] = (),
        retire: str = "delete",
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
            "legacy": legacy,
            "retire": retire,
        }
        self._middlewares: list[SessionMiddleware] = []
        if app is not None:
            self.init_app(app)

    @property
    def legacy_counts(self) -> dict[tuple[str, str], int]:
        """How many legacy sessions this process has taken over, and why it has not others, by system and reason."""
        counts: Counter[tuple[str, str]] = Counter()
        for middleware in self._middlewares:
            counts.update(middleware.legacy_counts)
        return dict(counts)

    def init_app(self, app: flask.Flask, store: SessionStore | str | None = None) -> None:
        """Give an application its sessions; its configuration is read now.

        :param store: for this application, in place of the constructor's.
        :raises TypeError: if there is no store, and an argument that has no effect without one.
        """
        if isinstance(app.session_interface, Interface):
            raise ValueError("this app has been given to WSGISessions before")
        found = self._store if store is None else store
        found = store_of(app) if found is None else checked_store(found)
        sessions = None
        if found is None:
            refuse_without_store(
                {"cookie": self._cookie, "signed": self._signed, "expiry": self._expiry, **self._options},
                "write WSGISessions(app, store, ...), set WSGI_SESSIONS_STORE before",
            )
        else:
            sessions = SessionMiddleware(
                app.wsgi_app,
                found,
                cookie=cookie_of(app, self._signed) if self._cookie is None else self._cookie,
                expiry=expiry_of(app) if self._expiry is None else self._expiry,
                **self._options,
            )
            self._middlewares.append(sessions)
            app.wsgi_app = sessions  # type: ignore[method-assign]  # as Flask's documentation tells one to
            app.cli.add_command(sessions_commands(found))
        app.session_interface = Interface(sessions)


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
