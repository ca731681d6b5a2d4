"""The part of the store contract about finding records: all of them, or those of one user."""

from __future__ import annotations

from msgspec.structs import replace

from ..record import Record
from ..stores.base import SessionStore
from .clock import ReplacedClock
from .store_expiry import StoreExpiry
from .store_hooks import HOUR, expected

# An owner is exact text, or one user is shown, and may log out, the sessions of another.
_OWNERS = [
    *("bob", "Bob", "BOB", "bob ", " bob", "b", "bo%", "b_b", "%", "_", "*", "b*", "'", '"', "\\", "';--", "a:b"),
    *("J\u00fcrgen", "Ju\u0308rgen", "Jurgen", "\u7528\u6237", "\U0001f600", "stra\u00dfe", "strasse", "\u0130", "i"),
    *("1", "1.0", "null", "{}", "a" * 254, "a" * 255, "\u00e9" * 255),
]


class StoreListing(StoreExpiry):
    """What ``scan`` and ``find_by_owner`` find."""

    def test_any_owner_comes_back_as_it_was(self) -> None:
        with self._opened() as store:
            for index, owner in enumerate(_OWNERS):
                self._created(store, f"id-{index}", owner=owner)
            for index, owner in enumerate(_OWNERS):
                assert self._loaded(store, f"id-{index}").owner == owner

    def test_scan_of_an_empty_store_yields_nothing(self) -> None:
        self._skip_unless("enumerable", True)
        with self._opened() as store:
            assert list(store.scan()) == []

    def test_scan_yields_each_record_once_and_whole(self) -> None:
        self._skip_unless("enumerable", True)
        with self._opened() as store:
            records = [self._created(store, f"id-{index:02}", bytes([index]), owner="somebody") for index in range(20)]
            records[3] = store.save(replace(records[3], payload=b"saved"))
            store.delete("id-19")
            assert self._scanned(store) == records[:19]

    def test_scan_yields_no_expired_record(self) -> None:
        self._skip_unless("enumerable", True)
        with self._opened() as store, ReplacedClock() as replaced:
            expired = self._created(store, "expired")
            live = replace(self._record("live"), expires=expired.expires + 1)
            store.create(live)
            replaced.set(expired.expires)
            assert self._scanned(store) == [live]

    def test_scan_outlives_changes_made_meanwhile(self) -> None:
        self._skip_unless("enumerable", True)
        with self._opened() as store:
            for index in range(20):
                self._created(store, f"id-{index}")
            seen = []
            for record in store.scan():
                seen.append(record.id)
                if len(seen) == 15:
                    break
                # One of those to come, or one of those that were there.
                store.delete(f"id-{len(seen) * 7 % 20}")
                self._created(store, f"new-{2 * len(seen)}")
                self._created(store, f"new-{2 * len(seen) + 1}")
            assert len(seen) == len(set(seen))

    def test_find_by_owner_finds_the_live_records_of_that_owner(self) -> None:
        self._skip_unless("enumerable", True)
        with self._opened() as store, ReplacedClock() as replaced:
            expired = self._created(store, "expired", owner="somebody")
            replaced.set(expired.expires)
            records = [self._created(store, f"id-{index}", bytes([index]), owner="somebody") for index in range(3)]
            self._created(store, "of nobody")
            self._created(store, "of another", owner="another")
            assert self._owned(store, "somebody") == records
            assert self._owned(store, "unknown") == []

    def test_find_by_owner_tells_any_two_owners_apart(self) -> None:
        self._skip_unless("enumerable", True)
        with self._opened() as store:
            for index, owner in enumerate(_OWNERS):
                self._created(store, f"id-{index}", owner=owner)
            for index, owner in enumerate(_OWNERS):
                assert [record.id for record in self._owned(store, owner)] == [f"id-{index}"], (
                    f"for the owner {owner!r}"
                )

    def test_find_by_owner_follows_a_change_of_owner(self) -> None:
        self._skip_unless("enumerable", True)
        with self._opened() as store:
            record = self._created(store)
            for owner in ("first", "second", "first"):
                record = store.save(replace(record, owner=owner))
                assert self._owned(store, owner) == [record]
                assert self._owned(store, "second" if owner == "first" else "first") == []
            store.save(replace(record, owner=None))
            assert self._owned(store, "first") == []

    def test_find_by_owner_finds_what_was_saved_and_touched(self) -> None:
        self._skip_unless("enumerable", True)
        with self._opened() as store, ReplacedClock() as replaced:
            record = store.save(replace(self._created(store, owner="somebody"), payload=b"saved"))
            store.touch("id", record.version, record.expires + HOUR)
            # An index that remembers the first expiry would have lost it here.
            replaced.set(record.expires)
            assert self._owned(store, "somebody") == [self._loaded(store)]

    def test_find_by_owner_finds_nothing_that_was_deleted(self) -> None:
        self._skip_unless("enumerable", True)
        with self._opened() as store:
            self._created(store, owner="somebody")
            other = self._created(store, "other", owner="somebody")
            store.delete("id")
            assert self._owned(store, "somebody") == [other]
            # The id may come back, but not to its former owner.
            self._created(store)
            assert self._owned(store, "somebody") == [other]

    def test_a_store_that_cannot_list_says_so(self) -> None:
        self._skip_unless("enumerable", False)
        with self._opened() as store:
            with expected(NotImplementedError):
                list(store.scan())
            with expected(NotImplementedError):
                store.find_by_owner("somebody")

    def _scanned(self, store: SessionStore) -> list[Record]:
        return sorted(store.scan(), key=lambda record: record.id)

    def _owned(self, store: SessionStore, owner: str) -> list[Record]:
        return sorted(store.find_by_owner(owner), key=lambda record: record.id)
