"""A cache in front of a store: most loads are answered without asking the store.

The store alone decides. Where its loads are not what takes the time (one
server on the same host), a cache gains nothing but its staleness.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from hashlib import sha256
from typing import TypeVar

from cachelib import BaseCache

from .. import clock
from ..exceptions import StoreError
from ..record import Record
from ._arguments import checked_seconds
from ._byte_cache import LONGEST_SECONDS, ByteCache
from ._edge import AT_ONCE_SECONDS
from ._packed import Corrupt, pack, unpack
from .base import SessionStore

_log = logging.getLogger("wsgi_sessions")

_Result = TypeVar("_Result")

# What stands in the place of a record that was just written: loads that had begun before it cannot add theirs.
_EVICTED = b"-"
# Longer than any load that has begun may take: stores give up within three seconds.
_EVICTED_SECONDS = 10
# A broken cache would fill the log with a line for each request.
_QUIET_SECONDS = 60.0
# After it took its time to fail.
_LEFT_ALONE_SECONDS = 5.0
# Whose marks are kept for later; what is beyond that may be answered for as long as ``max_staleness``.
_MOST_UNMARKED = 10_000


class CachingStore(SessionStore):
    """Answers loads from a cache, if it can, and leaves everything else to a store.

    A write removes the record from the cache, so whoever shares the cache sees it
    at once, unless the cache fails. Another process with a cache of its own (``SimpleCache``) may see an old
    record for at most ``max_staleness``: also one of a session that was logged out
    meanwhile. It cannot bring that back: saves are decided by the store. A cache that
    fails is a miss; what it holds when it returns is as old as that, at most.

    :param cache: a cachelib cache, or a function that makes one; see :class:`CachelibStore`.
    :param store: where the sessions are kept.
    :param max_staleness: for how long a record may be answered from the cache after it was read from the store.
    """

    def __init__(
        self, cache: BaseCache | Callable[[], BaseCache], store: SessionStore, *, max_staleness: timedelta
    ) -> None:
        if not isinstance(store, SessionStore):
            raise TypeError(f"store must be a SessionStore such as SQLStore(...), not {type(store).__name__}")
        self._cache = ByteCache(cache)
        self._store = store
        self._max_staleness = int(checked_seconds("max_staleness", max_staleness) * 1000)
        # Whole seconds: it shall forget a record before that is too old, for only then can it have the newer one.
        self._kept_seconds = min(max(1, self._max_staleness // 1000), LONGEST_SECONDS)
        self.atomic = store.atomic
        self.shared = store.shared
        self.enumerable = store.enumerable
        self.expires_itself = store.expires_itself
        # When a failure of the cache was last logged, and until when it is not asked; monotonic.
        self._logged: float | None = None
        self._left_alone_until = 0.0
        # Keys of what was written while the cache failed.
        self._unmarked: set[str] = set()

    def create(self, record: Record) -> None:
        """Insert a new record; see :meth:`SessionStore.create`."""
        self._store.create(record)

    def load(self, id: str) -> Record | None:
        """Return the live record or None; see :meth:`SessionStore.load`. It may be as old as ``max_staleness``."""
        key = _key(id)
        begun = clock.now()
        record, may_add = self._cached(key, id, begun)
        if record is not None:
            return record
        record = self._store.load(id)
        if record is not None and may_add:
            value = b"%016d%b" % (begun, pack(record))
            # Not where a write has left its mark meanwhile.
            self._try(lambda: self._cache.add(key, value, self._kept_seconds))
        return record

    def save(self, record: Record) -> Record:
        """Replace the record of the same version; see :meth:`SessionStore.save`."""
        return self._write(record.id, lambda: self._store.save(record))

    def touch(self, id: str, version: int, expires: int) -> bool:
        """Move only the expiry; see :meth:`SessionStore.touch`."""
        return self._write(id, lambda: self._store.touch(id, version, expires))

    def delete(self, id: str) -> None:
        """Remove the record if there is one."""
        self._write(id, lambda: self._store.delete(id))

    def delete_expired(self, limit: int = 500) -> list[Record]:
        """Have the store remove expired records; the cache forgets them by itself."""
        return self._store.delete_expired(limit)

    def scan(self) -> Iterator[Record]:
        """Yield the store's records."""
        return self._store.scan()

    def find_by_owner(self, owner: str) -> list[Record]:
        """Return the store's records of one user."""
        return self._store.find_by_owner(owner)

    def close(self) -> None:
        """Close the store, and the cache if it was made by a function that was given."""
        self._cache.close()
        self._store.close()

    def _cached(self, key: str, id: str, now: int) -> tuple[Record | None, bool]:
        """Return what the cache has and may still be used, and whether something may be added in its place."""
        value = self._try(lambda: self._cache.get(key))
        if value is None:
            return None, True
        if value == _EVICTED:
            return None, False
        try:
            read, record = int(value[:16]), unpack(id, value[16:])
        except (ValueError, Corrupt):
            read, record = 0, None
        if record is not None and now - self._max_staleness < read <= now and record.expires > now:
            return record, False
        # The cache will forget it. To remove it could remove the mark of a write that has come between.
        return None, False

    def _write(self, id: str, write: Callable[[], _Result]) -> _Result:
        """Write to the store, and have the cache forget the record in any case: even a failure tells of another."""
        try:
            return write()
        finally:
            self._evict(_key(id))

    def _evict(self, key: str) -> None:
        """Have the cache forget a record, and keep its place free from what was read before that."""

        if self._try(lambda: self._mark(key)) is None and len(self._unmarked) < _MOST_UNMARKED:
            self._unmarked.add(key)

    def _mark(self, key: str) -> bool:
        begun = clock.monotonic()
        try:
            self._cache.set(key, _EVICTED, _EVICTED_SECONDS)
        except StoreError as error:
            if clock.monotonic() - begun > AT_ONCE_SECONDS:
                raise
            # A cache that is full can still remove.
            self._warn(error)
            self._cache.delete(key)
        return True

    def _mark_what_failed(self) -> None:
        """Tell a cache that is back of what was written while it was not, before anything else is asked of it."""
        with suppress(KeyError):
            while True:
                key = self._unmarked.pop()
                try:
                    self._mark(key)
                except StoreError:
                    self._unmarked.add(key)
                    raise

    def _try(self, action: Callable[[], _Result]) -> _Result | None:
        """Do something with the cache; None if it failed, for nothing depends on it."""
        begun = clock.monotonic()
        if begun < self._left_alone_until:
            return None
        try:
            if self._unmarked:
                self._mark_what_failed()
            return action()
        except StoreError as error:
            now = clock.monotonic()
            if now - begun > AT_ONCE_SECONDS:
                # A cache that hangs may cost a visitor its patience once, not with each step.
                self._left_alone_until = now + _LEFT_ALONE_SECONDS
            self._warn(error)
            return None

    def _warn(self, error: StoreError) -> None:
        now = clock.monotonic()
        if self._logged is None or now - self._logged > _QUIET_SECONDS:
            self._logged = now
            _log.warning("the cache in front of %r fails, and is passed over: %s", self._store, error)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self._cache.given).__name__}, {self._store!r})"


def _key(id: str) -> str:
    return f"wsgi_sessions:cached:{sha256(id.encode()).hexdigest()}"
