"""What is in a file of a FileStore: a head that is renewed in place, and the record.

======  =====  ==========================================================
offset  bytes
======  =====  ==========================================================
0       6      magic
6       2      number of the format
8       4      CRC-32 of everything from offset 24 on
12      8      expiry, Unix milliseconds
20      4      CRC-32 of the 20 bytes before it
24      8      version of the record
32      4      length of the payload
36      2      length of the owner and one more; 0: there is no owner
38      1      length of the id
39             id, owner, payload
======  =====  ==========================================================

The first 24 bytes mean the same in every format to come, so that a version of
this package that does not know the format can tell a newer file from a broken
one. A touch writes the twelve bytes from offset 12, in one write inside one
sector: it cannot be torn by a crash. Checksums find accidents, not forgeries:
who can write to the directory is trusted.
"""

from __future__ import annotations

from hashlib import sha256
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from ..record import Record

#: Where the bytes that a touch writes begin.
EXPIRY_OFFSET = 12
_EXPIRY_END = 24
_MAGIC = b"WSGIse"
_FORMAT = 1
_HEAD = Struct("<6sHIq")
_CHECKSUM = Struct("<I")
_BODY = Struct("<QIHB")
_HEADER = Struct("<6sHIqIQIHB")
_ID_OFFSET = _HEADER.size
_MAX_ID = 128
_MAX_OWNER = 255
#: No payload begins after so many bytes: four of UTF-8 for each character of the owner.
BEFORE_PAYLOAD = _ID_OFFSET + _MAX_ID + 4 * _MAX_OWNER


class CorruptFile(Exception):
    """The file is not what a FileStore put there; the message says in what way."""


class NewerFormat(CorruptFile):
    """The file is whole, and a newer version of this package wrote it."""


class Summary(NamedTuple):
    """What the beginning of a file says; the checksum of the body was not looked at."""

    id: str
    owner: str | None
    expires: int
    #: Bytes the whole file must have.
    size: int


def file_name(id: str) -> str:
    """Return the name of the file for an id; the shard it is in has the first two characters of it."""
    return sha256(id.encode("utf-8", "surrogatepass")).hexdigest()


def pack(record: Record) -> bytes:
    """Return the contents of the file for a record.

    :raises ValueError: if id or owner is not what :class:`Record` allows.
    """
    id = record.id.encode("ascii")
    if not 1 <= len(id) <= _MAX_ID:
        raise ValueError(f"a record's id has 1 to {_MAX_ID} characters, not {len(id)}")
    owner, owner_length = b"", 0
    if record.owner is not None:
        if len(record.owner) > _MAX_OWNER:
            raise ValueError(f"a record's owner has at most {_MAX_OWNER} characters, not {len(record.owner)}")
        owner = record.owner.encode("utf-8", "surrogatepass")
        owner_length = len(owner) + 1
    body = b"".join((_BODY.pack(record.version, len(record.payload), owner_length, len(id)), id, owner, record.payload))
    return _head(crc32(body), record.expires) + body


def unpack(data: bytes) -> Record:
    """Return the record in the contents of a file.

    :raises CorruptFile: if anything about it is wrong; NewerFormat if nothing but the format is.
    """
    _, _, checksum, expires, _, version, payload_length, owner_length, id_length = _fields(data)
    if crc32(memoryview(data)[_EXPIRY_END:]) != checksum:
        raise CorruptFile("the checksum does not match")
    id_end = _ID_OFFSET + id_length
    payload_offset = id_end + owner_length - 1 if owner_length else id_end
    if payload_offset + payload_length != len(data):
        raise CorruptFile("the lengths do not add up")
    owner = _owner(data[id_end:payload_offset]) if owner_length else None
    return Record(_id(data[_ID_OFFSET:id_end]), data[payload_offset:], expires, version, owner)


def summarize(data: bytes) -> Summary:
    """Return what the first BEFORE_PAYLOAD bytes of a file say.

    :raises CorruptFile: if they are not the beginning of a file of ours.
    """
    _, _, _, expires, _, _, payload_length, owner_length, id_length = _fields(data)
    owner_offset = _ID_OFFSET + id_length
    payload_offset = owner_offset + max(owner_length - 1, 0)
    owner = _owner(data[owner_offset:payload_offset]) if owner_length else None
    return Summary(_id(data[_ID_OFFSET:owner_offset]), owner, expires, payload_offset + payload_length)


def pack_expiry(record: Record) -> bytes:
    """Return what to write at EXPIRY_OFFSET of the record's file if only its expiry is new."""
    return pack(record)[EXPIRY_OFFSET:_EXPIRY_END]


def _head(checksum: int, expires: int) -> bytes:
    head = _HEAD.pack(_MAGIC, _FORMAT, checksum, expires)
    return head + _CHECKSUM.pack(crc32(head))


def _fields(data: bytes) -> tuple[bytes, int, int, int, int, int, int, int, int]:
    if len(data) < _ID_OFFSET:
        raise CorruptFile("it is too short")
    fields: tuple[bytes, int, int, int, int, int, int, int, int] = _HEADER.unpack_from(data)
    if fields[0] != _MAGIC:
        raise CorruptFile("it is no file of a FileStore")
    if crc32(data[: _HEAD.size]) != fields[4]:
        raise CorruptFile("the checksum of the expiry does not match")
    if fields[1] > _FORMAT:
        raise NewerFormat(f"format {fields[1]} is newer than {_FORMAT}")
    if fields[1] != _FORMAT:
        raise CorruptFile("no such format")
    return fields


def _id(encoded: bytes) -> str:
    try:
        return encoded.decode("ascii")
    except UnicodeDecodeError:
        raise CorruptFile("the id is not ASCII") from None


def _owner(encoded: bytes) -> str:
    try:
        return encoded.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise CorruptFile("the owner is not UTF-8") from None
