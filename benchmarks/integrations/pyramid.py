"""Pyramid, without a session factory, with ours, its own signed cookie, and pyramid_session_redis."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

with warnings.catch_warnings():
    # Pyramid uses a part of setuptools that wants to be used no longer.
    warnings.simplefilter("ignore", UserWarning)
    from pyramid.config import Configurator
    from pyramid.request import Request
    from pyramid.response import Response
    from pyramid.session import JSONSerializer, SignedCookieSessionFactory

from benchmarks.integrations.comparison import CONTENT, KEY, Comparison
from benchmarks.integrations.kinds import REDIS
from benchmarks.systems import Application


def comparison(kind: str, url: str, folder: Path) -> Comparison:
    """Return what is measured with a kind of store."""
    ours = Configurator(settings={"wsgi_sessions.store": url})
    ours.include("wsgi_sessions.integrations.pyramid")
    peer = (lambda: _session_redis(url)) if kind == REDIS else None
    return Comparison(lambda: _app(Configurator()), _app(ours), peer, _cookie)


def _cookie() -> Application:
    return _app(Configurator(session_factory=SignedCookieSessionFactory(KEY, serializer=JSONSerializer())))


def _session_redis(url: str) -> Application:
    from pyramid_session_redis import RedisSessionFactory

    return _app(Configurator(session_factory=RedisSessionFactory(secret=KEY, redis_url=url)))


def _app(config: Configurator) -> Application:
    for name, view in _VIEWS.items():
        config.add_route(name, f"/{name}")
        config.add_view(view, route_name=name)
    app: Any = config.make_wsgi_app()
    return app


def _untouched(request: Request) -> Response:
    return Response("ok")


def _read(request: Request) -> Response:
    request.session["user_id"]
    return Response("ok")


def _write(request: Request) -> Response:
    request.session["counter"] = request.session["counter"] + 1
    return Response("ok")


def _create(request: Request) -> Response:
    request.session.update(CONTENT)
    return Response("ok")


_VIEWS = {"untouched": _untouched, "read": _read, "write": _write, "create": _create}
