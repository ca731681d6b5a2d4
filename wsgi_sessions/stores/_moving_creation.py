"""How a session begins while there are two stores: in the old one, which decides who is first; from there it moves."""

from __future__ import annotations

from .. import clock
from ..exceptions import RecordExists, SessionTooLarge
from ..record import Record, is_session
from ._moving_ends import free
from ._moving_records import MOST_ROUNDS, created_sealed, is_mark, is_mark_of, is_place, overrun
from ._moving_steps import OnePlace, Refused, settle
from .base import SessionStore, taken


def create(old: SessionStore, new: SessionStore, record: Record, *, is_moving: bool) -> None:
    """Insert a new record, and move it if it is to be moved and not too large for that.

    :raises RecordExists: if there is one.
    :raises OnePlace: if both stores are one.
    :raises SessionTooLarge: if it is too large for the old store.
    :raises StoreError: if one of the stores failed.
    """
    for _ in range(MOST_ROUNDS):
        there = new.load(record.id)
        # Movers of what had the id before may still be on their way, and delete what they have moved.
        moves = is_moving or (there is not None and is_mark(there))
        if there is not None and is_mark(there):
            free(old, new, record.id)
        elif there is not None and not is_place(there):
            raise taken(record.id)
        try:
            old.create(created_sealed(record) if moves else record)
        except SessionTooLarge:
            if not moves:
                raise
            old.create(record)
            return
        try:
            if moves:
                settle(old, new, record.id, is_moving=is_moving)
            there = new.load(record.id)
            if there is not None and is_session(there) and there.payload != record.payload:
                # Another one was created and has moved before this one was in the old store.
                raise taken(record.id)
        except Refused as refused:
            old.delete(record.id)
            if not isinstance(refused.error, SessionTooLarge):
                raise refused.error from None
            old.create(record)
            return
        except (RecordExists, OnePlace):
            old.delete(record.id)
            raise
        if there is None or is_place(there):
            if not moves or record.expires <= clock.now():
                return
            # A mover or a delete of what had the id before was late, and took this one for it.
        elif is_session(there) or is_mark_of(there, record):
            return
        else:
            # A delete was late, and has left a mark of what had the id before.
            old.delete(record.id)
    raise overrun(record.id)
