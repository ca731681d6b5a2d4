"""Databases of dbm, each with an entry for a session, read in bounded memory."""

from __future__ import annotations

import dbm
import os
import re
from importlib import import_module
from typing import Any

from ..legacy import LegacyError, Reason
from ._reading import MAX_BYTES
from ._session_files import open_file, read_file

#: As the several kinds call their files; each has one of the first four.
ENDINGS = ("", ".dat", ".db", ".pag", ".dir", ".bak")

# A database keeps the places of what was in it before.
_MAX_FILE = 16 * MAX_BYTES
_entry = re.compile(rb"'([^'\\\r\n]*)', \((\d{1,10}), (\d{1,7})\)\s*")


def read_dbm(path: str, key: bytes) -> bytes:
    """Return what a database has under a key.

    :param path: without what the kind of dbm appends to it.
    :raises LegacyError: if there is nothing, no database, or one that is malformed.
    :raises OSError: if it cannot be read.
    """
    found = {ending for ending in ENDINGS if _is_there(path + ending)}
    if not found:
        raise LegacyError(Reason.NOT_FOUND)
    # Of the standard library's own kind, whose reader takes as much memory as the directory claims.
    value = _read_dumb(path, key) if ".dat" in found else _read_other(path, key)
    if len(value) > MAX_BYTES:
        raise LegacyError(Reason.CORRUPT, "larger than 1 MiB")
    return value


def _is_there(path: str) -> bool:
    """Tell whether there is a file, which the readers of dbm may then open.

    :raises LegacyError: if what is there is no file, or too large.
    :raises OSError: if it cannot be opened: those readers would not say so.
    """
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return False
    if size > _MAX_FILE:
        raise LegacyError(Reason.CORRUPT, "a dbm file that is too large")
    return True


def _read_dumb(path: str, key: bytes) -> bytes:
    start, size = _place(path, key)
    with open_file(path + ".dat") as file:
        file.seek(start)
        value = file.read(size)
    if len(value) < size:
        raise LegacyError(Reason.CORRUPT, "a dbm file: incomplete")
    return value


def _place(path: str, key: bytes) -> tuple[int, int]:
    """Return where the value of a key begins, and its size; of several, the last place holds."""
    place = None
    try:
        directory = read_file(path + ".dir").contents
    except FileNotFoundError:
        raise LegacyError(Reason.CORRUPT, "a dbm file: no directory") from None
    for line in directory.splitlines():
        entry = _entry.fullmatch(line)
        if entry is None:
            raise LegacyError(Reason.CORRUPT, "a dbm file: its directory")
        if entry[1] == key:
            place = int(entry[2]), int(entry[3])
    if place is None:
        raise LegacyError(Reason.DELETED)
    if place[1] > MAX_BYTES:
        raise LegacyError(Reason.CORRUPT, "larger than 1 MiB")
    return place


def _read_other(path: str, key: bytes) -> bytes:
    reader = _reader(path)
    try:
        with reader.open(path, "r") as database:
            value: bytes = database[key]
    except KeyError:
        raise LegacyError(Reason.DELETED) from None
    # Of its own kind: dbm.error would be any OSError.
    except (reader.error, ValueError, TypeError) as error:
        raise LegacyError(Reason.CORRUPT, f"a dbm file: {type(error).__name__}") from None
    return value


def _reader(path: str) -> Any:
    kind = dbm.whichdb(path)
    if not kind:
        raise LegacyError(Reason.CORRUPT, "a dbm file of a kind that is not known")
    try:
        return import_module(kind)
    except ImportError:
        raise LegacyError(Reason.CORRUPT, f"written with {kind}, which this Python lacks") from None
