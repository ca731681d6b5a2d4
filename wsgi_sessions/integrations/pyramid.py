"""Pyramid: ``request.session`` is our session.

Including it is all it takes, with ``wsgi_sessions.store = sqlite:////var/lib/app/sessions.db`` among the settings::

    config.include("wsgi_sessions.integrations.pyramid")

An application that runs inside of a SessionMiddleware already includes it without any setting.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from typing import Any

try:
    from pyramid.httpexceptions import HTTPException, HTTPServiceUnavailable  # type: ignore[import-untyped]
    from pyramid.interfaces import ISession, ISessionFactory  # type: ignore[import-untyped]
    from pyramid.tweens import EXCVIEW, INGRESS  # type: ignore[import-untyped]
    from zope.interface import implementer  # type: ignore[import-untyped]
except ImportError as error:
    raise ImportError("the integration needs Pyramid: pip install wsgi-sessions[pyramid]") from error

from ..exceptions import SessionMissing, StoreError
from ..request_sessions import OUTAGE, RequestSessions, get_session
from ..session import Session
from ..state import State
from ._buckets import View, inject_bucket
from ._pyramid_answer import Answer, is_to_be_repeated, refuse_late, revert_if_repeated, session_of_last_attempt
from .base import read_options

_log = logging.getLogger("wsgi_sessions")

_PREFIX = "wsgi_sessions."
_CSRF_TOKEN = "_csrft_"
_CSRF_TOKEN_BYTES = 32


class StoreUnavailable(StoreError, HTTPServiceUnavailable):  # type: ignore[misc]  # Pyramid has no types
    """The store failed: a StoreError that Pyramid answers with 503, being a response itself."""

    def __str__(self) -> str:
        return str(self.__cause__)


@implementer(ISession)
class PyramidSession(Session):
    """What ``request.session`` is: a Session that also has all that Pyramid's ISession asks for.

    Made by ``PyramidSession.view(session)``. ISession says that ``created`` is a
    number; the datetime is ``get_session(request.environ).created``.
    """

    @property
    def created(self) -> int:  # type: ignore[override]  # ISession says so
        """When it began, in Unix seconds; ``cycle_id`` does not change it."""
        return self._load().created // 1000

    @property
    def new(self) -> bool:
        """Whether the visitor presented no live session; ``is_new`` under Pyramid's name."""
        return self.is_new

    def invalidate(self) -> None:
        """End it now and start over, empty and under a new id; ``flush`` under Pyramid's name: call this at logout."""
        self.flush()

    def changed(self) -> None:
        """Do nothing: a change inside a value is noticed without being told, and where there is none, none is made."""

    def flash(self, msg: Any, queue: str = "", allow_duplicate: bool = True) -> None:
        """Keep a message until its queue is popped; of parallel requests, none loses another's.

        :param allow_duplicate: keep it also if the queue holds an equal one.
        :raises SerializationError: if it cannot be stored: translate a TranslationString before.
        """

        def add(messages: list[Any]) -> list[Any]:
            return [*messages, msg] if allow_duplicate or msg not in messages else messages

        self.mutate(f"_f_{queue}", add, [])

    def pop_flash(self, queue: str = "") -> list[Any]:
        """Return the messages of a queue, oldest first, and forget them; without any, nothing is written."""
        key = f"_f_{queue}"
        messages: list[Any] = self.pop(key) if key in self else []
        return messages

    def peek_flash(self, queue: str = "") -> list[Any]:
        """Return the messages of a queue, oldest first, and keep them."""
        messages: list[Any] = self.get(f"_f_{queue}", [])
        return messages

    def new_csrf_token(self) -> str:
        """Give it a new token against cross-site request forgery, and return it: call this at login."""
        token = secrets.token_urlsafe(_CSRF_TOKEN_BYTES)
        self[_CSRF_TOKEN] = token
        return token

    def get_csrf_token(self) -> str:
        """Return its token against cross-site request forgery; the first call makes it."""
        return self.get(_CSRF_TOKEN) or self.new_csrf_token()

    # What asks the store. A failure becomes a response here, because Pyramid asks nobody else for one.

    def save(self) -> None:
        """Store it now; see :meth:`Session.save`."""
        self._load()
        try:
            super().save()
        except StoreError as error:
            raise StoreUnavailable from error

    def _load(self) -> State:
        try:
            return super()._load()
        except StoreError as error:
            raise StoreUnavailable from error

    def _ask_store(self, action: Callable[[], None]) -> None:
        try:
            super()._ask_store(action)
        except StoreError as error:
            raise StoreUnavailable from error


@implementer(ISessionFactory)
class SessionFactory(RequestSessions):
    """Begins the session of each request, and commits it into the response: for ``config.set_session_factory``.

    The session is stored when all tweens are done, so after pyramid_tm has
    committed; it is not if an exception leaves the application or the status is
    500 or above. A request that does not touch ``request.session`` costs nothing,
    and does not count as activity either, with ``always_save``: wrap
    SessionMiddleware around the application, if it shall. Where that or another
    one has begun the session under the same cookie name, it is that one's to commit.

    It takes what :class:`RequestSessions` does.
    """

    def __call__(self, request: Any) -> PyramidSession:
        """Return the session of a request; Pyramid calls this when ``request.session`` is first used.

        :raises HeadersSent: if the response has been made already.
        """
        environ = request.environ
        session = session_of_last_attempt(environ)
        if session is None:
            outer = self.find(environ)
            if outer is not None:
                return _view_of_another(outer, request)
            refuse_late(request)
            session = self.begin(environ)
        answer = Answer(self, session)
        request.add_response_callback(answer.before_response)
        request.add_finished_callback(answer.before_end)
        return PyramidSession.view(session)


#: The factory by the kind of name that Pyramid's own have.
session_factory = SessionFactory


def session_of_middleware(request: Any) -> PyramidSession:
    """Return the session that a SessionMiddleware has begun for a request: the factory where no store is given.

    :raises SessionMissing: if there is none.
    """
    try:
        session = get_session(request.environ)
    except SessionMissing:
        raise SessionMissing(
            "request.session is nowhere kept: give the setting wsgi_sessions.store, "
            "or wrap SessionMiddleware around the application"
        ) from None
    return _view_of_another(session, request)


def includeme(config: Any) -> None:
    """Set the session factory that the settings with the prefix ``wsgi_sessions.`` describe.

    Without any of them it is :func:`session_of_middleware`. Include it last: a StoreError
    is answered with 503 also if it comes from a tween, but not from one that was added later.

    :raises ValueError: if a setting is unknown, wrong or missing.
    """
    settings = config.get_settings()
    factory: Callable[[Any], PyramidSession] = session_of_middleware
    if any(name.startswith(_PREFIX) and settings[name] is not None for name in settings):
        store, arguments = read_options(settings, _PREFIX)
        factory = SessionFactory(store, **arguments)
    config.set_session_factory(factory)
    # pyramid_tm asks for the user, who may be in the session.
    inner = ("pyramid_tm.tm_tween_factory", EXCVIEW)
    config.add_tween(f"{__name__}.store_error_tween_factory", under=INGRESS, over=inner)


def store_error_tween_factory(handler: Callable[[Any], Any], registry: Any) -> Callable[[Any], Any]:
    """Return the tween that answers a StoreError, also one that came from another tween, or from no session."""
    factory = registry.queryUtility(ISessionFactory)
    if not isinstance(factory, SessionFactory):
        return handler  # the middleware does

    def store_error_tween(request: Any) -> Any:
        try:
            return handler(request)
        except StoreError as error:
            if is_to_be_repeated(request):
                raise
            if isinstance(error, StoreUnavailable):
                return error  # the commit replaces it
            _log.error(OUTAGE, exc_info=error)
        return request.get_response(factory.error_app)

    return store_error_tween


def with_bucket(kind: type[Any], name: str | None = None, *, parameter: str | None = None) -> Callable[[View], View]:
    """Give a view a typed part of the session: read when it is called, stored if it was changed.

    For functions that take ``(request)`` or ``(context, request)``, and for methods of classes that keep
    ``self.request``. Write it below ``@view_config``. A raised HTTP exception is an answer; after any
    other nothing is stored.

    :param kind: a class as :func:`wsgi_sessions.buckets.load_bucket` takes it.
    :param name: the key in the session; the qualified name of the class unless given.
    :param parameter: which of the view's parameters gets it; the one annotated with ``kind`` unless given.
    """
    return inject_bucket(kind, name, parameter, find_session=_session_of_arguments, answers=(HTTPException,))


def _view_of_another(session: Session, request: Any) -> PyramidSession:
    revert_if_repeated(session, request)
    return PyramidSession.view(session)


def _session_of_arguments(arguments: tuple[Any, ...]) -> PyramidSession:
    """Return the session of a view's request, given what it was called with."""
    last = arguments[-1] if arguments else None
    # Of a view class, the instance has the request; what else it calls session is its own.
    request: Any = getattr(last, "request", last)
    try:
        session: PyramidSession = request.session
    except AttributeError as error:
        raise TypeError("@with_bucket is for views that take a request, and for methods with self.request") from error
    return session
