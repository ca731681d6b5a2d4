"""A connection to Redis that dies: between two requests, and before the answer to a command has come."""

from contextlib import closing

import pytest
from harness import Site
from losing_proxy import LosingProxy
from msgspec.structs import replace
from outages import assert_unavailable, new_record, payload_of
from redis_places import WAYS, redis_place
from servers import at_once
from services import temporary_directory, wait_until

from wsgi_sessions import StoreError

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module", params=WAYS)
def place(request):
    with temporary_directory() as directory, redis_place(request.param, directory, LosingProxy) as place:
        yield place


@pytest.fixture
def store(place):
    """A store without records, whose proxy loses nothing."""
    place.proxy.lose(b"no command", times=0)
    with place.server.client() as client:
        client.flushall()
    with closing(place.open()) as store:
        yield store


def calls(place, command):
    """Return how often the server was sent a command since the last reset_calls()."""
    with place.server.client() as client:
        return client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"]


def reset_calls(place):
    with place.server.client() as client:
        client.config_resetstat()


class TestLostAnswers:
    def test_a_save_is_sent_once_and_fails(self, place, store):
        store.create(new_record("id"))
        record = store.save(store.load("id"))
        reset_calls(place)
        place.proxy.lose(b"EVALSHA", times=100)
        with pytest.raises(StoreError):
            store.save(replace(record, payload=b"saved"))
        assert (place.proxy.seen, calls(place, "evalsha"), calls(place, "eval")) == (1, 1, 0)
        assert store.load("id") == replace(record, payload=b"saved", version=3)

    def test_a_creation_is_sent_once_and_fails(self, place, store):
        store.load("id")
        reset_calls(place)
        place.proxy.lose(b"\r\nSET\r\n", times=100)
        with pytest.raises(StoreError):
            store.create(new_record("id"))
        assert (place.proxy.seen, calls(place, "set")) == (1, 1)
        assert payload_of(store, "id") == b"payload"

    def test_a_touch_is_sent_once_and_fails(self, place, store):
        record = new_record("id")
        store.create(record)
        assert store.touch("id", 1, record.expires + 1)
        reset_calls(place)
        place.proxy.lose(b"EVALSHA", times=100)
        with pytest.raises(StoreError):
            store.touch("id", 1, record.expires + 2)
        assert (place.proxy.seen, calls(place, "evalsha"), calls(place, "eval")) == (1, 1, 0)
        assert store.load("id").expires == record.expires + 2

    def test_a_deletion_is_sent_once_and_fails(self, place, store):
        store.create(new_record("id"))
        reset_calls(place)
        place.proxy.lose(b"UNLINK", times=100)
        with pytest.raises(StoreError):
            store.delete("id")
        assert (place.proxy.seen, calls(place, "unlink")) == (1, 1)
        assert payload_of(store, "id") is None

    def test_a_read_is_sent_once_more(self, place, store):
        store.create(new_record("id"))
        reset_calls(place)
        place.proxy.lose(b"\r\nGET\r\n")
        assert payload_of(store, "id") == b"payload"
        assert (place.proxy.seen, calls(place, "get")) == (2, 2)

    def test_a_read_is_not_sent_a_third_time(self, place, store):
        store.create(new_record("id"))
        reset_calls(place)
        place.proxy.lose(b"\r\nGET\r\n", times=100)
        with pytest.raises(StoreError):
            store.load("id")
        assert (place.proxy.seen, calls(place, "get")) == (2, 2)

    def test_a_request_that_is_sent_again_meets_no_conflict(self, place, store):
        site = Site(store)
        visitor = site.visitor()
        visitor.set(number=1)
        visitor.set(number=2)
        place.proxy.lose(b"EVALSHA")
        assert_unavailable(visitor.set(number=3))
        assert visitor.set(number=3).status == 200
        assert visitor.read() == {"number": 3}


class TestKilledConnections:
    """By CLIENT KILL, as by an idle timeout of the server or of a firewall."""

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

    def test_each_write_is_the_first_command_after_it(self, place, store):
        record = new_record("id", owner="anna")
        self.kill_all(place)
        store.create(record)
        self.kill_all(place)
        saved = store.save(record)
        self.kill_all(place)
        assert store.touch("id", saved.version, record.expires + 1)
        self.kill_all(place)
        store.delete("id")
        assert payload_of(store, "id") is None

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
        with place.server.client() as client:
            for kind in ("normal", "pubsub"):
                client.client_kill_filter(_type=kind, skipme=True)
        # It is answered before they are closed.
        wait_until(lambda: killed.isdisjoint(place.proxy.connections), "the connections' end")
