"""The session as an application sees it, through the middleware."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict

import msgspec
import pytest
from harness import TEXT, RecordingStore, Site, Visitor, wrapped

from wsgi_sessions.cookies.cookie import SessionCookie
from wsgi_sessions.cookies.signed import SignedCookie
from wsgi_sessions.exceptions import (
    HeadersSent,
    RecordExists,
    RecordNotFound,
    SerializationError,
    SessionDeleted,
    SessionFrozen,
    SessionTooLarge,
    StoreError,
    VersionConflict,
)
from wsgi_sessions.expiry import AtDateTime, OnInactivity, OnSessionEnd
from wsgi_sessions.middleware import get_session, open_session
from wsgi_sessions.operations import revoke
from wsgi_sessions.record import Record
from wsgi_sessions.session import Session
from wsgi_sessions.testing import ReplacedClock
from wsgi_sessions.token import SessionToken

# Over each kind of store.
pytestmark = pytest.mark.usefixtures("backend")

START = 2_000_000_000_000
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
MILLISECOND = timedelta(milliseconds=1)
Act = Callable[[Session], Any]


@pytest.fixture(autouse=True)
def replaced() -> Iterator[ReplacedClock]:
    with ReplacedClock(start=START) as clock:
        yield clock


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def visitor(site: Site) -> Visitor:
    """A browser with the session ``{"user": 1, "cart": ["apple"]}``, whose making is not in the store's log."""
    visitor = site.visitor()
    visitor.set(user=1, cart=["apple"])
    site.store.forget()
    return visitor


@pytest.fixture
def security(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "wsgi_sessions.security")
    return caplog


def only(store: RecordingStore) -> Record:
    (record,) = store.records
    return record


def skip_without_owners(store: RecordingStore) -> None:
    if not store.enumerable:
        pytest.skip("this store cannot search by owner")


def replace(store: RecordingStore, **changes: Any) -> None:
    """Change the only record behind everybody's back."""
    record = msgspec.structs.replace(only(store), **changes)
    store.put(record)


def assigns(name: str, value: Any) -> Act:
    return lambda session: setattr(session, name, value)


def sets(key: str, value: Any) -> Act:
    return lambda session: session.__setitem__(key, value)


# Laziness


def test_a_request_that_does_not_use_its_session_asks_nothing(site: Site, visitor: Visitor) -> None:
    """seed 1.3: a session that nobody touches costs no store call."""
    response = visitor.visit(lambda session: None)
    assert site.store.calls == []
    assert response.headers == TEXT


@pytest.mark.parametrize("name", ["is_loaded", "is_modified", "accessed"])
def test_what_does_no_io_does_none(name: str, site: Site, visitor: Visitor) -> None:
    assert visitor.ask(lambda session: getattr(session, name)) is False
    assert site.store.calls == []


@pytest.mark.parametrize(
    "use",
    [
        *(
            lambda session, name=name: getattr(session, name)
            for name in ("id", "is_new", "is_empty", "created", "owner", "expiry", "expiry_date", "expiry_age")
        ),
        len,
        bool,
        list,
        lambda session: session.get("x"),
        lambda session: "x" in session,
        lambda session: session == {},
        lambda session: session.pop("x", None),
        lambda session: session.save(),
    ],
)
def test_the_first_use_loads_once(use: Act, site: Site, visitor: Visitor) -> None:
    def handler(session: Session) -> None:
        use(session)
        assert session.is_loaded
        assert session.accessed
        use(session)

    visitor.visit(handler)
    assert site.store.methods == ["load"]


def test_a_visitor_without_a_cookie_loads_nothing(site: Site) -> None:
    site.visitor().read()
    assert site.store.calls == []


def test_a_store_error_is_raised_and_not_remembered(site: Site, visitor: Visitor) -> None:
    """seed 1.6: the next use asks again; an outage is not an empty session."""
    site.store.fail("load")

    def handler(session: Session) -> None:
        with pytest.raises(StoreError):
            session["user"]
        assert not session.is_loaded
        assert session["user"] == 1

    visitor.visit(handler)


def test_is_modified_tells_whether_anything_would_be_saved(visitor: Visitor) -> None:
    def handler(session: Session) -> None:
        session["cart"]
        session["user"] = 1
        assert not session.is_modified
        session["cart"].append("pear")
        assert session.is_modified
        session.save()
        assert not session.is_modified
        session["cart"].append(object())
        assert session.is_modified
        session.load()
        assert not session.is_modified
        session.cycle_id()
        assert session.is_modified

    visitor.visit(handler)


# The mapping

MISSING: Any = object()
DATA = {"user": 1, "cart": ["apple"], "none": None}
OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "getitem": lambda it: it["cart"],
    "getitem absent": lambda it: it["absent"],
    "getitem of a number": lambda it: it[5],
    "get": lambda it: it.get("cart"),
    "get absent": lambda it: it.get("absent"),
    "get default": lambda it: it.get("absent", 5),
    "get None": lambda it: it.get("none", 5),
    "in": lambda it: "none" in it,
    "in absent": lambda it: "absent" in it,
    "in of a number": lambda it: 5 in it,
    "in unhashable": lambda it: [] in it,
    "iter": lambda it: list(iter(it)),
    "len": len,
    "bool": bool,
    "keys": lambda it: list(it.keys()),
    "values": lambda it: list(it.values()),
    "items": lambda it: list(it.items()),
    "keys is a set": lambda it: it.keys() & {"user", "other"},
    "==": lambda it: it == dict(DATA),
    "== other": lambda it: it == {"user": 1},
    "!=": lambda it: it != {"user": 1},
    "== list": lambda it: it == [],
    "setitem": lambda it: it.__setitem__("new", 5),
    "setitem over": lambda it: it.__setitem__("user", [5]),
    "delitem": lambda it: it.__delitem__("user"),
    "delitem absent": lambda it: it.__delitem__("absent"),
    "pop": lambda it: it.pop("user"),
    "pop default": lambda it: it.pop("user", 5),
    "pop absent": lambda it: it.pop("absent"),
    "pop absent default": lambda it: it.pop("absent", 5),
    "popitem": lambda it: it.popitem(),
    "popitem of all": lambda it: [it.popitem() for _ in range(4)],
    "setdefault": lambda it: it.setdefault("new", [5]),
    "setdefault present": lambda it: it.setdefault("none", 5),
    "setdefault without default": lambda it: it.setdefault("new"),
    "setdefault and change": lambda it: it.setdefault("new", []).append(5),
    "update mapping": lambda it: it.update({"user": 2, "new": 5}),
    "update pairs": lambda it: it.update([("user", 2), ("new", 5)]),
    "update keywords": lambda it: it.update(user=2, other=6),
    "update both": lambda it: it.update({"user": 2}, user=3, self=4),
    "update nothing": lambda it: it.update(),
    "update of no mapping": lambda it: it.update(5),
    "clear": lambda it: it.clear(),
    "nested append": lambda it: it["cart"].append("pear"),
}


def outcome(operation: Callable[[Any], Any], target: Any) -> Any:
    try:
        return operation(target)
    except (KeyError, TypeError) as error:
        return type(error)


@pytest.mark.parametrize("name", OPERATIONS)
def test_it_does_what_a_dict_does(name: str, site: Site) -> None:
    """Trap 40: and so does the next request."""
    visitor = site.visitor()
    visitor.set(**DATA)
    model = {"user": 1, "cart": ["apple"], "none": None}
    operation = OPERATIONS[name]
    assert visitor.ask(lambda session: outcome(operation, session)) == outcome(operation, model)
    assert visitor.read() == model


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_new_one_does_what_an_empty_dict_does(name: str, site: Site) -> None:
    visitor = site.visitor()
    model: dict[str, Any] = {}
    operation = OPERATIONS[name]
    assert visitor.ask(lambda session: outcome(operation, session)) == outcome(operation, model)
    assert visitor.read() == model
    assert len(site.store.records) == bool(model)


@pytest.mark.parametrize(
    "read",
    [name for name in OPERATIONS if name.split()[0] in ("getitem", "get", "in", "iter", "len", "keys", "values", "==")],
)
def test_reading_writes_nothing(read: str, site: Site, visitor: Visitor) -> None:
    response = visitor.visit(lambda session: outcome(OPERATIONS[read], session))
    assert set(site.store.methods) <= {"load"}
    assert response.set_cookies == []


def test_the_keys_can_be_changed_while_they_are_iterated(visitor: Visitor) -> None:
    def handler(session: Session) -> None:
        for key in session:
            del session[key]

    visitor.visit(handler)
    assert visitor.read() == {}


def test_popitem_of_an_empty_session_raises_key_error(site: Site) -> None:
    with pytest.raises(KeyError, match="empty"):
        site.visitor().visit(lambda session: session.popitem())


def test_removing_a_key_that_is_not_there_saves_nothing(site: Site, visitor: Visitor) -> None:
    """Trap 16."""
    response = visitor.visit(lambda session: session.pop("absent", None))
    assert site.store.methods == ["load"]
    assert response.set_cookies == []


def test_a_value_of_a_wrong_type_is_refused_at_once(visitor: Visitor) -> None:
    """T-45: the path is named, the value is not."""

    def handler(session: Session) -> None:
        with pytest.raises(SerializationError) as raised:
            session["password"] = type("Hunter2", (str,), {})("hunter2")
        assert str(raised.value).startswith("session['password']: ")
        assert "hunter2" not in str(raised.value)

    visitor.visit(handler)


def test_what_is_wrong_inside_a_value_is_the_applications_error_at_commit(site: Site, visitor: Visitor) -> None:
    """T-45: raised like a bug, and the stored session stays as it was."""
    before = only(site.store)
    with pytest.raises(SerializationError, match=r"session\['cart'\]\[1\]"):
        visitor.visit(lambda session: session["cart"].append(object()))
    assert only(site.store) == before
    assert visitor.read() == {"user": 1, "cart": ["apple"]}


def test_values_nested_too_deep_are_refused_and_the_stored_session_stays(site: Site, visitor: Visitor) -> None:
    """T-44."""
    deep: list[Any] = []
    for _ in range(100):
        deep = [deep]
    with pytest.raises(SerializationError, match="nested deeper"):
        visitor.visit(sets("deep", deep))
    assert visitor.read() == {"user": 1, "cart": ["apple"]}


# Typed values


@dataclass
class Item:
    name: str
    count: int = 1


class Cart(TypedDict):
    items: list[str]


class Point(msgspec.Struct):
    x: int


def test_a_typed_get_returns_that_type(site: Site) -> None:
    visitor = site.visitor()
    visitor.set(item={"name": "apple"}, cart={"items": ["pear"]}, point={"x": 1}, number=5)

    def handler(session: Session) -> None:
        assert session.get("item", type=Item) == Item("apple", 1)
        assert session.get("cart", type=Cart) == {"items": ["pear"]}
        assert session.get("point", type=Point) == Point(1)
        assert session.get("number", type=int) == 5
        assert session.get("absent", type=Item) is None
        assert session.get("absent", Item("none"), type=Item) == Item("none")

    visitor.visit(handler)


def test_a_typed_get_shares_nothing_with_the_session(site: Site) -> None:
    visitor = site.visitor()
    visitor.set(cart={"items": ["pear"]})
    for prepare in (lambda session: None, lambda session: session["cart"]):

        def handler(session: Session, prepare: Act = prepare) -> None:
            prepare(session)
            cart = session.get("cart", type=Cart)
            assert cart is not None
            cart["items"].append("apple")
            assert not session.is_modified

        visitor.visit(handler)
    assert visitor.read() == {"cart": {"items": ["pear"]}}


def test_a_typed_get_of_another_type_is_an_error_without_the_value(visitor: Visitor) -> None:
    """T-72; trap 17: and the value is still there."""
    visitor.set(password="hunter2", item={"name": "apple", "count": "hunter2"})

    def handler(session: Session) -> None:
        for key, wanted, path in (("password", int, "session['password']"), ("item", Item, "session['item']['count']")):
            with pytest.raises(SerializationError) as raised:
                session.get(key, type=wanted)
            assert str(raised.value).startswith(path + ": ")
            assert "hunter2" not in f"{raised.value!r} {raised.value.__cause__!r} {raised.value.__context__!r}"
        assert session["password"] == "hunter2"

    visitor.visit(handler)


# What is known about it


def test_a_new_session_is_known_by_little(site: Site) -> None:
    def handler(session: Session) -> None:
        assert session.id is None
        assert session.is_new
        assert session.is_empty
        assert session.owner is None
        assert session.created == datetime.fromtimestamp(START / 1000, UTC)
        assert session.expiry == OnSessionEnd()
        assert session.expiry_age == timedelta(weeks=2)
        assert session.expiry_date == session.created + timedelta(weeks=2)
        session["user"] = 1
        assert not session.is_empty
        assert session.id is None
        session.save()
        assert session.id == only(site.store).id
        assert session.is_new

    site.visitor().visit(handler)


def test_a_stored_session_is_known_by_what_is_stored(site: Site, visitor: Visitor, replaced: ReplacedClock) -> None:
    replaced.advance(MINUTE)

    def handler(session: Session) -> None:
        assert session.id == visitor.id
        assert not session.is_new
        assert not session.is_empty
        assert session.created == datetime.fromtimestamp(START / 1000, UTC)
        assert session.expiry_age == timedelta(weeks=2) - MINUTE
        assert session.expiry_date == datetime.fromtimestamp(START / 1000, UTC) + timedelta(weeks=2)
        session.clear()
        assert session.is_empty
        assert session.id == visitor.id

    visitor.visit(handler)


def test_expiry_age_is_never_negative() -> None:
    """seed 1.6."""
    site = Site(expiry=AtDateTime(datetime.fromtimestamp(START / 1000, UTC) - HOUR))
    assert site.visitor().ask(lambda session: session.expiry_age) == timedelta(0)


# Owner


def test_the_owner_is_stored_and_found(site: Site, visitor: Visitor) -> None:
    skip_without_owners(site.store)
    visitor.visit(assigns("owner", "alice"))
    assert visitor.ask(lambda session: session.owner) == "alice"
    assert [record.id for record in site.store.find_by_owner("alice")] == [visitor.id]


def test_another_owner_gives_a_new_token(site: Site, visitor: Visitor) -> None:
    """T-11: whoever knew the token before the login does not know the one after it."""
    before = visitor.tab()
    visitor.visit(assigns("owner", "alice"))
    assert visitor.token != before.token
    assert visitor.id == before.id
    assert before.read() == {}
    assert visitor.read() == {"user": 1, "cart": ["apple"]}
    alice = visitor.tab()
    visitor.visit(assigns("owner", None))
    assert alice.read() == {}
    assert visitor.ask(lambda session: session.owner) is None


def test_the_same_owner_changes_nothing(site: Site, visitor: Visitor) -> None:
    visitor.visit(assigns("owner", "alice"))
    site.store.forget()
    response = visitor.visit(assigns("owner", "alice"))
    assert site.store.methods == ["load"]
    assert response.set_cookies == []


def test_an_owner_alone_is_worth_a_session(site: Site) -> None:
    visitor = site.visitor()
    visitor.visit(assigns("owner", "alice"))
    assert visitor.ask(lambda session: session.owner) == "alice"


@pytest.mark.parametrize("owner", [5, b"alice", ["alice"], type("Name", (str,), {})("alice")])
def test_an_owner_that_is_no_str_is_refused(owner: Any, visitor: Visitor) -> None:
    with pytest.raises(TypeError, match=r"str\(user\.id\)"):
        visitor.visit(assigns("owner", owner))


@pytest.mark.parametrize("owner", ["", "a" * 256, "a\0b", "\ud800"])
def test_an_owner_that_no_store_can_hold_is_refused(owner: str, visitor: Visitor) -> None:
    with pytest.raises(ValueError, match="1 to 255 characters"):
        visitor.visit(assigns("owner", owner))


@pytest.mark.parametrize("owner", ["a", "a" * 255, "élève 生徒 🎓", " "])
def test_any_other_text_is_an_owner(owner: str, visitor: Visitor) -> None:
    visitor.visit(assigns("owner", owner))
    assert visitor.ask(lambda session: session.owner) == owner


def test_the_other_sessions_of_an_owner_can_be_ended(site: Site) -> None:
    """T-24: and a writer that is on its way does not bring them back."""
    skip_without_owners(site.store)
    here, there, elsewhere = (site.visitor() for _ in range(3))
    for visitor in (here, there, elsewhere):
        visitor.visit(assigns("owner", "alice"))

    def write_while_it_ends(session: Session) -> None:
        session["late"] = 1
        assert revoke(site.store, "alice", keep=here.id) == 2

    response = there.visit(write_while_it_ends)
    assert response.set_cookies == []
    assert [bool(visitor.ask(lambda session: session.owner)) for visitor in (here, there, elsewhere)] == [
        True,
        False,
        False,
    ]
    assert [record.id for record in site.store.records] == [here.id]


# Expiry


def test_a_policy_is_kept_with_the_session(visitor: Visitor, replaced: ReplacedClock) -> None:
    """Trap 8: "remember me" is still remembered after the next save."""
    month = OnInactivity(timedelta(days=30))
    response = visitor.visit(assigns("expiry", month))
    assert "Max-Age=2592000" in response.set_cookies[0]
    replaced.advance(timedelta(days=20))
    visitor.set(user=2)
    assert visitor.ask(lambda session: session.expiry) == month
    replaced.advance(timedelta(days=29))
    assert visitor.ask(lambda session: session.expiry_age) == timedelta(days=30)
    assert visitor.read()["user"] == 2


def test_none_gives_the_middlewares_policy_again(visitor: Visitor) -> None:
    visitor.visit(assigns("expiry", OnInactivity(HOUR)))
    response = visitor.visit(assigns("expiry", None))
    assert visitor.ask(lambda session: session.expiry) == OnSessionEnd()
    # The browser must forget the Max-Age as well.
    assert "Max-Age" not in response.set_cookies[0]
    assert visitor.ask(lambda session: session.expiry_age) == timedelta(weeks=2)


def test_without_a_policy_of_its_own_the_middlewares_holds_also_when_it_changes(site: Site, visitor: Visitor) -> None:
    other = Visitor(Site(site.store, expiry=OnInactivity(HOUR)).app)
    other._jar = dict(visitor._jar)
    assert other.ask(lambda session: session.expiry) == OnInactivity(HOUR)
    assert only(site.store).expires == START + 3_600_000


@pytest.mark.parametrize(
    "policy",
    [
        OnInactivity(HOUR),
        OnSessionEnd(HOUR),
        OnInactivity(timedelta(seconds=1, milliseconds=5)),
        AtDateTime(datetime(2040, 1, 1, 0, 0, 0, 123_456, tzinfo=UTC)),
        None,
    ],
)
def test_setting_an_equal_policy_again_saves_nothing(policy: Any, site: Site, visitor: Visitor) -> None:
    visitor.visit(assigns("expiry", policy))
    site.store.forget()
    response = visitor.visit(assigns("expiry", policy))
    assert site.store.methods == ["load"]
    assert response.set_cookies == []


def test_a_cookie_that_is_to_outlive_the_browser_is_sent_also_if_the_end_stays(site: Site, visitor: Visitor) -> None:
    before = only(site.store).expires
    response = visitor.visit(assigns("expiry", OnInactivity(timedelta(weeks=2))))
    assert only(site.store).expires == before
    assert "Max-Age=1209600" in response.set_cookies[0]


def test_a_new_policy_may_end_the_session_earlier(site: Site, visitor: Visitor) -> None:
    visitor.visit(assigns("expiry", OnInactivity(MINUTE)))
    assert only(site.store).expires == START + 60_000


@pytest.mark.parametrize("policy", [HOUR, 3600, OnInactivity, "OnSessionEnd", datetime(2030, 1, 1, tzinfo=UTC)])
def test_what_is_no_policy_is_refused(policy: Any, visitor: Visitor) -> None:
    with pytest.raises(TypeError, match="expiry must be a policy"):
        visitor.visit(assigns("expiry", policy))


def test_a_session_ends_when_its_policy_says(visitor: Visitor, replaced: ReplacedClock) -> None:
    """T-18, T-19: the server decides, whatever the browser sends."""
    visitor.visit(assigns("expiry", OnInactivity(30 * MINUTE, touch_every=None)))
    cookie = f"id={visitor.token}"
    replaced.advance(30 * MINUTE - MILLISECOND)
    assert visitor.read(cookie=cookie)["user"] == 1
    replaced.advance(MILLISECOND)
    assert visitor.read(cookie=cookie) == {}


def test_a_fixed_moment_is_checked_again_at_load(site: Site, visitor: Visitor, replaced: ReplacedClock) -> None:
    """T-19: also where the record says that it lives longer."""
    visitor.visit(assigns("expiry", AtDateTime(datetime.fromtimestamp(START / 1000, UTC) + HOUR)))
    cookie = f"id={visitor.token}"
    replaced.advance(HOUR - MILLISECOND)
    replace(site.store, expires=START + 10**10)
    assert visitor.read(cookie=cookie)["user"] == 1
    replace(site.store, expires=START + 10**10)
    replaced.advance(MILLISECOND)
    assert visitor.read(cookie=cookie) == {}


def test_a_fixed_moment_does_not_slide(site: Site, visitor: Visitor, replaced: ReplacedClock) -> None:
    at = datetime.fromtimestamp(START / 1000, UTC) + HOUR
    visitor.visit(assigns("expiry", AtDateTime(at)))
    replaced.advance(50 * MINUTE)
    response = visitor.set(user=2)
    assert only(site.store).expires == START + 3_600_000
    assert response.set_cookies == []


def test_an_expired_record_is_no_session(site: Site, visitor: Visitor) -> None:
    """T-19."""
    replace(site.store, expires=START)
    assert visitor.read() == {}


# Activity


def sliding(**options: Any) -> tuple[Site, Visitor]:
    site = Site(**{"expiry": OnInactivity(HOUR), **options})
    visitor = site.visitor()
    visitor.set(user=1)
    site.store.forget()
    return site, visitor


def test_a_read_counts_as_activity_once_it_moves_the_end_by_a_tenth(replaced: ReplacedClock) -> None:
    """T-20: at most one write in a tenth of the time."""
    site, visitor = sliding()
    replaced.advance(6 * MINUTE - MILLISECOND)
    assert visitor.visit(len).set_cookies == []
    assert site.store.methods == ["load"]
    replaced.advance(MILLISECOND)
    response = visitor.visit(len)
    assert site.store.methods == ["load", "load", "touch"]
    assert "Max-Age=3600" in response.set_cookies[0]
    assert only(site.store).expires == replaced.now() + 3_600_000
    assert only(site.store).version == 1


def test_a_thousand_reads_are_one_write_at_most(replaced: ReplacedClock) -> None:
    """T-20."""
    site, visitor = sliding()
    replaced.advance(10 * MINUTE)
    for _ in range(1000):
        visitor.visit(len)
        replaced.advance(MILLISECOND)
    assert site.store.methods.count("touch") == 1
    assert "save" not in site.store.methods


def test_reads_keep_a_session_alive_for_ever(replaced: ReplacedClock) -> None:
    """T-20: the last read is worth nine tenths of the time at least."""
    _, visitor = sliding()
    for _ in range(40):
        replaced.advance(54 * MINUTE - MILLISECOND)
        assert visitor.read() == {"user": 1}
    replaced.advance(HOUR)
    assert visitor.read() == {}


def test_without_touch_every_only_saves_move_the_end(replaced: ReplacedClock) -> None:
    """seed 1.6: the crate's rule, on request."""
    site, visitor = sliding(expiry=OnInactivity(HOUR, touch_every=None))
    replaced.advance(50 * MINUTE)
    assert visitor.visit(len).set_cookies == []
    assert site.store.methods == ["load"]
    response = visitor.set(user=2)
    assert "Max-Age=3600" in response.set_cookies[0]
    assert only(site.store).expires == replaced.now() + 3_600_000


def test_with_touch_every_zero_every_read_moves_the_end(replaced: ReplacedClock) -> None:
    site, visitor = sliding(expiry=OnInactivity(HOUR, touch_every=timedelta(0)))
    assert visitor.visit(len).set_cookies == []
    replaced.advance(MILLISECOND)
    visitor.visit(len)
    assert site.store.methods == ["load", "load", "touch"]


def test_a_session_cookie_is_not_sent_again_when_the_end_moves(replaced: ReplacedClock) -> None:
    site, visitor = sliding(expiry=OnSessionEnd(HOUR))
    replaced.advance(30 * MINUTE)
    assert visitor.visit(len).set_cookies == []
    assert site.store.methods == ["load", "touch"]
    assert visitor.set(user=2).set_cookies == []


def test_a_change_moves_the_end_by_a_step_at_least(replaced: ReplacedClock) -> None:
    site, visitor = sliding()
    replaced.advance(5 * MINUTE)
    assert visitor.set(user=2).set_cookies == []
    assert only(site.store).expires == START + 3_600_000
    replaced.advance(MINUTE)
    assert "Max-Age=3600" in visitor.set(user=3).set_cookies[0]


def test_a_touch_of_what_another_has_saved_changes_nothing(replaced: ReplacedClock) -> None:
    """T-15: the cookie of a reader must not overwrite that of the login that was faster."""
    _, visitor = sliding()
    replaced.advance(30 * MINUTE)
    reader = visitor.tab()

    def read_while_another_logs_in(session: Session) -> None:
        session["user"]
        visitor.visit(assigns("owner", "alice"))

    assert reader.visit(read_while_another_logs_in).set_cookies == []
    assert reader.read() == {}
    assert visitor.ask(lambda session: session.owner) == "alice"


def test_always_save_counts_requests_that_do_not_use_the_session(replaced: ReplacedClock) -> None:
    """seed 1.2."""
    site, visitor = sliding(always_save=True)
    assert visitor.visit(None).set_cookies == []
    replaced.advance(30 * MINUTE)
    response = visitor.visit(None)
    assert site.store.methods == ["load", "load", "touch"]
    assert "Max-Age=3600" in response.set_cookies[0]


@pytest.mark.parametrize(
    "cookie", ["", pytest.param(f"id={SessionToken.generate().value}", id="a token"), "id=nonsense"]
)
def test_always_save_makes_no_session_out_of_nothing(cookie: str) -> None:
    """Trap 7."""
    site = Site(always_save=True)
    response = site.visitor().visit(None, cookie=cookie)
    assert site.store.records == []
    assert response.set_cookies == []


def test_always_save_does_not_fail_a_request_that_does_not_use_the_session() -> None:
    """Trap 7: an outage is not its business."""
    site, visitor = sliding(always_save=True)
    site.store.fail_always()
    assert visitor.visit(None).status == 200


# The cap


def capped(**options: Any) -> tuple[Site, Visitor]:
    return sliding(**{"expiry": OnInactivity(HOUR), "max_lifetime": 12 * HOUR, **options})


def test_no_activity_and_no_new_token_extends_the_lifetime(replaced: ReplacedClock) -> None:
    """T-18, trap 9: a request a minute, a new token every ten, and it ends after twelve hours exactly."""
    _, visitor = capped()
    for minute in range(1, 720):
        replaced.advance(MINUTE)
        assert visitor.ask(lambda session, minute=minute: minute % 10 or session.cycle_id() or session["user"])
    replaced.advance(MINUTE - MILLISECOND)
    assert visitor.read() == {"user": 1}
    cookie = f"id={visitor.token}"
    replaced.advance(MILLISECOND)
    assert visitor.read(cookie=cookie) == {}


def test_the_cookie_does_not_outlive_the_session(replaced: ReplacedClock) -> None:
    """T-22."""
    _, visitor = capped()
    for _ in range(13):
        replaced.advance(54 * MINUTE)
        response = visitor.visit(len)
    assert replaced.now() == START + 702 * 60_000
    assert "Max-Age=1080" in response.set_cookies[0]
    assert visitor.ask(lambda session: session.expiry_age) == 18 * MINUTE


def test_a_lower_cap_holds_for_the_sessions_that_exist(replaced: ReplacedClock) -> None:
    """T-18: the cap is checked again at load."""
    site, visitor = capped()
    stricter = Visitor(Site(site.store, expiry=OnInactivity(HOUR), max_lifetime=10 * MINUTE).app)
    stricter._jar = dict(visitor._jar)
    replaced.advance(10 * MINUTE - MILLISECOND)
    assert stricter.read() == {"user": 1}
    replaced.advance(MILLISECOND)
    assert stricter.read(cookie=f"id={visitor.token}") == {}


def test_the_cap_holds_for_a_fixed_moment_too() -> None:
    site, visitor = capped()
    visitor.visit(assigns("expiry", AtDateTime(datetime(2040, 1, 1, tzinfo=UTC))))
    assert only(site.store).expires == START + 12 * 3_600_000


def test_flush_starts_a_new_lifetime(replaced: ReplacedClock) -> None:
    _, visitor = capped()
    replaced.advance(30 * MINUTE)

    def handler(session: Session) -> None:
        session.flush()
        session["user"] = 2

    visitor.visit(handler)
    assert visitor.ask(lambda session: session.created) == datetime.fromtimestamp(START / 1000, UTC) + 30 * MINUTE


def test_a_clock_that_steps_back_ends_and_extends_nothing(replaced: ReplacedClock) -> None:
    """T-21."""
    site, visitor = capped()
    replaced.set(START - 3_600_000)
    assert visitor.read() == {"user": 1}
    visitor.set(user=2)
    assert only(site.store).expires <= START + 3_600_000
    assert visitor.ask(lambda session: session.created) == datetime.fromtimestamp(START / 1000, UTC)
    replaced.set(START + 13 * 3_600_000)
    assert visitor.read(cookie=f"id={visitor.token}") == {}


def test_a_small_step_back_writes_nothing(replaced: ReplacedClock) -> None:
    """T-21: what NTP does does not show."""
    site, visitor = sliding()
    replaced.set(START - 5_000)
    assert visitor.visit(len).set_cookies == []
    assert site.store.methods == ["load"]


# Saving, loading


def test_save_stores_at_once(site: Site, visitor: Visitor) -> None:
    def handler(session: Session) -> None:
        session["user"] = 2
        session.save()
        assert visitor.tab().read()["user"] == 2

    visitor.visit(handler)


def test_what_was_saved_is_not_saved_again_at_commit(site: Site, visitor: Visitor) -> None:
    """Trap 15."""

    def handler(session: Session) -> None:
        session["user"] = 2
        session.save()

    visitor.visit(handler)
    assert site.store.methods == ["load", "save"]


def test_saving_what_has_not_changed_stores_nothing(site: Site, visitor: Visitor) -> None:
    visitor.visit(lambda session: session.save())
    assert site.store.methods == ["load"]


def test_saving_a_new_session_without_anything_stores_nothing(site: Site) -> None:
    """Trap 15: no row without a cookie, no cookie without a row."""
    response = site.visitor().visit(lambda session: session.save())
    assert site.store.calls == []
    assert response.set_cookies == []


def test_saving_a_new_session_announces_it(site: Site) -> None:
    """Trap 15."""
    visitor = site.visitor()

    def handler(session: Session) -> None:
        session["user"] = 1
        session.save()

    visitor.visit(handler)
    assert site.store.methods == ["create"]
    assert visitor.read() == {"user": 1}


def test_what_changes_after_save_is_saved_at_commit(site: Site) -> None:
    visitor = site.visitor()

    def handler(session: Session) -> None:
        session["cart"] = cart = []
        session.save()
        cart.append("apple")

    visitor.visit(handler)
    assert visitor.read() == {"cart": ["apple"]}


def test_a_failed_save_can_be_tried_again(site: Site, visitor: Visitor) -> None:
    def handler(session: Session) -> None:
        session["user"] = 2
        site.store.fail("save")
        with pytest.raises(StoreError):
            session.save()
        assert session.is_modified
        session.save()

    visitor.visit(handler)
    assert visitor.read()["user"] == 2


def test_load_forgets_what_was_changed(site: Site, visitor: Visitor) -> None:
    def handler(session: Session) -> None:
        session["user"] = 2
        session["cart"].append("pear")
        session["new"] = 1
        session.owner = "alice"
        session.expiry = OnInactivity(HOUR)
        session.cycle_id()
        session.load()
        assert session == {"user": 1, "cart": ["apple"]}
        assert session.owner is None
        assert not session.is_modified
        assert not session.is_new

    response = visitor.visit(handler)
    assert site.store.methods == ["load", "load"]
    assert response.set_cookies == []


def test_load_reads_what_another_has_stored(visitor: Visitor) -> None:
    def handler(session: Session) -> None:
        assert session["user"] == 1
        visitor.tab().set(user=2)
        assert session["user"] == 1
        session.load()
        assert session["user"] == 2

    visitor.visit(handler)


def test_load_of_a_new_session_forgets_what_was_set(site: Site) -> None:
    def handler(session: Session) -> None:
        session["user"] = 1
        session.load()
        assert session == {}

    assert site.visitor().visit(handler).set_cookies == []
    assert site.store.records == []


def test_load_after_the_first_save_reads_the_new_record(site: Site) -> None:
    visitor = site.visitor()

    def handler(session: Session) -> None:
        session["user"] = 1
        session.save()
        session["user"] = 2
        session.load()
        assert session["user"] == 1
        assert session.is_new

    visitor.visit(handler)
    assert visitor.read() == {"user": 1}


def test_load_after_flush_stays_empty(site: Site, visitor: Visitor) -> None:
    def handler(session: Session) -> None:
        session.flush()
        session["user"] = 2
        session.load()
        assert session == {}

    response = visitor.visit(handler)
    assert "Max-Age=0" in response.set_cookies[0]


def test_load_of_what_was_ended_elsewhere_shows_nothing(site: Site, visitor: Visitor) -> None:
    """Trap 38: and asks no second time."""

    def handler(session: Session) -> None:
        session["user"]
        visitor.tab().visit(lambda other: other.flush())
        session.load()
        assert session == {}
        assert session.id is None

    response = visitor.visit(handler)
    assert response.set_cookies == []


# Clear, flush, delete


def test_clear_drops_the_data_and_keeps_the_session(site: Site, visitor: Visitor) -> None:
    visitor.visit(assigns("owner", "alice"))
    id = visitor.id
    response = visitor.visit(lambda session: session.clear())
    assert response.set_cookies == []
    assert visitor.ask(lambda session: (dict(session), session.id, session.owner)) == ({}, id, "alice")


@pytest.mark.parametrize("end", [lambda session: session.flush(), lambda session: session.delete()])
def test_logout_is_final(end: Act, site: Site, visitor: Visitor) -> None:
    """T-13: the record is gone and the old cookie opens nothing."""
    stolen = visitor.tab()
    response = visitor.visit(end)
    assert response.set_cookies == [
        "id=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
    ]
    assert visitor.cookies == {}
    assert site.store.records == []
    assert stolen.read() == {}


def test_the_removal_repeats_every_attribute() -> None:
    """T-23, trap 18."""
    cookie = SessionCookie(
        "__Secure-id", path="/app", domain="example.com", same_site="None", partitioned=True, http_only=True
    )
    visitor = Site(cookie=cookie).visitor()
    (given,) = visitor.set(user=1).set_cookies
    header = given.split(";")[0]
    (removal,) = visitor.visit(lambda session: session.flush(), cookie=header).set_cookies
    attributes = given.split("; ")[1:]
    assert "Partitioned" in attributes
    assert removal.split("; ") == [
        "__Secure-id=",
        *attributes,
        "Max-Age=0",
        "Expires=Thu, 01 Jan 1970 00:00:00 GMT",
    ]


@pytest.mark.parametrize("end", [lambda session: session.flush(), lambda session: session.delete()])
def test_a_logout_that_fails_says_so(end: Act, site: Site, visitor: Visitor) -> None:
    """T-13: 503, never a logout that did not happen."""
    site.store.fail("delete")
    response = visitor.visit(end)
    assert response.status == 503
    assert response.set_cookies == []
    assert visitor.read()["user"] == 1


def test_a_logout_that_failed_leaves_the_session_as_it_was(site: Site, visitor: Visitor) -> None:
    def handler(session: Session) -> None:
        site.store.fail("delete")
        with pytest.raises(StoreError):
            session.delete()
        assert session["user"] == 1
        session["user"] = 2

    visitor.visit(handler)
    assert visitor.read()["user"] == 2


def test_what_is_written_after_flush_goes_under_a_new_id(site: Site, visitor: Visitor) -> None:
    """Trap 1: no id survives a logout."""
    before = visitor.tab()

    def handler(session: Session) -> None:
        session.flush()
        assert session.id is None
        assert session.is_new
        session["message"] = "bye"

    visitor.visit(handler)
    assert visitor.id != before.id
    assert visitor.read() == {"message": "bye"}
    assert before.read() == {}
    assert len(site.store.records) == 1


def test_flush_drops_owner_policy_and_pending_token(site: Site, visitor: Visitor) -> None:
    visitor.visit(assigns("owner", "alice"))

    def handler(session: Session) -> None:
        session.expiry = OnInactivity(HOUR)
        session.cycle_id()
        session.flush()
        session["message"] = "bye"

    response = visitor.visit(handler)
    assert "Max-Age" not in response.set_cookies[0]
    assert only(site.store).owner is None


def test_flush_of_a_new_session_does_nothing(site: Site) -> None:
    """seed 1.3."""
    response = site.visitor().visit(lambda session: session.flush())
    assert site.store.calls == []
    assert response.set_cookies == []


def test_flush_takes_back_what_this_request_has_made(site: Site) -> None:
    def handler(session: Session) -> None:
        session["user"] = 1
        session.save()
        session.flush()

    response = site.visitor().visit(handler)
    assert site.store.records == []
    assert response.set_cookies == []


def test_delete_ends_it_for_good(site: Site, visitor: Visitor) -> None:
    """Trap 3: a write after it is not saved but refused."""
    writes: list[Act] = [
        sets("user", 2),
        lambda session: session.update(user=2),
        lambda session: session.setdefault("user", 2),
        lambda session: session.pop("user", None),
        lambda session: session.clear(),
        lambda session: session.mutate("user", lambda user: 2),
        lambda session: session.save(),
        lambda session: session.cycle_id(),
        assigns("owner", "alice"),
        assigns("expiry", OnInactivity(HOUR)),
    ]

    def handler(session: Session) -> None:
        session["user"] = 3
        session.delete()
        for write in writes:
            with pytest.raises(SessionDeleted, match="flush"):
                write(session)
        assert session == {}
        assert session.id is None
        session.load()
        with pytest.raises(SessionDeleted):
            session["user"] = 2

    response = visitor.visit(handler)
    assert "Max-Age=0" in response.set_cookies[0]
    assert site.store.records == []


# A new token


def test_cycle_id_gives_a_new_token_and_keeps_the_rest(site: Site, visitor: Visitor, replaced: ReplacedClock) -> None:
    """T-11, T-12, trap 4: one save, so the old token is dead at the very moment at which the new one is alive."""
    before = visitor.tab()
    replaced.advance(HOUR)
    response = visitor.visit(lambda session: session.cycle_id())
    assert len(response.set_cookies) == 1
    assert visitor.token != before.token
    assert visitor.id == before.id
    assert before.read() == {}
    assert visitor.read() == {"user": 1, "cart": ["apple"]}
    assert visitor.ask(lambda session: session.created) == datetime.fromtimestamp(START / 1000, UTC)
    assert site.store.methods.count("save") == 1
    assert "delete" not in site.store.methods


@pytest.mark.parametrize("status", [500, 502, 503, 599])
def test_a_failed_response_keeps_the_old_token(status: int, visitor: Visitor) -> None:
    """Trap 4: whatever goes wrong, one of the two opens the session."""
    response = visitor.visit(lambda session: session.cycle_id(), status=status)
    assert response.set_cookies == []
    assert visitor.read()["user"] == 1


def test_an_exception_after_cycle_id_keeps_the_old_token(visitor: Visitor) -> None:
    """Trap 4."""

    def handler(session: Session) -> None:
        session.cycle_id()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        visitor.visit(handler)
    assert visitor.read()["user"] == 1


def test_a_store_error_after_cycle_id_keeps_the_old_token(site: Site, visitor: Visitor) -> None:
    """Trap 4."""
    site.store.fail("save")
    response = visitor.visit(lambda session: session.cycle_id())
    assert response.status == 503
    assert response.set_cookies == []
    assert visitor.read()["user"] == 1


def test_a_token_that_save_made_durable_is_announced_by_a_failed_response(visitor: Visitor) -> None:
    def handler(session: Session) -> None:
        session.cycle_id()
        session.save()

    response = visitor.visit(handler, status=500)
    assert len(response.set_cookies) == 1
    assert visitor.read()["user"] == 1


def test_cycle_id_of_an_empty_new_session_does_nothing(site: Site) -> None:
    response = site.visitor().visit(lambda session: session.cycle_id())
    assert site.store.calls == []
    assert response.set_cookies == []


def superseded(visitor: Visitor) -> Visitor:
    """Return a tab that holds the token from before a login of the visitor."""
    tab = visitor.tab()
    visitor.visit(lambda session: session.cycle_id())
    return tab


def test_for_a_minute_the_previous_token_is_anonymous_and_makes_nothing(
    site: Site, visitor: Visitor, replaced: ReplacedClock
) -> None:
    """T-15: a parallel request must not overwrite the login's cookie."""
    tab = superseded(visitor)
    before = only(site.store)
    replaced.advance(MINUTE)

    def handler(session: Session) -> None:
        assert session.is_new
        assert session.id is None
        session["user"] = 666
        session.save()

    response = tab.visit(handler)
    assert response.set_cookies == []
    assert site.store.records == [before]


def test_flush_with_the_previous_token_removes_neither_session_nor_cookie(site: Site, visitor: Visitor) -> None:
    tab = superseded(visitor)

    def handler(session: Session) -> None:
        session.flush()
        session["user"] = 666

    response = tab.visit(handler)
    assert response.set_cookies == []
    assert visitor.read()["user"] == 1
    assert len(site.store.records) == 1


def test_after_that_minute_the_previous_token_is_a_wrong_one(
    site: Site, visitor: Visitor, replaced: ReplacedClock, security: pytest.LogCaptureFixture
) -> None:
    tab = superseded(visitor)
    replaced.advance(MINUTE + MILLISECOND)
    tab.set(user=2)
    assert tab.id != visitor.id
    assert tab.read() == {"user": 2}
    assert visitor.read()["user"] == 1
    assert "wrong secret" in security.text


def test_the_token_before_the_previous_one_is_a_wrong_one(visitor: Visitor) -> None:
    tab = superseded(visitor)
    superseded(visitor)
    tab.set(user=2)
    assert tab.id != visitor.id


@pytest.mark.parametrize(
    "login", [assigns("owner", "alice"), lambda session: session.update(user=2) or session.cycle_id()]
)
def test_with_the_previous_token_a_login_makes_a_new_session(login: Act, site: Site, visitor: Visitor) -> None:
    """The browser may never have received the answer to its first login."""
    tab = superseded(visitor)
    response = tab.visit(login)
    assert len(response.set_cookies) == 1
    assert tab.id != visitor.id
    assert tab.ask(lambda session: session.owner or session["user"]) in ("alice", 2)
    assert visitor.read() == {"user": 1, "cart": ["apple"]}


# Who presents what

FORGED: dict[str, Act] = {
    "read": dict,
    "id": lambda session: session.id,
    "owner": lambda session: session.owner,
    "expiry": lambda session: session.expiry,
    "created": lambda session: session.created,
    "repr": lambda session: len(session) or repr(session),
    "flush": lambda session: session.flush(),
    "delete": lambda session: session.delete(),
    "clear": lambda session: session.clear(),
    "cycle_id": lambda session: session.cycle_id(),
    "load": lambda session: session.load(),
    "load twice": lambda session: session.load() or session.load(),
    "save": lambda session: session.save(),
    "pop": lambda session: session.pop("user", None),
    "mutate": lambda session: session.mutate("user", lambda user: 666, None),
    "set": sets("user", 666),
    "set owner": assigns("owner", "mallory"),
    "set expiry": assigns("expiry", OnInactivity(timedelta(days=900))),
    "flush and set": lambda session: session.flush() or session.update(user=666),
    "clear and set": lambda session: session.clear() or session.update(user=666),
    "cycle and set": lambda session: session.cycle_id() or session.update(user=666),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_public_id_with_a_wrong_secret_shows_and_does_nothing(
    name: str, site: Site, visitor: Visitor, security: pytest.LogCaptureFixture
) -> None:
    """T-09, design 2: ids are public, the secret is the credential. Trap 6: not even clear() adopts an id."""
    visitor.visit(assigns("owner", "alice"))
    visitor.visit(assigns("expiry", OnInactivity(HOUR)))
    before = only(site.store)
    site.store.forget()
    forged = SessionToken.generate(visitor.id)
    attacker = site.visitor()
    attacker.put("id", forged.value)

    def handler(session: Session) -> None:
        assert session.id is None
        assert session.is_new
        assert session.owner is None
        assert dict(session) == {}
        assert session.expiry == OnSessionEnd()
        assert session.created == datetime.fromtimestamp(START / 1000, UTC)
        assert before.id not in repr(session)
        FORGED[name](session)
        assert session.id != before.id

    response = attacker.visit(handler)
    assert site.store.inner.load(before.id) == before
    assert [method for method, id in site.store.calls if id == before.id and method != "load"] == []
    assert "Max-Age=0" not in "".join(response.set_cookies)
    assert f"session {before.id} was presented with a wrong secret" in security.text
    assert forged.secret not in security.text
    makes_one = name in ("mutate", "set", "set owner") or name.endswith("and set")
    assert len(site.store.records) == 1 + makes_one
    assert (attacker.id != before.id) is makes_one


@pytest.mark.parametrize("act", [sets("user", 2), assigns("owner", "bob"), lambda s: s.clear() or s.update(user=2)])
def test_an_id_that_nobody_issued_is_never_adopted(act: Act, site: Site, security: pytest.LogCaptureFixture) -> None:
    """T-04, trap 6: session fixation."""
    planted = SessionToken.generate()
    visitor = site.visitor()
    visitor.put("id", planted.value)
    visitor.visit(act)
    assert visitor.id != planted.id
    assert [record.id for record in site.store.records] == [visitor.id]
    assert f"no live session {planted.id}" in security.text


def test_an_id_that_has_ended_is_never_adopted(site: Site, visitor: Visitor, replaced: ReplacedClock) -> None:
    """T-04."""
    flushed = visitor.tab()
    visitor.visit(lambda session: session.flush())
    flushed_id = flushed.id
    flushed.set(user=2)
    assert flushed.id != flushed_id
    expired_token, expired_id = flushed.token, flushed.id
    replaced.advance(timedelta(weeks=2))
    visitor.put("id", str(expired_token))
    visitor.set(user=3)
    assert visitor.id != expired_id
    assert site.store.inner.load(expired_id) is None


def test_a_validly_signed_id_that_nobody_issued_is_never_adopted() -> None:
    """T-04."""
    cookie = SignedCookie([secrets.token_hex(32)], "id")
    planted = SessionToken.generate()
    site = Site(cookie=cookie)
    visitor = site.visitor()
    visitor.put("id", cookie.header(planted)[1].split(";")[0].partition("=")[2])
    visitor.set(user=1)
    assert site.store.methods == ["load", "create"]
    assert only(site.store).id != planted.id
    assert visitor.read() == {"user": 1}


@pytest.mark.parametrize(
    "cookie",
    [
        "id=",
        'id=""',
        "id",
        "id=nonsense",
        "id=../../etc/passwd",
        "id=" + "A" * 5000,
        "id=\x00",
        "id=\xff",
        pytest.param(f"id={SessionToken.generate().id}", id="only an id"),
        pytest.param(f'id="{SessionToken.generate().value}"', id="in quotes"),
        pytest.param(f"other={SessionToken.generate().value}", id="of another name"),
    ],
)
def test_what_is_no_token_reaches_no_store_and_removes_no_cookie(cookie: str, site: Site) -> None:
    """T-05, T-06; design 4: a removal could erase the cookie that a parallel login has just set."""
    visitor = site.visitor()
    response = visitor.visit(lambda session: session.get("user"), cookie=cookie)
    assert site.store.calls == []
    assert response.set_cookies == []
    visitor.visit(sets("user", 1), cookie=cookie)
    assert site.store.methods == ["create"]


def test_one_live_session_among_several_cookies_is_used(site: Site, visitor: Visitor) -> None:
    """T-29, trap 21."""
    unknown = SessionToken.generate().value
    wrong = SessionToken.generate(visitor.id).value
    for cookie in (
        f"id={unknown}; id={visitor.token}",
        f"id={visitor.token}; id={unknown}",
        f"id={wrong}; id={visitor.token}; id=nonsense",
    ):
        assert visitor.read(cookie=cookie)["user"] == 1


def test_two_live_sessions_are_none(site: Site, visitor: Visitor, security: pytest.LogCaptureFixture) -> None:
    """T-29: cookie tossing; logged once, neither is changed."""
    other = site.visitor()
    other.set(user=2)
    before = {record.id: record for record in site.store.records}
    for first, second in ((visitor, other), (other, visitor)):
        assert visitor.read(cookie=f"id={first.token}; id={second.token}") == {}
    visitor.tab().visit(lambda session: session.flush(), cookie=f"id={visitor.token}; id={other.token}")
    assert {record.id: record for record in site.store.records} == before
    assert security.text.count("different live sessions") == 3


def test_at_most_five_cookies_are_tried(site: Site, visitor: Visitor) -> None:
    """T-29."""
    tossed = "; ".join(f"id={SessionToken.generate().value}" for _ in range(50))
    assert visitor.read(cookie=f"{tossed}; id={visitor.token}") == {}
    assert site.store.methods == ["load"] * 5


def test_the_previous_token_among_unknown_ones_still_makes_nothing(site: Site, visitor: Visitor) -> None:
    tab = superseded(visitor)
    response = tab.visit(sets("user", 2), cookie=f"id={SessionToken.generate().value}; id={tab.token}")
    assert response.set_cookies == []
    assert len(site.store.records) == 1


def test_anonymous_traffic_makes_no_records(site: Site) -> None:
    """T-49."""

    def set_and_delete(session: Session) -> None:
        session["user"] = 1
        del session["user"]

    acts: list[Act | None] = [
        None,
        dict,
        set_and_delete,
        lambda session: session.clear(),
        lambda session: session.flush(),
        lambda session: session.delete(),
        lambda session: session.save(),
        lambda session: session.cycle_id(),
        assigns("expiry", OnInactivity(HOUR)),
    ]
    for act in acts:
        for _ in range(20):
            for cookie in ("", f"id={SessionToken.generate().value}"):
                response = site.visitor().visit(act, cookie=cookie)
                assert response.set_cookies == []
    assert site.store.records == []
    assert "create" not in site.store.methods


# Two requests at once: the second runs inside the first, between its load and its commit


def during(visitor: Visitor, act: Act, others: Act) -> Any:
    """Make a request that acts, and let another of the same browser do its work before the first commits."""

    def handler(session: Session) -> None:
        len(session)
        visitor.tab().visit(others)
        act(session)

    return visitor.visit(handler)


def test_a_nested_change_is_saved(visitor: Visitor) -> None:
    """T-17, trap 17."""
    visitor.visit(lambda session: session["cart"].append("pear"))
    assert visitor.read()["cart"] == ["apple", "pear"]


def test_different_keys_never_lose(site: Site, visitor: Visitor) -> None:
    """T-16, trap 5."""
    during(visitor, sets("a", 1), sets("b", 2))
    assert visitor.read() == {"user": 1, "cart": ["apple"], "a": 1, "b": 2}
    assert site.store.methods.count("save") == 3


def test_within_one_key_the_last_writer_wins(visitor: Visitor) -> None:
    """T-16: one whole value, no mix."""
    during(visitor, sets("user", {"a": 1}), sets("user", {"b": 2}))
    assert visitor.read()["user"] == {"a": 1}


def test_a_removed_key_stays_removed_and_an_added_one_stays(visitor: Visitor) -> None:
    """T-16."""
    during(visitor, lambda session: session.pop("user"), sets("b", 2))
    assert visitor.read() == {"cart": ["apple"], "b": 2}


def test_a_cleared_session_is_empty_whatever_another_has_added(visitor: Visitor) -> None:
    during(visitor, lambda session: session.clear(), sets("b", 2))
    assert visitor.read() == {}


def test_mutate_is_replayed(visitor: Visitor) -> None:
    """T-16."""

    def add(session: Session) -> None:
        session.mutate("user", lambda user: user + 1)

    during(visitor, add, add)
    assert visitor.read()["user"] == 3


def test_mutate_sees_the_default_and_returns_the_new_value(visitor: Visitor) -> None:
    assert visitor.ask(lambda session: session.mutate("hits", lambda hits: hits + 1, 0)) == 1
    assert visitor.ask(lambda session: session.mutate("hits", lambda hits: hits + 1, 0)) == 2


def test_mutate_of_a_mutable_default_counts_once(visitor: Visitor) -> None:
    def add(session: Session) -> None:
        session.mutate("log", lambda log: log.append("x") or log, [])

    during(visitor, add, sets("b", 2))
    assert visitor.read()["log"] == ["x"]


def test_a_new_policy_and_anothers_key_both_stay(site: Site, visitor: Visitor) -> None:
    during(visitor, assigns("expiry", OnInactivity(HOUR)), sets("b", 2))
    assert visitor.ask(lambda session: session.expiry) == OnInactivity(HOUR)
    during(visitor, sets("c", 3), assigns("expiry", OnInactivity(2 * HOUR)))
    assert visitor.read()["b"] == 2
    assert visitor.read()["c"] == 3
    assert visitor.ask(lambda session: session.expiry) == OnInactivity(2 * HOUR)
    assert only(site.store).expires == START + 2 * 3_600_000


def test_an_owner_that_an_operator_changed_meanwhile_stays(site: Site, visitor: Visitor) -> None:
    def handler(session: Session) -> None:
        session["a"] = 1
        replace(site.store, owner="renamed", version=2)

    visitor.visit(handler)
    assert only(site.store).owner == "renamed"
    assert visitor.read()["a"] == 1


@pytest.mark.parametrize("login", [assigns("owner", "alice"), lambda session: session.cycle_id()])
def test_a_login_merges_with_anothers_key(login: Act, visitor: Visitor) -> None:
    before = visitor.tab()
    during(visitor, login, sets("b", 2))
    assert visitor.read()["b"] == 2
    assert before.read() == {}


@pytest.mark.parametrize("login", [assigns("owner", "alice"), lambda session: session.cycle_id()])
@pytest.mark.parametrize("act", [sets("a", 1), assigns("owner", "bob"), lambda session: session.cycle_id()])
def test_what_is_in_flight_during_a_login_is_dropped(
    login: Act, act: Act, site: Site, visitor: Visitor, security: pytest.LogCaptureFixture
) -> None:
    """T-15: the old token stays dead, the new session as the login left it."""
    winner = visitor.tab()

    def handler(session: Session) -> None:
        len(session)
        winner.visit(login)
        act(session)

    response = visitor.visit(handler)
    assert response.set_cookies == []
    assert winner.read() == {"user": 1, "cart": ["apple"]}
    assert visitor.read() == {}
    assert "its secret was replaced elsewhere" in security.text


@pytest.mark.parametrize(
    "act",
    [
        sets("a", 1),
        lambda session: session.cycle_id(),
        assigns("owner", "bob"),
        lambda session: session.clear(),
        lambda session: session.mutate("user", lambda user: 2),
        assigns("expiry", OnInactivity(HOUR)),
        lambda session: session.update(a=1) or session.save(),
        lambda session: session.update(a=1) or session.save() or session.update(b=2),
    ],
)
def test_logout_is_final_whatever_is_in_flight(
    act: Act, site: Site, visitor: Visitor, security: pytest.LogCaptureFixture
) -> None:
    """T-14, T-73, trap 2: nothing is revived, no cookie is sent, one line is logged."""
    stolen = visitor.tab()
    response = during(visitor, act, lambda session: session.flush())
    assert site.store.records == []
    assert response.set_cookies == []
    assert stolen.read() == {}
    assert security.text.count("it was ended elsewhere") == 1


def test_a_reader_does_not_revive_what_was_ended(replaced: ReplacedClock, security: pytest.LogCaptureFixture) -> None:
    """T-14: nor does a touch."""
    site, visitor = sliding()
    replaced.advance(30 * MINUTE)
    response = during(visitor, len, lambda session: session.flush())
    assert site.store.records == []
    assert response.set_cookies == []
    assert "touch" in site.store.methods
    assert "it was ended elsewhere" in security.text


def test_two_logouts_at_once_are_both_done(site: Site, visitor: Visitor) -> None:
    response = during(visitor, lambda session: session.flush(), lambda session: session.flush())
    assert site.store.records == []
    assert "Max-Age=0" in response.set_cookies[0]


def test_a_logout_ends_also_what_another_has_just_changed(site: Site, visitor: Visitor) -> None:
    during(visitor, lambda session: session.flush(), sets("b", 2))
    assert site.store.records == []


def test_a_record_that_expired_meanwhile_is_not_revived(site: Site, visitor: Visitor, replaced: ReplacedClock) -> None:
    def handler(session: Session) -> None:
        session["user"] = 2
        replaced.advance(timedelta(weeks=2))

    response = visitor.visit(handler)
    assert response.set_cookies == []
    assert site.store.records == []


class Contended(RecordingStore):
    """Another request is always faster."""

    def save(self, record: Record) -> Record:
        self._log("save", record.id)
        raise VersionConflict("always")


def test_patience_with_conflicts_ends(replaced: ReplacedClock) -> None:
    """design 4: four rounds at once, then pauses, and StoreError after five seconds."""
    site = Site(Contended())
    visitor = site.visitor()
    visitor.set(user=1)
    pauses: list[float] = []
    sleep = replaced.sleep
    site.store.forget()

    def note(seconds: float) -> None:
        pauses.append(seconds)
        sleep(seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wsgi_sessions.clock.sleep", note)
        response = visitor.set(user=2)
    assert response.status == 503
    assert response.set_cookies == []
    assert timedelta(seconds=5) <= timedelta(milliseconds=replaced.now() - START) < timedelta(seconds=5.1)
    assert 0 <= min(pauses) <= max(pauses) <= 0.02
    assert len(set(pauses)) > 100
    assert site.store.methods.count("save") == len(pauses) + 4


def test_four_conflicts_are_met_without_a_pause(replaced: ReplacedClock) -> None:
    site = Site()
    visitor = site.visitor()
    visitor.set(user=1)
    rivals = iter(range(3))

    class Rival:
        """Saves before each of the first three saves."""

        def __init__(self, save: Any) -> None:
            self.save = save

        def __call__(self, record: Record) -> Record:
            for rival in rivals:
                visitor.tab().set(**{f"rival{rival}": 1})
                break
            return self.save(record)

    site.store.save = Rival(site.store.save)
    # Each of the rivals has a rival itself: all of them meet at the same record.
    visitor.set(ours=1)
    assert visitor.read() == {"user": 1, "ours": 1, "rival0": 1, "rival1": 1, "rival2": 1}
    assert replaced.now() == START


@pytest.mark.parametrize("taken", [1, 2])
def test_an_id_that_is_taken_is_left_alone(
    taken: int, site: Site, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-10: another one is made, and the record that has the id is untouched."""
    before = only(site.store)
    fresh = SessionToken.generate()
    tokens = iter([SessionToken.generate(visitor.id) for _ in range(taken)] + [fresh])
    monkeypatch.setattr(SessionToken, "generate", lambda id=None: next(tokens))
    other = site.visitor()
    other.set(user=2)
    assert other.token == fresh.value
    assert site.store.inner.load(before.id) == before
    assert other.read() == {"user": 2}


def test_a_store_in_which_every_id_is_taken_is_broken(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """T-10."""

    def refuse(record: Record) -> None:
        raise RecordExists("always")

    monkeypatch.setattr(site.store.inner, "create", refuse)
    response = site.visitor().set(user=1)
    assert response.status == 503
    assert response.set_cookies == []
    assert site.store.methods == ["create"] * 3


# The limit


def test_a_session_that_is_too_large_is_refused_and_the_stored_one_kept(site: Site, visitor: Visitor) -> None:
    """T-46."""
    before = only(site.store)
    with pytest.raises(SessionTooLarge, match="over the limit of 65536"):
        visitor.set(big="x" * 10_000_000)
    assert only(site.store) == before
    assert "save" not in site.store.methods


def test_a_new_session_that_is_too_large_is_not_made() -> None:
    """T-46."""
    site = Site(max_payload=200)
    with pytest.raises(SessionTooLarge):
        site.visitor().set(big="x" * 200)
    assert site.store.calls == []


def test_the_limit_is_one_of_bytes() -> None:
    site = Site(max_payload=400)
    visitor = site.visitor()
    visitor.set(text="")
    room = 400 - len(only(site.store).payload)
    visitor.set(text="x" * room)
    assert len(only(site.store).payload) == 400
    with pytest.raises(SessionTooLarge):
        visitor.set(text="x" * (room + 1))
    with pytest.raises(SessionTooLarge):
        visitor.set(text="é" * room)


def test_a_handler_can_make_room_after_a_save_that_was_too_large(visitor: Visitor) -> None:
    def handler(session: Session) -> None:
        session["big"] = "x" * 70_000
        with pytest.raises(SessionTooLarge):
            session.save()
        session["big"] = "x"

    visitor.visit(handler)
    assert visitor.read()["big"] == "x"


# Records that are not what they should be

BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda payload: b"",
    "zeroes": lambda payload: b"\0" * len(payload),
    "truncated": lambda payload: payload[:-1],
    "number": lambda payload: b"5",
    "list": lambda payload: b"[]",
    "object": lambda payload: b'{"v":999}',
    "not UTF-8": lambda payload: payload.replace(b"user", b"us\xffr"),
    "bomb": lambda payload: b"[" * 60_000,
    "policy": lambda payload: payload.replace(b"null,{", b'["AtNoon",5],{'),
    "policy of nothing": lambda payload: payload.replace(b"null,{", b"[],{"),
    "policy out of range": lambda payload: payload.replace(b"null,{", b'["AtDateTime",' + b"9" * 30 + b"],{"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_corrupt_record_is_no_session_and_no_error(
    name: str, site: Site, visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    """T-43, T-44: read it, write, and the second request works."""
    record = only(site.store)
    broken = BROKEN[name](record.payload)
    assert broken != record.payload
    replace(site.store, payload=broken)
    bystander = site.visitor()
    bystander.set(user=5)
    assert visitor.visit(lambda session: session.update() or dict(session)).status == 200
    assert visitor.read() == {}
    assert site.store.inner.load(record.id).payload == broken
    assert f"corrupt record of session {record.id}" in caplog.text
    visitor.set(user=2)
    assert visitor.id != record.id
    assert visitor.read() == {"user": 2}
    assert bystander.read() == {"user": 5}


def test_the_record_of_another_under_ones_own_id_is_no_session(site: Site, visitor: Visitor) -> None:
    """T-43, T-47: never another user's data."""
    victim = site.visitor()
    victim.set(user=99)
    stolen = site.store.inner.load(victim.id)
    record = site.store.inner.load(visitor.id)
    site.store.put(msgspec.structs.replace(record, payload=stolen.payload))
    assert visitor.read() == {}
    assert victim.read() == {"user": 99}


@pytest.mark.parametrize(
    "act",
    [
        dict,
        sets("user", 2),
        assigns("owner", "bob"),
        lambda session: session.cycle_id() or session.update(user=2),
        lambda session: session.flush(),
        lambda session: session.update(user=2) or session.save(),
    ],
)
@pytest.mark.parametrize("always_save", [False, True])
def test_a_record_of_a_newer_version_is_left_alone(
    act: Act, always_save: bool, security: pytest.LogCaptureFixture
) -> None:
    """T-43: a rolling deploy logs nobody out; no cookie overwrites the one that the newer version reads."""
    site = Site(always_save=always_save)
    visitor = site.visitor()
    visitor.set(user=1)
    replace(site.store, payload=only(site.store).payload.replace(b"[1,", b"[2,", 1))
    before = only(site.store)
    site.store.forget()

    def handler(session: Session) -> None:
        assert session.is_new
        assert session.id is None
        act(session)

    response = visitor.visit(handler)
    assert response.status == 200
    assert response.set_cookies == []
    assert site.store.records == [before]
    assert set(site.store.methods) == {"load"}
    assert "is not for this version" in security.text


def test_a_record_that_a_newer_version_took_over_meanwhile_is_left_alone(site: Site, visitor: Visitor) -> None:
    def handler(session: Session) -> None:
        session["user"] = 2
        newer = only(site.store).payload.replace(b"[1,", b"[2,", 1)
        replace(site.store, payload=newer, version=5)

    response = visitor.visit(handler)
    assert response.set_cookies == []
    assert only(site.store).version == 5


def test_one_value_that_does_not_decode_is_absent(
    site: Site, visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    """T-43: logged, the others are there, and a mere read writes nothing."""
    payload = only(site.store).payload.replace(b'"user":1', b'"user":{"$":["x",1]}')
    assert payload != only(site.store).payload
    replace(site.store, payload=payload)
    site.store.forget()
    assert visitor.read() == {"cart": ["apple"]}
    assert visitor.ask(lambda session: (session.get("user"), "user" in session, session.pop("user", 5))) == (
        None,
        False,
        5,
    )
    assert visitor.ask(lambda session: session.get("user", 7, type=int)) == 7
    with pytest.raises(KeyError):
        visitor.visit(lambda session: session.__delitem__("user"))
    assert set(site.store.methods) == {"load"}
    assert "does not decode and is left out: 'user'" in caplog.text
    visitor.set(user=2)
    assert visitor.read() == {"cart": ["apple"], "user": 2}


# Responses that fail


@pytest.mark.parametrize("status", [200, 204, 302, 304, 404, 499])
def test_below_500_it_is_saved(status: int, visitor: Visitor) -> None:
    """T-56."""
    visitor.visit(sets("user", 2), status=status)
    assert visitor.read()["user"] == 2


def test_a_failed_response_saves_nothing(site: Site, visitor: Visitor) -> None:
    """T-56, seed 1.3."""
    response = visitor.visit(sets("user", 2), status=500)
    assert response.set_cookies == []
    assert visitor.read()["user"] == 1


def test_an_exception_saves_nothing(site: Site, visitor: Visitor) -> None:
    """T-56, seed 1.3."""

    def handler(session: Session) -> None:
        session["user"] = 2
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        visitor.visit(handler)
    assert site.store.methods == ["load"]
    assert visitor.read()["user"] == 1


def test_a_logout_before_an_exception_has_happened(site: Site, visitor: Visitor) -> None:
    """T-56."""

    def handler(session: Session) -> None:
        session.flush()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        visitor.visit(handler)
    assert site.store.records == []


def test_a_logout_before_a_failed_response_has_happened(site: Site, visitor: Visitor) -> None:
    """Trap 14: store and browser agree."""

    def handler(session: Session) -> None:
        session.flush()
        session["user"] = 2

    response = visitor.visit(handler, status=500)
    assert "Max-Age=0" in response.set_cookies[0]
    assert site.store.records == []


# Threads


def in_threads(count: int, work: Callable[[int], object]) -> None:
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_threads_share_the_session_of_their_request(site: Site, visitor: Visitor) -> None:
    """T-66."""

    def handler(session: Session) -> None:
        def work(number: int) -> None:
            for count in range(1000):
                session[f"thread{number}"] = count

        in_threads(8, work)

    visitor.visit(handler)
    assert visitor.read() == {"user": 1, "cart": ["apple"], **{f"thread{number}": 999 for number in range(8)}}


def test_threads_load_once(site: Site, visitor: Visitor) -> None:
    """T-66."""
    barrier = threading.Barrier(8)

    def handler(session: Session) -> None:
        def work(number: int) -> None:
            barrier.wait()
            assert session["user"] == 1

        in_threads(8, work)

    visitor.visit(handler)
    assert site.store.methods == ["load"]


def test_what_is_read_and_written_in_one_step_is_so_among_threads(visitor: Visitor) -> None:
    """T-66: mutate, setdefault, pop and popitem."""
    visitor.set(**{f"key{number}": number for number in range(400)})
    barrier = threading.Barrier(4)
    taken: list[Any] = []

    def handler(session: Session) -> None:
        def work(number: int) -> None:
            barrier.wait()
            for count in range(200):
                session.mutate("hits", lambda hits: hits + 1, 0)
                session.setdefault("list", []).append(number)
                value = session.pop(f"key{count}", None)
                if value is not None:
                    taken.append(value)

        in_threads(4, work)
        assert session["hits"] == len(session["list"]) == 800
        assert sorted(taken) == list(range(200))

    visitor.visit(handler)


@pytest.mark.parametrize(
    "act",
    [
        lambda session: session.pop("key"),
        lambda session: session.pop("absent", None),
        lambda session: session.popitem(),
        lambda session: session.setdefault("key", 2),
        lambda session: session.setdefault("absent", 2),
        lambda session: session.update(a=1, b=2),
    ],
)
def test_what_looks_and_then_writes_holds_the_lock_throughout(act: Act, visitor: Visitor) -> None:
    """T-66: of two threads that pop one key, one gets the value and the other the default."""

    class Counting:
        def __init__(self) -> None:
            self.lock = threading.RLock()
            self.depth = self.taken = 0

        def __enter__(self) -> None:
            self.lock.acquire()
            self.taken += self.depth == 0
            self.depth += 1

        def __exit__(self, *exception: object) -> None:
            self.depth -= 1
            self.lock.release()

    class Watched(dict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            assert lock.depth
            return super().__getitem__(key)

    def handler(session: Session) -> None:
        len(session)
        assert session._state is not None
        kept = session._state.values, session._state.lock
        session._state.values, session._state.lock = Watched(key=1), lock  # type: ignore[assignment]
        act(session)
        session._state.values, session._state.lock = kept
        assert lock.taken == 1

    lock = Counting()
    visitor.visit(handler)


def test_a_thread_that_outlives_the_response_is_refused(site: Site, visitor: Visitor) -> None:
    """T-66: SessionFrozen in that thread, and nothing is written."""
    ended = threading.Event()
    raised: list[type[BaseException]] = []

    def late(session: Session) -> None:
        ended.wait(10)
        for write in (sets("user", 2), lambda s: s.flush(), lambda s: s.delete(), lambda s: s.save()):
            try:
                write(session)
            except SessionFrozen as error:
                raised.append(type(error))

    threads: list[threading.Thread] = []

    def handler(session: Session) -> None:
        assert session["user"] == 1
        threads.append(threading.Thread(target=late, args=(session,)))
        threads[0].start()

    visitor.visit(handler)
    site.store.forget()
    ended.set()
    threads[0].join()
    assert raised == [SessionFrozen] * 4
    assert site.store.calls == []


def test_after_the_response_a_session_that_was_not_used_can_no_longer_be(site: Site, visitor: Visitor) -> None:
    kept: list[Session] = []
    visitor.visit(kept.append)
    with pytest.raises(SessionFrozen):
        kept[0].get("user")
    assert site.store.calls == []


def test_after_the_response_what_was_read_can_still_be_read_but_nothing_else(site: Site, visitor: Visitor) -> None:
    kept: list[Session] = []
    visitor.visit(lambda session: kept.append(session) or len(session))
    session = kept[0]
    site.store.forget()
    assert session["user"] == 1
    acts: list[Act] = [
        sets("user", 2),
        lambda session: session.pop("user"),
        lambda session: session.pop("absent", None),
        lambda session: session.popitem(),
        lambda session: session.setdefault("user", 2),
        lambda session: session.update(user=2),
        lambda session: session.clear(),
        lambda session: session.mutate("user", lambda user: 2),
        lambda session: session.save(),
        lambda session: session.load(),
        lambda session: session.flush(),
        lambda session: session.delete(),
        lambda session: session.cycle_id(),
        assigns("owner", "alice"),
        assigns("expiry", OnInactivity(HOUR)),
    ]
    for act in acts:
        with pytest.raises(SessionFrozen):
            act(session)
    assert site.store.calls == []


# While the body is sent


def streaming(visitor: Visitor, early: Act, late: Act, *, status: str = "200 OK") -> Any:
    """Act before and after the head; the visitor's site is not used but its store and cookies are."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        session = get_session(environ)
        early(session)
        start_response(status, list(TEXT))
        yield b"head"
        late(session)
        yield b"tail"

    return app


@pytest.fixture
def stream(site: Site, visitor: Visitor) -> Callable[..., Any]:
    def run(early: Act, late: Act, *, status: str = "200 OK", cookies: bool = True, **options: Any) -> Any:
        browser = Visitor(wrapped(streaming(visitor, early, late, status=status), site.store, **options))
        browser._jar = dict(visitor._jar) if cookies else {}
        return browser.get()

    return run


def test_a_change_while_the_body_is_sent_is_saved(stream: Any, visitor: Visitor) -> None:
    """Trap 19."""
    response = stream(len, sets("user", 2))
    assert response.body == b"headtail"
    assert response.set_cookies == []
    assert visitor.read()["user"] == 2


def test_changes_before_and_after_the_head_are_both_saved(stream: Any, visitor: Visitor) -> None:
    stream(sets("user", 2), lambda session: session["cart"].append("pear"))
    assert visitor.read() == {"user": 2, "cart": ["apple", "pear"]}


@pytest.mark.parametrize(
    "late",
    [
        lambda session: session.cycle_id(),
        assigns("owner", "alice"),
        assigns("expiry", OnInactivity(HOUR)),
        assigns("expiry", AtDateTime(datetime(2030, 1, 1, tzinfo=UTC))),
        lambda session: session.flush() or session.update(user=2),
    ],
)
def test_what_needs_a_cookie_is_refused_after_the_head(late: Act, stream: Any) -> None:
    def attempt(session: Session) -> None:
        with pytest.raises(HeadersSent, match="the head of the response has left"):
            late(session)

    assert stream(len, attempt).body == b"headtail"


def test_a_new_session_is_refused_after_the_head(stream: Any, site: Site) -> None:
    def attempt(session: Session) -> None:
        with pytest.raises(HeadersSent):
            session["user"] = 2

    assert stream(len, attempt, cookies=False).body == b"headtail"
    assert len(site.store.records) == 1


def test_a_policy_without_max_age_may_change_after_the_head(stream: Any, visitor: Visitor) -> None:
    stream(len, assigns("expiry", OnSessionEnd(HOUR)))
    assert visitor.ask(lambda session: session.expiry) == OnSessionEnd(HOUR)


def test_the_same_owner_may_be_set_after_the_head(stream: Any) -> None:
    assert stream(len, assigns("owner", None)).body == b"headtail"


@pytest.mark.parametrize("end", [lambda session: session.flush(), lambda session: session.delete()])
def test_a_session_can_be_ended_after_the_head(end: Act, stream: Any, site: Site, visitor: Visitor) -> None:
    response = stream(len, end)
    assert response.set_cookies == []
    assert site.store.records == []
    assert visitor.read() == {}


def test_a_logout_elsewhere_is_final_for_a_stream_too(stream: Any, site: Site, visitor: Visitor) -> None:
    """T-14: written in close()."""

    def late(session: Session) -> None:
        session["user"] = 2
        visitor.visit(lambda other: other.flush())

    stream(len, late)
    assert site.store.records == []


def test_a_store_error_in_a_stream_is_logged_and_the_body_complete(
    stream: Any, site: Site, visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    """T-55."""

    def late(session: Session) -> None:
        session["user"] = 2
        site.store.fail("save")

    assert stream(len, late).body == b"headtail"
    assert visitor.read()["user"] == 1
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "changes made while the body was sent are lost"
    ]


def test_after_a_failed_response_nothing_is_saved_late(stream: Any, visitor: Visitor) -> None:
    """Trap 14."""
    stream(len, sets("user", 2), status="500 Failed")
    assert visitor.read()["user"] == 1


def test_after_a_failed_response_a_first_use_saves_nothing_either(stream: Any, visitor: Visitor) -> None:
    """Trap 14: also where nobody had used the session when the head left."""
    stream(lambda session: None, sets("user", 2), status="500 Failed")
    assert visitor.read()["user"] == 1


def test_a_first_use_after_the_head_is_saved_with_a_warning(
    stream: Any, visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    response = stream(lambda session: None, sets("user", 2))
    assert response.headers == TEXT
    assert visitor.read()["user"] == 2
    assert "Vary could not be sent" in caplog.text


# What is shown


def test_the_repr_holds_neither_token_nor_value(site: Site, visitor: Visitor) -> None:
    """T-72; and makes no I/O."""
    visitor.set(password="hunter2")
    site.store.forget()
    secret = str(visitor.token).partition(".")[2]

    def handler(session: Session) -> None:
        assert repr(session) == "<Session: not loaded>"
        assert site.store.calls == []
        len(session)
        assert repr(session) == f"<Session {visitor.id!r}: 3 keys>"
        for shown in (repr(session), str(session), repr(session._state), repr(site.store.records), repr(visitor.app)):
            assert "hunter2" not in shown
            assert secret not in shown
        session.flush()
        assert repr(session) == "<Session None: 0 keys>"

    visitor.visit(handler)


def test_no_log_line_and_no_error_holds_a_secret_or_a_value(
    site: Site, visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    """T-72, T-73: one line for each event, with the public id at most."""
    caplog.set_level(logging.DEBUG)
    visitor.set(password="hunter2")
    stolen = visitor.tab()
    hidden = [str(visitor.token).partition(".")[2]]
    during(visitor, sets("password", "hunter2+"), lambda session: session.cycle_id())
    hidden.append(str(visitor.token).partition(".")[2])
    wrong = SessionToken.generate(stolen.id)
    hidden.append(wrong.secret)
    site.visitor().visit(sets("password", "hunter2"), cookie=f"id={wrong.value}")
    site.visitor().visit(sets("password", "hunter2"), cookie=f"id={SessionToken.generate().value}")
    site.visitor().visit(sets("password", "hunter2"), cookie="id=hunter2")
    with pytest.raises(SessionTooLarge) as too_large:
        stolen.visit(sets("password", "hunter2" * 10_000), cookie="")
    site.store.fail("create")
    site.visitor().set(password="hunter2")
    text = caplog.text + str(too_large.value) + "".join(repr(record.args) for record in caplog.records)
    for event in ("replaced elsewhere", "wrong secret", "no live session", "malformed session cookie"):
        assert text.count(event) == 1
    for secret in ("hunter2", *hidden):
        assert secret not in text


# Outside of a request


def job(site: Site, id: str | None, act: Act) -> None:
    with open_session(site.store, id) as session:
        act(session)


def test_a_new_session_can_be_opened_outside_of_a_request(site: Site) -> None:
    with open_session(site.store) as session:
        assert session.is_new
        assert session.token is None
        session["user"] = 1
        session.owner = "alice"
    assert session.token is not None
    visitor = site.visitor()
    visitor.put("id", session.token.value)
    assert visitor.ask(lambda session: (dict(session), session.owner)) == ({"user": 1}, "alice")


def test_its_token_is_known_after_save(site: Site) -> None:
    """For single sign-on: the cookie is set by somebody else."""
    with open_session(site.store) as session:
        session["user"] = 1
        session.save()
        assert session.token is not None
        assert session.token.id == session.id
    assert site.store.methods == ["create"]


def test_an_empty_one_makes_nothing(site: Site) -> None:
    with open_session(site.store) as session:
        assert session.id is None
    assert site.store.calls == []


def test_a_stored_session_can_be_opened_by_its_public_id(site: Site, visitor: Visitor) -> None:
    with open_session(site.store, visitor.id) as session:
        assert session["user"] == 1
        assert not session.is_new
        assert session.id == visitor.id
        assert session.token is None
        session["cart"].append("pear")
    assert visitor.read()["cart"] == ["apple", "pear"]
    assert site.store.methods[:2] == ["load", "save"]


def test_an_opened_session_merges_with_requests(site: Site, visitor: Visitor) -> None:
    with open_session(site.store, visitor.id) as session:
        session["job"] = "done"
        visitor.set(user=2)
    assert visitor.read() == {"user": 2, "cart": ["apple"], "job": "done"}


def test_a_new_token_made_outside_of_a_request_is_known_there(site: Site, visitor: Visitor) -> None:
    with open_session(site.store, visitor.id) as session:
        session.cycle_id()
    assert visitor.read() == {}
    visitor.put("id", session.token.value)
    assert visitor.read()["user"] == 1


@pytest.mark.parametrize("id", ["", "nobody", pytest.param(SessionToken.generate().id, id="an id")])
def test_a_session_that_is_not_there_cannot_be_opened(id: str, site: Site) -> None:
    with pytest.raises(RecordNotFound, match="no live session"):
        with open_session(site.store, id):
            pytest.fail("opened")


def test_a_corrupt_session_cannot_be_opened(site: Site, visitor: Visitor) -> None:
    """T-43."""
    replace(site.store, payload=b"nonsense")
    with pytest.raises(RecordNotFound):
        with open_session(site.store, visitor.id):
            pytest.fail("opened")


def test_a_session_of_a_newer_version_cannot_be_opened(site: Site, visitor: Visitor) -> None:
    """T-43."""
    replace(site.store, payload=only(site.store).payload.replace(b"[1,", b"[2,", 1))
    with pytest.raises(StoreError, match="not for this version"):
        with open_session(site.store, visitor.id):
            pytest.fail("opened")


def test_an_exception_inside_stores_nothing(site: Site, visitor: Visitor) -> None:
    before = only(site.store)
    for id in (visitor.id, None):
        with pytest.raises(ZeroDivisionError):
            job(site, id, lambda session: session.update(user=2) or 1 / 0)
    assert site.store.records == [before]


def test_an_opened_session_that_was_ended_meanwhile_says_so(site: Site, visitor: Visitor) -> None:
    """T-14: nobody else would tell a job that its changes are lost."""
    with pytest.raises(RecordNotFound, match="the changes are lost"):
        job(site, visitor.id, lambda session: session.update(user=2) or visitor.visit(lambda other: other.flush()))
    assert site.store.records == []


def test_an_opened_session_that_was_taken_over_meanwhile_says_so(site: Site, visitor: Visitor) -> None:
    """T-15."""
    with pytest.raises(RecordNotFound, match="the changes are lost"):
        job(site, visitor.id, lambda session: session.update(user=2) or visitor.visit(lambda other: other.cycle_id()))
    assert visitor.read()["user"] == 1


def test_an_opened_session_can_be_ended(site: Site, visitor: Visitor) -> None:
    with open_session(site.store, visitor.id) as session:
        session.flush()
    assert site.store.records == []
    with open_session(site.store) as session:
        session["user"] = 1
        session.delete()
    assert site.store.records == []


def test_an_opened_session_is_frozen_afterwards(site: Site, visitor: Visitor) -> None:
    with open_session(site.store, visitor.id) as session:
        pass
    with pytest.raises(SessionFrozen):
        session["user"] = 2


def test_an_opened_session_keeps_the_limits_it_is_given(site: Site, replaced: ReplacedClock) -> None:
    with open_session(site.store, expiry=OnInactivity(HOUR), max_lifetime=30 * MINUTE) as session:
        session["user"] = 1
    assert only(site.store).expires == START + 30 * 60_000
    with pytest.raises(SessionTooLarge):
        with open_session(site.store, session.id, max_payload=200) as session:
            session["user"] = "x" * 200
    replaced.advance(10 * MINUTE)
    with pytest.raises(RecordNotFound):
        with open_session(site.store, session.id, max_lifetime=10 * MINUTE):
            pytest.fail("opened")


def test_a_store_error_in_an_opened_session_is_raised(site: Site, visitor: Visitor) -> None:
    site.store.fail("save")
    with pytest.raises(StoreError):
        with open_session(site.store, visitor.id) as session:
            session["user"] = 2
    with pytest.raises(TypeError, match="store must be a SessionStore"):
        with open_session("memory"):  # type: ignore[arg-type]
            pytest.fail("opened")


def test_stores_see_nothing_but_hashes(site: Site, visitor: Visitor) -> None:
    """T-09, trap 23: no part of what a store holds opens a session."""
    visitor.visit(lambda session: session.cycle_id())
    secret = str(visitor.token).partition(".")[2]
    records = site.store.records
    assert secret not in repr([msgspec.structs.astuple(record) for record in records])
    for record in records:
        for part in (record.payload.decode(), record.id):
            assert visitor.read(cookie=f"id={part}") == {}
