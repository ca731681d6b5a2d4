"""An in-process server, a browser, and a store that records its calls and can be told to fail.

The server side keeps what PEP 3333 asks of a server, strictly: start_response
is called positionally, before any item, and once unless there is an exc_info.
"""

from __future__ import annotations

import gc
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from wsgiref.validate import validator

from wsgi_sessions import MemoryStore, Record, SessionMiddleware, SessionStore, StoreError, clock

Headers = list[tuple[str, str]]
TEXT = [("Content-Type", "text/plain")]
# A count that no test reaches.
ALWAYS = 1_000_000
#: Makes the store behind a middleware for which a test names none; the fixture ``backend`` puts others in its place.
new_store: Callable[[], SessionStore] = MemoryStore


def wrapped(app: Callable[..., Any], store: SessionStore | None = None, **options: Any) -> Callable[..., Any]:
    """Return the app inside a middleware, with a protocol checker on either side of it.

    The inner checker hides what the body is: it is never a list. Use SessionMiddleware itself where that matters.
    """
    return validator(SessionMiddleware(validator(app), new_store() if store is None else store, **options))


def page(handler: Callable[[Any], Any], status: str = "200 OK", headers: Headers | None = None) -> Callable[..., Any]:
    """Return an app that calls the handler with its session and answers with what it returns, as text."""
    from wsgi_sessions import get_session

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        result = handler(get_session(environ))
        start_response(status, list(TEXT) if headers is None else headers)
        return [repr(result).encode()]

    return app


def make_environ(method: str = "GET", path: str = "/", *, scheme: str = "https", **extra: Any) -> dict[str, Any]:
    """Return the environ of a request, with the keys that PEP 3333 demands."""
    path, _, query = path.partition("?")
    return {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "example.com",
        "SERVER_PORT": "443" if scheme == "https" else "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "example.com",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        **extra,
    }


@dataclass
class Response:
    """What the client got.

    :param chunks: the data as it came, with the way it came: ``write`` or ``item``.
    """

    status: int
    reason: str
    headers: Headers
    chunks: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return b"".join(data for _, data in self.chunks)

    @property
    def text(self) -> str:
        return self.body.decode()

    def all(self, name: str) -> list[str]:
        """Return the values of all headers of a name."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name: str) -> str | None:
        """Return the value of the only header of a name, None if there is none."""
        values = self.all(name)
        assert len(values) <= 1, values
        return values[0] if values else None

    @property
    def set_cookies(self) -> list[str]:
        return self.all("Set-Cookie")


def serve(app: Callable[..., Any], environ: dict[str, Any]) -> None:
    """Send one request as a server does that keeps no reference to what it has done with, and drop the answer.

    An Exchange holds the body, which holds its start_response: a cycle of the test's own.
    """

    def start_response(status: str, headers: Headers, exc_info: Any = None, /) -> Callable[[bytes], None]:
        try:
            if exc_info is not None:
                raise exc_info[1].with_traceback(exc_info[2])
        finally:
            exc_info = None
        return lambda data: None

    body = None
    try:
        body = app(environ, start_response)
        for _ in body:
            pass
    except Exception:  # what a server logs
        pass
    finally:
        if hasattr(body, "close"):
            body.close()


def garbage_of(action: Callable[[], object]) -> int:
    """Return how many objects only the garbage collector can free after an action.

    It runs once before, so that what is made only once is there.
    """
    action()
    # What is there already is none of the action's, and with many tests there is much to look through.
    gc.freeze()
    gc.disable()
    try:
        action()
        return gc.collect()
    finally:
        gc.enable()
        gc.unfreeze()


class Exchange:
    """One request, seen from the server; what a test wants to see between its steps.

    :param app: is called at once, as a server does.
    """

    def __init__(self, app: Callable[..., Any], environ: dict[str, Any]) -> None:
        self.environ = environ
        self.response: Response | None = None
        self.head_calls = 0
        self._items: Iterator[bytes] | None = None
        self._is_transmitted = False
        self.body: Iterable[bytes] = app(environ, self._start_response)

    def _start_response(self, status: str, headers: Headers, exc_info: Any = None, /) -> Callable[[bytes], None]:
        try:
            if exc_info is not None and self._is_transmitted:
                raise exc_info[1].with_traceback(exc_info[2])
        finally:
            has_exc_info, exc_info = exc_info is not None, None
        assert has_exc_info or self.response is None, "start_response was called twice"
        self.head_calls += 1
        code, _, reason = status.partition(" ")
        self.response = Response(int(code), reason, headers)
        return self._write

    def _write(self, data: bytes) -> None:
        self._receive("write", data)

    def _receive(self, channel: str, data: bytes) -> None:
        assert self.response is not None, "data came before start_response"
        assert type(data) is bytes
        self._is_transmitted = self._is_transmitted or bool(data)
        self.response.chunks.append((channel, data))

    def next(self) -> bytes:
        """Take one item of the body."""
        if self._items is None:
            self._items = iter(self.body)
        item = next(self._items)
        self._receive("item", item)
        return item

    def close(self) -> None:
        """End it, as a server does in any case."""
        close = getattr(self.body, "close", None)
        if close is not None:
            close()

    def finish(self) -> Response:
        """Take the rest of the body, and close it."""
        try:
            while True:
                self.next()
        except StopIteration:
            pass
        finally:
            self.close()
        assert self.response is not None, "start_response was never called"
        return self.response


def call(app: Callable[..., Any], method: str = "GET", path: str = "/", **extra: Any) -> Response:
    """Send one request without cookies but what is given, and return the response."""
    return Exchange(app, make_environ(method, path, **extra)).finish()


@dataclass
class _Kept:
    value: str
    path: str
    secure: bool
    expires: int | None


class Browser:
    """Keeps, returns and deletes cookies as a browser would.

    :param app: the application of the only site it visits.
    """

    def __init__(self, app: Callable[..., Any], *, scheme: str = "https") -> None:
        self.app = app
        self.scheme = scheme
        self._jar: dict[str, _Kept] = {}

    @property
    def cookies(self) -> dict[str, str]:
        """Name to value of what it would send to ``/`` and all below."""
        return {name: kept.value for name, kept in self._jar.items() if not _is_over(kept)}

    def put(self, name: str, value: str) -> None:
        """Plant a cookie."""
        self._jar[name] = _Kept(value, "/", False, None)

    def restart(self) -> None:
        """Close and open it again: what has no Max-Age is lost."""
        self._jar = {name: kept for name, kept in self._jar.items() if kept.expires is not None}

    def clone(self) -> Browser:
        """Return another with the same cookies: a second tab's request that is already on its way."""
        other = Browser(self.app, scheme=self.scheme)
        other._jar = dict(self._jar)
        return other

    def environ(self, method: str = "GET", path: str = "/", **extra: Any) -> dict[str, Any]:
        """Return the environ of a request of this browser."""
        sent = {
            name: kept.value
            for name, kept in self._jar.items()
            if not _is_over(kept)
            and path.startswith(kept.path.rstrip("/") or "/")
            and (self.scheme == "https" or not kept.secure)
        }
        if sent:
            extra.setdefault("HTTP_COOKIE", "; ".join(f"{name}={value}" for name, value in sent.items()))
        return make_environ(method, path, scheme=self.scheme, **extra)

    def open(self, method: str = "GET", path: str = "/", **extra: Any) -> Exchange:
        """Send a request and return before the body is read; call ``keep`` with the response, if it matters."""
        return Exchange(self.app, self.environ(method, path, **extra))

    def request(self, method: str, path: str = "/", **extra: Any) -> Response:
        """Send a request, read the response and keep its cookies."""
        return self.keep(self.open(method, path, **extra).finish())

    def get(self, path: str = "/", **extra: Any) -> Response:
        """Send a GET."""
        return self.request("GET", path, **extra)

    def post(self, path: str = "/", **extra: Any) -> Response:
        """Send a POST."""
        return self.request("POST", path, **extra)

    def keep(self, response: Response) -> Response:
        """Take the cookies of a response into the jar."""
        for header in response.set_cookies:
            self._keep(header)
        return response

    def _keep(self, header: str) -> None:
        pair, *parts = header.split(";")
        name, _, value = pair.partition("=")
        attributes = {key.strip().lower(): text for key, _, text in (part.partition("=") for part in parts)}
        secure = "secure" in attributes
        if secure and self.scheme != "https":
            return
        expires = None
        if "max-age" in attributes:
            expires = clock.now() + int(attributes["max-age"]) * 1000
        kept = _Kept(value, attributes.get("path", "/"), secure, expires)
        if _is_over(kept):
            self._jar.pop(name, None)
        else:
            self._jar[name] = kept


def _is_over(kept: _Kept) -> bool:
    return kept.expires is not None and kept.expires <= clock.now()


class RecordingStore(SessionStore):
    """Logs the calls of a store, an empty one, and fails when told to."""

    def __init__(self) -> None:
        self.inner = new_store()
        for attribute in ("atomic", "shared", "enumerable", "expires_itself"):
            setattr(self, attribute, getattr(self.inner, attribute))
        #: Method and id of every call, also of those that failed.
        self.calls: list[tuple[str, str]] = []
        self._all_calls: list[tuple[str, str]] = []
        self._failures: Counter[str] = Counter()

    def fail(self, method: str, times: int = 1) -> None:
        """Have the next calls of a method raise StoreError, without effect."""
        self._failures[method] = times

    def fail_always(self) -> None:
        """Go down: every call fails."""
        for method in ("create", "load", "save", "delete", "touch", "delete_expired"):
            self.fail(method, ALWAYS)

    def put(self, record: Record) -> None:
        """Have this record in the place of any other of its id; not logged."""
        self.inner.delete(record.id)
        self.inner.create(record)
        self._all_calls.append(("create", record.id))

    def recover(self) -> None:
        """Fail no more."""
        self._failures.clear()

    @property
    def methods(self) -> list[str]:
        """The methods that were called, in order."""
        return [method for method, _ in self.calls]

    def forget(self) -> None:
        """Start the log anew."""
        self.calls.clear()

    @property
    def records(self) -> list[Record]:
        """The live records; looking at them is not logged."""
        if self.inner.enumerable:
            return list(self.inner.scan())
        created = dict.fromkeys(id for method, id in self._all_calls if method == "create")
        return [record for record in map(self.inner.load, created) if record is not None]

    def _log(self, method: str, id: str) -> None:
        self.calls.append((method, id))
        self._all_calls.append((method, id))
        if self._failures[method] > 0:
            self._failures[method] -= 1
            raise StoreError(f"{method} was told to fail") from OSError("no such host")

    def create(self, record: Record) -> None:
        self._log("create", record.id)
        self.inner.create(record)

    def load(self, id: str) -> Record | None:
        self._log("load", id)
        return self.inner.load(id)

    def save(self, record: Record) -> Record:
        self._log("save", record.id)
        return self.inner.save(record)

    def delete(self, id: str) -> None:
        self._log("delete", id)
        self.inner.delete(id)

    def touch(self, id: str, version: int, expires: int) -> bool:
        self._log("touch", id)
        return self.inner.touch(id, version, expires)

    def delete_expired(self, limit: int = 500) -> list[Record]:
        self._log("delete_expired", "")
        return self.inner.delete_expired(limit)

    def scan(self) -> Iterator[Record]:
        return self.inner.scan()

    def find_by_owner(self, owner: str) -> list[Record]:
        return self.inner.find_by_owner(owner)


class Visitor(Browser):
    """The browser of a :class:`Site`: what is done with the session is given with each request."""

    def visit(
        self, handler: Callable[[Any], Any] | None = None, *, status: int = 200, cookie: str | None = None
    ) -> Response:
        """Request a page that calls the handler with the session and answers with this status.

        :param cookie: the Cookie header, in place of the jar's.
        """
        extra = {} if cookie is None else {"HTTP_COOKIE": cookie}
        return self.get("/", **{"tests.handler": handler, "tests.status": status}, **extra)

    def set(self, **values: Any) -> Response:
        """Set keys of the session."""
        return self.visit(lambda session: session.update(values))

    def read(self, *, cookie: str | None = None) -> dict[str, Any]:
        """Return all keys and values of the session."""
        return self.ask(dict, cookie=cookie)

    def ask(self, question: Callable[[Any], Any], *, cookie: str | None = None) -> Any:
        """Return what a function of the session returns."""
        answers: list[Any] = []
        self.visit(lambda session: answers.append(question(session)), cookie=cookie)
        return answers[0]

    def tab(self) -> Visitor:
        """Return another with the same cookies, whose later ones stay apart."""
        other = Visitor(self.app, scheme=self.scheme)
        other._jar = dict(self._jar)
        return other

    @property
    def token(self) -> str | None:
        """The value of the cookie ``id``."""
        return self.cookies.get("id")

    @property
    def id(self) -> str:
        """The public id in the cookie ``id``."""
        return self.cookies["id"].partition(".")[0]


class Site:
    """A middleware around an application whose pages are functions of the session; see :meth:`Visitor.visit`.

    :param store: a RecordingStore unless given.
    :param options: the middleware's.
    """

    def __init__(self, store: Any = None, **options: Any) -> None:
        self.store = RecordingStore() if store is None else store
        self.middleware = SessionMiddleware(validator(self._page), self.store, **options)
        self.app = validator(self.middleware)

    def visitor(self) -> Visitor:
        """Return a browser without cookies."""
        return Visitor(self.app)

    @staticmethod
    def _page(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        from wsgi_sessions import get_session

        handler = environ["tests.handler"]
        if handler is not None:
            handler(get_session(environ))
        status = environ["tests.status"]
        has_body = status not in (204, 304)
        start_response(f"{status} Said", list(TEXT) if has_body else [])
        return [b"page"] if has_body else []
