"""Connections to a SQLite file: one for each thread, and none that is open while its process forks.

SQLite keeps the locks of a file in the memory of its process. A child that
inherited an open connection would believe in locks that only its parent holds,
and could remove the write-ahead log under others (https://sqlite.org/howtocorrupt.html,
2.6). So all connections are closed before a fork and opened again at their next use.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import WeakSet

from .. import clock
from ..exceptions import StoreError
from .base import pause_for_fork

try:
    import sqlite3
except ImportError:  # a Python that was built without it
    sqlite3 = None  # type: ignore[assignment]  # the constructor looks for this

#: The driver's errors; without it there is no store that could raise them.
Error: type[Exception] = Exception if sqlite3 is None else sqlite3.Error
IntegrityError: type[Exception] = Exception if sqlite3 is None else sqlite3.IntegrityError
# What the file says it belongs to: the letters "wsgs".
_APPLICATION = 0x77736773
# The form of the table below; a later one gets another number.
_SCHEMA = 1
# More, SQLite does not count: milliseconds in 32 bits. Seconds.
_LONGEST_TIMEOUT = 2_000_000.0
_TABLE = (
    """
    CREATE TABLE session (
        id TEXT NOT NULL PRIMARY KEY,
        payload BLOB NOT NULL,
        expires INTEGER NOT NULL,
        version INTEGER NOT NULL,
        owner TEXT
    )
    """,
    "CREATE INDEX session_expires ON session (expires)",
    "CREATE INDEX session_owner ON session (owner) WHERE owner IS NOT NULL",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_SCHEMA}",
)
# Seconds between two attempts to open a database that another process is just making.
_PAUSE = 0.01


class HeldConnection:
    """The connection of one thread: use it in a ``with`` block, which must leave no transaction open.

    After an error of SQLite's it is closed: whatever was wrong with it is gone then.

    :param open: makes a connection.
    """

    def __init__(self, open: Callable[[], sqlite3.Connection]) -> None:
        self._open = open
        # Held by whoever uses or closes it.
        self.lock = threading.RLock()
        # None before the first use, after an error and after close().
        self.connection: sqlite3.Connection | None = None

    def __enter__(self) -> sqlite3.Connection:
        self.lock.acquire()
        connection = self.connection
        if connection is not None:
            return connection
        try:
            connection = self.connection = self._open()
        except BaseException:
            self.lock.release()
            raise
        return connection

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            if error is not None and self._is_doubtful(error):
                self.close()
        finally:
            self.lock.release()

    def _is_doubtful(self, error: BaseException) -> bool:
        # A signal's handler may have raised in the middle of a transaction.
        is_in_transaction = self.connection is not None and self.connection.in_transaction
        return is_in_transaction or (isinstance(error, Error) and not isinstance(error, IntegrityError))

    def close(self) -> None:
        """Close the connection if there is one; the next use opens another. Hold the lock."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()

    def __del__(self) -> None:
        # The thread has ended.
        self.close()


class ThreadConnections:
    """Gives each thread of each process its own connection to a file.

    :param path: absolute.
    :param is_synced: whether each commit waits for the disk.
    :param timeout: seconds to wait for a lock that another connection holds.
    """

    def __init__(self, path: str, *, is_synced: bool, timeout: float) -> None:
        if sqlite3 is None:
            raise RuntimeError("this Python was built without sqlite3: use FileStore here")
        self._path = path
        self._synchronous = "FULL" if is_synced else "NORMAL"
        self._timeout = min(timeout, _LONGEST_TIMEOUT)
        self._local = threading.local()
        self._all: WeakSet[HeldConnection] = WeakSet()
        # Guards the set; whoever holds it may take a connection's lock, never the other way round.
        self._lock = threading.Lock()
        # Held from before a fork until after it.
        self._paused: list[HeldConnection] = []
        pause_for_fork(self)

    def use(self) -> HeldConnection:
        """Return the connection of this thread."""
        try:
            held: HeldConnection = self._local.held
        except AttributeError:
            held = self._new()
        return held

    def close(self) -> None:
        """Close the connections of all threads, each when its thread is done with it."""
        with self._lock:
            everybody = list(self._all)
        for held in everybody:
            with held.lock:
                held.close()

    def _new(self) -> HeldConnection:
        with self._lock:
            held = self._local.held = HeldConnection(self._opened)
            self._all.add(held)
        return held

    def _opened(self) -> sqlite3.Connection:
        """Open the database, making the file and its table if need be.

        :raises StoreError: if others can read or replace it, or a newer version made it.
        """
        deadline = clock.monotonic() + self._timeout
        while True:
            _secure(self._path)
            # Closed by whichever thread forks or closes the store; `use` keeps others from using it meanwhile.
            connection = sqlite3.connect(
                self._path, timeout=self._timeout, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(connection)
            except sqlite3.OperationalError:
                connection.close()
                # Whoever turns a new file into one with a write-ahead log makes others fail, not wait.
                if clock.monotonic() >= deadline:
                    raise
                clock.sleep(_PAUSE)
            except BaseException:
                connection.close()
                raise
            else:
                return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        # In this order: another process may be making them, in one step.
        has_tables = connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None
        is_ours = _belongs_to_us(connection)
        if has_tables and not is_ours:
            raise StoreError(f"{self._path} holds the tables of another program: give SQLiteStore a file of its own")
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StoreError(f"{self._path} cannot have a write-ahead log: is it on a network file system?")
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        if not is_ours:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                if not _belongs_to_us(connection):
                    for statement in _TABLE:
                        connection.execute(statement)
        (schema,) = connection.execute("PRAGMA user_version").fetchone()
        if schema != _SCHEMA:
            raise StoreError(f"{self._path} was made by a newer version of wsgi_sessions")

    def _before_fork(self) -> None:
        self._lock.acquire()
        for held in list(self._all):
            # A thread is at its connection for as long as SQLite waits for a lock, no longer.
            if held.lock.acquire(timeout=2 * self._timeout):
                held.close()
                self._paused.append(held)

    def _after_fork_in_parent(self) -> None:
        self._resume()

    def _after_fork_in_child(self) -> None:
        self._resume()
        # The connections of other threads, which do not exist here, and what they may have held.
        _abandoned.extend(held for held in self._all if held.connection is not None)
        self._lock = threading.Lock()
        self._local = threading.local()
        self._all = WeakSet()

    def _resume(self) -> None:
        if not self._lock.locked():
            return
        for held in self._paused:
            held.lock.release()
        self._paused = []
        self._lock.release()


# What a fork that nobody announced has left open: neither to be used nor to be closed in this process.
_abandoned: list[Any] = []


def _belongs_to_us(connection: sqlite3.Connection) -> bool:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    return bool(application == _APPLICATION)


def _secure(path: str) -> None:
    """Make the file if there is none, and see that no other user can read or replace it.

    Not by opening it: closing any descriptor of a file that is in use here would drop SQLite's locks on it.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600))
    if not hasattr(os, "geteuid"):
        return
    status = os.stat(path, follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode):
        raise StoreError(f"{path} ({stat.filemode(status.st_mode)}) is no file; give SQLiteStore the file itself")
    if status.st_uid != os.geteuid():
        raise StoreError(f"{path} belongs to user {status.st_uid}, and this process runs as user {os.geteuid()}")
    if status.st_mode & 0o077:
        raise StoreError(f"{path} ({stat.filemode(status.st_mode)}) is open to others: chmod 600 {path}")
    parent = os.stat(os.path.dirname(path))
    if parent.st_mode & 0o022 and not parent.st_mode & stat.S_ISVTX:
        raise StoreError(f"others can replace files in {os.path.dirname(path)}: chmod go-w it, or use another")
