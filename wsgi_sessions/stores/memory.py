"""A store in the memory of one process: for development, tests and single-process servers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from heapq import heapify, heappop, heappush

import msgspec

from .. import clock
from ..exceptions import StoreError
from ..record import Record
from .base import SessionStore, not_live, overtaken, renew_after_fork, taken

# A write removes this many long-expired records, twice what a create adds: what nobody sweeps still shrinks.
_REMOVED_PER_WRITE = 2
# So many entries of the heap are looked at while the lock is held, or others would wait for all that were
# renewed since: by a write, and by each turn of a sweep, which takes some milliseconds.
_LOOKS_PER_WRITE = 8
_LOOKS_PER_TURN = 1000
# Writes leave the recently expired to delete_expired, whose caller wants to see them. Milliseconds.
_LEFT_TO_SWEEPER = 10 * 60 * 1000
# Below this many entries a rebuild of the heap is not worth its while.
_SMALL_HEAP = 1024


class MemoryStore(SessionStore):
    """Keeps records in a dictionary. They end with the process, and no other process sees them.

    A live record is never evicted. Expired ones are removed by
    :meth:`delete_expired`, or, ten minutes later, by the writes of others.

    :param max_records: refuse new records with StoreError at this many live ones.
    """

    def __init__(self, *, max_records: int | None = None) -> None:
        if max_records is not None and max_records < 1:
            raise ValueError("max_records must be at least 1, or None for no limit")
        self._max_records = max_records
        self._records: dict[str, Record] = {}
        # At least one entry (expires, id) for each record, never later than its end;
        # entries of records that were deleted or renewed are put right when they come up.
        self._heap: list[tuple[int, str]] = []
        self._lock = threading.Lock()
        renew_after_fork(self)

    def create(self, record: Record) -> None:
        """Insert a new record; see :meth:`SessionStore.create`."""
        now = clock.now()
        with self._lock:
            self._remove_expired(now - _LEFT_TO_SWEEPER, _REMOVED_PER_WRITE, _LOOKS_PER_WRITE)
            if record.id in self._records:
                raise taken(record.id)
            self._make_room(now)
            # The entry first: a fork in between leaves a stale entry, never a record without one.
            heappush(self._heap, (record.expires, record.id))
            self._records[record.id] = record

    def load(self, id: str) -> Record | None:
        """Return the live record or None; see :meth:`SessionStore.load`."""
        record = self._records.get(id)
        if record is None or record.expires <= clock.now():
            return None
        return record

    def save(self, record: Record) -> Record:
        """Replace the record of the same version; see :meth:`SessionStore.save`."""
        saved = Record(record.id, record.payload, record.expires, record.version + 1, record.owner)
        now = clock.now()
        with self._lock:
            stored = self._live(record.id, now)
            if stored.version != record.version:
                raise overtaken(record, stored.version)
            crowded = self._replace(stored, saved)
            if self._heap and self._heap[0][0] <= now - _LEFT_TO_SWEEPER:
                self._remove_expired(now - _LEFT_TO_SWEEPER, _REMOVED_PER_WRITE, _LOOKS_PER_WRITE)
        if crowded:
            self._rebuild_heap()
        return saved

    def touch(self, id: str, version: int, expires: int) -> bool:
        """Move only the expiry; see :meth:`SessionStore.touch`."""
        with self._lock:
            stored = self._live(id, clock.now())
            if stored.version != version:
                return False
            crowded = self._replace(stored, msgspec.structs.replace(stored, expires=expires))
        if crowded:
            self._rebuild_heap()
        return True

    def delete(self, id: str) -> None:
        """Remove the record if there is one."""
        with self._lock:
            self._records.pop(id, None)
            crowded = self._is_crowded()
        if crowded:
            self._rebuild_heap()

    def delete_expired(self, limit: int = 500) -> list[Record]:
        """Remove at most ``limit`` expired records and return them."""
        now = clock.now()
        removed: list[Record] = []
        while len(removed) < limit:
            with self._lock:
                removed += self._remove_expired(now, limit - len(removed), _LOOKS_PER_TURN)
                if not self._heap or self._heap[0][0] > now:
                    break
        return removed

    def scan(self) -> Iterator[Record]:
        """Yield the records that are live when they are reached."""
        for record in list(self._records.values()):
            if record.expires > clock.now():
                yield record

    def find_by_owner(self, owner: str) -> list[Record]:
        """Return the live records of one user; looks at every record."""
        return [record for record in self.scan() if record.owner == owner]

    def _live(self, id: str, now: int) -> Record:
        stored = self._records.get(id)
        if stored is None or stored.expires <= now:
            raise not_live(id)
        return stored

    def _replace(self, stored: Record, renewed: Record) -> bool:
        """Put a record in place of another one and tell whether the heap is to be rebuilt."""
        shortened = renewed.expires < stored.expires
        if shortened:
            heappush(self._heap, (renewed.expires, renewed.id))
        self._records[renewed.id] = renewed
        return shortened and self._is_crowded()

    def _is_crowded(self) -> bool:
        return len(self._heap) > max(2 * len(self._records), _SMALL_HEAP)

    def _make_room(self, now: int) -> None:
        if self._max_records is None or len(self._records) < self._max_records:
            return
        # A refusal must be true, so this looks at as many as it takes.
        if not self._remove_expired(now, _REMOVED_PER_WRITE, len(self._heap)):
            raise StoreError(f"the store holds its maximum of {self._max_records} live records")

    def _remove_expired(self, moment: int, limit: int, looks: int) -> list[Record]:
        """Remove at most ``limit`` records that end by ``moment``; the caller holds the lock.

        :param looks: how many entries of the heap to look at.
        """
        heap = self._heap
        removed: list[Record] = []
        while looks and heap and heap[0][0] <= moment and len(removed) < limit:
            looks -= 1
            id = heappop(heap)[1]
            record = self._records.get(id)
            if record is None:
                continue
            if record.expires <= moment:
                removed.append(self._records.pop(id))
            else:
                heappush(heap, (record.expires, id))
        return removed

    def _rebuild_heap(self) -> None:
        """Drop the entries of deleted records without holding the lock for all of it."""
        with self._lock:
            self._heap = []
        # What is written from here on enters the new heap; what was there before is in this list.
        renewed = self._entries()
        with self._lock:
            for entry in self._heap:
                heappush(renewed, entry)
            self._heap = renewed

    def _entries(self) -> list[tuple[int, str]]:
        entries = [(record.expires, record.id) for record in list(self._records.values())]
        heapify(entries)
        return entries

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        # The parent may have been in the middle of a rebuild.
        self._heap = self._entries()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._records)} records)"
