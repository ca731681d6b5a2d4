"""Several browsers against a model of what each of them must see, whatever they do and in whatever order."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from harness import Site, Visitor
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from wsgi_sessions import codec
from wsgi_sessions.expiry import OnSessionEnd
from wsgi_sessions.record import open_envelope
from wsgi_sessions.session import Session
from wsgi_sessions.testing import ReplacedClock

TTL, STEP, MAX_LIFETIME, GRACE = 3_600_000, 360_000, 10 * 3_600_000, 60_000
CLIENTS = st.integers(0, 2)
KEYS = st.sampled_from("abc")


@dataclass
class Stored:
    """A session as the model keeps it."""

    token: str
    created: int
    expires: int
    data: dict[str, Any] = field(default_factory=dict)
    owner: str | None = None
    version: int = 1
    previous: str | None = None
    replaced: int = 0


@dataclass(frozen=True)
class Operation:
    """One thing that a request does.

    :param act: what it does to a session.
    :param data: what that is to a dict.
    :param owner: set by a login.
    :param cycles: whether it asks for a new token.
    :param ends: whether it is a logout.
    :param mutated: the key that it changes by ``mutate``, if it does.
    """

    name: str
    act: Callable[[Session], Any]
    data: Callable[[dict[str, Any]], Any] = len
    owner: str | None = None
    cycles: bool = False
    ends: bool = False
    mutated: str | None = None

    def __repr__(self) -> str:
        return self.name


def put(key: str, value: int) -> Operation:
    return Operation(f"put {key}={value}", lambda it: it.update({key: [value]}), lambda it: it.update({key: [value]}))


def remove(key: str) -> Operation:
    return Operation(f"remove {key}", lambda it: it.pop(key, None), lambda it: it.pop(key, None))


def append(key: str, value: int) -> Operation:
    def act(it: Any) -> None:
        if key in it:
            it[key].append(value)

    return Operation(f"append {value} to {key}", act, act)


def mutate(key: str, value: int) -> Operation:
    return Operation(
        f"mutate {key} by {value}",
        lambda it: it.mutate(key, lambda values: [*values, value], []),
        lambda it: it.update({key: [*it.get(key, []), value]}),
        mutated=key,
    )


def login(owner: str) -> Operation:
    return Operation(f"log in {owner}", lambda it: setattr(it, "owner", owner), owner=owner)


READ = Operation("read", dict)
CLEAR = Operation("clear", lambda it: it.clear(), lambda it: it.clear())
CYCLE = Operation("cycle", lambda it: it.cycle_id(), cycles=True)
LOGOUT = Operation("log out", lambda it: it.flush(), ends=True)

NUMBERS = st.integers(1, 3)
OPERATIONS = st.one_of(
    st.builds(put, KEYS, NUMBERS),
    st.builds(append, KEYS, NUMBERS),
    st.builds(mutate, KEYS, NUMBERS),
    st.builds(remove, KEYS),
    st.builds(login, st.sampled_from(["alice", "bob"])),
    st.sampled_from([READ, CLEAR, CYCLE, LOGOUT]),
)


class Browsers(RuleBasedStateMachine):
    """Three browsers, some of which may share a session, and one model."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ReplacedClock(start=1_750_000_000_000)
        self.clock.__enter__()
        self.site = Site(expiry=OnSessionEnd(timedelta(hours=1)), max_lifetime=timedelta(hours=10))
        self.clients = [self.site.visitor() for _ in range(3)]
        #: By public id.
        self.model: dict[str, Stored] = {}

    def teardown(self) -> None:
        self.clock.__exit__()

    @initialize(first=NUMBERS)
    def begin(self, first: int) -> None:
        self.request(0, put("a", first))
        self.share(0, 1)

    @rule(client=CLIENTS, operation=OPERATIONS, fails=st.sampled_from([False, False, False, True]))
    def request(self, client: int, operation: Operation, fails: bool = False) -> None:
        """One request, whose response may fail."""
        visitor = self.clients[client]
        before = visitor.token
        found = self.found(before)
        response = visitor.visit(operation.act, status=500 if fails else 200)
        assert response.status == (500 if fails else 200)
        if operation.ends and found is not None:
            del self.model[self.id_of(before)]
            assert visitor.token is None
        elif fails:
            assert visitor.token == before
        elif found is not None:
            self.change(visitor, before, found, operation, copy.deepcopy(found))
        else:
            self.begin_session(visitor, before, operation, self.was_superseded)

    @rule(one=CLIENTS, other=CLIENTS, slow=OPERATIONS, fast=OPERATIONS)
    def at_once(self, one: int, other: int, slow: Operation, fast: Operation) -> None:
        """Two requests: the fast one does all its work between the load and the commit of the slow one."""
        if one == other:
            return
        visitor = self.clients[one]
        before = visitor.token
        found = self.found(before)
        loaded, was_superseded = copy.deepcopy(found), self.was_superseded

        def handler(session: Session) -> None:
            len(session)
            self.request(other, fast)
            slow.act(session)

        visitor.visit(handler)
        if found is None or loaded is None:
            self.begin_session(visitor, before, slow, was_superseded)
            return
        id = self.id_of(before)
        still = self.model.get(id)
        if slow.ends:
            self.model.pop(id, None)
            assert visitor.token is None
        elif still is None or still.token != loaded.token:
            # Ended, or its token replaced: nothing of this request remains, nor does it get a cookie.
            assert visitor.token == before
        else:
            self.change(visitor, before, still, slow, loaded)

    @rule(one=CLIENTS, other=CLIENTS)
    def share(self, one: int, other: int) -> None:
        """Another window of the same browser; or a thief."""
        self.clients[other] = self.clients[one].tab()

    @rule(seconds=st.sampled_from([1, 30, 60, 61, 359, 360, 1800, 3599, 3600]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(timedelta(seconds=seconds))

    @invariant()
    def the_store_holds_what_the_model_holds(self) -> None:
        now = self.clock.now()
        live = {id: stored for id, stored in self.model.items() if stored.expires > now}
        records = {record.id: record for record in self.site.store.records}
        assert records.keys() == live.keys()
        for id, stored in live.items():
            envelope = open_envelope(records[id].payload, id)
            assert {key: codec.decode(value) for key, value in envelope.data.items()} == stored.data
            assert records[id].owner == stored.owner
            assert records[id].version == stored.version
            assert records[id].expires == stored.expires
            assert envelope.created == stored.created

    def found(self, token: str | None) -> Stored | None:
        """Return the live session that a token opens; note whether it did so until a moment ago."""
        self.was_superseded = False
        stored = self.model.get(self.id_of(token))
        now = self.clock.now()
        if stored is None or stored.expires <= now:
            return None
        if stored.token == token:
            return stored
        self.was_superseded = stored.previous == token and now - stored.replaced <= GRACE
        return None

    def change(
        self, visitor: Visitor, before: str | None, stored: Stored, operation: Operation, loaded: Stored
    ) -> None:
        """Do to what is stored what an operation did to what it had loaded."""
        assert before is not None
        now = self.clock.now()
        ours = copy.deepcopy(loaded.data)
        operation.data(ours)
        has_new_token = operation.cycles or (operation.owner is not None and operation.owner != loaded.owner)
        if ours == loaded.data and not has_new_token:
            if stored.version == loaded.version:
                self.renew(stored, now)
            assert visitor.token == before
            return
        merged = self.merged(operation, loaded.data, ours, stored.data)
        if merged != stored.data or has_new_token:
            stored.data = merged
            stored.version += 1
            self.renew(stored, now)
        if has_new_token:
            assert visitor.token is not None
            assert visitor.token != before
            assert self.id_of(visitor.token) == self.id_of(before)
            stored.owner = operation.owner or stored.owner
            stored.token, stored.previous, stored.replaced = visitor.token, before, now
        else:
            assert visitor.token == before

    def merged(
        self, operation: Operation, loaded: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any]
    ) -> dict[str, Any]:
        """Overlay the keys that were changed and drop those that were removed; all, if it was cleared."""
        if operation is CLEAR:
            return {}
        merged = copy.deepcopy(theirs)
        if operation.mutated is not None:
            operation.data(merged)
            return merged
        merged.update({key: value for key, value in ours.items() if loaded.get(key) != value})
        for key in loaded.keys() - ours.keys():
            merged.pop(key, None)
        return merged

    def begin_session(self, visitor: Visitor, before: str | None, operation: Operation, superseded: bool) -> None:
        """What a request without a live session leaves behind."""
        data: dict[str, Any] = {}
        operation.data(data)
        is_stored = bool(data or operation.owner) and (not superseded or operation.owner is not None)
        if not is_stored:
            assert visitor.token == before
            return
        token = visitor.token
        assert token is not None
        assert self.id_of(token) not in self.model
        now = self.clock.now()
        self.model[self.id_of(token)] = Stored(token, now, now + TTL, data, operation.owner)

    def renew(self, stored: Stored, now: int) -> None:
        target = min(now + TTL, stored.created + MAX_LIFETIME)
        if abs(target - stored.expires) >= STEP:
            stored.expires = target

    @staticmethod
    def id_of(token: str | None) -> str:
        return "" if token is None else token.partition(".")[0]


TestBrowsers = Browsers.TestCase
TestBrowsers.__doc__ = "T-04, T-11, T-13 to T-18; traps 1 to 6, 8, 14: see the rules."
TestBrowsers.settings = settings(max_examples=1500, stateful_step_count=25, deadline=None)
