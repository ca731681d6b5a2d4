"""A store of one file per session: for one host, any number of processes, and nothing to install.

Not for network file systems (NFS, CIFS): neither ``flock`` nor what happens to
an open file that another host replaces can be relied upon there. The kind of
file system is not checked. To look often for the sessions of one user among
many, use SQLiteStore: :meth:`FileStore.find_by_owner` opens every file.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from datetime import timedelta
from typing import Literal

import msgspec

from .. import clock
from ..exceptions import RecordNotFound, SessionTooLarge, StoreError
from ..record import Record
from ._arguments import checked_durability, checked_path, checked_seconds
from ._edge import raises_store_error
from ._file_folder import READ, READ_AND_WRITE, Folder, make_folder, open_folder, refuse_hostile, sync_parent, write_all
from ._file_format import EXPIRY_OFFSET, CorruptFile, Summary, file_name, pack, pack_expiry
from ._file_lock import ShardLocks
from ._file_sweep import live_summaries, remove_expired
from .base import SessionStore, not_live, overtaken, taken

# One for each value of the first byte of the name. A million records make directories of 4,000 files.
_SHARDS = 256
# Far above what anybody should keep in a session; read at once, it still hurts nobody.
_MAX_PAYLOAD = 16 * 1024 * 1024

_log = logging.getLogger("wsgi_sessions")
_security_log = logging.getLogger("wsgi_sessions.security")


class FileStore(SessionStore):
    """Keeps each record in a file of its own, which no other user of the system can read.

    A file that was damaged, moved, replaced by a link or put there by another
    user is no record: that is logged, never raised, and :meth:`delete_expired`
    removes it an hour after its last change. Needs POSIX.

    :param directory: made at the first use if its parent exists. An existing one must belong to
        the user that the process runs as, and be writable by nobody else.
    :param durability: ``"process"``: what was stored survives the death of every process. ``"power"``:
        also that of the machine, save for the expiry that a :meth:`touch` moved; far slower.
    :param max_payload: bytes; larger records are neither written (SessionTooLarge) nor read.
    :param lock_timeout: how long to wait for other writers in the same 256th before a StoreError.
    """

    shared = True

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        durability: Literal["process", "power"] = "process",
        max_payload: int = _MAX_PAYLOAD,
        lock_timeout: timedelta = timedelta(seconds=2),
    ) -> None:
        if not isinstance(max_payload, int):
            raise TypeError(f"max_payload must be a number of bytes, not {max_payload!r}")
        if max_payload < 1:
            raise ValueError("max_payload must be at least 1 byte")
        #: Absolute.
        self.directory = checked_path("directory", directory, "/var/lib/myapp/sessions")
        self._is_synced = checked_durability(durability)
        self._max_payload = max_payload
        self._locks = ShardLocks(checked_seconds("lock_timeout", lock_timeout))
        # None before the first use and after close().
        self._root: Folder | None = None
        # The shard at which the next call of delete_expired begins.
        self._next_shard = 0

    @raises_store_error(OSError)
    def create(self, record: Record) -> None:
        """Insert a new record; see :meth:`SessionStore.create`.

        :raises SessionTooLarge: if the payload is over ``max_payload``.
        """
        data = self._pack(record)
        name = file_name(record.id)
        root = self._current_root()
        with make_folder(name[:2], root) as shard, shard.temporary(data, is_synced=self._is_synced) as temporary:
            # While it has two names, readers take it for a planted hard link and wait for the lock.
            with self._locks.hold(shard):
                try:
                    shard.link(temporary, name)
                except FileExistsError:
                    raise taken(record.id) from None
            self._sync(shard)
            self._sync(root)

    @raises_store_error(OSError)
    def load(self, id: str) -> Record | None:
        """Return the live record or None; see :meth:`SessionStore.load`."""
        name = file_name(id)
        root = self._root or self._current_root()
        try:
            root.verify(name[:2])
            record, descriptor = root.open_record(f"{name[:2]}/{name}", READ, id, self._max_payload)
        except FileNotFoundError:
            # Unless the directory was removed or moved while it was open, that is all.
            return None if root is self._current_root() else self._load_locked(id)
        except CorruptFile:
            return self._load_locked(id)
        os.close(descriptor)
        return record if record.expires > clock.now() else None

    @raises_store_error(OSError)
    def save(self, record: Record) -> Record:
        """Replace the record of the same version; see :meth:`SessionStore.save`.

        :raises SessionTooLarge: if the payload is over ``max_payload``; the stored record is unchanged.
        """
        saved = Record(record.id, record.payload, record.expires, record.version + 1, record.owner)
        data = self._pack(saved)
        name = file_name(record.id)
        # Written before the lock is taken, to hold it as briefly as possible.
        with self._shard(record.id) as shard, shard.temporary(data, is_synced=self._is_synced) as temporary:
            with self._locks.hold(shard):
                stored, descriptor = self._open_live(shard, record.id, READ)
                os.close(descriptor)
                if stored.version != record.version:
                    raise overtaken(record, stored.version)
                shard.replace(temporary, name)
            self._sync(shard)
        return saved

    @raises_store_error(OSError)
    def touch(self, id: str, version: int, expires: int) -> bool:
        """Move only the expiry; see :meth:`SessionStore.touch`."""
        with self._shard(id) as shard, self._locks.hold(shard):
            stored, descriptor = self._open_live(shard, id, READ_AND_WRITE)
            try:
                if stored.version != version:
                    return False
                write_all(descriptor, pack_expiry(msgspec.structs.replace(stored, expires=expires)), EXPIRY_OFFSET)
            finally:
                os.close(descriptor)
        return True

    @raises_store_error(OSError)
    def delete(self, id: str) -> None:
        """Remove the record if there is one."""
        with suppress(RecordNotFound), self._shard(id) as shard:
            # What is a directory was never a record.
            with self._locks.hold(shard), suppress(FileNotFoundError, IsADirectoryError):
                os.unlink(file_name(id), dir_fd=shard.descriptor)
            # Also if nothing was there: the delete that removed it may have failed here.
            self._sync(shard)

    @raises_store_error(OSError)
    def delete_expired(self, limit: int = 500) -> list[Record]:
        """Remove at most ``limit`` expired records and return them; none if all shards hold none.

        Goes on where the last call stopped. On its way it removes what killed
        processes left behind, and corrupt files, an hour after their last change.
        """
        removed: list[Record] = []
        if limit < 1:
            return removed
        first = self._next_shard
        for number in range(first, first + _SHARDS):
            self._next_shard = (number + 1) % _SHARDS
            try:
                self._sweep(number % _SHARDS, removed, limit)
            except (OSError, StoreError) as error:
                # The caller must learn of what was removed. If the failure lasts, a call that removed nothing raises.
                if not removed:
                    raise
                _log.warning("cannot remove expired records from %s: %s", self.directory, str(error))
            if len(removed) >= limit:
                self._next_shard = number % _SHARDS
                break
        return removed

    def scan(self) -> Iterator[Record]:
        """Yield the records that are live when they are reached."""
        with closing(self._summaries()) as summaries:
            for summary in summaries:
                record = self.load(summary.id)
                if record is not None:
                    yield record

    def find_by_owner(self, owner: str) -> list[Record]:
        """Return the live records of one user; looks at the beginning of every file."""
        ids = [summary.id for summary in self._summaries() if summary.owner == owner]
        return [record for record in map(self.load, ids) if record is not None and record.owner == owner]

    def close(self) -> None:
        """Close the directory; the next use opens it again."""
        self._root = None

    def _current_root(self) -> Folder:
        """Return the directory, opened again if another one is at its path by now."""
        root = self._root
        with suppress(FileNotFoundError):
            status = os.stat(self.directory, follow_symlinks=False)
            if root is not None and os.path.samestat(status, os.fstat(root.descriptor)):
                refuse_hostile(self.directory, status)
                return root
        self._root = root = make_folder(self.directory)
        if self._is_synced:
            sync_parent(self.directory)
        return root

    def _shard(self, id: str) -> Folder:
        """Open the directory in which the record would be."""
        try:
            return open_folder(file_name(id)[:2], self._current_root())
        except FileNotFoundError:
            raise not_live(id) from None

    def _pack(self, record: Record) -> bytes:
        if len(record.payload) > self._max_payload:
            raise SessionTooLarge(f"{len(record.payload)} bytes are more than max_payload, {self._max_payload}")
        return pack(record)

    def _sync(self, folder: Folder) -> None:
        if self._is_synced:
            os.fsync(folder.descriptor)

    def _open_live(self, shard: Folder, id: str, flags: int) -> tuple[Record, int]:
        """Open a live record; the caller holds the lock, and closes the descriptor."""
        try:
            record, descriptor = shard.open_record(file_name(id), flags, id, self._max_payload)
        except (FileNotFoundError, CorruptFile) as error:
            if isinstance(error, CorruptFile):
                _security_log.warning("corrupt record %r: %s", id, error)
            raise not_live(id) from None
        if record.expires <= clock.now():
            os.close(descriptor)
            raise not_live(id)
        return record, descriptor

    def _load_locked(self, id: str) -> Record | None:
        """Load while nobody writes: what looked corrupt may have been touched or created at that moment."""
        with suppress(RecordNotFound), self._shard(id) as shard, self._locks.hold(shard):
            record, descriptor = self._open_live(shard, id, READ)
            os.close(descriptor)
            return record
        return None

    def _sweep(self, number: int, removed: list[Record], limit: int) -> None:
        with suppress(FileNotFoundError), open_folder(f"{number:02x}", self._current_root()) as shard:
            for record in remove_expired(shard, self._locks, self._max_payload):
                removed.append(record)
                if len(removed) >= limit:
                    return

    def _summaries(self) -> Generator[Summary, None, None]:
        try:
            for number in range(_SHARDS):
                with suppress(FileNotFoundError), open_folder(f"{number:02x}", self._current_root()) as shard:
                    yield from live_summaries(shard)
        except OSError as error:
            raise StoreError(f"scan failed in {self.directory}: {error}") from error

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.directory!r})"
