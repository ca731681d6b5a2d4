"""The commit table of the design: every row, with every kind of cookie and of answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from harness import TEXT, Site, Visitor

from wsgi_sessions.expiry import Expiry, OnInactivity, OnSessionEnd
from wsgi_sessions.session import Session
from wsgi_sessions.testing import ReplacedClock
from wsgi_sessions.token import SessionToken

# Over each kind of store.
pytestmark = pytest.mark.usefixtures("backend")

Act = Callable[[Session], Any]

HOUR = timedelta(hours=1)
LONG = timedelta(days=30)


class AppError(Exception):
    """What the application raises."""


def change(session: Session) -> None:
    session["user"] = 2


def append(session: Session) -> None:
    session.setdefault("cart", []).append("pear")


def new_owner(session: Session) -> None:
    session.owner = "alice"


def new_expiry(session: Session) -> None:
    session.expiry = OnInactivity(LONG)


def default_expiry(session: Session) -> None:
    session.expiry = None


def set_and_unset(session: Session) -> None:
    session["new"] = 1
    del session["new"]


def chain(*acts: Act) -> Act:
    def act(session: Session) -> None:
        for each in acts:
            each(session)

    return act


def cycle(session: Session) -> None:
    session.cycle_id()


def flush(session: Session) -> None:
    session.flush()


def save(session: Session) -> None:
    session.save()


ACTS: dict[str, Act | None] = {
    "not used": None,
    "read": dict,
    "read what is not there": lambda session: session.pop("absent", None),
    "load": lambda session: session.load(),
    "set and unset": set_and_unset,
    "default expiry": default_expiry,
    "change": change,
    "change inside": append,
    "clear": lambda session: session.clear(),
    "cycle": cycle,
    "cycle and change": chain(change, cycle),
    "owner": new_owner,
    "expiry": new_expiry,
    "flush": flush,
    "delete": lambda session: session.delete(),
    "flush and change": chain(flush, change),
    "change and flush": chain(change, flush),
    "save": save,
    "change and save": chain(change, save),
    "change, save and change": chain(change, save, append),
    "change, save and flush": chain(change, save, flush),
    "cycle and save": chain(cycle, save),
    "flush, change and save": chain(flush, change, save),
}


class Outcome(NamedTuple):
    """What happens below 500, from 500 on, and after an exception: writes to the store, then what the cookie does."""

    good: str
    failed: str
    raised: str = ""


NOTHING = Outcome("", "")
TOUCH, SAVE = Outcome("touch", ""), Outcome("save", "")
TOUCH_AND_SET, SAVE_AND_SET = Outcome("touch set", ""), Outcome("save set", "")
CREATE = Outcome("create set", "")
END = Outcome("delete remove", "delete remove", "delete")

# Nobody's session: no cookie, or one that opens nothing. Never a removal.
ANONYMOUS = {
    **dict.fromkeys(ACTS, NOTHING),
    "change": CREATE,
    "change inside": CREATE,
    "cycle and change": CREATE,
    "owner": CREATE,
    "flush and change": CREATE,
    "change and save": Outcome("create set", "create set", "create"),
    "change, save and change": Outcome("create save set", "create set", "create"),
    "change, save and flush": Outcome("create delete", "create delete", "create delete"),
    "flush, change and save": Outcome("create set", "create set", "create"),
}

# The secret of a moment ago: nothing, unless the request is a login itself.
SUPERSEDED = {**dict.fromkeys(ACTS, NOTHING), "cycle and change": CREATE, "owner": CREATE}

# A cookie with Max-Age, and an activity that counts: every write moves the end, and the cookie goes with it.
PERSISTENT_AND_DUE = {
    "not used": NOTHING,
    "read": TOUCH_AND_SET,
    "read what is not there": TOUCH_AND_SET,
    "load": TOUCH_AND_SET,
    "set and unset": TOUCH_AND_SET,
    "default expiry": TOUCH_AND_SET,
    "change": SAVE_AND_SET,
    "change inside": SAVE_AND_SET,
    "clear": SAVE_AND_SET,
    "cycle": SAVE_AND_SET,
    "cycle and change": SAVE_AND_SET,
    "owner": SAVE_AND_SET,
    "expiry": SAVE_AND_SET,
    "flush": END,
    "delete": END,
    "flush and change": Outcome("delete create set", "delete remove", "delete"),
    "change and flush": END,
    # What save() made durable is announced whatever the status.
    "save": Outcome("touch set", "touch set", "touch"),
    "change and save": Outcome("save set", "save set", "save"),
    "change, save and change": Outcome("save save set", "save set", "save"),
    "change, save and flush": Outcome("save delete remove", "save delete remove", "save delete"),
    "cycle and save": Outcome("save set", "save set", "save"),
    "flush, change and save": Outcome("delete create set", "delete create set", "delete create"),
}

# The same a moment after the last request: the end stays, so the cookie goes out only for a new token or policy.
PERSISTENT = {
    **PERSISTENT_AND_DUE,
    **dict.fromkeys(("read", "read what is not there", "load", "set and unset", "default expiry", "save"), NOTHING),
    **dict.fromkeys(("change", "change inside", "clear"), SAVE),
    "change and save": Outcome("save", "save", "save"),
    "change, save and change": Outcome("save save", "save", "save"),
}

# A browser's session cookie, and an activity that counts: the end moves, which is not the cookie's business.
SESSION_AND_DUE = {
    **PERSISTENT,
    **dict.fromkeys(("read", "read what is not there", "load", "set and unset", "default expiry"), TOUCH),
    "save": Outcome("touch", "touch", "touch"),
}


class Situation(NamedTuple):
    """A middleware and a visitor."""

    expiry: Expiry
    always_save: bool
    #: Since the session was last active.
    idle: timedelta
    #: Which cookie the visitor presents.
    cookie: str
    table: dict[str, Outcome]


ALL_COOKIES: dict[str, dict[str, Outcome]] = {
    "none": ANONYMOUS,
    "unknown": ANONYMOUS,
    "malformed": ANONYMOUS,
    "wrong secret": ANONYMOUS,
    "previous secret": SUPERSEDED,
    "two live": ANONYMOUS,
    "live": PERSISTENT_AND_DUE,
}
SITUATIONS = {
    **{
        f"{cookie}{', always saved' * always}": Situation(
            OnInactivity(HOUR),
            always,
            HOUR / 2,
            cookie,
            {**table, "not used": TOUCH_AND_SET} if always and cookie == "live" else table,
        )
        for cookie, table in ALL_COOKIES.items()
        for always in (False, True)
    },
    "live, nothing due": Situation(OnInactivity(HOUR), False, timedelta(0), "live", PERSISTENT),
    "live, nothing due, always saved": Situation(OnInactivity(HOUR), True, timedelta(0), "live", PERSISTENT),
    "live, session cookie": Situation(OnSessionEnd(HOUR), False, HOUR / 2, "live", SESSION_AND_DUE),
}


@pytest.fixture
def replaced() -> Iterator[ReplacedClock]:
    with ReplacedClock(start=2_000_000_000_000) as clock:
        yield clock


def arrange(situation: Situation, replaced: ReplacedClock) -> tuple[Site, Visitor, str]:
    """Return a site, a visitor and the Cookie header that the situation says."""
    site = Site(expiry=situation.expiry, always_save=situation.always_save)
    visitor, other = site.visitor(), site.visitor()
    visitor.set(user=1, cart=["apple"])
    other.set(user=1)
    replaced.advance(situation.idle)
    before = visitor.token
    if situation.cookie == "previous secret":
        visitor.visit(cycle)
    header = {
        "none": "",
        "unknown": f"id={SessionToken.generate().value}",
        "malformed": f"id={visitor.id}",
        "wrong secret": f"id={SessionToken.generate(visitor.id).value}",
        "previous secret": f"id={before}",
        "two live": f"id={visitor.token}; id={other.token}",
        "live": f"id={visitor.token}",
    }[situation.cookie]
    site.store.forget()
    return site, visitor, header


def observed(site: Site, cookies: list[str]) -> str:
    """Return the writes to the store and what the cookie does, as an Outcome says it."""
    assert len(cookies) <= 1
    effect = ["remove" if "Max-Age=0" in cookie else "set" for cookie in cookies]
    return " ".join([method for method in site.store.methods if method != "load"] + effect)


@pytest.mark.parametrize("answer", [200, 404, 500, AppError])
@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_commit_table(situation: str, act: str, answer: Any, replaced: ReplacedClock) -> None:
    """T-11, T-13, T-49, T-56; traps 7, 14, 15, 16; seed 1.3: the first row of the table that fits."""
    site, visitor, header = arrange(SITUATIONS[situation], replaced)
    expected = SITUATIONS[situation].table[act]
    perform = ACTS[act]

    if answer is AppError:

        def handler(session: Session) -> None:
            if perform is not None:
                perform(session)
            raise AppError

        with pytest.raises(AppError):
            visitor.visit(handler, cookie=header)
        assert observed(site, []) == expected.raised
        return

    response = visitor.visit(perform, status=answer, cookie=header)
    assert response.status == answer
    assert response.body == b"page"
    assert observed(site, response.set_cookies) == (expected.failed if answer >= 500 else expected.good)
    used = perform is not None or (SITUATIONS[situation].always_save and answer < 500)
    assert response.all("Vary") == ["Cookie"] * used
    if not used:
        assert response.headers == TEXT
    assert response.all("Cache-Control") == ["no-store"] * len(response.set_cookies)


@pytest.mark.parametrize("act", [name for name, outcome in PERSISTENT_AND_DUE.items() if "set" in outcome.good])
def test_the_cookie_that_is_set_opens_the_session(act: str, replaced: ReplacedClock) -> None:
    site, visitor, _ = arrange(SITUATIONS["live"], replaced)
    perform = ACTS[act]
    assert perform is not None
    visitor.visit(perform)
    assert [record.id for record in site.store.records if record.id == visitor.id] == [visitor.id]
    assert visitor.ask(lambda session: session.id) == visitor.id


@pytest.mark.parametrize("failing", ["load", "save", "create", "delete", "touch"])
@pytest.mark.parametrize("act", [name for name in ACTS if name != "not used"])
def test_a_store_error_is_answered_503_and_changes_no_cookie(act: str, failing: str, replaced: ReplacedClock) -> None:
    """T-13, T-52, T-54: an outage is never reported as success and never clears a cookie."""
    site, visitor, _ = arrange(SITUATIONS["live"], replaced)
    token = visitor.token
    expected = PERSISTENT_AND_DUE[act].good.split()
    site.store.fail(failing)
    response = visitor.visit(ACTS[act])
    if failing != "load" and failing not in expected:
        assert response.status == 200
        return
    assert response.status == 503
    assert response.header("Retry-After")
    if failing == "create":
        # The logout before it has happened.
        assert observed(site, response.set_cookies) == "delete create remove"
        return
    # A save() before it may have moved the Max-Age; the token is the same.
    assert visitor.token == token
    assert response.set_cookies == [] or expected[:2] == ["save", failing]


def test_an_outage_is_not_the_business_of_a_request_without_a_session(replaced: ReplacedClock) -> None:
    """T-52."""
    for situation in ("live", "live, always saved"):
        site, visitor, _ = arrange(SITUATIONS[situation], replaced)
        site.store.fail_always()
        response = visitor.visit(None)
        assert response.status == 200
        assert response.headers == TEXT
