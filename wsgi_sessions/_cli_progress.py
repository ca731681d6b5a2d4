"""How an import goes and what came of it: a bar on a terminal, lines in a log, a table at the end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from . import clock
from .migration.bulk import Causes, Report

# Seconds between two lines.
_EVERY = 10.0
# Columns of what is no terminal: a line must not break where somebody searches for it.
_WIDE = 500


class Shown(Protocol):
    """Shows how far an import has come."""

    def show(self, report: Report) -> None:
        """Show it, if it is time."""


@contextmanager
def progress(total: int | None) -> Iterator[Shown]:
    """Show the progress of an import on stderr during a block.

    :param total: how many sessions there are, more or less; None if that is not known.
    """
    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        yield Lines(total, sys.stderr)
        return
    columns = (
        TextColumn("importing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        yield Bar(bar, bar.add_task("import", total=total, rate=""))


class Bar:
    """Moves a bar of rich's, which draws it itself, ten times a second."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar = bar
        self._task = task
        self._began = clock.monotonic()

    def show(self, report: Report) -> None:
        """Move it to how much has been read."""
        rate = _rate(report.read, clock.monotonic() - self._began)
        total = self._bar.tasks[0].total
        # More may be written meanwhile than there was at first.
        total = total if total is None else max(total, report.read)
        self._bar.update(self._task, completed=report.read, total=total, rate=rate)


class Lines:
    """Writes a line now and then.

    :param total: as for :func:`progress`.
    :param stream: where to.
    """

    def __init__(self, total: int | None, stream: IO[str]) -> None:
        self._of = "" if total is None else f" of {total}"
        self._stream = stream
        self._began = self._last = clock.monotonic()

    def show(self, report: Report) -> None:
        """Write a line if the last one is ten seconds old."""
        now = clock.monotonic()
        if now - self._last < _EVERY:
            return
        self._last = now
        rate = _rate(report.read, now - self._began)
        done = f"imported {report.imported}, renewed {report.renewed}"
        print(f"read {report.read}{self._of}, {done}, {rate}", file=self._stream, flush=True)


def show_report(report: Report, *, dry_run: bool) -> None:
    """Write the table of what came of an import to stdout."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDE)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for name, count in (
        ("read", report.read),
        ("would be imported" if dry_run else "imported", report.imported),
        ("would be renewed" if dry_run else "renewed", report.renewed),
        ("already there", report.already_there),
        ("expired", report.expired),
        ("ended there", report.ended),
    ):
        table.add_row(name, str(count))
    _add(table, "dropped keys", report.dropped, console.file)
    _add(table, "unreadable", report.unreadable, console.file)
    console.print(table)


def _add(table: Table, name: str, causes: Causes, stream: IO[str]) -> None:
    table.add_row(name, str(causes.total))
    for cause, count in causes.counts.most_common():
        places = ", ".join(causes.examples[cause])
        table.add_row(_text(f"  {cause}", stream), str(count), _text(places, stream))


def _text(text: str, stream: Any) -> Text:
    """Return a text of a visitor's as one that cannot command the terminal, nor end its line."""
    visible = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return Text(visible.encode(encoding, "backslashreplace").decode(encoding))


def _rate(count: int, seconds: float) -> str:
    return f"{count / seconds:.0f}/s" if seconds > 0 and count else ""
