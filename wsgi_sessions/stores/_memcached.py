"""Memcached behind cachelib, through a client that neither pickles nor waits for ever."""

from __future__ import annotations

from typing import Any

from cachelib import MemcachedCache

try:
    from pymemcache import HashClient, PooledClient
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
    if len(servers) == 1:
        client: Any = PooledClient(servers[0], **_OPTIONS)
    else:
        # A server that is down is not replaced by another: its sessions would be taken for unknown.
        client = HashClient(servers, use_pooling=True, retry_attempts=0, dead_timeout=0, **_OPTIONS)
    return MemcachedCache(client, key_prefix=prefix)
