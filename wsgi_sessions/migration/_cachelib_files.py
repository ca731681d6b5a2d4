"""The files of ``cachelib.FileSystemCache``, and of ``werkzeug.contrib.cache`` before it."""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections.abc import Iterator

from ..legacy import LegacyError, Reason
from ._reading import milliseconds
from ._session_files import SessionFiles, StoredFile
from .pickles import load_first

# As the machine that wrote it has its integers.
_HEADER = struct.Struct("=I")
# SHA-256 since cachelib 0.16, MD5 before. Digests, not signatures.
_HASHES = ("sha256", "md5")
_is_name = re.compile(r"[0-9a-f]{64}|[0-9a-f]{32}").fullmatch
# Before cachelib 0.7 the time was a pickle of its own, in front of the value's: an int, in whichever protocol. What is
# written since begins like one for no more than a second in months, and what follows would have to match as well.
_begins_with_pickled_time = re.compile(
    rb"(?:\x80[\x02-\x05](?:\x95.{8})?)?(?:J.{4}|\x8a\x05.{5}|K\x00|[IL]\d{1,10}L?\n)\.(?=[\x80(}c])", re.DOTALL
).match


class CachelibFiles:
    """Reads and deletes the files of a directory.

    :param prefix: what goes before an id in the text that is hashed.
    :raises ValueError: if there is no such directory.
    """

    def __init__(self, directory: str | os.PathLike[str], prefix: str) -> None:
        self._prefix = prefix
        self._files = SessionFiles(directory, "", "", _is_name)

    def identities(self, id: str) -> list[str]:
        """Return the names that a session's file may have, the newest way first: all that is known without its id."""
        key = (self._prefix + id).encode()
        return [hashlib.new(name, key, usedforsecurity=False).hexdigest() for name in _HASHES]

    def read(self, id: str) -> tuple[bytes, int | None]:
        """Return a value, pickled, and when it ends, Unix milliseconds; None if it does not.

        :raises LegacyError: if there is none, or it is none.
        :raises StoreError: if the file cannot be read.
        """
        newest, older = self.identities(id)
        try:
            file = self._files.read(newest)
        except LegacyError as error:
            if error.reason is not Reason.NOT_FOUND:
                raise
            file = self._files.read(older)
        return self.parts(file)

    def delete(self, id: str) -> None:
        """Delete a file if it is there.

        :raises StoreError: if that fails.
        """
        for name in self.identities(id):
            self._files.delete(name)

    def scan(self) -> Iterator[tuple[str, str, StoredFile | LegacyError]]:
        """Yield each file's name, twice, and the file, or why it cannot be read.

        :raises StoreError: if the directory cannot be read.
        """
        for name, file in self._files.scan():
            yield name, name, file

    def parts(self, file: StoredFile) -> tuple[bytes, int | None]:
        """Return the value in a file, pickled, and when it ends, Unix milliseconds; None if it does not.

        :raises LegacyError: if it is none.
        """
        stored = file.contents
        if _begins_with_pickled_time(stored):
            seconds, size = load_first(stored)
        elif len(stored) > _HEADER.size:
            (seconds,), size = _HEADER.unpack_from(stored), _HEADER.size
        else:
            raise LegacyError(Reason.CORRUPT, "incomplete")
        return stored[size:], milliseconds(seconds) or None
