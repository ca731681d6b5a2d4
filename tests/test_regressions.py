"""Symptoms that were seen once: what an application, a visitor or an operator would notice."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from harness import ALWAYS, TEXT, Browser, Exchange, RecordingStore, Site, Visitor, call, make_environ, wrapped

from wsgi_sessions import codec
from wsgi_sessions.exceptions import (
    RecordNotFound,
    SerializationError,
    SessionFrozen,
    StoreError,
    VersionConflict,
)
from wsgi_sessions.expiry import Expiry, OnInactivity, OnSessionEnd
from wsgi_sessions.middleware import SessionMiddleware, get_session, open_session
from wsgi_sessions.record import Record, open_envelope, seal
from wsgi_sessions.session import Session
from wsgi_sessions.stores.memory import MemoryStore
from wsgi_sessions.testing import ReplacedClock

# Over each kind of store.
pytestmark = pytest.mark.usefixtures("backend")

START = 2_000_000_000_000
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
# No test waits this long unless it fails.
TIMEOUT = 20
UNREADABLE = b'{"$":["FutureType",[1]]}'
Act = Callable[[Session], Any]


class SoldOut(Exception):
    """The application's own, raised by a function that was given to ``mutate``."""


class AmbiguousStore(RecordingStore):
    """Does what it is told and then fails to say so, as after a timeout."""

    def __init__(self) -> None:
        super().__init__()
        self.lost_answers = 0

    def save(self, record: Record) -> Record:
        saved = super().save(record)
        if self.lost_answers:
            self.lost_answers -= 1
            raise StoreError("the answer was lost")
        return saved


class FailingAfterConflict(RecordingStore):
    """Goes down for one save after each conflict."""

    def save(self, record: Record) -> Record:
        try:
            return super().save(record)
        except VersionConflict:
            self.fail("save")
            raise


@pytest.fixture(autouse=True)
def replaced() -> Iterator[ReplacedClock]:
    with ReplacedClock(start=START) as clock:
        yield clock


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def visitor(site: Site) -> Visitor:
    """A browser whose session holds ``{"user": 1}``."""
    return signed_in(site)


def signed_in(site: Site, **values: Any) -> Visitor:
    visitor = site.visitor()
    visitor.set(**(values or {"user": 1}))
    return visitor


def only(store: RecordingStore) -> Record:
    (record,) = store.records
    return record


def stored(store: RecordingStore) -> dict[str, Any]:
    """Return what the only session of the store holds."""
    with open_session(store.inner, only(store).id) as session:
        return dict(session)


def errors_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("wsgi_sessions") and record.levelno >= logging.ERROR
    ]


def take(left: int) -> int:
    if left <= 0:
        raise SoldOut
    return left - 1


def rotate(session: Session) -> None:
    session.cycle_id()
    session.save()


# A store error after something became durable

OUTAGES: dict[str, Callable[[Site, Session], None]] = {
    "leaves the application": lambda site, session: session.save(),
    "is met at commit": lambda site, session: None,
    "is caught and answered 500": lambda site, session: suppressed(session.save),
}


def suppressed(action: Callable[[], object]) -> None:
    with suppress(StoreError):
        action()


def error_app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("503 Down", list(TEXT))
    return [b"down"]


@pytest.mark.parametrize("options", [{}, {"error_app": error_app}], ids=["default", "error_app"])
@pytest.mark.parametrize("outage", OUTAGES)
@pytest.mark.parametrize("is_new", [False, True])
def test_a_503_does_not_keep_a_durable_token_to_itself(outage: str, is_new: bool, options: dict[str, Any]) -> None:
    """The old secret opens nothing any more: without the cookie the visitor would be signed out."""
    site = Site(**options)
    visitor = site.visitor() if is_new else signed_in(site)

    def handler(session: Session) -> None:
        if is_new:
            session["user"] = 1
        rotate(session)
        site.store.fail("save", ALWAYS)
        session["more"] = 2
        OUTAGES[outage](site, session)

    before = visitor.token
    response = visitor.visit(handler, status=500 if "500" in outage else 200)
    site.store.recover()
    assert response.status == 503
    assert len(response.set_cookies) == 1
    assert visitor.token != before
    assert visitor.read() == {"user": 1}
    assert response.header("Vary") is not None
    assert "no-store" in str(response.header("Cache-Control"))


@pytest.mark.parametrize("options", [{}, {"error_app": error_app}], ids=["default", "error_app"])
@pytest.mark.parametrize("outage", OUTAGES)
def test_a_503_after_a_flush_does_not_leave_the_dead_cookie(outage: str, options: dict[str, Any]) -> None:
    site = Site(**options)
    visitor = signed_in(site)

    def handler(session: Session) -> None:
        session.flush()
        site.store.fail("create", ALWAYS)
        session["flash"] = "bye"
        OUTAGES[outage](site, session)

    response = visitor.visit(handler, status=500 if "500" in outage else 200)
    assert response.status == 503
    assert len(response.set_cookies) == 1
    assert visitor.token is None
    assert site.store.records == []


# A session that is opened outside of a request


@pytest.mark.parametrize("idle", [30 * MINUTE, 60 * DAY], ids=["30 minutes", "60 days"])
@pytest.mark.parametrize(
    "use",
    [lambda session: None, lambda session: session.get("user"), lambda session: session.update(user=2)],
    ids=["unused", "read", "written"],
)
def test_open_session_without_an_expiry_does_not_move_the_end(use: Act, idle: timedelta, replaced: Any) -> None:
    """It knows nothing of the middleware's policy."""
    site = Site(expiry=OnInactivity(idle))
    visitor = signed_in(site)
    replaced.advance(10 * MINUTE)
    before = only(site.store).expires
    with open_session(site.store, visitor.id) as session:
        use(session)
    assert only(site.store).expires == before
    with open_session(site.store, visitor.id, expiry=OnInactivity(3 * HOUR)) as session:
        session["more"] = 1
    assert only(site.store).expires == replaced.now() + 3 * 3_600_000


@pytest.mark.parametrize("use", [lambda s: None, lambda s: s.get("user")], ids=["unused", "read"])
def test_open_session_with_an_expiry_moves_the_end(use: Act, replaced: Any) -> None:
    """Guards the one above: who names a policy means it."""
    site = Site(expiry=OnInactivity(30 * MINUTE))
    visitor = signed_in(site)
    replaced.advance(10 * MINUTE)
    with open_session(site.store, visitor.id, expiry=OnInactivity(3 * HOUR)) as session:
        use(session)
    assert only(site.store).expires == replaced.now() + 3 * 3_600_000


def test_the_token_of_a_session_that_was_never_used_is_none() -> None:
    with open_session(MemoryStore()) as session:
        pass
    assert session.token is None


def test_open_session_does_not_make_another_record_after_its_own_was_ended(site: Site, visitor: Visitor) -> None:

    def work() -> None:
        with open_session(site.store, visitor.id) as session:
            session["x"] = 1
            site.store.delete(visitor.id)
            session.save()
            session.load()
            session["x"] = 2

    with pytest.raises(RecordNotFound):
        work()
    assert site.store.records == []


# Tokens that change hands


def test_two_rotations_in_one_request_do_not_turn_a_parallel_one_into_a_new_session(
    site: Site, visitor: Visitor, replaced: Any
) -> None:
    """The parallel request's answer would overwrite the cookie of the login."""
    parallel = visitor.tab()

    def login(session: Session) -> None:
        rotate(session)
        session.owner = "alice"

    visitor.visit(login)
    for _ in range(2):
        assert parallel.set(y=1).set_cookies == []
        assert len(site.store.records) == 1
        replaced.advance(59 * SECOND)
    assert parallel.read() == {}
    assert visitor.read() == {"user": 1}


def test_a_flush_after_another_requests_login_does_not_remove_its_cookie(site: Site, visitor: Visitor) -> None:
    other = visitor.tab()

    def handler(session: Session) -> None:
        session["x"] = 1
        other.visit(lambda session: session.cycle_id())
        session.save()
        session.flush()

    assert visitor.visit(handler).set_cookies == []
    assert other.read() == {"user": 1}


@pytest.mark.parametrize("later", [timedelta(0), SECOND], ids=["at once", "a second later"])
def test_a_token_that_was_replaced_since_the_save_is_not_sent(later: timedelta, replaced: Any) -> None:
    site = Site(expiry=OnInactivity(HOUR, touch_every=timedelta(0)))
    visitor = signed_in(site)
    other, dead = visitor.tab(), str(visitor.token)

    def handler(session: Session) -> None:
        replaced.advance(SECOND)
        session["x"] = 1
        session.save()
        other.visit(lambda session: session.cycle_id())
        replaced.advance(later)

    assert [header for header in visitor.visit(handler).set_cookies if dead in header] == []
    assert other.token != dead
    assert other.read() == {"user": 1, "x": 1}


# Values and conflicts


def test_a_function_that_refuses_to_run_again_costs_no_other_keys_change() -> None:
    site = Site()
    visitor = signed_in(site, a=0, b=5)
    other = visitor.tab()

    def handler(session: Session) -> None:
        session.mutate("a", lambda number: number + 1)
        session.mutate("b", take)
        other.set(a=10, b=0)
        with pytest.raises(SoldOut):
            session.save()
        session["b"] = 0

    visitor.visit(handler)
    assert stored(site.store) == {"a": 11, "b": 0}


def test_a_function_that_refuses_to_run_again_while_the_body_is_sent_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing may leave ``close``, and the session ends with its response all the same."""
    site = Site()
    visitor = signed_in(site, b=5)
    other = visitor.tab()
    kept: list[Session] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        session = get_session(environ)
        kept.append(session)
        assert session["b"] == 5
        start_response("200 OK", list(TEXT))
        yield b"head"
        session.mutate("b", take)
        other.set(b=0)
        yield b"tail"

    response = Exchange(wrapped(app, site.store), visitor.environ()).finish()
    assert response.body == b"headtail"
    assert len(errors_in(caplog)) == 1
    with pytest.raises(SessionFrozen):
        kept[0]["x"] = 1
    assert stored(site.store) == {"b": 0}


@pytest.mark.parametrize(
    "read",
    [lambda session: session.get("new"), lambda session: "new" in session, list, len],
    ids=["get", "in", "iter", "len"],
)
def test_reading_a_value_that_does_not_decode_does_not_destroy_it(read: Act, site: Site, visitor: Visitor) -> None:
    """A newer version may have written it, and reads it again after a rollback; only ``clear`` removes it."""

    def raw() -> dict[str, bytes]:
        record = only(site.store)
        return {key: bytes(value) for key, value in open_envelope(record.payload, record.id).data.items()}

    record = only(site.store)
    envelope = open_envelope(record.payload, record.id)
    envelope.data["new"] = msgspec.Raw(UNREADABLE)
    site.store.put(msgspec.structs.replace(record, payload=seal(envelope)))

    def handler(session: Session) -> None:
        read(session)
        assert session.get("new", "absent") == "absent"
        session["user"] = 2
        session.save()
        assert session.get("new", "absent") == "absent"
        session["user"] = 3

    visitor.visit(handler)
    assert raw() == {"user": b"3", "new": UNREADABLE}

    visitor.visit(lambda session: (read(session), session.get("new"), session.clear()))
    assert raw() == {}


def test_a_function_that_changed_nothing_is_no_obstacle_after_a_conflict() -> None:
    site = Site(FailingAfterConflict())
    visitor = signed_in(site, n=0, a=0)
    other = visitor.tab()

    def handler(session: Session) -> None:
        session.mutate("n", lambda number: min(number, 9))
        session["a"] = 1
        other.set(n=5, z=1)
        with pytest.raises(StoreError):
            session.save()
        assert session.mutate("n", lambda number: number + 1) == 6

    visitor.visit(handler)
    assert stored(site.store) == {"n": 6, "a": 1, "z": 1}


def test_a_function_can_run_on_a_key_that_another_request_has_removed() -> None:
    site = Site()
    visitor = signed_in(site, n=0, a=0)
    other = visitor.tab()

    def remove(session: Session) -> None:
        del session["n"]
        session["a"] = 1

    def handler(session: Session) -> None:
        session.mutate("n", lambda number: number)
        session["a"] = 1
        other.visit(remove)
        session.save()
        assert session.mutate("n", lambda number: number + 1, 0) == 1

    visitor.visit(handler)
    assert stored(site.store) == {"n": 1, "a": 1}


def test_functions_that_run_again_do_not_share_what_they_return() -> None:
    site = Site()
    visitor = signed_in(site, l=[9])
    other = visitor.tab()
    default: list[str] = []

    def handler(session: Session) -> None:
        session.mutate("l", lambda value: default)
        session.mutate("l", lambda value: value.append("private") or value)
        other.set(l=[8])

    visitor.visit(handler)
    assert default == []
    assert stored(site.store) == {"l": ["private"]}


# A save whose outcome is not known


@pytest.mark.parametrize("again", [lambda session: session.save(), lambda session: None], ids=["save", "commit"])
def test_a_save_that_is_repeated_runs_a_function_once(again: Act) -> None:
    site = Site(AmbiguousStore())
    visitor = signed_in(site, n=0)

    def handler(session: Session) -> None:
        session.mutate("n", lambda number: number + 1)
        site.store.lost_answers = 1
        with pytest.raises(StoreError):
            session.save()
        again(session)

    assert visitor.visit(handler).status == 200
    assert stored(site.store) == {"n": 1}


@pytest.mark.parametrize("again", [lambda session: session.save(), lambda session: None], ids=["save", "commit"])
def test_a_login_whose_save_is_repeated_is_not_taken_for_anothers(again: Act) -> None:
    site = Site(AmbiguousStore())
    visitor = signed_in(site)
    before = visitor.token

    def handler(session: Session) -> None:
        session.owner = "al"
        site.store.lost_answers = 1
        with pytest.raises(StoreError):
            session.save()
        again(session)

    response = visitor.visit(handler)
    assert response.status == 200
    assert len(response.set_cookies) == 1
    assert visitor.token != before
    assert visitor.ask(lambda session: session.owner) == "al"
    assert visitor.read() == {"user": 1}


@pytest.mark.parametrize("is_new", [False, True])
def test_a_store_error_of_save_that_the_application_answered_stays_answered(
    is_new: bool, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    visitor = site.visitor() if is_new else signed_in(site)

    def handler(session: Session) -> None:
        session["x"] = 1
        site.store.fail_always()
        suppressed(session.save)

    response = visitor.visit(handler)
    assert (response.status, response.text) == (200, "page")
    assert response.set_cookies == []
    assert errors_in(caplog) != []


def test_a_login_that_the_response_could_not_announce_is_not_stored_after_it(site: Site, visitor: Visitor) -> None:
    """The store comes back while the body is sent: the secret in the browser must not be replaced then."""

    def handler(session: Session) -> None:
        session.owner = "al"
        # In save() and at commit; what comes after succeeds.
        site.store.fail("save", 2)
        suppressed(session.save)

    response = visitor.visit(handler)
    assert (response.status, response.set_cookies) == (200, [])
    assert visitor.read() == {"user": 1}


def test_a_write_that_fails_at_commit_for_the_first_time_is_a_503(site: Site, visitor: Visitor) -> None:
    """Guards the one above: that a load had failed before says nothing about the write."""

    def handler(session: Session) -> None:
        site.store.fail("load")
        suppressed(lambda: session.get("user"))
        session["x"] = 1
        site.store.fail("save", ALWAYS)

    assert visitor.visit(handler).status == 503


# Threads


class WatchedLock:
    """An RLock that says when a thread is about to wait for it.

    :param owner: the thread of which that is not said.
    """

    def __init__(self, wanted: threading.Event) -> None:
        self.lock, self.wanted, self.owner = threading.RLock(), wanted, threading.current_thread()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if threading.current_thread() is not self.owner:
            self.wanted.set()
        return self.lock.acquire(blocking, timeout)

    def release(self) -> None:
        self.lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exception: object) -> None:
        self.release()


def test_a_thread_that_waits_while_the_session_is_committed_is_told_that_it_is_too_late() -> None:
    wanted, outcomes, threads = threading.Event(), [], []

    class Store(RecordingStore):
        session: Session | None = None

        def save(self, record: Record) -> Record:
            if self.session is not None:
                threads.append(threading.Thread(target=write, args=(self.session,)))
                self.session = None
                threads[0].start()
                assert wanted.wait(TIMEOUT)
            return super().save(record)

    def write(session: Session) -> None:
        try:
            session["b"] = 1
            outcomes.append("written")
        except SessionFrozen:
            outcomes.append("told")
        finally:
            wanted.set()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        session = get_session(environ)
        session["a"] = session.get("a", 0) + 1
        assert session._state is not None
        if session["a"] == 2:
            session._state.lock = WatchedLock(wanted)  # type: ignore[assignment]
            store.session = session
        start_response("200 OK", list(TEXT))
        return [b"page"]

    store = Store()
    browser = Browser(SessionMiddleware(app, store))
    browser.get()
    browser.get()
    threads[0].join(TIMEOUT)
    assert outcomes == ["told"]
    assert stored(store) == {"a": 2}


@pytest.mark.parametrize("times", [1, ALWAYS], ids=["once", "all the time"])
def test_a_dict_that_changes_while_it_is_encoded_is_a_serialization_error(
    times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another thread does between two of its items is done here by the turn of one of them."""
    changing: dict[str, Any] = {"a": UUID(int=1), "b": 2}
    tag, calls = codec._taggers[UUID], []

    def change(value: UUID, depth: int) -> Any:
        if len(calls) < times:
            calls.append(value)
            changing[f"new{len(calls)}"] = 1
        return tag(value, depth)

    monkeypatch.setitem(codec._taggers, UUID, change)
    with pytest.raises(SerializationError):
        codec.encode(changing)
    assert calls


# Ends


@pytest.mark.parametrize("policy", [OnInactivity(HOUR, touch_every=None), OnSessionEnd(HOUR, touch_every=None)])
def test_the_end_that_is_told_after_a_read_is_the_one_that_holds(policy: Expiry, replaced: Any) -> None:
    site = Site(expiry=policy)
    visitor = signed_in(site)
    replaced.advance(20 * MINUTE)
    told = visitor.ask(lambda session: (session["user"], session.expiry_date, session.expiry_age))
    assert round(told[1].timestamp() * 1000) == only(site.store).expires == START + 3_600_000
    assert told[2] == 40 * MINUTE


# What is shown


def _shown(site: Site, visitor: Visitor) -> dict[str, Any]:
    """Return one of everything that holds a secret or a value."""
    shown: dict[str, Any] = {}

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        session = get_session(environ)
        session["card"]
        assert session._state is not None
        shown["Values"] = session._state.values
        shown["SessionToken"] = session._state.token
        shown["response"] = start_response.__self__
        start_response("200 OK", list(TEXT))
        return []

    # Without a protocol checker, whose own start_response the application would see.
    Exchange(SessionMiddleware(app, site.store), visitor.environ()).finish()
    shown["Record"] = only(site.store)
    shown["Envelope"] = open_envelope(only(site.store).payload, visitor.id)
    return shown


@pytest.mark.parametrize("name", ["SessionToken", "Record", "Envelope", "Values", "response"])
def test_what_rich_shows_of_it_holds_no_secret_and_no_value(name: str, site: Site) -> None:
    visitor = signed_in(site, card=["4111-1111"])
    shown = _shown(site, visitor)[name]
    envelope = open_envelope(only(site.store).payload, visitor.id)
    text = repr(list(shown.__rich_repr__()))
    assert str(visitor.token).partition(".")[2] not in text
    assert "4111-1111" not in text
    assert repr(envelope.secret_hash)[2:-1] not in text
    assert "payload=" not in text
    assert "'payload'" not in text


# write()


def test_a_write_that_failed_over_a_value_can_be_repeated() -> None:
    store = RecordingStore()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        session = get_session(environ)
        if "k" in session:
            start_response("200 OK", list(TEXT))
            return [repr(session["k"]).encode()]
        session["k"] = [object()]
        write = start_response("200 OK", list(TEXT))
        with pytest.raises(SerializationError):
            write(b"lost")
        session["k"] = ["repaired"]
        write(b"sent")
        return []

    browser = Browser(wrapped(app, store))
    response = browser.get()
    assert (response.status, response.body) == (200, b"sent")
    assert len(response.set_cookies) == 1
    assert browser.get().text == "['repaired']"


def test_after_a_write_that_became_a_503_nobody_asks_for_the_bodys_items() -> None:
    """They would do their work, and may fail, for nobody."""
    seen: list[str] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            return self

        def __next__(self) -> bytes:
            seen.append("asked")
            raise SoldOut

        def close(self) -> None:
            seen.append("closed")

    def app(environ: dict[str, Any], start_response: Any) -> Body:
        get_session(environ)["a"] = 1
        start_response("200 OK", list(TEXT))(b"lost")
        return Body()

    store = RecordingStore()
    store.fail("create", ALWAYS)
    assert call(SessionMiddleware(app, store)).status == 503
    assert seen == ["closed"]
    # Nor is it left open where nobody asks for anything.
    seen.clear()
    Exchange(SessionMiddleware(app, store), make_environ()).close()
    assert seen == ["closed"]


def test_a_session_stays_frozen_when_error_app_answers_late() -> None:
    """An error_app may be a generator, which starts its response only when the server asks for its first item."""
    store = RecordingStore()
    seen: list[Session] = []

    def error_app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("503 Soon", [("Content-Type", "text/plain")])
        yield b"soon"

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        session = get_session(environ)
        seen.append(session)
        session["a"] = 1
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"page"]

    store.fail("create")
    assert call(SessionMiddleware(app, store, error_app=error_app)).status == 503
    with pytest.raises(SessionFrozen):
        seen[0]["b"] = 2
