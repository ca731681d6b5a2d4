"""Removes what has ended, and reports how clients fare meanwhile and before it."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, TypeVar

import psycopg

from benchmarks.millions import clients, lock_waits
from benchmarks.millions.clients import Task, Visit
from benchmarks.millions.lock_waits import LockWaits
from benchmarks.millions.rows import Rows, settle
from benchmarks.millions.spread import Spread, spread
from wsgi_sessions.stores.sql import SQLStore

CLIENTS, BATCH = 4, 500
_UNDISTURBED_SECONDS = 15
# Processes take a moment to start and to connect.
_STARTUP_SECONDS = 2

_Result = TypeVar("_Result")


class Phase(NamedTuple):
    """What was seen while something went on. Milliseconds."""

    loads: Spread
    writes: Spread
    waits: LockWaits


class Removal(NamedTuple):
    """How long it took. Seconds.

    :param batches: of each batch.
    :param removed: how many records.
    """

    batches: list[float]
    removed: int
    seconds: float


def phases(rows: Rows, folder: Path) -> tuple[Phase, Phase, Removal]:
    """Return what clients met undisturbed, what during the removal, and the removal itself."""
    undisturbed, _ = _phase(rows, folder / "undisturbed", lambda: time.sleep(_UNDISTURBED_SECONDS))
    with psycopg.connect(rows.url, autocommit=True) as connection:
        settle(connection)
    with _processes(1) as process:
        # So that its start is not taken for a part of the removal.
        process.submit(spread, []).result()
        disturbed, removal = _phase(rows, folder / "removal", process.submit(remove, rows.url, rows.table).result)
    return undisturbed, disturbed, removal


def remove(url: str, table: str) -> Removal:
    """Remove all that has ended, batch after batch without a pause."""
    batches: list[float] = []
    removed = 0
    with closing(SQLStore(url, table=table)) as store:
        begun = time.monotonic()
        while True:
            begin = time.monotonic()
            records = store.delete_expired(BATCH)
            if not records:
                return Removal(batches, removed, time.monotonic() - begun)
            batches.append(time.monotonic() - begin)
            removed += len(records)


def _phase(rows: Rows, stop: Path, happens: Callable[[], _Result]) -> tuple[Phase, _Result]:
    """Have something happen while clients are at work; what they met before and after it does not count."""
    tasks = [Task(rows.url, rows.table, rows.count, number, stop) for number in range(CLIENTS)]
    with _processes(CLIENTS + 1) as processes:
        watching = processes.submit(lock_waits.watch, rows.url, stop)
        visiting = [processes.submit(clients.run, task) for task in tasks]
        try:
            time.sleep(_STARTUP_SECONDS)
            begin = time.monotonic()
            result = happens()
            end = time.monotonic()
        finally:
            stop.touch()
        visits = [visit for each in visiting for visit in each.result() if begin <= visit.due <= end]
        return Phase(_taken(visits, is_write=False), _taken(visits, is_write=True), watching.result()), result


def _taken(visits: list[Visit], *, is_write: bool) -> Spread:
    return spread([visit.seconds * 1000 for visit in visits if visit.is_write is is_write])


def _processes(count: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(count, multiprocessing.get_context("spawn"))
