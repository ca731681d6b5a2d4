"""The files of ``cachelib.FileSystemCache``, and of ``werkzeug.contrib.cache`` before it."""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..legacy import LegacyError, Reason
from ._failures import failure
from ._reading import MAX_BYTES, milliseconds
from .pickles import load_first

# As the machine that wrote it has its integers.
_HEADER = struct.Struct("=I")
# SHA-256 since cachelib 0.16, MD5 before. Digests, not signatures.
_HASHES = ("sha256", "md5")
_is_name = re.compile(r"[0-9a-f]{64}|[0-9a-f]{32}").fullmatch
# Before cachelib 0.7 the time was a pickle of its own, in front of the value's: an int, in whichever protocol. What is
# written since begins like one for no more than a second in months, and what follows would have to match as well.
_begins_with_pickled_time = re.compile(
    rb"(?:\x80[\x02-\x05](?:\x95.{8})?)?(?:J.{4}|K\x00|I\d{1,10}L?\n)\.(?=[\x80(}c])", re.DOTALL
).match
_STORAGE = "the files of the old sessions"
# A FIFO or a link put there must neither keep us waiting nor lead elsewhere.
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class CachelibFiles:
    """Reads and deletes the files of a directory.

    :param prefix: what goes before an id in the text that is hashed.
    :raises ValueError: if there is no such directory.
    """

    def __init__(self, directory: str | os.PathLike[str], prefix: str) -> None:
        self._prefix = prefix
        self._directory = Path(directory)
        if not self._directory.is_dir():
            raise ValueError(f"there is no directory {str(directory)!r}: write the SESSION_FILE_DIR of the application")

    def identities(self, id: str) -> list[str]:
        """Return the names that a session's file may have, the newest way first: all that is known without its id."""
        return _names(self._prefix + id)

    def read(self, id: str) -> tuple[bytes, int | None]:
        """Return a value, pickled, and when it ends, Unix milliseconds; None if it does not.

        :raises LegacyError: if there is none, or it is none.
        :raises StoreError: if the file cannot be read.
        """
        for name in self.identities(id):
            try:
                return self.parts(self._stored(name))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise failure(_STORAGE, error) from None
        raise LegacyError(Reason.NOT_FOUND)

    def delete(self, id: str) -> None:
        """Delete a file if it is there.

        :raises StoreError: if that fails.
        """
        for name in self.identities(id):
            try:
                (self._directory / name).unlink(missing_ok=True)
            except OSError as error:
                raise failure(_STORAGE, error) from None

    def scan(self) -> Iterator[tuple[str, str, bytes | None]]:
        """Yield each file's name, twice, and contents; None for what cannot be read, which is not to stop the rest.

        :raises StoreError: if the directory cannot be read.
        """
        try:
            with os.scandir(self._directory) as entries:
                for entry in entries:
                    if _is_name(entry.name) and entry.is_file(follow_symlinks=False):
                        with suppress(FileNotFoundError):  # deleted meanwhile
                            yield entry.name, entry.name, self._readable(entry.name)
        except OSError as error:
            raise failure(_STORAGE, error) from None

    def parts(self, stored: bytes | None) -> tuple[bytes, int | None]:
        """Return the value in a file, pickled, and when it ends, Unix milliseconds; None if it does not.

        :raises LegacyError: if it is none.
        """
        if stored is None:
            raise LegacyError(Reason.CORRUPT, "the file cannot be read")
        if len(stored) > MAX_BYTES:
            raise LegacyError(Reason.CORRUPT, "larger than 1 MiB")
        if _begins_with_pickled_time(stored):
            seconds, size = load_first(stored)
        elif len(stored) > _HEADER.size:
            (seconds,), size = _HEADER.unpack_from(stored), _HEADER.size
        else:
            raise LegacyError(Reason.CORRUPT, "incomplete")
        return stored[size:], milliseconds(seconds) or None

    def _readable(self, name: str) -> bytes | None:
        try:
            return self._stored(name)
        except FileNotFoundError:
            raise
        except OSError:
            return None

    def _stored(self, name: str) -> bytes:
        """Return the contents of a file, a little more than is allowed if it is larger."""
        with open(self._directory / name, "rb", opener=_open) as file:
            return file.read(MAX_BYTES + 1)


def _open(path: str, _flags: int) -> int:
    return os.open(path, _READ)


def _names(key: str) -> list[str]:
    return [hashlib.new(name, key.encode(), usedforsecurity=False).hexdigest() for name in _HASHES]
