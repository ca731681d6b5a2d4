from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from wsgi_sessions import clock
from wsgi_sessions.exceptions import RecordNotFound, VersionConflict
from wsgi_sessions.record import Record
from wsgi_sessions.stores import base
from wsgi_sessions.stores.base import SessionStore, close_before_fork, renew_after_fork
from wsgi_sessions.stores.memory import MemoryStore
from wsgi_sessions.testing import StoreContract
from wsgi_sessions.testing.parallel import in_processes


class LeastStore(SessionStore):
    """Defines what a store must define, and nothing else."""

    enumerable = False
    expires_itself = True

    def __init__(self) -> None:
        self._memory = MemoryStore()

    def create(self, record: Record) -> None:
        self._memory.create(record)

    def load(self, id: str) -> Record | None:
        return self._memory.load(id)

    def save(self, record: Record) -> Record:
        return self._memory.save(record)

    def delete(self, id: str) -> None:
        self._memory.delete(id)


class TestLeastStoreContract(StoreContract):
    """The defaults keep the contract."""

    def make_store(self) -> LeastStore:
        return LeastStore()


class OvertakenStore(LeastStore):
    """Somebody else is always faster."""

    def __init__(self, overtake: Callable[[MemoryStore, Record], object]) -> None:
        super().__init__()
        self._overtake = overtake

    def save(self, record: Record) -> Record:
        self._overtake(self._memory, record)
        return super().save(record)


def created(store: SessionStore) -> Record:
    record = Record("id", b"payload", clock.now() + 60_000)
    store.create(record)
    return record


def test_the_least_store_defines_four_methods() -> None:
    assert SessionStore.__abstractmethods__ == {"create", "load", "save", "delete"}


def test_the_default_touch_gives_way_to_a_save_that_comes_between() -> None:
    store = OvertakenStore(lambda memory, record: memory.save(replace(record, payload=b"theirs")))
    record = created(store)
    assert store.touch("id", 1, record.expires + 1000) is False
    stored = store.load("id")
    assert stored is not None
    assert (stored.payload, stored.version) == (b"theirs", 2)


def test_the_default_touch_does_not_undo_a_delete_that_comes_between() -> None:
    store = OvertakenStore(lambda memory, record: memory.delete(record.id))
    record = created(store)
    with pytest.raises(RecordNotFound):
        store.touch("id", 1, record.expires + 1000)
    assert store.load("id") is None


def test_the_default_touch_is_a_save_to_those_who_save_later() -> None:
    store = LeastStore()
    record = created(store)
    assert store.touch("id", 1, record.expires + 1000) is True
    with pytest.raises(VersionConflict):
        store.save(record)


def test_by_default_nothing_is_left_to_sweep() -> None:
    assert LeastStore().delete_expired() == []


@pytest.mark.parametrize("search", [lambda store: store.scan(), lambda store: store.find_by_owner("somebody")])
def test_by_default_a_search_names_the_store_that_cannot_search(search: Callable[[SessionStore], object]) -> None:
    with pytest.raises(NotImplementedError, match="LeastStore"):
        search(LeastStore())


def test_a_store_promises_by_default_what_most_stores_can() -> None:
    promises = (SessionStore.atomic, SessionStore.shared, SessionStore.enumerable, SessionStore.expires_itself)
    assert promises == (True, False, True, False)


class Survivor:
    """Notes in which process it was renewed."""

    def __init__(self) -> None:
        self.renewed_in: list[int] = []

    def _after_fork(self) -> None:
        self.renewed_in.append(os.getpid())


def test_survivors_are_renewed_in_the_child_before_anything_else_and_not_in_the_parent() -> None:
    one, other = Survivor(), Survivor()
    renew_after_fork(one)
    renew_after_fork(other)

    def in_child(_index: int, _start: Any) -> bool:
        return one.renewed_in == other.renewed_in == [os.getpid()]

    assert in_processes(in_child, 2, 20) == [True, True]
    assert one.renewed_in == other.renewed_in == []


def test_registering_twice_renews_once() -> None:
    survivor = Survivor()
    renew_after_fork(survivor)
    renew_after_fork(survivor)
    assert in_processes(lambda _index, _start: len(survivor.renewed_in), 1, 20) == [1]


def test_registering_keeps_nothing_alive() -> None:
    survivor = Survivor()
    renew_after_fork(survivor)
    assert survivor in base._survivors
    before = len(base._survivors)
    del survivor
    gc.collect()
    assert len(base._survivors) < before


class Failing(Survivor):
    """Cannot be renewed."""

    def _after_fork(self) -> None:
        raise OSError("the server is gone")


def test_one_that_cannot_be_renewed_keeps_no_other_from_it(caplog: pytest.LogCaptureFixture) -> None:
    survivors = [Failing(), Survivor(), Failing(), Survivor()]
    for survivor in survivors:
        renew_after_fork(survivor)

    def in_child(_index: int, _start: Any) -> bool:
        told = [record.levelname for record in caplog.records if "forked process" in record.message]
        return told == ["ERROR"] * 2 and all(survivor.renewed_in == [os.getpid()] for survivor in survivors[1::2])

    assert in_processes(in_child, 1, 20) == [True]


class Closing(Survivor):
    """Notes that it was to close what it does not use, and fails at that."""

    def __init__(self) -> None:
        super().__init__()
        self.closed_in: list[int] = []

    def _close_idle(self) -> None:
        self.closed_in.append(os.getpid())
        raise OSError("the server is gone")


def test_what_is_idle_is_closed_once_before_each_fork_whatever_comes_of_it() -> None:
    one, other = Closing(), Closing()
    close_before_fork(one)
    close_before_fork(other)
    parent = os.getpid()

    def in_child(_index: int, _start: Any) -> bool:
        return one.renewed_in == other.renewed_in == [os.getpid()]

    assert in_processes(in_child, 2, 20) == [True, True]
    assert one.closed_in == other.closed_in == [parent, parent]
