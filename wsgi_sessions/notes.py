"""What is stored of a session of another library: that it was imported, or has been taken over."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

import msgspec

from . import codec
from .legacy import LegacyError, LegacySession, Reason
from .record import SCHEMA, Record

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


def salt_id(id: str) -> str:
    """Return under which id the salt of a session's token is stored."""
    return f"{NOTES}salt.{id}"


def encoded(data: dict[str, object]) -> dict[str, msgspec.Raw]:
    """Return the values as an envelope holds them."""
    return {key: msgspec.Raw(codec.encode(value, f"session[{key!r}]")) for key, value in data.items()}
