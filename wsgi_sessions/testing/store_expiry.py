"""The part of the store contract about time: expiry, touch and the removal of expired records.

The replaced clock starts at the real time, so that a backend with a clock of
its own lets no record go before the test has its say.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from msgspec.structs import replace

from .. import clock
from ..exceptions import RecordExists, RecordNotFound
from ..record import Record
from ..stores.base import SessionStore
from .clock import ReplacedClock
from .store_hooks import HOUR, expected
from .store_operations import StoreOperations

_MILLISECOND = timedelta(milliseconds=1)
# Beyond what 32 bits of seconds hold: the year 2100.
_FAR_AWAY = 4_102_444_800_123


class StoreExpiry(StoreOperations):
    """What happens before, at and after the end of a record."""

    def test_expires_is_kept_to_the_millisecond(self) -> None:
        with self._opened() as store:
            moments = [clock.now() + HOUR + offset for offset in (0, 1, 999)] + [_FAR_AWAY]
            for expires in moments:
                store.create(replace(self._record(str(expires)), expires=expires))
            for expires in moments:
                record = self._loaded(store, str(expires))
                assert record.expires == expires
                assert store.save(replace(record, expires=expires + 1)).expires == expires + 1
                assert self._loaded(store, str(expires)).expires == expires + 1

    def test_a_record_is_live_until_the_millisecond_it_expires(self) -> None:
        with self._opened() as store, ReplacedClock() as replaced:
            record = self._created(store)
            replaced.set(record.expires - 1)
            self._assert_stored(store, record)
            replaced.advance(_MILLISECOND)
            assert store.load("id") is None
            replaced.advance(_MILLISECOND)
            assert store.load("id") is None

    def test_a_record_saved_in_its_last_millisecond_lives_on(self) -> None:
        with self._opened() as store, ReplacedClock() as replaced:
            record = self._created(store)
            replaced.set(record.expires - 1)
            saved = store.save(replace(record, expires=record.expires + HOUR))
            replaced.set(record.expires)
            self._assert_stored(store, saved)

    def test_save_of_an_expired_record_does_not_revive_it(self) -> None:
        with self._opened() as store, ReplacedClock() as replaced:
            record = self._created(store)
            replaced.set(record.expires)
            with expected(RecordNotFound):
                store.save(replace(record, expires=record.expires + HOUR))
            assert store.load("id") is None

    def test_save_with_a_past_expiry_ends_the_record(self) -> None:
        with self._opened() as store, ReplacedClock() as replaced:
            record = self._created(store)
            store.save(replace(record, expires=replaced.now()))
            assert store.load("id") is None

    def test_create_refuses_the_id_of_an_expired_record(self) -> None:
        self._skip_unless("expires_itself", False)
        with self._opened() as store, ReplacedClock() as replaced:
            record = self._created(store)
            replaced.set(record.expires)
            with expected(RecordExists):
                self._created(store, payload=b"other")
            assert store.load("id") is None

    def test_delete_of_an_expired_record_is_no_error(self) -> None:
        with self._opened() as store, ReplacedClock() as replaced:
            replaced.set(self._created(store).expires)
            store.delete("id")
            self._created(store)

    def test_touch_moves_the_expiry_both_ways(self) -> None:
        with self._opened() as store:
            record = self._created(store)
            for expires in (record.expires + HOUR + 1, record.expires - 1, record.expires + 999):
                assert store.touch("id", self._loaded(store).version, expires) is True
                assert self._loaded(store).expires == expires

    def test_touch_moves_nothing_but_the_expiry(self) -> None:
        with self._opened() as store:
            record = self._created(store, owner="somebody")
            store.touch("id", record.version, record.expires + 1)
            # The default touch is a save.
            version = record.version + (type(store).touch is SessionStore.touch)
            self._assert_stored(store, replace(record, expires=record.expires + 1, version=version))

    def test_touch_decides_when_the_record_ends(self) -> None:
        with self._opened() as store, ReplacedClock() as replaced:
            first, second = self._created(store, "first"), self._created(store, "second")
            store.touch("first", first.version, first.expires + HOUR)
            store.touch("second", second.version, second.expires - 2)
            replaced.set(second.expires - 2)
            assert store.load("second") is None
            replaced.set(first.expires)
            self._loaded(store, "first")
            replaced.set(first.expires + HOUR)
            assert store.load("first") is None

    def test_touch_of_an_old_version_changes_nothing(self) -> None:
        with self._opened() as store:
            record = self._created(store)
            saved = store.save(record)
            assert store.touch("id", record.version, record.expires + HOUR) is False
            self._assert_stored(store, saved)

    def test_touch_of_a_missing_record_inserts_nothing(self) -> None:
        with self._opened() as store:
            with expected(RecordNotFound):
                store.touch("id", 1, clock.now() + HOUR)
            assert store.load("id") is None
            self._created(store)

    def test_touch_after_delete_inserts_nothing(self) -> None:
        with self._opened() as store:
            record = self._created(store)
            store.delete("id")
            with expected(RecordNotFound):
                store.touch("id", record.version, record.expires)
            assert store.load("id") is None

    def test_touch_of_an_expired_record_does_not_revive_it(self) -> None:
        with self._opened() as store, ReplacedClock() as replaced:
            record = self._created(store)
            replaced.set(record.expires)
            with expected(RecordNotFound):
                store.touch("id", record.version, record.expires + HOUR)
            assert store.load("id") is None

    def test_delete_expired_returns_what_it_removed(self) -> None:
        self._skip_unless("expires_itself", False)
        with self._opened() as store, ReplacedClock() as replaced:
            record = store.save(self._created(store, payload=bytes(range(256)), owner="somebody"))
            replaced.set(record.expires)
            assert store.delete_expired() == [record]
            # Removed and not merely out of sight: the id is free again.
            self._created(store)

    def test_delete_expired_without_expired_records_removes_nothing(self) -> None:
        with self._opened() as store, ReplacedClock() as replaced:
            assert store.delete_expired() == []
            record = self._created(store)
            replaced.set(record.expires - 1)
            assert store.delete_expired() == []
            self._assert_stored(store, record)

    def test_delete_expired_spares_the_live(self) -> None:
        self._skip_unless("expires_itself", False)
        with self._opened() as store, ReplacedClock() as replaced:
            early = self._created(store, "early")
            late = replace(self._record("late"), expires=early.expires + 1)
            store.create(late)
            replaced.set(early.expires)
            assert store.delete_expired() == [early]
            self._assert_stored(store, late)

    def test_delete_expired_spares_what_a_touch_renewed(self) -> None:
        with self._opened() as store:
            self._check_spared(store, lambda record: store.touch(record.id, record.version, record.expires + HOUR))

    def test_delete_expired_spares_what_a_save_renewed(self) -> None:
        with self._opened() as store:
            self._check_spared(store, lambda record: store.save(replace(record, expires=record.expires + HOUR)))

    def test_delete_expired_finds_what_was_shortened(self) -> None:
        self._skip_unless("expires_itself", False)
        with self._opened() as store, ReplacedClock() as replaced:
            touched, saved = self._created(store, "touched"), self._created(store, "saved")
            sooner = replaced.now() + 1000
            store.touch("touched", touched.version, sooner)
            store.save(replace(saved, expires=sooner))
            replaced.set(sooner)
            assert {record.id for record in store.delete_expired()} == {"touched", "saved"}

    def test_delete_expired_returns_each_record_once(self) -> None:
        self._skip_unless("expires_itself", False)
        with self._opened() as store, ReplacedClock() as replaced:
            record = self._created(store)
            # Each change is another occasion to note down when the record ends.
            for offset in (-1, -2, 5, -3):
                record = store.save(replace(record, expires=record.expires + offset))
            self._created(store, "deleted")
            store.delete("deleted")
            replaced.advance(timedelta(days=1))
            assert store.delete_expired() == [record]
            assert store.delete_expired() == []

    def test_delete_expired_removes_at_most_its_limit(self) -> None:
        self._skip_unless("expires_itself", False)
        with self._opened() as store, ReplacedClock() as replaced:
            expired = [self._created(store, f"id-{index}") for index in range(5)]
            replaced.set(expired[-1].expires)
            assert len(store.delete_expired(2)) == 2
            assert len(self._drained(partial(store.delete_expired, 100))) == 3

    def test_delete_expired_drains_the_store_if_repeated(self) -> None:
        self._skip_unless("expires_itself", False)
        with self._opened() as store, ReplacedClock() as replaced:
            live = self._created(store, "live")
            store.touch("live", live.version, live.expires + HOUR)
            expired = [self._created(store, f"id-{index}") for index in range(7)]
            replaced.set(expired[-1].expires)
            removed = self._drained(partial(store.delete_expired, 3))
            assert sorted(record.id for record in removed) == [record.id for record in expired]
            self._loaded(store, "live")

    def _check_spared(self, store: SessionStore, renew: Callable[[Record], object]) -> None:
        with ReplacedClock() as replaced:
            record = self._created(store)
            # A sweep that looks once and removes later would remember this.
            assert store.delete_expired() == []
            renew(record)
            replaced.set(record.expires)
            assert store.delete_expired() == []
            assert self._loaded(store).expires == record.expires + HOUR

    def _drained(self, delete_expired: Callable[[], list[Record]]) -> list[Record]:
        removed: list[Record] = []
        while batch := delete_expired():
            removed += batch
            assert len(removed) < 1000, "delete_expired returns records without end"
        return removed
