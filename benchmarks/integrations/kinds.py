"""The kinds of stores: a new one of each, emptied or removed after the measurement."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from benchmarks import places

MEMORY, FILES, SQLITE, REDIS = "memory", "files", "SQLite", "Redis"
#: Of every connection to a database in a file, so that none is asked for more safety than another.
SQLITE_SETTINGS = ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL")


@contextmanager
def opened(kind: str, folder: Path) -> Iterator[str]:
    """Yield the URL of a store of ours.

    :raises NoPlace: if there is no server for it.
    """
    if kind == REDIS:
        with places.redis() as url:
            yield url
    else:
        yield {
            MEMORY: "memory:",
            FILES: f"file://{folder / 'ours'}",
            SQLITE: f"sqlite:///{folder / 'ours.db'}",
        }[kind]


def empty_logs(folder: Path) -> None:
    """Write the logs of the databases in a folder into them, so that no batch does it for another."""
    for path in folder.glob("*.db"):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
