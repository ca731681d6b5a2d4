"""MigratingStore: the contract amid a move, every interleaving of its steps, outages, and a move from end to end.

The contract over what is created in the new store: see test_contract.
"""

from __future__ import annotations

import gc
import random
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from itertools import chain, permutations, product, repeat
from typing import Any

import pytest
from backends import PLACES, Open
from cachelib import SimpleCache
from harness import Browser, page, wrapped
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from wsgi_sessions import (
    CachelibStore,
    CachingStore,
    FileStore,
    MemoryStore,
    OnInactivity,
    Record,
    RecordExists,
    RecordNotFound,
    SessionError,
    SessionStore,
    SessionTooLarge,
    StoreError,
    Sweeper,
    VersionConflict,
    clock,
)
from wsgi_sessions.operations import copy, revoke, statistics
from wsgi_sessions.record import is_session
from wsgi_sessions.stores._moving_ends import leave_mark
from wsgi_sessions.stores._moving_records import is_mark, is_sealed, mark_of, place_for, sealed
from wsgi_sessions.stores.migrating import MigratingStore
from wsgi_sessions.testing import ReplacedClock, StoreContract

HOUR = 3_600_000
ENDS = clock.now() + 10 * HOUR


class CreatesInOld(MigratingStore):
    """As if other processes did not move yet: all that it is asked for is in the old store first."""

    def __init__(self, old: SessionStore, new: SessionStore) -> None:
        super().__init__(old, new)
        self.expires_itself = old.expires_itself or new.expires_itself

    def create(self, record: Record) -> None:
        MigratingStore(self._old, self._new, moving=False).create(record)


class OfSeveralProcesses(MigratingStore):
    """As if each operation were of another process, of which some do not move yet."""

    def __init__(self, old: SessionStore, new: SessionStore) -> None:
        super().__init__(old, new)
        # Those find an id free whose record has moved and expired.
        self.expires_itself = True

    def _any(self) -> MigratingStore:
        return MigratingStore(self._old, self._new, moving=random.random() < 0.5)

    def create(self, record: Record) -> None:
        self._any().create(record)

    def load(self, id: str) -> Record | None:
        return self._any().load(id)

    def save(self, record: Record) -> Record:
        return self._any().save(record)

    def touch(self, id: str, version: int, expires: int) -> bool:
        return self._any().touch(id, version, expires)

    def delete(self, id: str) -> None:
        self._any().delete(id)


class PairContract(StoreContract):
    """The suite over two places."""

    old: Open
    new: Open
    kind: type[MigratingStore] = MigratingStore
    options: dict[str, Any] = {}  # noqa: RUF012

    def make_store(self) -> SessionStore:
        return self.kind(self.old(), self.new(), **self.options)

    @pytest.fixture(autouse=True)
    def _make_places(self, pair: str) -> Iterator[None]:
        old, _, new = pair.partition(" to ")
        with PLACES[old]() as self.old, PLACES[new]() as self.new:
            yield


@pytest.mark.parametrize(
    "pair", ["postgresql to redis", "memory to memory", "redis to sqlite", "file to sqlite", "memcached to mariadb"]
)
class TestContractOfWhatMoves(PairContract):
    kind = CreatesInOld


class TouchBySave(PairContract):
    def test_touch_moves_nothing_but_the_expiry(self) -> None:
        """And the version, of what stays in the old store."""
        with self._opened() as store:
            record = self._created(store)
            assert store.touch("id", 1, record.expires + 1) is True
            stored = self._loaded(store)
            assert stored == replace(record, expires=record.expires + 1, version=stored.version)
            assert stored.version in (1, 2)


@pytest.mark.parametrize("pair", ["redis to sqlite", "memory to memory"])
class TestContractBeforeItMoves(TouchBySave):
    options = {"moving": False}  # noqa: RUF012


@pytest.mark.parametrize("pair", ["postgresql to redis", "sqlite to file"])
class TestContractOfProcessesSomeOfWhichMove(TouchBySave):
    kind = OfSeveralProcesses


class Steps:
    """What is to happen before, or instead of, or after each call of a store that is under way."""

    def __init__(self) -> None:
        self._pending: list[tuple[int, Callable[[], None], bool]] = []
        self._counts: list[int] = []

    def run(self, operation: Callable[[], Any], number: int, action: Callable[[], None], *, after: bool = False) -> Any:
        """Run an operation with an action before or after its call of this number; return its outcome."""
        self._pending.append((number, action, after))
        self._counts.append(0)
        try:
            return outcome(operation)
        finally:
            self._pending.pop()
            self._counts.pop()

    def take(self, call: Callable[[], Any]) -> Any:
        if not self._counts:
            return call()
        number, action, after = self._pending[-1]
        mine = self._counts[-1]
        self._counts[-1] += 1
        if mine != number:
            return call()
        if not after:
            action()
            return call()
        try:
            return call()
        finally:
            action()


class Turns:
    """Has threads take turns, a call of a store each."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._of_thread = threading.local()
        self._waiting: set[int] = set()
        self._next: int | None = None

    def run(self, operations: list[Callable[[], Any]], schedule: list[int]) -> list[Any]:
        """Run operations at once, the calls in the order that the numbers say; return their outcomes."""
        answers: dict[int, Any] = {}

        def work(index: int) -> None:
            self._of_thread.index = index
            answer = outcome(operations[index])
            with self._changed:
                answers[index] = answer
                self._changed.notify_all()

        threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in range(len(operations))]
        for thread in threads:
            thread.start()
        numbers = chain(schedule, repeat(0))
        while len(answers) < len(operations):
            with self._changed:
                assert self._changed.wait_for(
                    lambda: self._next is None and len(self._waiting) + len(answers) == len(operations), 10
                )
                if self._waiting:
                    self._next = sorted(self._waiting)[next(numbers) % len(self._waiting)]
                    self._changed.notify_all()
        for thread in threads:
            thread.join()
        return [answers[index] for index in range(len(operations))]

    def take(self, call: Callable[[], Any]) -> Any:
        index = getattr(self._of_thread, "index", None)
        if index is not None:
            with self._changed:
                self._waiting.add(index)
                self._changed.notify_all()
                assert self._changed.wait_for(lambda: self._next == index, 10)
                self._waiting.remove(index)
                self._next = None
        return call()


class Stepped(SessionStore):
    """Has each call of a store be one step."""

    def __init__(self, inner: SessionStore, steps: Steps) -> None:
        self.inner = inner
        self._steps = steps

    def create(self, record: Record) -> None:
        self._steps.take(lambda: self.inner.create(record))

    def load(self, id: str) -> Record | None:
        result: Record | None = self._steps.take(lambda: self.inner.load(id))
        return result

    def save(self, record: Record) -> Record:
        result: Record = self._steps.take(lambda: self.inner.save(record))
        return result

    def touch(self, id: str, version: int, expires: int) -> bool:
        result: bool = self._steps.take(lambda: self.inner.touch(id, version, expires))
        return result

    def delete(self, id: str) -> None:
        self._steps.take(lambda: self.inner.delete(id))

    def delete_expired(self, limit: int = 500) -> list[Record]:
        result: list[Record] = self._steps.take(lambda: self.inner.delete_expired(limit))
        return result

    def scan(self) -> Iterator[Record]:
        yield from self._steps.take(lambda: list(self.inner.scan()))

    def find_by_owner(self, owner: str) -> list[Record]:
        result: list[Record] = self._steps.take(lambda: self.inner.find_by_owner(owner))
        return result

    def close(self) -> None:
        self._steps.take(self.inner.close)


def outcome(operation: Callable[[], Any]) -> Any:
    try:
        return operation()
    except SessionError as error:
        return type(error).__name__


def seen(record: Record | None) -> Any:
    return None if record is None else (record.payload, record.expires)


def _moved(store: SessionStore) -> None:
    if isinstance(store, MigratingStore):
        store.move()


R = Record("id", b"first", ENDS, 1, "anna")
CREATED = replace(R, payload=b"created")
ANOTHER = replace(CREATED, payload=b"another")
# What a request does that has loaded the record in its first version.
OPERATIONS: dict[str, Callable[[SessionStore], Any]] = {
    "load": lambda store: seen(store.load("id")),
    "save": lambda store: seen(store.save(replace(R, payload=b"saved", owner="bert"))),
    "touch": lambda store: store.touch("id", 1, ENDS + HOUR),
    "delete": lambda store: store.delete("id"),
    "owned": lambda store: [seen(record) for record in store.find_by_owner("anna")],
    "scan": lambda store: [seen(record) for record in store.scan()],
    "move": lambda store: _moved(store),
}
CREATIONS: dict[str, Callable[[SessionStore], Any]] = {
    "create": lambda store: store.create(CREATED),
    "create another": lambda store: store.create(ANOTHER),
    "create a third": lambda store: store.create(replace(CREATED, payload=b"a third")),
}

WRITES = ("save", "touch", "delete", "move")
SECOND = replace(R, payload=b"second", version=2)
PLACE = place_for(R)
SEALED = replace(sealed(R), version=2)
NUMBERED = replace(sealed(R, PLACE), version=3)
MARK = mark_of("id", R, ENDS, 0)
# What is in old, what is in new, and what that means.
STATES: dict[str, tuple[list[Record], list[Record], Record | None]] = {
    "in old": ([R], [], R),
    "in old, and a place": ([R], [PLACE], R),
    "sealed": ([SEALED], [], R),
    "sealed, and a place": ([SEALED], [PLACE], R),
    "with its place": ([NUMBERED], [PLACE], R),
    "with another place": ([NUMBERED], [place_for(R)], None),
    "moved": ([NUMBERED], [R], R),
    "moved and saved": ([NUMBERED], [SECOND], SECOND),
    "moved and forgotten": ([NUMBERED], [], None),
    "in new": ([], [R], R),
    "in neither": ([], [], None),
    "only a place": ([], [PLACE], None),
    "marked but not deleted": ([R], [MARK], None),
    "sealed and marked": ([SEALED], [MARK], None),
    "numbered and marked": ([NUMBERED], [MARK], None),
}
MODES = (True, False)
# What it is, and whether its process moves; None: not yet, but will move the other way.
Operation = tuple[str, bool | None]


class System:
    """An old store, a new one, and the processes that use both."""

    def __init__(self, state: str, steps: Any = None) -> None:
        self.steps = steps or Steps()
        self.old, self.new = Stepped(MemoryStore(), self.steps), Stepped(MemoryStore(), self.steps)
        for store, records in zip((self.old, self.new), STATES[state][:2], strict=True):
            for record in records:
                store.inner.create(record)

    def process(self, moving: bool | None) -> MigratingStore:
        if moving is None:
            return MigratingStore(self.new, self.old, moving=False)
        return MigratingStore(self.old, self.new, moving=moving)

    def operation(self, name: str, moving: bool | None) -> Callable[[], Any]:
        return lambda: (OPERATIONS | CREATIONS)[name](self.process(moving))

    def run(self, operations: tuple[Operation, ...], *numbers: int) -> list[Any]:
        """Run an operation, and at its step of this number the next one, and so on; return the answers of all.

        One that does not get so far hides those that come after it.
        """
        operation = self.operation(*operations[0])
        if not numbers:
            return [outcome(operation)]
        others: list[Any] = []
        answer = self.steps.run(operation, numbers[0], lambda: others.extend(self.run(operations[1:], *numbers[1:])))
        return [answer, *others]

    def end(self) -> Any:
        """Return what is there for every process, now and when all is moved."""
        ends = {seen(self.process(moving).load("id")) for moving in MODES}
        ends |= {next((seen(record) for record in self.process(moving).scan()), None) for moving in MODES}
        while self.process(True).move():
            pass
        assert self.process(True).left() == 0
        there = self.new.inner.load("id")
        ends.add(seen(there) if there is not None and is_session(there) else None)
        assert len(ends) == 1, ends
        return ends.pop()


def expected(state: str, operations: tuple[Operation, ...]) -> list[tuple[Any, ...]]:
    """Return what one store may answer to operations, in the order given here, whichever comes first, and then hold."""
    possible = []
    for order in permutations(range(len(operations))):
        for as_save in MODES:
            store = MemoryStore()
            if STATES[state][2] is not None:
                store.create(STATES[state][2])
            answers = {index: outcome(_alone(store, *operations[index], as_save)) for index in order}
            possible.append((*(answers[index] for index in range(len(operations))), seen(store.load("id"))))
    return possible


def _alone(store: SessionStore, name: str, moving: bool | None, as_save: bool) -> Callable[[], Any]:
    """Return an operation on a store that is not made of others; a touch before the move may be a save."""
    if name == "touch" and not moving and as_save:
        return lambda: SessionStore.touch(store, "id", 1, ENDS + HOUR)
    return lambda: (OPERATIONS | CREATIONS)[name](store)


# More than any operation takes.
MOST_STEPS = 16


class TestInterleavings:
    """Operations that stop at each of their steps, until others are done: as one after the other in some order."""

    def two(self, state: str, first: Operation, second: Operation) -> None:
        possible = expected(state, (first, second))
        for number in range(MOST_STEPS):
            system = System(state)
            answers = system.run((first, second), number)
            if len(answers) == 1:
                return
            assert (*answers, system.end()) in possible, (first, second, number)
        raise AssertionError(f"{first} takes more steps than are looked at")

    def three(self, state: str, *operations: Operation) -> None:
        """The second stops amid the first, and the third is all amid the second."""
        possible = expected(state, operations)
        for outer in range(MOST_STEPS):
            for inner in range(MOST_STEPS):
                system = System(state)
                answers = system.run(operations, outer, inner)
                if len(answers) == 1:
                    return
                if len(answers) == 2:
                    break
                assert (*answers, system.end()) in possible, (operations, outer, inner)

    @pytest.mark.parametrize("state", STATES)
    def test_two_operations_of_a_session(self, state: str) -> None:
        for first, second, moving, other_moving in product(OPERATIONS, OPERATIONS, MODES, MODES):
            self.two(state, (first, moving), (second, other_moving))

    @pytest.mark.parametrize("state", ["in old", "sealed", "with its place", "moved", "in new"])
    def test_three_operations_of_a_session(self, state: str) -> None:
        for modes in product(MODES, MODES, [True]):
            for names in product(WRITES, WRITES, ("load", "save", "delete")):
                self.three(state, *zip(names, modes, strict=True))

    @pytest.mark.parametrize("state", ["in neither", "in old", "in new"])
    def test_operations_while_the_direction_is_changed(self, state: str) -> None:
        for first, second in product(OPERATIONS, OPERATIONS):
            for directions in ((False, None), (None, False)):
                self.two(state, (first, directions[0]), (second, directions[1]))

    @settings(max_examples=300, deadline=None)
    @given(
        state=st.sampled_from(sorted(STATES)),
        operations=st.lists(st.tuples(st.sampled_from(sorted(OPERATIONS)), st.booleans()), min_size=2, max_size=4),
        schedule=st.lists(st.integers(0, 3), max_size=30),
    )
    def test_operations_that_take_turns(self, state: str, operations: list[Operation], schedule: list[int]) -> None:
        turns = Turns()
        system = System(state, turns)
        answers = turns.run([system.operation(*operation) for operation in operations], schedule)
        assert (*answers, system.end()) in expected(state, tuple(operations))

    @pytest.mark.parametrize(
        "state", ["in neither", "only a place", "in old", "sealed", "with its place", "moved", "in new"]
    )
    def test_an_id_is_created_once(self, state: str) -> None:
        for moving, other_moving in product(MODES, MODES):
            for other in ("load", "touch", "move", "delete", "owned", "scan", "create another"):
                self.two(state, ("create", moving), (other, other_moving))
                self.two(state, (other, moving), ("create", other_moving))
            for third in ("load", "move", "delete", "create a third"):
                self.three(state, ("create", moving), ("create another", other_moving), (third, True))
                self.three(state, (third, True), ("create", moving), ("create another", other_moving))

    @pytest.mark.parametrize("state", ["in neither", "in old", "sealed", "with its place", "in new"])
    def test_of_a_creation_and_one_after_a_delete_one_wins_or_the_delete_was_in_between(self, state: str) -> None:
        possible = [("RecordExists", None, seen(ANOTHER)), (None, "RecordExists", seen(CREATED))]
        if state == "in neither":
            possible.append((None, None, seen(ANOTHER)))

        def create(system: System, moving: bool) -> Any:
            return lambda: outcome(lambda: system.process(moving).create(CREATED))

        def delete_and_create(system: System, moving: bool) -> Any:
            def both() -> None:
                system.process(moving).delete("id")
                system.process(moving).create(ANOTHER)

            return lambda: outcome(both)

        for moving, other_moving, number, is_first in product(MODES, MODES, range(2 * MOST_STEPS), MODES):
            system = System(state)
            one, other = create(system, moving), delete_and_create(system, other_moving)
            answers: list[Any] = []
            outer, inner = (one, other) if is_first else (other, one)
            first = system.steps.run(outer, number, lambda inner=inner, answers=answers: answers.append(inner()))  # type: ignore[misc]
            if answers:
                both = (first, answers[0]) if is_first else (answers[0], first)
                assert (*both, system.end()) in possible, (moving, other_moving, number, is_first)


class TestMoversThatStop:
    """Or that are late: a session that has moved, and ended before it would have in the old store, stays ended."""

    def ended(self, system: System, time: ReplacedClock) -> None:
        """Log in, which shortens the session, and let it end and be forgotten."""
        store = system.process(True)
        record = store.load("id")
        assert record is not None
        store.save(replace(record, payload=b"with another secret", expires=time.now() + 60_000))
        time.advance(timedelta(minutes=2))
        store.delete_expired()
        self.check(system)

    def check(self, system: System) -> None:
        for moving in MODES:
            store = system.process(moving)
            assert store.load("id") is None
            assert list(store.scan()) == store.find_by_owner("anna") == []
            with pytest.raises(RecordNotFound):
                store.save(R)
            with pytest.raises(RecordNotFound):
                store.touch("id", 1, ENDS)

    def check_for_good(self, system: System, time: ReplacedClock) -> None:
        for moment in (time.now(), ENDS - 1, ENDS, ENDS + 9 * HOUR):
            time.set(moment)
            self.check(system)
            assert system.process(True).delete_expired() == []
        assert system.end() is None

    @pytest.mark.parametrize("write", ["touch", "move"])
    @pytest.mark.parametrize("after", [False, True])
    def test_what_ended_after_a_mover_was_killed_does_not_come_back(self, write: str, after: bool) -> None:
        for number in range(MOST_STEPS):
            system = System("in old")
            with ReplacedClock() as time:
                with suppress(Killed):
                    system.steps.run(system.operation(write, True), number, killed, after=after)
                self.ended(system, time)
                self.check_for_good(system, time)

    @pytest.mark.parametrize("write", ["touch", "save", "move"])
    def test_what_ended_while_a_mover_was_late_does_not_come_back(self, write: str) -> None:
        for number in range(MOST_STEPS):
            system = System("in old")
            with ReplacedClock() as time:
                late: list[Any] = []
                answer = system.steps.run(
                    system.operation(write, True),
                    number,
                    lambda late=late: late.append(self.ended(system, time)),  # type: ignore[misc]  # noqa: B023
                )
                if not late:
                    return
                assert answer in ("RecordNotFound", None) if write != "move" else answer is None
                self.check_for_good(system, time)

    def test_what_ended_does_not_come_back_by_a_late_mover_and_a_killed_one(self) -> None:
        for number, other_number in product(range(MOST_STEPS), repeat=2):
            system = System("in old")
            move = system.operation("move", True)
            with ReplacedClock() as time:
                steps: list[int] = []

                def meanwhile(
                    system: System = system,
                    move: Any = move,
                    other_number: int = other_number,
                    time: ReplacedClock = time,
                    steps: list[int] = steps,
                ) -> None:
                    with suppress(Killed):
                        system.steps.run(move, other_number, killed)
                    self.ended(system, time)
                    steps.append(other_number)

                system.steps.run(move, number, meanwhile)
                if not steps:
                    return
                self.check_for_good(system, time)

    @pytest.mark.parametrize("ends", ["expires", "flush"])
    def test_the_token_from_before_a_login_opens_nothing(self, old: MemoryStore, new: MemoryStore, ends: str) -> None:
        def log_in(session: Any) -> str:
            session.cycle_id()
            session.expiry = OnInactivity(timedelta(minutes=10))
            session["user"] = "anna"
            return "in"

        browser = Browser(wrapped(page(lambda session: session.setdefault("cart", 1)), old))
        browser.get()
        before = dict(browser.cookies)
        forget, old.delete = old.delete, killed  # type: ignore[method-assign]
        with pytest.raises(Killed):
            MigratingStore(old, new).move()
        old.delete = forget  # type: ignore[method-assign]
        store = MigratingStore(old, new)
        with ReplacedClock() as time:
            browser.app = wrapped(page(log_in), store)
            assert browser.get().text == "'in'"
            if ends == "flush":
                browser.app = wrapped(page(lambda session: session.flush()), store)
                browser.get()
            time.advance(timedelta(minutes=11))
            store.delete_expired()
            thief = Browser(wrapped(page(lambda session: dict(session)), store))
            thief.put(*before.popitem())
            assert thief.get().text == "{}"


def move_all(store: MigratingStore) -> None:
    while store.move(10):
        pass


class Small(MemoryStore):
    """Takes few bytes."""

    most = 150

    def create(self, record: Record) -> None:
        self._check(record)
        super().create(record)

    def save(self, record: Record) -> Record:
        self._check(record)
        return super().save(record)

    def _check(self, record: Record) -> None:
        if len(record.payload) > self.most:
            raise SessionTooLarge(f"{len(record.payload)} bytes")


class TestRefusals:
    LARGE = replace(R, id="large", payload=b"x" * 151)

    @pytest.fixture(params=["new", "old, when it is sealed"])
    def pair(self, request: pytest.FixtureRequest, old: MemoryStore, new: MemoryStore) -> tuple[MemoryStore, ...]:
        old = Small()
        old.most = 160
        for record in (self.LARGE, *(replace(R, id=f"id-{number}") for number in range(3))):
            old.create(record)
        if request.param == "new":
            old.most = 1000
            return old, Small()
        return old, new

    def test_all_others_move_and_it_is_told_how_many_do_not(self, pair: tuple[MemoryStore, ...]) -> None:
        old, new = pair
        store = MigratingStore(old, new)
        assert store.move(2) == 2
        assert store.move() == 1
        for _ in range(2):
            with pytest.raises(StoreError, match=r"stay in the old store: 1; first, 'large': \d+ bytes"):
                store.move()
        assert [record.id for record in old.scan()] == ["large"]
        assert len(list(new.scan())) == 3

    @pytest.mark.parametrize("moving", MODES)
    def test_what_does_not_move_stays_usable(self, pair: tuple[MemoryStore, ...], moving: bool) -> None:
        old, new = pair
        with suppress(StoreError):
            while MigratingStore(old, new).move():
                pass
        seen_by_old = old.load("large")
        assert seen_by_old is not None and seen_by_old.payload == self.LARGE.payload
        store = MigratingStore(old, new, moving=moving)
        assert store.touch("large", seen_by_old.version, ENDS + 1) is True
        loaded = store.load("large")
        assert loaded == replace(self.LARGE, expires=ENDS + 1, version=loaded.version if loaded else 0)
        saved = store.save(replace(loaded, payload=b"y" * 151))
        assert store.load("large") == saved == old.load("large")
        with pytest.raises(VersionConflict):
            store.save(loaded)
        store.delete("large")
        assert store.load("large") is None

    def test_what_has_become_small_enough_moves(self, pair: tuple[MemoryStore, ...]) -> None:
        old, new = pair
        store = MigratingStore(old, new)
        store.save(replace(self.LARGE, payload=b"small"))
        assert old.load("large") is not None
        while store.move():
            pass
        there = new.load("large")
        assert there is not None and there.payload == b"small"
        assert store.left() == 0

    @pytest.mark.parametrize("small", ["new", "old, when it is sealed"])
    def test_what_is_created_too_large_to_move_stays(self, small: str, old: MemoryStore, new: MemoryStore) -> None:
        """As it would, had it been created before they moved."""
        if small == "new":
            new = Small()
        else:
            old = Small()
            old.most = 160
        store = MigratingStore(old, new)
        store.create(self.LARGE)
        assert old.load("large") == store.load("large") == self.LARGE
        assert new._records == {}
        saved = store.save(replace(self.LARGE, payload=b"y" * 151))
        assert old.load("large") == store.load("large") == saved

    def test_what_is_too_large_for_the_old_store_is_nowhere(self, new: MemoryStore) -> None:
        old = Small()
        store = MigratingStore(old, new)
        with pytest.raises(SessionTooLarge):
            store.create(self.LARGE)
        assert old._records == new._records == {}

    def test_what_does_not_move_is_not_tried_again_until_it_changes(self, old: MemoryStore) -> None:
        old.create(self.LARGE)
        store = MigratingStore(old, Small())
        for _ in range(3):
            with pytest.raises(StoreError):
                store.move()
        stays = old.load("large")
        assert stays is not None and stays.version <= 3
        store.save(replace(stays, payload=b"small"))
        assert store.move() == 1

    def test_moving_again_and_again_what_does_not_move_takes_no_memory(self, old: MemoryStore) -> None:
        """An exception that is raised once more remembers also where it was then."""
        for number in range(20):
            old.create(replace(self.LARGE, id=f"id-{number}"))
        store = MigratingStore(old, Small())

        def move(times: int) -> int:
            for _ in range(times):
                with pytest.raises(StoreError):
                    store.move()
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            before = move(10)
            assert move(100) - before < 50_000
        finally:
            tracemalloc.stop()

    def test_one_that_the_new_store_never_takes_stops_no_other(self, old: MemoryStore) -> None:
        class Picky(MemoryStore):
            def create(self, record: Record) -> None:
                if record.id == "id-0":
                    raise StoreError("a packet too large")
                super().create(record)

        for number in range(30):
            old.create(replace(R, id=f"id-{number}"))
        store = MigratingStore(old, Picky())
        with pytest.raises(StoreError, match="stay in the old store: 1; first, 'id-0': a packet too large"):
            move_all(store)
        assert [record.id for record in old.scan()] == ["id-0"]

    def test_a_new_store_that_takes_nothing_is_not_asked_for_each_record(self, old: MemoryStore) -> None:
        for number in range(30):
            old.create(replace(R, id=f"id-{number}"))
        asked = []

        class Full(MemoryStore):
            def create(self, record: Record) -> None:
                asked.append(record)
                raise StoreError("full")

        with pytest.raises(StoreError, match=r"^full$"):
            MigratingStore(old, Full()).move()
        assert len(asked) == 10

    def test_an_expired_one_that_nobody_has_swept_is_in_the_way_until_then(
        self, old: MemoryStore, new: MemoryStore
    ) -> None:
        store = MigratingStore(old, new)
        with ReplacedClock() as time:
            new.create(replace(R, expires=time.now()))
            old.create(R)
            with pytest.raises(StoreError, match="there is a record 'id' already"):
                store.move()
            loaded = store.load("id")
            assert loaded is not None
            assert store.save(loaded).payload == R.payload
            with pytest.raises(RecordExists):
                MigratingStore(MemoryStore(), new).create(R)
            store.delete_expired()
            assert store.move() == 1
            assert store.left() == 0

    def test_a_place_that_was_kept_before_is_no_hindrance(self, old: MemoryStore, new: MemoryStore) -> None:
        """A mover that was killed has kept it, and the session has been saved since, by those that do not move."""
        new.create(PLACE)
        old.create(replace(R, expires=ENDS + 9 * HOUR, version=5))
        assert MigratingStore(old, new).move() == 1
        there = new.load("id")
        assert there == replace(R, expires=ENDS + 9 * HOUR, version=5)

    def test_a_new_store_that_takes_less_than_it_did_says_so(self, old: MemoryStore) -> None:
        new = Small()
        new.create(PLACE)
        old.create(NUMBERED)
        new.most = 1
        store = MigratingStore(old, new)
        with pytest.raises(SessionTooLarge):
            store.touch("id", 1, ENDS)
        with pytest.raises(StoreError, match="stay in the old store: 1"):
            store.move()
        assert store.load("id") == R


class TestFailures:
    @pytest.mark.parametrize("state", STATES)
    @pytest.mark.parametrize("after", [False, True], ids=["unreachable", "answer lost"])
    def test_an_operation_that_fails_has_happened_or_not(self, state: str, after: bool) -> None:
        """And those that come after it see one of the two."""

        def fail() -> None:
            raise StoreError("gone")

        for first, second, moving, other_moving in product(OPERATIONS, OPERATIONS, MODES, MODES):
            happened = expected(state, ((first, moving), (second, other_moving)))
            did_not = expected(state, ((second, other_moving),))
            possible = {repr(found[1:]) for found in happened} | {repr(found) for found in did_not}
            for number in range(MOST_STEPS):
                system = System(state)
                answer = system.steps.run(system.operation(first, moving), number, fail, after=after)
                if answer != "StoreError":
                    break
                found = (*system.run(((second, other_moving),)), system.end())
                assert repr(found) in possible, (first, moving, second, other_moving, number)

    def test_an_outage_of_the_old_store_leaves_what_has_moved(self) -> None:
        old, new = Broken(), MemoryStore()
        store = MigratingStore(old, new)
        new.create(R)
        saved = store.save(R)
        assert store.load("id") == saved
        assert store.touch("id", 2, ENDS + 1) is True
        for attempt in (
            lambda: store.load("other"),
            lambda: store.save(replace(R, id="other")),
            lambda: store.create(replace(R, id="other")),
            lambda: store.delete("id"),
            store.move,
            store.left,
            lambda: store.find_by_owner("anna"),
            lambda: list(store.scan()),
        ):
            with pytest.raises(StoreError):
                attempt()
        assert new.load("id") is not None

    @pytest.mark.parametrize("moving", MODES)
    def test_an_outage_of_the_new_store_begins_no_move(self, moving: bool) -> None:
        old, new = MemoryStore(), Broken()
        old.create(R)
        store = MigratingStore(old, new, moving=moving)
        for attempt in (
            lambda: store.load("id"),
            lambda: store.save(R),
            lambda: store.touch("id", 1, ENDS),
            lambda: store.create(replace(R, id="other")),
            lambda: store.delete("id"),
        ):
            with pytest.raises(StoreError):
                attempt()
        assert list(old.scan()) == [R]

    def test_a_new_store_that_is_full_loses_nothing(self) -> None:
        old = MemoryStore()
        records = [replace(R, id=f"id-{number}") for number in range(3)]
        for record in records:
            old.create(record)
        store = MigratingStore(old, MemoryStore(max_records=1))
        with pytest.raises(StoreError):
            move_all(store)
        assert sorted(store.scan(), key=lambda record: record.id) == records
        assert [store.load(record.id) for record in records] == records

    @pytest.mark.parametrize("moving", MODES)
    @pytest.mark.parametrize("state", ["in old", "sealed", "with its place", "moved", "in new"])
    def test_a_logout_works_although_a_store_is_full(self, state: str, moving: bool) -> None:
        """It takes no writes, such as Redis at its maxmemory, and still deletes."""
        for full in ("old", "new"):
            system = System(state)
            store = system.process(moving)
            for name in ("create", "save"):
                setattr(getattr(system, full).inner, name, refuse)
            store.delete("id")
            assert [system.process(other).load("id") for other in MODES] == [None, None]
            assert system.process(moving).find_by_owner("anna") == []

    def test_a_logout_that_finds_the_old_store_full_ends_what_moves_meanwhile(self) -> None:
        for number in range(MOST_STEPS):
            system, ended = System("in old"), []

            def end(system: System = system, ended: list[bool] = ended) -> None:
                ended.append(True)
                inner = system.old.inner
                save = inner.save
                inner.save = refuse  # type: ignore[method-assign]
                MigratingStore(inner, system.new.inner).delete("id")
                inner.save = save  # type: ignore[method-assign]

            system.steps.run(system.operation("move", True), number, end)
            if not ended:
                return
            assert [system.process(other).load("id") for other in MODES] == [None, None], number

    def test_a_sweep_that_fails_halfway_tells_what_it_removed(self, caplog: pytest.LogCaptureFixture) -> None:
        new = MemoryStore()
        store = MigratingStore(Broken(), new)
        with pytest.raises(StoreError):
            store.delete_expired()
        with ReplacedClock() as time:
            new.create(replace(R, expires=time.now() + 1))
            time.advance(timedelta(milliseconds=1))
            assert [record.id for record in store.delete_expired()] == ["id"]
        assert "cannot remove" in caplog.text

    def test_both_are_closed_if_one_fails(self) -> None:
        closed = []
        new = MemoryStore()
        new.close = lambda: closed.append("new")  # type: ignore[method-assign]
        with pytest.raises(StoreError):
            MigratingStore(Broken(), new).close()
        assert closed == ["new"]


def refuse(*_: Any) -> None:
    raise StoreError("full")


class Killed(BaseException):
    """A process ends here."""


def killed(*_arguments: object) -> Any:
    raise Killed


class Broken(Stepped):
    """Has no server."""

    def __init__(self) -> None:
        super().__init__(MemoryStore(), self)  # type: ignore[arg-type]

    def take(self, call: Callable[[], Any]) -> Any:
        raise StoreError("no route to host")


@pytest.fixture
def old() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def new() -> MemoryStore:
    return MemoryStore()


class TestMoving:
    def test_a_load_moves_nothing(self, old: MemoryStore, new: MemoryStore) -> None:
        old.create(R)
        assert MigratingStore(old, new).load("id") == R
        assert list(old.scan()) == [R]
        assert list(new.scan()) == []

    @pytest.mark.parametrize("write", ["save", "touch"])
    def test_a_write_moves_the_record_with_its_version(self, old: MemoryStore, new: MemoryStore, write: str) -> None:
        stored = replace(R, version=7)
        old.create(stored)
        store = MigratingStore(old, new)
        if write == "save":
            assert store.save(replace(stored, payload=b"saved")).version == 8
            assert new.load("id") == replace(stored, payload=b"saved", version=8)
        else:
            assert store.touch("id", 7, ENDS + 5) is True
            assert new.load("id") == replace(stored, expires=ENDS + 5)
        assert list(old.scan()) == []

    def test_before_it_moves_everything_stays(self, old: MemoryStore, new: MemoryStore) -> None:
        store = MigratingStore(old, new, moving=False)
        store.create(R)
        saved = store.save(R)
        assert store.touch("id", saved.version, ENDS + 5) is True
        assert store.touch("id", saved.version, ENDS + 9) is False
        assert seen(old.load("id")) == (R.payload, ENDS + 5)
        assert store.move() == 0
        assert list(new.scan()) == []
        # Processes that know only the old store see it all, and each other's.
        store.delete("id")
        assert list(old.scan()) == []

    def test_before_it_moves_an_id_can_be_used_again_in_the_old_store(self, old: MemoryStore, new: MemoryStore) -> None:
        store = MigratingStore(old, new, moving=False)
        for create in (store.create, old.create, store.create):
            store.delete("id")
            create(R)
            assert old.load("id") == store.load("id") == R
            assert list(store.scan()) == [R]
            store.delete("id")
        assert new._records == {}

    @pytest.mark.parametrize("moving", MODES)
    def test_an_id_that_was_deleted_after_it_moved_can_be_used_again(
        self, old: MemoryStore, new: MemoryStore, moving: bool
    ) -> None:
        old.create(R)
        MigratingStore(old, new).touch("id", 1, ENDS)
        store = MigratingStore(old, new, moving=moving)
        for payload in (b"again", b"and again"):
            store.delete("id")
            created = replace(R, payload=payload)
            store.create(created)
            assert store.load("id") == created
            assert store.save(created).version == 2

    def test_before_it_moves_what_others_have_moved_is_used_where_it_is(
        self, old: MemoryStore, new: MemoryStore
    ) -> None:
        new.create(R)
        store = MigratingStore(old, new, moving=False)
        saved = store.save(R)
        assert new.load("id") == saved == store.load("id")
        with pytest.raises(RecordExists):
            store.create(R)
        assert list(old.scan()) == []

    @pytest.mark.parametrize("moving", MODES)
    def test_an_id_that_either_store_has_is_taken(self, old: MemoryStore, new: MemoryStore, moving: bool) -> None:
        old.create(R)
        new.create(replace(R, id="other"))
        store = MigratingStore(old, new, moving=moving)
        for id in ("id", "other"):
            with pytest.raises(RecordExists):
                store.create(replace(R, id=id))

    def test_moving_all_of_it_in_parts(self, old: MemoryStore, new: MemoryStore) -> None:
        records = [replace(R, id=f"id-{number}", version=number + 1) for number in range(7)]
        for record in records:
            old.create(record)
        store = MigratingStore(old, new)
        progress = []
        while moved := store.move(3):
            progress.append((moved, store.left()))
        assert progress == [(3, 4), (3, 1), (1, 0)]
        assert sorted(new.scan(), key=lambda record: record.id) == records
        assert store.move(0) == 0

    @pytest.mark.parametrize("moving", MODES)
    def test_a_mark_in_redis_ends_what_a_delete_that_failed_has_left(self, old: MemoryStore, moving: bool) -> None:
        """Its scripts take a mark for no record, other stores for one of another version."""
        with PLACES["redis"]() as open:
            old.create(R)
            leave_mark(open(), R, "id")
            store = MigratingStore(old, open(), moving=moving)
            for write in (lambda: store.save(R), lambda: store.touch("id", 1, ENDS)):
                with pytest.raises(RecordNotFound):
                    write()
            assert store.load("id") is None

    def test_a_mark_takes_the_place_of_what_writers_keep_changing(self) -> None:
        class Crowded(MemoryStore):
            def load(self, id: str) -> Record | None:
                record = super().load(id)
                if record is not None and not is_mark(record):
                    super().save(record)
                return record

        store = Crowded()
        store.create(R)
        leave_mark(store, R, "id")
        assert is_mark(next(store.scan()))

    def test_a_mark_takes_the_place_of_what_has_expired(self, new: MemoryStore) -> None:
        with ReplacedClock() as time:
            new.create(replace(R, expires=time.now()))
            leave_mark(new, None, "id")
            assert is_mark(next(new.scan()))

    def test_marks_are_no_sessions(self, old: MemoryStore, new: MemoryStore) -> None:
        store = MigratingStore(old, new)
        for number in range(5):
            store.create(replace(R, id=f"id-{number}"))
        assert revoke(store, "anna") == 5
        assert statistics(store).sessions == 0
        assert store.find_by_owner("anna") == []
        target = MemoryStore()
        assert copy(new, target) == 0
        with ReplacedClock() as time:
            time.set(ENDS + HOUR)
            assert store.delete_expired(2) == []
        assert new._records == old._records == {}

    def test_after_the_move_nobody_is_told_of_marks(self, old: MemoryStore, new: MemoryStore) -> None:
        store = MigratingStore(old, new)
        for id in ("logs-out", "stays"):
            store.create(replace(R, id=id))
        store.delete("logs-out")
        told: list[Record] = []
        with ReplacedClock() as time:
            time.set(ENDS + HOUR)
            Sweeper(new, timedelta(minutes=1), on_deleted=told.extend).sweep_once()
        assert [record.id for record in told] == ["stays"]

    def test_what_was_renewed_in_the_new_store_is_not_told_to_have_ended(
        self, old: MemoryStore, new: MemoryStore
    ) -> None:
        """A mover that died has left it in the old one."""
        old.create(NUMBERED)
        new.create(replace(R, expires=ENDS + HOUR))
        new.create(replace(R, id="other"))
        with ReplacedClock() as time:
            time.set(ENDS)
            store = MigratingStore(old, new)
            assert [record.id for record in store.delete_expired()] == ["other"]
            assert store.load("id") is not None

    @pytest.mark.parametrize("state", ["sealed", "sealed, and a place", "with its place"])
    def test_what_expires_while_it_moves_is_told_as_it_was(self, state: str) -> None:
        system = System(state)
        with ReplacedClock() as time:
            time.set(ENDS)
            assert system.process(True).delete_expired() == [R]

    def test_what_a_killed_mover_left_in_both_stores_is_told_to_have_ended_once(
        self, old: MemoryStore, new: MemoryStore
    ) -> None:
        old.create(R)
        old.delete = killed  # type: ignore[method-assign]
        with pytest.raises(Killed):
            MigratingStore(old, new).touch("id", 1, ENDS)
        with ReplacedClock() as time:
            time.set(ENDS)
            assert MigratingStore(old, new).delete_expired() == [R]

    def test_an_owner_is_who_the_new_store_says(self, old: MemoryStore, new: MemoryStore) -> None:
        old.create(NUMBERED)
        new.create(replace(R, owner="bert"))
        store = MigratingStore(old, new)
        assert store.find_by_owner("anna") == []
        assert [record.owner for record in store.find_by_owner("bert")] == ["bert"]
        assert [record.owner for record in store.scan()] == ["bert"]

    def test_the_way_back(self, old: MemoryStore, new: MemoryStore) -> None:
        """As the page says: stop, finish what has begun, then the other way round."""
        old.create(R)
        old.create(replace(sealed(R), id="begun", version=2))
        ended, moved = replace(R, id="ended"), replace(R, id="moved")
        for record in (ended, moved):
            new.create(record)
        MigratingStore(old, new).delete("ended")
        while MigratingStore(old, new, moving=False).move():
            pass
        assert not any(is_sealed(record) for record in old.scan())
        back = MigratingStore(new, old)
        assert back.left() == 2
        while back.move():
            pass
        assert back.left() == 0
        assert sorted(record.id for record in old.scan()) == ["begun", "id", "moved"]
        assert back.load("ended") is None
        with pytest.raises(RecordNotFound):
            back.save(ended)

    def test_one_place_given_twice_loses_nothing(self) -> None:
        with PLACES["sqlite"]() as open:
            one = open()
            one.create(R)
            store = MigratingStore(one, open())
            with pytest.raises(StoreError, match="both are one place"):
                store.move()
            with pytest.raises(StoreError, match="both are one place"):
                store.create(replace(R, id="other"))
            assert len(list(one.scan())) == 1

    @pytest.mark.parametrize("moving", MODES)
    def test_writers_without_end_are_a_store_error(self, old: MemoryStore, new: MemoryStore, moving: bool) -> None:
        class Contended(MemoryStore):
            def save(self, record: Record) -> Record:
                raise VersionConflict("others")

        contended = Contended()
        contended.create(R)
        with pytest.raises(StoreError, match="kept changing"):
            MigratingStore(contended, new, moving=moving).save(R)
        with pytest.raises(StoreError, match="kept changing"):
            MigratingStore(contended, new, moving=moving).delete("id")
        assert contended.load("id") == R

    def test_what_has_expired_is_told_although_the_new_store_cannot_be_asked(self, old: MemoryStore) -> None:
        new = MemoryStore()
        new.load = Broken().load  # type: ignore[method-assign]
        old.create(R)
        with ReplacedClock() as time:
            time.set(ENDS)
            assert MigratingStore(old, new).delete_expired() == [R]


class TestArguments:
    @pytest.mark.parametrize(
        ("old", "new", "error", "says"),
        [
            (MemoryStore(), CachelibStore(SimpleCache(threshold=10**9)), ValueError, "compare and swap"),
            (
                CachingStore(SimpleCache(), MemoryStore(), max_staleness=timedelta(1)),
                MemoryStore(),
                ValueError,
                "front",
            ),
            (
                MemoryStore(),
                CachingStore(SimpleCache(), MemoryStore(), max_staleness=timedelta(1)),
                ValueError,
                "front",
            ),
            ("sqlite:///x", MemoryStore(), TypeError, "old must be a SessionStore"),
            (MemoryStore(), None, TypeError, "new must be a SessionStore"),
        ],
    )
    def test_what_cannot_work_is_refused(self, old: Any, new: Any, error: type[Exception], says: str) -> None:
        with pytest.raises(error, match=says):
            MigratingStore(old, new)

    def test_a_store_cannot_move_to_itself(self, old: MemoryStore) -> None:
        with pytest.raises(ValueError, match="same"):
            MigratingStore(old, old)

    def test_the_attributes_are_those_of_both(self, tmp_path: Any) -> None:
        cache, file = CachelibStore(SimpleCache(threshold=10**9)), FileStore(tmp_path / "sessions")
        store = MigratingStore(cache, file)
        assert (store.atomic, store.shared, store.enumerable, store.expires_itself) == (False, False, False, False)
        assert MigratingStore(cache, file, moving=False).expires_itself
        assert MigratingStore(file, MemoryStore()).atomic
        with pytest.raises(NotImplementedError):
            store.left()
        with pytest.raises(NotImplementedError):
            store.move()

    def test_repr_names_both(self, tmp_path: Any) -> None:
        store = MigratingStore(MemoryStore(), FileStore(tmp_path))
        assert repr(store) == f"MigratingStore(MemoryStore(0 records), FileStore({str(tmp_path)!r}), moving=True)"


class TestWithTheMiddleware:
    @pytest.mark.parametrize("pair", ["postgresql to redis", "file to sqlite"])
    def test_a_visitor_notices_none_of_the_deployments(self, pair: str) -> None:
        old_place, _, new_place = pair.partition(" to ")
        with ExitStack() as stack:
            old = stack.enter_context(PLACES[old_place]())()
            new = stack.enter_context(PLACES[new_place]())()
            stack.callback(old.close)
            stack.callback(new.close)

            def count(session: Any) -> int:
                session["n"] = session.get("n", 0) + 1
                return session["n"]

            browser, idle, leaver = (Browser(wrapped(page(count), old)) for _ in range(3))
            for each in (browser, idle, leaver):
                assert each.get().text == "1"
            for number, store in enumerate(
                [
                    MigratingStore(old, new, moving=False),
                    old,
                    MigratingStore(old, new, moving=False),
                    MigratingStore(old, new),
                ]
            ):
                browser.app = wrapped(page(count), store)
                assert browser.get().text == str(number + 2)
            before = dict(leaver.cookies)
            leaver.app = wrapped(page(lambda session: session.flush()), MigratingStore(old, new))
            leaver.get()
            while MigratingStore(old, new).move(1):
                pass
            assert list(old.scan()) == []
            for each, text in ((browser, "6"), (idle, "2")):
                each.app = wrapped(page(count), new)
                assert each.get().text == text
            returning = Browser(wrapped(page(count), new))
            returning.put(*before.popitem())
            assert returning.get().text == "1"
            assert returning.get().text == "2"
