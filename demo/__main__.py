"""Starts the demo under gunicorn, visits it, and serves it until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPException
from pathlib import Path

from wsgi_sessions import store_from_url

from .visitor import NotAsItShouldBe, visit

# Seconds that gunicorn gives requests that are under way, and that we give gunicorn.
_GRACE = 5
_PATIENCE = 10


def main() -> int:
    """Run the demo; 0 if every step was as it should be."""
    options = _parse_options()
    # Whoever ends this process ends it as Ctrl-C does: with everything cleaned up.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="wsgi-sessions-demo-") as directory:
            return _run(Path(directory), options.port, options.store, is_once=options.once)
    except KeyboardInterrupt:
        _say("\nThe server has stopped, and its sessions are removed.")
        return 0
    except OSError as error:
        _say(f"The demo could not run: {error}")
        return 1


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the visit")
    parser.add_argument("--store", metavar="URL", help="where sessions are kept; in files of its own unless given")
    parser.add_argument("--port", type=int, default=0, help="of 127.0.0.1; a free one unless given")
    return parser.parse_args()


def _run(directory: Path, port: int, store: str | None, *, is_once: bool) -> int:
    url = store or (directory / "sessions").as_uri()
    with closing(store_from_url(url)) as opened:
        atomic = opened.atomic
    # It listens before gunicorn runs: nobody else can take the port, and the first request waits for its worker.
    with socket.create_server(("127.0.0.1", port)) as listener:
        port = listener.getsockname()[1]
        log = directory / "gunicorn.log"
        with _gunicorn(listener, url, log) as process:
            _say(f"gunicorn, 2 workers of 4 threads, at http://127.0.0.1:{port}/")
            try:
                visit(port, _say, atomic=atomic)
            except (NotAsItShouldBe, OSError, HTTPException) as error:
                _say(f"\nThis is not as it should be: {error}\n\n{log.read_text()}")
                return 1
            if is_once:
                return 0
            _say(f"\nServing at http://127.0.0.1:{port}/ until Ctrl-C.")
            return process.wait()


@contextmanager
def _gunicorn(listener: socket.socket, store: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run gunicorn, and end it by its id. It shares the listener, which is closed here."""
    command = [sys.executable, "-m", "gunicorn", "--workers=2", "--threads=4", f"--bind=fd://{listener.fileno()}"]
    command += [f"--graceful-timeout={_GRACE}", f"demo.app:build_from_url({store!r})"]
    with log.open("wb") as output:
        # In a session of its own, so that the terminal's Ctrl-C reaches this process only, which then ends gunicorn.
        process = subprocess.Popen(
            command, pass_fds=[listener.fileno()], stdout=output, stderr=output, start_new_session=True
        )
    listener.close()
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
