"""Private PostgreSQL servers."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from functools import cache
from pathlib import Path

import psycopg

from .processes import run_to_end
from .programs import require
from .server import Server
from .session import session_directory

_PACKAGE = "postgresql"
# Speed instead of safety from power cuts: what is committed survives the processes, and no data the tests.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "50",
    "shared_buffers": "16MB",
    # In the folder of the data, instead of in /dev/shm, where a killed server would leave it.
    "dynamic_shared_memory_type": "mmap",
}


class PostgreSQL(Server):
    """PostgreSQL with a database ``test``; it trusts everyone on this machine."""

    # "Fast": ends the clients' sessions.
    STOP_SIGNAL = signal.SIGINT
    ERRORS = (psycopg.Error,)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/test"

    @staticmethod
    def ask(url: str, seconds: float) -> str:
        with psycopg.connect(url, connect_timeout=max(2, round(seconds))) as connection:
            (directory,) = connection.execute("SELECT current_setting('data_directory')").fetchone()
        return str(directory)

    def _is_own(self, answer: str) -> bool:
        return answer == str(self._data)

    @property
    def _data(self) -> Path:
        return self.directory / "postgresql"

    def _prepare(self) -> None:
        # As it is, with its owner.
        run_to_end(["cp", "--archive", str(_template()), str(self._data)], self.directory)

    def _command(self) -> list[str]:
        settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        return [_program("postgres"), "-D", str(self._data), "-p", str(self.port), *settings, *self.options]

    def _user(self) -> str | None:
        return _user()

    def _discard(self) -> None:
        """Remove the segment of System V shared memory; one that ended in order has removed it, and its id."""
        ipcrm, file = shutil.which("ipcrm"), self._data / "postmaster.pid"
        if ipcrm and file.exists():
            *_, segment = file.read_text().splitlines()[6].split()
            subprocess.run([ipcrm, "-m", segment], check=False, capture_output=True, timeout=10)


@cache
def _template() -> Path:
    """Make the data of a new server, of which each gets a copy."""
    initdb, postgres, user = _program("initdb"), _program("postgres"), _user()
    directory = session_directory()
    data = directory / "postgresql"
    data.mkdir()
    if user is not None:
        shutil.chown(data, user)
    options = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync"]
    run_to_end([initdb, "-D", str(data), *options], directory, user=user)
    alone = [postgres, "--single", "-D", str(data), "-c", "fsync=off", "postgres"]
    run_to_end(alone, directory, user=user, given=b"CREATE DATABASE test\n")
    return data


def _program(name: str) -> str:
    # All from one folder: several versions can be installed, and not each program need be on PATH.
    return str(Path(require("initdb", _PACKAGE)).resolve().with_name(name))


def _user() -> str | None:
    """Return an ordinary user: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
