"""One table for each engine; each in a process of its own, because a framework can be configured once in one."""

from __future__ import annotations

import gc
import importlib
import logging
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from benchmarks.driver import compare, drive
from benchmarks.engines.engine import Engine, Functions
from benchmarks.engines.peer import SCENARIOS, Peer, answer, new_session, of_system, request
from benchmarks.places import NoPlace
from benchmarks.report import Table, ratio

_ENGINES = ("sqlite", "postgresql", "mariadb", "redis", "memcached")


def tables(folder: Path, rounds: int) -> Iterator[Table]:
    """Yield a table for each engine that is there."""
    for name in _ENGINES:
        within = folder / name
        within.mkdir(0o700)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            result = process.submit(_measured, name, within, rounds).result()
        if isinstance(result, Table):
            yield result
        else:
            print(f"not measured: {result}\n")


def _measured(name: str, folder: Path, rounds: int) -> Table | str:
    """Return the table of an engine, or why there is none."""
    logging.getLogger("wsgi_sessions").setLevel(logging.ERROR)
    with ExitStack() as stack:
        try:
            module = importlib.import_module(f"benchmarks.engines.{name}")
            engine: Engine = stack.enter_context(module.opened(folder))
        except (NoPlace, ImportError) as error:
            return f"{name}: {error}"
        return _table(engine, rounds)


def _table(engine: Engine, rounds: int) -> Table:
    notes = list(engine.notes)
    ours, peers = of_system(engine.ours), _usable(engine, notes)
    # The modules of three frameworks would otherwise be looked through before each batch.
    gc.collect()
    gc.freeze()
    columns = ["scenario", "raw, us", "ours, us", "x raw", "budget"]
    for peer in peers:
        columns += [f"{peer.name}, us", f"ours / {peer.name}"]
    table = Table(engine.title, columns, notes=notes)
    for scenario in SCENARIOS:
        functions = {"raw": engine.raw[scenario], **_drives([ours, *peers], scenario)}
        times = compare(functions, rounds, between=engine.between)
        sessions = {peer.name: times[peer.name] - times[_bare(peer)] for peer in (ours, *peers)}
        own = sessions[ours.name]
        cells: list[str | float] = [scenario, times["raw"], own, ratio(own, times["raw"])]
        cells.append(engine.budgets.get(scenario, ""))
        for peer in peers:
            cells += [sessions[peer.name], ratio(own, sessions[peer.name])]
        table.add(*cells)
    return table


def _usable(engine: Engine, notes: list[str]) -> list[Peer]:
    """Return the peers that answer each page; of the others note why."""
    usable = []
    for name, make in engine.peers.items():
        try:
            peer = make()
            cookie = new_session(peer)
            for scenario in ("bare", "read", "write"):
                answer(peer.pages[scenario], request(scenario, cookie))
        # Whatever its authors did not foresee of the versions that are installed here.
        except Exception as error:
            notes.append(f"{name} was left out: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
        else:
            usable.append(peer)
    return usable


def _drives(peers: list[Peer], scenario: str) -> Functions:
    """Return the page of each, and the same page without a session: what the framework takes is not counted."""
    functions: Functions = {}
    for peer in peers:
        cookie = None if scenario == "create" else new_session(peer)
        functions.setdefault(_bare(peer), drive(peer.pages["bare"], request("bare", cookie)))
        functions[peer.name] = drive(peer.pages[scenario], request(scenario, cookie))
    return functions


def _bare(peer: Peer) -> str:
    """Return the name of a bare page, the same for those that share it."""
    return f"bare {id(peer.pages['bare'])}"
