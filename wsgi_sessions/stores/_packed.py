"""A record as one value, for Redis and caches: a head that scripts in Redis read, the owner, the payload.

===========  =======================================================================
bytes        what
===========  =======================================================================
0            the form of all this: ``1``
1 to 15      the version, in decimal
16 to 31     the end, Unix milliseconds in decimal
32 to 35     how many bytes the owner takes, in decimal; 0 for none
from 36      the owner in UTF-8, then the payload
===========  =======================================================================
"""

from __future__ import annotations

from ..record import Record

_FORM = b"1"
_HEAD = 36


class Corrupt(ValueError):
    """The value is none of ours."""


def pack(record: Record) -> bytes:
    """Return the value of a record."""
    owner = b"" if record.owner is None else record.owner.encode()
    return b"1%015d%016d%04d%b%b" % (record.version, record.expires, len(owner), owner, record.payload)


def pack_expires(expires: int) -> bytes:
    """Return the part of the value that a touch replaces."""
    return b"%016d" % expires


def unpack(id: str, value: bytes) -> Record:
    """Return the record of a value.

    :raises Corrupt: if it is none.
    """
    try:
        length = int(value[32:_HEAD])
        version, expires = int(value[1:16]), int(value[16:32])
        owner = value[_HEAD : _HEAD + length].decode() if length else None
    except ValueError:
        raise Corrupt("its head is damaged") from None
    if value[:1] != _FORM or len(value) < _HEAD + length:
        raise Corrupt("it has another form, or is cut short")
    return Record(id, value[_HEAD + length :], expires, version, owner)
