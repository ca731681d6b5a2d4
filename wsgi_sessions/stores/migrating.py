"""Two stores as one, while the sessions of the old one move to the new one and the site runs.

The new store comes first for all reads and writes, and a session there is the one that counts. A save looks there
first: only a session is overwritten, never a place that is kept for one, whose version a late writer might have.

How one record moves is told in :mod:`._moving_steps`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeVar

from msgspec.structs import replace

from ..exceptions import RecordNotFound, SessionTooLarge, StoreError, VersionConflict
from ..record import Record, is_session
from ._moving_creation import create
from ._moving_ends import delete
from ._moving_records import (
    MOST_ROUNDS,
    current,
    held,
    holds_session,
    is_place,
    is_sealed,
    overrun,
    unsealed,
)
from ._moving_steps import OnePlace, Refused, settle
from .base import SessionStore, not_live, overtaken
from .caching import CachingStore

_log = logging.getLogger("wsgi_sessions")

_Result = TypeVar("_Result")

# So many failures in a row are an outage, and not some records that a store cannot take.
_MOST_FAILURES = 10
# So many batches of marks and the like, which nobody is told of, are enough for one sweep.
_MOST_BATCHES = 10


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
        stores. A touch of what is in the old one then raises its version, as a save does.
    :raises ValueError: if the new store cannot compare and swap, or both are the same, or one is a CachingStore.
    """

    def __init__(self, old: SessionStore, new: SessionStore, *, moving: bool = True) -> None:
        _check(old, new)
        self._old = old
        self._new = new
        self._moving = moving
        # What has not moved is as safe as the old store is.
        self.atomic = old.atomic
        self.shared = old.shared and new.shared
        self.enumerable = old.enumerable and new.enumerable
        # Of what is created now: the old store may have something for delete_expired to return all the same.
        self.expires_itself = (new if moving else old).expires_itself
        # By id, which version move() could not move, and why, so that it is not sealed and unsealed each time.
        self._refused: dict[str, tuple[int, str]] = {}

    def create(self, record: Record) -> None:
        """Insert a new record; see :meth:`SessionStore.create`.

        It is created in the old store and moves at once; if it is too large to move, it stays there.

        :raises SessionTooLarge: if it is too large for the old store.
        """
        create(self._old, self._new, record, is_moving=self._moving)

    def load(self, id: str) -> Record | None:
        """Return the live record or None; see :meth:`SessionStore.load`. It moves nothing."""
        there = self._new.load(id)
        if there is not None and not is_place(there):
            return current(None, there)
        stored = held(self._old.load(id))
        found = current(stored, there)
        # If there is none, it may have moved just now.
        return current(stored, self._new.load(id)) if found is None else found

    def save(self, record: Record) -> Record:
        """Replace the record of the same version; see :meth:`SessionStore.save`."""
        return self._write(
            record,
            lambda: self._new.save(record),
            lambda stored: self._old.save(replace(record, version=stored.version)),
        )

    def touch(self, id: str, version: int, expires: int) -> bool:
        """Move only the expiry; see :meth:`SessionStore.touch`."""
        record = Record(id, b"", expires, version)

        def touch_in_new() -> None:
            if not self._new.touch(id, version, expires):
                raise VersionConflict

        def touch_in_old(stored: Record) -> None:
            # A mover that has read it before could not tell a touch, and would undo it.
            self._old.save(replace(stored, expires=expires))

        try:
            self._write(record, touch_in_new, touch_in_old)
        except VersionConflict:
            return False
        return True

    def delete(self, id: str) -> None:
        """Remove the record if there is one, and let no mover that is on its way bring it back.

        :raises StoreError: if one of the stores failed; it may be gone all the same.
        """
        delete(self._old, self._new, id)

    def delete_expired(self, limit: int = 500) -> list[Record]:
        """Remove at most ``limit`` expired records from both stores and return them."""
        removed: list[Record] = []
        try:
            for store in (self._new, self._old):
                for _ in range(_MOST_BATCHES):
                    batch = store.delete_expired(limit - len(removed)) if len(removed) < limit else []
                    if not batch:
                        break
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
        for stored in self._all_in_old():
            there = self._new.load(stored.id)
            found = current(stored, there)
            if found is not None and found is not there:
                seen.add(stored.id)
                yield found
        for there in self._new.scan():
            if there.id not in seen and is_session(there):
                yield there

    def find_by_owner(self, owner: str) -> list[Record]:
        """Return the live records of one user, in both stores."""
        before = {stored.id: stored for stored in self._old.find_by_owner(owner)}
        found = {there.id: there for there in self._new.find_by_owner(owner)}
        for id in before.keys() - found.keys():
            record = current(before[id], self._new.load(id))
            if record is not None and record.owner == owner:
                found[id] = record
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

        :returns: how many have left the old store, also if others have moved or ended them; 0 if none are left.
        :raises NotImplementedError: if the old store cannot list what it holds.
        :raises StoreError: if one of the stores failed; nothing is lost, call it again. Also if what is left cannot
            move, and stays in the old one: says how many records that are, and why the first one.
        """
        count = failures = 0
        staying: list[tuple[str, str]] = []
        for stored in self._all_in_old():
            if count >= limit:
                break
            if not self._moving and not is_sealed(stored):
                continue
            version, why = self._refused.get(stored.id, (None, ""))
            if version == stored.version:
                staying.append((stored.id, why))
                continue
            self._refused.pop(stored.id, None)
            try:
                settle(self._old, self._new, stored.id, is_moving=self._moving)
                count += 1
                failures = 0
            except Refused as refused:
                self._refused[stored.id] = refused.stays.version, str(refused.error)
                staying.append((stored.id, str(refused.error)))
            except OnePlace:
                raise
            except (SessionTooLarge, StoreError) as error:
                failures += 1
                if failures == _MOST_FAILURES:
                    raise
                staying.append((stored.id, str(error)))
        if staying and not count:
            id, why = staying[0]
            raise StoreError(
                f"records that cannot move and stay in the old store: {len(staying)}; first, {id!r}: {why}"
            )
        return count

    def left(self) -> int:
        """Count the live records that are still in the old store; looks at every one.

        :raises NotImplementedError: if the old store cannot list what it holds.
        """
        return sum(1 for _ in self._all_in_old())

    def _write(self, record: Record, in_new: Callable[[], _Result], in_old: Callable[[Record], _Result]) -> _Result:
        """Write where the record is, or where it belongs."""
        there = self._new.load(record.id)
        for _ in range(MOST_ROUNDS):
            if there is not None and not is_place(there):
                if not is_session(there):
                    raise not_live(record.id)
                if there.version != record.version:
                    raise overtaken(record, there.version)
                with suppress(RecordNotFound, VersionConflict):
                    return in_new()
                there = self._new.load(record.id)
                continue
            try:
                stored = settle(self._old, self._new, record.id, is_moving=self._moving)
                version = 0 if stored is None else stored.version
            except Refused as refused:
                stored, version = refused.stays, refused.version
            if stored is not None:
                # Compared here as well: the next version can be that of a seal.
                if version != record.version:
                    raise overtaken(record, version)
                with suppress(RecordNotFound, VersionConflict):
                    return in_old(stored)
            there = self._new.load(record.id)
            if stored is None and current(None, there) is None:
                # Neither was it there, nor has it been moved, now or by somebody else.
                raise not_live(record.id)
        raise overrun(record.id)

    def _all_in_old(self) -> Iterator[Record]:
        return filter(holds_session, self._old.scan())

    def _was_last(self, store: SessionStore, removed: Record) -> bool:
        """Tell whether an expired record that was removed from a store was the session's last one."""
        if not holds_session(removed):
            return False
        if store is self._new:
            return True
        try:
            there = self._new.load(removed.id)
        except StoreError:
            return True
        return current(removed, there) not in (None, there)

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
