"""Two stores as one, while the sessions of the old one move to the new one and the site runs.

How one record moves, each step in one store alone:

1. It is *sealed* in the old store by a save, which compares the version: whoever saves there later meets a conflict
   instead of being lost, whoever saved before is moved along. What it holds stays in it.
2. It is created in the new one, with the version that it had.
3. It is deleted from the old one.

Whoever meets a sealed record can go on from there, so it does not matter who stops where. The new store comes first
for all reads and writes, and what is there is what counts. A mover may be late, and create what was ended meanwhile:
so a delete leaves a *mark* in the new store, which takes the id for as long as what moved under it could be alive.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeVar

from msgspec.structs import replace

from .. import clock
from ..exceptions import RecordExists, RecordNotFound, StoreError, VersionConflict
from ..record import Record
from ._moving_records import is_mark, is_sealed, leave_mark, mark, one_place, overrun, sealed, unsealed
from .base import SessionStore, not_live, overtaken, taken
from .caching import CachingStore

_log = logging.getLogger("wsgi_sessions")

_Result = TypeVar("_Result")

# A mark for what is in neither store is for movers that are on their way at this moment. Milliseconds.
_MARKED_AT_LEAST = 60 * 60 * 1000
# More than a create takes; if its process dies amid it, the id is free again after that.
_CLAIMED = 60 * 1000
# So often others may come first, before a write gives up.
_MOST_ROUNDS = 100


class MigratingStore(SessionStore):
    """Reads from a new store, then from an old one; writes to the new one; deletes from both.

    A record moves when it is first saved or touched, or by :meth:`move`, and keeps its id, version, end and owner.
    Every process that uses one of the two stores has to know of the other, or it misses what moves. So let all
    processes have ``moving=False`` first, and only then, one after the other, go without it.

    When :meth:`left` is 0 in a store that moves, put the new one in its place. A CachingStore goes in front of it.

    :param old: where the sessions are. One that cannot list them, such as CachelibStore, is empty when all that it
        held was used or has ended; nothing can tell.
    :param new: where they shall be.
    :param moving: False leaves everything where it is, for the time in which some processes know only one of the
        stores. What is in the old one is then touched by a save, which counts as one.
    :raises ValueError: if the new store cannot compare and swap, or both are the same, or one is a CachingStore.
    """

    def __init__(self, old: SessionStore, new: SessionStore, *, moving: bool = True) -> None:
        _check(old, new)
        self._old = old
        self._new = new
        self._moving = moving
        # In the old store a move only has to be safe from writers, and there are none if all move.
        self.atomic = moving or old.atomic
        self.shared = old.shared and new.shared
        self.enumerable = old.enumerable and new.enumerable
        # Of what is created now: the old store may have something for delete_expired to return all the same.
        self.expires_itself = (new if moving else old).expires_itself

    def create(self, record: Record) -> None:
        """Insert a new record; see :meth:`SessionStore.create`."""
        if self._moving or self._new.load(record.id) is not None:
            self._create_in_new(record)
            return
        self._old.create(record)
        there = self._new.load(record.id)
        if there is not None and not is_mark(there) and there.payload != record.payload:
            # A process that moves has created another one between the two.
            self._old.delete(record.id)
            raise taken(record.id)

    def load(self, id: str) -> Record | None:
        """Return the live record or None; see :meth:`SessionStore.load`. It moves nothing."""
        there = self._new.load(id)
        if there is None:
            stored = self._in_old(id)
            if stored is not None:
                return unsealed(stored)
            # It may have moved just now.
            there = self._new.load(id)
        return None if there is None or is_mark(there) else there

    def save(self, record: Record) -> Record:
        """Replace the record of the same version; see :meth:`SessionStore.save`."""
        try:
            return self._write(record, lambda: self._new.save(record), lambda _: self._old.save(record))
        except VersionConflict:
            if self._is_marked(record.id):
                raise not_live(record.id) from None
            raise

    def touch(self, id: str, version: int, expires: int) -> bool:
        """Move only the expiry; see :meth:`SessionStore.touch`."""

        def touch_in_old(stored: Record) -> bool:
            # A mover that has read it before could not tell a touch, and would undo it.
            self._old.save(replace(stored, expires=expires))
            return True

        record = Record(id, b"", expires, version)
        with suppress(VersionConflict):
            if self._write(record, lambda: self._new.touch(id, version, expires), touch_in_old):
                return True
        if self._is_marked(id):
            raise not_live(id)
        return False

    def delete(self, id: str) -> None:
        """Remove the record if there is one, and have the new store remember that for as long as it might have lived.

        :raises StoreError: if one of the stores failed; it may be gone all the same.
        """
        # In this order, it is seen wherever it moves meanwhile.
        stored = self._in_old(id)
        ends = clock.now() + _MARKED_AT_LEAST
        leave_mark(self._new, id, ends if stored is None else max(ends, stored.expires))
        self._old.delete(id)

    def delete_expired(self, limit: int = 500) -> list[Record]:
        """Remove at most ``limit`` expired records from both stores and return them."""
        removed: list[Record] = []
        try:
            for store in (self._new, self._old):
                while len(removed) < limit and (batch := store.delete_expired(limit - len(removed))):
                    removed += [unsealed(record) for record in batch if self._was_last(store, record)]
        except StoreError as error:
            # The caller must learn of what was removed. If the failure lasts, a call that removed nothing raises.
            if not removed:
                raise
            _log.warning("cannot remove expired records from one store of %r: %s", self, error)
        return removed

    def scan(self) -> Iterator[Record]:
        """Yield the live records of both stores; remembers the ids of those in the old one, to yield none twice."""
        seen: set[str] = set()
        # The old store first: what moves meanwhile is then seen in one or in both, never in none.
        for stored in self._old.scan():
            if not is_mark(stored) and self._new.load(stored.id) is None:
                seen.add(stored.id)
                yield unsealed(stored)
        for there in self._new.scan():
            if there.id not in seen and not is_mark(there):
                yield there

    def find_by_owner(self, owner: str) -> list[Record]:
        """Return the live records of one user, in both stores."""
        before = {stored.id: stored for stored in self._old.find_by_owner(owner)}
        found = {there.id: there for there in self._new.find_by_owner(owner)}
        for id in before.keys() - found.keys():
            there = self._new.load(id)
            if there is None:
                found[id] = unsealed(before[id])
            elif there.owner == owner:
                found[id] = there
        return list(found.values())

    def close(self) -> None:
        """Close both stores; they may be used again afterwards."""
        try:
            self._old.close()
        finally:
            self._new.close()

    def move(self, limit: int = 500) -> int:
        """Move at most ``limit`` records, or finish moves that others have begun if this store does not move.

        Any number of processes may do so, and the site may run: ``while store.move(): ...``.

        :returns: how many were moved; 0 if none are left that can be.
        :raises NotImplementedError: if the old store cannot list what it holds.
        :raises StoreError: if one of the stores failed. Nothing is lost; call it again.
        """
        count = 0
        for stored in self._old.scan():
            if count >= limit:
                break
            if self._is_movable(stored):
                self._settle(stored.id)
                count += 1
        return count

    def left(self) -> int:
        """Count the live records that are still in the old store; looks at every one.

        :raises NotImplementedError: if the old store cannot list what it holds.
        """
        return sum(not is_mark(stored) for stored in self._old.scan())

    def _create_in_new(self, record: Record) -> None:
        # The old store decides who is first, also between processes that move and those that do not.
        claim = mark(record.id, clock.now() + _CLAIMED)
        self._old.create(claim)
        try:
            self._new.create(record)
        except RecordExists:
            there = self._new.load(record.id)
            if there == claim:
                raise one_place(record.id) from None
            if there is None or not is_mark(there):
                raise
            self._new.delete(record.id)
            self._new.create(record)
        finally:
            self._old.delete(record.id)

    def _write(self, record: Record, in_new: Callable[[], _Result], in_old: Callable[[Record], _Result]) -> _Result:
        """Write where the record is, or where it belongs."""
        for _ in range(_MOST_ROUNDS):
            with suppress(RecordNotFound):
                return in_new()
            stored = self._settle(record.id)
            if stored is None:
                # It has been moved, now or by somebody else, or there is none.
                return in_new()
            if self._is_marked(record.id):
                raise not_live(record.id)
            # Compared here as well: the next version can be that of a seal.
            if stored.version != record.version:
                raise overtaken(record, stored.version)
            with suppress(RecordNotFound, VersionConflict):
                return in_old(stored)
        raise overrun(record.id)

    def _settle(self, id: str) -> Record | None:
        """Move a record if it is to be moved; return it if it stays in the old store."""
        for _ in range(_MOST_ROUNDS):
            stored = self._in_old(id)
            if stored is None or not self._is_movable(stored):
                return stored
            if not is_sealed(stored):
                try:
                    stored = self._old.save(sealed(stored))
                except (RecordNotFound, VersionConflict):
                    continue
            self._carry_over(stored)
            return None
        raise overrun(id)

    def _carry_over(self, stored: Record) -> None:
        try:
            self._new.create(unsealed(stored))
        except RecordExists:
            there = self._new.load(stored.id)
            if there is not None and is_sealed(there):
                # To go on would delete the only one that there is.
                raise one_place(stored.id) from None
        self._old.delete(stored.id)

    def _in_old(self, id: str) -> Record | None:
        """Return what the old store has of a record, sealed or not."""
        stored = self._old.load(id)
        # There are marks in it of what is just created, and all others if it was a new one once.
        return None if stored is None or is_mark(stored) else stored

    def _is_marked(self, id: str) -> bool:
        there = self._new.load(id)
        return there is not None and is_mark(there)

    def _is_movable(self, stored: Record) -> bool:
        return not is_mark(stored) and (self._moving or is_sealed(stored))

    def _was_last(self, store: SessionStore, removed: Record) -> bool:
        """Tell whether an expired record that was removed from a store was the session's last one."""
        if is_mark(removed):
            return False
        if store is self._new:
            return True
        try:
            return self._new.load(removed.id) is None
        except StoreError:
            return True

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._old!r}, {self._new!r}, moving={self._moving})"


def _check(old: SessionStore, new: SessionStore) -> None:
    for name, store in (("old", old), ("new", new)):
        if not isinstance(store, SessionStore):
            raise TypeError(f"{name} must be a SessionStore such as SQLStore(...), not {type(store).__name__}")
        if isinstance(store, CachingStore):
            raise ValueError(
                f"{name} must have no cache: put that in front, CachingStore(cache, MigratingStore(old, new))"
            )
    if old is new:
        raise ValueError("old and new are the same store")
    if not new.atomic:
        raise ValueError(f"new must be able to compare and swap, which {type(new).__name__} cannot")
