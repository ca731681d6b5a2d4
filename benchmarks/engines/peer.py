"""Session systems around the same three pages, whatever framework is between."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from benchmarks import systems
from benchmarks.driver import Environ
from benchmarks.systems import Application, System

#: The pages that have a session.
SCENARIOS = ("read", "write", "create")


class Peer(NamedTuple):
    """A session system.

    :param name: what the tables call it.
    :param pages: an application each for "read", "write", "create", and "bare": the same one without a session.
        Each is asked for a path of its name, so that one application may be all of them.
    """

    name: str
    pages: dict[str, Application]


def of_system(system: System) -> Peer:
    """Return a system that is middleware around the plain pages."""
    wrapped = {
        "read": systems.reading(system),
        "write": systems.writing(system),
        "create": systems.creating(system),
    }
    return Peer(system.name, {"bare": systems.page, **{name: system.wrap(page) for name, page in wrapped.items()}})


def request(scenario: str, cookie: str | None = None) -> Environ:
    """Return the environ of a request for a page."""
    environ = systems.template(cookie)
    # The frameworks insist on these.
    return {**environ, "PATH_INFO": f"/{scenario}", "wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr}


def new_session(peer: Peer) -> str:
    """Fill a session and return the cookie that a browser would send from then on.

    :raises RuntimeError: if the page does not answer 200, or sets no cookie.
    """
    headers = answer(peer.pages["create"], request("create"))
    cookies = [value.partition(";")[0] for name, value in headers if name.lower() == "set-cookie"]
    if not cookies:
        raise RuntimeError(f"{peer.name} did not set a cookie")
    return cookies[-1]


def answer(app: Application, environ: Environ) -> list[tuple[str, str]]:
    """Send one request and return the headers of the answer.

    :raises RuntimeError: if it is not 200, which nobody would notice while time is taken.
    """
    answers: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        answers.append((status, headers))
        return _write

    body: Iterable[bytes] = app(environ, start_response)
    b"".join(body)
    getattr(body, "close", lambda: None)()
    status, headers = answers[-1]
    if not status.startswith("200"):
        raise RuntimeError(f"{environ['PATH_INFO']} answered {status}")
    return headers


def _write(data: bytes) -> None:
    """Take what an application writes; none of these does."""
