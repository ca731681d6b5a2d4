"""A connection to PostgreSQL or MariaDB that dies: between two requests, and before an answer has come."""

import threading
from contextlib import closing

import pytest
from harness import Site
from msgspec.structs import replace
from outages import assert_unavailable, new_record, payload_of
from servers import at_once
from services import wait_until
from sql_places import ENGINES, execute, sql_place

from wsgi_sessions import StoreError
from wsgi_sessions.stores import _sql_connections

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module", params=ENGINES)
def place(request):
    with sql_place(request.param) as place:
        yield place


@pytest.fixture
def store(place):
    """A store without records, whose proxy loses nothing."""
    place.proxy.lose(b"no statement", times=0)
    execute(place.kind, f"DELETE FROM {place.table}")
    with closing(place.open()) as store:
        yield store


class TestLostAnswers:
    def test_a_save_is_sent_once_and_fails(self, place, store):
        record = new_record("id")
        store.create(record)
        place.proxy.lose(b"UPDATE", times=100)
        with pytest.raises(StoreError):
            store.save(replace(record, payload=b"saved"))
        assert place.proxy.seen == 1
        assert store.load("id") == replace(record, payload=b"saved", version=2)

    def test_a_creation_is_sent_once_and_fails(self, place, store):
        store.load("id")
        place.proxy.lose(b"INSERT", times=100)
        with pytest.raises(StoreError):
            store.create(new_record("id"))
        assert place.proxy.seen == 1
        assert payload_of(store, "id") == b"payload"

    def test_a_touch_is_sent_once_and_fails(self, place, store):
        record = new_record("id")
        store.create(record)
        place.proxy.lose(b"UPDATE", times=100)
        with pytest.raises(StoreError):
            store.touch("id", 1, record.expires + 1)
        assert place.proxy.seen == 1
        assert store.load("id") == replace(record, expires=record.expires + 1)

    def test_a_deletion_is_sent_once_and_fails(self, place, store):
        store.create(new_record("id"))
        place.proxy.lose(b"DELETE", times=100)
        with pytest.raises(StoreError):
            store.delete("id")
        assert place.proxy.seen == 1
        assert payload_of(store, "id") is None

    def test_a_read_is_sent_once_more(self, place, store):
        store.create(new_record("id"))
        place.proxy.lose(f"FROM {place.table}".encode())
        assert payload_of(store, "id") == b"payload"
        assert place.proxy.seen == 2

    def test_a_read_is_not_sent_a_third_time(self, place, store):
        store.create(new_record("id"))
        place.proxy.lose(f"FROM {place.table}".encode(), times=100)
        with pytest.raises(StoreError):
            store.load("id")
        assert place.proxy.seen == 2

    def test_a_request_that_is_sent_again_meets_no_conflict(self, place, store):
        visitor = Site(store).visitor()
        visitor.set(number=1)
        place.proxy.lose(b"UPDATE")
        assert_unavailable(visitor.set(number=3))
        assert visitor.set(number=3).status == 200
        assert visitor.read() == {"number": 3}


class TestKilledConnections:
    """By the administrator, as by an idle timeout or a restart."""

    def test_the_next_request_may_begin_with_a_write(self, place, store):
        site = Site(store)
        assert site.visitor().set(number=1).status == 200
        self.kill_all(place)
        assert site.visitor().set(number=1).status == 200

    def test_the_next_request_reads(self, place, store):
        visitor = Site(store).visitor()
        visitor.set(number=1)
        self.kill_all(place)
        assert visitor.read() == {"number": 1}
        self.kill_all(place)
        assert visitor.set(number=2).status == 200

    def test_each_write_is_the_first_statement_after_it(self, place, store):
        record = new_record("id", owner="anna")
        store.load("id")
        self.kill_all(place)
        store.create(record)
        self.kill_all(place)
        saved = store.save(record)
        self.kill_all(place)
        assert store.touch("id", saved.version, record.expires + 1)
        self.kill_all(place)
        # On a connection of its own, which it closes.
        assert store.delete_expired() == []
        store.delete("id")
        assert payload_of(store, "id") is None

    def test_a_read_finds_the_only_one_that_works_where_this_host_sees_none_die(self, place, store, monkeypatch):
        """As behind a firewall that has forgotten them."""
        together = threading.Barrier(4)
        store.create(new_record("id"))

        def use():
            kept = store._used()._connections.take()
            together.wait(10)
            store._used()._connections.give_back(kept)

        at_once([use] * 4)
        self.kill_all(place)
        monkeypatch.setattr(_sql_connections, "is_alive", lambda dialect, connection: True)
        assert payload_of(store, "id") == b"payload"

    def test_no_connection_of_the_pool_is_a_dead_one(self, place, store):
        site = Site(store)

        def use():
            return [site.visitor().set(number=number).status for number in range(20)]

        assert at_once([use] * 8) == [[200] * 20] * 8
        self.kill_all(place)
        assert at_once([use] * 8) == [[200] * 20] * 8

    @staticmethod
    def kill_all(place):
        killed = set(place.proxy.connections)
        assert killed
        place.kill()
        # It is answered before they are closed.
        wait_until(lambda: killed.isdisjoint(place.proxy.connections), "the connections' end")
