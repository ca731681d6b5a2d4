from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from wsgi_sessions.exceptions import StoreError
from wsgi_sessions.record import Record
from wsgi_sessions.stores.memory import MemoryStore
from wsgi_sessions.testing import ReplacedClock, StoreContract

# After so long writes remove what nobody has swept.
_LONG = timedelta(minutes=11)


class TestMemoryStoreContract(StoreContract):
    def make_store(self) -> MemoryStore:
        return MemoryStore()


class TestMemoryStoreWithLimitContract(StoreContract):
    def make_store(self) -> MemoryStore:
        return MemoryStore(max_records=10_000)


def fill(store: MemoryStore, replaced: ReplacedClock, count: int, prefix: str = "id") -> list[Record]:
    """Create records that live for a second."""
    records = [Record(f"{prefix}-{number}", b"payload", replaced.now() + 1000) for number in range(count)]
    for record in records:
        store.create(record)
    return records


def heap_of(store: MemoryStore) -> list[tuple[int, str]]:
    return store._heap


def test_two_stores_have_nothing_in_common() -> None:
    with ReplacedClock() as replaced:
        one, other = MemoryStore(), MemoryStore()
        fill(one, replaced, 1)
        assert other.load("id-0") is None


def test_the_repr_tells_how_many_records_there_are() -> None:
    with ReplacedClock() as replaced:
        store = MemoryStore()
        fill(store, replaced, 3)
        assert repr(store) == "MemoryStore(3 records)"


class TestLimit:
    def test_a_new_record_is_refused_and_every_live_one_kept(self) -> None:
        with ReplacedClock() as replaced:
            store = MemoryStore(max_records=3)
            records = fill(store, replaced, 3)
            with pytest.raises(StoreError, match="3"):
                fill(store, replaced, 1, "new")
            assert [store.load(record.id) for record in records] == records
            assert store.load("new-0") is None

    def test_an_expired_record_makes_room(self) -> None:
        with ReplacedClock() as replaced:
            store = MemoryStore(max_records=3)
            expired = fill(store, replaced, 1, "expired")
            replaced.set(expired[0].expires - 1)
            live = fill(store, replaced, 2, "live")
            replaced.advance(timedelta(milliseconds=1))
            fill(store, replaced, 1, "new")
            with pytest.raises(StoreError):
                fill(store, replaced, 1, "newer")
            assert [store.load(record.id) for record in live] == live
            assert store.load("new-0") is not None

    def test_a_deleted_record_makes_room(self) -> None:
        with ReplacedClock() as replaced:
            store = MemoryStore(max_records=1)
            fill(store, replaced, 1)
            store.delete("id-0")
            fill(store, replaced, 1, "new")

    def test_a_full_store_still_saves(self) -> None:
        with ReplacedClock() as replaced:
            store = MemoryStore(max_records=1)
            (record,) = fill(store, replaced, 1)
            assert store.save(record).version == 2
            assert store.touch(record.id, 2, record.expires + 1)

    def test_a_record_that_was_renewed_is_not_taken_for_expired(self) -> None:
        with ReplacedClock() as replaced:
            store = MemoryStore(max_records=1)
            (record,) = fill(store, replaced, 1)
            store.touch(record.id, 1, record.expires + 60_000)
            replaced.set(record.expires)
            with pytest.raises(StoreError):
                fill(store, replaced, 1, "new")
            assert store.load(record.id) is not None

    @pytest.mark.parametrize("limit", [0, -1])
    def test_less_than_one_is_refused(self, limit: int) -> None:
        with pytest.raises(ValueError, match="max_records"):
            MemoryStore(max_records=limit)


class TestGrowth:
    def test_a_store_that_nobody_sweeps_does_not_grow_for_ever(self) -> None:
        with ReplacedClock() as replaced:
            store = MemoryStore()
            for round in range(20):
                fill(store, replaced, 100, str(round))
                replaced.advance(_LONG)
            # Those of the last two rounds at most.
            assert len(store.delete_expired(10_000)) <= 200
            assert len(heap_of(store)) <= 200

    def test_saves_remove_what_expired_long_ago(self) -> None:
        with ReplacedClock() as replaced:
            store = MemoryStore()
            kept = Record("kept", b"", replaced.now() + 10**9)
            store.create(kept)
            fill(store, replaced, 10)
            replaced.advance(_LONG)
            for _ in range(5):
                kept = store.save(kept)
            assert store.delete_expired() == []
            assert store.load("kept") == kept

    def test_what_has_just_expired_is_left_to_the_sweeper(self) -> None:
        with ReplacedClock() as replaced:
            store = MemoryStore()
            expired = fill(store, replaced, 10)
            replaced.advance(timedelta(minutes=5))
            fill(store, replaced, 10, "new")
            assert sorted(record.id for record in store.delete_expired()) == sorted(record.id for record in expired)

    def test_many_deletions_leave_nothing_behind(self) -> None:
        with ReplacedClock() as replaced:
            store = MemoryStore()
            records = fill(store, replaced, 5000)
            for record in records[10:]:
                store.delete(record.id)
            assert len(heap_of(store)) <= 1100
            replaced.advance(_LONG)
            assert store.delete_expired() == records[:10]

    def test_a_record_whose_expiry_goes_back_and_forth_leaves_nothing_behind(self) -> None:
        with ReplacedClock() as replaced:
            store = MemoryStore()
            (record,) = fill(store, replaced, 1)
            for _ in range(5000):
                store.touch(record.id, 1, record.expires + 60_000)
                store.touch(record.id, 1, record.expires)
            assert len(heap_of(store)) <= 1100
            replaced.set(record.expires)
            assert store.delete_expired() == [record]

    def test_saves_that_move_the_expiry_back_and_forth_leave_nothing_behind(self) -> None:
        with ReplacedClock() as replaced:
            store = MemoryStore()
            (record,) = fill(store, replaced, 1)
            for _ in range(3000):
                record = store.save(replace(record, expires=record.expires + 500))
                record = store.save(replace(record, expires=record.expires - 500))
            assert len(heap_of(store)) <= 1100
            replaced.set(record.expires)
            assert store.delete_expired() == [record]

    def test_one_write_does_not_pay_for_all_that_were_renewed(self) -> None:
        """Else a single request would wait, and all others with it, for a whole night's renewals."""
        with ReplacedClock() as replaced:
            store = MemoryStore()
            for record in fill(store, replaced, 5000):
                store.touch(record.id, 1, record.expires + 10**9)
            replaced.advance(_LONG)
            fill(store, replaced, 1, "new")
            assert sum(expires < replaced.now() for expires, _id in heap_of(store)) > 4900

    def test_a_sweep_finds_the_expired_behind_any_number_of_renewed_ones(self) -> None:
        with ReplacedClock() as replaced:
            store = MemoryStore()
            for record in fill(store, replaced, 5000):
                store.touch(record.id, 1, record.expires + 10**9)
            replaced.advance(timedelta(milliseconds=1))
            expired = fill(store, replaced, 2, "expired")
            replaced.advance(_LONG)
            assert store.delete_expired(2) == expired

    def test_records_created_while_the_heap_is_rebuilt_are_swept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with ReplacedClock() as replaced:
            store = MemoryStore()
            records = fill(store, replaced, 3000)
            entries = MemoryStore._entries

            def create_amid(self: MemoryStore) -> list[tuple[int, str]]:
                fill(store, replaced, 1, "before")
                found = entries(self)
                fill(store, replaced, 1, "after")
                return found

            for record in records[1:1500]:
                store.delete(record.id)
            monkeypatch.setattr(MemoryStore, "_entries", create_amid)
            store._rebuild_heap()
            replaced.advance(_LONG)
            removed = {record.id for record in store.delete_expired(10_000)}
            assert removed == {"before-0", "after-0", records[0].id, *(record.id for record in records[1500:])}


def test_a_save_that_shortens_a_life_is_noticed_by_the_sweep() -> None:
    with ReplacedClock() as replaced:
        store = MemoryStore()
        record = Record("id", b"", replaced.now() + 10**9)
        store.create(record)
        saved = store.save(replace(record, expires=replaced.now() + 1000))
        replaced.advance(timedelta(seconds=1))
        assert store.delete_expired() == [saved]
