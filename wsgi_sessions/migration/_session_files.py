"""A directory in which each session has a file of its own: cachelib's, CherryPy's, Django's and Werkzeug's."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..legacy import LegacyError, Reason
from ._failures import failure
from ._reading import MAX_BYTES

_STORAGE = "the files of the old sessions"
# A FIFO or a link put there must neither keep us waiting nor lead elsewhere.
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
# What is answered for a link, the second on some of the BSDs, and for a socket.
_IS_NO_FILE = (errno.ELOOP, errno.EMLINK, errno.ENXIO)


class StoredFile(NamedTuple):
    """The contents of a file, and when it was last written, Unix milliseconds."""

    contents: bytes
    modified: int


class SessionFiles:
    """Reads and deletes files by what is between the beginning and the end of their names.

    :param is_id: tells whether that can be a session, which others in the directory are not.
    :raises ValueError: if there is no such directory.
    """

    def __init__(
        self, directory: str | os.PathLike[str], prefix: str, suffix: str, is_id: Callable[[str], object]
    ) -> None:
        self._directory = checked_directory(directory)
        self._prefix = prefix
        self._suffix = suffix
        self._is_id = is_id

    def read(self, id: str) -> StoredFile:
        """Return a session's file.

        :raises LegacyError: if there is none, or it is none that a library wrote.
        :raises StoreError: if it cannot be read.
        """
        try:
            return read_file(self._path(id))
        except FileNotFoundError:
            raise LegacyError(Reason.NOT_FOUND) from None
        except OSError as error:
            raise failure(_STORAGE, error) from None

    def delete(self, id: str) -> None:
        """Delete a session's file if it is there.

        :raises StoreError: if that fails.
        """
        try:
            self._path(id).unlink(missing_ok=True)
        except OSError as error:
            raise failure(_STORAGE, error) from None

    def scan(self) -> Iterator[tuple[str, StoredFile | LegacyError]]:
        """Yield each session's id with its file, or why it cannot be read.

        :raises StoreError: if the directory cannot be read.
        """
        try:
            with os.scandir(self._directory) as entries:
                for entry in entries:
                    id = self._id(entry.name)
                    if id is None:
                        continue
                    try:
                        yield id, read_file(self._path(id))
                    except LegacyError as error:
                        yield id, error
                    except FileNotFoundError:
                        # Its session has ended since.
                        continue
                    except OSError as error:
                        yield id, LegacyError(Reason.CORRUPT, os.strerror(error.errno or 0).lower())
        except OSError as error:
            raise failure(_STORAGE, error) from None

    def shown(self, id: str) -> str:
        """Return what tells an operator which file it is; whoever reads it could not present it."""
        return f"{self._prefix}{shown(id)}{self._suffix}"

    def _path(self, id: str) -> Path:
        return self._directory / f"{self._prefix}{id}{self._suffix}"

    def _id(self, name: str) -> str | None:
        id = name[len(self._prefix) : len(name) - len(self._suffix)]
        return id if name == f"{self._prefix}{id}{self._suffix}" and self._is_id(id) else None


def checked_directory(directory: str | os.PathLike[str]) -> Path:
    """Return the whole path of a directory: a server may go to another one when it becomes a daemon.

    :raises ValueError: if there is no such directory.
    """
    whole = Path(directory).absolute()
    if not whole.is_dir():
        raise ValueError(f"there is no directory {str(directory)!r}: write the one that the old sessions are in")
    return whole


def shown(id: str) -> str:
    """Return the beginning of an id: enough to find it, and too little to present it."""
    return f"{id[: len(id) // 4]}..."


def read_file(path: str | os.PathLike[str]) -> StoredFile:
    """Return a regular file.

    :raises LegacyError: if it is none, or larger than 1 MiB.
    :raises OSError: if it cannot be read.
    """
    with open_file(path) as file:
        status = os.fstat(file.fileno())
        # Not all that is allowed at once, for which memory would be taken.
        contents = file.read(min(status.st_size, MAX_BYTES) + 1)
    if len(contents) > MAX_BYTES:
        raise LegacyError(Reason.CORRUPT, "larger than 1 MiB")
    return StoredFile(contents, status.st_mtime_ns // 1_000_000)


def open_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file, and nothing that is put in the place of one.

    :raises LegacyError: if it is none.
    :raises OSError: if it cannot be opened.
    """
    try:
        descriptor = os.open(path, _READ)
    except OSError as error:
        if error.errno in _IS_NO_FILE:
            raise LegacyError(Reason.CORRUPT, "not a regular file") from None
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return open(descriptor, "rb")
    os.close(descriptor)
    raise LegacyError(Reason.CORRUPT, "not a regular file")
