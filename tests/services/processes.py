"""Processes that end with the test run, whatever happens to it.

Run as a program, this file is the watcher, a process that outlives a killed
test run for the moment that it takes to kill what that has left.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

# Seconds. A server that takes longer to end, or to be gone when killed, is stuck.
_TIMEOUT = 15
_PAUSE = 0.005
# Bytes of a log that are kept.
_LOG_KEPT = 65_536
# Not the caller's: PGPORT, MYSQL_HOME and a foreign HOME change what these programs do.
_ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


class ServerError(RuntimeError):
    """A server, or a program that prepares one, did not do what it must."""


class Process:
    """A program that runs, with all the processes that it starts.

    :param directory: where it runs.
    :param user: who it runs as; None for who runs the tests.
    :param given: what it reads from its standard input.
    """

    def __init__(self, command: Sequence[str], directory: Path, *, user: str | None = None, given: bytes = b"") -> None:
        identity: dict[str, Any] = {}
        if user is not None:
            identity = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
        # Not None while the process can write to it.
        self._log_file: Any = tempfile.TemporaryFile()  # noqa: SIM115
        self._log = ""
        try:
            with tempfile.TemporaryFile() as source:
                source.write(given)
                source.seek(0)
                self._process = subprocess.Popen(
                    command, cwd=directory, env=_ENVIRONMENT, stdin=source, stdout=self._log_file,
                    stderr=self._log_file, start_new_session=True, **identity,
                )  # fmt: skip
        except BaseException:
            self._log_file.close()
            raise
        self.pid = self._process.pid
        _watcher().watch(self.pid)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def log(self) -> str:
        """The beginning of what it wrote to its standard output and error."""
        if self._log_file is None:
            return self._log
        # Not read(): the process writes where this file's position is.
        return os.pread(self._log_file.fileno(), _LOG_KEPT, 0).decode(errors="replace")

    def wait(self, seconds: float) -> int:
        """Return its exit status.

        :raises subprocess.TimeoutExpired: it did not end in time.
        """
        status = self._process.wait(seconds)
        self._has_ended()
        return status

    def stop(self, number: signal.Signals) -> None:
        """Ask it with a signal to end, and kill it if it does not."""
        self.resume()
        self._process.send_signal(number)
        try:
            self.wait(_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill it and all that it has started; they are gone when this returns."""
        if self.is_running:
            kill_all(self.pid)
        self.wait(_TIMEOUT)

    def pause(self) -> None:
        """Stop it and all that it has started in the middle of what they do."""
        with suppress(ProcessLookupError):
            stop_all(self.pid)

    def resume(self) -> None:
        """Let all of them go on."""
        if self.is_running:
            for pid in [*_descendants(self.pid), self.pid]:
                _send(pid, signal.SIGCONT)

    def _has_ended(self) -> None:
        if self._log_file is None:
            return
        _watcher().forget(self.pid)
        self._log = self.log
        self._log_file.close()
        self._log_file = None


def run_to_end(command: Sequence[str], directory: Path, *, user: str | None = None, given: bytes = b"") -> None:
    """Run a program that must end, and succeed, within a minute.

    :raises ServerError: it did not; with what it wrote.
    """
    process = Process(command, directory, user=user, given=given)
    try:
        status = process.wait(60)
    finally:
        process.kill()
    if status:
        raise ServerError(f"{command[0]} ended with status {status}:\n{process.log}")


def stop_all(pid: int) -> list[int]:
    """Stop a process and all that it has started, and return their ids.

    :raises ProcessLookupError: there is no such process.
    """
    # The parent first: it then starts no more.
    os.kill(pid, signal.SIGSTOP)
    _wait_for(lambda: _state(pid) in "TZ")
    family = [pid, *_descendants(pid)]
    for member in family:
        _send(member, signal.SIGSTOP)
    _wait_for(lambda: all(_state(member) in "TZ" for member in family))
    return family


def kill_all(pid: int) -> None:
    """Kill a process and all that it has started; they are gone when this returns."""
    with suppress(ProcessLookupError):
        family = stop_all(pid)
        for member in family:
            _send(member, signal.SIGKILL)
        # What has lost its parent is only a zombie until somebody asks for its status.
        _wait_for(lambda: all(_state(member) == "Z" for member in family))


def end_watcher() -> None:
    """End the watcher, which kills the processes that nobody has ended."""
    if _watcher.cache_info().currsize:
        _watcher().close()
        _watcher.cache_clear()


@cache
def _watcher() -> _Watcher:
    return _Watcher()


class _Watcher:
    """The test run's end of the pipe to the watcher; its end tells that the run has ended, however it did."""

    def __init__(self) -> None:
        # Without site-packages, which would take a while, and in a session of its own for the sake of Ctrl-C.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True, bufsize=0,
        )  # fmt: skip

    def watch(self, pid: int) -> None:
        self._tell(pid)

    def forget(self, pid: int) -> None:
        self._tell(-pid)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(2 * _TIMEOUT)

    def _tell(self, number: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"%d\n" % number)


def _watch() -> None:
    pids: set[int] = set()
    for line in sys.stdin:
        number = int(line)
        if number > 0:
            pids.add(number)
        else:
            pids.discard(-number)
    for pid in pids:
        kill_all(pid)


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        _, parent = _status(int(path.name))
        children.setdefault(parent, []).append(int(path.name))
    found = list(children.get(pid, ()))
    for child in found:  # which grows
        found.extend(children.get(child, ()))
    return found


def _state(pid: int) -> str:
    """Return T for a stopped process, Z for a zombie and for what is gone, and other letters."""
    return _status(pid)[0]


def _status(pid: int) -> tuple[str, int]:
    """Return the state and the parent of a process."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return "Z", 0
    # The name in parentheses may itself have spaces and parentheses. X is what a process is after Z.
    state, parent = line.rpartition(")")[2].split()[:2]
    return state.replace("X", "Z"), int(parent)


def _wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError("processes do not react to signals")
        time.sleep(_PAUSE)


if __name__ == "__main__":
    _watch()
