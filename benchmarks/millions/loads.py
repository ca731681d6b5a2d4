"""What a load of a random record takes in a small table and in a large one, beside the bare query in each."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import NamedTuple

import psycopg

from benchmarks.millions.rows import Rows, id_of
from benchmarks.millions.spread import Spread, spread
from wsgi_sessions.stores.sql import SQLStore

# Of each kind, in batches that alternate so that drift hits all alike.
_LOADS, _BATCH = 5_000, 50


class LoadTimes(NamedTuple):
    """Microseconds, of one table."""

    raw: Spread
    ours: Spread


def load_times(several: list[Rows]) -> list[LoadTimes]:
    """Return what loads take in each table."""
    with ExitStack() as stack:
        kinds = []
        for rows in several:
            connection = stack.enter_context(psycopg.connect(rows.url, autocommit=True))
            store = stack.enter_context(closing(SQLStore(rows.url, table=rows.table)))
            kinds += [(rows, _query(connection, rows.table)), (rows, store.load)]
        times = _alternating(kinds)
    return [LoadTimes(*map(spread, pair)) for pair in zip(times[::2], times[1::2], strict=True)]


def _query(connection: psycopg.Connection[tuple[object, ...]], table: str) -> Callable[[str], object]:
    statement = f"SELECT payload, version FROM {table} WHERE id = %s"
    return lambda id: connection.execute(statement, (id,), binary=True).fetchone()


def _alternating(kinds: list[tuple[Rows, Callable[[str], object]]]) -> list[list[float]]:
    times: list[list[float]] = [[] for _ in kinds]
    # Not the same records for each: whoever came second would find them in the server's memory.
    source = random.Random(0)
    for rows, load in kinds:
        _batch(rows, load, source)
    for _ in range(_LOADS // _BATCH):
        for (rows, load), taken in zip(kinds, times, strict=True):
            taken += _batch(rows, load, source)
    return times


def _batch(rows: Rows, load: Callable[[str], object], source: random.Random) -> list[float]:
    ids = [id_of(source.randint(1, rows.count)) for _ in range(_BATCH)]
    gc.collect()
    taken = []
    for id in ids:
        begin = time.perf_counter()
        found = load(id)
        taken.append((time.perf_counter() - begin) * 1e6)
        assert found is not None
    return taken
