"""Real servers as processes, on loopback ports that nobody else can take.

The test opens the listening socket and hands it over, so that the first
request waits for the server instead of being refused. Run as a program, this
file is the server for what has no command of its own::

    python tests/servers.py waitress module:application FD
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from demo.browser import Browser

ROOT = Path(__file__).parent.parent
APPS = ROOT / "tests" / "apps"
EXAMPLES = ROOT / "examples"
# Seconds. No server that works takes as long to end, and no request as long to be answered.
TIMEOUT = 20

_GUNICORN = ("-m", "gunicorn", "--workers=2", "--graceful-timeout=10")
#: The servers and how each is started; a command that ends in the application, except for the socket.
COMMANDS: dict[str, tuple[str, ...]] = {
    "wsgiref": (__file__, "wsgiref"),
    "waitress": (__file__, "waitress"),
    "gunicorn-sync": _GUNICORN,
    "gunicorn-gthread": (*_GUNICORN, "--threads=4"),
    "gunicorn-preload-sync": (*_GUNICORN, "--preload"),
    "gunicorn-preload-gthread": (*_GUNICORN, "--preload", "--threads=4"),
}
#: Those that answer several requests at once.
CONCURRENT = [kind for kind in COMMANDS if kind != "wsgiref"]
GUNICORN = [kind for kind in COMMANDS if kind.startswith("gunicorn")]

# What a log must not hold unless a test expects it. Sockets are the servers' own: waitress leaves some unclosed.
_ALARMING = ("Traceback", "Exception ignored", "unclosed file <_io")
# An older gunicorn leaves this open if it had to kill a worker, which does not hear a signal while it starts.
_OF_GUNICORN = "unclosed file <_io.FileIO"


@dataclass
class Server:
    """A running server.

    :param log_path: all that it, and the processes that it started, wrote to stdout and stderr.
    """

    port: int
    process: subprocess.Popen[bytes]
    log_path: Path

    @property
    def log(self) -> str:
        """What was written so far."""
        return self.log_path.read_text()

    def browser(self, timeout: float = TIMEOUT) -> Browser:
        """Return a browser without cookies."""
        return Browser(self.port, timeout=timeout)

    def stop(self) -> None:
        """End it as an operator does, by its id; must be done in time."""
        self.process.terminate()
        self.process.wait(TIMEOUT)


@contextmanager
def running(kind: str, application: str, directory: Path, *options: str, quiet: bool = True) -> Iterator[Server]:
    """Run an application on a server, and see that it has ended afterwards.

    :param application: ``module:name``; the modules of tests/apps and examples can be named.
    :param directory: gets ``sessions``, which the application finds as ``$SESSIONS``, and the log.
    :param options: more of the server's own.
    :param quiet: fail if the log holds a traceback or tells of a file that was left open.
    """
    log_path = directory / f"{kind}.log"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command = _command(kind, application, listener.fileno(), options)
        environment = _environment(directory)
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=[listener.fileno()], start_new_session=True,
            )  # fmt: skip
    server = Server(port, process, log_path)
    with ended(process):
        try:
            yield server
        except BaseException:
            # pytest shows it with the failure.
            sys.stderr.write(server.log)
            raise
        server.stop()
        if quiet:
            told = server.log.replace(_OF_GUNICORN, "")
            alarming = [word for word in _ALARMING if word in told]
            assert not alarming, server.log


@contextmanager
def ended(process: subprocess.Popen[Any]) -> Iterator[None]:
    """See that a process has ended after the block, however that ends."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(TIMEOUT)
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def free_port() -> int:
    """Return a port that was free a moment ago, for what cannot be handed a socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def at_once(works: list[Callable[[], Any]]) -> list[Any]:
    """Return what each of them returned, each in a thread of its own."""
    with ThreadPoolExecutor(len(works)) as pool:
        futures = [pool.submit(work) for work in works]
        return [future.result(4 * TIMEOUT) for future in futures]


def _command(kind: str, application: str, descriptor: int, options: tuple[str, ...]) -> list[str]:
    # Not all warnings: some of the servers and frameworks use what is deprecated.
    start = [sys.executable, "-W", "always::ResourceWarning", *COMMANDS[kind], *options]
    if kind.startswith("gunicorn"):
        return [*start, f"--bind=fd://{descriptor}", application]
    return [*start, application, str(descriptor)]


def _environment(directory: Path) -> dict[str, str]:
    paths = os.pathsep.join(map(str, (ROOT, APPS, EXAMPLES)))
    return {**os.environ, "PYTHONPATH": paths, "SESSIONS": str(directory / "sessions")}


def _serve() -> None:
    kind, name, descriptor = sys.argv[1:]
    module, _, attribute = name.partition(":")
    application = getattr(import_module(module), attribute)
    listener = socket.socket(fileno=int(descriptor))
    if kind == "waitress":
        waitress: Any = import_module("waitress")
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        waitress.serve(application, sockets=[listener], threads=8)
    else:
        _serve_wsgiref(application, listener)


def _serve_wsgiref(application: Any, listener: socket.socket) -> None:
    class QuietHandler(WSGIRequestHandler):
        def log_message(self, *arguments: Any) -> None: ...

    host, port = listener.getsockname()
    with WSGIServer((host, port), QuietHandler, bind_and_activate=False) as server:
        server.socket.close()
        server.socket = listener
        server.server_name, server.server_port = host, port
        server.setup_environ()
        server.set_app(application)
        # wsgiref would take a SystemExit for an error of the application; and shutdown() waits for the loop's end.
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    _serve()
