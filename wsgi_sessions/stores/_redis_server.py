"""The server, or the cluster of them, that a RedisStore talks to: connected at the first use, in each process anew."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from redis import Redis, RedisCluster
from redis.exceptions import ConnectionError, NoScriptError, ResponseError

from ._address import Address
from ._redis_connections import ERRORS, Connections, checked_address, of_address, of_client
from ._redis_scripts import Script
from .base import renew_after_fork

_log = logging.getLogger("wsgi_sessions")

_Result = TypeVar("_Result")


class RedisServer:
    """Sends commands and scripts. Every method raises redis-py's errors.

    :param server: a URL or a client of redis-py.
    :raises TypeError: if it is neither.
    :raises ValueError: if the URL names no server, or has options that are not known.
    """

    def __init__(self, server: Redis | RedisCluster | str) -> None:
        if isinstance(server, str):
            self._server: Redis | RedisCluster | Address = checked_address(server)
        elif isinstance(server, Redis | RedisCluster):
            self._server = server
        else:
            raise TypeError(f"server must be a URL or a client of redis-py, not {type(server).__name__}")
        # None before the first use, after close() and in a forked child.
        self._connections: Connections | None = None
        self._lock = threading.Lock()
        self._has_looked_at_policy = False
        renew_after_fork(self)

    @property
    def options(self) -> dict[str, str]:
        """The options of the URL; none of a client."""
        return self._server.options if isinstance(self._server, Address) else {}

    @property
    def connections(self) -> Connections:
        """The way to it, which is found at the first use."""
        connections = self._connections
        if connections is not None:
            return connections
        with self._lock:
            connections = self._connections
            if connections is None:
                server = self._server
                connections = of_address(server) if isinstance(server, Address) else of_client(server)
                self._connections = connections
        if not self._has_looked_at_policy:
            self._has_looked_at_policy = True
            _warn_of_eviction(connections)
        return connections

    def read(self, read: Callable[[Connections], _Result]) -> _Result:
        """Read, and once more if the connection was lost; a server that takes its time is not asked again."""
        connections = self.connections
        try:
            return read(connections)
        except ConnectionError:
            return read(connections)

    def run_script(self, script: Script, key: str, *arguments: Any) -> Any:
        """Run a script, once, and return its answer."""
        connections = self.connections
        try:
            return connections.run(key, "EVALSHA", script.digest, 1, key, *arguments)
        except NoScriptError:
            return connections.run(key, "EVAL", script.text, 1, key, *arguments)

    def close(self) -> None:
        """Close what the store has opened; the next use opens it again."""
        with self._lock:
            connections, self._connections = self._connections, None
        if connections is not None:
            connections.close()

    def _after_fork(self) -> None:
        # The sockets are the parent's; redis-py closes its copies without a word to the server.
        self._lock = threading.Lock()
        self._connections = None

    def __str__(self) -> str:
        return repr(self._server) if isinstance(self._server, Address) else type(self._server).__name__


def refuse_all_but_wrong_type(error: ResponseError) -> None:
    """Raise an error again, unless it says that a key holds something of another kind."""
    if "WRONGTYPE" not in str(error):
        raise error


def _warn_of_eviction(connections: Connections) -> None:
    # Not every server lets everybody ask, and one that is down now will be noticed soon enough.
    with suppress(*ERRORS):
        told = dict(line.split(":", 1) for line in connections.memory_info().splitlines() if ":" in line)
        policy = told.get("maxmemory_policy", "noeviction")
        if policy != "noeviction" and told.get("maxmemory") != "0":
            _log.warning(
                "Redis may drop live sessions when its memory is full: maxmemory-policy is %s; "
                "set it to noeviction, or give sessions a server of their own",
                policy,
            )
