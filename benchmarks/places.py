"""Places of the benchmarks' own on the servers of this machine: made for one measurement, and removed after it.

Where a server is elsewhere than at its standard port of 127.0.0.1, a variable
says so: ``BENCHMARK_POSTGRESQL_URL``, ``BENCHMARK_MARIADB_URL``,
``BENCHMARK_REDIS_URL``, ``BENCHMARK_MEMCACHED_URL``.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

_STANDARD = {
    "postgresql": "postgresql://postgres@127.0.0.1:5432/test",
    "mariadb": "mysql://root@127.0.0.1:3306/test",
    "redis": "redis://127.0.0.1:6379",
    "memcached": "memcached://127.0.0.1:11211",
}
# What a Redis has unless it is configured otherwise.
_REDIS_DATABASES = 16
_PATIENCE_SECONDS = 2


class NoPlace(Exception):
    """There is no server, or nothing on it that could be used and emptied without harm; the message says which."""


@contextmanager
def postgresql() -> Iterator[str]:
    """Yield the URL of a new database."""
    import psycopg

    url, name = _url("postgresql"), _new_name()
    try:
        connection = psycopg.connect(url, autocommit=True, connect_timeout=_PATIENCE_SECONDS)
        connection.execute(f"CREATE DATABASE {name}")
    except psycopg.Error as error:
        raise NoPlace(f"PostgreSQL: {_first_line(error)}") from error
    try:
        yield urlsplit(url)._replace(path=f"/{name}").geturl()
    finally:
        # Also under connections that somebody has kept.
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        connection.close()


@contextmanager
def mariadb() -> Iterator[str]:
    """Yield the URL of a new database."""
    import pymysql

    url, name = _url("mariadb"), _new_name()
    try:
        connection = pymysql.connect(**pymysql_options(url), connect_timeout=_PATIENCE_SECONDS)
        connection.query(f"CREATE DATABASE {name}")
    except pymysql.MySQLError as error:
        raise NoPlace(f"MariaDB: {_first_line(error)}") from error
    try:
        yield urlsplit(url)._replace(path=f"/{name}").geturl()
    finally:
        connection.query(f"DROP DATABASE {name}")
        connection.close()


@contextmanager
def redis() -> Iterator[str]:
    """Yield the URL of a database that was empty; not every peer lets one choose a prefix."""
    from redis import Redis
    from redis.exceptions import RedisError

    url = _url("redis").rstrip("/")
    for number in reversed(range(1, _REDIS_DATABASES)):
        with closing(Redis.from_url(f"{url}/{number}", socket_connect_timeout=_PATIENCE_SECONDS)) as client:
            try:
                if client.dbsize():
                    continue
            except RedisError as error:
                raise NoPlace(f"Redis: {_first_line(error)}") from error
            try:
                yield f"{url}/{number}"
            finally:
                client.flushdb()
            return
    raise NoPlace("Redis: none of its databases is empty")


@contextmanager
def memcached() -> Iterator[str]:
    """Yield the URL of a server that was empty: it can only be emptied as a whole."""
    from pymemcache import Client
    from pymemcache.exceptions import MemcacheError

    url = _url("memcached")
    server = memcached_server(url)
    with closing(Client(server, connect_timeout=_PATIENCE_SECONDS, timeout=_PATIENCE_SECONDS)) as client:
        try:
            items = int(client.stats()[b"curr_items"])
        except (MemcacheError, OSError) as error:
            raise NoPlace(f"Memcached at {server[0]}:{server[1]}: {_first_line(error)}") from error
        if items:
            raise NoPlace(f"Memcached: it holds {items} values of others, which could not be left in it")
        try:
            yield url
        finally:
            client.flush_all(noreply=False)


def pymysql_options(url: str) -> dict[str, object]:
    """Return what PyMySQL, which takes no URL, has to be given to connect to one."""
    address = urlsplit(url)
    return {
        "host": address.hostname,
        "port": address.port or 3306,
        "user": address.username,
        "password": address.password or "",
        "database": address.path.strip("/"),
    }


def memcached_server(url: str) -> tuple[str, int]:
    """Return host and port."""
    address = urlsplit(url)
    return address.hostname or "127.0.0.1", address.port or 11211


def _url(kind: str) -> str:
    return os.environ.get(f"BENCHMARK_{kind.upper()}_URL", _STANDARD[kind])


def _new_name() -> str:
    return f"wsgi_sessions_benchmark_{secrets.token_hex(4)}"


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
