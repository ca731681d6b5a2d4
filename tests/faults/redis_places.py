"""One Redis server, reached in each of the ways that a RedisStore knows, always through a proxy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import redis
from redis.sentinel import Sentinel
from services import DURABLE, Redis, require, wait_until

from wsgi_sessions.stores.redis import RedisStore

_SERVICE = "mymaster"
_SLOTS = 16384


class RedisPlace(NamedTuple):
    """A server, the proxy before it, and what opens a store that goes through the proxy."""

    server: Redis
    proxy: Any
    open: Callable[[], RedisStore]


@contextmanager
def redis_place(kind: str, directory: Path, proxy: Callable[[int], Any]) -> Iterator[RedisPlace]:
    """Start a server.

    :param kind: one of WAYS.
    :param proxy: the class of the proxy.
    """
    way, _, argument = kind.partition("-")
    with ExitStack() as ends:
        server = ends.enter_context(_Cluster(directory) if way == "cluster" else Redis(directory, *DURABLE))
        before = ends.enter_context(proxy(server.port))
        if way == "cluster":
            _announce(server, before.port)
        port = before.port
        if way == "sentinel":
            port = ends.enter_context(_Sentinel(directory / "sentinel", before.port)).port
        target = WAYS[kind](port)
        if argument == "client":
            ends.callback(target.close)
        yield RedisPlace(server, before, lambda: RedisStore(target))


def _master(port: int) -> redis.Redis:
    return Sentinel([("127.0.0.1", port)]).master_for(_SERVICE)


#: What a store is given, by the way and by whether that is a URL or a client, of which all settings are the defaults.
WAYS: dict[str, Callable[[int], Any]] = {
    "server-url": lambda port: f"redis://127.0.0.1:{port}/0",
    "server-client": lambda port: redis.Redis(port=port),
    "sentinel-url": lambda port: f"redis+sentinel://127.0.0.1:{port}/{_SERVICE}/0",
    "sentinel-client": _master,
    "cluster-url": lambda port: f"redis+cluster://127.0.0.1:{port}",
    "cluster-client": lambda port: redis.RedisCluster(host="127.0.0.1", port=port),
}


class _Cluster(Redis):
    """A cluster of one node."""

    PORTS_BESIDE = (10_000,)

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, *DURABLE, "--cluster-enabled", "yes")


def _announce(node: Redis, port: int) -> None:
    """Give a node all slots, and have it tell clients that it is to be found on another port."""
    with node.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, _SLOTS - 1)
        client.config_set("cluster-announce-ip", "127.0.0.1")
        client.config_set("cluster-announce-port", port)
        wait_until(lambda: "cluster_state:ok" in str(client.execute_command("CLUSTER", "INFO")), "the cluster")


class _Sentinel(Redis):
    """A sentinel that calls a port the primary, which may be a proxy's."""

    def __init__(self, directory: Path, primary: int) -> None:
        super().__init__(directory)
        self._primary = primary

    def _prepare(self) -> None:
        self.directory.mkdir()
        super()._prepare()

    def _configuration(self) -> str:
        # It never takes it for dead: there is nothing to put in its place.
        return (
            f"sentinel monitor {_SERVICE} 127.0.0.1 {self._primary} 1\n"
            f"sentinel down-after-milliseconds {_SERVICE} 60000\n"
        )

    def _command(self) -> list[str]:
        start = [require("redis-server", "redis-server"), str(self._data / "redis.conf"), "--sentinel"]
        return [*start, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._data)]
