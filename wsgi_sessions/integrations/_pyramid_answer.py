"""The way of a session into Pyramid's response, and what becomes of it where pyramid_retry repeats a request."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from pyramid.response import FileIter  # type: ignore[import-untyped]

try:
    from pyramid_retry import is_error_retryable  # type: ignore[import-untyped]
except ImportError:  # then nothing is repeated
    is_error_retryable = None

from ..exceptions import HeadersSent, StoreError
from ..mapping import FROZEN, OPEN
from ..request_sessions import OUTAGE, RequestSessions
from ..response import is_complete
from ..session import Session

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_log = logging.getLogger("wsgi_sessions")

# Where pyramid_retry counts.
_ATTEMPT = "retry.attempt"
# The session of an attempt that failed, until the next attempt uses it.
_REPEATED = "wsgi_sessions.pyramid.repeated"


class Answer:
    """The way of a session into the response of the request that it was begun for."""

    def __init__(self, sessions: RequestSessions, session: Session) -> None:
        self._sessions = sessions
        self._session = session
        self._has_response = False
        self._is_streamed = False
        #: None until the session has been committed.
        self._status: int | None = None

    def before_response(self, request: Any, response: Any) -> None:
        """Commit, after the callbacks that others have registered meanwhile: they may use the session."""
        if request.response_callbacks:
            request.add_response_callback(self._commit)
        else:
            self._commit(request, response)

    def before_end(self, request: Any) -> None:
        """End the session, after the callbacks that others have registered meanwhile."""
        if request.finished_callbacks:
            request.add_finished_callback(self._end)
        else:
            self._end(request)

    def after_body(self, failed: bool) -> None:
        """End the session of a response that was streamed."""
        self._sessions.end(self._session, None if failed else self._status)

    def _commit(self, request: Any, response: Any) -> None:
        self._has_response = True
        if is_to_be_repeated(request):
            return
        status = response.status_int
        try:
            # What later callbacks and subscribers change is saved at the end, if it needs no cookie.
            headers = self._sessions.commit(
                self._session, request.environ, status, list(response.headerlist), body_is_complete=False
            )
        except StoreError as error:
            _log.error(OUTAGE, exc_info=error)
            self._replace(request, response)
            return
        except BaseException:
            _close(response.app_iter)
            raise
        self._status = status
        self._is_streamed = not _is_complete(response.app_iter, request.environ)
        if self._is_streamed:
            response.app_iter = _StreamedBody(response.app_iter, self)
        response.headerlist = headers  # last: a new app_iter takes Content-Length away

    def _replace(self, request: Any, response: Any) -> None:
        """Turn the response into the one of ``error_app``."""
        _close(response.app_iter)
        response.status, headers, response.app_iter = request.call_application(self._sessions.error_app)
        response.headerlist = self._sessions.commit_replacement(self._session, request.environ, headers)

    def _end(self, request: Any) -> None:
        if is_to_be_repeated(request):
            self._session._begin_again()
            # No end yet: the response to the next attempt may tell of it.
            self._session._phase = FROZEN
            request.environ[_REPEATED] = self._session
            return
        if self._is_streamed:
            return
        is_late = not self._has_response and sys.exc_info()[1] is None and self._session.is_modified
        self._sessions.end(self._session, self._status)
        if is_late:
            raise _too_late()


class _StreamedBody:
    """A body that is still to be produced; the session ends with it."""

    def __init__(self, body: Iterable[bytes], answer: Answer) -> None:
        self._body = body
        self._items = iter(body)
        self._answer = answer
        self._failed = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._items)
        except StopIteration:
            raise
        except BaseException:
            self._failed = True
            raise

    def close(self) -> None:
        try:
            _close(self._body)
        except BaseException:
            self._failed = True
            raise
        finally:
            self._answer.after_body(self._failed)


def session_of_last_attempt(environ: WSGIEnvironment) -> Session | None:
    """Return the session of the attempt that pyramid_retry repeats now, as it was loaded or saved last.

    It is the same, not another, because what ``save()`` or ``flush()`` made durable has happened.
    """
    session: Session | None = environ.pop(_REPEATED, None)
    if session is not None:
        session._phase = OPEN
    return session


def revert_if_repeated(session: Session, request: Any) -> None:
    """Have another one's session forget at the end of an attempt what the next must not see."""
    if _ATTEMPT not in request.environ:
        return

    def revert(request: Any) -> None:
        if is_to_be_repeated(request):
            session._begin_again()

    request.add_finished_callback(revert)


def is_to_be_repeated(request: Any) -> bool:
    """Tell whether pyramid_retry will drop what this attempt has answered or raised."""
    if is_error_retryable is None or _ATTEMPT not in request.environ:
        return False
    # The one that an exception view has answered, and the one that is on its way out.
    errors = (request.exception, sys.exc_info()[1])
    return any(error is not None and is_error_retryable(request, error) for error in errors)


def refuse_late(request: Any) -> None:
    """Raise HeadersSent if a request is over, and none of its callbacks would be called any more."""
    # The router sets these two at once, and takes one away at the end.
    if "view_name" in request.__dict__ and "context" not in request.__dict__:
        raise _too_late()


def _too_late() -> HeadersSent:
    return HeadersSent("request.session was first used after the response had been made: use it in the view before")


def _is_complete(body: object, environ: WSGIEnvironment) -> bool:
    """Tell whether producing a body can no longer run code of the application; what Pyramid sends of a file cannot."""
    return isinstance(body, FileIter | io.IOBase) or is_complete(body, environ)


def _close(body: object) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()
