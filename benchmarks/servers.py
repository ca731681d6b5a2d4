"""How much of a bare application's throughput under gunicorn is left with sessions in files; needs wrk."""

from __future__ import annotations

import http.client
import logging
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import systems
from benchmarks.report import Table
from benchmarks.systems import Application, System

_SERVERS = {
    "sync, 2 workers": ["--workers", "2"],
    "gthread, 1 worker, 8 threads": ["--workers", "1", "--worker-class", "gthread", "--threads", "8"],
}
_BUDGETS = {"untouched": ">= 97 %", "read": ">= 85 %", "write": ">= 60 %"}
_SESSIONS = 64
_SECONDS = 2
_REPEATS = 5
_STARTUP_SECONDS = 20
# wrk sends the cookies of many sessions in turn, so that the store and not one session's conflicts is measured.
_SCRIPT = """
local cookies = {}
for line in io.lines(os.getenv("BENCHMARK_COOKIES")) do cookies[#cookies + 1] = line end
local number = 0
request = function()
  number = number % #cookies + 1
  return wrk.format("GET", os.getenv("BENCHMARK_PATH"), {["Cookie"] = cookies[number]})
end
"""


def tables(folder: Path, rounds: int) -> Iterator[Table]:
    """Yield one table for each kind of server."""
    if shutil.which("wrk") is None:
        print("wrk is not installed (Debian package wrk): the servers were not measured\n")
        return
    for name, arguments in _SERVERS.items():
        yield _table(name, arguments, folder / name.partition(",")[0])


def _table(name: str, arguments: list[str], folder: Path) -> Table:
    table = Table(
        f"gunicorn, {name}: requests per second",
        ["page", "bare", "file", "keeps", "budget", "Beaker file", "keeps"],
    )
    folder.mkdir()
    script = folder / "cookies.lua"
    script.write_text(_SCRIPT)
    with _gunicorn(arguments, folder) as port:
        for system in ("ours", "beaker"):
            lines = [_first_cookie(port, f"/{system}/create") for _ in range(_SESSIONS)]
            (folder / f"{system}.cookies").write_text("\n".join(lines))
        for page in ("untouched", "read", "write"):
            # The three in turn, so that drift hits all of them alike.
            rates: dict[str, list[float]] = {"bare": [], "ours": [], "beaker": []}
            for _ in range(_REPEATS):
                for system, measured in rates.items():
                    cookies = folder / f"{'ours' if system == 'bare' else system}.cookies"
                    measured.append(_wrk(port, f"/{system}/{page}", cookies, script))
            bare, ours, beaker = (statistics.median(measured) for measured in rates.values())
            budget = _BUDGETS[page] if name.startswith("sync") else ""
            table.add(page, bare, ours, f"{ours / bare:.0%}", budget, beaker, f"{beaker / bare:.0%}")
    return table


def _first_cookie(port: int, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.headers["Set-Cookie"].partition(";")[0]
    finally:
        connection.close()


def _wrk(port: int, path: str, cookies: Path, script: Path) -> float:
    """Return how many requests a second the server answers."""
    output = subprocess.run(
        ["wrk", "-t1", "-c8", f"-d{_SECONDS}s", "-s", str(script), f"http://127.0.0.1:{port}/"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "BENCHMARK_COOKIES": str(cookies), "BENCHMARK_PATH": path},
    ).stdout
    if "Non-2xx" in output:
        raise RuntimeError(f"{path} did not always answer 200:\n{output}")
    found = re.search(r"Requests/sec:\s+([\d.]+)", output)
    assert found is not None
    return float(found[1])


@contextmanager
def _gunicorn(arguments: list[str], folder: Path) -> Iterator[int]:
    """Run gunicorn with the application below; yield its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--log-level", "error"]
    server = subprocess.Popen(
        [*command, *arguments, "benchmarks.servers:application()"], env={**os.environ, "BENCHMARK_FOLDER": str(folder)}
    )
    try:
        _wait_for(port)
        yield port
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=10)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + _STARTUP_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def application() -> Application:
    """Return what gunicorn serves: every page of every system, by its path."""
    # The cookie is Secure, and wrk speaks http: a warning that is of no use here.
    logging.getLogger("wsgi_sessions").setLevel(logging.ERROR)
    folder = Path(os.environ["BENCHMARK_FOLDER"])
    known = systems.all_systems(folder)
    pages: dict[str, Application] = {}
    for path in ("untouched", "read", "write", "create"):
        pages[f"/bare/{path}"] = systems.page
    for name, system in (("ours", known["file"]), ("beaker", known["Beaker file"])):
        for path, app in _pages_of(system).items():
            pages[f"/{name}/{path}"] = system.wrap(app)
    return lambda environ, start_response: pages[environ["PATH_INFO"]](environ, start_response)


def _pages_of(system: System) -> dict[str, Application]:
    return {
        "untouched": systems.page,
        "read": systems.reading(system),
        "write": systems.writing(system),
        "create": systems.creating(system),
    }
