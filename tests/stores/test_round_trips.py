"""How often a store has to wait for its server: once for a load, once for a save, once for each other operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest
import services
from backends import new_name, new_table
from msgspec.structs import replace

from wsgi_sessions import Record, SessionStore, clock, store_from_url

_LIFETIME = 3_600_000
Run = Callable[[SessionStore, Record], object]


def _port(url: str) -> int:
    return int(url.rpartition("@")[2].rpartition(":")[2].partition("/")[0].partition("?")[0])


@pytest.fixture(params=["postgresql", "mariadb", "redis", "memcached"])
def counted(request: pytest.FixtureRequest) -> Iterator[tuple[SessionStore, services.Proxy]]:
    """A store, warm, behind a proxy that counts."""
    url = services.url_of(request.param)
    with ExitStack() as stack:
        proxy = stack.enter_context(services.Proxy(_port(url)))
        is_sql = request.param in ("postgresql", "mariadb")
        place = f"table={stack.enter_context(new_table(url))}" if is_sql else f"prefix={new_name()}"
        store = stack.enter_context(closing(store_from_url(f"{proxy.through(url)}?{place}")))
        warm = Record("warm", b"payload", clock.now() + _LIFETIME, owner="somebody")
        store.create(warm)
        store.save(warm)
        store.touch("warm", 2, warm.expires + 1)
        store.load("warm")
        yield store, proxy
        store.delete("warm")


def trips(counted: tuple[SessionStore, services.Proxy], run: Run, owner: str | None = None) -> int:
    """Return how many round trips an operation takes on a record that was just created."""
    store, proxy = counted
    record = Record(new_name(), b"payload" * 100, clock.now() + _LIFETIME, owner=owner)
    store.create(record)
    before = proxy.round_trips
    run(store, record)
    count = proxy.round_trips - before
    store.delete(record.id)
    return count


def is_memcached(store: SessionStore) -> bool:
    return not store.atomic


def test_a_load_takes_one(counted: tuple[SessionStore, services.Proxy]) -> None:
    assert trips(counted, lambda store, record: store.load(record.id)) == 1


def test_a_load_of_what_is_not_there_takes_one(counted: tuple[SessionStore, services.Proxy]) -> None:
    assert trips(counted, lambda store, record: store.load("missing")) == 1


def test_a_save_takes_one(counted: tuple[SessionStore, services.Proxy]) -> None:
    """Of Memcached, which cannot compare, two."""
    expected = 2 if is_memcached(counted[0]) else 1
    assert trips(counted, lambda store, record: store.save(record)) == expected


def test_a_save_of_an_owned_record_takes_one(counted: tuple[SessionStore, services.Proxy]) -> None:
    expected = 2 if is_memcached(counted[0]) else 1
    assert trips(counted, lambda store, record: store.save(replace(record, payload=b"new")), "somebody") == expected


def test_a_touch_takes_one(counted: tuple[SessionStore, services.Proxy]) -> None:
    expected = 2 if is_memcached(counted[0]) else 1
    assert trips(counted, lambda store, record: store.touch(record.id, 1, record.expires + 1)) == expected


def test_a_delete_takes_one(counted: tuple[SessionStore, services.Proxy]) -> None:
    assert trips(counted, lambda store, record: store.delete(record.id)) == 1


def test_a_creation_takes_one(counted: tuple[SessionStore, services.Proxy]) -> None:
    record = Record(new_name(), b"payload", clock.now() + _LIFETIME)
    assert trips(counted, lambda store, _: store.create(record)) == 1
    counted[0].delete(record.id)


def test_the_many_sessions_of_an_owner_take_two_at_most(counted: tuple[SessionStore, services.Proxy]) -> None:
    store = counted[0]
    if not store.enumerable:
        pytest.skip("this store cannot search by owner")
    owner = new_name()
    ids = [f"{owner}-{number}" for number in range(20)]
    for id in ids:
        store.create(Record(id, b"payload", clock.now() + _LIFETIME, owner=owner))
    assert trips(counted, lambda store, record: store.find_by_owner(owner)) <= 2
    for id in ids:
        store.delete(id)


def test_an_idle_store_sends_nothing(counted: tuple[SessionStore, services.Proxy]) -> None:
    assert trips(counted, lambda store, record: None) == 0
