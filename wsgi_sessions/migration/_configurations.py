"""What the configuration of a Flask application, or the settings of a Django project, say of their sessions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, timedelta
from typing import Any
from zoneinfo import ZoneInfo


def flask_cookie(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a source that say how an application has set its cookie.

    >>> flask_cookie({"SESSION_COOKIE_NAME": "shop", "APPLICATION_ROOT": "/shop"})["path"]
    '/shop'
    """
    return {
        "cookie_name": config.get("SESSION_COOKIE_NAME", "session"),
        "path": config.get("SESSION_COOKIE_PATH") or config.get("APPLICATION_ROOT") or "/",
        "domain": config.get("SESSION_COOKIE_DOMAIN") or None,
        "secure": bool(config.get("SESSION_COOKIE_SECURE")),
        "partitioned": bool(config.get("SESSION_COOKIE_PARTITIONED")),
    }


def flask_lifetime(config: Mapping[str, Any]) -> timedelta:
    """Return how long a permanent session lasts: in the configuration it may be a number of seconds."""
    lifetime = config.get("PERMANENT_SESSION_LIFETIME", timedelta(days=31))
    return lifetime if isinstance(lifetime, timedelta) else timedelta(seconds=lifetime)


def django_session(settings: Any) -> dict[str, Any]:
    """Return the arguments of a source that are the same whatever the engine of a project was."""
    return {
        "serializer": "pickle" if "Pickle" in settings.SESSION_SERIALIZER else "json",
        "expire_at_browser_close": settings.SESSION_EXPIRE_AT_BROWSER_CLOSE,
        "zone": UTC if settings.USE_TZ else ZoneInfo(settings.TIME_ZONE),
        "cookie_name": settings.SESSION_COOKIE_NAME,
        "path": settings.SESSION_COOKIE_PATH,
        "domain": settings.SESSION_COOKIE_DOMAIN,
        "secure": settings.SESSION_COOKIE_SECURE,
    }


def django_keys(settings: Any) -> dict[str, Any]:
    """Return the arguments of a source that reads what a project has signed."""
    return {
        "secret_key": settings.SECRET_KEY,
        "fallbacks": settings.SECRET_KEY_FALLBACKS,
        "cookie_age": timedelta(seconds=settings.SESSION_COOKIE_AGE),
    }
