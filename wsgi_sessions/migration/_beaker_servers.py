"""Where Beaker keeps sessions: SQL databases, Redis and Memcached."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..exceptions import StoreError
from ..legacy import LegacyError, Reason
from . import pickles
from ._beaker_containers import Container, Stored, shown
from ._beaker_format import is_id
from ._failures import failure
from ._reading import inflate
from ._redis_values import RedisValues
from ._sql_rows import SQLRows

if TYPE_CHECKING:
    from sqlalchemy import Engine

# Seconds, to connect and to answer.
_CONNECT_SECONDS, _ANSWER_SECONDS = 1.0, 1.5
# Flags of python-memcached, and of the clients after it.
_IS_PICKLED, _IS_COMPRESSED = 1, 8
_PORT = 11211


class SQLContainer(Container):
    """Sessions of ``session.type = ext:database`` or ``ext:sqla``.

    >>> SQLContainer("postgresql+psycopg://app@localhost/app")  # doctest: +SKIP

    :param database: an Engine of SQLAlchemy, or the URL of one, which is Beaker's ``url``.
    :param table: its ``table_name``.
    :param schema: its ``schema_name``.
    :raises ValueError: if the URL is none.
    """

    def __init__(self, database: str | Engine, *, table: str = "beaker_cache", schema: str | None = None) -> None:
        self._rows = SQLRows(_engine(database), table, schema, ("namespace", "data"))

    def is_there(self) -> bool:
        """Tell whether the database has such a table; no connection stays open.

        :raises StoreError: if the database failed.
        """
        return self._rows.is_there()

    def read(self, session_id: str) -> bytes:
        """Return the data in the session's row; without the table there is none."""
        try:
            return _bytes(self._rows.read(session_id).value)
        except StoreError:
            # Dropped, for nobody needs it any more. Each database has its own error for that.
            if self.is_there():
                raise
        raise LegacyError(Reason.NOT_FOUND)

    def delete(self, session_id: str) -> None:
        """Delete the session's row."""
        self._rows.delete(session_id)

    def scan(self) -> Iterator[Stored]:
        """Yield the records of all rows, in as many queries as it takes for few of them to be in memory."""
        for row in self._rows.scan(""):
            if is_id(row.key):
                yield Stored(row.key, _scanned(row.value))


def _bytes(data: Any) -> bytes:
    # Not a number: that many bytes would be made.
    if not isinstance(data, bytes | bytearray | memoryview):
        raise LegacyError(Reason.CORRUPT, "its row holds no bytes")
    return bytes(data)


def _scanned(data: Any) -> bytes | LegacyError:
    try:
        return _bytes(data)
    except LegacyError as error:
        return error


def _engine(database: str | Engine) -> Engine:
    try:
        from sqlalchemy import Engine, create_engine
    except ImportError as error:
        raise ImportError("sessions in SQL need SQLAlchemy: pip install wsgi-sessions[sql]") from error
    from sqlalchemy.exc import ArgumentError

    if isinstance(database, Engine):
        return database
    if not isinstance(database, str):
        raise TypeError(f"the database must be an Engine of SQLAlchemy or a URL, not {type(database).__name__}")
    try:
        return create_engine(database, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        hint = "install it, or name another in the URL, such as postgresql+psycopg:// or mysql+pymysql://"
        raise ImportError(f"the database driver {error.name} is not installed: {hint}") from error
    except (ArgumentError, ValueError):
        # Not chained: the message may hold the URL, and that the password.
        pass
    raise ValueError("the URL of the database is none that SQLAlchemy reads, such as sqlite:///sessions.db")


class RedisContainer(Container):
    """Sessions of ``session.type = ext:redis`` or ``ext:rediscluster``.

    >>> RedisContainer("redis://localhost:6379/0")  # doctest: +SKIP

    :param server: a ``Redis`` or ``RedisCluster`` of redis-py that does not decode, or the URL of a server.
    :raises ValueError: if the URL is none, or the client decodes what it reads.
    """

    _is_session = re.compile(r"beaker_cache:([0-9a-f]{32}):session").fullmatch

    def __init__(self, server: Any) -> None:
        self._values = RedisValues(_redis(server) if isinstance(server, str) else server)

    def read(self, session_id: str) -> bytes:
        """Return the value of the session's key."""
        return self._values.read(_key(session_id))[0]

    def delete(self, session_id: str) -> None:
        """Delete the session's key."""
        self._values.delete(_key(session_id))

    def scan(self) -> Iterator[Stored]:
        """Yield the values of all keys of sessions; one may come twice."""
        for key, record, _ in self._values.scan("beaker_cache:"):
            if found := self._is_session(key):
                yield Stored(found[1], record)

    def where(self, session_id: str) -> str:
        """Return the key, cut short."""
        return f"beaker_cache:{shown(session_id)}"

    def value(self, record: bytes) -> Any:
        """Return what the record says."""
        return pickles.load(record)


def _key(session_id: str) -> str:
    return f"beaker_cache:{session_id}:session"


def _redis(url: str) -> Any:
    try:
        from redis import Redis
    except ImportError as error:
        raise ImportError("sessions in Redis need redis-py: pip install wsgi-sessions[redis]") from error
    try:
        return Redis.from_url(url, socket_connect_timeout=_CONNECT_SECONDS, socket_timeout=_ANSWER_SECONDS)
    except ValueError:
        # Not chained: the message may hold what was meant for a password.
        pass
    raise ValueError("the URL of Redis is none that redis-py reads, such as redis://localhost:6379/0")


class MemcachedContainer(Container):
    """Sessions of ``session.type = ext:memcached``. They cannot be listed.

    Clients differ in which of several servers they put a key on, so all are asked.

    >>> MemcachedContainer("10.0.0.1:11211;10.0.0.2:11211")  # doctest: +SKIP

    :param servers: Beaker's ``url``.
    :raises ValueError: if it names no server.
    """

    def __init__(self, servers: str) -> None:
        try:
            import pymemcache  # noqa: F401
        except ImportError as error:
            raise ImportError("sessions in Memcached need pymemcache: pip install wsgi-sessions[memcached]") from error
        self._servers = [_server(name.strip()) for name in servers.split(";") if name.strip()]
        if not self._servers:
            raise ValueError("name the servers of Memcached, such as '10.0.0.1:11211;10.0.0.2:11211'")

    def read(self, session_id: str) -> bytes:
        """Return the flags and the value of the session's key."""
        for server in self._servers:
            record = self._on(server, "get", session_id)
            if isinstance(record, bytes):
                return record
        raise LegacyError(Reason.NOT_FOUND)

    def delete(self, session_id: str) -> None:
        """Delete the session's key."""
        for server in self._servers:
            self._on(server, "delete", session_id)

    def scan(self) -> Iterator[Stored]:
        """Raise NotImplementedError."""
        raise NotImplementedError("Memcached cannot tell what it holds: there is nothing to import")

    def value(self, record: bytes) -> Any:
        """Return what the record says: as its flags have it, text, or a dict before Beaker 1.12."""
        flags, value = record[0], record[1:]
        if flags & _IS_COMPRESSED:
            value = inflate(value)
        return pickles.load(value) if flags & _IS_PICKLED else value

    def _on(self, server: Any, method: str, session_id: str) -> Any:
        from pymemcache import Client
        from pymemcache.exceptions import MemcacheError

        # A session is read here once in its life, for which no connection has to be kept.
        client = Client(
            server,
            serde=_Flagged(),
            connect_timeout=_CONNECT_SECONDS,
            timeout=_ANSWER_SECONDS,
            default_noreply=False,
        )
        try:
            return getattr(client, method)(f"{session_id}_session")
        except (MemcacheError, OSError) as error:
            raise failure("the Memcached of the old sessions", error) from None
        finally:
            client.close()


class _Flagged:
    """Gives the flags of a value as its first byte."""

    def deserialize(self, key: bytes, value: bytes, flags: int) -> bytes:
        return bytes((flags & 0xFF,)) + value


def _server(name: str) -> Any:
    """Return the address of a server as python-memcached has it."""
    family, _, rest = name.partition(":")
    if family == "unix" or name.startswith("/"):
        return rest if family == "unix" else name
    host, _, port = name.removeprefix("inet:").rpartition(":")
    if not host:
        return port, _PORT
    if not port.isdecimal():
        raise ValueError("a server of Memcached is named by host and port, such as '10.0.0.1:11211'")
    return host, int(port)
