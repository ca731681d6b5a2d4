"""Private MariaDB servers."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pymysql

from .processes import run_to_end
from .programs import require
from .server import Server
from .session import session_directory

_PACKAGE = "mariadb-server"
# Both for the program that makes the data and for the server. The log is as large as when it was made.
_INNODB = ("--innodb-log-file-size=8M", "--innodb-buffer-pool-size=16M")
_SETTINGS = (
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    # Relative to the data, because the path of a socket must be short.
    "--socket=mariadb.sock",
    "--pid-file=mariadb.pid",
    "--performance-schema=OFF",
    "--character-set-server=utf8mb4",
    "--max-connections=50",
    # Given to the kernel at each commit, and so safe from a killed process; 0 would lose the last second.
    "--innodb-flush-log-at-trx-commit=2",
)


class MariaDB(Server):
    """MariaDB with a database ``test``; root has no password."""

    ERRORS = (pymysql.MySQLError, OSError)

    @property
    def url(self) -> str:
        return f"mariadb://root@127.0.0.1:{self.port}/test"

    @staticmethod
    def ask(url: str, seconds: float) -> str:
        address = urlsplit(url)
        with pymysql.connect(
            host=address.hostname, port=address.port or 3306, user=address.username, password=address.password or "",
            database=address.path.strip("/"), connect_timeout=seconds, read_timeout=seconds,
        ) as connection, connection.cursor() as cursor:  # fmt: skip
            cursor.execute("SELECT @@datadir")
            ((directory,),) = cursor.fetchall()
        return str(directory)

    def _is_own(self, answer: str) -> bool:
        return Path(answer) == self._data

    @property
    def _data(self) -> Path:
        return self.directory / "mariadb"

    def _prepare(self) -> None:
        run_to_end(["cp", "--archive", str(_template()), str(self._data)], self.directory)

    def _command(self) -> list[str]:
        start = [require("mariadbd", _PACKAGE), "--no-defaults", *_user_options(), f"--datadir={self._data}"]
        return [*start, f"--port={self.port}", *_INNODB, *_SETTINGS, *self.options]


@cache
def _template() -> Path:
    """Make the data of a new server, of which each gets a copy."""
    install = [require("mariadb-install-db", _PACKAGE), "--no-defaults", *_user_options()]
    directory = session_directory()
    data = directory / "mariadb"
    # Otherwise only the system's root could be the database's, and not over TCP.
    run_to_end([*install, f"--datadir={data}", "--auth-root-authentication-method=normal", *_INNODB], directory)
    return data


def _user_options() -> list[str]:
    """Return what lets it run as root, and own its files then."""
    return ["--user=root"] if os.geteuid() == 0 else []
