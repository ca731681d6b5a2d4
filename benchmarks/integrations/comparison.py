"""Applications of one framework that differ in nothing but their sessions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.payload import small
from benchmarks.systems import Application

#: Each application answers at these paths; the first page does not look at its session.
SCENARIOS = ("untouched", "read", "write", "create")
#: What a session is filled with.
CONTENT: dict[str, Any] = small()
#: What some peers sign with.
KEY = "an example of a key, and no secret: 9f3c1b7e2d5a"
#: More sessions than are made here: a cache that is full does work that no store of ours does.
ENOUGH = 10_000_000


class Comparison(NamedTuple):
    """What is measured together, with one kind of store.

    :param bare: makes the application without any sessions; called twice, so that two that are alike can be compared.
    :param ours: with those of wsgi_sessions.
    :param peer: makes the one whose sessions are kept in the same kind of store; None where there is none.
    :param cookie: makes the one whose sessions are in their cookies.
    """

    bare: Callable[[], Application]
    ours: Application
    peer: Callable[[], Application] | None
    cookie: Callable[[], Application] | None = None
