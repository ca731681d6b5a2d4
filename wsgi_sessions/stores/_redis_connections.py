"""The way from a RedisStore to one server, or to a cluster of them: no command is ever sent twice."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from redis import ConnectionPool, RedisCluster
from redis.cluster import ClusterNode
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ConnectionError,
    MovedError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TimeoutError,
)
from redis.sentinel import MasterNotFoundError

#: What goes wrong with a server. That a cluster cannot be reached is no RedisError.
ERRORS = (RedisError, RedisClusterException, OSError)
# Keys that one SCAN looks at: a millisecond of the server's time.
_SCANNED_AT_ONCE = 1000


class Connections(ABC):
    """The way to one server or to a cluster of them. Every method raises redis-py's errors."""

    @abstractmethod
    def run(self, key: str, *command: Any) -> Any:
        """Send one command, once, to the server that has the key, and return its answer."""

    @abstractmethod
    def scan(self, pattern: str) -> Iterator[list[bytes]]:
        """Look at all keys, step by step, and yield those of each step that match, if any do."""

    @abstractmethod
    def values(self, keys: list[str]) -> list[bytes | None]:
        """Return the value of each key."""

    @abstractmethod
    def memory_info(self) -> str:
        """Return what a server tells about its memory: lines of ``name:value``."""

    @abstractmethod
    def close(self) -> None:
        """Close what is open; the next use opens it again."""


class ServerConnections(Connections):
    """The way to one server, or to the one that sentinels say is the master.

    :param pool: of which the connections are taken; owned by this object from now on.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self.pool = pool

    def run(self, key: str, *command: Any) -> Any:
        """Send one command; see :meth:`Connections.run`."""
        # What redis.Redis does, without its detours: a seventh of a command's time.
        connection = self._connected()
        try:
            connection.send_command(*command)
            return connection.read_response()
        except ResponseError:
            # That was the answer, and the connection is ready for the next command.
            raise
        except BaseException:
            connection.disconnect()
            raise
        finally:
            self.pool.release(connection)

    def _connected(self) -> Any:
        try:
            return self.pool.get_connection()
        except MasterNotFoundError:
            # Some versions put the passwords of the sentinels into its message.
            raise ConnectionError("no sentinel that answers knows the master of this service") from None

    def scan(self, pattern: str) -> Iterator[list[bytes]]:
        """Look at all keys; see :meth:`Connections.scan`."""
        cursor: Any = 0
        while True:
            cursor, keys = self.run("", "SCAN", cursor, "MATCH", pattern, "COUNT", _SCANNED_AT_ONCE)
            yield keys
            if int(cursor) == 0:
                return

    def values(self, keys: list[str]) -> list[bytes | None]:
        """Return the value of each key."""
        return list(self.run("", "MGET", *keys)) if keys else []

    def memory_info(self) -> str:
        """Return what the server tells about its memory."""
        return bytes(self.run("", "INFO", "memory")).decode()

    def close(self) -> None:
        """Close what is open and not in use."""
        self.pool.disconnect(inuse_connections=False)


class ClusterConnections(Connections):
    """The way to a cluster, whose client knows which server has a key.

    Commands go straight to that server. The client's own way repeats what failed, and
    while it asks all servers anew where the keys are, it keeps everybody else waiting.

    :param client: is closed with this object if ``is_ours``.
    """

    def __init__(self, client: RedisCluster, *, is_ours: bool) -> None:
        self._client = client
        self._is_ours = is_ours
        # Held by the one who asks where the keys are.
        self._asking = threading.Lock()

    def run(self, key: str, *command: Any) -> Any:
        """Send one command; see :meth:`Connections.run`."""
        node = self._client.get_node_from_key(key)
        try:
            return self._server(node).run(key, *command)
        except (MovedError, AskError):
            # It was not carried out; the client follows. A named node keeps it from repeating anything.
            return self._client.execute_command(*command, target_nodes=node)
        except (ConnectionError, TimeoutError, ClusterDownError):
            self._ask_where_keys_are()
            raise

    def _ask_where_keys_are(self) -> None:
        """Learn whether another server has taken over; whoever comes meanwhile does not wait for that."""
        if self._asking.acquire(blocking=False):
            try:
                # If nobody knows, the next command that fails asks again.
                with suppress(*ERRORS):
                    self._client.nodes_manager.initialize()
            finally:
                self._asking.release()

    def scan(self, pattern: str) -> Iterator[list[bytes]]:
        """Look at all keys; see :meth:`Connections.scan`."""
        # Each server in turn: a cursor is worth nothing to another.
        for node in self._client.get_primaries():
            yield from self._server(node).scan(pattern)

    def values(self, keys: list[str]) -> list[bytes | None]:
        """Return the value of each key."""
        return [self._value(key) for key in keys]

    def _value(self, key: str) -> bytes | None:
        try:
            value: bytes | None = self.run(key, "GET", key)
        except ResponseError as error:
            # As MGET answers.
            refuse_all_but_wrong_type(error)
            return None
        return value

    def memory_info(self) -> str:
        """Return what the server tells about its memory."""
        return self._server(self._client.get_primaries()[0]).memory_info()

    def _server(self, node: ClusterNode) -> ServerConnections:
        return ServerConnections(self._client.get_redis_connection(node).connection_pool)

    def close(self) -> None:
        """Close what is open and not in use, unless it is the application's."""
        if self._is_ours:
            for node in self._client.get_nodes():
                self._server(node).close()


def refuse_all_but_wrong_type(error: ResponseError) -> None:
    """Raise an error again, unless it says that a key holds something of another kind."""
    if "WRONGTYPE" not in str(error):
        raise error
