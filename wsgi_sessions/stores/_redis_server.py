"""The server, or the cluster of them, that a RedisStore talks to: connected at the first use, in each process anew."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from redis import Redis, RedisCluster
from redis.exceptions import ConnectionError, NoScriptError

from .. import clock
from ._address import Address
from ._edge import AT_ONCE_SECONDS
from ._redis_connections import ERRORS, Connections
from ._redis_opening import checked_address, of_address, of_client
from ._redis_scripts import Script
from .base import close_before_fork

_log = logging.getLogger("wsgi_sessions")

# For whoever else is connecting: as long as it may take, an answer within 3 s would be too late.
_PATIENCE_SECONDS = 1.0

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
        # When the way was last looked for in vain, monotonic.
        self._failed = 0.0
        self._has_looked_at_policy = False
        close_before_fork(self)

    @property
    def options(self) -> dict[str, str]:
        """The options of the URL; none of a client."""
        return self._server.options if isinstance(self._server, Address) else {}

    @property
    def connections(self) -> Connections:
        """The way to it, which is found at the first use."""
        connections = self._connections
        return self._open() if connections is None else connections

    def run(self, key: str, *command: Any) -> Any:
        """Send one command, once, to the server that has the key, and return its answer."""
        answer = self.connections.run(key, *command)
        if not self._has_looked_at_policy:
            self._look_at_policy()
        return answer

    def read(self, read: Callable[[Connections], _Result]) -> _Result:
        """Read, and once more if the connection was lost; a server that takes its time is not asked again."""
        begun = clock.monotonic()
        try:
            return read(self.connections)
        except ConnectionError:
            if clock.monotonic() - begun > AT_ONCE_SECONDS:
                raise
        return read(self.connections)

    def run_script(self, script: Script, key: str, *arguments: Any) -> Any:
        """Run a script, once, and return its answer."""
        try:
            return self.run(key, "EVALSHA", script.digest, 1, key, *arguments)
        except NoScriptError:
            return self.run(key, "EVAL", script.text, 1, key, *arguments)

    def close(self) -> None:
        """Close what the store has opened; the next use opens it again."""
        with self._lock:
            connections, self._connections = self._connections, None
        if connections is not None:
            connections.close()

    def _open(self) -> Connections:
        """Find the way; of several threads at once one does, and the others wait, but not for ever."""
        begun = clock.monotonic()
        if not self._lock.acquire(timeout=_PATIENCE_SECONDS):
            raise ConnectionError("another thread is still looking for the cluster")
        try:
            if self._connections is None:
                if begun < self._failed:
                    raise ConnectionError("another thread has just looked for the cluster in vain")
                server = self._server
                self._connections = of_address(server) if isinstance(server, Address) else of_client(server)
            return self._connections
        except ERRORS:
            self._failed = clock.monotonic()
            raise
        finally:
            self._lock.release()

    def _look_at_policy(self) -> None:
        """Warn if the server may drop live sessions; after its first answer, so that one that is hung is not asked."""
        self._has_looked_at_policy = True
        # Not every server lets everybody ask.
        with suppress(*ERRORS):
            told = dict(line.split(":", 1) for line in self.connections.memory_info().splitlines() if ":" in line)
            policy = told.get("maxmemory_policy", "noeviction")
            if policy != "noeviction" and told.get("maxmemory") != "0":
                _log.warning(
                    "Redis may drop live sessions when its memory is full: maxmemory-policy is %s; "
                    "set it to noeviction, or give sessions a server of their own",
                    policy,
                )

    def _close_idle(self) -> None:
        connections = self._connections
        if connections is not None:
            connections.close()

    def _after_fork(self) -> None:
        # The sockets are the parent's; redis-py closes its copies without a word to the server.
        self._lock = threading.Lock()
        self._connections = None

    def __str__(self) -> str:
        return repr(self._server) if isinstance(self._server, Address) else type(self._server).__name__
