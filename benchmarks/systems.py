"""The session systems that are compared, each around the same pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from beaker.middleware import SessionMiddleware as BeakerMiddleware

from benchmarks.driver import Environ
from benchmarks.payload import NOISE_COOKIE, large, small
from wsgi_sessions import (
    FileStore,
    MemoryStore,
    SessionCookie,
    SessionMiddleware,
    SessionStore,
    SignedCookie,
    get_session,
)
from wsgi_sessions.cookies.encrypted import EncryptedCookie

_KEYS = ["an example of a key, and no secret: 9f3c1b7e2d5a"]
_SMALL, _LARGE = small(), large()
Application = Callable[[Environ, Any], Iterable[bytes]]


class System(NamedTuple):
    """A session system.

    :param name: what the tables call it.
    :param wrap: puts it around an application.
    :param session: finds the session in an environ.
    """

    name: str
    wrap: Callable[[Application], Application]
    session: Callable[[Environ], Any]


def ours(name: str, store: SessionStore, cookie: SessionCookie | None = None) -> System:
    """Return wsgi_sessions over a store."""
    return System(name, lambda app: SessionMiddleware(app, store, cookie=cookie), get_session)


def beaker(name: str, kind: str, folder: Path) -> System:
    """Return Beaker with one of its containers, saving by itself, otherwise as it comes."""
    options = {"session.type": kind, "session.auto": True, "session.data_dir": str(folder), "session.key": "id"}
    return System(name, lambda app: BeakerMiddleware(app, options), lambda environ: environ["beaker.session"])


def all_systems(folder: Path) -> dict[str, System]:
    """Return every system by its name; what they store in files goes below a folder."""
    memory = MemoryStore()
    systems = [
        ours("memory", memory),
        ours("memory, signed", memory, SignedCookie(_KEYS)),
        ours("memory, encrypted", memory, EncryptedCookie(_KEYS)),
        ours("file", FileStore(folder / "ours")),
        beaker("Beaker memory", "memory", folder / "beaker-memory"),
        beaker("Beaker file", "file", folder / "beaker-file"),
    ]
    return {system.name: system for system in systems}


def page(environ: Environ, start_response: Any) -> Iterable[bytes]:
    """Answer without a look at the session."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


def forwarding(environ: Environ, start_response: Any) -> Iterable[bytes]:
    """Answer through a closure that only forwards start_response: what any middleware costs."""

    def forward(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        return start_response(status, headers)

    return page(environ, forward)


def reading(system: System) -> Application:
    """Return the page that reads one key."""
    session = system.session

    def read(environ: Environ, start_response: Any) -> Iterable[bytes]:
        session(environ)["user_id"]
        return page(environ, start_response)

    return read


def writing(system: System) -> Application:
    """Return the page that reads and writes one key."""
    session = system.session

    def write(environ: Environ, start_response: Any) -> Iterable[bytes]:
        found = session(environ)
        found["counter"] = found["counter"] + 1
        return page(environ, start_response)

    return write


def creating(system: System, data: dict[str, Any] = _SMALL) -> Application:
    """Return the page that fills a session."""
    session = system.session

    def create(environ: Environ, start_response: Any) -> Iterable[bytes]:
        session(environ).update(data)
        return page(environ, start_response)

    return create


def template(cookie: str | None = None) -> Environ:
    """Return the environ of a request, as a server makes it."""
    environ: Environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if cookie is not None:
        environ["HTTP_COOKIE"] = NOISE_COOKIE + cookie
    return environ


def new_session(system: System, data: dict[str, Any] | None = None) -> str:
    """Fill a session and return the cookie that a browser would send from then on."""
    cookies: list[str] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        cookies.extend(value.partition(";")[0] for name, value in headers if name.lower() == "set-cookie")
        return lambda data: None

    list(system.wrap(creating(system, _SMALL if data is None else data))(template(), start_response))
    return cookies[-1]


def new_large_session(system: System) -> str:
    """Fill a session with 50 KB; see :func:`new_session`."""
    return new_session(system, _LARGE)
