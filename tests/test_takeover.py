"""A session of another library is taken over once, by whoever comes first, and never again after its end."""

from __future__ import annotations

import logging
import sys
import threading
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from cachelib import SimpleCache
from harness import RecordingStore, Site, Visitor, make_environ

from wsgi_sessions import (
    CachelibStore,
    MemoryStore,
    OnInactivity,
    OnSessionEnd,
    Record,
    SessionMiddleware,
    StoreError,
    Sweeper,
    clock,
    get_session,
)
from wsgi_sessions.legacy import LegacyError, LegacySession, Reason
from wsgi_sessions.migration.base import Source
from wsgi_sessions.migration.beaker import read_options, source_of
from wsgi_sessions.migration.retired import RetiredSource
from wsgi_sessions.notes import imported_record, note_id
from wsgi_sessions.operations import revoke
from wsgi_sessions.testing import ReplacedClock

HOUR = 60 * 60 * 1000
MINUTE = timedelta(minutes=1)


class Shelf(Source):
    """Another library: keeps its sessions in a dict, and its cookie is the key."""

    system: ClassVar[str] = "shelf"

    def __init__(self, *, cookie_name: str = "shelf", path: str = "/", domain: str | None = None) -> None:
        super().__init__(cookie_name, path=path, domain=domain)
        self.sessions: dict[str, LegacySession] = {}
        self.discarded: list[str] = []
        self.is_down = False
        self.before_open: Any = None

    def identify(self, cookie: str) -> list[str]:
        if not cookie.startswith("key-"):
            raise LegacyError(Reason.BAD_SIGNATURE)
        return [cookie]

    def open(self, cookie: str) -> LegacySession:
        if self.before_open is not None:
            hook, self.before_open = self.before_open, None
            hook()
        if self.is_down:
            raise StoreError("the shelf fell")
        if cookie not in self.sessions:
            raise LegacyError(Reason.NOT_FOUND)
        return self.sessions[cookie]

    def discard(self, cookie: str) -> None:
        if self.is_down:
            raise StoreError("the shelf fell")
        self.discarded.append(cookie)
        self.sessions.pop(cookie, None)


@pytest.fixture
def shelf() -> Shelf:
    shelf = Shelf()
    shelf.sessions["key-anna"] = LegacySession(data={"user": "anna", "cart": ["tea"]}, expires=clock.now() + HOUR)
    return shelf


class Failing(RecordingStore):
    """Fails at one call of a method, and at all that follow."""

    def __init__(self, method: str | None, after: int) -> None:
        super().__init__()
        self.method = method
        self.after = after

    def _log(self, method: str, id: str) -> None:
        super()._log(method, id)
        if method == self.method:
            self.after -= 1
            if self.after < 0:
                raise StoreError("told to fail")


class Unanswered(MemoryStore):
    """Does one of its writes, and fails or does it again."""

    call = -1
    how = ""

    def create(self, record: Record) -> None:
        self._do(super().create, record)

    def save(self, record: Record) -> Record:
        return self._do(super().save, record)

    def _do(self, write: Any, record: Record) -> Any:
        done = write(record)
        self.call -= 1
        if self.call == -1:
            if self.how == "fails":
                raise StoreError("no answer")
            return write(record)
        return done


def visitor_of(site: Site, cookie: str = "key-anna", name: str = "shelf") -> Visitor:
    visitor = site.visitor()
    visitor.put(name, cookie)
    return visitor


@pytest.fixture
def site(shelf: Shelf) -> Site:
    return Site(legacy=[shelf])


@pytest.fixture
def visitor(site: Site) -> Visitor:
    return visitor_of(site)


def session_records(site: Site) -> list[Any]:
    return [record for record in site.store.records if not record.id.startswith("legacy.")]


class TestTakingOver:
    def test_a_read_is_enough(self, site: Site, visitor: Visitor, shelf: Shelf) -> None:
        response = visitor.visit(lambda session: session["user"])
        assert len(response.set_cookies) == 2
        assert response.set_cookies[0].startswith("id=")
        assert response.set_cookies[1].startswith("shelf=;")
        assert response.header("Cache-Control") == "no-store"
        assert set(visitor.cookies) == {"id"}
        assert visitor.read() == {"user": "anna", "cart": ["tea"]}
        assert shelf.discarded == ["key-anna"]
        assert site.app is not None

    def test_a_request_that_does_not_touch_the_session_does_nothing(
        self, site: Site, visitor: Visitor, shelf: Shelf
    ) -> None:
        response = visitor.visit()
        assert response.set_cookies == []
        assert site.store.calls == []
        assert shelf.discarded == []

    def test_the_session_is_neither_new_nor_empty_for_the_application(self, visitor: Visitor) -> None:
        seen = visitor.ask(lambda session: (session.is_new, len(session), session.id is not None))
        assert seen == (False, 2, True)

    def test_what_the_request_changes_is_stored_with_it(self, site: Site, visitor: Visitor) -> None:
        visitor.set(user="ben")
        assert visitor.read() == {"user": "ben", "cart": ["tea"]}
        assert len(session_records(site)) == 1

    def test_a_login_in_the_same_request_gets_its_new_token(self, site: Site, visitor: Visitor) -> None:
        def login(session: Any) -> None:
            session.cycle_id()
            session.owner = "anna"

        response = visitor.visit(login)
        assert len([cookie for cookie in response.set_cookies if cookie.startswith("id=")]) == 1
        assert visitor.ask(lambda session: (session.owner, session["user"])) == ("anna", "anna")

    def test_our_cookie_is_announced_even_if_the_response_fails(self, visitor: Visitor) -> None:
        response = visitor.visit(lambda session: session["user"], status=500)
        assert response.set_cookies[0].startswith("id=")
        assert visitor.read()["user"] == "anna"

    def test_the_id_is_none_of_theirs(self, site: Site, visitor: Visitor) -> None:
        visitor.read()
        assert "anna" not in visitor.cookies["id"]
        assert all("key-anna" not in record.id for record in site.store.records)

    def test_our_own_live_session_comes_first(self, site: Site, shelf: Shelf) -> None:
        visitor = site.visitor()
        visitor.set(mine=1)
        visitor.put("shelf", "key-anna")
        assert visitor.read() == {"mine": 1}
        assert shelf.discarded == []

    def test_a_dead_cookie_of_ours_does_not_stand_in_the_way(self, site: Site, visitor: Visitor) -> None:
        visitor.put("id", "A" * 22 + "." + "A" * 22)
        assert visitor.read()["user"] == "anna"

    def test_what_a_stream_reads_first_is_left_for_the_next_request(self, site: Site, shelf: Shelf) -> None:
        """Its head is out, so it cannot hand out our cookie."""
        seen: list[Any] = []

        def app(environ: Any, start_response: Any) -> Any:
            start_response("200 OK", [("Content-Type", "text/plain")])
            yield b"first"
            seen.append(dict(get_session(environ)))

        middleware = SessionMiddleware(app, MemoryStore(), legacy=[shelf])
        body = middleware(make_environ(HTTP_COOKIE="shelf=key-anna"), lambda *_: None)  # type: ignore[arg-type]
        list(body)
        body.close()  # type: ignore[attr-defined]
        assert seen == [{}]
        assert shelf.discarded == []


class TestOnlyOnce:
    def test_parallel_requests_come_to_one_session_and_one_token(self, shelf: Shelf) -> None:
        site = Site(MemoryStore(), legacy=[shelf])
        barrier = threading.Barrier(8)
        cookies: list[str] = []

        def request(number: int) -> None:
            visitor = visitor_of(site)

            def handler(session: Any) -> None:
                barrier.wait(10)
                session[f"key{number}"] = number

            visitor.visit(handler)
            cookies.append(visitor.cookies["id"])

        threads = [threading.Thread(target=request, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len(cookies) == 8
        assert len(set(cookies)) == 1
        visitor = site.visitor()
        visitor.put("id", cookies[0])
        assert len(visitor.read()) == 10
        assert len([record for record in site.store.scan() if not record.id.startswith("legacy.")]) == 1

    @pytest.mark.parametrize("deletes", [True, False])
    def test_the_slower_of_two_finds_what_the_faster_has_made(self, site: Site, shelf: Shelf, deletes: bool) -> None:
        """Between its look for a note and its reading, all of the other request happens."""
        if not deletes:
            shelf.discard = lambda cookie: None  # type: ignore[method-assign]
        faster, slower = visitor_of(site), visitor_of(site)
        shelf.before_open = lambda: faster.set(faster=1)
        slower.set(slower=1)
        assert slower.cookies == faster.cookies
        assert set(slower.read()) == {"user", "cart", "faster", "slower"}
        assert len(session_records(site)) == 1

    def test_within_a_minute_the_old_cookie_still_finds_it(self, site: Site, visitor: Visitor) -> None:
        """A browser may never have got the first answer."""
        lost = visitor.tab()
        lost.visit(lambda session: session["user"])
        visitor.visit(lambda session: session["user"])
        assert visitor.cookies == lost.cookies

    def test_after_a_login_it_does_not_get_back_in(self, site: Site, visitor: Visitor) -> None:
        straggler = visitor.tab()
        visitor.visit(lambda session: session.cycle_id())
        assert straggler.visit(lambda session: session.get("user")).set_cookies == []
        assert straggler.read() == {}
        assert visitor.read()["user"] == "anna"

    def test_a_minute_later_it_opens_nothing(self, site: Site, visitor: Visitor) -> None:
        with ReplacedClock() as time:
            thief = visitor.tab()
            visitor.read()
            time.advance(2 * MINUTE)
            assert thief.read() == {}
            assert visitor.read()["user"] == "anna"

    @pytest.mark.parametrize("wait", [timedelta(), 2 * MINUTE, timedelta(minutes=59)])
    @pytest.mark.parametrize("retire", ["delete", "keep"])
    def test_after_the_logout_a_replay_stays_logged_out(self, shelf: Shelf, wait: timedelta, retire: str) -> None:
        with ReplacedClock() as time:
            # As from a system whose sessions are all in the cookie.
            shelf.discard = lambda cookie: None  # type: ignore[method-assign]
            site = Site(legacy=[shelf], retire=retire)
            visitor = visitor_of(site)
            replay = visitor.tab()
            visitor.read()
            visitor.visit(lambda session: session.flush())
            time.advance(wait)
            assert replay.read() == {}
            assert replay.set().set_cookies == []

    def test_what_is_remembered_goes_a_day_after_the_end_that_it_had_there(self, site: Site, visitor: Visitor) -> None:
        with ReplacedClock() as time:
            visitor.read()
            time.advance(timedelta(hours=24))
            assert any(record.id == note_id("shelf", "key-anna") for record in site.store.records)
            time.advance(timedelta(minutes=61))
            assert all(not record.id.startswith("legacy.") for record in site.store.records)

    def test_what_an_old_process_has_written_back_does_not_revive_it(
        self, site: Site, visitor: Visitor, shelf: Shelf
    ) -> None:
        """In a rolling deployment one may still hold the session that was taken over, and renew it."""
        with ReplacedClock() as time:
            replay = visitor.tab()
            visitor.read()
            time.advance(5 * MINUTE)
            shelf.sessions["key-anna"] = LegacySession(data={"user": "anna"}, expires=clock.now() + 5 * HOUR)
            visitor.visit(lambda session: session.flush())
            time.advance(timedelta(hours=2))
            assert replay.read() == {}


class TestSeveralCookies:
    def test_none_of_them_comes_back_after_the_logout(self, site: Site, shelf: Shelf) -> None:
        """Of one name there are two where an application once set it with a domain, and once without."""
        shelf.sessions["key-ben"] = LegacySession(data={"user": "ben"})
        visitor = site.visitor()
        header = "shelf=key-ben; shelf=key-anna"
        assert visitor.read(cookie=header)["user"] == "anna"
        assert visitor.read(cookie="shelf=key-ben") == {}
        assert "key-ben" in shelf.discarded

    @pytest.mark.parametrize(("takes_last", "user"), [(True, "ben"), (False, "anna")])
    def test_the_one_that_the_old_library_took_is_taken(self, shelf: Shelf, takes_last: bool, user: str) -> None:
        shelf.sessions["key-ben"] = LegacySession(data={"user": "ben"})
        shelf.takes_last = takes_last  # type: ignore[misc]
        assert Site(legacy=[shelf]).visitor().read(cookie="shelf=key-anna; shelf=key-ben")["user"] == user

    def test_one_that_is_left_behind_is_told_of_and_removed(
        self, shelf: Shelf, caplog: pytest.LogCaptureFixture
    ) -> None:
        other = Shelf(cookie_name="other")
        other.sessions["key-cart"] = LegacySession(data={"cart": ["tea"]})
        site = Site(legacy=[shelf, other])
        visitor = visitor_of(site)
        visitor.put("other", "key-cart")
        response = visitor.visit(lambda session: session["user"])
        assert [cookie.partition("=")[0] for cookie in response.set_cookies] == ["id", "shelf", "other"]
        assert "several sessions" in caplog.text
        assert site.middleware.legacy_counts["shelf", "left-behind"] == 1

    def test_one_that_is_over_is_removed_with_the_one_that_is_taken(self, shelf: Shelf) -> None:
        other = Shelf(cookie_name="other")
        other.sessions["key-old"] = LegacySession(data={"k": 1}, expires=clock.now() - 1)
        visitor = visitor_of(Site(legacy=[other, shelf]))
        visitor.put("other", "key-old")
        response = visitor.visit(lambda session: session["user"])
        assert [cookie.partition("=")[0] for cookie in response.set_cookies] == ["id", "other", "shelf"]

    def test_what_an_old_process_has_set_meanwhile_goes_with_our_next_cookie(
        self, visitor: Visitor, shelf: Shelf
    ) -> None:
        visitor.read()
        shelf.sessions["key-again"] = LegacySession(data={"user": "anna"})
        visitor.put("shelf", "key-again")
        assert visitor.visit(lambda session: session["user"]).set_cookies == []
        cookies = visitor.visit(lambda session: session.cycle_id()).set_cookies
        assert [cookie.partition("=")[0] for cookie in cookies] == ["id", "shelf"]

    def test_made_up_cookies_leave_nothing_in_the_store(self, site: Site) -> None:
        """Those of unsigned ids can be made up by anybody."""
        visitor = site.visitor()
        visitor.set(n=1)
        header = "; ".join(["id=" + visitor.token, *(f"shelf=key-{number}" for number in range(5))])
        visitor.visit(lambda session: session.flush(), cookie=header)
        assert site.store.records == []

    def test_what_an_old_process_has_signed_meanwhile_ends_with_the_logout(
        self, visitor: Visitor, shelf: Shelf
    ) -> None:
        """In a rolling deployment an old process may answer the visitor whose session was taken over."""
        visitor.read()
        shelf.sessions["key-again"] = LegacySession(data={"user": "anna"})
        visitor.put("shelf", "key-again")
        visitor.visit(lambda session: session.flush())
        visitor.put("shelf", "key-again")
        assert visitor.read() == {}

    def test_an_outage_while_that_is_noted_is_no_success(self, site: Site, visitor: Visitor, shelf: Shelf) -> None:
        visitor.read()
        shelf.sessions["key-other"] = LegacySession(data={"user": "anna"})
        visitor.put("shelf", "key-other")
        site.store.fail("create")
        assert visitor.visit(lambda session: session.flush()).status == 503
        # Nothing has changed: it is still logged in.
        assert visitor.read()["user"] == "anna"

    def test_the_old_storage_is_not_needed_for_a_logout(self, site: Site, visitor: Visitor, shelf: Shelf) -> None:
        visitor.read()
        shelf.sessions["key-other"] = LegacySession(data={"user": "anna"})
        visitor.put("shelf", "key-other")
        shelf.is_down = True
        assert visitor.visit(lambda session: session.flush()).status == 200
        shelf.is_down = False
        visitor.put("shelf", "key-other")
        assert visitor.read() == {}

    def test_a_cookie_that_opens_nothing_any_more_goes_with_the_next_of_ours(self, site: Site, shelf: Shelf) -> None:
        shelf.sessions["key-anna"] = LegacySession(data={"k": 1}, expires=clock.now() - 1)
        visitor = visitor_of(site)
        assert visitor.visit(lambda session: session.get("k")).set_cookies == []
        assert [cookie.partition("=")[0] for cookie in visitor.set(new=1).set_cookies] == ["id", "shelf"]

    def test_two_live_sessions_of_ours_are_not_settled_by_a_third(self, site: Site, shelf: Shelf) -> None:
        first, second = site.visitor(), site.visitor()
        first.set(mine=1)
        second.set(mine=2)
        header = f"id={first.token}; id={second.token}; shelf=key-anna"
        assert site.visitor().read(cookie=header) == {}
        assert shelf.discarded == []

    def test_a_domain_is_removed_with_and_without(self, shelf: Shelf) -> None:
        other = Shelf(domain="example.com")
        other.sessions = shelf.sessions
        removals = visitor_of(Site(legacy=[other])).visit(lambda session: session["user"]).set_cookies[1:]
        assert ["Domain=" in removal for removal in removals] == [True, False]


class TestNothingIsLost:
    @pytest.mark.parametrize("method", ["create", "load", "save", "touch"])
    @pytest.mark.parametrize("after", range(6))
    def test_whatever_call_fails_the_visitor_gets_in_with_the_next_request(
        self, shelf: Shelf, method: str, after: int
    ) -> None:
        store = Failing(method, after)
        site = Site(store, legacy=[shelf])
        visitor = visitor_of(site)
        visitor.visit(lambda session: session.get("user"))
        store.method = None
        assert visitor.read()["user"] == "anna"
        visitor.put("shelf", "none")
        assert visitor.read()["user"] == "anna"

    def test_load_after_the_head_does_not_take_over(self, shelf: Shelf) -> None:
        seen: list[Any] = []

        def app(environ: Any, start_response: Any) -> Any:
            start_response("200 OK", [("Content-Type", "text/plain")])
            yield b"first"
            session = get_session(environ)
            len(session)
            session.load()
            seen.append(dict(session))

        middleware = SessionMiddleware(app, MemoryStore(), legacy=[shelf])
        body = middleware(make_environ(HTTP_COOKIE="shelf=key-anna"), lambda *_: None)  # type: ignore[arg-type]
        list(body)
        body.close()  # type: ignore[attr-defined]
        assert seen == [{}]
        assert shelf.discarded == []

    def test_the_salt_is_gone_after_a_minute(self, site: Site, visitor: Visitor) -> None:
        """What is stored for longer makes no token, also with the old storage in hand."""
        with ReplacedClock() as time:
            visitor.read()
            salted = [record for record in site.store.records if record.id.startswith("legacy.salt.")]
            assert len(salted) == 1
            time.advance(2 * MINUTE)
            assert all(salted[0].payload not in record.payload for record in site.store.records)
            assert all(not record.id.startswith("legacy.salt.") for record in site.store.records)
            # Not only ended, but deleted, sweeper or not.
            visitor.read()
            assert ("delete", salted[0].id) in site.store.calls

    def test_a_note_of_a_newer_version_is_left_alone(self, site: Site, visitor: Visitor, shelf: Shelf) -> None:
        site.store.put(Record(note_id("shelf", "key-anna"), b'[2,"",0]', clock.now() + HOUR))
        assert visitor.read() == {}
        assert shelf.discarded == []

    @pytest.mark.parametrize("payload", [b"[]", b"nonsense", b'[1,"",0,null,null,false,{"k":{"$":["x",1]}}]'])
    def test_a_note_that_cannot_be_read_is_no_error(
        self, site: Site, visitor: Visitor, shelf: Shelf, payload: bytes
    ) -> None:
        shelf.sessions.clear()
        site.store.put(Record(note_id("shelf", "key-anna"), payload, clock.now() + HOUR))
        assert visitor.read() == {}

    @pytest.mark.parametrize("imported", [False, True])
    @pytest.mark.parametrize("call", range(3))
    @pytest.mark.parametrize("how", ["fails", "is repeated"])
    def test_a_write_whose_answer_is_lost_loses_nobody(self, shelf: Shelf, call: int, how: str, imported: bool) -> None:
        """It was done, and the driver says it failed, or has done it a second time."""
        store = Unanswered()
        if imported:
            store.create(imported_record("shelf", "key-anna", shelf.sessions.pop("key-anna"), clock.now() + HOUR))
        site = Site(store, legacy=[shelf])
        visitor = visitor_of(site)
        store.call, store.how = call, how
        visitor.visit(lambda session: session["user"])
        store.call = -1
        assert visitor.read()["user"] == "anna"
        assert visitor.read()["user"] == "anna"

    @pytest.mark.parametrize(
        "reason", [Reason.CORRUPT, Reason.PICKLE_DISABLED, Reason.UNSTORABLE, Reason.NOT_FOUND, Reason.BAD_ID]
    )
    def test_a_cookie_that_a_mistake_keeps_from_being_read_stays(self, shelf: Shelf, reason: Reason) -> None:
        """A wrong option must not log everybody out for good."""
        site = Site(legacy=[shelf])
        visitor = visitor_of(site)

        def fail() -> None:
            raise LegacyError(reason)

        shelf.before_open = fail
        assert len(visitor.set(csrf="x").set_cookies) == 1
        assert visitor.read(cookie="shelf=" + visitor.cookies["shelf"])["user"] == "anna"

    def test_a_store_that_is_not_atomic_gives_one_session_too(self, shelf: Shelf) -> None:
        store = CachelibStore(SimpleCache(threshold=sys.maxsize))
        site = Site(store, legacy=[shelf])
        faster, slower = visitor_of(site), visitor_of(site)
        shelf.before_open = lambda: faster.set(faster=1)
        slower.set(slower=1)
        assert slower.cookies == faster.cookies

    def test_an_application_does_not_hear_of_notes_that_are_swept(self, site: Site, visitor: Visitor) -> None:
        heard: list[Record] = []
        with ReplacedClock() as time:
            visitor.read()
            time.advance(timedelta(weeks=4))
            Sweeper(site.store, MINUTE, on_deleted=heard.extend).sweep_once()
        assert [record.id.startswith("legacy.") for record in heard] == [False]


class TestLost:
    """An exception leaves the application, so the browser is told of nothing and still has the old cookie."""

    def crash(self, visitor: Visitor) -> None:
        def fail(session: Any) -> None:
            assert session["user"] == "anna"
            session["user"] = "nobody"
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            visitor.visit(fail)
        assert set(visitor.cookies) == {"shelf"}

    @pytest.mark.parametrize("retire", ["delete", "keep"])
    @pytest.mark.parametrize("crashes", [1, 3])
    def test_the_visitor_is_not_logged_out(self, shelf: Shelf, retire: str, crashes: int) -> None:
        with ReplacedClock() as time:
            site = Site(legacy=[shelf], retire=retire)
            visitor = visitor_of(site)
            for _ in range(crashes):
                self.crash(visitor)
                time.advance(15 * MINUTE)
                visitor_of(site, "key-of-nobody").read()
            assert visitor.read() == {"user": "anna", "cart": ["tea"]}
            assert len(session_records(site)) == 1
            # From then on it is as if nothing had happened.
            assert visitor_of(site).read() == visitor.read()
            assert site.store.load(f"legacy.salt.{session_records(site)[0].id}") is not None
            time.advance(1.1 * MINUTE)
            assert visitor_of(site).read() == {}
            assert visitor.read() == {"user": "anna", "cart": ["tea"]}
            assert site.store.load(f"legacy.salt.{session_records(site)[0].id}") is None

    def test_a_day_later_it_opens_nothing(self, shelf: Shelf) -> None:
        shelf.sessions["key-anna"] = LegacySession(data={"user": "anna"}, expires=clock.now() + 72 * HOUR)
        with ReplacedClock() as time:
            site = Site(legacy=[shelf], expiry=OnInactivity(timedelta(days=9)))
            visitor = visitor_of(site)
            self.crash(visitor)
            time.advance(timedelta(hours=23))
            self.crash(visitor)
            time.advance(timedelta(hours=25))
            assert visitor.read() == {}

    def test_one_that_another_request_has_told_of_is_not_opened_any_longer(self, shelf: Shelf) -> None:
        with ReplacedClock() as time:
            site = Site(legacy=[shelf])
            visitor_of(site).read()
            self.crash(visitor_of(site))
            time.advance(2 * MINUTE)
            assert visitor_of(site).read() == {}

    def test_a_logout_amid_it_is_final(self, site: Site) -> None:
        def log_out(session: Any) -> None:
            session.flush()
            raise ZeroDivisionError

        visitor = visitor_of(site)
        with pytest.raises(ZeroDivisionError):
            visitor.visit(log_out)
        assert visitor_of(site).read() == {}

    def test_a_logout_after_it_is_final(self, site: Site) -> None:
        visitor = visitor_of(site)
        self.crash(visitor)
        visitor.visit(lambda session: session.flush())
        assert visitor_of(site).read() == {}

    def test_a_store_that_fails_then_leaves_the_error_of_the_application(
        self, shelf: Shelf, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = Failing(None, 0)
        site = Site(store, legacy=[shelf])

        def fail(session: Any) -> None:
            assert session["user"] == "anna"
            store.method = "load"
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            visitor_of(site).visit(fail)
        assert "may not get into it" in caplog.text


class TestTerms:
    def take(self, shelf: Shelf, session: LegacySession, **options: Any) -> tuple[Site, Visitor]:
        shelf.sessions["key-anna"] = session
        site = Site(legacy=[shelf], **options)
        return site, visitor_of(site)

    def test_created_is_carried_over(self, shelf: Shelf) -> None:
        began = clock.now() - HOUR
        _, visitor = self.take(shelf, LegacySession(data={"k": 1}, created=began))
        assert visitor.ask(lambda session: session.created.timestamp()) == pytest.approx(began / 1000)

    @pytest.mark.parametrize(("theirs", "ends_in"), [(HOUR, HOUR), (5 * HOUR, 2 * HOUR), (None, 2 * HOUR)])
    def test_it_ends_when_theirs_would_have_or_ours(self, shelf: Shelf, theirs: int | None, ends_in: int) -> None:
        with ReplacedClock():
            now = clock.now()
            session = LegacySession(data={"k": 1}, expires=None if theirs is None else now + theirs)
            site, visitor = self.take(shelf, session, expiry=OnInactivity(timedelta(hours=2)))
            visitor.read()
            assert [record.expires - now for record in session_records(site)] == [ends_in]

    def test_an_absolute_lifetime_counts_from_its_beginning(self, shelf: Shelf) -> None:
        session = LegacySession(data={"k": 1}, created=clock.now() - 3 * HOUR)
        _, visitor = self.take(shelf, session, max_lifetime=timedelta(hours=2))
        assert visitor.read() == {}

    def test_what_has_ended_there_is_not_taken(self, shelf: Shelf) -> None:
        _, visitor = self.take(shelf, LegacySession(data={"k": 1}, expires=clock.now() - 1))
        assert visitor.visit(lambda session: session.get("k")).set_cookies == []
        assert visitor.read() == {}

    def test_a_permanent_session_lives_on_for_as_long_as_it_did_there(self, shelf: Shelf) -> None:
        month = timedelta(days=31)
        session = LegacySession(
            data={"k": 1}, persistent=True, idle=31 * 24 * HOUR, expires=clock.now() + 30 * 24 * HOUR
        )
        _, visitor = self.take(shelf, session)
        assert visitor.ask(lambda session: session.expiry) == OnInactivity(month)
        with ReplacedClock() as time:
            time.advance(timedelta(days=29))
            assert visitor.read() == {"k": 1}
            time.advance(timedelta(days=29))
            assert visitor.read() == {"k": 1}

    def test_a_cookie_that_outlived_the_browser_goes_on_to(self, shelf: Shelf) -> None:
        session = LegacySession(data={"k": 1}, persistent=True)
        _, visitor = self.take(shelf, session, expiry=OnSessionEnd(timedelta(hours=1)))
        assert "Max-Age=" in visitor.visit(lambda session: session["k"]).set_cookies[0]
        visitor.restart()
        assert visitor.read() == {"k": 1}

    def test_without_an_end_there_our_rules_count_from_its_last_use(self, shelf: Shelf) -> None:
        used = LegacySession(data={"k": 1}, accessed=clock.now() - 3 * HOUR)
        _, visitor = self.take(shelf, used, expiry=OnInactivity(timedelta(hours=2)))
        assert visitor.read() == {}
        used = LegacySession(data={"k": 1}, accessed=clock.now() - HOUR)
        site, visitor = self.take(shelf, used, expiry=OnInactivity(timedelta(hours=2)))
        visitor.read()
        assert session_records(site)[0].expires <= clock.now() + HOUR

    def test_what_is_too_large_is_not_taken_and_no_error(self, shelf: Shelf) -> None:
        site, visitor = self.take(shelf, LegacySession(data={"k": "x" * 500}), max_payload=300)
        assert visitor.read() == {}
        assert site.store.records == []


class TestRetiring:
    def test_the_removal_repeats_path_and_domain(self, shelf: Shelf) -> None:
        other = Shelf(path="/shop", domain="example.com")
        other.sessions = shelf.sessions
        visitor = visitor_of(Site(legacy=[other]))
        removal = visitor.visit(lambda session: session["user"]).set_cookies[1]
        assert "Path=/shop" in removal
        assert "Domain=example.com" in removal
        assert "Max-Age=0" in removal

    def test_a_legacy_cookie_of_our_name_is_replaced_and_not_removed(self, shelf: Shelf) -> None:
        same = Shelf(cookie_name="id")
        same.sessions = shelf.sessions
        visitor = visitor_of(Site(legacy=[same]), name="id")
        assert len(visitor.visit(lambda session: session["user"]).set_cookies) == 1
        assert visitor.read()["user"] == "anna"

    def test_keep_leaves_cookie_and_storage_for_the_way_back(self, shelf: Shelf) -> None:
        visitor = visitor_of(Site(legacy=[shelf], retire="keep"))
        assert len(visitor.visit(lambda session: session["user"]).set_cookies) == 1
        assert set(visitor.cookies) == {"id", "shelf"}
        assert "key-anna" in shelf.sessions
        assert visitor.read()["user"] == "anna"

    def test_keep_cannot_keep_a_cookie_in_whose_place_ours_goes(self, shelf: Shelf) -> None:
        with pytest.raises(ValueError, match="another cookie name"):
            Site(legacy=[Shelf(cookie_name="id")], retire="keep")

    def test_what_is_no_source_is_refused(self) -> None:
        with pytest.raises(TypeError, match="the class Shelf"):
            Site(legacy=[Shelf])
        with pytest.raises(TypeError, match="not of object"):
            Site(legacy=[object()])

    def test_nothing_in_the_place_of_a_source_is_refused_with_the_reason(self) -> None:
        source = source_of(read_options({"session.type": "memory"}))
        with pytest.raises(TypeError, match=r"not of NoneType: source_of\(\) returns None where .* in memory"):
            Site(legacy=[source])

    def test_a_source_without_a_list_is_told_of(self, shelf: Shelf) -> None:
        with pytest.raises(TypeError, match=r"not Shelf: write legacy=\[source\]"):
            Site(legacy=shelf)
        with pytest.raises(TypeError, match="not generator"):
            Site(legacy=(source for source in [shelf]))

    def test_a_storage_that_cannot_delete_is_told_of(
        self, site: Site, visitor: Visitor, shelf: Shelf, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fall(cookie: str) -> None:
            raise StoreError("the shelf fell")

        shelf.discard = fall  # type: ignore[method-assign]
        assert visitor.read()["user"] == "anna"
        assert "not deleted there" in caplog.text

    def test_another_word_is_refused(self, shelf: Shelf) -> None:
        with pytest.raises(ValueError, match="'delete' or 'keep'"):
            Site(legacy=[shelf], retire="never")
        with pytest.raises(ValueError, match="'delete' or 'keep'"):
            Site(retire="never")


class TestFailures:
    def test_each_reason_is_counted_and_none_is_an_error(self, shelf: Shelf) -> None:
        site = Site(legacy=[shelf])
        for cookie in ("key-anna", "forged", "key-nobody"):
            visitor_of(site, cookie).read()
        assert site.middleware.legacy_counts == {
            ("shelf", "taken-over"): 1,
            ("shelf", "bad-signature"): 1,
            ("shelf", "not-found"): 1,
        }

    def test_our_own_cookie_is_none_of_theirs_though_it_has_the_same_name(self) -> None:
        site = Site(legacy=[Shelf(cookie_name="id")])
        visitor = site.visitor()
        visitor.set(n=1)
        replay = visitor.tab()
        visitor.visit(lambda session: session.flush())
        replay.read()
        assert site.middleware.legacy_counts == {}

    def test_nothing_of_it_is_logged_but_the_reason(
        self, site: Site, visitor: Visitor, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG, "wsgi_sessions")
        visitor_of(site, "forged-credential").read()
        visitor.read()
        assert "bad-signature" in caplog.text
        assert "forged-credential" not in caplog.text
        assert "key-anna" not in caplog.text

    @pytest.mark.parametrize("quotes", ["", '"'])
    def test_an_old_cookie_of_our_name_is_not_logged_as_malformed(
        self, shelf: Shelf, quotes: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG, "wsgi_sessions.security")
        same = Shelf(cookie_name="id")
        same.sessions = shelf.sessions
        site = Site(legacy=[Shelf(), same])
        for cookie in ("key-anna", "key-nobody"):
            visitor = visitor_of(site, f"{quotes}{cookie}{quotes}", name="id")
            visitor.read()
            visitor.visit(lambda session: session.delete())
        assert not [text for text in caplog.messages if "malformed" in text]

    def test_nor_is_one_beside_ours(self, shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG, "wsgi_sessions.security")
        site = Site(legacy=[Shelf(cookie_name="id", path="/shop")])
        visitor = site.visitor()
        visitor.set(n=1)
        visitor.visit(lambda session: session["n"], cookie=f"id=key-anna; id={visitor.token}")
        assert not [text for text in caplog.messages if "malformed" in text]

    def test_one_that_nobody_accepts_is_logged_once(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG, "wsgi_sessions.security")
        site = Site(legacy=[Shelf(cookie_name="id"), Shelf(cookie_name="id")])
        visitor_of(site, "forged", name="id").read()
        assert caplog.messages == ["malformed session cookie 'id'"]

    def test_a_takeover_is_logged_and_what_loses_a_session_is_a_warning(
        self, shelf: Shelf, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG, "wsgi_sessions.migration")
        shelf.sessions["key-bert"] = LegacySession(data={"k": "x" * 500})
        site = Site(legacy=[shelf], max_payload=300)
        for cookie in ("key-anna", "key-bert", "key-nobody"):
            visitor_of(site, cookie).read()
        assert [(record.levelname, record.getMessage()[:45]) for record in caplog.records] == [
            ("INFO", "a session of shelf was taken over"),
            ("WARNING", "a session of shelf was not taken over: unstor"),
            ("INFO", "a session of shelf was not taken over: not-fo"),
        ]

    def test_a_storage_that_is_down_is_a_503_and_no_logout(self, site: Site, visitor: Visitor, shelf: Shelf) -> None:
        shelf.is_down = True
        response = visitor.visit(lambda session: session.get("user"))
        assert response.status == 503
        assert response.set_cookies == []
        shelf.is_down = False
        assert visitor.read()["user"] == "anna"

    def test_so_is_our_store_and_nothing_is_deleted_there(self, site: Site, visitor: Visitor, shelf: Shelf) -> None:
        site.store.fail("create", 1)
        assert visitor.visit(lambda session: session.get("user")).status == 503
        assert shelf.discarded == []
        assert visitor.read()["user"] == "anna"

    def test_the_next_source_is_asked(self, shelf: Shelf) -> None:
        first = Shelf()
        visitor = visitor_of(Site(legacy=[first, shelf]))
        assert visitor.read()["user"] == "anna"


class TestImported:
    def test_its_visitor_finds_it_though_the_old_storage_is_gone(self, shelf: Shelf) -> None:
        store = RecordingStore()
        session = shelf.sessions.pop("key-anna")
        store.put(imported_record("shelf", "key-anna", session, clock.now() + HOUR))
        site = Site(store, legacy=[shelf])
        visitor = visitor_of(site)
        assert visitor.read() == {"user": "anna", "cart": ["tea"]}
        assert visitor.read() == {"user": "anna", "cart": ["tea"]}
        assert len(session_records(site)) == 1

    @pytest.mark.parametrize("times", [1, 2])
    def test_an_import_that_comes_in_between_logs_nobody_out(self, shelf: Shelf, times: int) -> None:
        """It runs beside the site, and has just read the session that is taken over."""
        store = RecordingStore()
        imported = imported_record("shelf", "key-anna", shelf.sessions["key-anna"], clock.now() + HOUR)

        def bring() -> None:
            store.put(imported)
            if times == 2:
                store.inner.save(imported)

        shelf.before_open = bring
        visitor = visitor_of(Site(store, legacy=[shelf]))
        replay = visitor.tab()
        visitor.set(csrf="x")
        assert visitor.read()["user"] == "anna"
        visitor.visit(lambda session: session.flush())
        assert replay.read() == {}

    def test_nor_does_it_bring_back_what_is_ended_meanwhile(self, shelf: Shelf) -> None:
        store = RecordingStore()
        site = Site(store, legacy=[shelf])
        visitor = visitor_of(site)
        visitor.read()
        shelf.sessions["key-other"] = shelf.sessions["key-anna"] = LegacySession(data={"user": "anna"})
        imported = imported_record("shelf", "key-other", shelf.sessions["key-other"], clock.now() + HOUR)
        shelf.before_open = lambda: store.put(imported)
        visitor.put("shelf", "key-other")
        replay = visitor_of(site, "key-other")
        visitor.visit(lambda session: session.flush())
        assert replay.read() == {}

    def test_a_storage_that_was_switched_off_is_no_outage_for_who_was_not_imported(self, shelf: Shelf) -> None:
        store = RecordingStore()
        store.put(imported_record("shelf", "key-anna", shelf.sessions["key-anna"], clock.now() + HOUR))
        shelf.is_down = True
        site = Site(store, legacy=[RetiredSource(shelf)])
        stranger, visitor = visitor_of(site, "key-nobody"), visitor_of(site)
        assert stranger.set(n=1).status == 200
        assert visitor.read()["user"] == "anna"
        assert set(visitor.cookies) == {"id"}
        assert visitor_of(site, "forged").read() == {}
        assert site.middleware.legacy_counts == {
            ("shelf", "not-found"): 1,
            ("shelf", "taken-over"): 1,
            ("shelf", "bad-signature"): 1,
        }

    def test_the_living_session_comes_before_the_imported_one(self, shelf: Shelf) -> None:
        store = RecordingStore()
        store.put(imported_record("shelf", "key-anna", LegacySession(data={"user": "nobody"}), clock.now() + HOUR))
        assert visitor_of(Site(store, legacy=[shelf])).read()["user"] == "anna"

    def test_what_was_ended_there_since_is_not_taken(self, shelf: Shelf) -> None:
        store = RecordingStore()
        store.put(imported_record("shelf", "key-anna", shelf.sessions["key-anna"], clock.now() + HOUR))

        def end() -> None:
            raise LegacyError(Reason.DELETED)

        shelf.before_open = end
        assert visitor_of(Site(store, legacy=[shelf])).read() == {}

    def test_it_does_not_need_the_old_storage(self, shelf: Shelf) -> None:
        store = RecordingStore()
        store.put(imported_record("shelf", "key-anna", shelf.sessions["key-anna"], clock.now() + HOUR))
        shelf.is_down = True
        assert visitor_of(Site(store, legacy=[shelf])).read()["user"] == "anna"

    def test_without_an_end_there_a_replay_stays_out_for_years(self, shelf: Shelf) -> None:
        """It was imported with an end for want of one, but its cookie never ends."""
        with ReplacedClock() as time:
            store = RecordingStore()
            session = LegacySession(data={"k": 1})
            shelf.sessions["key-anna"] = session
            store.put(imported_record("shelf", "key-anna", session, clock.now() + HOUR))
            site = Site(store, legacy=[shelf], retire="keep")
            visitor = visitor_of(site)
            replay = visitor.tab()
            assert visitor.read() == {"k": 1}
            visitor.visit(lambda session: session.flush())
            time.advance(timedelta(days=300))
            assert replay.read() == {}

    def test_one_that_has_ended_and_is_not_swept_does_not_stand_in_the_way(self, shelf: Shelf) -> None:
        with ReplacedClock() as time:
            store = RecordingStore()
            session = LegacySession(data={"k": 1})
            shelf.sessions["key-anna"] = session
            store.put(imported_record("shelf", "key-anna", session, clock.now() + HOUR))
            time.advance(timedelta(minutes=61))
            assert visitor_of(Site(store, legacy=[shelf])).read() == {"k": 1}

    def test_it_is_taken_only_once_too(self, shelf: Shelf) -> None:
        with ReplacedClock() as time:
            store = RecordingStore()
            session = shelf.sessions.pop("key-anna")
            store.put(imported_record("shelf", "key-anna", session, clock.now() + HOUR))
            site = Site(store, legacy=[shelf])
            visitor = visitor_of(site)
            replay = visitor.tab()
            visitor.visit(lambda session: session["user"])
            visitor.visit(lambda session: session.flush())
            time.advance(2 * MINUTE)
            assert replay.read() == {}


class Prefs(Shelf):
    """All of its sessions are in the cookie, and two visitors with the same one have the same."""

    system: ClassVar[str] = "prefs"

    def open(self, cookie: str) -> LegacySession:
        return LegacySession(data={"lang": cookie[4:]}, expires=clock.now() + HOUR, personal=False)


class TestSharedCookies:
    @pytest.fixture
    def site(self) -> Site:
        return Site(legacy=[Prefs()])

    def test_two_visitors_with_the_same_cookie_do_not_meet_in_one_session(self, site: Site) -> None:
        anna, ben = visitor_of(site, "key-de"), visitor_of(site, "key-de")
        anna.set(card="4111")
        assert ben.read() == {"lang": "de"}
        assert anna.cookies != ben.cookies
        assert anna.read() == {"lang": "de", "card": "4111"}

    def test_one_who_comes_later_gets_in_too(self, site: Site) -> None:
        with ReplacedClock() as time:
            visitor_of(site, "key-de").read()
            time.advance(10 * MINUTE)
            assert visitor_of(site, "key-de").read() == {"lang": "de"}

    @pytest.mark.parametrize("wait", [timedelta(), 2 * MINUTE, timedelta(minutes=59)])
    @pytest.mark.parametrize("retire", ["delete", "keep"])
    def test_after_the_logout_a_replay_stays_logged_out(self, wait: timedelta, retire: str) -> None:
        with ReplacedClock() as time:
            visitor = visitor_of(Site(legacy=[Prefs()], retire=retire), "key-de")
            replay = visitor.tab()
            visitor.read()
            visitor.visit(lambda session: session.cycle_id())
            visitor.visit(lambda session: session.flush())
            time.advance(wait)
            assert replay.read() == {}

    def test_after_all_sessions_of_a_user_were_ended_a_replay_stays_logged_out(self, site: Site) -> None:
        visitor = visitor_of(site, "key-de")
        replay = visitor.tab()

        def login(session: Any) -> None:
            session.owner = "anna"

        visitor.visit(login)
        assert revoke(site.store, "anna") == 1
        assert replay.read() == {}

    @pytest.mark.parametrize("method", ["load", "create", "delete"])
    @pytest.mark.parametrize("after", range(4))
    def test_a_logout_is_done_or_a_503(self, method: str, after: int) -> None:
        store = Failing(None, after)
        visitor = visitor_of(Site(store, legacy=[Prefs()]), "key-de")
        replay = visitor.tab()
        visitor.read()
        store.method = method
        response = visitor.visit(lambda session: session.flush())
        store.method = None
        if response.status == 200:
            assert replay.read() == {}
        assert visitor.read() == ({} if response.status == 200 else {"lang": "de"})

    def test_nothing_is_left_of_it_after_its_end(self, site: Site) -> None:
        with ReplacedClock() as time:
            visitor_of(site, "key-de").read()
            time.advance(timedelta(hours=26))
            assert session_records(site) == site.store.records == []
