"""Importing all sessions of a storage: once, whatever happens, and with an account of each."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest
from backends import empty_store
from werkzeug.test import Client

from wsgi_sessions import (
    FileStore,
    MemoryStore,
    Record,
    SessionMiddleware,
    SessionStore,
    SQLiteStore,
    StoreError,
    clock,
    codec,
    get_session,
)
from wsgi_sessions.legacy import LegacyError, LegacySession, Reason
from wsgi_sessions.migration.base import Imported, Source
from wsgi_sessions.migration.bulk import Causes, Report, import_sessions
from wsgi_sessions.migration.flask import FlaskSource
from wsgi_sessions.notes import note_id
from wsgi_sessions.testing import ReplacedClock

HOUR = 3_600_000
MONTH = timedelta(days=31)
#: One of each kind that differs in how it creates a record.
KINDS = ("memory", "file", "sqlite", "postgresql", "redis")


class Shelf(Source):
    """Sessions that are in this object, by the ids that are their cookies; a StoreError among them fails there."""

    system = "shelf"

    def __init__(self, found: Iterable[Imported | StoreError]) -> None:
        super().__init__("shelf_id")
        self.found = found

    def identify(self, cookie: str) -> list[str]:
        return [cookie]

    def open(self, cookie: str) -> LegacySession:
        raise LegacyError(Reason.NOT_FOUND)

    def scan(self) -> Iterator[Imported]:
        for found in self.found:
            if isinstance(found, StoreError):
                raise found
            yield found


def stored(id: str, data: dict[str, Any] | None = None, **fields: Any) -> Imported:
    session = LegacySession(data={"user": id} if data is None else data, **fields)
    return Imported(identity=id, where=f"{id[:4]}...", session=session)


def failed(id: str, reason: Reason, detail: str = "") -> Imported:
    return Imported(identity=id, where=f"{id[:4]}...", error=LegacyError(reason, detail))


def run(found: Iterable[Imported | StoreError], store: SessionStore, **options: Any) -> Report:
    return import_sessions(Shelf(found), store, **{"default_lifetime": MONTH, **options})


def counts(report: Report) -> dict[str, int]:
    """Return those that are not 0."""
    found = {
        "read": report.read,
        "imported": report.imported,
        "renewed": report.renewed,
        "already there": report.already_there,
        "expired": report.expired,
        "ended": report.ended,
        "unreadable": report.unreadable.total,
    }
    assert report.read == sum(found.values()) - report.read
    return {name: count for name, count in found.items() if count}


def end_of(store: SessionStore, id: str) -> int:
    record = store.load(note_id("shelf", id))
    assert record is not None
    return record.expires


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest) -> Iterator[SessionStore]:
    with empty_store(request.param) as store:
        yield store


def site(store: SessionStore) -> Client:
    """Return a browser on a site where ``/out`` logs out and every page tells who is logged in."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        session = get_session(environ)
        if environ["PATH_INFO"] == "/out":
            session.delete()
        body = str(session.get("user")).encode() if environ["PATH_INFO"] == "/" else b"bye"
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body]

    return Client(validator(SessionMiddleware(validator(app), store, legacy=[Shelf([])])))


class TestVisitors:
    def test_they_are_logged_in_after_the_import(self, store: SessionStore) -> None:
        run([stored("anna"), stored("bert")], store)
        browser = site(store)
        browser.set_cookie("shelf_id", "bert")
        assert browser.get("/", buffered=True).text == "bert"
        assert browser.get_cookie("shelf_id") is None
        assert browser.get("/", buffered=True).text == "bert"

    def test_nobody_is_logged_in_without_the_old_cookie(self, store: SessionStore) -> None:
        run([stored("anna")], store)
        (record,) = store.scan()
        browser = site(store)
        browser.set_cookie("id", f"{record.id}.{'a' * 22}")
        assert browser.get("/", buffered=True).text == "None"

    def test_who_has_logged_out_stays_so_after_another_import(self, store: SessionStore) -> None:
        run([stored("anna")], store)
        browser = site(store)
        browser.set_cookie("shelf_id", "anna")
        browser.get("/", buffered=True)
        browser.get("/out", buffered=True)
        assert counts(run([stored("anna")], store)) == {"read": 1, "already there": 1}
        with ReplacedClock() as replaced:
            # Beyond the time in which requests of the same moment may still come.
            replaced.advance(timedelta(minutes=2))
            browser.set_cookie("shelf_id", "anna")
            assert browser.get("/", buffered=True).text == "None"

    def test_types_that_the_codec_keeps_stay(self) -> None:
        store, values = MemoryStore(), {"at": datetime(2024, 1, 2), "roles": {"a", "b"}, "pair": (1, b"\xff")}
        run([stored("anna", values)], store)
        seen: list[dict[str, Any]] = []

        def app(environ: Any, start_response: Any) -> list[bytes]:
            seen.append(dict(get_session(environ)))
            start_response("204 No Content", [])
            return []

        browser = Client(SessionMiddleware(app, store, legacy=[Shelf([])]))
        browser.set_cookie("shelf_id", "anna")
        browser.get("/", buffered=True)
        assert seen == [values]


class TestRepeating:
    def test_twice_is_once(self, store: SessionStore) -> None:
        found = [stored("anna"), stored("bert")]
        assert counts(run(found, store)) == {"read": 2, "imported": 2}
        before = sorted(store.scan(), key=lambda record: record.id)
        assert counts(run(found, store)) == {"read": 2, "already there": 2}
        assert sorted(store.scan(), key=lambda record: record.id) == before

    def test_what_is_new_by_then_is_imported(self) -> None:
        store = MemoryStore()
        run([stored("anna")], store)
        assert counts(run([stored("anna"), stored("bert")], store)) == {"read": 2, "imported": 1, "already there": 1}

    def test_a_storage_that_yields_one_twice_has_it_once(self) -> None:
        """As Redis does while it grows."""
        store = MemoryStore()
        assert counts(run([stored("anna")] * 2, store)) == {"read": 2, "imported": 1, "already there": 1}

    def test_what_went_on_there_is_imported_again(self, store: SessionStore) -> None:
        run([stored("anna", {"cart": 1}), stored("bert")], store)
        found = [stored("anna", {"user": "anna"}), stored("bert")]
        both = {"read": 2, "renewed": 1, "already there": 1}
        assert counts(run(found, store, dry_run=True)) == both
        assert counts(run(found, store)) == both
        assert counts(run(found, store)) == {"read": 2, "already there": 2}
        browser = site(store)
        browser.set_cookie("shelf_id", "anna")
        assert browser.get("/", buffered=True).text == "anna"

    @pytest.mark.parametrize("kind", ["memory", "file", "sqlite", "postgresql"])
    @pytest.mark.parametrize(("minutes", "what"), [(50, "renewed"), (65, "imported")])
    def test_what_was_used_there_since_lives_on(self, minutes: int, what: str, kind: str) -> None:
        """Beyond its first end, too, whose record nobody has swept."""
        with empty_store(kind) as store, ReplacedClock() as replaced:
            run([stored("anna", expires=replaced.now() + HOUR)], store)
            replaced.advance(timedelta(minutes=minutes))
            found = [stored("anna", expires=replaced.now() + HOUR)]
            assert counts(run(found, store, dry_run=True)) == {"read": 1, what: 1}
            assert counts(run(found, store)) == {"read": 1, what: 1}
            replaced.advance(timedelta(minutes=55))
            browser = site(store)
            browser.set_cookie("shelf_id", "anna")
            assert browser.get("/", buffered=True).text == "anna"

    def test_so_does_one_without_an_end(self) -> None:
        store = MemoryStore()
        with ReplacedClock(start=100 * HOUR) as replaced:
            run([stored("anna", accessed=99 * HOUR)], store)
            replaced.advance(timedelta(hours=2))
            assert counts(run([stored("anna", accessed=101 * HOUR)], store)) == {"read": 1, "renewed": 1}
            assert end_of(store, "anna") == 101 * HOUR + MONTH // timedelta(milliseconds=1)

    def test_one_that_does_not_tell_when_it_was_used_is_the_same(self) -> None:
        store = MemoryStore()
        with ReplacedClock() as replaced:
            run([stored("anna")], store)
            replaced.advance(timedelta(hours=2))
            assert counts(run([stored("anna")], store)) == {"read": 1, "already there": 1}

    def test_an_end_that_is_told_as_what_is_left_is_the_same(self) -> None:
        """As Redis does: no two looks come to the same millisecond."""
        store, end = MemoryStore(), clock.now() + HOUR
        run([stored("anna", expires=end)], store)
        assert counts(run([stored("anna", expires=end + 3)], store)) == {"read": 1, "already there": 1}

    def test_one_that_is_taken_over_in_between_stays_so(self) -> None:
        class Slow(MemoryStore):
            """The visitor comes between the look at a record and its replacement."""

            visit: Any = None

            def save(self, record: Record) -> Record:
                visit, self.visit = self.visit, None
                if visit is not None:
                    visit()
                return super().save(record)

        store = Slow()
        run([stored("anna", {"user": "a guest"})], store)
        browser = site(store)
        browser.set_cookie("shelf_id", "anna")
        store.visit = lambda: browser.get("/out", buffered=True)
        assert counts(run([stored("anna")], store)) == {"read": 1, "already there": 1}
        with ReplacedClock() as replaced:
            replaced.advance(timedelta(minutes=2))
            browser.set_cookie("shelf_id", "anna")
            assert browser.get("/", buffered=True).text == "None"

    def test_one_that_is_imported_at_the_same_time_is_there_already(self, tmp_path: Path) -> None:
        class Crowded(SQLiteStore):
            """Another import comes between the end of a record and its replacement."""

            def delete(self, id: str) -> None:
                super().delete(id)
                run([stored("anna")], self)

        store = Crowded(tmp_path / "sessions.db")
        with ReplacedClock() as replaced:
            run([stored("anna", expires=replaced.now() + HOUR)], store)
            replaced.advance(timedelta(hours=2))
            assert counts(run([stored("anna")], store)) == {"read": 1, "already there": 1}

    def test_what_a_newer_version_has_noted_stays(self) -> None:
        store, record = MemoryStore(), Record(note_id("shelf", "anna"), b'[99,"",0]', clock.now() + HOUR)
        store.create(record)
        assert counts(run([stored("anna")], store)) == {"read": 1, "already there": 1}
        assert list(store.scan()) == [record]

    def test_a_storage_that_fails_stops_it_where_it_was(self) -> None:
        store, report = MemoryStore(), Report()
        found = [stored("anna"), stored("bert"), stored("carl")]
        with pytest.raises(StoreError, match="is down"):
            run([*found[:2], StoreError("the old Redis is down"), found[2]], store, report=report)
        assert counts(report) == {"read": 2, "imported": 2}
        assert counts(run(found, store)) == {"read": 3, "imported": 1, "already there": 2}

    def test_a_store_that_fails_stops_it(self, tmp_path: Path) -> None:
        path, report = tmp_path / "sessions.db", Report()
        path.write_bytes(b"no database at all, but as long as the head of one" * 4)
        with pytest.raises(StoreError):
            run([stored("anna")], SQLiteStore(path), report=report)
        assert report.imported == 0


class TestEnds:
    def test_one_without_an_end_gets_the_default(self) -> None:
        store = MemoryStore()
        with ReplacedClock(start=1_000_000):
            run([stored("anna")], store, default_lifetime=timedelta(days=2))
            assert end_of(store, "anna") == 1_000_000 + 48 * HOUR

    def test_the_default_is_counted_from_the_last_use(self) -> None:
        store = MemoryStore()
        with ReplacedClock(start=100 * HOUR):
            found = [stored("anna", accessed=90 * HOUR), stored("bert", accessed=52 * HOUR)]
            report = run(found, store, default_lifetime=timedelta(days=2))
            assert counts(report) == {"read": 2, "imported": 1, "expired": 1}
            assert end_of(store, "anna") == 138 * HOUR

    def test_its_own_end_stays(self) -> None:
        store, end = MemoryStore(), clock.now() + HOUR
        run([stored("anna", expires=end)], store)
        assert end_of(store, "anna") == end

    def test_one_that_has_ended_is_counted_and_not_stored(self) -> None:
        store = MemoryStore()
        found = [stored("anna", expires=clock.now()), failed("bert", Reason.EXPIRED)]
        assert counts(run(found, store)) == {"read": 2, "expired": 2}
        assert list(store.scan()) == []

    def test_what_was_ended_there_is_not_unreadable(self) -> None:
        found = [failed("anna", Reason.DELETED), failed("bert", Reason.NOT_FOUND)]
        assert counts(run(found, MemoryStore())) == {"read": 2, "ended": 2}


class TestUnreadable:
    def test_the_others_are_imported_and_it_is_told_why_and_where(self) -> None:
        found = [
            failed("anna-1", Reason.CORRUPT, "zlib"),
            stored("bert"),
            failed("carl-1", Reason.PICKLE_DISABLED),
            failed("dora-1", Reason.CORRUPT, "zlib"),
        ]
        report = run(found, MemoryStore())
        assert counts(report) == {"read": 4, "imported": 1, "unreadable": 3}
        assert report.unreadable.counts == {"corrupt: zlib": 2, "pickle-disabled": 1}
        assert report.unreadable.examples["corrupt: zlib"] == ["anna...", "dora..."]

    def test_what_the_middleware_would_refuse_to_take_over_is_not_imported(self) -> None:
        store, large = MemoryStore(), stored("anna", {"text": "x" * 70_000})
        report = run([large], store)
        assert counts(report) == {"read": 1, "unreadable": 1}
        assert list(report.unreadable.counts) == ["unstorable: over the limit of 65536 bytes"]
        assert list(store.scan()) == []
        assert counts(run([large], store, max_payload=100_000)) == {"read": 1, "imported": 1}

    def test_what_the_store_refuses_is_counted(self, tmp_path: Path) -> None:
        store = FileStore(tmp_path / "sessions", max_payload=500)
        report = run([stored("anna", {"text": "x" * 1000}), stored("bert")], store)
        assert counts(report) == {"read": 2, "imported": 1, "unreadable": 1}

    def test_what_the_codec_refuses_is_counted(self) -> None:
        report = run([stored("anna", {"form": object()}), stored("bert")], MemoryStore())
        assert counts(report) == {"read": 2, "imported": 1, "unreadable": 1}
        assert "form" in next(iter(report.unreadable.counts))

    def test_a_system_of_cookies_alone_says_that_there_is_nothing(self) -> None:
        with pytest.raises(NotImplementedError, match="cookies"):
            import_sessions(FlaskSource("secret"), MemoryStore(), default_lifetime=MONTH)


class TestDropped:
    def test_keys_are_counted_by_reason(self) -> None:
        dropped = (("form", "an instance of app.Form"), ("cart.owner", "an instance of app.User"))
        found = [stored(f"number {number}", dropped=dropped[: 1 + number % 2]) for number in range(4)]
        report = run(found, MemoryStore())
        assert report.dropped.counts == {"an instance of app.Form": 4, "an instance of app.User": 2}
        assert report.dropped.examples["an instance of app.User"] == ["cart.owner"]

    def test_those_of_a_session_that_is_there_already_are_not(self) -> None:
        store, found = MemoryStore(), [stored("anna", dropped=(("form", "an instance of app.Form"),))]
        run(found, store)
        assert run(found, store).dropped.total == 0

    def test_those_of_one_that_is_imported_again_are(self) -> None:
        store = MemoryStore()
        run([stored("anna", {"user": "a guest"})], store)
        assert run([stored("anna", dropped=(("form", "an instance of app.Form"),))], store).dropped.total == 1


class TestDryRun:
    def test_it_counts_and_writes_nothing(self, store: SessionStore) -> None:
        run([stored("anna")], store)
        before = list(store.scan())
        found = [stored("anna"), stored("bert"), failed("carl", Reason.CORRUPT), failed("dora", Reason.EXPIRED)]
        report = run(found, store, dry_run=True)
        assert counts(report) == {"read": 4, "imported": 1, "already there": 1, "expired": 1, "unreadable": 1}
        assert list(store.scan()) == before

    @pytest.mark.parametrize("kind", [FileStore, SQLiteStore])
    def test_it_does_not_even_make_the_store(self, kind: Any, tmp_path: Path) -> None:
        assert counts(run([stored("anna")], kind(tmp_path / "sessions"), dry_run=True)) == {"read": 1, "imported": 1}
        assert list(tmp_path.iterdir()) == []

    def test_it_finds_what_could_not_be_stored(self) -> None:
        found = [stored("anna", {"text": "x" * 70_000})]
        assert counts(run(found, MemoryStore(), dry_run=True)) == {"read": 1, "unreadable": 1}


class TestProgress:
    def test_it_is_told_of_each_session(self) -> None:
        told: list[tuple[int, int]] = []
        found = [stored("anna"), failed("bert", Reason.CORRUPT), stored("carl")]
        run(found, MemoryStore(), on_progress=lambda report: told.append((report.read, report.imported)))
        assert told == [(1, 1), (2, 1), (3, 2)]


class TestArguments:
    @pytest.mark.parametrize("wrong", [{"default_lifetime": timedelta(0)}, {"max_payload": 0}])
    def test_a_limit_that_is_not_positive_is_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="must be positive"):
            run([], MemoryStore(), **wrong)


class TestMemory:
    def test_it_does_not_grow_with_the_number_of_sessions(self, tmp_path: Path) -> None:
        peaks = []
        for count in (300, 3000):
            store = SQLiteStore(tmp_path / f"{count}.db")
            found = (
                stored(f"number {number}", {"text": "x" * 500}, dropped=((f"key {number}", f"reason {number}"),))
                for number in range(count)
            )
            # What is made once, such as a connection.
            run([stored("anna")], store)
            tracemalloc.start()
            run(found, store)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert peaks[1] < 1.5 * peaks[0]

    def test_causes_beyond_the_first_are_counted_together(self) -> None:
        causes = Causes()
        for number in range(1000):
            causes.add(f"cause {number}", f"place {number}")
        causes.add("cause 3", "x" * 10_000)
        assert causes.total == 1001
        assert len(causes.counts) == 51
        assert causes.counts["others"] == 950
        assert causes.counts["cause 3"] == 2
        assert max(len(place) for places in causes.examples.values() for place in places) < 200


def test_what_waits_is_as_the_codec_writes_it() -> None:
    """So that nothing but our own decoder reads it."""
    store = MemoryStore()
    run([stored("anna", {"roles": {"a"}})], store)
    (record,) = store.scan()
    assert codec.encode({"a"}) in record.payload


class TestEndedThere:
    """Where a storage keeps a trace of a logout, what was imported before does not outlive it."""

    @pytest.mark.parametrize("reason", [Reason.DELETED, Reason.NOT_FOUND])
    def test_what_still_waited_opens_no_session_any_more(self, store: SessionStore, reason: Reason) -> None:
        run([stored("anna"), stored("ben")], store)
        report = run([failed("anna", reason), stored("ben")], store)
        assert counts(report) == {"read": 2, "ended": 1, "already there": 1}
        # The old storage is switched off.
        client = site(store)
        client.set_cookie("shelf_id", "anna")
        assert client.get("/", buffered=True).text == "None"
        client.set_cookie("shelf_id", "ben")
        assert client.get("/", buffered=True).text == "ben"

    def test_one_that_was_only_being_written_loses_nothing(self, store: SessionStore) -> None:
        run([stored("anna")], store)
        run([failed("anna", Reason.NOT_FOUND, "an empty file")], store)
        assert counts(run([stored("anna")], store)) == {"read": 1, "imported": 1}

    def test_what_was_taken_over_goes_on(self, store: SessionStore) -> None:
        run([stored("anna")], store)
        client = site(store)
        client.set_cookie("shelf_id", "anna")
        assert client.get("/", buffered=True).text == "anna"
        run([failed("anna", Reason.DELETED)], store)
        assert client.get("/", buffered=True).text == "anna"

    def test_a_dry_run_leaves_it(self, store: SessionStore) -> None:
        run([stored("anna")], store)
        before = store.load(note_id("shelf", "anna"))
        report = run([failed("anna", Reason.DELETED)], store, dry_run=True)
        assert (counts(report), store.load(note_id("shelf", "anna"))) == ({"read": 1, "ended": 1}, before)

    def test_what_never_was_there_leaves_nothing(self, store: SessionStore) -> None:
        run([failed("anna", Reason.DELETED)], store)
        assert list(store.scan()) == []
