"""A Django project with one page, which calls what the test gives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import django
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.test import Client
from django.urls import path

if not settings.configured:
    settings.configure(
        SECRET_KEY="of the tests",
        ALLOWED_HOSTS=["testserver"],
        ROOT_URLCONF="django_site",
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.messages",
            "django.contrib.sessions",
        ],
        MIDDLEWARE=[
            "wsgi_sessions.integrations.django.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        SESSION_ENGINE="wsgi_sessions.integrations.django",
        WSGI_SESSIONS_STORE="memory:",
        MESSAGE_STORAGE="django.contrib.messages.storage.session.SessionStorage",
        # Threads share it as long as one of them holds it open.
        DATABASES={
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "file:django_site?mode=memory&cache=shared"}
        },
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        LOGIN_URL="/login",
        USE_TZ=True,
        LOGGING_CONFIG=None,
    )
    django.setup()

Handler = Callable[[HttpRequest], Any]

# What the asynchronous page calls: its client can send text only.
asynchronous: list[Callable[[HttpRequest], Any]] = []


def page(request: HttpRequest) -> HttpResponse:
    """Call the handler that came with the request, and answer with what it returns."""
    result = request.META["tests.handler"](request)
    return result if isinstance(result, HttpResponseBase) else HttpResponse(repr(result))


async def asynchronous_page(request: HttpRequest) -> HttpResponse:
    """Await the handler that waits for it."""
    result = await asynchronous.pop()(request)
    return result if isinstance(result, HttpResponseBase) else HttpResponse(repr(result))


urlpatterns = [
    path("", page),
    path("asynchronous", asynchronous_page),
    path("members", login_required(lambda request: HttpResponse("in"))),
]


def visit(client: Client, handler: Handler = lambda request: None, **extra: Any) -> HttpResponse:
    """Request the page, which calls the handler with the request."""
    return client.get("/", **{"tests.handler": handler, **extra})


def ask(client: Client, handler: Callable[[Any], Any]) -> Any:
    """Return what the handler makes of the session during a request."""
    results = []
    visit(client, lambda request: results.append(handler(request.session)))
    return results[0]


def put(client: Client, **values: Any) -> HttpResponse:
    """Set keys of the session during a request."""
    return visit(client, lambda request: request.session.update(values))


def read(client: Client) -> dict[str, Any]:
    """Return all keys and values of the session."""
    result: dict[str, Any] = ask(client, lambda session: dict(session.items()))
    return result
