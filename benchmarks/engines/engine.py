"""What is measured on one engine."""

from __future__ import annotations

import importlib
import secrets
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from benchmarks import systems
from benchmarks.engines.peer import Peer
from benchmarks.systems import System
from wsgi_sessions import MemoryStore, Record

Functions = dict[str, Callable[[], object]]


class Engine(NamedTuple):
    """One engine.

    :param title: of its table.
    :param ours: wsgi_sessions over it.
    :param raw: for each scenario the same work with nothing but the driver.
    :param budgets: for each scenario what we want to reach, as text; none where nothing is promised.
    :param peers: makes each peer, by its name. One that cannot be made is left out of the table.
    :param notes: what its readers should know.
    :param between: is done before each batch, and not measured.
    """

    title: str
    ours: System
    raw: Functions
    budgets: dict[str, str]
    peers: dict[str, Callable[[], Peer]]
    notes: list[str]
    between: Callable[[], object] = lambda: None


def later(name: str, *arguments: Any) -> Callable[[], Peer]:
    """Return what makes a peer, and does not import before that what may not be installed.

    :param name: of a module among the peers and a function in it: ``module.function``.
    """
    module, _, function = name.partition(".")

    def make() -> Peer:
        found: Peer = getattr(importlib.import_module(f"benchmarks.engines.peers.{module}"), function)(*arguments)
        return found

    return make


def example_record() -> Record:
    """Return the record of a session as every store of ours gets it: about 1 KB."""
    store = MemoryStore()
    systems.new_session(systems.ours("memory", store))
    return next(store.scan())


def random_ids() -> Iterator[str]:
    """Yield ids of our form without end, made in stock: what they take is no work of the driver's."""
    while True:
        yield from [secrets.token_urlsafe(16) for _ in range(20_000)]


def changed(payload: bytes, version: int) -> bytes:
    """Return another payload of the same length: engines notice if nothing changes, and save themselves the work."""
    return b"%b%010d" % (payload[:-10], version)
