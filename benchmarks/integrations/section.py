"""One table for each framework; each kind of store in a process of its own, because Django can be configured once."""

from __future__ import annotations

import gc
import importlib
import importlib.metadata
import logging
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.driver import compare, drive
from benchmarks.engines.peer import Peer, answer, new_session, request
from benchmarks.integrations import kinds
from benchmarks.integrations.comparison import SCENARIOS, Comparison
from benchmarks.places import NoPlace
from benchmarks.report import Table, ratio
from benchmarks.systems import Application

_BARE, _OURS, _PEER, _COOKIE = "bare", "ours", "peer", "cookie"
# Of the bare request: applications that are the same differ by this much from one run to another.
_LEAST_NOISE = 0.01


class _Framework(NamedTuple):
    """A framework.

    :param package: its name, and that of the module here.
    :param kinds: the kinds of stores that are measured with it.
    :param peer: what the table calls the peer with the same kind of store.
    :param cookie: what it calls the one that stores nothing; None if there is none.
    :param bare: what the application without sessions is.
    """

    package: str
    kinds: tuple[str, ...]
    peer: str
    cookie: str | None
    bare: str


class _Row(NamedTuple):
    """What one interleaved run of one scenario has shown, in microseconds.

    :param bare: the request without a session.
    :param sessions: what each has on top.
    :param noise: how much applications that are the same differed.
    """

    scenario: str
    kind: str
    bare: float
    sessions: dict[str, float]
    noise: float


_FRAMEWORKS = (
    _Framework(
        "flask",
        (kinds.MEMORY, kinds.FILES, kinds.REDIS),
        "Flask-Session",
        "Flask's cookie",
        "an application whose session interface gives the same NullSession to every request",
    ),
    _Framework(
        "pyramid",
        (kinds.MEMORY, kinds.REDIS),
        "pyramid_session_redis",
        "signed cookie",
        "an application without a session factory",
    ),
    _Framework(
        "django",
        (kinds.MEMORY, kinds.FILES, kinds.SQLITE, kinds.REDIS),
        "Django",
        "signed cookie",
        "Django without any middleware; the others have session middleware and nothing else",
    ),
    _Framework(
        "bottle",
        (kinds.MEMORY, kinds.FILES),
        "Beaker",
        None,
        "an application without plugins that were added to it",
    ),
)


def tables(folder: Path, rounds: int) -> Iterator[Table]:
    """Yield a table for each framework."""
    for framework in _FRAMEWORKS:
        rows: list[_Row] = []
        notes = [f"Bare: {framework.bare}."]
        for kind in framework.kinds:
            within = folder / framework.package / kind
            within.mkdir(0o700, parents=True)
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                found, remarks = process.submit(_measured, framework, kind, within, rounds).result()
            rows += found
            notes += remarks
        if rows:
            yield _table(framework, rows, notes)
        else:
            print(f"not measured: {framework.package}: {' '.join(notes[1:])}\n")


def _measured(framework: _Framework, kind: str, folder: Path, rounds: int) -> tuple[list[_Row], list[str]]:
    """Return a row for each scenario with a kind of store, and what readers should know."""
    logging.getLogger("wsgi_sessions").setLevel(logging.ERROR)
    with ExitStack() as stack:
        try:
            url = stack.enter_context(kinds.opened(kind, folder))
            module = importlib.import_module(f"benchmarks.integrations.{framework.package}")
            comparison: Comparison = module.comparison(kind, url, folder)
        except (NoPlace, ImportError) as error:
            return [], [f"{kind} was left out: {str(error).rstrip('.')}."]
        notes: list[str] = []
        systems = {_OURS: comparison.ours}
        for system, name in ((_PEER, framework.peer), (_COOKIE, framework.cookie)):
            make = comparison.peer if system == _PEER else comparison.cookie
            app = None if make is None else _usable(f"{name} ({kind})", make, notes)
            if app is not None:
                systems[system] = app
        # The modules of a framework would otherwise be looked through before each batch.
        gc.collect()
        gc.freeze()
        between = partial(kinds.empty_logs, folder)
        bares = [comparison.bare(), comparison.bare()]
        rows = [_row(scenario, kind, bares, systems, rounds, between) for scenario in SCENARIOS]
    return rows, notes


def _usable(name: str, make: Callable[[], Application], notes: list[str]) -> Application | None:
    """Return a peer if it answers each page, else note why it does not."""
    try:
        app = make()
        cookie = _new_cookie(app)
        for scenario in SCENARIOS:
            answer(app, request(scenario, cookie))
    # Whatever its authors did not foresee of the versions that are installed here.
    except Exception as error:
        notes.append(f"{name} was left out: {type(error).__name__}: {' '.join(str(error).split())[:200]}.")
        return None
    return app


def _row(
    scenario: str,
    kind: str,
    bares: list[Application],
    systems: dict[str, Application],
    rounds: int,
    between: Callable[[], object],
) -> _Row:
    """Measure a scenario twice at once: how far the same differs from itself is noise."""
    functions: dict[tuple[str, int], Callable[[], object]] = {}
    for time, bare in enumerate(bares):
        # Without a session there is one page: what the others are about is what they do with it.
        functions[_BARE, time] = drive(bare, request("untouched", _cookie_for(scenario, systems[_OURS])))
        for name, app in systems.items():
            functions[name, time] = drive(app, request(scenario, _cookie_for(scenario, app)))
    times = compare(functions, rounds, between=between)
    means = {name: (times[name, 0] + times[name, 1]) / 2 for name in (_BARE, *systems)}
    return _Row(
        scenario,
        kind,
        means[_BARE],
        {name: means[name] - means[_BARE] for name in systems},
        # That of a peer that takes long would hide what is asked about the fast ones.
        max(means[_BARE] * _LEAST_NOISE, *(abs(times[name, 0] - times[name, 1]) for name in (_BARE, _OURS))),
    )


def _cookie_for(scenario: str, app: Application) -> str | None:
    return None if scenario == "create" else _new_cookie(app)


def _new_cookie(app: Application) -> str:
    return new_session(Peer("an application", {"create": app}))


def _table(framework: _Framework, rows: list[_Row], notes: list[str]) -> Table:
    version = importlib.metadata.version(framework.package)
    columns = ["scenario", "store", "bare, us", "ours, us", "noise, us", f"{framework.peer}, us"]
    columns.append(f"ours / {framework.peer}")
    if framework.cookie is not None:
        columns += [f"{framework.cookie}, us", f"ours / {framework.cookie}"]
    columns += ["goal", "met"]
    table = Table(f"{framework.package.capitalize()} {version}: the ten-key session of 1 KB", columns, notes=notes)
    for scenario in SCENARIOS:
        for row in rows:
            if row.scenario == scenario:
                table.add(*_cells(framework, row))
    return table


def _cells(framework: _Framework, row: _Row) -> list[str | float]:
    own = row.sessions[_OURS]
    cells: list[str | float] = [row.scenario, row.kind, row.bare, own, row.noise]
    for name in (_PEER,) if framework.cookie is None else (_PEER, _COOKIE):
        other = row.sessions.get(name)
        cells += ["", ""] if other is None else [other, _ratio(own, other, row.noise)]
    return [*cells, *_goal(framework, row)]


def _ratio(own: float, other: float, noise: float) -> str:
    """Return how many times the other's time ours is, unless there is nothing to divide by."""
    return "noise" if other <= noise else ratio(own, other)


def _goal(framework: _Framework, row: _Row) -> tuple[str, str]:
    """Return what we want to reach, and whether it was."""
    own = row.sessions[_OURS]
    others = [time for name, time in row.sessions.items() if name != _OURS]
    if row.scenario == "untouched":
        # Both may be off by that.
        return "not above the fastest", _answered(own - row.noise <= min(others, default=own) + row.noise)
    if _PEER not in row.sessions:
        return "", ""
    return f"below {framework.peer}", _answered(own < row.sessions[_PEER])


def _answered(met: bool) -> str:
    return "yes" if met else "no"
