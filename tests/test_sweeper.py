from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from msgspec.structs import replace

from wsgi_sessions import clock
from wsgi_sessions.exceptions import StoreError
from wsgi_sessions.record import Record
from wsgi_sessions.stores.memory import MemoryStore
from wsgi_sessions.sweeper import Sweeper
from wsgi_sessions.testing import ReplacedClock
from wsgi_sessions.testing.parallel import in_processes

# Short enough for a test to wait for several, long enough for an hour to be never.
_TINY = timedelta(milliseconds=1)
_NEVER = timedelta(hours=1)
# No test waits this long unless it fails.
_TIMEOUT = 20


class CountingStore(MemoryStore):
    """Tells when it was swept, and may be told to fail first.

    :param errors: raised by the first sweeps, one each.
    """

    def __init__(self, *errors: Exception) -> None:
        super().__init__()
        self.limits: list[int] = []
        self.errors = list(errors)
        self.swept = threading.Event()

    def delete_expired(self, limit: int = 500) -> list[Record]:
        self.limits.append(limit)
        if self.errors:
            raise self.errors.pop(0)
        removed = super().delete_expired(limit)
        self.swept.set()
        return removed


def filled(store: MemoryStore, count: int) -> MemoryStore:
    """Put expired records into a store."""
    for number in range(count):
        store.create(Record(f"id-{number}", b"stored-value", clock.now()))
    return store


def threads_of_sweepers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "sweeper" in thread.name]


class TestSweepOnce:
    def test_it_returns_how_many_records_it_removed(self) -> None:
        store = filled(MemoryStore(), 3)
        store.create(Record("live", b"", clock.now() + 60_000))
        assert Sweeper(store, _NEVER).sweep_once() == 3
        assert store.load("live") is not None

    def test_it_works_in_batches_until_one_is_not_full(self) -> None:
        store = CountingStore()
        filled(store, 5)
        assert Sweeper(store, _NEVER, batch=2).sweep_once() == 5
        assert store.limits == [2, 2, 2]

    def test_it_hands_each_batch_to_the_callback(self) -> None:
        batches: list[list[Record]] = []
        store = filled(MemoryStore(), 3)
        Sweeper(store, _NEVER, on_deleted=batches.append, batch=2).sweep_once()
        assert [[record.id for record in batch] for batch in batches] == [["id-0", "id-1"], ["id-2"]]
        assert batches[0][0].payload == b"stored-value"

    def test_it_calls_nobody_when_nothing_has_expired(self) -> None:
        Sweeper(MemoryStore(), _NEVER, on_deleted=lambda records: pytest.fail("called")).sweep_once()

    def test_it_raises_what_the_store_raises(self) -> None:
        with pytest.raises(StoreError, match="down"):
            Sweeper(CountingStore(StoreError("down")), _NEVER).sweep_once()

    def test_it_spares_what_was_renewed_since(self) -> None:
        with ReplacedClock() as replaced:
            store = MemoryStore()
            record = Record("id", b"", replaced.now() + 1000)
            store.create(record)
            sweeper = Sweeper(store, _NEVER)
            assert sweeper.sweep_once() == 0
            store.save(replace(record, expires=record.expires + 1000))
            replaced.set(record.expires)
            assert sweeper.sweep_once() == 0
            assert store.load("id") is not None

    def test_it_works_after_a_stop(self) -> None:
        store = filled(MemoryStore(), 3)
        sweeper = Sweeper(store, _NEVER, batch=1)
        sweeper.start()
        sweeper.stop()
        assert sweeper.sweep_once() == 3

    def test_a_callback_that_fails_keeps_no_batch_from_being_removed(self, caplog: pytest.LogCaptureFixture) -> None:
        def fail(records: list[Record]) -> None:
            raise RuntimeError(repr(records[0].payload))

        store = filled(MemoryStore(), 3)
        assert Sweeper(store, _NEVER, on_deleted=fail, batch=2).sweep_once() == 3
        assert [(line.name, line.levelno) for line in caplog.records] == [("wsgi_sessions", logging.ERROR)] * 2
        assert "RuntimeError in " in caplog.text
        assert "test_sweeper.py" in caplog.text

    def test_a_callback_that_fails_puts_no_stored_value_in_the_log(self, caplog: pytest.LogCaptureFixture) -> None:
        def fail(records: list[Record]) -> None:
            raise RuntimeError(repr(records[0].payload))

        Sweeper(filled(MemoryStore(), 1), _NEVER, on_deleted=fail).sweep_once()
        assert caplog.records
        assert "stored-value" not in caplog.text


class TestThread:
    def test_there_is_none_before_the_start(self) -> None:
        Sweeper(MemoryStore(), _TINY)
        assert threads_of_sweepers() == []

    def test_it_sweeps_once_per_period(self) -> None:
        announced: list[str] = []
        store, done = filled(MemoryStore(), 1), threading.Event()

        def announce(records: list[Record]) -> None:
            announced.extend(record.id for record in records)
            if len(announced) == 2:
                done.set()
            else:
                store.create(Record("later", b"", clock.now()))

        with Sweeper(store, _TINY, on_deleted=announce):
            assert done.wait(_TIMEOUT)
        assert announced == ["id-0", "later"]

    def test_the_first_sweep_comes_after_one_period(self) -> None:
        store = CountingStore()
        with Sweeper(store, _NEVER):
            assert len(threads_of_sweepers()) == 1
        assert store.limits == []

    def test_it_is_a_daemon(self) -> None:
        with Sweeper(MemoryStore(), _NEVER):
            assert [thread.daemon for thread in threads_of_sweepers()] == [True]

    def test_many_starts_make_one(self) -> None:
        sweeper = Sweeper(MemoryStore(), _NEVER)
        starters = [threading.Thread(target=sweeper.start) for _ in range(8)]
        for starter in starters:
            starter.start()
        for starter in starters:
            starter.join()
        assert len(threads_of_sweepers()) == 1
        sweeper.stop()

    def test_a_stop_is_prompt_and_may_be_repeated(self) -> None:
        sweeper = Sweeper(MemoryStore(), _NEVER)
        sweeper.stop()
        sweeper.start()
        sweeper.stop()
        assert threads_of_sweepers() == []
        sweeper.stop()

    def test_it_starts_again_after_a_stop(self) -> None:
        store = CountingStore()
        sweeper = Sweeper(store, _TINY)
        sweeper.start()
        sweeper.stop()
        store.swept.clear()
        with sweeper:
            assert store.swept.wait(_TIMEOUT)

    def test_a_stop_comes_between_two_batches(self) -> None:
        reached, stopped = threading.Event(), threading.Event()

        def wait_for_stop(records: list[Record]) -> None:
            reached.set()
            stopped.wait(_TIMEOUT)

        store = filled(MemoryStore(), 10)
        sweeper = Sweeper(store, _TINY, on_deleted=wait_for_stop, batch=1)
        sweeper.start()
        assert reached.wait(_TIMEOUT)
        threading.Timer(0.01, stopped.set).start()
        sweeper.stop()
        assert len(store.delete_expired()) == 9

    def test_a_stop_waits_no_longer_than_it_was_told(self, caplog: pytest.LogCaptureFixture) -> None:
        reached, release = threading.Event(), threading.Event()

        def hang(records: list[Record]) -> None:
            reached.set()
            release.wait(_TIMEOUT)

        sweeper = Sweeper(filled(MemoryStore(), 1), _TINY, on_deleted=hang)
        sweeper.start()
        assert reached.wait(_TIMEOUT)
        (thread,) = threads_of_sweepers()
        sweeper.stop(timedelta(0))
        assert "still at its last batch" in caplog.text
        release.set()
        thread.join(_TIMEOUT)
        assert not thread.is_alive()

    def test_the_callback_may_stop_it(self) -> None:
        stopped = threading.Event()

        def stop(records: list[Record]) -> None:
            sweeper.stop()
            stopped.set()

        store = filled(MemoryStore(), 3)
        sweeper = Sweeper(store, _TINY, on_deleted=stop, batch=1)
        sweeper.start()
        (thread,) = threads_of_sweepers()
        assert stopped.wait(_TIMEOUT)
        thread.join(_TIMEOUT)
        assert not thread.is_alive()
        assert len(store.delete_expired()) == 2

    def test_it_survives_store_errors_with_one_line_each(self, caplog: pytest.LogCaptureFixture) -> None:
        store = CountingStore(StoreError("the store is down"), StoreError("the store is still down"))
        with Sweeper(store, _TINY):
            assert store.swept.wait(_TIMEOUT)
        assert [line.name for line in caplog.records] == ["wsgi_sessions"] * 2
        assert "StoreError: the store is down" in caplog.messages[0]
        assert "StoreError: the store is still down" in caplog.messages[1]

    def test_it_survives_errors_that_no_store_should_raise(self, caplog: pytest.LogCaptureFixture) -> None:
        store = CountingStore(KeyError("stored-value"))
        with Sweeper(store, _TINY):
            assert store.swept.wait(_TIMEOUT)
        (line,) = caplog.messages
        assert "KeyError in " in line
        assert "stored-value" not in line

    def test_it_survives_errors_of_the_callback(self) -> None:
        store = CountingStore()
        filled(store, 1)
        called = threading.Event()

        def fail(records: list[Record]) -> None:
            store.swept.clear()
            called.set()
            raise RuntimeError("of the callback")

        with Sweeper(store, _TINY, on_deleted=fail):
            assert called.wait(_TIMEOUT)
            # The sweep after the one that failed.
            assert store.swept.wait(_TIMEOUT)

    def test_periods_differ_by_a_tenth_at_most(self) -> None:
        sweeper = Sweeper(MemoryStore(), timedelta(seconds=100))
        pauses = [sweeper._pause() for _ in range(1000)]
        assert 90 <= min(pauses) < 95
        assert 105 < max(pauses) <= 110

    def test_a_period_longer_than_a_thread_can_wait_is_no_error(self) -> None:
        with Sweeper(MemoryStore(), timedelta.max):
            assert len(threads_of_sweepers()) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_forked_child_starts_a_thread_of_its_own() -> None:
    """As a server does that has served a request before it forks its workers."""
    with Sweeper(filled(MemoryStore(), 1), _NEVER) as sweeper:

        def in_child(_index: int, _start: Callable[[], object]) -> list[int]:
            inherited = len(threads_of_sweepers())
            sweeper.start()
            started = len(threads_of_sweepers())
            sweeper.stop()
            return [inherited, started, len(threads_of_sweepers())]

        assert in_processes(in_child, 1, _TIMEOUT) == [[0, 1, 0]]
        assert len(threads_of_sweepers()) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_stop_in_a_forked_child_leaves_the_thread_of_the_parent_alone() -> None:
    store = CountingStore()
    with Sweeper(store, _TINY) as sweeper:
        in_processes(lambda _index, _start: sweeper.stop(), 1, _TIMEOUT)
        store.swept.clear()
        assert store.swept.wait(_TIMEOUT)


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ({"every": 60}, TypeError, "timedelta"),
        ({"every": timedelta(0)}, ValueError, "longer"),
        ({"every": timedelta(seconds=-1)}, ValueError, "longer"),
        ({"every": _TINY, "batch": 0}, ValueError, "batch"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        Sweeper(MemoryStore(), **arguments)  # type: ignore[arg-type]
