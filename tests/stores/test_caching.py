"""A cache in front of a store: what it answers, what it must not, and what happens without it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from cachelib import BaseCache, SimpleCache
from harness import RecordingStore
from msgspec.structs import replace

from wsgi_sessions import CachingStore, MemoryStore, Record, RecordNotFound, StoreError, VersionConflict, clock
from wsgi_sessions.testing import ReplacedClock
from wsgi_sessions.testing.parallel import in_processes

HOUR = 3_600_000
STALENESS = timedelta(seconds=10)
MILLISECOND = timedelta(milliseconds=1)


class BrokenCache(BaseCache):
    """Raises whatever it is asked, or fails without a word."""

    def __init__(self, *, silent: bool) -> None:
        super().__init__()
        self._silent = silent

    def _fail(self, answer: Any) -> Any:
        if self._silent:
            return answer
        raise OSError("no route to host")

    def get(self, key: str) -> Any:
        return self._fail(None)

    def set(self, key: str, value: Any, timeout: Any = None) -> Any:
        return self._fail(False)

    def add(self, key: str, value: Any, timeout: Any = None) -> Any:
        return self._fail(False)

    def delete(self, key: str) -> Any:
        return self._fail(False)


@pytest.fixture
def store() -> RecordingStore:
    """What is behind the cache."""
    return RecordingStore()


@pytest.fixture
def caching(store: RecordingStore) -> CachingStore:
    return CachingStore(SimpleCache(), store, max_staleness=STALENESS)


@pytest.fixture
def time() -> Iterator[ReplacedClock]:
    with ReplacedClock() as clock:
        yield clock


@pytest.fixture
def record(caching: CachingStore, store: RecordingStore) -> Record:
    """A record that has just been created; nothing is logged yet."""
    record = Record("id", b"payload", clock.now() + HOUR, owner="anna")
    caching.create(record)
    store.forget()
    return record


class TestReading:
    def test_the_second_load_asks_nobody(self, caching: CachingStore, store: RecordingStore, record: Record) -> None:
        assert caching.load("id") == caching.load("id") == record
        assert store.methods == ["load"]

    def test_what_is_not_there_is_asked_for_each_time(self, caching: CachingStore, store: RecordingStore) -> None:
        assert caching.load("missing") is None
        assert caching.load("missing") is None
        assert store.methods == ["load", "load"]

    def test_it_is_answered_until_it_is_too_old(
        self, time: ReplacedClock, caching: CachingStore, store: RecordingStore, record: Record
    ) -> None:
        caching.load("id")
        time.advance(STALENESS - MILLISECOND)
        caching.load("id")
        assert store.methods == ["load"]
        time.advance(MILLISECOND)
        assert caching.load("id") == record
        assert store.methods == ["load", "load"]
        # By its own clock, it has forgotten it by then.
        caching._cache.given.clear()
        caching.load("id")
        caching.load("id")
        assert store.methods == ["load", "load", "load"]

    def test_the_cache_is_told_to_forget_it_before_it_is_too_old(self, store: RecordingStore, record: Record) -> None:
        """Or what is too old would keep what is new from being cached."""
        cache = SimpleCache()
        for staleness, most in ((STALENESS, 10), (MILLISECOND, 1), (timedelta(seconds=2.9), 2)):
            cache.clear()
            CachingStore(cache, store, max_staleness=staleness).load("id")
            ((ends, _),) = cache._cache.values()
            assert most - 1 < ends - clock.now() / 1000 <= most

    def test_it_is_not_answered_beyond_its_end(
        self, time: ReplacedClock, caching: CachingStore, store: RecordingStore
    ) -> None:
        caching.create(Record("id", b"payload", clock.now() + 1000))
        caching.load("id")
        time.advance(timedelta(seconds=1))
        assert caching.load("id") is None

    def test_a_clock_that_was_put_back_makes_nothing_last_longer(
        self, time: ReplacedClock, caching: CachingStore, store: RecordingStore, record: Record
    ) -> None:
        caching.load("id")
        store.forget()
        time.set(time.now() - HOUR // 2)
        assert caching.load("id") == record
        assert store.methods == ["load"]

    def test_a_value_that_is_none_of_ours_is_a_miss(self, store: RecordingStore) -> None:
        cache = SimpleCache()
        caching = CachingStore(cache, store, max_staleness=STALENESS)
        record = Record("id", b"payload", clock.now() + HOUR)
        caching.create(record)
        caching.load("id")
        (key,) = cache._cache
        for value in (b"", b"x", b"0" * 16, b"9" * 60, "text", None, 5):
            cache._cache[key] = (0, value)
            assert caching.load("id") == record


class TestWriting:
    def test_a_save_is_seen_at_once(self, caching: CachingStore, record: Record) -> None:
        caching.load("id")
        saved = caching.save(replace(record, payload=b"saved"))
        assert caching.load("id") == saved

    def test_a_touch_is_seen_at_once(self, caching: CachingStore, record: Record) -> None:
        caching.load("id")
        assert caching.touch("id", record.version, record.expires + 5) is True
        assert caching.load("id") == replace(record, expires=record.expires + 5)

    def test_a_delete_is_seen_at_once(self, caching: CachingStore, record: Record) -> None:
        caching.load("id")
        caching.delete("id")
        assert caching.load("id") is None

    def test_what_was_just_written_is_not_cached_for_a_while(
        self, caching: CachingStore, store: RecordingStore, record: Record
    ) -> None:
        """Until every load that began before the write has ended."""
        caching.save(record)
        store.forget()
        caching.load("id")
        caching.load("id")
        assert store.methods == ["load", "load"]

    @pytest.mark.parametrize(
        "write",
        [
            lambda caching, record: caching.save(record),
            lambda caching, record: caching.touch("id", record.version, record.expires),
        ],
    )
    def test_whoever_was_too_late_learns_the_newest(
        self, caching: CachingStore, store: RecordingStore, record: Record, write: Callable[..., Any]
    ) -> None:
        caching.load("id")
        newest = store.inner.save(replace(record, payload=b"of another process"))
        with suppress(VersionConflict):
            assert write(caching, record) is False
        assert caching.load("id") == newest

    @pytest.mark.parametrize(
        "write",
        [
            lambda caching, record: caching.save(record),
            lambda caching, record: caching.touch("id", record.version, record.expires),
        ],
    )
    def test_whoever_writes_to_what_was_ended_elsewhere_learns_it(
        self, caching: CachingStore, store: RecordingStore, record: Record, write: Callable[..., Any]
    ) -> None:
        caching.load("id")
        store.inner.delete("id")
        with pytest.raises(RecordNotFound):
            write(caching, record)
        assert caching.load("id") is None

    @pytest.mark.parametrize("method", ["save", "touch", "delete"])
    def test_a_write_that_failed_leaves_nothing_in_the_cache(
        self, caching: CachingStore, store: RecordingStore, record: Record, method: str
    ) -> None:
        """It may have happened all the same."""
        caching.load("id")
        store.fail(method)
        with pytest.raises(StoreError):
            {
                "save": lambda: caching.save(record),
                "touch": lambda: caching.touch("id", 1, record.expires),
                "delete": lambda: caching.delete("id"),
            }[method]()
        store.forget()
        caching.load("id")
        assert store.methods == ["load"]


class SlowStore(MemoryStore):
    """Its load reads, and returns what it read when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.has_read, self.may_return = threading.Event(), threading.Event()
        self.may_return.set()

    def load(self, id: str) -> Record | None:
        record = super().load(id)
        self.has_read.set()
        assert self.may_return.wait(20)
        return record


@pytest.mark.parametrize("write", ["save", "delete", "touch"])
def test_a_load_that_began_before_a_write_does_not_fill_the_cache_after_it(write: str) -> None:
    """Seed trap 13."""
    store, cache = SlowStore(), SimpleCache()
    # Two processes' worth of stores, with one cache.
    one, other = (CachingStore(cache, store, max_staleness=STALENESS) for _ in range(2))
    record = Record("id", b"payload", clock.now() + HOUR)
    one.create(record)
    store.may_return.clear()
    loaded: list[Record | None] = []
    thread = threading.Thread(target=lambda: loaded.append(one.load("id")))
    thread.start()
    assert store.has_read.wait(20)
    if write == "save":
        other.save(replace(record, payload=b"saved"))
    elif write == "delete":
        other.delete("id")
    else:
        other.touch("id", 1, record.expires + 1)
    store.may_return.set()
    thread.join(20)
    assert loaded == [record]
    newest = store.load("id")
    assert newest != record
    assert one.load("id") == other.load("id") == newest


def test_a_load_that_finds_something_too_old_does_not_remove_the_mark_of_a_logout() -> None:
    has_looked, may_go_on = threading.Event(), threading.Event()
    store = SlowStore()
    caching = CachingStore(SimpleCache(), store, max_staleness=STALENESS)
    get = caching._cache.get

    def paused_get(key: str) -> bytes | None:
        value = get(key)
        if threading.current_thread().name == "too old":
            has_looked.set()
            assert may_go_on.wait(20)
        return value

    caching._cache.get = paused_get  # type: ignore[method-assign]
    caching.create(Record("id", b"payload", clock.now() + HOUR))
    with ReplacedClock() as time:
        caching.load("id")
        time.advance(STALENESS)
        first = threading.Thread(target=lambda: caching.load("id"), name="too old")
        first.start()
        assert has_looked.wait(20)
        # Another one has read what is stored, and is about to put it into the cache.
        store.has_read.clear()
        store.may_return.clear()
        second = threading.Thread(target=lambda: caching.load("id"))
        second.start()
        assert store.has_read.wait(20)
        caching.delete("id")
        may_go_on.set()
        store.may_return.set()
        first.join(20)
        second.join(20)
        assert caching.load("id") is None


@pytest.mark.parametrize("silent", [False, True])
class TestBrokenCache:
    @pytest.fixture
    def caching(self, store: RecordingStore, silent: bool) -> CachingStore:
        return CachingStore(BrokenCache(silent=silent), store, max_staleness=STALENESS)

    def test_everything_works_without_it(self, caching: CachingStore, record: Record) -> None:
        """Seed trap 13: a cache that is down is a miss, not an outage."""
        assert caching.load("id") == record
        saved = caching.save(replace(record, payload=b"saved"))
        assert caching.load("id") == saved
        assert caching.touch("id", 2, saved.expires + 1) is True
        caching.delete("id")
        assert caching.load("id") is None

    def test_it_is_told_once_a_minute(
        self, time: ReplacedClock, caching: CachingStore, record: Record, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(5):
            caching.load("id")
            caching.save(caching.load("id") or record)
        assert len(caplog.records) == 1
        assert caplog.records[0].levelno == logging.WARNING
        time.advance(timedelta(seconds=61))
        caching.delete("id")
        assert len(caplog.records) == 2

    def test_a_store_that_fails_is_an_outage_all_the_same(
        self, caching: CachingStore, store: RecordingStore, record: Record
    ) -> None:
        store.fail_always()
        for use in (
            lambda: caching.load("id"),
            lambda: caching.save(record),
            lambda: caching.delete("id"),
            lambda: caching.create(record),
        ):
            with pytest.raises(StoreError, match="told to fail"):
                use()


def test_it_promises_what_its_store_promises(store: RecordingStore) -> None:
    store.atomic, store.shared, store.enumerable, store.expires_itself = False, True, False, True
    caching = CachingStore(SimpleCache(), store, max_staleness=STALENESS)
    assert (caching.atomic, caching.shared, caching.enumerable, caching.expires_itself) == (False, True, False, True)


def test_owners_scans_and_sweeps_are_the_stores(caching: CachingStore, store: RecordingStore, record: Record) -> None:
    assert list(caching.scan()) == caching.find_by_owner("anna") == [record]
    with ReplacedClock() as time:
        time.set(record.expires)
        assert caching.delete_expired(7) == [record]


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"max_staleness": 5}, TypeError, "max_staleness must be a timedelta"),
        ({"max_staleness": timedelta(0)}, ValueError, "max_staleness must be positive"),
        ({"cache": {}}, TypeError, "cache must be a cachelib cache"),
        ({"store": SimpleCache()}, TypeError, "store must be a SessionStore"),
        ({"cache": lambda: "cache"}, TypeError, "cache must be a cachelib cache"),
    ],
)
def test_wrong_arguments_are_refused(arguments: Any, error: type[Exception], said: str) -> None:
    given = {"cache": SimpleCache(), "store": MemoryStore(), "max_staleness": STALENESS, **arguments}
    with pytest.raises(error, match=said):
        CachingStore(given["cache"], given["store"], max_staleness=given["max_staleness"])


def test_there_is_no_staleness_that_nobody_chose() -> None:
    with pytest.raises(TypeError, match="max_staleness"):
        CachingStore(SimpleCache(), MemoryStore())  # type: ignore[call-arg]


def test_a_repr_tells_both(caching: CachingStore) -> None:
    assert repr(CachingStore(SimpleCache(), MemoryStore(), max_staleness=STALENESS)) == (
        "CachingStore(SimpleCache, MemoryStore(0 records))"
    )


class HiccupCache(SimpleCache):
    """Fails while it is down, after a while."""

    def __init__(self) -> None:
        super().__init__()
        # The copy of it that a store uses has the same one.
        self.down = threading.Event()

    def _answer(self) -> None:
        if self.down.is_set():
            clock.sleep(1)
            raise OSError("no answer")

    def get(self, key: str) -> Any:
        self._answer()
        return super().get(key)

    def set(self, key: str, value: Any, timeout: Any = None) -> Any:
        self._answer()
        return super().set(key, value, timeout)


def test_a_logout_while_the_cache_is_left_alone_is_told_to_it_before_it_is_used_again(record: Record) -> None:
    store, cache = MemoryStore(), HiccupCache()
    # Two processes' worth of stores, with one cache.
    one, other = (CachingStore(cache, store, max_staleness=timedelta(hours=1)) for _ in range(2))
    store.create(record)
    with ReplacedClock() as time:
        assert one.load("id") == record
        cache.down.set()
        assert one.load("id") == record
        cache.down.clear()
        one.delete("id")
        assert other.load("id") == record
        assert one.load("id") is None
        time.advance(timedelta(seconds=6))
        assert one.load("another") is None
        assert one.load("id") is None
        assert other.load("id") is None


def test_a_forked_child_does_not_wait_for_a_thread_that_it_does_not_have() -> None:
    """As where a server forks without Python's knowledge."""
    caching = CachingStore(SimpleCache(), MemoryStore(), max_staleness=STALENESS)
    with caching._cache._lock:
        assert in_processes(lambda _index, _start: caching.load("id") is None, 1, 5) == [True]
