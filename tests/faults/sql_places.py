"""A table on PostgreSQL and MariaDB that a store reaches through a proxy, as a user or under a name of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

import psycopg
import pymysql
import services
from backends import new_name
from losing_proxy import LosingProxy

from wsgi_sessions.stores.sql import SQLStore

ENGINES = ("postgresql", "mariadb")


class SQLPlace(NamedTuple):
    """An empty table.

    :param url: of the server, through the proxy.
    :param kill: ends all connections that use the url.
    """

    kind: str
    table: str
    url: str
    proxy: LosingProxy
    kill: Callable[[], None]

    def open(self) -> SQLStore:
        """Return another store."""
        return SQLStore(self.url, table=self.table)

    def connect(self) -> Any:
        """Return a connection of the administrator's, around the proxy, that begins a transaction by itself."""
        return connect(self.kind)


@contextmanager
def sql_place(kind: str) -> Iterator[SQLPlace]:
    """Make a table, on a server that all tests share.

    :param kind: one of ENGINES.
    """
    server, name = services.shared(kind), new_name()
    with closing(SQLStore(server.url, table=name)) as store, LosingProxy(server.port) as proxy:
        store.create_schema()
        url, kill = _WAYS[kind](proxy.through(server.url), name)
        try:
            yield SQLPlace(kind, name, url, proxy, kill)
        finally:
            execute(kind, f"DROP TABLE {name}")


def connect(kind: str) -> Any:
    """Return a connection of the administrator's that begins a transaction by itself."""
    server = services.shared(kind)
    if kind == "postgresql":
        return psycopg.connect(server.url)
    return pymysql.connect(host="127.0.0.1", port=server.port, user="root", database="test", read_timeout=10)


def execute(kind: str, statement: str) -> list[Any]:
    """Run a statement as the administrator, and return its rows."""
    with closing(connect(kind)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        rows = list(cursor.fetchall()) if cursor.description else []
        connection.commit()
        return rows


def _postgresql(url: str, name: str) -> tuple[str, Callable[[], None]]:
    query = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{name}'"
    return f"{url}?application_name={name}", lambda: _run("postgresql", query)


def _mariadb(url: str, name: str) -> tuple[str, Callable[[], None]]:
    _run("mariadb", f"CREATE USER {name}@127.0.0.1")
    _run("mariadb", f"GRANT ALL ON test.* TO {name}@127.0.0.1")
    return url.replace("root@", f"{name}@"), lambda: _run("mariadb", f"KILL USER {name}@127.0.0.1")


def _run(kind: str, statement: str) -> None:
    execute(kind, statement)


_WAYS: dict[str, Callable[[str, str], tuple[str, Callable[[], None]]]] = {
    "postgresql": _postgresql,
    "mariadb": _mariadb,
}
