from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import services

from wsgi_sessions.stores import _fork_gate
from wsgi_sessions.stores._fork_gate import ForkGate
from wsgi_sessions.testing.parallel import in_processes


@contextmanager
def inside(gate: ForkGate, until: threading.Event, then: list[str]) -> Iterator[None]:
    """Have a thread inside of the gate until the event has come, which it notes before it leaves."""
    entered = threading.Event()

    def stay() -> None:
        with gate:
            entered.set()
            until.wait(10)
            then.append("left")

    thread = threading.Thread(target=stay)
    thread.start()
    entered.wait(10)
    try:
        yield
    finally:
        until.set()
        thread.join()


def test_a_fork_waits_until_nobody_is_inside() -> None:
    gate, closed, notes = ForkGate(), threading.Event(), list[str]()
    with inside(gate, closed, notes):
        watch = threading.Thread(
            target=lambda: (services.wait_until(lambda: gate._forks > 0, "the fork"), closed.set())  # type: ignore[func-returns-value]
        )
        watch.start()
        assert in_processes(lambda _index, _start: notes, 1, 20) == [["left"]]
        watch.join()


def assert_opened_by_the_end_of_a_fork(gate: ForkGate) -> None:
    """Have a thread wait at a closed gate, and see it come in when a fork is done, not before."""
    notes: list[str] = []

    def come_in() -> None:
        with gate:
            notes.append("came in")

    thread = threading.Thread(target=come_in)
    thread.start()
    services.wait_until(lambda: bool(gate._changed._waiters), "the thread at the gate")  # type: ignore[attr-defined]
    assert notes == []
    gate._after_fork_in_parent()
    thread.join(10)
    assert notes == ["came in"]


def test_nobody_comes_in_while_a_fork_waits() -> None:
    gate = ForkGate()
    gate._before_fork()
    assert_opened_by_the_end_of_a_fork(gate)


def test_it_stays_closed_until_the_last_of_several_forks_is_done() -> None:
    gate = ForkGate()
    gate._before_fork()
    gate._before_fork()
    gate._after_fork_in_parent()
    assert_opened_by_the_end_of_a_fork(gate)


def test_a_fork_does_not_wait_for_ever_and_the_child_finds_the_gate_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fork_gate, "_PATIENCE_SECONDS", 0.01)
    gate, never = ForkGate(), threading.Event()

    def in_child(_index: int, _start: object) -> int:
        with gate:
            return gate._inside

    with inside(gate, never, []):
        assert in_processes(in_child, 1, 20) == [1]
        with gate:
            assert gate._inside == 2
