"""Bottle, bare, with our plugin, and with Beaker around it, whose save() is called as its documentation has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bottle

from benchmarks.integrations.comparison import CONTENT, Comparison
from benchmarks.integrations.kinds import FILES, MEMORY
from benchmarks.systems import Application
from wsgi_sessions import Session
from wsgi_sessions.integrations.bottle import SessionPlugin
from wsgi_sessions.stores.url import store_from_url


def comparison(kind: str, url: str, folder: Path) -> Comparison:
    """Return what is measured with a kind of store."""
    return Comparison(_app, _ours(url), lambda: _beaker(kind, folder))


def _app() -> Any:
    app = bottle.Bottle()

    @app.get("/untouched")
    def untouched() -> str:
        return "ok"

    return app


def _ours(url: str) -> Application:
    app = _app()
    app.install(SessionPlugin(store_from_url(url)))

    @app.get("/read")
    def read(session: Session) -> str:
        session["user_id"]
        return "ok"

    @app.get("/write")
    def write(session: Session) -> str:
        session["counter"] = session["counter"] + 1
        return "ok"

    @app.get("/create")
    def create(session: Session) -> str:
        session.update(CONTENT)
        return "ok"

    ours: Application = app
    return ours


def _beaker(kind: str, folder: Path) -> Application:
    from beaker.middleware import SessionMiddleware

    app = _app()

    @app.get("/read")
    def read() -> str:
        bottle.request.environ["beaker.session"]["user_id"]
        return "ok"

    @app.get("/write")
    def write() -> str:
        session = bottle.request.environ["beaker.session"]
        session["counter"] = session["counter"] + 1
        session.save()
        return "ok"

    @app.get("/create")
    def create() -> str:
        session = bottle.request.environ["beaker.session"]
        session.update(CONTENT)
        session.save()
        return "ok"

    container = {MEMORY: "memory", FILES: "file"}[kind]
    options = {"session.type": container, "session.data_dir": str(folder / "beaker"), "session.key": "id"}
    wrapped: Application = SessionMiddleware(app, options)
    return wrapped
