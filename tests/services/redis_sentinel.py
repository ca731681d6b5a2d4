"""Private Redis servers under the watch of sentinels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import redis

from .programs import require
from .redis import PACKAGE, Redis
from .redis_group import RedisGroup
from .waiting import wait_until

#: What the sentinels call the primary.
SERVICE = "mymaster"
_SENTINELS = 3
# Milliseconds until a primary that does not answer is taken for dead; an election of its successor takes as long.
_DOWN_AFTER = 500
_FAILOVER_TIMEOUT = 3000


class RedisSentinel(RedisGroup):
    """A primary and a replica, and three sentinels, which replace a primary that does not answer.

    :param options: of the configuration of the primary and of the replica.
    """

    def __init__(self, directory: Path, *options: str) -> None:
        #: The two that have the data, in whatever role.
        self.servers: list[Redis] = [_Node(directory / "server-0", None, *options)]
        self.servers.append(_Node(directory / "server-1", self.servers[0], *options))
        #: The three that watch.
        self.sentinels: list[Redis] = [
            _Sentinel(directory / f"sentinel-{number}", self.servers[0]) for number in range(_SENTINELS)
        ]
        super().__init__([*self.servers, *self.sentinels])

    @property
    def url(self) -> str:
        addresses = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{addresses}/{SERVICE}/0"

    @property
    def primary(self) -> Redis:
        """The one that the sentinels call the primary, which may be one that was killed a moment ago."""
        port = wait_until(self._port_of_primary, "the sentinels to agree on a primary")
        return next(server for server in self.servers if server.port == port)

    @property
    def replica(self) -> Redis:
        """The one that the sentinels do not call the primary."""
        primary = self.primary
        return next(server for server in self.servers if server is not primary)

    def wait_for_failover(self, former: Redis) -> Redis:
        """Return the primary, as soon as it is another one than the former and takes writes."""
        return wait_until(lambda: self._other_primary(former), "a failover")

    def wait_until_ready(self) -> None:
        wait_until(self._is_ready, "the sentinels")

    def start(self) -> None:
        """Start those that do not run, with their data, and wait until the group works.

        A former primary that comes back takes about ten seconds to become a replica.
        """
        super().start()

    def _port_of_primary(self) -> int | None:
        views = [_view(sentinel) for sentinel in self.sentinels if sentinel.is_running]
        ports = {view.get("port") for view in views}
        return ports.pop() if len(ports) == 1 else None

    def _other_primary(self, former: Redis) -> Redis | None:
        port = self._port_of_primary()
        (other,) = (server for server in self.servers if server is not former)
        return other if other.port == port and other.replication()["role"] == "master" else None

    def _is_ready(self) -> bool:
        if not all(node.is_running for node in self.nodes) or not all(map(_knows_all, self.sentinels)):
            return False
        port = self._port_of_primary()
        followed = {server.replication().get("master_port") for server in self.servers}
        linked = {server.replication().get("master_link_status") for server in self.servers}
        # None is the primary's: it follows nobody.
        return followed == {port, None} and linked == {"up", None}


class _Node(Redis):
    """A server with data.

    :param primary: whom it follows at first, None for nobody.
    """

    def __init__(self, directory: Path, primary: Redis | None, *options: str) -> None:
        # By default, the first copy of the data to a replica waits five seconds for other replicas.
        super().__init__(directory, *options, "--repl-diskless-sync-delay", "0")
        self._primary = primary

    def _prepare(self) -> None:
        self.directory.mkdir()
        super()._prepare()

    def _configuration(self) -> str:
        # Not an option of the command line, which would hold against the sentinels after each start.
        return "" if self._primary is None else f"replicaof 127.0.0.1 {self._primary.port}\n"


class _Sentinel(Redis):
    """One that watches.

    :param primary: the primary, at first.
    """

    def __init__(self, directory: Path, primary: Redis) -> None:
        super().__init__(directory)
        self._primary = primary

    def _prepare(self) -> None:
        # A sentinel asks the primary for its replicas when it starts, and not again before ten seconds have passed.
        wait_until(lambda: self._primary.replication()["connected_slaves"], "the replica")
        self.directory.mkdir()
        super()._prepare()

    def _configuration(self) -> str:
        return "".join(
            f"sentinel {line}\n"
            for line in (
                f"monitor {SERVICE} 127.0.0.1 {self._primary.port} 2",
                f"down-after-milliseconds {SERVICE} {_DOWN_AFTER}",
                f"failover-timeout {SERVICE} {_FAILOVER_TIMEOUT}",
            )
        )

    def _command(self) -> list[str]:
        start = [require("redis-server", PACKAGE), str(self._data / "redis.conf"), "--sentinel"]
        return [*start, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._data)]


def _view(sentinel: Redis) -> dict[str, Any]:
    """Return what a sentinel knows of the primary, nothing if it does not answer."""
    try:
        with sentinel.client() as client:
            return dict(client.sentinel_master(SERVICE))
    except redis.RedisError:
        return {}


def _knows_all(sentinel: Redis) -> bool:
    view = _view(sentinel)
    return (view.get("num-other-sentinels"), view.get("num-slaves")) == (_SENTINELS - 1, 1)
