"""What was serialised: its form is told by how it begins, and is never tried out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..legacy import LegacyError, Reason
from . import pickles
from ._reading import MAX_BYTES, read_json

_JSON = (b"{", b"[")
# How pickles begin: protocol 2 and later; in earlier ones a mark, an empty dict, or the name of a class.
_PICKLES = (b"\x80", b"(", b"}", b"c")


def check_serializer(serializer: str, known: tuple[str, ...] = ("json", "pickle")) -> bool:
    """Return whether pickles are to be read.

    :raises ValueError: if it is not one of those that are known.
    """
    if serializer not in known:
        raise ValueError(f"serializer must be one of {', '.join(map(repr, known))}, not {serializer!r}")
    return serializer == "pickle"


def read_payload(payload: bytes, *, pickled: bool, binary: Callable[[bytes], Any] | None = None) -> Any:
    """Return the value of a JSON text or a pickle; classes of a pickle are not imported.

    :param pickled: whether pickles are read.
    :param binary: reads what begins like neither.
    :raises LegacyError: if it cannot be read.
    """
    if len(payload) > MAX_BYTES:
        raise LegacyError(Reason.CORRUPT, "larger than 1 MiB")
    if payload.startswith(_JSON):
        return read_json(payload)
    # A single byte is no pickle, but an empty map in MessagePack.
    if len(payload) > 1 and payload.startswith(_PICKLES):
        if not pickled:
            raise LegacyError(Reason.PICKLE_DISABLED)
        return pickles.load(payload)
    if binary is None:
        raise LegacyError(Reason.CORRUPT, "neither JSON nor a pickle")
    return binary(payload)
