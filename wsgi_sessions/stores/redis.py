"""A store in Redis or Valkey, 6.2 or newer: one server, Sentinel or Cluster; for any number of hosts.

It needs the extra ``wsgi-sessions[redis]``. The server forgets expired records
by itself. How much of what it has acknowledged it remembers after a crash is a
matter of its configuration (``appendfsync``), as is whether it may drop live
sessions when its memory is full (``maxmemory-policy`` must be ``noeviction``).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

try:
    from redis import Redis, RedisCluster
    from redis.exceptions import ResponseError
except ImportError as error:
    raise ImportError("RedisStore needs redis-py: pip install wsgi-sessions[redis]") from error

from .. import clock
from ..record import Record
from ._arguments import checked_prefix
from ._edge import raises_store_error
from ._packed import Corrupt, pack, pack_expires, unpack
from ._redis_connections import ERRORS, refuse_all_but_wrong_type
from ._redis_index import OwnerIndex, decoded, pattern
from ._redis_scripts import SAVE, TOUCH, Script
from ._redis_server import RedisServer
from .base import SessionStore, not_live, overtaken, taken

_security_log = logging.getLogger("wsgi_sessions.security")

_PREFIX = "wsgi_sessions:"
# The server forgets a record this much later than it ends, so that clocks which differ end none early. Milliseconds.
_GRACE = 60_000


class RedisStore(SessionStore):
    """Keeps each record in one key, and the ids of each owner in another.

    :param server: a URL (``redis://``, ``rediss://``, ``redis+cluster://``, ``redis+sentinel://``) or a client of
        redis-py. A client lends its settings; the store keeps connections of its own beside its, which
        repeat no command and wait for no answer longer than 1.5 seconds. A ``RedisCluster`` is used as it is,
        and waits as long as it was told.
    :param prefix: what all keys of this store begin with: ``wsgi_sessions:``, unless it is given here or as an
        option of the URL.
    :raises ValueError: if the URL names no server, or the prefix is not plain ASCII.
    """

    shared = True
    expires_itself = True

    def __init__(self, server: Redis | RedisCluster | str, *, prefix: str | None = None) -> None:
        self._server = RedisServer(server)
        if prefix is None:
            prefix = self._server.options.get("prefix", _PREFIX)
        self.prefix = checked_prefix(prefix)
        self._record_prefix = f"{prefix}session:"
        self._index = OwnerIndex(self._server, f"{prefix}owner:", self._values, self._live)

    @raises_store_error(*ERRORS)
    def create(self, record: Record) -> None:
        """Insert a new record; see :meth:`SessionStore.create`."""
        if record.owner is not None:
            self._index.note(record.owner, record.id)
        key = self._record_prefix + record.id
        value, forgotten = pack(record), _forgotten(record.expires)
        if self._server.run(key, "SET", key, value, "NX", "PXAT", forgotten) is None:
            raise taken(record.id)

    @raises_store_error(*ERRORS)
    def load(self, id: str) -> Record | None:
        """Return the live record or None; see :meth:`SessionStore.load`."""
        key = self._record_prefix + id
        try:
            value = self._server.read(lambda connections: connections.run(key, "GET", key))
        except ResponseError as error:
            refuse_all_but_wrong_type(error)
            _security_log.error("corrupt record %r: its key holds something else than a record", id)
            return None
        return self._live(id, value)

    @raises_store_error(*ERRORS)
    def save(self, record: Record) -> Record:
        """Replace the record of the same version; see :meth:`SessionStore.save`."""
        saved = Record(record.id, record.payload, record.expires, record.version + 1, record.owner)
        arguments = (clock.now(), record.version, pack(saved), _forgotten(record.expires))
        answer = self._change(SAVE, record.id, *arguments, 0)
        if answer == 2 and record.owner is not None:
            # Before the record says so: the index must not miss one.
            self._index.note(record.owner, record.id)
            answer = self._change(SAVE, record.id, *arguments, 1)
        if answer == 0:
            raise not_live(record.id)
        if answer < 0:
            raise overtaken(record, -answer)
        return saved

    @raises_store_error(*ERRORS)
    def touch(self, id: str, version: int, expires: int) -> bool:
        """Move only the expiry; see :meth:`SessionStore.touch`."""
        arguments = (clock.now(), version, pack_expires(expires), _forgotten(expires))
        answer = self._change(TOUCH, id, *arguments)
        if answer == 0:
            raise not_live(id)
        return answer == 1

    @raises_store_error(*ERRORS)
    def delete(self, id: str) -> None:
        """Remove the record if there is one."""
        key = self._record_prefix + id
        self._server.run(key, "UNLINK", key)

    @raises_store_error(*ERRORS)
    def delete_expired(self, limit: int = 500) -> list[Record]:
        """Return nothing: the server forgets records by itself.

        Removes from some of the owners' indexes the ids of records that are gone; the next call goes on from there.
        """
        self._index.sweep()
        return []

    @raises_store_error(*ERRORS)
    def find_by_owner(self, owner: str) -> list[Record]:
        """Return the live records of one user."""
        return self._index.find(owner)

    def scan(self) -> Iterator[Record]:
        """Yield the records that are live when they are reached; remembers their ids, to yield none twice."""
        seen: set[str] = set()
        for records in self._scan_steps():
            for record in records:
                if record.id not in seen:
                    seen.add(record.id)
                    yield record

    @raises_store_error(*ERRORS)
    def close(self) -> None:
        """Close the store's own connections; the next use opens them again."""
        self._index.close()
        self._server.close()

    def _change(self, script: Script, id: str, *arguments: Any) -> int:
        """Run a script on a record; what is no record does not exist."""
        try:
            return int(self._server.run_script(script, self._record_prefix + id, *arguments))
        except ResponseError as error:
            refuse_all_but_wrong_type(error)
            return 0

    def _live(self, id: str, value: bytes | None) -> Record | None:
        if value is None:
            return None
        try:
            record = unpack(id, value)
        except Corrupt as error:
            _security_log.error("corrupt record %r: %s", id, error)
            return None
        return record if record.expires > clock.now() else None

    def _values(self, ids: list[str]) -> list[bytes | None]:
        keys = [self._record_prefix + id for id in ids]
        return self._server.read(lambda connections: connections.values(keys))

    def _scan_steps(self) -> Iterator[list[Record]]:
        steps = self._server.connections.scan(pattern(self._record_prefix))
        while True:
            step = self._next_step(steps)
            if step is None:
                return
            yield step

    @raises_store_error(*ERRORS)
    def _next_step(self, steps: Iterator[list[bytes]]) -> list[Record] | None:
        for keys in steps:
            ids = [decoded(key)[len(self._record_prefix) :] for key in keys]
            return [record for record in map(self._live, ids, self._values(ids)) if record is not None]
        return None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._server)!r}, prefix={self.prefix!r})"


def _forgotten(expires: int) -> int:
    """Return when the server may forget a record, Unix milliseconds; never before 1970, which it would refuse."""
    return max(1, expires + _GRACE)
