"""Flask-Session: an application of Flask with it, and the same one without any session."""

from __future__ import annotations

from typing import Any

from flask import Flask, session
from flask_session import Session

from benchmarks.engines.peer import SCENARIOS, Peer
from benchmarks.payload import small

_SMALL = small()


def sqlalchemy_peer(url: str) -> Peer:
    """Return it with sessions in a database, through Flask-SQLAlchemy. It makes its table itself."""
    from flask_sqlalchemy import SQLAlchemy

    app = _app()
    app.config.update(SESSION_TYPE="sqlalchemy", SQLALCHEMY_DATABASE_URI=url)
    app.config["SESSION_SQLALCHEMY"] = SQLAlchemy(app)
    return _peer(app)


def redis_peer(url: str) -> Peer:
    """Return it with sessions in Redis."""
    from redis import Redis

    app = _app()
    app.config.update(SESSION_TYPE="redis", SESSION_REDIS=Redis.from_url(url))
    return _peer(app)


def memcached_peer(client: Any) -> Peer:
    """Return it with sessions in Memcached, through a client that it does not choose."""
    app = _app()
    app.config.update(SESSION_TYPE="memcached", SESSION_MEMCACHED=client)
    return _peer(app)


def _peer(app: Flask) -> Peer:
    Session(app)
    return Peer("Flask-Session", {"bare": _app().wsgi_app, **dict.fromkeys(SCENARIOS, app.wsgi_app)})


def _app() -> Flask:
    app = Flask(__name__)

    @app.get("/bare")
    def bare() -> str:
        return "ok"

    @app.get("/read")
    def read() -> str:
        session["user_id"]
        return "ok"

    @app.get("/write")
    def write() -> str:
        session["counter"] = session["counter"] + 1
        return "ok"

    @app.get("/create")
    def create() -> str:
        session.update(_SMALL)
        return "ok"

    return app
