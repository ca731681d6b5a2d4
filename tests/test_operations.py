"""Ending a user's sessions, counting, moving to another store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from backends import empty_store
from msgspec.structs import replace

from wsgi_sessions import MemoryStore, Record, RecordNotFound, SessionStore, StoreError, clock
from wsgi_sessions.legacy import LegacySession
from wsgi_sessions.notes import ENDED, Note, encode_note, encode_origin, imported_record, note_id, origin_id, salt_id
from wsgi_sessions.operations import Statistics, copy, revoke, statistics
from wsgi_sessions.record import SCHEMA
from wsgi_sessions.testing.parallel import in_threads

HOUR = 3_600_000
KINDS = ("memory", "file", "sqlite", "postgresql", "mariadb", "redis", "redis-cluster", "redis-cache-before-postgresql")


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest) -> Iterator[SessionStore]:
    with empty_store(request.param) as store:
        yield store


def created(store: SessionStore, id: str, owner: str | None = None, payload: bytes = b"payload") -> Record:
    record = Record(id, payload, clock.now() + HOUR, owner=owner)
    store.create(record)
    return record


class TestRevoke:
    def test_it_ends_all_sessions_of_a_user_but_one(self, store: SessionStore) -> None:
        for number in range(3):
            created(store, f"anna-{number}", "anna")
        created(store, "of another", "bert")
        created(store, "of nobody")
        assert revoke(store, "anna", keep="anna-1") == 2
        assert sorted(record.id for record in store.scan()) == ["anna-1", "of another", "of nobody"]

    def test_without_keep_it_ends_all(self, store: SessionStore) -> None:
        for number in range(3):
            created(store, f"anna-{number}", "anna")
        assert revoke(store, "anna") == 3
        assert revoke(store, "anna") == 0
        assert store.find_by_owner("anna") == []

    def test_to_keep_anothers_session_saves_none_of_the_users(self, store: SessionStore) -> None:
        created(store, "anna-0", "anna")
        created(store, "of another", "bert")
        assert revoke(store, "anna", keep="of another") == 1

    def test_a_save_on_its_way_brings_nothing_back(self, store: SessionStore) -> None:
        record = created(store, "anna-0", "anna")
        assert revoke(store, "anna") == 1
        with pytest.raises(RecordNotFound):
            store.save(record)
        with pytest.raises(RecordNotFound):
            store.touch(record.id, record.version, record.expires + HOUR)
        assert store.load(record.id) is None

    def test_it_misses_no_session_that_was_there_while_others_write(self, store: SessionStore) -> None:
        """Sessions are saved, given to the user and created all the time; those of the time before the call end."""
        for number in range(10):
            created(store, f"anna-{number}", "anna")

        def work(index: int, start: object) -> list[str]:
            start()  # type: ignore[operator]
            if index == 0:
                revoke(store, "anna")
                return []
            survived = []
            for number in range(10):
                record = store.load(f"anna-{number}")
                if record is None:
                    continue
                try:
                    store.save(record)
                except Exception as error:
                    survived += [] if type(error).__name__ in ("VersionConflict", "RecordNotFound") else [repr(error)]
            return survived

        assert in_threads(work, 4, 30.0) == [[], [], [], []]
        assert store.find_by_owner("anna") == []

    def test_a_login_during_the_call_ends_too(self) -> None:
        class LoggingIn(MemoryStore):
            """Somebody logs in while the first of the sessions is being deleted."""

            def delete(self, id: str) -> None:
                if self.load("the login") is None and id != "the login":
                    created(self, "the login", "anna")
                super().delete(id)

        store = LoggingIn()
        created(store, "anna-0", "anna")
        assert revoke(store, "anna") == 2
        assert list(store.scan()) == []

    def test_a_store_that_deletes_nothing_is_no_success(self) -> None:
        class Keeping(MemoryStore):
            def delete(self, id: str) -> None:
                """Claim to have deleted."""

        store = Keeping()
        created(store, "anna-0", "anna")
        with pytest.raises(StoreError, match="kept appearing"):
            revoke(store, "anna")

    def test_a_failure_is_no_success(self) -> None:
        class Failing(MemoryStore):
            def delete(self, id: str) -> None:
                raise StoreError("down")

        store = Failing()
        created(store, "anna-0", "anna")
        with pytest.raises(StoreError, match="down"):
            revoke(store, "anna")


class TestStatistics:
    def test_it_counts(self, store: SessionStore) -> None:
        first = created(store, "1", "anna", b"12345")
        created(store, "2", "anna", b"1")
        store.create(Record("3", b"123", first.expires + 5_000))
        store.create(Record("4", b"", first.expires - 5_000, owner="bert"))
        assert statistics(store) == Statistics(4, 3, 2, 9, 5, first.expires - 5_000, first.expires + 5_000, 0)

    def test_it_tells_who_was_imported_and_has_not_come_yet(self) -> None:
        store, end = MemoryStore(), clock.now() + HOUR
        for name in ("anna", "bert"):
            store.create(imported_record("shelf", name, LegacySession(data={"user": name}), end))
        store.create(Record(note_id("shelf", "carl"), encode_note(Note(SCHEMA, "taken over", 1)), end))
        store.create(Record(note_id("shelf", "dora"), encode_note(Note(SCHEMA, ENDED, 0)), end))
        store.create(Record(origin_id("a session"), encode_origin(["an id"]), end))
        store.create(Record(salt_id("a session"), bytes(16), end))
        created(store, "a session", "carl")
        found = statistics(store)
        assert (found.sessions, found.waiting) == (1, 2)

    def test_an_empty_store_has_no_ends(self, store: SessionStore) -> None:
        assert statistics(store) == Statistics(0, 0, 0, 0, 0, None, None, 0)


class TestCopy:
    def test_all_fields_arrive_and_a_second_time_changes_nothing(self, store: SessionStore) -> None:
        source = MemoryStore()
        records = [
            replace(created(source, str(number), "anna" if number % 2 else None), version=1) for number in range(5)
        ]
        records[2] = source.save(replace(records[2], payload=b"saved"))
        assert copy(source, store) == 5
        assert sorted(store.scan(), key=lambda record: record.id) == records
        assert [record.id for record in sorted(store.find_by_owner("anna"), key=lambda record: record.id)] == ["1", "3"]
        newer = store.save(replace(records[0], payload=b"newer"))
        assert copy(source, store) == 0
        assert store.load("0") == newer

    def test_a_store_that_cannot_list_says_so(self) -> None:
        with empty_store("simple-cache") as source:
            with pytest.raises(NotImplementedError):
                copy(source, MemoryStore())
            with pytest.raises(NotImplementedError):
                statistics(source)
            with pytest.raises(NotImplementedError):
                revoke(source, "anna")
