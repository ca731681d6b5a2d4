"""A store in one SQLite file: for one host, any number of processes, and nothing to install.

The store to start with: transactions, an index over owners, and one file to back
up. Not for network file systems, on which SQLite's WAL does not work; where
writers crowd, a SQL server or Redis does more of them a second.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Literal

from .. import clock
from ..record import Record
from ._arguments import checked_durability, checked_path, checked_seconds
from ._edge import raises_store_error
from ._sqlite_connection import Error, IntegrityError, ThreadConnections
from .base import SessionStore, not_live, overtaken, taken

_COLUMNS = "id, payload, expires, version, owner"
_CREATE = f"INSERT INTO session ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)"
_LOAD = "SELECT payload, expires, version, owner FROM session WHERE id = ? AND expires > ?"
# SQLite writes the entries of an index anew for each column that is set, whether or not it changes. Most saves
# move neither end nor owner: the first of these takes 12 us of them, the second 20.
_SAVE_PAYLOAD = (
    "UPDATE session SET payload = ?, version = ? WHERE id = ? AND version = ? AND expires = ? AND owner IS ?"
)
_SAVE = (
    "UPDATE session SET payload = ?, version = ?, expires = ?, owner = ? WHERE id = ? AND version = ? AND expires > ?"
)
_TOUCH = "UPDATE session SET expires = ? WHERE id = ? AND version = ? AND expires > ?"
_DELETE = "DELETE FROM session WHERE id = ?"
_VERSION = "SELECT version FROM session WHERE id = ? AND expires > ?"
_HAS_EXPIRED = "SELECT 1 FROM session WHERE expires <= ? LIMIT 1"
_EXPIRED = f"SELECT rowid, {_COLUMNS} FROM session WHERE expires <= ? ORDER BY expires LIMIT ?"
_REMOVE = "DELETE FROM session WHERE rowid = ?"
_SCAN = f"SELECT {_COLUMNS} FROM session WHERE id > ? AND expires > ? ORDER BY id LIMIT ?"
_OWNED = f"SELECT {_COLUMNS} FROM session WHERE owner = ? AND expires > ?"
# No statement stays open between two of them, so that scanning holds up neither writers nor a fork.
_SCANNED_AT_ONCE = 500


class SQLiteStore(SessionStore):
    """Keeps records in the table ``session`` of a database file that no other user can read.

    :param path: the file, made at the first use if its directory exists. It is the store's own: an existing one must
        have been made by a SQLiteStore, belong to the user that the process runs as, and be closed to everybody else.
    :param durability: ``"process"``: what was stored survives the death of every process. ``"power"``: also
        that of the machine, which takes a synchronisation of the disk for each write.
    :param lock_timeout: how long to wait for other writers before a StoreError.
    :raises RuntimeError: if this Python was built without SQLite.
    """

    shared = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Literal["process", "power"] = "process",
        lock_timeout: timedelta = timedelta(seconds=2),
    ) -> None:
        if os.fspath(path) == ":memory:":
            raise ValueError("SQLiteStore needs a file, which its connections share; in memory use MemoryStore()")
        #: Absolute.
        self.path = checked_path("file", path, "/var/lib/myapp/sessions.db")
        self._connections = ThreadConnections(
            self.path,
            is_synced=checked_durability(durability),
            timeout=checked_seconds("lock_timeout", lock_timeout),
        )

    @raises_store_error(Error, OSError)
    def create(self, record: Record) -> None:
        """Insert a new record; see :meth:`SessionStore.create`."""
        values = (record.id, record.payload, record.expires, record.version, record.owner)
        try:
            self._changed(_CREATE, values)
        except IntegrityError:
            raise taken(record.id) from None

    @raises_store_error(Error, OSError)
    def load(self, id: str) -> Record | None:
        """Return the live record or None; see :meth:`SessionStore.load`."""
        with self._connections.use() as connection:
            row = connection.execute(_LOAD, (id, clock.now())).fetchone()
        return None if row is None else Record(id, *row)

    @raises_store_error(Error, OSError)
    def save(self, record: Record) -> Record:
        """Replace the record of the same version; see :meth:`SessionStore.save`."""
        saved = Record(record.id, record.payload, record.expires, record.version + 1, record.owner)
        now = clock.now()
        before = (record.id, record.version)
        if record.expires > now and self._changed(
            _SAVE_PAYLOAD, (saved.payload, saved.version, *before, saved.expires, saved.owner)
        ):
            return saved
        if not self._changed(_SAVE, (saved.payload, saved.version, saved.expires, saved.owner, *before, now)):
            raise overtaken(record, self._live_version(record.id, now))
        return saved

    @raises_store_error(Error, OSError)
    def touch(self, id: str, version: int, expires: int) -> bool:
        """Move only the expiry; see :meth:`SessionStore.touch`."""
        now = clock.now()
        if self._changed(_TOUCH, (expires, id, version, now)):
            return True
        self._live_version(id, now)
        return False

    @raises_store_error(Error, OSError)
    def delete(self, id: str) -> None:
        """Remove the record if there is one."""
        self._changed(_DELETE, (id,))

    @raises_store_error(Error, OSError)
    def delete_expired(self, limit: int = 500) -> list[Record]:
        """Remove at most ``limit`` expired records and return them."""
        now = clock.now()
        with self._connections.use() as connection:
            # Mostly there is nothing to do, and nobody has to be kept from writing to see that.
            if limit < 1 or connection.execute(_HAS_EXPIRED, (now,)).fetchone() is None:
                return []
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                rows = connection.execute(_EXPIRED, (now, limit)).fetchall()
                connection.executemany(_REMOVE, [row[:1] for row in rows])
        return [Record(*row[1:]) for row in rows]

    def scan(self) -> Iterator[Record]:
        """Yield the records that are live when they are reached."""
        last = ""
        while records := self._next_records(last):
            yield from records
            last = records[-1].id

    @raises_store_error(Error, OSError)
    def find_by_owner(self, owner: str) -> list[Record]:
        """Return the live records of one user."""
        return self._selected(_OWNED, (owner, clock.now()))

    @raises_store_error(Error, OSError)
    def close(self) -> None:
        """Close the connections of all threads of this process; the next use opens them again."""
        self._connections.close()

    @raises_store_error(Error, OSError)
    def _next_records(self, last: str) -> list[Record]:
        return self._selected(_SCAN, (last, clock.now(), _SCANNED_AT_ONCE))

    def _selected(self, statement: str, values: tuple[Any, ...]) -> list[Record]:
        with self._connections.use() as connection:
            return [Record(*row) for row in connection.execute(statement, values)]

    def _changed(self, statement: str, values: tuple[Any, ...]) -> int:
        """Run a statement, a transaction of its own, and return how many records it changed."""
        with self._connections.use() as connection:
            return connection.execute(statement, values).rowcount

    def _live_version(self, id: str, now: int) -> int:
        with self._connections.use() as connection:
            row = connection.execute(_VERSION, (id, now)).fetchone()
        if row is None:
            raise not_live(id)
        version: int = row[0]
        return version

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"
