"""What MemoryStore takes for many sessions, and how long it keeps others waiting."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.payload import small
from benchmarks.report import Table
from wsgi_sessions import MemoryStore, Record, SessionToken, clock, open_session

_HUNDRED_THOUSAND, _MILLION = 100_000, 1_000_000


def tables(folder: Path, rounds: int) -> Iterator[Table]:
    """Yield the tables; each measurement has a process to itself."""
    yield _parse("Memory of 100,000 sessions of 1 KB", "size", ["payload, B", "RSS over payload, B", "budget"])
    yield _parse(
        "A sweep of 100,000 expired records, in batches of 500",
        "sweep",
        ["one batch at the median, ms", "at the longest, ms", "budget", "in all, ms"],
    )
    yield _parse(
        "A million sessions in one store",
        "million",
        ["sessions", "load, us", "save, us", "create, us", "longest create, ms"],
    )


def _parse(title: str, measurement: str, columns: list[str]) -> Table:
    table = Table(title, columns)
    output = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", measurement], check=True, capture_output=True, text=True
    )
    for line in output.stdout.splitlines():
        table.add(*line.split("|"))
    return table


def _size() -> None:
    store = MemoryStore()
    _fill(store, 1000)
    payload = statistics.mean(len(record.payload) for record in store.scan())
    before = _resident()
    _fill(store, _HUNDRED_THOUSAND)
    over = (_resident() - before) / _HUNDRED_THOUSAND - payload
    print(f"{payload:.0f}|{over:.0f}|<= 600")


def _sweep() -> None:
    store = MemoryStore()
    _fill(store, _HUNDRED_THOUSAND, lifetime=1)
    time.sleep(0.01)
    batches = []
    while True:
        begin = time.perf_counter()
        removed = store.delete_expired()
        batches.append((time.perf_counter() - begin) * 1000)
        if not removed:
            break
    print(f"{statistics.median(batches):.2f}|{max(batches):.2f}|no lock over 5 ms|{sum(batches):.0f}")


def _million() -> None:
    store = MemoryStore()
    for count in (1000, _MILLION):
        created = _fill(store, count - sum(1 for _ in store.scan()))
        some = [record.id for record, _ in zip(store.scan(), range(1000), strict=False)]
        load = [_timed(lambda id=id: store.load(id)) for id in some]  # type: ignore[misc]
        records = [record for id in some if (record := store.load(id))]
        save = [_timed(lambda record=record: store.save(record)) for record in records]  # type: ignore[misc]
        middle = [statistics.median(times) * 1e6 for times in (load, save, created)]
        print(f"{count:,}|{middle[0]:.2f}|{middle[1]:.2f}|{middle[2]:.2f}|{max(created) * 1000:.1f}")


def _fill(store: MemoryStore, count: int, lifetime: int = 3_600_000) -> list[float]:
    """Create records of the usual size, each with a payload of its own; return how long each took."""
    with open_session(MemoryStore()) as session:
        session.update(small())
        session.save()
        pattern = next(iter(session._settings.store.scan())).payload
    times = []
    for _ in range(count):
        token = SessionToken.generate()
        payload = pattern.replace(pattern[4:26], token.id.encode())
        record = Record(token.id, payload, clock.now() + lifetime)
        times.append(_timed(lambda record=record: store.create(record)))  # type: ignore[misc]
    return times


def _timed(function: object) -> float:
    begin = time.perf_counter()
    function()  # type: ignore[operator]
    return time.perf_counter() - begin


def _resident() -> int:
    """Return the bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    {"size": _size, "sweep": _sweep, "million": _million}[sys.argv[1]]()
