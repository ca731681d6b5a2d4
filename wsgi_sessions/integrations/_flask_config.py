"""What a Flask application's configuration says about sessions: Flask's own settings, and Flask-Session's."""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask

from ..cookies.cookie import SessionCookie
from ..cookies.keys import check_keys
from ..cookies.signed import SignedCookie
from ..expiry import OnInactivity, OnSessionEnd
from ..stores.base import SessionStore
from ..stores.cachelib import CachelibStore
from ..stores.file import FileStore
from ..stores.url import store_from_url

# Flask's name, ours.
_COOKIE_ATTRIBUTES = {
    "SESSION_COOKIE_NAME": "name",
    "SESSION_COOKIE_DOMAIN": "domain",
    "SESSION_COOKIE_HTTPONLY": "http_only",
    "SESSION_COOKIE_SECURE": "secure",
    "SESSION_COOKIE_SAMESITE": "same_site",
    "SESSION_COOKIE_PARTITIONED": "partitioned",
}


def cookie_of(app: Flask, signed: bool | None) -> SessionCookie:
    """Return the cookie that an application is configured to have.

    :param signed: with ``SECRET_KEY``; ``SECRET_KEY_FALLBACKS`` are still read. None for what ``SESSION_USE_SIGNER``
        says.
    :raises TypeError: if a key is neither ``str`` nor ``bytes``.
    :raises ValueError: if a browser would drop the cookie, or there is no good key.
    """
    config, defaults = app.config, Flask.default_config
    # What is as Flask has it was not chosen by anybody.
    attributes = {
        ours: config[name]
        for name, ours in _COOKIE_ATTRIBUTES.items()
        if name in defaults and config[name] != defaults[name]
    }
    if "domain" in attributes:
        # False was Flask's word for none.
        attributes["domain"] = attributes["domain"].lstrip(".") if attributes["domain"] else None
    path = config["SESSION_COOKIE_PATH"] or config["APPLICATION_ROOT"]
    if not (bool(config.get("SESSION_USE_SIGNER")) if signed is None else signed):
        return SessionCookie(**attributes, path=path)
    asked = (
        ("SESSION_USE_SIGNER", "remove SESSION_USE_SIGNER") if signed is None else ("signed=True", "leave signed out")
    )
    return SignedCookie(_keys(app, *asked), **attributes, path=path)


def _keys(app: Flask, asks: str, remedy: str) -> list[str | bytes]:
    """Return the keys of an application, oldest first.

    :param asks: what wants the cookie signed, and how to do without; this and the next, for errors.
    """
    if not app.secret_key:
        raise ValueError(f"{asks} needs SECRET_KEY: set it before WSGISessions gets the app, or {remedy}")
    _check_key(app.secret_key, "SECRET_KEY", f"{asks} signs the cookie with SECRET_KEY", remedy)
    fallbacks = list(app.config.get("SECRET_KEY_FALLBACKS") or ())
    for position, key in enumerate(fallbacks):
        name = f"SECRET_KEY_FALLBACKS[{position}]"
        _check_key(key, name, f"{asks} has cookies read that were signed with {name}", remedy)
    # Flask lists the most recent of the old ones first.
    return [*reversed(fallbacks), app.secret_key]


def _check_key(key: str | bytes, name: str, use: str, remedy: str) -> None:
    """Refuse a key that is good enough for Flask only, by the name of its setting: there it is not one of a list."""
    try:
        check_keys([key])
    except TypeError as error:
        raise TypeError(str(error).replace("keys[0]", name)) from None
    except ValueError as error:
        why = str(error).removeprefix("keys[0] is ").partition(":")[0]
        raise ValueError(f"{use}, which is too weak for that ({why}): {remedy}, the token needs no signature") from None


def expiry_of(app: Flask) -> OnInactivity | OnSessionEnd:
    """Return when the sessions end that nobody has called permanent."""
    if "SESSION_TYPE" in app.config and app.config.get("SESSION_PERMANENT", True):
        # Flask-Session's default.
        return permanent_expiry(app)
    return browser_session_expiry(app)


def permanent_expiry(app: Flask) -> OnInactivity:
    """Return when a permanent session ends: PERMANENT_SESSION_LIFETIME after its last use."""
    lifetime = app.permanent_session_lifetime
    return OnInactivity(lifetime) if _refreshes(app) else OnInactivity(lifetime, touch_every=None)


def browser_session_expiry(app: Flask) -> OnSessionEnd:
    """Return when a session ends that is not permanent.

    Flask accepts no cookie that is older than PERMANENT_SESSION_LIFETIME, whatever the browser still keeps.
    """
    lifetime = app.permanent_session_lifetime
    if lifetime == Flask.default_config["PERMANENT_SESSION_LIFETIME"]:
        lifetime = OnSessionEnd().ttl
    return OnSessionEnd(lifetime) if _refreshes(app) else OnSessionEnd(lifetime, touch_every=None)


def _refreshes(app: Flask) -> bool:
    return bool(app.config["SESSION_REFRESH_EACH_REQUEST"])


def store_of(app: Flask) -> SessionStore | None:
    """Return the store that an application is configured to use, None if it does not say.

    ``WSGI_SESSIONS_STORE``, a store or a URL; otherwise Flask-Session's ``SESSION_TYPE`` and what goes with it.

    :raises ValueError: if the type is not known, or lacks what goes with it.
    """
    store = app.config.get("WSGI_SESSIONS_STORE")
    if store is not None:
        return checked_store(store)
    kind = app.config.get("SESSION_TYPE")
    if kind is None or kind == "null":
        return None
    make = _MAKERS.get(str(kind).lower())
    if make is None:
        raise ValueError(
            f"SESSION_TYPE {kind!r} is not known, but {', '.join(_MAKERS)}; "
            "for another database give WSGISessions a store, or a CachelibStore over a cache of cachelib's"
        )
    return make(app)


def checked_store(store: SessionStore | str) -> SessionStore:
    """Return a store; if it is given as a URL, make it."""
    return store_from_url(store) if isinstance(store, str) else store


def _redis(app: Flask) -> SessionStore:
    from ..stores.redis import RedisStore

    client = app.config.get("SESSION_REDIS")
    return RedisStore(
        "redis://localhost:6379" if client is None else client, prefix=app.config.get("SESSION_KEY_PREFIX")
    )


def _cachelib(app: Flask) -> SessionStore:
    cache = app.config.get("SESSION_CACHELIB")
    if cache is None:
        raise ValueError("SESSION_TYPE 'cachelib' needs SESSION_CACHELIB: a cache of cachelib's")
    return CachelibStore(cache)


def _filesystem(app: Flask) -> SessionStore:
    # Not in the folder that Flask-Session has filled, whose files are not ours to sweep.
    return FileStore(f"{app.config.get('SESSION_FILE_DIR', 'flask_session')}/wsgi_sessions")


def _memcached(app: Flask) -> SessionStore:
    client = app.config.get("SESSION_MEMCACHED")
    if client is not None:
        raise ValueError(
            "SESSION_MEMCACHED is a client that one request has at a time: write "
            "WSGI_SESSIONS_STORE = 'memcached://host:11211' in its place, or give WSGISessions a CachelibStore"
        )
    return store_from_url("memcached://localhost:11211")


def _sqlalchemy(app: Flask) -> SessionStore:
    from ..stores.sql import SQLStore

    config = app.config
    names = {
        name: config[setting]
        for name, setting in (("table", "SESSION_SQLALCHEMY_TABLE"), ("schema", "SESSION_SQLALCHEMY_SCHEMA"))
        if config.get(setting) is not None
    }
    database = config.get("SESSION_SQLALCHEMY")
    if database is None:
        url = config.get("SQLALCHEMY_DATABASE_URI")
        if url is None or str(url).startswith("sqlite"):  # Flask-SQLAlchemy has a folder of its own for these
            raise ValueError("SESSION_TYPE 'sqlalchemy' needs SESSION_SQLALCHEMY: the SQLAlchemy() of Flask-SQLAlchemy")
        return SQLStore(url, **names)
    if "sqlalchemy" not in app.extensions:
        raise ValueError("SESSION_SQLALCHEMY does not know this app yet: call its init_app(app) before WSGISessions")
    with app.app_context():
        return SQLStore(database.engines[config.get("SESSION_SQLALCHEMY_BIND_KEY")], **names)


_MAKERS: dict[str, Callable[[Flask], SessionStore]] = {
    "redis": _redis,
    "cachelib": _cachelib,
    "filesystem": _filesystem,
    "memcached": _memcached,
    "sqlalchemy": _sqlalchemy,
}
