"""Where Beaker keeps sessions: what all places have in common, and directories of files."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec

from ..legacy import LegacyError, Reason
from . import pickles
from ._dbm_files import ENDINGS, read_dbm
from ._failures import failure
from ._session_files import checked_directory, read_file

_STORAGE = "the files of the old sessions"
# How much of an id an operator is shown: enough to find it, not enough to present it.
_SHOWN = 8


class Stored(msgspec.Struct, frozen=True):
    """A record that was found without its cookie.

    :param session_id: its id, a credential; of a directory that cannot be read, what the ids in it begin with.
    :param record: its bytes, or why there are none.
    """

    session_id: str
    record: bytes | LegacyError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({shown(self.session_id)})"


class Container(ABC):
    """A place where Beaker keeps sessions: its ``session.type``, except ``cookie`` and ``memory``."""

    @abstractmethod
    def read(self, session_id: str) -> bytes:
        """Return the record of a session.

        :raises LegacyError: if there is none.
        :raises StoreError: if the storage failed.
        """

    @abstractmethod
    def delete(self, session_id: str) -> None:
        """Delete the record of a session if it is there.

        :raises StoreError: if the storage failed.
        """

    @abstractmethod
    def scan(self) -> Iterator[Stored]:
        """Yield the records of all sessions, in no order; what other records there are is passed over.

        :raises StoreError: if the storage failed.
        :raises NotImplementedError: if the storage cannot tell what it holds.
        """

    def where(self, session_id: str) -> str:
        """Return what tells an operator which record it is, without the whole of its id."""
        return shown(session_id)

    def value(self, record: bytes) -> Any:
        """Return what Beaker has put under the key ``session``.

        The pickle around it holds a dict or text, so there is no choice but to read it; classes are not imported.

        :raises LegacyError: if there is nothing.
        """
        namespace = pickles.load(record)
        if not isinstance(namespace, dict):
            raise LegacyError(Reason.CORRUPT, "the record is no dict")
        if "session" not in namespace:
            raise LegacyError(Reason.DELETED)
        return namespace["session"]


class NoContainer(Container):
    """A place that is gone: sessions of it that were imported are known by their ids all the same."""

    def read(self, session_id: str) -> bytes:
        """Raise LegacyError: there is no session."""
        raise LegacyError(Reason.NOT_FOUND)

    def delete(self, session_id: str) -> None:
        """Do nothing."""

    def scan(self) -> Iterator[Stored]:
        """Return nothing."""
        return iter(())


def shown(session_id: str) -> str:
    """Return the beginning of an id."""
    return f"{session_id[:_SHOWN]}..."


class FileContainer(Container):
    """Sessions of ``session.type = file``.

    >>> FileContainer("/var/lib/app/sessions/container_file")  # doctest: +SKIP

    :param directory: the ``file_dir``; without one, Beaker appends ``container_file`` to its ``data_dir``.
    :raises ValueError: if there is no such directory.
    """

    _ENDINGS: tuple[str, ...] = (".cache",)

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._directory = checked_directory(directory)
        endings = "|".join(map(re.escape, self._ENDINGS))
        self._is_session = re.compile(f"([0-9a-f]{{32}})(?:{endings})").fullmatch

    def read(self, session_id: str) -> bytes:
        """Return the content of the session's file."""
        try:
            return self._content(session_id)
        except FileNotFoundError:
            raise LegacyError(Reason.NOT_FOUND) from None
        except OSError as error:
            raise failure(_STORAGE, error) from None

    def delete(self, session_id: str) -> None:
        """Delete the session's files."""
        path = self._path(session_id)
        for ending in self._ENDINGS:
            try:
                os.unlink(path + ending)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise failure(_STORAGE, error) from None

    def scan(self) -> Iterator[Stored]:
        """Yield the records of all files, of which few are in memory at once."""
        try:
            yield from self._in_directory(str(self._directory), "")
        except OSError as error:
            raise failure(_STORAGE, error) from None

    def where(self, session_id: str) -> str:
        """Return the path of the file, its name cut short; of a directory, that ids begin with its name."""
        if len(session_id) <= 2:
            return str(self._directory.joinpath(session_id[:1], session_id[1:] and session_id))
        return str(self._directory / session_id[:1] / session_id[:2] / shown(session_id))

    def _path(self, session_id: str) -> str:
        return os.path.join(self._directory, session_id[:1], session_id[:2], session_id)

    def _content(self, session_id: str) -> bytes:
        return read_file(self._path(session_id) + self._ENDINGS[0]).contents

    def _scanned(self, session_id: str) -> bytes | LegacyError:
        try:
            return self._content(session_id)
        except FileNotFoundError:
            raise
        except OSError as error:
            return LegacyError(Reason.CORRUPT, f"its file cannot be read: {type(error).__name__}")
        except LegacyError as error:
            return error

    def _in_directory(self, directory: str, name: str) -> Iterator[Stored]:
        """Yield the records in a directory and those below, which are named after the first digits, one and two."""
        with os.scandir(directory) as entries:
            for entry in entries:
                if len(name) < 2:
                    if len(entry.name) == len(name) + 1:
                        yield from self._below(entry)
                elif found := self._is_session(entry.name):
                    with suppress(FileNotFoundError):
                        yield Stored(found[1], self._scanned(found[1]))

    def _below(self, entry: os.DirEntry[str]) -> Iterator[Stored]:
        try:
            if entry.is_dir():
                yield from self._in_directory(entry.path, entry.name)
        except FileNotFoundError:
            # Its sessions have ended since.
            return
        except OSError as error:
            what = f"a directory cannot be read: {type(error).__name__}"
            yield Stored(entry.name, LegacyError(Reason.CORRUPT, what))


class DBMContainer(FileContainer):
    """Sessions of ``session.type = dbm``: a database of its own for each. Those of Python 2's bsddb cannot be read.

    :param directory: the ``dbm_dir``; without one, Beaker appends ``container_dbm`` to its ``data_dir``.
    :raises ValueError: if there is no such directory.
    """

    _ENDINGS = tuple(f".dbm{ending}" for ending in ENDINGS)

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        super().__init__(directory)
        self._is_session = re.compile(r"([0-9a-f]{32})\.dbm(?:\.dat|\.db|\.pag)?").fullmatch

    def value(self, record: bytes) -> Any:
        """Return what the record says."""
        return pickles.load(record)

    def _content(self, session_id: str) -> bytes:
        return read_dbm(self._path(session_id) + ".dbm", b"session")
