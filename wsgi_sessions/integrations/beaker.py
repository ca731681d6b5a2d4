"""Applications that were written for Beaker: its session is ours, and theirs are taken over.

The import is all that changes::

    from wsgi_sessions.integrations.beaker import BeakerMiddleware as SessionMiddleware

    application = SessionMiddleware(app, {"session.type": "file", "session.data_dir": "/var/lib/app/sessions"})

Not for new applications: SessionMiddleware and ``get_session`` are simpler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from ..commit import CookieChange
from ..cookies.cookie import SessionCookie
from ..middleware import SessionMiddleware
from ..migration.base import Convert
from ..record import Record
from ..response import Headers
from ..session import Session
from ..settings import MAX_PAYLOAD
from ..stores.base import SessionStore
from ._beaker_config import Configuration
from ._beaker_ignored import refuse_misspelt
from ._beaker_section import read_section
from ._beaker_session import BeakerSession, DetachedBeakerSession, new_detached, show
from ._beaker_stores import store_of
from ._beaker_terms import Terms, placed

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

__all__ = [
    "BeakerMiddleware",
    "BeakerSession",
    "DetachedBeakerSession",
    "session_filter_app_factory",
    "session_filter_factory",
]

_GET_SESSION = "beaker.get_session"


class BeakerMiddleware(SessionMiddleware):
    """Stands where Beaker's SessionMiddleware stood, with its configuration, and reads the sessions that it left.

    ``environ["beaker.session"]`` is the request's session, ``environ["beaker.get_session"]()`` makes one without a
    cookie; ``get_session(environ)`` is the same session under our own names. Unless a store is given, ours is put
    where Beaker's is, but apart: in ``wsgi_sessions`` inside of ``data_dir``, a table ``wsgi_session`` of the same
    database, a file of its own beside one of SQLite, other keys of the same Redis or Memcached.

    :param app: the application to wrap; ``wrap_app`` is Beaker's name of it.
    :param config: Beaker's configuration; every option of it that has no effect is logged.
    :param environ_key: where in the environ the session is.
    :param store: where our sessions are kept.
    :param cookie: in place of the one that Beaker's options describe.
    :param cookie_name: only the name of that one.
    :param explicit_save: drop what was set or removed without a ``save()``, as Beaker does without ``session.auto``;
        otherwise every change is stored, and one without ``save()`` logged.
    :param list_internals: have Beaker's own keys, such as ``_creation_time``, also among those that are iterated over.
    :param take_over: read the sessions that Beaker has stored.
    :param retire: what becomes of these; ``"keep"`` takes a cookie of another name than Beaker's.
    :param convert: what becomes of instances of the application's classes in these; without it they are dropped.
    :param on_unknown: ``"refuse"`` such a session of Beaker's that holds what cannot be stored.
    :param max_lifetime: as for SessionMiddleware, like the next four.
    :param options: Beaker's own options, in place of those in ``config``, with or without a prefix.
    :raises ImportError: if a store, or an encrypted session, needs what is not installed.
    :raises StoreError: if the store's table cannot be made.
    :raises TypeError: if an argument is of a wrong type.
    :raises ValueError: if an option makes no sense, or is missing, or nearly has the name of a parameter above.
    """

    def __init__(
        self,
        app: WSGIApplication | None = None,
        config: Mapping[str, Any] | None = None,
        environ_key: str = "beaker.session",
        *,
        wrap_app: WSGIApplication | None = None,
        store: SessionStore | None = None,
        cookie: SessionCookie | None = None,
        cookie_name: str | None = None,
        explicit_save: bool = False,
        list_internals: bool = False,
        take_over: bool = True,
        retire: str = "delete",
        convert: Convert | None = None,
        on_unknown: str = "drop",
        max_lifetime: timedelta | None = None,
        max_payload: int = MAX_PAYLOAD,
        error_app: WSGIApplication | None = None,
        sweep_every: timedelta | None = None,
        on_deleted: Callable[[list[Record]], object] | None = None,
        **options: Any,
    ) -> None:
        if app is not None and wrap_app is not None:
            raise TypeError("app and wrap_app are the same: give one of them")
        if cookie is not None and cookie_name is not None:
            raise ValueError("a cookie has a name: give cookie or cookie_name")
        refuse_misspelt(options)
        configuration = Configuration({} if config is None else config, options)
        configuration.warn_of_ignored(take_over=take_over, has_store=store is not None, cookie=cookie)
        if cookie is None:
            cookie = configuration.cookie(cookie_name)
        if retire == "keep" and cookie.name == configuration.options.key:
            raise ValueError(
                "retire='keep' needs a cookie of another name than Beaker's, whose place it would take: "
                "write cookie_name='id'"
            )
        source = configuration.source(convert=convert, on_unknown=on_unknown) if take_over else None
        super().__init__(
            cast("WSGIApplication", wrap_app if app is None else app),
            store_of(configuration.options) if store is None else store,
            cookie=cookie,
            expiry=configuration.expiry(),
            max_lifetime=max_lifetime,
            max_payload=max_payload,
            error_app=error_app,
            sweep_every=sweep_every,
            on_deleted=on_deleted,
            legacy=() if source is None else (source,),
            retire=retire,
        )
        self._environ_key = environ_key
        self._terms = Terms(configuration, cookie, explicit_save=explicit_save, list_internals=list_internals)

    @property
    def wrap_app(self) -> WSGIApplication:
        """The application inside of it, by the name that Beaker has for it."""
        return self.app

    def find(self, environ: WSGIEnvironment) -> Session | None:
        """Return the session that another middleware has begun; see :meth:`RequestSessions.find`."""
        session = super().find(environ)
        return None if session is None else self._show(environ, session)

    def begin(self, environ: WSGIEnvironment) -> Session:
        """Return a new session for a request, which finds it under Beaker's name as well."""
        return self._show(environ, super().begin(environ))

    def commit(
        self, session: Session, environ: WSGIEnvironment, status: int, headers: Headers, *, body_is_complete: bool
    ) -> Headers:
        """Store what a session holds that is meant to last; see :meth:`RequestSessions.commit`."""
        if status < 500:
            BeakerSession.view(session)._prepare_commit()
        return super().commit(session, environ, status, headers, body_is_complete=body_is_complete)

    def end(self, session: Session, status: int | None = None) -> None:
        """Freeze a session; see :meth:`RequestSessions.end`."""
        if status is not None and status < 500:
            BeakerSession.view(session)._prepare_commit()
        super().end(session, status)

    def _show(self, environ: WSGIEnvironment, session: Session) -> Session:
        environ[self._environ_key] = show(session, self._terms)
        environ[_GET_SESSION] = self._get_session
        return session

    def _get_session(self) -> DetachedBeakerSession:
        return new_detached(self._settings, self._terms)

    def _with_session(
        self, session: Session, environ: WSGIEnvironment, headers: Headers, change: CookieChange | None
    ) -> Headers:
        headers = super()._with_session(session, environ, headers, change)
        if change is None or session._state is None:
            return headers
        view = BeakerSession.view(session)
        before = view._known_at_load().place
        after = view._stored_place if change.token is not None else before
        configured = self.cookie.header(change.token, change.max_age)
        ours = placed(self.cookie, *after).header(change.token, change.max_age)
        headers = [ours if header == configured else header for header in headers]
        if before == after or not session._state.presented or session._state.is_taken_over:
            return headers
        # First, for there are browsers to which both are the same.
        position = headers.index(ours)
        return [*headers[:position], placed(self.cookie, *before).header(None), *headers[position:]]


def session_filter_factory(
    global_conf: Mapping[str, Any], /, **local_conf: Any
) -> Callable[[WSGIApplication], BeakerMiddleware]:
    """Return what wraps an application, for PasteDeploy: in the place of ``egg:Beaker#beaker_session``.

    As Beaker does, it takes options with a prefix out of ``[DEFAULT]``, and any out of its own section.

    :raises ValueError: if an argument of BeakerMiddleware makes no sense, or cannot be given in an ini file.
    """
    arguments = read_section(local_conf)
    return lambda app: BeakerMiddleware(app, global_conf, **arguments)


def session_filter_app_factory(
    app: WSGIApplication, global_conf: Mapping[str, Any], /, **local_conf: Any
) -> BeakerMiddleware:
    """Return an application that is wrapped; see :func:`session_filter_factory`."""
    return BeakerMiddleware(app, global_conf, **read_section(local_conf))
