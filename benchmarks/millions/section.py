"""The tables of a million sessions in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import places
from benchmarks.places import NoPlace
from benchmarks.report import Table, ratio

# They need drivers that may not be installed.
if TYPE_CHECKING:
    from benchmarks.millions.loads import LoadTimes
    from benchmarks.millions.removal import Phase, Removal
    from benchmarks.millions.rows import Rows

_FEW, _MANY = 1_000, 1_000_000


def tables(folder: Path, rounds: int) -> Iterator[Table]:
    """Yield the tables, if there is a server."""
    try:
        with places.postgresql() as url:
            yield from _tables(url, folder)
    except (NoPlace, ImportError) as error:
        print(f"not measured: a million sessions: {error}\n")


def _tables(url: str, folder: Path) -> Iterator[Table]:
    from benchmarks.millions import loads, removal
    from benchmarks.millions.rows import Rows

    few, many = Rows(url, "few", _FEW), Rows(url, "many", _MANY)
    few.fill()
    many.fill()
    yield _loads([few, many], loads.load_times([few, many]))
    many.end_half()
    undisturbed, disturbed, removed = removal.phases(many, folder)
    yield _clients(undisturbed, disturbed)
    yield _removal(removed)


def _loads(several: list[Rows], measured: list[LoadTimes]) -> Table:
    table = Table(
        "A million sessions in PostgreSQL: the load of a random one",
        ["sessions", "raw, us", "p99, us", "x 1,000", "load, us", "p99, us", "x 1,000", "budget"],
    )
    few = measured[0]
    for rows, (raw, ours) in zip(several, measured, strict=True):
        cells: list[str | float] = [raw.median, raw.p99, ratio(raw.median, few.raw.median)]
        cells += [ours.median, ours.p99, ratio(ours.median, few.ours.median)]
        table.add(f"{rows.count:,}", *cells, "as with 1,000")
    table.notes.append("Raw is the query by the key on a connection of psycopg, the other is SQLStore.load.")
    return table


def _clients(undisturbed: Phase, disturbed: Phase) -> Table:
    from benchmarks.millions.clients import LOADS, WRITES
    from benchmarks.millions.removal import CLIENTS

    columns = [
        "clients",
        "loads",
        "median, ms",
        "p99, ms",
        "longest, ms",
        "writes",
        "median, ms",
        "p99, ms",
        "longest, ms",
    ]
    table = Table(
        f"{CLIENTS} clients of {LOADS} loads and {WRITES} writes a second, while 500,000 of a million are removed",
        [*columns, "lock waits", "longest, ms", "budget"],
    )
    for name, phase in (("undisturbed", undisturbed), ("during the removal", disturbed)):
        cells: list[str | float] = [name]
        for number, *times in (phase.loads, phase.writes):
            cells += [f"{number:,}", *times]
        table.add(*cells, str(phase.waits.waits), phase.waits.longest * 1000, "no lock wait over 50 ms")
        table.notes.append(
            f"{name}: looked for lock waits {phase.waits.samples:,} times, "
            f"at most {phase.waits.interval * 1000:.1f} ms apart."
        )
    return table


def _removal(removal: Removal) -> Table:
    table = Table(
        "The removal: SQLStore.delete_expired(500) in a process of its own, without a pause",
        [
            "removed",
            "batches",
            "one at the median, ms",
            "first tenth",
            "last tenth",
            "longest, ms",
            "in all, s",
            "a second",
        ],
    )
    batches = [seconds * 1000 for seconds in removal.batches]
    tenth = len(batches) // 10
    table.add(
        f"{removal.removed:,}",
        f"{len(batches):,}",
        *(median(part) for part in (batches, batches[:tenth], batches[-tenth:])),
        max(batches),
        removal.seconds,
        f"{removal.removed / removal.seconds:,.0f}",
    )
    return table
