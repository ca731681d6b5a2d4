"""How a session ends while it is in two stores, and how its id becomes free."""

from __future__ import annotations

from .. import clock
from ..exceptions import RecordExists, RecordNotFound, StoreError, VersionConflict
from ..record import Record
from ._moving_records import (
    MOST_ROUNDS,
    OUTLIVES,
    current,
    has_place,
    held,
    is_mark,
    is_place,
    is_sealed,
    mark_of,
    new_version,
    overrun,
)
from .base import SessionStore

# So often others may come first, before a mark insists.
_FAIR_ROUNDS = 20
# More than it takes to delete, or to free an id; if its process dies amid it, the id is free again after that.
_CLAIMED = 60 * 1000


def delete(old: SessionStore, new: SessionStore, id: str) -> None:
    """Remove a session if there is one, and let no mover that is on its way bring it back.

    A store that is full takes neither claim nor mark, but may still delete. That has to do then: it lets only a mover
    bring it back that is stopped at this very moment.

    :raises StoreError: if one of the stores failed; it may be gone all the same.
    """
    for _ in range(MOST_ROUNDS):
        # In this order, it is seen wherever it moves meanwhile.
        stored = held(old.load(id))
        there = new.load(id)
        if (stored is not None and has_place(stored)) or (there is not None and not is_place(there)):
            _end_in_new(new, stored, id)
            again = held(old.load(id))
            # What was not there before may have been created since the mark was removed; sealed, it can be again.
            if again is not None and (stored is not None or is_sealed(again)):
                old.delete(id)
            return
        if stored is None:
            _remove_expired(old, new, id, is_free_in_new=there is None)
            return
        try:
            # Or it might move just before it is deleted.
            old.save(_claim(id, stored.version))
        except (RecordNotFound, VersionConflict):
            continue
        except StoreError:
            old.delete(id)
            if new.load(id) is None:
                return
            # It has moved, or may still be saved in the place that is kept for it.
            continue
        old.delete(id)
        return
    raise overrun(id)


def _remove_expired(old: SessionStore, new: SessionStore, id: str, *, is_free_in_new: bool) -> None:
    """Remove what has expired and would be in the way of another one."""
    if is_free_in_new:
        new.delete(id)
    old.delete(id)
    there = new.load(id)
    if there is not None and is_place(there):
        # Of one that was just created, and could still be saved there.
        _end_in_new(new, None, id)


def _end_in_new(new: SessionStore, stored: Record | None, id: str) -> None:
    try:
        leave_mark(new, stored, id)
    except StoreError:
        new.delete(id)


def free(old: SessionStore, new: SessionStore, id: str) -> None:
    """Free the id of a session that has ended, so that none removes what another one has created there since.

    :raises RecordExists: if somebody else does, or has created it again.
    :raises StoreError: if a store failed.
    """
    # Nobody else creates as long as there is one in the old store as well.
    old.create(_claim(id, new_version()))
    try:
        there = new.load(id)
        if there is not None and is_mark(there):
            new.delete(id)
    finally:
        old.delete(id)


def leave_mark(new: SessionStore, stored: Record | None, id: str) -> None:
    """Put a mark in the place of a record, whether it is there or not, in one step: it is never free meanwhile.

    It stays for as long as anything of the record might.

    :param stored: what was in the old store.
    :raises StoreError: if the store failed.
    """
    end = clock.now() + OUTLIVES
    for number in range(MOST_ROUNDS):
        there = new.load(id)
        if there is not None and is_mark(there):
            return
        ended = current(stored, there)
        end = max([end, *(record.expires for record in (stored, there) if record is not None)])
        try:
            if there is None:
                new.create(mark_of(id, ended, end, new_version()))
            else:
                new.save(mark_of(id, ended, end, there.version))
            return
        except (VersionConflict, RecordNotFound):
            if number >= _FAIR_ROUNDS:
                new.delete(id)
        except RecordExists:
            if new.load(id) is None:
                # It has expired, and is not removed yet.
                new.delete(id)
    raise overrun(id)


def _claim(id: str, version: int) -> Record:
    """Return what takes an id in the old store for a moment."""
    return mark_of(id, None, clock.now() + _CLAIMED, version)
