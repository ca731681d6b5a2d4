"""Django, without session middleware, with ours, and with its own backends.

Its settings are those of a process, so there is one kind of store in each. Which backend and
which middleware are used a handler reads while it is made, and never again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.urls import path

from benchmarks.integrations import kinds
from benchmarks.integrations.comparison import CONTENT, ENOUGH, KEY, Comparison
from benchmarks.systems import Application

_MIDDLEWARE = "django.contrib.sessions.middleware.SessionMiddleware"
_BACKENDS = "django.contrib.sessions.backends"
_CACHES = "django.core.cache.backends"
_OURS = "wsgi_sessions.integrations.django"


def comparison(kind: str, url: str, folder: Path) -> Comparison:
    """Return what is measured with a kind of store; once in a process."""
    backend, more = _settings(kind, url, folder)
    settings.configure(SECRET_KEY=KEY, ROOT_URLCONF=__name__, USE_TZ=True, WSGI_SESSIONS_STORE=url, **more)
    django.setup()
    if kind == kinds.SQLITE:
        _create_table()
    return Comparison(
        _handler,
        _handler(_OURS, f"{_OURS}.SessionMiddleware"),
        lambda: _handler(f"{_BACKENDS}.{backend}", _MIDDLEWARE),
        lambda: _handler(f"{_BACKENDS}.signed_cookies", _MIDDLEWARE),
    )


def _settings(kind: str, url: str, folder: Path) -> tuple[str, dict[str, Any]]:
    """Return the backend of Django's for a kind of store, and the settings that it needs."""
    match kind:
        case kinds.MEMORY:
            cache = {"BACKEND": f"{_CACHES}.locmem.LocMemCache", "OPTIONS": {"MAX_ENTRIES": ENOUGH}}
            return "cache", {"CACHES": {"default": cache}}
        case kinds.REDIS:
            return "cache", {"CACHES": {"default": {"BACKEND": f"{_CACHES}.redis.RedisCache", "LOCATION": url}}}
        case kinds.FILES:
            files = folder / "django"
            files.mkdir(0o700)
            return "file", {"SESSION_FILE_PATH": str(files)}
    database = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(folder / "django.db"),
        "OPTIONS": {"init_command": "; ".join(kinds.SQLITE_SETTINGS)},
        "CONN_MAX_AGE": None,
    }
    return "db", {"INSTALLED_APPS": ["django.contrib.sessions"], "DATABASES": {"default": database}}


def _create_table() -> None:
    from django.contrib.sessions.models import Session
    from django.db import connection

    with connection.schema_editor() as editor:
        editor.create_model(Session)


def _handler(engine: str | None = None, middleware: str | None = None) -> Application:
    settings.SESSION_ENGINE = engine
    settings.MIDDLEWARE = [] if middleware is None else [middleware]
    handler: Any = WSGIHandler()
    return handler


def _untouched(request: HttpRequest) -> HttpResponse:
    return _answer()


def _read(request: HttpRequest) -> HttpResponse:
    request.session["user_id"]
    return _answer()


def _write(request: HttpRequest) -> HttpResponse:
    request.session["counter"] = request.session["counter"] + 1
    return _answer()


def _create(request: HttpRequest) -> HttpResponse:
    request.session.update(CONTENT)
    return _answer()


def _answer() -> HttpResponse:
    return HttpResponse(b"ok", content_type="text/plain")


_VIEWS = {"untouched": _untouched, "read": _read, "write": _write, "create": _create}
urlpatterns = [path(name, view) for name, view in _VIEWS.items()]
