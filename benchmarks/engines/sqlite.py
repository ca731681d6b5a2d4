"""SQLite: one file in WAL, synchronous NORMAL, one kept connection, for all alike."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks import systems
from benchmarks.engines.engine import Engine, example_record, later
from benchmarks.engines.raw_sql import floors
from wsgi_sessions import SQLiteStore

_BUDGETS = {
    "read": "<= 3 x raw, <= 0.1 x Django",
    "write": "<= 2.5 x raw, <= 0.1 x Django",
    "create": "<= 2 x raw, <= 0.1 x Django",
}
_SETTINGS = ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL")


@contextmanager
def opened(folder: Path) -> Iterator[Engine]:
    """Yield what is measured, each system with a file of its own in a folder."""
    record = example_record()
    raw = folder / "raw.db"
    with closing(SQLiteStore(raw)) as store:
        store.create(record)
    with closing(SQLiteStore(folder / "ours.db")) as store, closing(_connection(raw)) as connection:
        alchemy = f"sqlite:///{folder}"
        with suppress(ImportError):
            _set_those_of_sqlalchemy()
        yield Engine(
            title=f"SQLite {sqlite3.sqlite_version}: the ten-key session of 1 KB",
            ours=systems.ours("ours", store),
            raw=floors(connection.execute, "session", "?", record),
            budgets=_BUDGETS,
            peers={
                "Django": later("django.database_peer", _django_database(folder / "django.db")),
                "Beaker": later("beaker.peer", "ext:database", f"{alchemy}/beaker.db", folder),
                "Flask-Session": later("flask_session.sqlalchemy_peer", f"{alchemy}/flask.db"),
            },
            notes=[
                "All files are in WAL with synchronous NORMAL, and all connections are kept.",
                "The logs are emptied between batches, so that no batch has another's checkpoint in it.",
            ],
            between=lambda: _empty_logs(folder),
        )


def _empty_logs(folder: Path) -> None:
    for path in folder.glob("*.db"):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _connection(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    for setting in _SETTINGS:
        connection.execute(setting)
    return connection


def _django_database(path: Path) -> dict[str, Any]:
    options = {"init_command": "; ".join(_SETTINGS)}
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path), "OPTIONS": options}


def _set_those_of_sqlalchemy() -> None:
    """Give all connections that SQLAlchemy will make in this process the settings that ours have."""
    from sqlalchemy import Engine as AlchemyEngine
    from sqlalchemy import event

    def set_one(connection: Any, _record: object) -> None:
        for setting in _SETTINGS:
            connection.execute(setting)

    event.listen(AlchemyEngine, "connect", set_one)
