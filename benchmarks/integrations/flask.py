"""Flask, with a session interface that does nothing, with ours, its own signed cookie, and Flask-Session's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cachelib import FileSystemCache, SimpleCache
from flask import Flask, Request, session
from flask.sessions import NullSession, SessionInterface

from benchmarks.integrations.comparison import CONTENT, ENOUGH, KEY, Comparison
from benchmarks.integrations.kinds import FILES, MEMORY, REDIS
from benchmarks.systems import Application
from wsgi_sessions.integrations.flask import WSGISessions


def comparison(kind: str, url: str, folder: Path) -> Comparison:
    """Return what is measured with a kind of store."""
    ours = _app()
    WSGISessions(ours, url)
    return Comparison(_bare, ours.wsgi_app, lambda: _flask_session(kind, url, folder), _cookie)


class _NoSessions(SessionInterface):
    """Has one session for all requests, which takes and gives nothing: Flask does not do without one."""

    _session = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        return self._session


def _bare() -> Application:
    app = _app()
    app.session_interface = _NoSessions()
    return app.wsgi_app


def _cookie() -> Application:
    app = _app()
    app.secret_key = KEY
    return app.wsgi_app


def _flask_session(kind: str, url: str, folder: Path) -> Application:
    from flask_session import Session
    from redis import Redis

    settings: dict[str, Any] = {
        MEMORY: lambda: {"SESSION_TYPE": "cachelib", "SESSION_CACHELIB": SimpleCache(threshold=ENOUGH)},
        FILES: lambda: {"SESSION_TYPE": "cachelib", "SESSION_CACHELIB": _file_cache(folder)},
        REDIS: lambda: {"SESSION_TYPE": "redis", "SESSION_REDIS": Redis.from_url(url)},
    }[kind]()
    app = _app()
    app.config.update(settings)
    Session(app)
    return app.wsgi_app


def _file_cache(folder: Path) -> FileSystemCache:
    # Without a threshold it does not count its files in another file.
    return FileSystemCache(str(folder / "flask-session"), threshold=0)


def _app() -> Flask:
    app = Flask(__name__)
    for name, view in _VIEWS.items():
        app.add_url_rule(f"/{name}", view_func=view)
    return app


def _untouched() -> str:
    return "ok"


def _read() -> str:
    session["user_id"]
    return "ok"


def _write() -> str:
    session["counter"] = session["counter"] + 1
    return "ok"


def _create() -> str:
    session.update(CONTENT)
    return "ok"


_VIEWS = {"untouched": _untouched, "read": _read, "write": _write, "create": _create}
