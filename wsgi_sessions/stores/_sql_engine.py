"""The connections of a SQLStore: in autocommit, bounded in time, checked before each use.

A store has connections of its own, also where it is given an Engine, whose
settings it takes over: the application's transactions and isolation level are
not its business, and a statement is one round trip.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import cache
from typing import Any, NoReturn

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, Dialect, make_url
from sqlalchemy.exc import NoSuchModuleError
from sqlalchemy.pool import NullPool

from .. import clock
from ._sockets import is_quiet

#: Seconds, after which a server that says nothing has failed: to connect (libpq takes no less), and to answer.
_CONNECT_SECONDS = 2
_ANSWER_SECONDS = 2.0
# To tell a server that it need not answer any more: it may be as silent to that.
_CANCEL_SECONDS = 0.5
# The drivers that are tested.
_DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
_CONNECT_ARGUMENTS: dict[str, dict[str, Any]] = {
    "psycopg": {"connect_timeout": _CONNECT_SECONDS},
    "pymysql": {
        "connect_timeout": _CONNECT_SECONDS,
        "read_timeout": _ANSWER_SECONDS,
        "write_timeout": _ANSWER_SECONDS,
        # Or the server would go on waiting for a lock that we have given up on, 50 seconds by default.
        "init_command": "SET SESSION innodb_lock_wait_timeout = 1",
    },
    "pysqlite": {"timeout": _ANSWER_SECONDS},
}
_OPTIONS: dict[str, Any] = {
    "isolation_level": "AUTOCOMMIT",
    "hide_parameters": True,
}


def parse_url(url: str | URL) -> URL:
    """Return a URL with the driver that is used unless it names one.

    :raises ValueError: if it is none, or names a database in memory.
    :raises ImportError: if its driver is not installed.
    """
    try:
        parsed = make_url(url)
    except Exception:
        # SQLAlchemy's message repeats the URL, password and all.
        raise ValueError("this is no database URL: write 'postgresql://user:password@host/database'") from None
    refuse_memory(parsed)
    parsed = parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))
    _refuse_missing_driver(parsed)
    return parsed


def _refuse_missing_driver(url: URL) -> None:
    try:
        url.get_dialect().import_dbapi()
    except ImportError as error:
        extra = {"postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}.get(url.get_backend_name())
        hint = f": pip install wsgi-sessions[{extra}]" if extra else ""
        raise ImportError(f"SQLStore needs the driver {url.get_driver_name()} for this URL{hint}") from error
    except NoSuchModuleError:
        raise ValueError(f"SQLAlchemy knows no database {url.drivername!r}") from None


def refuse_memory(url: URL) -> None:
    """Raise ValueError for a SQLite database that no other connection would see."""
    in_memory = ":memory:" in (url.database or ":memory:") or url.query.get("mode") == "memory"
    if url.get_backend_name() == "sqlite" and in_memory:
        raise ValueError("SQLStore needs a database that its connections share; in memory use MemoryStore()")


def open_engine(source: Engine | URL) -> Engine:
    """Return a new Engine that keeps no connections; it opens none."""
    if isinstance(source, URL):
        return _bounded_engine(source)
    if source.url.get_backend_name() == "sqlite":
        # Its pool may be one that belongs to a thread, or holds the only connection there is.
        return _bounded_engine(source.url)
    return _lent_engine(source, **_OPTIONS)


def _lent_engine(source: Engine, **options: Any) -> Engine:
    """Return an Engine that connects as another one does, beside its pool."""
    lender = source.pool.recreate()

    def connect() -> Any:
        lent = lender.connect()
        connection = lent.driver_connection
        lent.detach()
        return connection

    return create_engine(source.url, creator=connect, poolclass=NullPool, **options)


def schema_engine(source: Engine | URL) -> Engine:
    """Return an Engine without bounds in time, and with transactions, for what an operator does once."""
    url = source.url if isinstance(source, Engine) else source
    if url.get_backend_name() == "sqlite":
        return open_engine(source)
    # The application's may be in autocommit.
    options = {"isolation_level": "READ COMMITTED", "hide_parameters": True}
    if isinstance(source, Engine):
        return _lent_engine(source, **options)
    return create_engine(source, poolclass=NullPool, **options)


def _bounded_engine(url: URL) -> Engine:
    arguments = _CONNECT_ARGUMENTS.get(url.get_driver_name(), {})
    engine = create_engine(url, connect_args=arguments, poolclass=NullPool, **_OPTIONS)
    if engine.driver in _CONNECTS:
        connect = _CONNECTS[engine.driver]()
        event.listen(engine, "do_connect", lambda _dialect, _record, given, options: connect(*given, **options))
    return engine


def is_alive(dialect: Dialect, connection: Any) -> bool:
    """Tell whether an idle connection can be used; its server is asked only if there is something to read."""
    # PyMySQL has no method for it.
    source = connection if hasattr(connection, "fileno") else getattr(connection, "_sock", None)
    try:
        if source is None or not is_quiet(source):
            dialect.do_ping(connection)
    except (dialect.loaded_dbapi.Error, OSError, ValueError):
        return False
    return True


@cache
def _psycopg_connect() -> Callable[..., Any]:
    """Return what connects with a connection that does not wait for ever."""
    from psycopg import Connection, Error, OperationalError, capabilities

    class BoundedConnection(Connection[Any]):
        """Gives up on a statement that its server does not answer: libpq itself knows no bound."""

        def wait(self, gen: Generator[Any, Any, Any], *rest: Any, **named: Any) -> Any:
            return super().wait(self._bounded(gen), *rest, **named)

        def _bounded(self, generator: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
            deadline = clock.monotonic() + _ANSWER_SECONDS
            try:
                wanted = next(generator)
                while True:
                    ready = yield wanted
                    # psycopg looks up every tenth of a second even if nothing has come.
                    if not ready and clock.monotonic() > deadline:
                        self._give_up()
                    wanted = generator.send(ready)
            except StopIteration as end:
                return end.value

        def _give_up(self) -> NoReturn:
            # Or the server would carry it out all the same, as soon as nobody is in its way any more. Before libpq 17,
            # which psycopg's binary package has, that takes as long as it takes, and stops all other threads.
            if capabilities.has_cancel_safe():
                with suppress(Error):
                    self.cancel_safe(timeout=_CANCEL_SECONDS)
            self.close()
            raise OperationalError(f"the server did not answer for {_ANSWER_SECONDS:g} seconds")

    return BoundedConnection.connect


@cache
def _pymysql_connect() -> Callable[..., Any]:
    """Return what connects without reading the certificates of the machine for each connection that trusts any server.

    With OpenSSL 3 that takes 30 ms, in which no other thread runs (python/cpython#95031).
    """
    from pymysql.connections import Connection

    shared: list[Any] = []
    # Those that connect first would all make one.
    lock = threading.Lock()

    class TrustingConnection(Connection):  # type: ignore[misc]  # it has no types
        def _create_ssl_ctx(self, options: Any) -> Any:
            if options:
                return super()._create_ssl_ctx(options)
            with lock:
                if not shared:
                    shared.append(super()._create_ssl_ctx(options))
            return shared[0]

    return TrustingConnection


# By driver, for those whose own way to connect will not do; called only where there is the driver.
_CONNECTS: dict[str, Callable[[], Callable[..., Any]]] = {"psycopg": _psycopg_connect, "pymysql": _pymysql_connect}
