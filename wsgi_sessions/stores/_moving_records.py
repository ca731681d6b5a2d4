"""What stands in two stores while records move: sealed records, places kept for them in the new one, and marks."""

from __future__ import annotations

from hashlib import sha256
from secrets import randbelow, token_hex

from msgspec.structs import replace

from ..exceptions import StoreError
from ..record import NO_SESSION, Record, is_session

_SEAL = NO_SESSION + b"moves this: "
_PLACE = NO_SESSION + b"keeps a place: "
_MARK = NO_SESSION + b"has ended this: "
# As many as a version in Redis has.
_VERSION_DIGITS = 15
_MOST_VERSIONS = 10**14
_NUMBER_DIGITS = 16
_NO_NUMBER = b"0" * _NUMBER_DIGITS
# Where in a sealed record that number begins.
_SEAL_NUMBER = len(_SEAL) + _VERSION_DIGITS
# How long a place or a mark outlives what it is for: movers and sweepers may be on their way. Milliseconds.
OUTLIVES = 60 * 60 * 1000
#: So often others may come first, before a write gives up.
MOST_ROUNDS = 100


def sealed(record: Record, place: Record | None = None) -> Record:
    """Return what a save is to put in the place of a record that moves; it holds all that the record held.

    :param record: as it is stored: not sealed, or sealed without a place.
    :param place: the one that is kept for it, without which it counts no more.
    """
    was = unsealed(record)
    head = b"%b%0*d%b" % (_SEAL, _VERSION_DIGITS, was.version, _number(place) if place else _NO_NUMBER)
    return replace(record, payload=head + was.payload)


def created_sealed(record: Record) -> Record:
    """Return what is to be created for a record that moves at once.

    Its version is one that no other gets, so that a late mover of it does not replace what has the id after it.
    """
    return replace(sealed(record), version=new_version())


def is_sealed(record: Record) -> bool:
    """Tell whether a record is about to move, or has moved."""
    return record.payload.startswith(_SEAL)


def holds_session(record: Record) -> bool:
    """Tell whether this is a session, sealed or not."""
    return is_session(record) or is_sealed(record)


def has_place(record: Record) -> bool:
    """Tell whether a record is sealed, and counts only while a place is kept for it."""
    return is_sealed(record) and _number(record) != _NO_NUMBER


def unsealed(record: Record) -> Record:
    """Return a record as it was before it was sealed; one that is not sealed as it is."""
    if not is_sealed(record):
        return record
    version = int(record.payload[len(_SEAL) : _SEAL_NUMBER])
    return replace(record, payload=record.payload[_SEAL_NUMBER + _NUMBER_DIGITS :], version=version)


def place_for(record: Record) -> Record:
    """Return what is to be created where a record shall be saved.

    It is as large, so that a store refuses it now or never, and as much older as that save will add.
    """
    payload = (_PLACE + token_hex(_NUMBER_DIGITS // 2).encode()).ljust(len(record.payload), b".")
    return Record(record.id, payload, record.expires + OUTLIVES, record.version - 1)


def is_place(record: Record) -> bool:
    """Tell whether this only keeps a place."""
    return record.payload.startswith(_PLACE)


def is_place_of(place: Record, stored: Record) -> bool:
    """Tell whether this keeps the place that a sealed record has the number of."""
    return is_place(place) and _number(place) == _number(stored)


def _number(record: Record) -> bytes:
    begin = _SEAL_NUMBER if is_sealed(record) else len(_PLACE)
    return record.payload[begin : begin + _NUMBER_DIGITS]


def current(stored: Record | None, there: Record | None) -> Record | None:
    """Return the session that an old and a new store have together, by what is under its id in each."""
    if there is not None and not is_place(there):
        return there if is_session(there) else None
    if stored is None or (has_place(stored) and (there is None or not is_place_of(there, stored))):
        return None
    return unsealed(stored)


def is_mark(record: Record) -> bool:
    """Tell whether this is in the place of a record that has ended."""
    return record.payload.startswith(_MARK)


def mark_of(id: str, ended: Record | None, expires: int, version: int) -> Record:
    """Return what is in the place of a session that has ended; None: of what nobody has seen."""
    which = b"" if ended is None else sha256(ended.payload).hexdigest()[:_NUMBER_DIGITS].encode()
    return Record(id, _MARK + which, expires, version)


def is_mark_of(mark: Record, ended: Record) -> bool:
    """Tell whether a mark is in the place of this very session, as it was created."""
    return mark.payload == mark_of(ended.id, ended, 0, 0).payload


def new_version() -> int:
    """Return a version that no other record gets, and no save replaces: nobody has seen it."""
    return randbelow(_MOST_VERSIONS)


def held(stored: Record | None) -> Record | None:
    """Return what an old store has of a session, sealed or not: if it was a new one once, it has marks and places."""
    return stored if stored is not None and holds_session(stored) else None


def overrun(id: str) -> StoreError:
    """Return the error of an operation that others always came before."""
    return StoreError(f"other requests kept changing record {id!r}")
