"""CachingStore: how old an answer can be, and a cache or a store that dies, hangs or is full behind it."""

import multiprocessing
import time
from contextlib import closing
from datetime import timedelta
from functools import partial

import pytest
import redis
import services
from backends import PLACES, new_name
from cachelib import RedisCache, SimpleCache
from harness import Site
from outages import assert_out, assert_unavailable, at_most, in_background
from redis.backoff import NoBackoff
from redis.retry import Retry
from servers import at_once
from services import DURABLE, Proxy, Redis, wait_until

from wsgi_sessions import CachingStore
from wsgi_sessions.stores._memcached import memcached
from wsgi_sessions.stores.sql import SQLStore
from wsgi_sessions.testing.parallel import in_processes

pytestmark = pytest.mark.servers

STALENESS = timedelta(seconds=0.5)
HOUR = timedelta(hours=1)
# Milliseconds are what the store counts in.
_ROUNDING = 0.002


@pytest.fixture(scope="module")
def table():
    """What opens a store in a table of PostgreSQL."""
    with PLACES["postgresql"]() as open:
        yield open


def memcached_cache(port):
    return partial(memcached, [("127.0.0.1", port)], new_name())


def redis_cache(port):
    """Return a cache whose client gives up as soon as the store's own."""
    client = redis.Redis(port=port, socket_timeout=1, retry=Retry(NoBackoff(), 0))
    return RedisCache(client, key_prefix=new_name())


def port_of(kind):
    return int(services.url_of(kind).rpartition(":")[2].partition("/")[0])


#: What makes a cache that each process has for itself or that all share, and how old its answers may be.
CACHES = {
    "simple": (SimpleCache, STALENESS),
    "redis": (lambda: redis_cache(port_of("redis")), HOUR),
    "memcached": (lambda: memcached_cache(port_of("memcached")), HOUR),
}


class TestStaleness:
    @pytest.mark.parametrize("kind", CACHES)
    def test_a_logout_in_another_process_is_seen_in_time(self, table, kind):
        make, staleness = CACHES[kind]
        with closing(table()) as behind, closing(CachingStore(make(), behind, max_staleness=staleness)) as store:
            site = Site(store)
            visitor = site.visitor()
            visitor.set(number=1)
            has_read = multiprocessing.get_context("fork").Event()

            def read_until_gone():
                last = 0
                while True:
                    begun = time.monotonic()
                    if visitor.read() == {}:
                        return last
                    last = begun
                    has_read.set()

            def log_out():
                assert has_read.wait(10)
                visitor.visit(lambda session: session.flush())
                return time.monotonic()

            def work(index, start):
                start()
                return log_out() if index else read_until_gone()

            last_seen, logged_out = in_processes(work, 2, 10)
            if kind == "simple":
                assert 0 < last_seen - logged_out <= staleness.total_seconds() + _ROUNDING
            else:
                assert last_seen <= logged_out

    def test_what_was_logged_out_elsewhere_is_not_brought_back(self, table):
        with closing(table()) as behind:
            here, elsewhere = (Site(CachingStore(SimpleCache(), behind, max_staleness=HOUR)) for _ in range(2))
            visitor = here.visitor()
            visitor.set(number=1)
            assert visitor.read() == {"number": 1}
            other = elsewhere.visitor()
            other.put("id", visitor.token)
            other.visit(lambda session: session.flush())
            assert visitor.read() == {"number": 1}
            answer = visitor.set(number=2)
            assert (answer.status, answer.set_cookies) == (200, [])
            assert visitor.read() == {}
            assert behind.load(visitor.id) is None


class TestKilledCache:
    @pytest.mark.parametrize(("name", "make"), [("own_redis", redis_cache), ("own_memcached", memcached_cache)])
    def test_requests_go_on_without_it_and_with_it_again(self, table, request, caplog, name, make):
        server = request.getfixturevalue(name)
        with closing(table()) as behind:
            store = CachingStore(make(server.port), behind, max_staleness=HOUR)
            site = Site(store)
            at_once([lambda: live(site.visitor(), 3)] * 4)
            assert warnings(caplog) == []
            visitors = [site.visitor() for _ in range(4)]
            join = in_background(lambda: at_once([lambda visitor=visitor: live(visitor, 40) for visitor in visitors]))
            server.kill()
            wait_until(lambda: warnings(caplog), "the warning", 5)
            server.start()
            join()
            assert len(warnings(caplog)) == 1
            at_once([lambda: live(site.visitor(), 3)] * 4)
            assert len(warnings(caplog)) == 1
            store.close()

    def test_no_request_waits_for_a_client_that_tries_again_and_again(self, table, own_redis):
        """``RedisCache("host")``: redis-py tries ten times by default."""
        with closing(table()) as behind:
            store = CachingStore(RedisCache("127.0.0.1", own_redis.port), behind, max_staleness=HOUR)
            visitor = Site(store).visitor()
            visitor.set(number=1)
            own_redis.kill()
            with at_most():
                assert visitor.read() == {"number": 1}

    def test_what_it_still_has_when_it_returns_is_not_too_old(self, table, own_redis):
        assert "always" in DURABLE
        with closing(table()) as behind:
            store = CachingStore(redis_cache(own_redis.port), behind, max_staleness=STALENESS)
            visitor = Site(store).visitor()
            visitor.set(number=1)
            visitor.read()
            cached = time.monotonic()
            own_redis.kill()
            assert visitor.set(number=2).status == 200
            own_redis.start()
            last_seen = 0
            while (begun := time.monotonic()) < cached + 2 * STALENESS.total_seconds():
                if visitor.read() != {"number": 2}:
                    last_seen = begun
            assert last_seen <= cached + STALENESS.total_seconds() + _ROUNDING


def live(visitor, rounds):
    """Write, read, log in and out, and see that nothing of it is lost."""
    for number in range(rounds):
        assert visitor.set(number=number).status == 200
        assert visitor.read() == {"number": number}
        assert visitor.visit(lambda session: session.cycle_id()).status == 200
        assert visitor.read() == {"number": number}
        old = visitor.tab()
        assert visitor.visit(lambda session: session.flush()).status == 200
        assert old.read() == {}


def warnings(caplog):
    return [each.getMessage() for each in list(caplog.records) if "the cache in front of" in each.getMessage()]


class TestHungCache:
    @pytest.mark.parametrize(("name", "make"), [("own_redis", redis_cache), ("own_memcached", memcached_cache)])
    def test_requests_are_answered_within_three_seconds(self, table, request, name, make):
        with closing(table()) as behind, Proxy(request.getfixturevalue(name).port) as proxy:
            store = CachingStore(make(proxy.port), behind, max_staleness=HOUR)
            visitor = Site(store).visitor()
            visitor.set(number=1)
            visitor.read()
            proxy.freeze()
            for request in (lambda: visitor.set(number=2), lambda: visitor.visit(len)):
                with at_most():
                    assert request().status == 200
            store.close()


class TestFullCache:
    """A Redis that takes no more values, and goes on to answer with those that it has."""

    @pytest.fixture
    def full(self, table, server_directory):
        """Two processes' stores, and a visitor of the first, whose session is in the cache they share."""
        with Redis(server_directory, "--maxmemory-policy", "noeviction") as server, server.client() as client:
            with closing(table()) as behind:
                cache = redis_cache(server.port)
                here, elsewhere = (Site(CachingStore(cache, behind, max_staleness=HOUR)) for _ in range(2))
                visitor = here.visitor()
                visitor.set(number=1)
                # What a write leaves in the cache has an end of its own.
                client.flushall()
                assert visitor.read() == {"number": 1}
                client.config_set("maxmemory", 1)
                other = elsewhere.visitor()
                other.put("id", visitor.token)
                yield visitor, other

    def test_what_another_process_writes_is_seen_at_once(self, full):
        visitor, other = full
        assert other.set(number=2).status == 200
        assert visitor.read() == {"number": 2}

    def test_a_logout_in_another_process_is_seen_at_once(self, full):
        visitor, other = full
        assert other.visit(lambda session: session.flush()).status == 200
        assert visitor.read() == {}

    def test_a_write_after_that_of_another_process_succeeds(self, full):
        visitor, other = full
        assert other.set(number=2).status == 200
        with at_most():
            assert visitor.set(number=3).status == 200
        assert other.read() == {"number": 3}


def test_a_killed_store_is_an_outage_as_soon_as_the_cache_is_too_old(own_postgresql):
    with closing(SQLStore(own_postgresql.url)) as behind:
        behind.create_schema()
        site = Site(CachingStore(SimpleCache(), behind, max_staleness=timedelta(seconds=1)))
        visitor = site.visitor()
        visitor.set(number=1)
        visitor.read()
        read = time.monotonic()
        own_postgresql.kill()
        assert visitor.read() == {"number": 1}
        assert_unavailable(site.visitor().set(number=2))
        assert visitor.read() == {"number": 1}
        assert time.monotonic() - read < 1
        wait_until(lambda: visitor.visit(len).status == 503, "the end of the cached record", 2)
        assert time.monotonic() - read < 1.5
        assert_out(site, visitor)
        own_postgresql.start()
        assert visitor.read() == {"number": 1}
        assert visitor.set(number=2).status == 200
        assert visitor.read() == {"number": 2}
