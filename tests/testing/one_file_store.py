"""A small store that processes share, and what becomes of it without its lock."""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import msgspec

from wsgi_sessions.record import Record
from wsgi_sessions.stores.base import SessionStore, renew_after_fork
from wsgi_sessions.stores.memory import MemoryStore


class OneFileStore(SessionStore):
    """Reads and writes one file with all records in every operation."""

    shared = True

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()
        self._after_fork()
        renew_after_fork(self)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # Not flock: a fork amid an operation would leave its lock to the child as well.
        with self._lock, self._path.with_suffix(".lock").open("w") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _opened(self) -> Iterator[MemoryStore]:
        memory = MemoryStore()
        with self._locked():
            for record in msgspec.json.decode(self._path.read_bytes() or b"[]", type=list[Record]):
                memory.create(record)
            yield memory
            self._between_read_and_write()
            temporary = self._path.with_suffix(f".{uuid4()}")
            temporary.write_bytes(msgspec.json.encode(list(memory._records.values())))
            temporary.replace(self._path)

    def _between_read_and_write(self) -> None:
        """Do nothing: the lock is held."""

    def create(self, record: Record) -> None:
        with self._opened() as memory:
            memory.create(record)

    def load(self, id: str) -> Record | None:
        with self._opened() as memory:
            return memory.load(id)

    def save(self, record: Record) -> Record:
        with self._opened() as memory:
            return memory.save(record)

    def delete(self, id: str) -> None:
        with self._opened() as memory:
            memory.delete(id)

    def touch(self, id: str, version: int, expires: int) -> bool:
        with self._opened() as memory:
            return memory.touch(id, version, expires)

    def delete_expired(self, limit: int = 500) -> list[Record]:
        with self._opened() as memory:
            return memory.delete_expired(limit)

    def scan(self) -> Iterator[Record]:
        with self._opened() as memory:
            records = list(memory.scan())
        yield from records

    def find_by_owner(self, owner: str) -> list[Record]:
        with self._opened() as memory:
            return memory.find_by_owner(owner)


class UnlockedFileStore(OneFileStore):
    """What one process writes undoes what another has written meanwhile."""

    @contextmanager
    def _locked(self) -> Iterator[None]:
        yield

    def _between_read_and_write(self) -> None:
        time.sleep(0.001)
