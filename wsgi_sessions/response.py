"""A response whose head is held until it must leave. Knows WSGI (PEP 3333), not sessions.

The head must leave before the first bytes of the body, and as late as that, so
that whatever the application does until then can still change it. When that is
depends on the body: a list is complete when it is returned, a generator has
run up to its first item, ``write()`` sends at once.

A subclass decides what happens to the head (``before_head``), to what was done
while the body was sent (``after_body``), and which failure another application
answers (``instead_of``). The environ must not refer to it, for it refers to the environ.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Headers = list[tuple[str, str]]
Write = Callable[[bytes], object]

_FILES = (io.BufferedReader, io.BytesIO, io.FileIO)


class HeldResponse(msgspec.Struct, eq=False):  # a Struct because it is made for every request, in a third of the time
    """One response of an application, between it and the server.

    :param environ: the request.
    :param server_start_response: the server's ``start_response``.
    :param status: None until the application has called start_response.
    :param headers: the application's own list.
    :param is_sent: whether a head has left, the application's or another.
    :param replacement: the body of the response that went out instead of the application's.
    """

    environ: WSGIEnvironment
    server_start_response: StartResponse
    status: str | None = None
    headers: Headers | None = None
    is_sent: bool = False
    server_write: Write | None = None
    replacement: Iterable[bytes] | None = None

    def before_head(self, status: str, headers: Headers, body_is_complete: bool) -> Headers:
        """Return the headers to send; ``headers`` itself belongs to the application and stays as it is.

        :param body_is_complete: nothing of the application runs any more: this is the ``end`` too, unless it raises.
        """
        raise NotImplementedError

    def is_settled(self) -> bool:
        """Tell whether the application has said that nothing more will come of it but the body's bytes."""
        return False

    def before_replacement(self, headers: Headers) -> Headers:
        """Return the headers to send with the response of another application. Must not raise."""
        return headers

    def after_body(self) -> None:
        """Deal with what was done after the head had left; the body did not fail. Must not raise."""
        raise NotImplementedError

    def end(self) -> None:
        """Nothing of the application runs for this response any more. Must not raise."""
        raise NotImplementedError

    def instead_of(self, error: Exception) -> WSGIApplication | None:
        """Return the application that answers in place of a failure, None to let it pass."""
        raise NotImplementedError

    def __repr__(self) -> str:  # an application's start_response shows it too; the environ holds the cookie
        return f"<{type(self).__name__} {self.status!r}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("status", self.status)]

    def start_response(self, status: str, headers: Headers, exc_info: OptExcInfo | None = None, /) -> Write:
        """Keep the head; the application calls this."""
        if exc_info is not None:
            try:
                if self.replacement is not None and exc_info[1] is not None:
                    raise exc_info[1].with_traceback(exc_info[2])
                if self.is_sent:
                    # Too late for another head: the server raises what is in exc_info.
                    return self.server_start_response(status, headers, exc_info)
            finally:
                exc_info = None  # it holds this frame: a reference cycle (PEP 3333)
        elif self.status is not None:
            raise AssertionError("start_response was called twice without exc_info (PEP 3333)")
        self.status = status
        self.headers = headers
        return self.write

    def write(self, data: bytes) -> None:
        """Send data at once, after the head: what start_response returns to the application."""
        if not self.is_sent:
            try:
                self._send_head()
            except Exception as error:
                if not self._replace(error):
                    raise
        if self.replacement is None and self.server_write is not None:
            self.server_write(data)

    def run(self, application: WSGIApplication) -> Iterable[bytes]:
        """Call the application and return the body for the server."""
        try:
            body = application(self.environ, self.start_response)
        except BaseException as error:
            try:
                if self._replace(error):
                    return self.replacement  # type: ignore[return-value]  # it has just been set
                _close(self.replacement)  # it was to follow a write, if there is one; the server never sees it
                raise
            finally:
                self.end()
        complete = type(body) is list or self.is_settled() or is_complete(body, self.environ)
        if not complete or self.status is None or self.replacement is not None:
            return _HeldBody(self, body)
        if self.is_sent:
            self.after_body()
            self.end()
            return body
        try:
            headers = self.before_head(self.status, self.headers, True)  # type: ignore[arg-type]  # set with the status
            self.is_sent = True
            self.server_start_response(self.status, headers)
        except BaseException as error:
            try:
                _close(body)
                if self._replace(error):
                    return self.replacement  # type: ignore[return-value]  # it has just been set
                raise
            finally:
                self.end()
        return body

    def _send_head(self) -> None:
        status, headers = self.status, self.headers
        assert status is not None
        assert headers is not None
        headers = self.before_head(status, headers, False)
        self.is_sent = True
        self.server_write = self.server_start_response(status, headers)

    def _replace(self, error: BaseException) -> bool:
        """Have another application answer, if there is one for this error."""
        if self.is_sent or not isinstance(error, Exception):
            return False
        application = self.instead_of(error)
        if application is None:
            return False
        self.is_sent = True
        self.replacement = application(self.environ, self._start_replacement)
        return True

    def _start_replacement(self, status: str, headers: Headers, exc_info: OptExcInfo | None = None, /) -> Write:
        headers = self.before_replacement(headers)
        if exc_info is None:
            return self.server_start_response(status, headers)
        return self.server_start_response(status, headers, exc_info)


def is_complete(body: object, environ: WSGIEnvironment) -> bool:
    """Tell whether producing a body can no longer run code of the application.

    Such a body goes through as the very object it is: the server sees its
    length, or that it is its own ``wsgi.file_wrapper``.
    """
    kind = type(body)
    if kind is list or kind is tuple or hasattr(kind, "__len__"):
        return True
    wrapper = environ.get("wsgi.file_wrapper")
    if isinstance(wrapper, type):
        return isinstance(body, wrapper)
    # uWSGI's is a function that gives back the file itself, and knows the response by that.
    return wrapper is not None and kind in _FILES


class _HeldBody:
    """A body that is still to be produced: the head leaves with its first item, or at its end."""

    __slots__ = ("_body", "_failed", "_is_closed", "_items", "_response")

    def __init__(self, response: HeldResponse, body: Iterable[bytes]) -> None:
        self._response = response
        self._body = body
        #: None until the first item is asked for.
        self._items: Iterator[bytes] | None = None
        self._failed = False
        self._is_closed = False

    def __iter__(self) -> _HeldBody:
        return self

    def __next__(self) -> bytes:
        response = self._response
        if self._is_replaced():  # by a write
            return self._next_of_replacement()
        try:
            if self._items is None:
                self._items = iter(self._body)
            item = next(self._items)
        except StopIteration:
            self._release()
            if self._is_replaced():
                return self._next_of_replacement()
            raise
        except BaseException as error:
            self._failed = True
            if response._replace(error):
                return self._next_of_replacement()
            raise
        if not response.is_sent:
            self._release()
        if self._is_replaced():
            return self._next_of_replacement()
        return item

    def close(self) -> None:
        """Close the application's body, then let go of the response; PEP 3333 calls this at any end."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            if self._is_replaced():  # by a write, and nobody has asked for an item since
                self._failed = True
                _close(self._response.replacement)
            _close(self._body)
        except BaseException:
            self._failed = True
            raise
        finally:
            try:
                if self._response.is_sent and not self._failed:
                    self._response.after_body()
            finally:
                self._response.end()

    def _release(self) -> None:
        """Send the head unless it is out, or the application has none: then the server complains."""
        response = self._response
        if response.is_sent or response.status is None:
            return
        try:
            response._send_head()
        except Exception as error:
            self._failed = True
            if not response._replace(error):
                raise

    def _is_replaced(self) -> bool:
        """Tell whether another response went out and this body is not yet that one's."""
        replacement = self._response.replacement
        return replacement is not None and replacement is not self._body

    def _next_of_replacement(self) -> bytes:
        """Drop the application's body for the one that went out instead."""
        replacement = self._response.replacement
        assert replacement is not None
        self._failed = True
        abandoned, self._body = self._body, replacement
        self._items = iter(replacement)
        _close(abandoned)
        return next(self._items)


def _close(body: Iterable[bytes] | None) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()
