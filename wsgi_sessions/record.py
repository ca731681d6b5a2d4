"""What a store keeps, and the envelope inside its payload.

Stores see a :class:`Record` and nothing of what is in it. The envelope is the
payload decoded: one JSON array, whose first element is its schema, so that a
version of this package that does not know the schema leaves the record alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

SCHEMA = 1


class Record(msgspec.Struct, frozen=True, gc=False):
    """One session as a store keeps it.

    :param id: the public id: opaque, 1 to 128 ASCII characters.
    :param payload: opaque bytes.
    :param expires: Unix milliseconds; at that moment the record ceases to exist.
    :param version: grows by one with each save.
    :param owner: the user it belongs to, if the application said so: 1 to 255 characters.
    """

    id: str
    payload: bytes
    expires: int
    version: int = 1
    owner: str | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r}, expires={self.expires}, version={self.version})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("id", self.id), ("expires", self.expires), ("version", self.version)]


#: What a payload begins with that is no session, but left by a MigratingStore. An envelope is a JSON array.
NO_SESSION = b"wsgi_sessions "


def is_session(record: Record) -> bool:
    """Tell whether this is a session as it was stored, or a note of one, and not something of a move."""
    return not record.payload.startswith(NO_SESSION)


class Envelope(msgspec.Struct, array_like=True, gc=False):
    """The decoded payload of a record.

    :param schema: the number of this form.
    :param id: the id it was written under; a record moved to another key is refused.
    :param created: Unix milliseconds.
    :param secret_hash: SHA-256 of the current secret, 32 bytes.
    :param previous_hash: SHA-256 of the secret before it, if it was ever replaced.
    :param replaced: when it was replaced, Unix milliseconds.
    :param expiry: the policy set for this very session; ``None``: the middleware's default holds.
    :param data: each key's value as the codec encoded it.
    """

    schema: int
    id: str
    created: int
    secret_hash: bytes
    previous_hash: bytes | None
    replaced: int
    expiry: list[Any] | None
    data: dict[str, msgspec.Raw]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r}, keys={len(self.data)})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("id", self.id), ("keys", len(self.data))]


class CorruptEnvelope(ValueError):
    """The payload is no envelope, or the envelope of another session."""


class UnknownSchema(ValueError):
    """The payload was written by a newer version of this package."""


#: Returns the payload for an envelope.
seal: Callable[[Envelope], bytes] = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Envelope).decode
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
# UnicodeDecodeError is a ValueError; msgspec raises it for a key that is not UTF-8.
_MALFORMED = (msgspec.DecodeError, ValueError, RecursionError)


def open_envelope(payload: bytes, id: str) -> Envelope:
    """Return the envelope of the session ``id``, its values still encoded.

    :raises UnknownSchema: if a newer version wrote it.
    :raises CorruptEnvelope: if it is anything else but the envelope of ``id``.
    """
    try:
        envelope = _decode(payload)
    except _MALFORMED:
        _refuse_newer(payload)
        # No cause: msgspec's message can quote what it met.
        raise CorruptEnvelope("not an envelope") from None
    if envelope.schema != SCHEMA:
        if envelope.schema > SCHEMA:
            raise UnknownSchema(f"schema {envelope.schema} is newer than {SCHEMA}")
        raise CorruptEnvelope("no such schema")
    if envelope.id != id:
        raise CorruptEnvelope("the envelope of another session")
    return envelope


def _refuse_newer(payload: bytes) -> None:
    """Raise UnknownSchema if the payload starts like the array of a later schema."""
    try:
        schema = msgspec.json.decode(_decode_array(payload)[0], type=int)
    except (*_MALFORMED, IndexError):
        return
    if schema > SCHEMA:
        raise UnknownSchema(f"schema {schema} is newer than {SCHEMA}")
