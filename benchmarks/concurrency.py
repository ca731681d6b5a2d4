"""How many updates are lost, and how many logouts revived, when requests of one session overlap."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import systems
from benchmarks.driver import Environ
from benchmarks.report import Table
from benchmarks.systems import Application, System

_THREADS, _WRITES = 4, 50


def tables(folder: Path, rounds: int) -> Iterator[Table]:
    """Yield the one table."""
    table = Table(
        f"Overlapping requests of one session: {_THREADS} threads, {_WRITES} each",
        ["system", "own keys lost", "counter: increments lost", "logouts revived", "budget"],
    )
    known = systems.all_systems(folder)
    for name in ("memory", "file", "Beaker memory", "Beaker file"):
        system = known[name]
        budget = "" if name.startswith("Beaker") else "0 / 0; 0"
        table.add(name, str(_lost_keys(system)), str(_lost_increments(system)), str(_revived(system)), budget)
    yield table


def _lost_keys(system: System) -> int:
    def add(environ: Environ, start_response: Any) -> Iterable[bytes]:
        system.session(environ)[environ["PATH_INFO"]] = True
        return systems.page(environ, start_response)

    cookie = systems.new_session(system, {"user_id": 1})
    _in_threads(system.wrap(add), cookie)
    written = _look(system, cookie, lambda session: sum(key.startswith("/") for key in session))
    return _THREADS * _WRITES - int(written)


def _lost_increments(system: System) -> int:
    def increment(environ: Environ, start_response: Any) -> Iterable[bytes]:
        session = system.session(environ)
        if hasattr(session, "mutate"):
            session.mutate("counter", lambda count: count + 1)
        else:
            session["counter"] = session["counter"] + 1
        return systems.page(environ, start_response)

    cookie = systems.new_session(system, {"counter": 0})
    _in_threads(system.wrap(increment), cookie)
    return _THREADS * _WRITES - int(_look(system, cookie, lambda session: session["counter"]))


def _revived(system: System) -> int:
    """Log out while a request that has read the session is still running; count what comes back."""
    revived = 0
    for _ in range(_WRITES):
        cookie = systems.new_session(system, {"user_id": 1})

        def slow(environ: Environ, start_response: Any, cookie: str = cookie) -> Iterable[bytes]:
            session = system.session(environ)
            session["user_id"]
            _request(system.wrap(_log_out(system)), cookie)
            session["last_page"] = "/slow"
            return systems.page(environ, start_response)

        _request(system.wrap(slow), cookie)
        revived += bool(_look(system, cookie, lambda session: "user_id" in session))
    return revived


def _log_out(system: System) -> Application:
    def log_out(environ: Environ, start_response: Any) -> Iterable[bytes]:
        session = system.session(environ)
        getattr(session, "flush", session.delete)()
        return systems.page(environ, start_response)

    return log_out


def _in_threads(app: Application, cookie: str) -> None:
    together = threading.Barrier(_THREADS)

    def visit(number: int) -> None:
        together.wait()
        for count in range(_WRITES):
            _request(app, cookie, f"/{number}-{count}")

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _look(system: System, cookie: str, question: Callable[[Any], object]) -> Any:
    answers: list[object] = []

    def look(environ: Environ, start_response: Any) -> Iterable[bytes]:
        answers.append(question(system.session(environ)))
        return systems.page(environ, start_response)

    _request(system.wrap(look), cookie)
    return answers[0]


def _request(app: Application, cookie: str, path: str = "/") -> None:
    environ = {**systems.template(cookie), "PATH_INFO": path}
    for _ in app(environ, lambda status, headers, exc_info=None: lambda data: None):
        pass
