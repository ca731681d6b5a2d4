"""Clients that keep a pace, whatever it takes: what they wait is what a visitor would."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks.millions.rows import id_of
from wsgi_sessions import VersionConflict, clock
from wsgi_sessions.stores.sql import SQLStore

#: Of each client, each second; the writes are saves and touches in turn.
LOADS, WRITES = 50, 10
_PER_SECOND = LOADS + WRITES
_EVERY = _PER_SECOND // WRITES


class Task(NamedTuple):
    """What one client does.

    :param url: of the database.
    :param table: of the records.
    :param records: how many there were. All are loaded, also those that are ended; only every other is written.
    :param number: of this client.
    :param stop: a file; when it is there, the client ends.
    """

    url: str
    table: str
    records: int
    number: int
    stop: Path


class Visit(NamedTuple):
    """One call of the store: when it was due, on a clock that all processes share, and how long it took. Seconds."""

    due: float
    seconds: float
    is_write: bool


def run(task: Task) -> list[Visit]:
    """Visit random records until it is told to stop."""
    source = random.Random(task.number)
    visits: list[Visit] = []
    with closing(SQLStore(task.url, table=task.table)) as store:
        store.load(id_of(1))
        due = time.monotonic()
        count = 0
        while not task.stop.exists():
            count += 1
            is_write = count % _EVERY == 0
            visit = _write(store, task, source, count) if is_write else _load(store, task, source)
            due += 1 / _PER_SECOND
            pause = due - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            # Whoever is late because the visit before took too long has been waiting since it was due. The delay of
            # a wake-up is not the store's.
            begin = due if pause <= 0 else time.monotonic()
            visit()
            visits.append(Visit(begin, time.monotonic() - begin, is_write))
    return visits


def _load(store: SQLStore, task: Task, source: random.Random) -> Callable[[], object]:
    id = id_of(source.randint(1, task.records))
    return lambda: store.load(id)


def _write(store: SQLStore, task: Task, source: random.Random, count: int) -> Callable[[], object]:
    """Return a write of a record that is not ended, after loading it without taking time for that."""
    record = store.load(id_of(source.randrange(2, task.records, 2)))
    assert record is not None

    def save() -> None:
        # Another client may just have written the same one.
        with suppress(VersionConflict):
            store.save(record)

    def touch() -> None:
        store.touch(record.id, record.version, clock.now() + 14 * 24 * 3_600_000)

    return save if count % (2 * _EVERY) else touch
