"""A store in any cachelib cache: Memcached, MongoDB, DynamoDB, uWSGI and others.

Only where nothing else can be had. cachelib has no compare-and-swap, so two
requests that save one session at the same moment may lose a change, and a
save that overlaps a logout or a ``cycle_id`` may undo it. A cache may also drop
what it likes: Memcached does when its memory is full.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from hashlib import sha256

from cachelib import BaseCache, FileSystemCache

from .. import clock
from ..exceptions import StoreError
from ..record import Record
from ._byte_cache import ByteCache, seconds_until
from ._packed import Corrupt, pack, unpack
from .base import SessionStore, not_live, overtaken, taken

_security_log = logging.getLogger("wsgi_sessions.security")

# As good as none.
_NO_THRESHOLD = 1_000_000_000


class CachelibStore(SessionStore):
    """Keeps each record as one value of a cache.

    :param cache: a cachelib cache, which nothing else should use; or a function that makes one, which is needed
        for clients whose connections do not survive a fork (``gunicorn --preload`` after a first request).
    :raises ValueError: if the cache drops live values beyond a threshold, or its client unpickles.
    :raises TypeError: if it is no cachelib cache.
    """

    #: cachelib cannot compare and swap.
    atomic = False
    enumerable = False
    expires_itself = True

    def __init__(self, cache: BaseCache | Callable[[], BaseCache]) -> None:
        self._cache = ByteCache(cache)
        _refuse_threshold(self._cache.given)
        self.shared = self._cache.is_shared

    def create(self, record: Record) -> None:
        """Insert a new record; see :meth:`SessionStore.create`."""
        key = _key(record.id)
        if not self._cache.add(key, pack(record), seconds_until(record.expires, clock.now())):
            if self._cache.get(key) is None:
                raise StoreError(f"create failed in {self!r}: its log may tell why")
            raise taken(record.id)

    def load(self, id: str) -> Record | None:
        """Return the live record or None; see :meth:`SessionStore.load`."""
        value = self._cache.get(_key(id))
        if value is None:
            return None
        try:
            record = unpack(id, value)
        except Corrupt as error:
            _security_log.error("corrupt record %r: %s", id, error)
            return None
        return record if record.expires > clock.now() else None

    def save(self, record: Record) -> Record:
        """Replace the record of the same version; see :meth:`SessionStore.save`. Not in one step."""
        self._refuse_other(record)
        saved = Record(record.id, record.payload, record.expires, record.version + 1, record.owner)
        self._set(saved)
        return saved

    def touch(self, id: str, version: int, expires: int) -> bool:
        """Move only the expiry; see :meth:`SessionStore.touch`. Not in one step."""
        stored = self.load(id)
        if stored is None:
            raise not_live(id)
        if stored.version != version:
            return False
        self._set(Record(id, stored.payload, expires, version, stored.owner))
        return True

    def delete(self, id: str) -> None:
        """Remove the record if there is one."""
        self._cache.delete(_key(id))

    def close(self) -> None:
        """Close the connections to Memcached, if the cache was made by a function that was given; see SessionStore."""
        self._cache.close()

    def _refuse_other(self, record: Record) -> None:
        stored = self.load(record.id)
        if stored is None:
            raise not_live(record.id)
        if stored.version != record.version:
            raise overtaken(record, stored.version)

    def _set(self, record: Record) -> None:
        self._cache.set(_key(record.id), pack(record), seconds_until(record.expires, clock.now()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self._cache.given).__name__})"


def _key(id: str) -> str:
    """Return what a cache can have as a key: Memcached takes no blanks, and some file systems no case."""
    return f"wsgi_sessions:{sha256(id.encode()).hexdigest()}"


def _refuse_threshold(cache: BaseCache) -> None:
    """Raise ValueError if a cache would drop live sessions to make room for others."""
    threshold = getattr(cache, "_threshold", None)
    if isinstance(cache, FileSystemCache) and threshold:
        raise ValueError("beyond its threshold FileSystemCache drops live sessions: give it threshold=0")
    if threshold and threshold < _NO_THRESHOLD:
        raise ValueError(
            f"beyond its threshold {type(cache).__name__} drops live sessions: "
            "give it threshold=sys.maxsize, or use MemoryStore()"
        )
