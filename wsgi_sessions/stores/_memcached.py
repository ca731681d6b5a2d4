"""Memcached behind cachelib, through a client that neither pickles nor waits for ever."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from cachelib import MemcachedCache

try:
    from pymemcache import PooledClient
except ImportError as error:
    raise ImportError("Memcached needs pymemcache: pip install wsgi-sessions[memcached]") from error

# Seconds, to connect and to answer: together they leave time for an answer within 3 s.
_CONNECT_SECONDS = 1.0
_ANSWER_SECONDS = 1.5
_OPTIONS: dict[str, Any] = {
    "connect_timeout": _CONNECT_SECONDS,
    "timeout": _ANSWER_SECONDS,
    "no_delay": True,
    # A write that nobody acknowledges may be lost.
    "default_noreply": False,
}


def memcached(servers: list[tuple[str, int]], prefix: str = "") -> MemcachedCache:
    """Return a cache over one server, or over several that share the keys among them.

    :param prefix: what all keys begin with.
    """
    clients = {f"{host}:{port}": PooledClient((host, port), **_OPTIONS) for host, port in servers}
    return MemcachedCache(_SharedOut(clients), key_prefix=prefix)


class _SharedOut:
    """Sends each key to one of several servers, always the same.

    pymemcache's own client for several takes a server that fails for an empty one, and its sessions for unknown.

    :param clients: by a name that stays the same.
    """

    def __init__(self, clients: dict[str, Any]) -> None:
        self._clients = clients

    def _of(self, key: str) -> Any:
        """Return the client for a key by rendezvous hashing: another server moves the keys of its own share only."""
        name = max(self._clients, key=lambda name: sha256(f"{name} {key}".encode()).digest())
        return self._clients[name]

    def get(self, key: str) -> Any:
        return self._of(key).get(key)

    def set(self, key: str, value: bytes, seconds: int) -> Any:
        return self._of(key).set(key, value, seconds)

    def add(self, key: str, value: bytes, seconds: int) -> Any:
        return self._of(key).add(key, value, seconds)

    def delete(self, key: str) -> Any:
        return self._of(key).delete(key)

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
