"""What is stored of a session of another library: that it was imported, or has been taken over."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress

import msgspec

from . import codec
from .exceptions import RecordExists, RecordNotFound, VersionConflict
from .legacy import LegacyError, LegacySession, Reason
from .record import SCHEMA, Record
from .stores.base import SessionStore

#: What the ids of notes begin with, and no token.
NOTES = "legacy."
#: In the place of our session's id, of one that has ended here without being taken over.
ENDED = "-"


class Note(msgspec.Struct, array_like=True, frozen=True):
    """What is stored of a legacy session, under :func:`note_id`.

    :param schema: the number of this form.
    :param id: of our session; empty for one that was imported and waits for its visitor.
    :param taken: when, Unix milliseconds.
    :param created: of an imported one, when it began there.
    :param end: of an imported one, when it would have ended there; None for one without an end.
    :param persistent: of an imported one.
    :param data: of an imported one, its values as the codec encodes them.
    """

    schema: int
    id: str
    taken: int
    created: int | None = None
    end: int | None = None
    persistent: bool = False
    data: dict[str, msgspec.Raw] = {}


class Noted(msgspec.Struct, frozen=True):
    """A note as it is stored."""

    note: Note
    record: Record

    @property
    def is_over(self) -> bool:
        """Whether the session was taken over, or has ended; otherwise it was imported and waits."""
        return self.note.id != ""


#: Returns the payload for a note.
encode_note: Callable[[Note], bytes] = msgspec.json.Encoder().encode
_decode_note = msgspec.json.Decoder(Note).decode


def note_id(system: str, identity: str) -> str:
    """Return under which id a legacy session is remembered; it cannot be presented as a token."""
    digest = hashlib.sha256(f"legacy:{system}:{identity}".encode()).digest()
    return NOTES + base64.urlsafe_b64encode(digest).decode().rstrip("=")


def imported_record(system: str, identity: str, session: LegacySession, expires: int) -> Record:
    """Return the record of a session that was read without its cookie, and waits for its visitor."""
    note = Note(SCHEMA, "", 0, session.created, session.expires, session.persistent, encoded(session.data))
    return Record(note_id(system, identity), encode_note(note), expires)


def open_note(record: Record) -> Note:
    """Return the note in a record.

    :raises LegacyError: if it is none, or was written by a newer version of this package.
    """
    try:
        note = _decode_note(record.payload)
    except msgspec.DecodeError:
        raise LegacyError(Reason.CORRUPT, "what was noted of it") from None
    if note.schema != SCHEMA:
        raise LegacyError(Reason.CORRUPT, "noted by a newer version")
    return note


def waiting_note(record: Record) -> Note | None:
    """Return the note of a session that was imported and waits for its visitor; None if the record is anything else."""
    if not record.id.startswith(NOTES):
        return None
    try:
        note = open_note(record)
    except LegacyError:
        return None
    return None if Noted(note, record).is_over else note


def look_for_note(store: SessionStore, ids: Iterable[str]) -> Noted | None:
    """Return the first note that is stored under one of these ids; None if there is none.

    :raises LegacyError: if it cannot be read.
    :raises StoreError: if the store failed.
    """
    for id in ids:
        record = store.load(id)
        if record is not None:
            return Noted(open_note(record), record)
    return None


def store_note(store: SessionStore, note: Note, ids: list[str], expires: int, before: Noted | None = None) -> bool:
    """Store a note under the first of the ids; False if another request was faster.

    :param before: the one in whose place it goes.
    :raises LegacyError: if the one that is there cannot be read.
    :raises StoreError: if the store failed; it may have been stored.
    """
    try:
        if before is None:
            store.create(Record(ids[0], encode_note(note), expires))
        else:
            store.save(Record(before.record.id, encode_note(note), expires, before.record.version))
        if store.atomic:
            return True
    except RecordExists:
        if store.load(ids[0]) is None:
            # One that has ended, and that nobody has swept.
            store.delete(ids[0])
            with suppress(RecordExists):
                store.create(Record(ids[0], encode_note(note), expires))
    except (VersionConflict, RecordNotFound):
        pass
    # A driver may have repeated what had been done; and in a store that is not atomic the last one wins.
    stored = look_for_note(store, ids)
    return stored is not None and stored.note.id == note.id


def remember_end(store: SessionStore, id: str) -> None:
    """Note that a session of ours is ended, so that what it was made of opens no other one.

    :raises StoreError: if the store failed.
    """
    origin = store.load(origin_id(id))
    if origin is None:
        return
    for ended in _open_origin(origin):
        with suppress(LegacyError):
            store_note(store, Note(SCHEMA, ENDED, 0), [ended], origin.expires)
    store.delete(origin.id)


def encode_origin(ids: list[str]) -> bytes:
    """Return the payload of what says where a session came from that left no note.

    :param ids: under which to note, once it is ended, that it was.
    """
    return msgspec.json.encode([SCHEMA, ids])


def _open_origin(record: Record) -> list[str]:
    """Return the ids in such a record; none, if a newer version of this package wrote it."""
    try:
        schema, ids = msgspec.json.decode(record.payload, type=tuple[int, list[str]])
    except msgspec.DecodeError:
        return []
    return ids if schema == SCHEMA else []


def origin_id(id: str) -> str:
    """Return under which id the origin of a session is stored."""
    return f"{NOTES}origin.{id}"


def salt_id(id: str) -> str:
    """Return under which id the salt of a session's token is stored."""
    return f"{NOTES}salt.{id}"


def encoded(data: dict[str, object]) -> dict[str, msgspec.Raw]:
    """Return the values as an envelope holds them."""
    return {key: msgspec.Raw(codec.encode(value, f"session[{key!r}]")) for key, value in data.items()}
