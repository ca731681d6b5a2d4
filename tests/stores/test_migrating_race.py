"""Writers, logouts and movers at once, while sessions move from PostgreSQL to Redis: by threads and by processes."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from backends import PLACES, Open
from msgspec.structs import replace

from wsgi_sessions import Record, RecordNotFound, SessionStore, VersionConflict, clock
from wsgi_sessions.record import is_session
from wsgi_sessions.stores.migrating import MigratingStore
from wsgi_sessions.testing.parallel import Work, in_processes, in_threads

HOUR = 3_600_000
# In this order they come into use, so that each is written, moved and ended at the same time.
LEAVING = [f"leaving-{number}" for number in range(20)]
STAYING = [f"staying-{number}" for number in range(20)]
WRITERS = 8
TIMEOUT = 60
# From one to the next; each is in use for twice as long.
STEP_SECONDS = 0.05

Run = Callable[[Work, int, float], list[Any]]


@pytest.fixture
def old() -> Iterator[Open]:
    with PLACES["postgresql"]() as open:
        yield open


@pytest.fixture
def new() -> Iterator[Open]:
    with PLACES["redis"]() as open:
        yield open


def in_use(started: float) -> list[str]:
    position = int((time.monotonic() - started) / STEP_SECONDS)
    begin = max(0, position - 1)
    return [*LEAVING[begin : position + 1], *STAYING[begin : position + 1]]


def write(store: SessionStore, seed: int) -> dict[str, Any]:
    """Count up in the sessions; return how often in which, and when the last thing began that found it alive."""
    randomly = random.Random(seed)
    saved: Counter[str] = Counter()
    alive: dict[str, float] = {}
    started = time.monotonic()
    while ids := in_use(started):
        id = randomly.choice(ids)
        begun = time.monotonic()
        record = store.load(id)
        if record is None:
            continue
        alive[id] = begun
        begun = time.monotonic()
        try:
            if randomly.random() < 0.2:
                store.touch(id, record.version, record.expires + 1)
            else:
                store.save(replace(record, payload=b"%d" % (int(record.payload) + 1)))
                saved[id] += 1
        except VersionConflict:
            pass
        except RecordNotFound:
            continue
        alive[id] = begun
    return {"saved": saved, "alive": alive}


def log_out(store: SessionStore) -> dict[str, Any]:
    """Delete; return when each delete was done, and what was still there then."""
    started = time.monotonic()
    done: dict[str, float] = {}
    there: list[str] = []
    for number, id in enumerate(LEAVING):
        moment = started + STEP_SECONDS * (number + random.uniform(0, 0.5))
        time.sleep(max(0, moment - time.monotonic()))
        store.delete(id)
        done[id] = time.monotonic()
        there += [id for id in LEAVING[: number + 1][-3:] if store.load(id) is not None]
    return {"done": done, "there": there}


def move(store: MigratingStore) -> dict[str, Any]:
    for _ in range(len(LEAVING)):
        time.sleep(STEP_SECONDS)
        store.move(1)
    return {}


@pytest.mark.parametrize("run", [in_threads, in_processes])
@pytest.mark.parametrize("moves", ["all move", "some move"])
@pytest.mark.parametrize("attempt", range(2))
def test_20_logouts_race_8_writers_across_the_move(old: Open, new: Open, run: Run, moves: str, attempt: int) -> None:
    """None is revived, and no update is lost; also while half of the processes do not move yet."""
    with closing(old()) as old_store:
        for id in (*LEAVING, *STAYING):
            old_store.create(Record(id, b"0", clock.now() + HOUR))

    def work(index: int, start: Callable[[], object]) -> dict[str, Any]:
        with closing(MigratingStore(old(), new(), moving=moves == "all move" or bool(index % 2))) as store:
            store.load("missing")
            start()
            if index < WRITERS:
                return write(store, attempt * WRITERS + index)
            return log_out(store) if index == WRITERS else move(MigratingStore(store._old, store._new))

    results = run(work, WRITERS + 2, TIMEOUT)
    done = results[WRITERS]["done"]
    saved: Counter[str] = Counter()
    for result in results[:WRITERS]:
        saved.update(result["saved"])
        revived = [id for id, begun in result["alive"].items() if begun > done.get(id, begun)]
        assert revived == []
    assert results[WRITERS]["there"] == []
    assert len(done) == len(LEAVING)
    check_what_is_left(old, new, saved)


def check_what_is_left(old: Open, new: Open, saved: Counter[str]) -> None:
    with closing(MigratingStore(old(), new())) as store, closing(new()) as alone:
        assert [id for id in LEAVING if store.load(id) is not None] == []
        while store.move():
            pass
        assert store.left() == 0
        counted = {record.id: int(record.payload) for record in alone.scan() if is_session(record)}
        assert counted == {id: saved[id] for id in STAYING}
    # Or it was no race.
    assert sum(saved[id] for id in STAYING) > len(STAYING)
    assert sum(saved[id] for id in LEAVING) > 0
