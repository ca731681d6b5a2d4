"""What stands in two stores while records move from one to the other: sealed records, and marks in place of ended ones.

No session begins like these: an envelope is a JSON array.
"""

from __future__ import annotations

from msgspec.structs import replace

from ..exceptions import RecordExists, RecordNotFound, StoreError, VersionConflict
from ..record import Record
from .base import SessionStore

_SEAL = b"wsgi_sessions moves this: "
_MARK = b"wsgi_sessions has ended this"
# No save can replace a mark that was created with it: a record that anybody has loaded is at 1 or more.
_MARK_VERSION = 0
# So often others may come first, before a mark insists and then gives up.
_FAIR_ROUNDS = 20
_MOST_ROUNDS = 100


def sealed(record: Record) -> Record:
    """Return what a save is to put in the place of a record that moves; it holds all that the record held."""
    return replace(record, payload=_SEAL + record.payload)


def is_sealed(record: Record) -> bool:
    """Tell whether a record is about to move, or has moved."""
    return record.payload.startswith(_SEAL)


def unsealed(record: Record) -> Record:
    """Return a record as it was before the save that sealed it; one that is not sealed as it is."""
    if not is_sealed(record):
        return record
    return replace(record, payload=record.payload[len(_SEAL) :], version=record.version - 1)


def mark(id: str, expires: int, version: int = _MARK_VERSION) -> Record:
    """Return what takes the place of a record that has ended, or is not there yet."""
    return Record(id, _MARK, expires, version)


def is_mark(record: Record) -> bool:
    """Tell whether this is in the place of a record."""
    return record.payload == _MARK


def leave_mark(store: SessionStore, id: str, ends: int) -> None:
    """Put a mark in the place of a record, whether it is there or not, in one step: it is never free meanwhile.

    :param ends: Unix milliseconds; it stays longer if the record that is there does.
    :raises StoreError: if the store failed.
    """
    for number in range(_MOST_ROUNDS):
        there = store.load(id)
        if there is not None and is_mark(there):
            return
        try:
            if there is None:
                store.create(mark(id, ends))
            else:
                store.save(mark(id, max(ends, there.expires), there.version))
            return
        except (VersionConflict, RecordNotFound):
            if number >= _FAIR_ROUNDS:
                store.delete(id)
        except RecordExists:
            if store.load(id) is None:
                # It has expired, and is not removed yet.
                store.delete(id)
    raise overrun(id)


def overrun(id: str) -> StoreError:
    """Return the error of an operation that others always came before."""
    return StoreError(f"other requests kept changing record {id!r}")


def one_place(id: str) -> StoreError:
    """Return the error of a move that would meet itself."""
    return StoreError(
        f"the new store has what was just put into the old one for record {id!r}: either both are one place, or the "
        "direction was changed while moves were under way; finish those with moving=False and move()"
    )
