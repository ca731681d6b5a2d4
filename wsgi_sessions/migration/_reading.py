"""What several systems write alike: base64, deflated data, JSON, times; read strictly, and in bounded memory."""

from __future__ import annotations

import json
import zlib
from binascii import a2b_base64, b2a_base64
from datetime import datetime, tzinfo
from typing import Any

from .. import clock
from ..legacy import LegacyError, Reason

#: No session is larger, nor becomes so by inflating; browsers keep 4 KiB, and what is over this is an attack.
MAX_BYTES = 1024 * 1024

_STANDARD = bytes.maketrans(b"-_", b"+/")
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
# Beyond the year 9999 no library writes a time, and no datetime holds one.
_MAX_SECONDS = 253_402_300_799


def read_base64url(text: str) -> bytes:
    """Return what URL-safe base64 stands for; padding may be left out.

    Of the several texts that stand for the same bytes only the one that encoders write is taken.

    :raises LegacyError: if it is none.
    """
    bare = text.rstrip("=")
    padding = "=" * (-len(bare) % 4)
    data = _from_base64(_ascii(bare + padding).translate(_STANDARD))
    if write_base64url(data) != bare or text not in (bare, bare + padding):
        raise LegacyError(Reason.CORRUPT, "base64")
    return data


def read_dotted(text: str) -> bytes:
    """Return what URL-safe base64 stands for, which a dot in front of it says to be deflated, as Flask and Django do.

    :raises LegacyError: if it is none.
    """
    return inflate(read_base64url(text[1:])) if text.startswith(".") else read_base64url(text)


def write_base64url(data: bytes) -> str:
    """Return URL-safe base64 without padding."""
    return _to_base64(data).translate(_URL_SAFE).decode().rstrip("=")


def read_base64(text: str) -> bytes:
    """Return what base64 stands for, as :func:`read_base64url`; padding is required.

    :raises LegacyError: if it is none.
    """
    encoded = _ascii(text)
    data = _from_base64(encoded)
    if _to_base64(data) != encoded:
        raise LegacyError(Reason.CORRUPT, "base64")
    return data


def inflate(data: bytes) -> bytes:
    """Return data that zlib has deflated.

    :raises LegacyError: if it is none, or becomes larger than :data:`MAX_BYTES`.
    """
    inflater = zlib.decompressobj()
    try:
        inflated = inflater.decompress(data, MAX_BYTES)
    except zlib.error:
        raise LegacyError(Reason.CORRUPT, "zlib") from None
    if not inflater.eof:
        raise LegacyError(Reason.CORRUPT, "zlib: incomplete, or larger than 1 MiB")
    return inflated


def read_json(data: bytes) -> Any:
    """Return the value of a JSON text. NaN and Infinity count as JSON: Python's own encoder writes them.

    :raises LegacyError: if it is none.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        # Not chained: the message of a UnicodeDecodeError holds the text.
        pass
    raise LegacyError(Reason.CORRUPT, "JSON")


def milliseconds(seconds: object) -> int:
    """Return a Unix time in seconds, as a library has stored it, in milliseconds.

    :raises LegacyError: if it is none.
    """
    # NaN is within no bounds.
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= _MAX_SECONDS:
        raise LegacyError(Reason.CORRUPT, "a time is none")
    return int(seconds * 1000)


def moment(value: Any, zone: tzinfo) -> int | None:
    """Return a date and time, or the ISO text of one, in Unix milliseconds; None if it is the last that there is.

    :param zone: where a naive one was.
    :raises LegacyError: if it is none.
    """
    try:
        when = datetime.fromisoformat(value) if isinstance(value, str) else value
        if when.year == datetime.max.year:
            # What Django's cache writes that is to keep it forever.
            return None
        return milliseconds((when if when.tzinfo else when.replace(tzinfo=zone)).timestamp())
    except (ValueError, AttributeError, OverflowError, TypeError):
        raise LegacyError(Reason.CORRUPT, "a time is none") from None


def refuse_ended(expires: int | None) -> None:
    """Raise LegacyError for a session that has ended.

    :param expires: when it ends, Unix milliseconds; None if it does not.
    """
    if expires is not None and expires <= clock.now():
        raise LegacyError(Reason.EXPIRED)


def _ascii(text: str) -> bytes:
    if not text.isascii():
        raise LegacyError(Reason.CORRUPT, "base64")
    return text.encode()


def _from_base64(encoded: bytes) -> bytes:
    try:
        return a2b_base64(encoded, strict_mode=True)
    except ValueError:
        raise LegacyError(Reason.CORRUPT, "base64") from None


def _to_base64(data: bytes) -> bytes:
    return b2a_base64(data, newline=False)
