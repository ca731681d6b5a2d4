"""Caches as stores: gone, full of what others have put there, and used where they must not be."""

import os
import pickle
import struct
import time
from contextlib import closing
from datetime import timedelta
from functools import partial

import pytest
import redis
from backends import new_name
from cachelib import FileSystemCache, MemcachedCache, RedisCache, SimpleCache
from harness import Site
from losing_proxy import LosingProxy
from msgspec.structs import replace
from outages import assert_out, assert_unavailable, at_most, new_record, payload_of
from pymemcache import HashClient, PooledClient
from pymemcache.client.base import Client
from pymemcache.serde import PickleSerde, pickle_serde, python_memcache_deserializer
from servers import at_once
from services import Memcached, Proxy, wait_until
from test_servers import filled

from wsgi_sessions import CachelibStore, CachingStore, MemoryStore, StoreError, store_from_url
from wsgi_sessions.stores import cachelib, caching
from wsgi_sessions.stores._memcached import memcached
from wsgi_sessions.testing.parallel import in_processes

pytestmark = pytest.mark.servers

HOUR = timedelta(hours=1)


class TestFileSystemCache:
    def test_a_removed_directory_is_an_outage_and_never_a_success(self, tmp_path):
        """T-48."""
        folder = tmp_path / "cache"
        with closing(CachelibStore(FileSystemCache(str(folder), threshold=0))) as store:
            site = Site(store)
            visitor = site.visitor()
            visitor.set(number=1)
            record = store.load(visitor.id)
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
            assert_unavailable(site.visitor().set(number=1))
            with pytest.raises(StoreError):
                store.create(record)
            assert site.visitor().visit().status == 200
            folder.mkdir()
            assert site.visitor().set(number=1).status == 200

    def test_a_full_disk_is_an_outage_and_never_a_success(self, small_disk):
        with closing(CachelibStore(FileSystemCache(str(small_disk / "cache"), threshold=0))) as store:
            site = Site(store)
            visitor = site.visitor()
            visitor.set(old="stored")
            with filled(small_disk):
                assert_unavailable(visitor.set(new="v" * 4000))
                assert_unavailable(site.visitor().set(new="v" * 4000))
                assert visitor.read() == {"old": "stored"}
            assert visitor.set(new="again").status == 200
            assert visitor.read() == {"old": "stored", "new": "again"}

    def test_the_default_threshold_is_refused(self, tmp_path):
        for cache in (FileSystemCache(str(tmp_path)), SimpleCache()):
            with pytest.raises(ValueError, match="drops live sessions"):
                CachelibStore(cache)


class TestMemcached:
    def test_while_it_is_down_sessions_are_unavailable(self, own_memcached):
        with closing(store_from_url(own_memcached.url)) as store:
            site = Site(store)
            visitor = site.visitor()
            visitor.set(number=1)
            own_memcached.kill()
            assert_out(site, visitor)
            own_memcached.start()
            assert site.visitor().set(number=1).status == 200

    def test_the_first_requests_after_a_restart_work(self, own_memcached):
        """Nobody has noticed that it was down."""
        with closing(store_from_url(own_memcached.url)) as store:
            site = Site(store)
            at_once([lambda: [site.visitor().set(number=1) for _ in range(20)]] * 8)
            own_memcached.kill()
            own_memcached.start()
            assert [site.visitor().set(number=2).status for _ in range(8)] == [200] * 8

    def test_a_dead_one_of_several_takes_its_sessions_along_and_no_others(self, own_memcached):
        with Memcached() as second:
            url = f"memcached://127.0.0.1:{own_memcached.port},127.0.0.1:{second.port}"
            with closing(store_from_url(url)) as store:
                site = Site(store)
                visitors = [site.visitor() for _ in range(20)]
                for visitor in visitors:
                    visitor.set(number=1)
                second.kill()
                # Asked again and again: a client that gives a server up would look for its keys elsewhere.
                rounds = [[visitor.visit(len) for visitor in visitors] for _ in range(4)]
                rounds += at_once([lambda: [visitor.visit(len) for visitor in visitors]] * 4)
                statuses = {tuple(answer.status for answer in answers) for answers in rounds}
                assert len(statuses) == 1, statuses
                assert set(statuses.pop()) == {200, 503}
                assert [answer.set_cookies for answers in rounds for answer in answers if answer.set_cookies] == []
                assert all(visitor.read() == {"number": 1} for visitor in visitors if visitor.visit(len).status == 200)

    def test_a_client_that_was_used_before_a_fork_is_refused_in_the_child(self, memcached_url):
        cache = memcached([("127.0.0.1", port_of(memcached_url))], new_name())
        with closing(CachelibStore(cache)) as store, closing(cache._client):
            store.create(new_record("id"))

            def use(_index, start):
                start()
                with pytest.raises(StoreError, match="give a function that makes the cache") as refused:
                    store.load("id")
                return "used before this process was forked" in str(refused.value)

            assert in_processes(use, 2, 10) == [True, True]
            assert payload_of(store, "id") == b"payload"
            store.delete("id")


class TestForkedFactory:
    def test_a_cache_that_cannot_be_made_in_a_child_is_an_outage_until_it_can(self, tmp_path):
        parent, obstacle = os.getpid(), tmp_path / "obstacle"
        obstacle.touch()

        def make():
            if os.getpid() != parent and obstacle.exists():
                raise OSError("no route to host")
            return FileSystemCache(str(tmp_path / "cache"), threshold=0)

        store = CachelibStore(make)
        store.create(new_record("id"))

        def use(_index, start):
            start()
            with pytest.raises(StoreError, match="no route to host"):
                store.load("id")
            obstacle.unlink()
            return payload_of(store, "id") == b"payload"

        assert in_processes(use, 1, 10) == [True]


class TestRedisCache:
    """A client of redis-py that nobody has told anything, as ``RedisCache("host")`` makes it."""

    def test_a_killed_server_is_an_outage_within_three_seconds(self, own_redis):
        store = CachelibStore(RedisCache("127.0.0.1", own_redis.port))
        visitor = Site(store).visitor()
        visitor.set(number=1)
        own_redis.kill()
        with at_most():
            assert_unavailable(visitor.visit(len))

    def test_a_hung_server_is_an_outage_within_three_seconds(self, own_redis):
        with Proxy(own_redis.port) as proxy:
            visitor = Site(CachelibStore(RedisCache("127.0.0.1", proxy.port))).visitor()
            visitor.set(number=1)
            proxy.freeze()

            def ask(_index, start):
                start()
                with at_most():
                    assert_unavailable(visitor.visit(len))

            # In a process, which can be ended.
            in_processes(ask, 1, 4)

    @pytest.mark.parametrize("action", ["create", "save"])
    def test_a_write_is_never_repeated(self, own_redis, action):
        with LosingProxy(own_redis.port) as proxy:
            store = CachelibStore(RedisCache("127.0.0.1", proxy.port))
            record = new_record("id")
            if action == "save":
                store.create(record)
            proxy.lose(b"written")
            with pytest.raises(StoreError):
                getattr(store, action)(replace(record, payload=b"written"))
            assert proxy.seen == 1
            assert payload_of(store, "id") == b"written"

    def test_its_connections_are_closed_and_those_of_the_application_are_not(self, own_redis):
        with redis.Redis(port=own_redis.port) as client:
            store = CachelibStore(RedisCache(client, key_prefix=new_name()))
            client.ping()
            store.create(new_record("id"))
            assert client.info("clients")["connected_clients"] == 2
            store.close()
            wait_until(lambda: client.info("clients")["connected_clients"] == 1, "the end of its connection")
            assert payload_of(store, "id") == b"payload"


class Bomb:
    """Makes a directory when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def bomb(tmp_path):
    """A pickle; and see that nobody loads it."""
    path = tmp_path / "executed"
    yield pickle.dumps(Bomb(path))
    assert not path.exists()
    pickle.loads(pickle.dumps(Bomb(path)))
    assert path.exists(), "the pickle would have done nothing anyway"


class TestPlantedPickles:
    """T-42: whoever can write to the server cannot run code here."""

    @pytest.mark.parametrize("kind", ["redis", "redis-cache", "redis-cache-before-store"])
    def test_redis(self, own_redis, bomb, kind):
        cache = RedisCache(redis.Redis(port=own_redis.port))
        stores = {
            "redis": lambda: store_from_url(own_redis.url),
            "redis-cache": lambda: CachelibStore(cache),
            "redis-cache-before-store": lambda: CachingStore(cache, MemoryStore(), max_staleness=HOUR),
        }
        with closing(cache._write_client), closing(stores[kind]()) as store, own_redis.client() as client:
            visitor = Site(store).visitor()
            for prefix in (b"", b"!"):  # as cachelib marks them
                visitor.set(number=1)
                visitor.read()
                keys = client.keys("*")
                assert keys
                for key in keys:
                    client.set(key, prefix + bomb)
                self.assert_harmless(visitor, survives=kind == "redis-cache-before-store")

    def test_file_system_cache(self, tmp_path, bomb):
        folder = tmp_path / "cache"
        with closing(CachelibStore(FileSystemCache(str(folder), threshold=0))) as store:
            visitor = Site(store).visitor()
            visitor.set(number=1)
            (path,) = folder.iterdir()
            path.write_bytes(struct.pack("I", int(time.time()) + 1000) + bomb)
            self.assert_harmless(visitor)

    @pytest.mark.parametrize("flags", [0, 1])
    @pytest.mark.parametrize("way", ["store", "before-store"])
    def test_memcached(self, own_memcached, bomb, way, flags):
        make = partial(memcached, [("127.0.0.1", own_memcached.port)])
        store = CachelibStore(make) if way == "store" else CachingStore(make, MemoryStore(), max_staleness=HOUR)
        with closing(store), closing(Client(("127.0.0.1", own_memcached.port))) as client:
            visitor = Site(store).visitor()
            visitor.set(number=1)
            visitor.read()
            key = (cachelib if way == "store" else caching)._key(visitor.id)
            assert client.get(key)
            client.set(key, bomb, flags=flags, noreply=False)
            self.assert_harmless(visitor, survives=way == "before-store")

    def test_a_client_of_memcached_that_unpickles_is_refused(self, own_memcached, bomb):
        client = PooledClient(("127.0.0.1", own_memcached.port), serde=pickle_serde, default_noreply=False)
        with closing(client), pytest.raises(ValueError, match="pickle"):
            CachelibStore(MemcachedCache(client))

    @pytest.mark.parametrize("options", [{"deserializer": python_memcache_deserializer}, {"serde": PickleSerde()}])
    def test_so_is_one_that_was_told_how_to_decode(self, options):
        client = PooledClient(("127.0.0.1", 1), default_noreply=False, **options)
        with pytest.raises(ValueError, match="leave its serde away"):
            CachelibStore(MemcachedCache(client))

    def test_a_client_without_any_of_that_is_used(self, memcached_url):
        client = PooledClient(("127.0.0.1", port_of(memcached_url)), default_noreply=False)
        with closing(client):
            store = CachelibStore(MemcachedCache(client, key_prefix=new_name()))
            store.create(new_record("id"))
            assert payload_of(store, "id") == b"payload"

    @pytest.mark.parametrize("kind", [Client, HashClient])
    def test_clients_that_cannot_keep_sessions_are_refused(self, kind):
        client = kind(("127.0.0.1", 1) if kind is Client else [("127.0.0.1", 1)], default_noreply=False)
        with pytest.raises(ValueError, match="cannot keep sessions"):
            CachelibStore(MemcachedCache(client))

    @pytest.mark.parametrize("library", ["pylibmc.client", "memcache", "libmc", "google.appengine.api.memcache"])
    def test_libraries_that_unpickle_are_refused(self, library):
        client = type("Client", (), {"__module__": library})()
        for make in (CachelibStore, partial(CachingStore, store=MemoryStore(), max_staleness=HOUR)):
            with pytest.raises(ValueError, match="unpickles what it finds in Memcached"):
                make(MemcachedCache(client))

    @staticmethod
    def assert_harmless(visitor, survives=False):
        """See that the session is gone, or read from the store behind the cache."""
        assert visitor.read() == ({"number": 1} if survives else {})
        assert visitor.set(number=1).status == 200


def port_of(url):
    return int(url.rpartition(":")[2].partition("/")[0])
