"""The servers that the tests of a run share."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any

from .mariadb import MariaDB
from .memcached import Memcached
from .postgresql import PostgreSQL
from .redis import Redis
from .redis_cluster import RedisCluster
from .redis_sentinel import RedisSentinel
from .server import Server
from .session import session_directory, until_the_end

#: Of each kind: its class, the variable that overrides, and where one is looked for first.
_STANDARD: dict[str, tuple[type[Server], str, str]] = {
    "postgresql": (PostgreSQL, "TEST_POSTGRESQL_URL", "postgresql://postgres@127.0.0.1:5432/test"),
    "mariadb": (MariaDB, "TEST_MARIADB_URL", "mariadb://root@127.0.0.1:3306/test"),
    "redis": (Redis, "TEST_REDIS_URL", "redis://127.0.0.1:6379/0"),
    "memcached": (Memcached, "TEST_MEMCACHED_URL", "memcached://127.0.0.1:11211"),
}
_PRIVATE: dict[str, Callable[[], Any]] = {
    "postgresql": lambda: PostgreSQL(session_directory()),
    "mariadb": lambda: MariaDB(session_directory()),
    "redis": lambda: Redis(session_directory()),
    "memcached": Memcached,
    "redis-cluster": lambda: RedisCluster(session_directory()),
    "redis-sentinel": lambda: RedisSentinel(session_directory()),
}
_borrowed: dict[str, str] = {}
# Seconds. Who answers on the standard port but takes longer is not there for the tests.
_PATIENCE = 2


@cache
def url_of(kind: str) -> str:
    """Return the URL of a server that all tests share, started if none is there; skips if it cannot be.

    It lasts until the end of the test run. Call it from a test or a fixture, where there is something to skip.

    :param kind: ``postgresql``, ``mariadb``, ``redis``, ``memcached``, ``redis-cluster`` or ``redis-sentinel``.
    """
    if kind not in _STANDARD:
        return str(shared(kind).url)
    server, variable, standard = _STANDARD[kind]
    url = os.environ.get(variable)
    if not url:
        try:
            server.ask(standard, _PATIENCE)
        except server.ERRORS:
            return str(shared(kind).url)
        url = standard
    _borrowed[kind] = url
    return url


def borrowed(kind: str) -> str | None:
    """Return the URL of the server of a kind that was used and goes on after the test run, None if there is none."""
    return _borrowed.get(kind)


def shared(kind: str) -> Any:
    """Return the private server of a kind that all tests share, started when first asked for.

    :param kind: as for url_of().
    """
    started = _start(kind)
    if isinstance(started, Exception):
        raise started
    return started


@cache
def _start(kind: str) -> Any:
    """Return the server, or why there is none: it takes long to find out that one does not start."""
    try:
        return until_the_end(_PRIVATE[kind]())
    except Exception as error:
        return error
