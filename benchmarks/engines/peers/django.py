"""Django's own sessions: its WSGI handler with SessionMiddleware and nothing else, and once without it.

Its settings are those of a process, so there is one of these in each.
"""

from __future__ import annotations

from typing import Any

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.urls import path

from benchmarks.engines.peer import SCENARIOS, Peer
from benchmarks.payload import small

_SMALL = small()
_MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware"]


def database_peer(database: dict[str, Any]) -> Peer:
    """Return it with sessions in a database, whose connection is kept.

    :param database: as in DATABASES. Its table is made.
    """
    _configure(
        INSTALLED_APPS=["django.contrib.sessions"],
        SESSION_ENGINE="django.contrib.sessions.backends.db",
        DATABASES={"default": {**database, "CONN_MAX_AGE": None}},
    )
    from django.contrib.sessions.models import Session
    from django.db import connection

    with connection.schema_editor() as editor:
        editor.create_model(Session)
    return _peer()


def cache_peer(backend: str, location: str) -> Peer:
    """Return it with sessions in a cache."""
    _configure(
        SESSION_ENGINE="django.contrib.sessions.backends.cache",
        CACHES={"default": {"BACKEND": backend, "LOCATION": location}},
    )
    return _peer()


def _configure(**more: Any) -> None:
    settings.configure(
        SECRET_KEY="an example of a key, and no secret: 9f3c1b7e2d5a",
        ROOT_URLCONF=__name__,
        MIDDLEWARE=[],
        USE_TZ=True,
        **more,
    )
    django.setup()


def _peer() -> Peer:
    pages: dict[str, Any] = {"bare": _handler([])}
    with_sessions = _handler(_MIDDLEWARE)
    return Peer("Django", {**pages, **dict.fromkeys(SCENARIOS, with_sessions)})


def _handler(middleware: list[str]) -> WSGIHandler:
    # Read while a handler is made, and never again.
    settings.MIDDLEWARE = middleware
    return WSGIHandler()


def _bare(request: HttpRequest) -> HttpResponse:
    return _answer()


def _read(request: HttpRequest) -> HttpResponse:
    request.session["user_id"]
    return _answer()


def _write(request: HttpRequest) -> HttpResponse:
    request.session["counter"] = request.session["counter"] + 1
    return _answer()


def _create(request: HttpRequest) -> HttpResponse:
    request.session.update(_SMALL)
    return _answer()


def _answer() -> HttpResponse:
    return HttpResponse(b"ok", content_type="text/plain")


urlpatterns = [path("bare", _bare), path("read", _read), path("write", _write), path("create", _create)]
