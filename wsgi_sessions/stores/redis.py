"""A store in Redis or Valkey, 6.2 or newer: one server, Sentinel or Cluster; for any number of hosts.

It needs the extra ``wsgi-sessions[redis]``. The server forgets expired records
by itself. How much of what it has acknowledged it remembers after a crash is a
matter of its configuration (``appendfsync``), as is whether it may drop live
sessions when its memory is full (``maxmemory-policy`` must be ``noeviction``).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain, islice
from typing import Any, TypeVar

try:
    from redis import Redis, RedisCluster
    from redis.exceptions import ConnectionError, NoScriptError, RedisError, ResponseError
except ImportError as error:
    raise ImportError("RedisStore needs redis-py: pip install wsgi-sessions[redis]") from error

from .. import clock
from ..record import Record
from ._address import Address
from ._arguments import checked_prefix
from ._edge import raises_store_error
from ._packed import Corrupt, pack, pack_expires, unpack
from ._redis_connections import Connections, checked_address, of_address, of_client
from ._redis_scripts import NOTE, NOTED_LONG_AGO_SECONDS, PRUNE, SAVE, TOUCH, Script
from .base import SessionStore, not_live, overtaken, renew_after_fork, taken

_log = logging.getLogger("wsgi_sessions")
_security_log = logging.getLogger("wsgi_sessions.security")

# The server forgets a record this much later than it ends, so that clocks which differ end none early. Milliseconds.
_GRACE = 60_000
# How many steps through all keys one sweep takes: what logouts and ends have left in the indexes is in no hurry.
_STEPS_PER_SWEEP = 10
_PATTERN_CHARACTERS = str.maketrans({character: f"\\{character}" for character in "*?[]^-\\"})

_Result = TypeVar("_Result")


class RedisStore(SessionStore):
    """Keeps each record in one key, and the ids of each owner in another.

    :param server: a URL (``redis://``, ``rediss://``, ``redis+cluster://``, ``redis+sentinel://``) or a client of
        redis-py. A client lends its settings; the store keeps connections of its own beside its, which
        repeat no command and, unless the client bounds them, wait no longer than 1.5 seconds. A
        ``RedisCluster`` is used as it is.
    :param prefix: what all keys of this store begin with.
    :raises ValueError: if the URL names no server, or the prefix is not plain ASCII.
    """

    shared = True
    expires_itself = True

    def __init__(self, server: Redis | RedisCluster | str, *, prefix: str = "wsgi_sessions:") -> None:
        if isinstance(server, str):
            self._server: Redis | RedisCluster | Address = checked_address(server)
        elif isinstance(server, Redis | RedisCluster):
            self._server = server
        else:
            raise TypeError(f"server must be a URL or a client of redis-py, not {type(server).__name__}")
        self.prefix = checked_prefix(prefix)
        self._record_prefix = f"{prefix}session:"
        self._owner_prefix = f"{prefix}owner:"
        # None before the first use, after close() and in a forked child.
        self._connections: Connections | None = None
        self._lock = threading.Lock()
        self._has_looked_at_policy = False
        # The sweep's way through all keys, None between two of them.
        self._walk: Iterator[list[bytes]] | None = None
        renew_after_fork(self)

    @raises_store_error(RedisError, OSError)
    def create(self, record: Record) -> None:
        """Insert a new record; see :meth:`SessionStore.create`."""
        if record.owner is not None:
            self._note(record.owner, record.id)
        key = self._record_prefix + record.id
        if self._used().run(key, "SET", key, pack(record), "NX", "PXAT", _forgotten(record.expires)) is None:
            raise taken(record.id)

    @raises_store_error(RedisError, OSError)
    def load(self, id: str) -> Record | None:
        """Return the live record or None; see :meth:`SessionStore.load`."""
        key = self._record_prefix + id
        try:
            value = self._read(lambda connections: connections.run(key, "GET", key))
        except ResponseError as error:
            if not str(error).startswith("WRONGTYPE"):
                raise
            _security_log.error("corrupt record %r: its key holds something else than a record", id)
            return None
        return self._live(id, value, clock.now())

    @raises_store_error(RedisError, OSError)
    def save(self, record: Record) -> Record:
        """Replace the record of the same version; see :meth:`SessionStore.save`."""
        saved = Record(record.id, record.payload, record.expires, record.version + 1, record.owner)
        arguments = (clock.now(), record.version, pack(saved), _forgotten(record.expires))
        answer = self._run(SAVE, self._record_prefix + record.id, *arguments, 0)
        if answer == 2 and record.owner is not None:
            # Before the record says so: the index must not miss one.
            self._note(record.owner, record.id)
            answer = self._run(SAVE, self._record_prefix + record.id, *arguments, 1)
        if answer == 0:
            raise not_live(record.id)
        if answer < 0:
            raise overtaken(record, -answer)
        return saved

    @raises_store_error(RedisError, OSError)
    def touch(self, id: str, version: int, expires: int) -> bool:
        """Move only the expiry; see :meth:`SessionStore.touch`."""
        arguments = (clock.now(), version, pack_expires(expires), _forgotten(expires))
        answer: int = self._run(TOUCH, self._record_prefix + id, *arguments)
        if answer == 0:
            raise not_live(id)
        return answer == 1

    @raises_store_error(RedisError, OSError)
    def delete(self, id: str) -> None:
        """Remove the record if there is one."""
        key = self._record_prefix + id
        self._used().run(key, "UNLINK", key)

    @raises_store_error(RedisError, OSError)
    def delete_expired(self, limit: int = 500) -> list[Record]:
        """Return nothing: the server forgets records by itself.

        Removes from some of the owners' indexes the ids of records that are gone; the next call goes on from there.
        """
        # Taken, so that a second thread does not step on it; that one begins anew.
        walk, self._walk = self._walk, None
        if walk is None:
            walk = self._used().scan(_pattern(self._owner_prefix))
        steps = list(islice(walk, _STEPS_PER_SWEEP))
        for key in chain.from_iterable(steps):
            self._prune_longest_noted(key.decode())
        if len(steps) == _STEPS_PER_SWEEP:
            self._walk = walk
        return []

    @raises_store_error(RedisError, OSError)
    def find_by_owner(self, owner: str) -> list[Record]:
        """Return the live records of one user."""
        return [record for record in self._noted(self._owner_prefix + owner) if record.owner == owner]

    def scan(self) -> Iterator[Record]:
        """Yield the records that are live when they are reached; remembers their ids, to yield none twice."""
        seen: set[str] = set()
        for records in self._scan_steps():
            for record in records:
                if record.id not in seen:
                    seen.add(record.id)
                    yield record

    @raises_store_error(RedisError, OSError)
    def close(self) -> None:
        """Close the store's own connections; the next use opens them again."""
        with self._lock:
            connections, self._connections = self._connections, None
        self._walk = None
        if connections is not None:
            connections.close()

    def _used(self) -> Connections:
        connections = self._connections
        if connections is not None:
            return connections
        with self._lock:
            connections = self._connections
            if connections is None:
                server = self._server
                connections = of_address(server) if isinstance(server, Address) else of_client(server)
                self._connections = connections
        if not self._has_looked_at_policy:
            self._has_looked_at_policy = True
            _warn_of_eviction(connections)
        return connections

    def _read(self, read: Callable[[Connections], _Result]) -> _Result:
        """Read, and once more if the connection was lost; a server that takes its time is not asked again."""
        connections = self._used()
        try:
            return read(connections)
        except ConnectionError:
            return read(connections)

    def _run(self, script: Script, key: str, *arguments: Any) -> Any:
        connections = self._used()
        try:
            return connections.run(key, "EVALSHA", script.digest, 1, key, *arguments)
        except NoScriptError:
            return connections.run(key, "EVAL", script.text, 1, key, *arguments)

    def _live(self, id: str, value: bytes | None, now: int) -> Record | None:
        if value is None:
            return None
        try:
            record = unpack(id, value)
        except Corrupt as error:
            _security_log.error("corrupt record %r: %s", id, error)
            return None
        return record if record.expires > now else None

    def _records(self, ids: list[str]) -> list[Record | None]:
        keys = [self._record_prefix + id for id in ids]
        values = self._read(lambda connections: connections.values(keys))
        now = clock.now()
        return [self._live(id, value, now) for id, value in zip(ids, values, strict=True)]

    def _note(self, owner: str, id: str) -> None:
        """Have the index of an owner know an id, and remove from it what is long gone."""
        index = self._owner_prefix + owner
        candidates = [candidate.decode() for candidate in self._run(NOTE, index, id)]
        if candidates:
            self._prune(index, candidates, self._records(candidates))

    def _noted(self, index: str) -> list[Record]:
        """Return the live records that an index knows, and remove from it what is long gone."""
        answer = self._read(lambda connections: connections.run(index, "ZRANGE", index, 0, -1))
        ids = [id.decode() for id in answer]
        records = self._records(ids)
        if None in records:
            self._prune(index, ids, records)
        return [record for record in records if record is not None]

    def _prune_longest_noted(self, index: str) -> None:
        old = clock.now() // 1000 - NOTED_LONG_AGO_SECONDS
        answer = self._read(lambda connections: connections.run(index, "ZRANGEBYSCORE", index, "-inf", old))
        if answer:
            ids = [id.decode() for id in answer]
            self._prune(index, ids, self._records(ids))

    def _prune(self, index: str, ids: list[str], records: list[Record | None]) -> None:
        gone = [id for id, record in zip(ids, records, strict=True) if record is None]
        live = [record.id for record in records if record is not None]
        self._run(PRUNE, index, len(gone), *gone, *live)

    def _scan_steps(self) -> Iterator[list[Record]]:
        steps = self._used().scan(_pattern(self._record_prefix))
        while True:
            step = self._next_step(steps)
            if step is None:
                return
            yield step

    @raises_store_error(RedisError, OSError)
    def _next_step(self, steps: Iterator[list[bytes]]) -> list[Record] | None:
        for keys in steps:
            ids = [key.decode()[len(self._record_prefix) :] for key in keys]
            return [record for record in self._records(ids) if record is not None]
        return None

    def _after_fork(self) -> None:
        # The sockets are the parent's; redis-py closes its copies without a word to the server.
        self._lock = threading.Lock()
        self._connections = self._walk = None

    def __repr__(self) -> str:
        server = self._server if isinstance(self._server, Address) else type(self._server).__name__
        return f"{type(self).__name__}({str(server)!r}, prefix={self.prefix!r})"


def _forgotten(expires: int) -> int:
    """Return when the server may forget a record, Unix milliseconds; never before 1970, which it would refuse."""
    return max(1, expires + _GRACE)


def _pattern(prefix: str) -> str:
    """Return the pattern that matches all keys that begin like this."""
    return prefix.translate(_PATTERN_CHARACTERS) + "*"


def _warn_of_eviction(connections: Connections) -> None:
    # Not every server lets everybody ask, and one that is down now will be noticed soon enough.
    with suppress(RedisError, OSError):
        told = dict(line.split(":", 1) for line in connections.memory_info().splitlines() if ":" in line)
        policy = told.get("maxmemory_policy", "noeviction")
        if policy != "noeviction" and told.get("maxmemory") != "0":
            _log.warning(
                "Redis may drop live sessions when its memory is full: maxmemory-policy is %s; "
                "set it to noeviction, or give sessions a server of their own",
                policy,
            )
