"""How one record moves from an old store to a new one, each step in one of them alone.

1. It is *sealed* in the old store by a save, which compares the version: whoever saves there later meets a conflict
   instead of being lost, whoever saved before is moved along. What it holds stays in it, and counts as before.
2. A *place* is kept for it in the new one, which has a number of its own, and counts for nothing.
3. A save writes that number into the seal. From now on, what is sealed counts only while that very place is kept.
4. It is saved in the place, with the version that it had, and counts there: at this moment it has moved.
5. It is deleted from the old one.

Whoever meets a sealed record can go on from there, so it does not matter who stops where. What a mover that was killed
leaves in the old store is worth nothing once it has moved, however soon the session ends and is forgotten: its place is
gone. A mover that is late finds nothing to seal, or keeps a place whose number nothing in the old store has.

Where a delete ends what has moved or is moving, it leaves a *mark* in the new store, which takes the id: in a place
that is kept after it, those could save who have seen the number of the one before. What is created begins at step 1, so
the old store decides who is first, also between processes that move and those that do not. What one of the stores does
not take is unsealed again, and stays in the old one.
"""

from __future__ import annotations

from contextlib import suppress

from msgspec.structs import replace

from ..exceptions import (
    RecordExists,
    RecordNotFound,
    SessionError,
    SessionTooLarge,
    StoreError,
    VersionConflict,
)
from ..record import Record
from ._moving_records import (
    MOST_ROUNDS,
    has_place,
    held,
    is_place,
    is_place_of,
    is_sealed,
    overrun,
    place_for,
    sealed,
    unsealed,
)
from .base import SessionStore


class OnePlace(StoreError):
    """A move would meet itself."""

    def __init__(self, id: str) -> None:
        super().__init__(
            f"the new store has what was just put into the old one for record {id!r}: either both are one place, or "
            "the direction was changed while moves were under way; finish those with moving=False and move()"
        )


class Refused(Exception):
    """One of the stores does not take a record, which stays in the old one; never leaves a MigratingStore.

    :param stays: the record as it is in the old store now.
    :param version: the one that it had before, and that was told to others.
    :param error: why.
    """

    def __init__(self, stays: Record, version: int, error: SessionError) -> None:
        super().__init__(str(error))
        self.stays = stays
        self.version = version
        self.error = error


def settle(old: SessionStore, new: SessionStore, id: str, *, is_moving: bool) -> Record | None:
    """Move a record if it is to be moved, or if somebody has begun to; return it if it stays in the old store.

    :raises Refused: if it stays although it is to be moved.
    :raises OnePlace: if both stores are one.
    :raises SessionTooLarge: if the new store had room for it, and now has not.
    :raises StoreError: if one of the stores failed; anybody can go on from there.
    """
    for _ in range(MOST_ROUNDS):
        stored = held(old.load(id))
        if stored is None or not (is_moving or is_sealed(stored)):
            return stored
        with suppress(RecordNotFound, VersionConflict):
            _carry_over(old, new, stored if is_sealed(stored) else _seal(old, stored))
            return None
    raise overrun(id)


def _seal(old: SessionStore, stored: Record) -> Record:
    """Seal a record, unless somebody else was faster, and return it."""
    try:
        return old.save(sealed(stored))
    except SessionTooLarge as error:
        raise Refused(stored, stored.version, error) from error


def _carry_over(old: SessionStore, new: SessionStore, stored: Record) -> None:
    """Bring a sealed record into the new store from wherever it has come to, unless somebody else was faster."""
    record = unsealed(stored)
    if has_place(stored):
        place = new.load(record.id)
    else:
        try:
            place = _keep_place(new, record)
        except (RecordExists, SessionTooLarge) as error:
            back = old.save(replace(record, version=stored.version))
            raise Refused(back, record.version, error) from error
        if place is not None:
            stored = old.save(sealed(stored, place))
    if place is not None and is_place_of(place, stored):
        new.save(replace(record, version=place.version))
    # It may have ended since, and its id be in use again.
    if old.load(record.id) == stored:
        old.delete(record.id)


def _keep_place(new: SessionStore, record: Record) -> Record | None:
    """Return the place that is kept for a record, by this or by somebody else; None if there is more than a place.

    :raises RecordExists: if there is something that has expired, until it is swept.
    :raises SessionTooLarge: if the store takes nothing so large.
    """
    wanted = place_for(record)
    try:
        new.create(wanted)
        return wanted
    except RecordExists:
        there = new.load(record.id)
    if there is None:
        # Unless a mark was removed just now, it is taken for longer.
        new.create(wanted)
        return wanted
    if is_sealed(there):
        raise OnePlace(record.id)
    if not is_place(there):
        return None
    # One that a late mover has kept for an earlier version would be gone, or make the record older.
    while there.version < wanted.version or there.expires < wanted.expires:
        there = new.save(replace(wanted, version=there.version))
    return there
