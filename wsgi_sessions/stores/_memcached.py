"""Memcached behind cachelib, through a client that neither pickles nor waits for ever."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from hashlib import sha256
from typing import Any

from cachelib import MemcachedCache

try:
    from pymemcache import Client
except ImportError as error:
    raise ImportError("Memcached needs pymemcache: pip install wsgi-sessions[memcached]") from error

from ._sockets import is_quiet

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
    return MemcachedCache(_Servers(servers), key_prefix=prefix)


class _Servers:
    """What cachelib takes for a client: each key goes to one of several servers, always the same.

    pymemcache's own client for several takes a server that fails for an empty one, and its sessions for unknown;
    its pool hands out connections that their server has closed.
    """

    def __init__(self, servers: list[tuple[str, int]]) -> None:
        self._servers = {f"{host}:{port}": _Server((host, port)) for host, port in servers}

    def get(self, key: str) -> Any:
        return self._of(key).call("get", key)

    def set(self, key: str, value: bytes, seconds: int) -> Any:
        return self._of(key).call("set", key, value, seconds)

    def add(self, key: str, value: bytes, seconds: int) -> Any:
        return self._of(key).call("add", key, value, seconds)

    def delete(self, key: str) -> Any:
        return self._of(key).call("delete", key)

    def close(self) -> None:
        for server in self._servers.values():
            server.close()

    def _of(self, key: str) -> _Server:
        """Return the server of a key by rendezvous hashing: one more takes over its own share of keys only."""
        name = max(self._servers, key=lambda name: sha256(f"{name} {key}".encode()).digest())
        return self._servers[name]


class _Server:
    """As many connections to one server as are used at once."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._idle: deque[Client] = deque()

    def call(self, method: str, *arguments: Any) -> Any:
        client = self._taken()
        try:
            return getattr(client, method)(*arguments)
        except BaseException:
            # pymemcache itself does that for an Exception; the answer must not be taken for that of the next command.
            client.close()
            raise
        finally:
            # It opens another connection if it has none.
            self._idle.append(client)

    def close(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _taken(self) -> Client:
        try:
            client = self._idle.pop()
        except IndexError:
            return Client(self._address, **_OPTIONS)
        if client.sock is not None and not is_quiet(client.sock):
            client.close()
        return client
