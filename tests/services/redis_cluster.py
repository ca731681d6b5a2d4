"""Private Redis Clusters."""

from __future__ import annotations

from pathlib import Path

import redis

from .redis import Redis
from .redis_group import RedisGroup
from .waiting import wait_until

_PRIMARIES = 3
_SLOTS = 16384
_SETTINGS = (
    "--cluster-enabled", "yes",
    # Milliseconds until a node that does not answer is suspected to be gone.
    "--cluster-node-timeout", "1000",
    # A replica takes over however old what it has is.
    "--cluster-replica-validity-factor", "0",
    # By default, the first copy of the data to a replica waits five seconds for other replicas.
    "--repl-diskless-sync-delay", "0",
)  # fmt: skip


class RedisCluster(RedisGroup):
    """A cluster of three primaries.

    :param options: of each node's configuration.
    :param replicas: of each primary. With one, a primary that is killed is replaced after about two seconds.
    """

    def __init__(self, directory: Path, *options: str, replicas: int = 0) -> None:
        count = _PRIMARIES * (1 + replicas)
        super().__init__([_ClusterNode(directory / f"node-{number}", *options) for number in range(count)])

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def primary_of(self, key: str) -> Redis:
        """Return the node that answers for a key, as soon as there is one.

        A primary that has just been killed or paused is not waited for, but the one that replaces it.
        """
        return wait_until(lambda: next((node for node in self.nodes if _serves(node, key)), None), "a primary")

    def replica_of(self, primary: Redis) -> Redis:
        """Return a node that follows another one, as soon as there is one."""
        return wait_until(lambda: next((node for node in self.nodes if _follows(node, primary)), None), "a replica")

    def wait_until_ready(self) -> None:
        wait_until(lambda: all(map(self._is_ready, self.nodes)), "the cluster")

    def _introduce(self) -> None:
        (first, *others), primaries = self.nodes, self.nodes[:_PRIMARIES]
        for number, node in enumerate(primaries):
            slots = range(_SLOTS * number // _PRIMARIES, _SLOTS * (number + 1) // _PRIMARIES)
            _cluster(node, "ADDSLOTS", *slots)
            # Otherwise all are at 0, and agree on who is right about what only after a while.
            _cluster(node, "SET-CONFIG-EPOCH", number + 1)
        for node in others:
            _cluster(first, "MEET", "127.0.0.1", node.port)
        wait_until(lambda: all(map(self._knows_all, self.nodes)), "all nodes to know of each other")
        for number, node in enumerate(self.nodes[_PRIMARIES:]):
            _cluster(node, "REPLICATE", _cluster(primaries[number % _PRIMARIES], "MYID"))

    def _knows_all(self, node: Redis) -> bool:
        nodes = _cluster(node, "NODES")
        return nodes.count("\n") == len(self.nodes) and "handshake" not in nodes and "fail" not in nodes

    def _is_ready(self, node: Redis) -> bool:
        if not node.is_running or not self._knows_all(node):
            return False
        replicas = _cluster(node, "NODES").count("slave")
        return (
            "cluster_state:ok" in _cluster(node, "INFO")
            and replicas == len(self.nodes) - _PRIMARIES
            # A primary has no such link.
            and node.replication().get("master_link_status", "up") == "up"
        )


class _ClusterNode(Redis):
    # The nodes talk to each other there.
    PORTS_BESIDE = (10_000,)

    def _prepare(self) -> None:
        self.directory.mkdir()
        super()._prepare()

    def _command(self) -> list[str]:
        return [*super()._command(), *_SETTINGS]


def _cluster(node: Redis, *arguments: str | int) -> str:
    with node.client() as client:
        # In one word, redis-py would make something of the answer, which differs between its versions.
        return str(client.execute_command("CLUSTER", *arguments))


def _serves(node: Redis, key: str) -> bool:
    if not node.is_running:
        return False
    try:
        with node.client() as client:
            # A node that is not the key's primary says where that is, or that there is none.
            client.exists(key)
    except redis.RedisError:
        return False
    return True


def _follows(node: Redis, primary: Redis) -> bool:
    if not node.is_running:
        return False
    try:
        return bool(node.replication().get("master_port") == primary.port)
    except redis.RedisError:
        return False
