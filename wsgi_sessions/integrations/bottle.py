"""Bottle: callbacks that take a ``session`` get it, and ``bottle.request.session`` is it.

Installing the plugin is all it takes::

    from bottle import Bottle
    from wsgi_sessions import SQLiteStore
    from wsgi_sessions.integrations.bottle import SessionPlugin

    app = Bottle()
    app.install(SessionPlugin(SQLiteStore("/var/lib/app/sessions.db")))

    @app.get("/")
    def index(session):
        ...

An application that runs inside of a SessionMiddleware already needs only ``SessionPlugin()``.
"""

from __future__ import annotations

import functools
import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from keyword import iskeyword
from typing import TYPE_CHECKING, Any

try:
    import bottle  # type: ignore[import-untyped]
except ImportError as error:
    raise ImportError("the integration needs Bottle: pip install wsgi-sessions[bottle]") from error

from ..cookies.cookie import SessionCookie
from ..exceptions import SessionMissing
from ..expiry import Expiry
from ..legacy import LegacySource
from ..middleware import SessionMiddleware
from ..record import Record
from ..request_sessions import get_session
from ..settings import MAX_PAYLOAD
from ..stores.base import SessionStore
from ._buckets import View, inject_bucket
from ._without_store import refuse_without_store

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class SessionPlugin:
    """Gives the requests of a Bottle application their sessions (Bottle's plugin API, version 2).

    The application itself stays what is run: ``app.run()``, ``gunicorn module:app``.

    Bottle does not apply plugins to the routes of an application that is mounted or merged. There
    ``bottle.request.session`` works all the same; for callbacks that take a session install one there
    as well: ``child.install(SessionPlugin())``.

    :param store: where sessions are kept. Without one, SessionMiddleware must be wrapped around the application.
    :param keyword: the parameter of callbacks, the attribute of ``bottle.request`` and the name of the plugin,
        as in ``@app.get("/", skip=["session"])``.
    :param cookie: its name and attributes, and whether it is signed or encrypted.
    :param expiry: when sessions end: OnSessionEnd, OnInactivity or AtDateTime.
    :param max_lifetime: caps every session from its creation, whatever its activity.
    :param always_save: count every request as activity, also one that does not touch its session.
    :param max_payload: the most bytes that a stored session may have.
    :param error_app: answers in place of a request whose session could not be
        read or stored; the default says 503 with Retry-After.
    :param sweep_every: delete expired records this often, from a thread in each process.
    :param on_deleted: called in that thread with each batch of deleted records.
    :param legacy: other libraries whose sessions are taken over as their visitors come; see ``docs/migrating.rst``.
    :param retire: what becomes of theirs: ``"delete"`` or ``"keep"``.
    :raises TypeError: if an argument is of a wrong type, or is for the middleware, and there is no store for one.
    :raises ValueError: if a limit is not positive, or ``keyword`` is taken.
    """

    #: Of Bottle's plugin API.
    api = 2

    def __init__(
        self,
        store: SessionStore | None = None,
        *,
        keyword: str = "session",
        cookie: SessionCookie | None = None,
        expiry: Expiry | None = None,
        max_lifetime: timedelta | None = None,
        always_save: bool = False,
        max_payload: int = MAX_PAYLOAD,
        error_app: WSGIApplication | None = None,
        sweep_every: timedelta | None = None,
        on_deleted: Callable[[list[Record]], object] | None = None,
        legacy: Sequence[LegacySource] = (),
        retire: str = "delete",
    ) -> None:
        _check_keyword(keyword)
        #: The parameter that gets the session; also Bottle's name for the plugin.
        self.keyword = self.name = keyword
        #: Where sessions are kept; None if another one's middleware has it.
        self.store = store
        self._cookie_name = _name_of(cookie)
        self._entrances: list[_Entrance] = []
        self._wrap: Callable[[WSGIApplication], SessionMiddleware] | None = None
        options: dict[str, Any] = {
            "expiry": expiry,
            "max_lifetime": max_lifetime,
            "always_save": always_save,
            "max_payload": max_payload,
            "error_app": error_app,
            "sweep_every": sweep_every,
            "on_deleted": on_deleted,
            "legacy": legacy,
            "retire": retire,
        }
        if store is None:
            refuse_without_store(options, "write SessionPlugin(store, ...)")
            return
        self._wrap = lambda app: SessionMiddleware(app, store, cookie=cookie, **options)
        # Wrong arguments are refused here, not where the plugin is installed.
        self._cookie_name = self._wrap(bottle.Bottle.wsgi).cookie.name

    @property
    def legacy_counts(self) -> dict[tuple[str, str], int]:
        """How many legacy sessions this process has taken over, and why it has not others, by system and reason."""
        counts: Counter[tuple[str, str]] = Counter()
        for entrance in self._entrances:
            counts.update(entrance.legacy_counts)
        return dict(counts)

    def setup(self, app: bottle.Bottle) -> None:
        """Stand around an application; Bottle calls this when the plugin is installed.

        :raises bottle.PluginError: if another SessionPlugin of it has the same keyword, or keeps the sessions of
            the same cookie elsewhere.
        """
        for other in app.plugins:
            if isinstance(other, SessionPlugin):
                self._check_beside(other)
        self._entrances.append(_Entrance(app, self))

    def apply(self, callback: View, route: bottle.Route) -> View:
        """Return a callback that is given the session, or the callback itself if it does not take one.

        :raises bottle.PluginError: if the rule of the route has a wildcard of that name.
        """
        keyword, cookie_name = self.keyword, self._cookie_name
        if not _takes(route.callback, keyword):
            return callback
        if keyword in _wildcards_of(route.rule):
            raise bottle.PluginError(
                f"the route {route.rule!r} and SessionPlugin both have a value for the parameter {keyword!r}: "
                f"rename the wildcard, choose another SessionPlugin(keyword=...), or leave it out: skip=[{keyword!r}]"
            )

        @functools.wraps(callback)
        def with_session(*arguments: Any, **keywords: Any) -> Any:
            keywords[keyword] = get_session(bottle.request.environ, cookie_name)
            return callback(*arguments, **keywords)

        return with_session

    def close(self) -> None:
        """Stop the sweeper of this process, and leave the applications that have uninstalled the plugin.

        Bottle calls this; ``app.close()`` leaves the plugin installed, and the next request starts the sweeper again.
        """
        for entrance in self._entrances:
            entrance.close()
        self._entrances = [entrance for entrance in self._entrances if entrance.is_installed]

    def _check_beside(self, other: SessionPlugin) -> None:
        if other.keyword == self.keyword:
            raise bottle.PluginError(
                f"a SessionPlugin with the keyword {self.keyword!r} is installed already: "
                "give this one a name of its own, SessionPlugin(keyword=...)"
            )
        if self.store is None or other.store is None or self.store is other.store:
            return
        if self._cookie_name == other._cookie_name:
            raise bottle.PluginError(
                f"two SessionPlugins with different stores use the cookie name {self._cookie_name!r}: "
                "give one of them cookie=SessionCookie('another name')"
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.store!r}, keyword={self.keyword!r})"


class _Entrance:
    """Takes the place of an application's method ``wsgi``, through which each of its requests comes."""

    def __init__(self, app: bottle.Bottle, plugin: SessionPlugin) -> None:
        self._app = app
        self._plugin = plugin
        self._attribute_key = f"bottle.request.ext.{plugin.keyword}"
        self._inside: WSGIApplication = app.wsgi
        #: None if the sessions are those of another one's middleware.
        self._middleware = None if plugin._wrap is None else plugin._wrap(self._handle)
        self._outside: WSGIApplication = self._handle_theirs if self._middleware is None else self._middleware
        # Not by assignment, which Bottle refuses for what has been assigned before: by another plugin, too.
        app.__dict__["wsgi"] = self

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return self._outside(environ, start_response)

    def _handle(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # Not by bottle.request, which Bottle binds to this request later on.
        environ[self._attribute_key] = get_session(environ, self._plugin._cookie_name)
        return self._inside(environ, start_response)

    def _handle_theirs(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Handle a request whose session another one's middleware has begun; if none has, whoever asks is told so."""
        with suppress(SessionMissing):
            environ[self._attribute_key] = get_session(environ, self._plugin._cookie_name)
        return self._inside(environ, start_response)

    @property
    def legacy_counts(self) -> dict[tuple[str, str], int]:
        """Those of its middleware; none if that is another one's."""
        return {} if self._middleware is None else self._middleware.legacy_counts

    @property
    def is_installed(self) -> bool:
        """Whether the application still has the plugin."""
        return self._plugin in self._app.plugins

    def close(self) -> None:
        if self._middleware is not None:
            self._middleware.close()
        if not self.is_installed:
            # Others may stand around it by now, so it stays where it is.
            self._outside = self._inside


def with_bucket(kind: type[Any], name: str | None = None, *, parameter: str | None = None) -> Callable[[View], View]:
    """Give a callback a typed part of its session: a dataclass, TypedDict or Struct, stored if the callback changes it.

    The parameter is the one that is annotated with the type::

        @app.get("/")
        @with_bucket(Guest)
        def index(guest: Guest): ...

    It is also stored when the callback answers with ``redirect()``, but not when it fails. It needs no plugin where
    SessionMiddleware is wrapped around the application.

    :param name: the key in the session; the qualified name of the type unless given.
    :param parameter: its name, if not by annotation.
    :raises TypeError: if the callback has no such parameter, or a bucket cannot be made.
    """
    return inject_bucket(
        kind,
        name,
        parameter,
        find_session=lambda arguments: get_session(bottle.request.environ),
        answers=(bottle.HTTPResponse,),
    )


def _check_keyword(name: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"keyword must be a str such as 'session', not {type(name).__name__}")
    if not name.isidentifier() or iskeyword(name):
        raise ValueError(f"keyword must be what a parameter can be named, such as 'session', not {name!r}")
    if hasattr(bottle.LocalRequest, name):
        raise ValueError(f"bottle.request has a {name!r} of its own: choose another keyword")


def _name_of(cookie: object) -> str | None:
    if cookie is None:
        return None
    if not isinstance(cookie, SessionCookie):
        raise TypeError(f"cookie must be a SessionCookie such as SessionCookie('id'), not {type(cookie).__name__}")
    return cookie.name


def _takes(callback: View, keyword: str) -> bool:
    """Tell whether a callback has a parameter of that name; one that takes any has not asked for it."""
    try:
        parameter = inspect.signature(callback).parameters.get(keyword)
    except ValueError:  # some that are written in C tell nothing
        return False
    return parameter is not None and parameter.kind in _BY_NAME


def _wildcards_of(rule: str) -> set[str]:
    """Return the names in a rule: ``<name>``, ``<name:filter>`` or the older ``:name``."""
    matches = bottle.Router.rule_syntax.finditer(rule)
    return {match[2] or match[5] for match in matches if len(match[1]) % 2 == 0}
