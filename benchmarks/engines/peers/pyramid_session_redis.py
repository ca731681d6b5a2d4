"""pyramid_session_redis: an application of Pyramid with it, and the same one without any session."""

from __future__ import annotations

import warnings
from typing import Any

with warnings.catch_warnings():
    # Pyramid uses a part of setuptools that wants to be used no longer.
    warnings.simplefilter("ignore", UserWarning)
    from pyramid.config import Configurator
    from pyramid.request import Request
    from pyramid.response import Response
    from pyramid_session_redis import RedisSessionFactory

from benchmarks.engines.peer import SCENARIOS, Peer
from benchmarks.payload import small

_SMALL = small()


def peer(url: str) -> Peer:
    """Return it with its defaults."""
    factory = RedisSessionFactory(secret="an example of a key, and no secret: 9f3c1b7e2d5a", redis_url=url)
    return Peer("pyramid_session_redis", {"bare": _app(None), **dict.fromkeys(SCENARIOS, _app(factory))})


def _app(factory: Any) -> Any:
    config = Configurator(session_factory=factory)
    for name, view in {"bare": _bare, "read": _read, "write": _write, "create": _create}.items():
        config.add_route(name, f"/{name}")
        config.add_view(view, route_name=name)
    return config.make_wsgi_app()


def _bare(request: Request) -> Response:
    return Response("ok")


def _read(request: Request) -> Response:
    request.session["user_id"]
    return Response("ok")


def _write(request: Request) -> Response:
    request.session["counter"] = request.session["counter"] + 1
    return Response("ok")


def _create(request: Request) -> Response:
    request.session.update(_SMALL)
    return Response("ok")
