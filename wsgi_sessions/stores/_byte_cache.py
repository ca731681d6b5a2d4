"""A cachelib cache as a keeper of bytes: nothing is pickled, and every failure is an exception.

cachelib pickles what it stores, and runs what it finds: whoever can write to the
server could run code here. Bytes need no pickle, so the cache is used through a
copy of it that stores them as they are.
"""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import IO, Any

from cachelib import BaseCache, FileSystemCache, RedisCache, SimpleCache

from ..exceptions import StoreError
from ._fork_gate import ForkGate
from .base import close_before_fork

# Client libraries of Memcached that pickle what is no str, and unpickle what they find marked so.
_PICKLING_CLIENTS = frozenset(("google", "libmc", "memcache", "pylibmc"))
_REDIS_CLIENTS = ("_read_client", "_write_client")
# Of these a forked child may go on with what its parent has used; ValkeyCache is newer than the oldest cachelib.
_SURVIVE_FORK = (SimpleCache, FileSystemCache, RedisCache)
# Memcached takes moments up to 2038 only; what ends later is kept until it is deleted. Seconds.
LONGEST_SECONDS = 5 * 365 * 24 * 60 * 60


class ByteCache:
    """Keeps bytes in a cache.

    :param cache: a cachelib cache, or a function that returns one, which is called again in forked children:
        needed where the connections of a client do not survive a fork, as Memcached's.
    :raises TypeError: if it is neither.
    :raises ValueError: if it would pickle, or does not learn whether a write succeeded.
    """

    def __init__(self, cache: BaseCache | Callable[[], BaseCache]) -> None:
        self._make = None if isinstance(cache, BaseCache) else cache
        #: The cache itself, as it was given.
        self.given = cache if isinstance(cache, BaseCache) else _made(cache)
        self._cache = _careful(self.given)
        #: Other processes see the same values.
        self.is_shared = not isinstance(self.given, SimpleCache)
        # SimpleCache has a lock, which a child must not find held; older ones have none, and need one.
        self._gate: AbstractContextManager[None] = nullcontext() if self.is_shared else ForkGate()
        self._lock: AbstractContextManager[object] = nullcontext() if self.is_shared else threading.Lock()
        self._is_used = self._is_inherited = self._is_to_be_made = False
        self._making = threading.Lock()
        close_before_fork(self)

    def get(self, key: str) -> bytes | None:
        """Return a value, None if there is none."""
        value = self._call("get", key)
        return value if isinstance(value, bytes) else None

    def add(self, key: str, value: bytes, seconds: int) -> bool:
        """Store a value unless there is one; tell whether that was so."""
        return bool(self._call("add", key, value, seconds))

    def set(self, key: str, value: bytes, seconds: int) -> None:
        """Store a value.

        :raises StoreError: if the cache says that it did not.
        """
        if not self._call("set", key, value, seconds):
            raise StoreError(f"{type(self.given).__name__} did not store a value: its log may tell why")

    def delete(self, key: str) -> None:
        """Remove a value if there is one.

        :raises StoreError: if it is still there.
        """
        # Of some caches the answer is whether there was one, of others whether there is none now.
        if not self._call("delete", key) and self._call("get", key) is not None:
            raise StoreError(f"{type(self.given).__name__} did not remove a value: its log may tell why")

    def close(self) -> None:
        """Close the connections that were made here; the next use opens them again."""
        try:
            for name in _REDIS_CLIENTS:
                client: Any = getattr(self._cache, name, None)
                if client is not getattr(self.given, name, None):
                    client.connection_pool.disconnect(inuse_connections=False)
            client = getattr(self._cache, "_client", None)
            if self._make is not None and hasattr(client, "close"):
                client.close()
        except Exception as error:
            raise StoreError(f"close failed in {type(self.given).__name__}: {error}") from error

    def _call(self, method: str, *arguments: Any) -> Any:
        if self._is_inherited:
            raise StoreError(
                f"{type(self.given).__name__} was used before this process was forked, and would share its connections "
                "with the parent: give a function that makes the cache, such as lambda: MemcachedCache(...)"
            )
        self._is_used = True
        if self._is_to_be_made:
            self._make_again()
        with self._gate, self._lock:
            try:
                return getattr(self._cache, method)(*arguments)
            # A cache may be built on any client, whose errors are only known to that.
            except Exception as error:
                raise StoreError(f"{method} failed in {type(self.given).__name__}: {error}") from error

    _close_idle = close

    def _after_fork(self) -> None:
        self._making = threading.Lock()
        if not self.is_shared:
            self._lock = threading.Lock()
        if self._make is not None:
            self._is_to_be_made = True
        elif self._is_used and not isinstance(self.given, _SURVIVE_FORK) and type(self.given).__name__ != "ValkeyCache":
            self._is_inherited = True
        else:
            self._cache = _careful(self.given)

    def _make_again(self) -> None:
        """Make the cache of this process; at its first use, because that can fail."""
        with self._making:
            if not self._is_to_be_made:
                return
            try:
                given = _made(self._make)
                self._cache, self.given = _careful(given), given
            except Exception as error:
                raise StoreError(f"making the cache failed after a fork: {error}") from error
            self._is_to_be_made = False


def seconds_until(expires: int, now: int) -> int:
    """Return for how long a cache has to keep something, at least: it counts whole seconds, and 0 means for ever."""
    seconds = max(1, math.ceil((expires - now) / 1000) + 1)
    return 0 if seconds > LONGEST_SECONDS else seconds


class _BytesSerializer:
    """Stores bytes as what they are."""

    def dumps(self, value: bytes) -> bytes:
        return value

    def loads(self, stored: bytes | None) -> bytes | None:
        return stored

    def dump(self, value: bytes, file: IO[bytes]) -> None:
        file.write(value)

    def load(self, file: IO[bytes]) -> bytes:
        return file.read()


def _made(make: object) -> BaseCache:
    cache = make() if callable(make) else make
    if not isinstance(cache, BaseCache):
        raise TypeError(f"cache must be a cachelib cache, or a function that makes one, not {type(cache).__name__}")
    return cache


def _careful(cache: BaseCache) -> BaseCache:
    """Return a cache that shares all with the one that was given, but stores bytes and waits for no server for long."""
    client: Any = getattr(cache, "_client", None)
    if client is not None:
        _check_client(client)
    careful: Any = copy.copy(cache)
    # None, or one of the application's own choice, stays.
    if type(getattr(cache, "serializer", None)).__module__ == "cachelib.serializers":
        careful.serializer = _BytesSerializer()
    for name in _REDIS_CLIENTS:
        client = getattr(cache, name, None)
        if type(client).__module__.partition(".")[0] == "redis":
            # Not before there is one: redis-py may not be installed.
            from ._redis_opening import bounded_client

            setattr(careful, name, bounded_client(client))
    return careful  # type: ignore[no-any-return]


def _check_client(client: Any) -> None:
    library = type(client).__module__.partition(".")[0]
    if library in _PICKLING_CLIENTS:
        raise ValueError(
            f"{library} unpickles what it finds in Memcached, so whoever can write there runs code here: "
            "use store_from_url('memcached://host'), or MemcachedCache(pymemcache.PooledClient(...))"
        )
    if library == "pymemcache" and type(client).__name__ != "PooledClient":
        # HashClient takes a server that fails for an empty one, and its sessions for unknown; RetryingClient repeats
        # writes; Client has one connection for all threads.
        raise ValueError(
            f"{type(client).__name__} cannot keep sessions: use store_from_url('memcached://host1,host2'), "
            "or MemcachedCache(pymemcache.PooledClient(...))"
        )
    if library == "pymemcache" and not _leaves_bytes_alone(client.serde):
        raise ValueError("this client decodes what it finds in Memcached, as a pickle perhaps: leave its serde away")
    if getattr(client, "default_noreply", False):
        raise ValueError("this client does not wait for an answer to its writes: give it default_noreply=False")


def _leaves_bytes_alone(serde: Any) -> bool:
    """Tell whether pymemcache's client was given nothing to decode values with."""
    default = getattr(type(serde), "_default_deserialize", None)
    return default is not None and getattr(serde.deserialize, "__func__", None) is default
