"""What RedisStore does besides the contract: owners' indexes, foreign values, the settings of clients."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
import redis
import services
from backends import new_name
from msgspec.structs import replace
from redis.cluster import ClusterNode
from redis.sentinel import Sentinel

from wsgi_sessions import Record, RecordExists, RecordNotFound, StoreError, clock
from wsgi_sessions.stores._redis_connections import ServerConnections
from wsgi_sessions.stores._redis_opening import of_client
from wsgi_sessions.stores.redis import RedisStore
from wsgi_sessions.testing import ReplacedClock

HOUR = 3_600_000
# Seconds; an index is pruned of what was noted longer ago.
NOTED_LONG_AGO = 3600


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def prefix() -> str:
    # With all that means something in a pattern.
    return f"{new_name()}*?[a]\\^:"


@pytest.fixture
def store(redis_url: str, prefix: str, client: redis.Redis) -> Iterator[RedisStore]:
    with closing(RedisStore(redis_url, prefix=prefix)) as store:
        yield store
    for key in client.scan_iter(prefix.translate({ord(character): f"\\{character}" for character in "*?[]^\\"}) + "*"):
        client.delete(key)


def created(store: RedisStore, id: str = "id", owner: str | None = None) -> Record:
    record = Record(id, b"payload", clock.now() + HOUR, owner=owner)
    store.create(record)
    return record


class TestKeys:
    def test_a_record_is_one_key_that_the_server_forgets_after_its_end(
        self, store: RedisStore, prefix: str, client: redis.Redis
    ) -> None:
        """A minute later: clocks differ, and ours decides."""
        record = created(store)
        assert client.pexpiretime(f"{prefix}session:id") == record.expires + 60_000
        store.touch("id", 1, record.expires + 5)
        assert client.pexpiretime(f"{prefix}session:id") == record.expires + 60_005
        store.save(replace(record, expires=record.expires + 7))
        assert client.pexpiretime(f"{prefix}session:id") == record.expires + 60_007

    def test_a_record_from_before_1970_is_stored_and_gone(self, store: RedisStore) -> None:
        store.create(Record("id", b"payload", -5))
        assert store.load("id") is None

    def test_another_prefix_is_another_store(self, store: RedisStore, redis_url: str) -> None:
        created(store)
        with closing(RedisStore(redis_url, prefix=new_name())) as other:
            assert other.load("id") is None
            assert list(other.scan()) == []

    def test_scan_takes_a_prefix_for_what_it_is(self, redis_url: str, client: redis.Redis) -> None:
        name = new_name()
        with (
            closing(RedisStore(redis_url, prefix=f"{name}*")) as pattern,
            closing(RedisStore(redis_url, prefix=f"{name}**")) as other,
        ):
            created(other)
            created(pattern, "mine")
            assert [record.id for record in pattern.scan()] == ["mine"]
            other.delete("id")
            pattern.delete("mine")


class TestForeignValues:
    """Corrupt is no session; never an error."""

    @pytest.mark.parametrize("value", [b"", b"1", b"garbage" * 20, b"2" + b"0" * 60, b"1" + b"x" * 60])
    def test_a_value_of_others_is_no_record(
        self, store: RedisStore, prefix: str, redis_url: str, value: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        with redis.Redis.from_url(redis_url) as raw:
            raw.set(f"{prefix}session:id", value)
        assert store.load("id") is None
        with pytest.raises(RecordNotFound):
            store.save(Record("id", b"payload", clock.now() + HOUR))
        with pytest.raises(RecordNotFound):
            store.touch("id", 1, clock.now() + HOUR)
        with pytest.raises(RecordExists):
            created(store)
        assert list(store.scan()) == []
        assert "corrupt record 'id'" in caplog.text
        store.delete("id")
        created(store)

    def test_a_key_of_another_kind_is_no_record(
        self, store: RedisStore, prefix: str, client: redis.Redis, caplog: pytest.LogCaptureFixture
    ) -> None:
        client.hset(f"{prefix}session:id", "field", "value")
        assert store.load("id") is None
        with pytest.raises(RecordNotFound):
            store.save(Record("id", b"payload", clock.now() + HOUR))
        with pytest.raises(RecordNotFound):
            store.touch("id", 1, clock.now() + HOUR)
        assert "corrupt record 'id'" in caplog.text
        store.delete("id")
        created(store)


class TestIndex:
    def ids(self, client: redis.Redis, prefix: str, owner: str = "anna") -> set[str]:
        return set(client.zrange(f"{prefix}owner:{owner}", 0, -1))

    def age(self, client: redis.Redis, prefix: str, *ids: str, owner: str = "anna") -> None:
        """Have it look as if these had been noted more than an hour ago."""
        now = client.time()[0]
        client.zadd(f"{prefix}owner:{owner}", dict.fromkeys(ids, now - NOTED_LONG_AGO - 1))

    def test_what_is_gone_is_pruned_when_it_is_read(self, store: RedisStore, prefix: str, client: redis.Redis) -> None:
        created(store, "gone", "anna")
        kept = created(store, "kept", "anna")
        store.delete("gone")
        self.age(client, prefix, "gone", "kept")
        assert store.find_by_owner("anna") == [kept]
        assert self.ids(client, prefix) == {"kept"}

    def test_what_was_noted_lately_may_be_on_its_way(self, store: RedisStore, prefix: str, client: redis.Redis) -> None:
        created(store, "on its way", "anna")
        store.delete("on its way")
        assert store.find_by_owner("anna") == []
        assert self.ids(client, prefix) == {"on its way"}

    def test_what_has_ended_by_one_hosts_clock_may_be_renewed_by_another(
        self, store: RedisStore, prefix: str, client: redis.Redis
    ) -> None:
        record = created(store, "id", "anna")
        self.age(client, prefix, "id")
        with ReplacedClock(record.expires + 1000):
            assert store.find_by_owner("anna") == []
            store.delete_expired()
        assert store.touch("id", 1, record.expires + HOUR)
        assert [found.id for found in store.find_by_owner("anna")] == ["id"]

    def test_an_id_that_is_no_text_is_passed_over(self, store: RedisStore, prefix: str, client: redis.Redis) -> None:
        record = created(store, "id", "anna")
        client.zadd(f"{prefix}owner:anna", {b"\xff": 0})
        key = f"{prefix}session:".encode() + b"\xff"
        client.set(key, b"x")
        try:
            assert store.find_by_owner("anna") == list(store.scan()) == [record]
            store.delete_expired()
        finally:
            client.delete(key)

    def test_a_login_prunes_what_is_gone(self, store: RedisStore, prefix: str, client: redis.Redis) -> None:
        for number in range(4):
            created(store, f"old-{number}", "anna")
            if number != 2:
                store.delete(f"old-{number}")
        self.age(client, prefix, *(f"old-{number}" for number in range(4)))
        created(store, "new", "anna")
        assert self.ids(client, prefix) == {"old-2", "new"}

    def test_those_that_live_do_not_hide_those_that_are_gone(
        self, store: RedisStore, prefix: str, client: redis.Redis
    ) -> None:
        """Only a few are looked at with each login: the others have their turn."""
        ids = [f"old-{number}" for number in range(12)]
        for id in ids:
            created(store, id, "anna")
        self.age(client, prefix, *ids)
        store.delete("old-9")
        for number in range(3):
            created(store, f"new-{number}", "anna")
        assert "old-9" not in self.ids(client, prefix)
        assert len(store.find_by_owner("anna")) == 14

    def test_a_sweep_prunes_the_indexes_of_those_who_never_come_back(
        self, store: RedisStore, prefix: str, client: redis.Redis
    ) -> None:
        for number in range(3):
            created(store, f"id-{number}", f"owner-{number}")
            self.age(client, prefix, f"id-{number}", owner=f"owner-{number}")
        store.delete("id-0")
        store.delete("id-2")
        for _ in range(1000):
            assert store.delete_expired() == []
            if not client.exists(f"{prefix}owner:owner-0") and not client.exists(f"{prefix}owner:owner-2"):
                break
        assert not client.exists(f"{prefix}owner:owner-0", f"{prefix}owner:owner-2")
        assert self.ids(client, prefix, "owner-1") == {"id-1"}

    def test_the_index_knows_an_id_before_the_record_names_its_owner(
        self, store: RedisStore, prefix: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Or a login that is cut off there would be missed by whoever ends all sessions."""
        record = created(store)
        connections = store._server.connections
        run = connections.run
        seen: list[tuple[set[str], bool]] = []

        def look_first(key: str, *command: Any) -> Any:
            if command[0] in ("EVALSHA", "EVAL", "SET") and ":session:" in key:
                stored = client.getrange(f"{prefix}session:id", 32, 39)
                seen.append((self.ids(client, prefix), "anna" in str(stored)))
            return run(key, *command)

        monkeypatch.setattr(connections, "run", look_first)
        store.save(replace(record, owner="anna"))
        assert seen == [(set(), False), ({"id"}, False)]
        assert "anna" in client.getrange(f"{prefix}session:id", 32, 39)

    def test_a_save_that_changes_no_owner_is_one_command(
        self, store: RedisStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        record = created(store, owner="anna")
        connections = store._server.connections
        run = connections.run
        commands: list[str] = []
        monkeypatch.setattr(connections, "run", lambda key, *command: commands.append(command[0]) or run(key, *command))
        for _ in range(3):
            record = store.save(record)
        assert [command for command in commands if command != "EVAL"] == ["EVALSHA"] * 3


class TestClients:
    """A client lends its settings; the store repeats nothing whatever they are."""

    def connection(self, store: RedisStore) -> Any:
        connections = store._server.connections
        assert isinstance(connections, ServerConnections)
        return connections.pool.make_connection()

    def test_a_client_that_repeats_lends_all_but_that(self, redis_url: str) -> None:
        with redis.Redis.from_url(redis_url, client_name="lent", decode_responses=True, socket_timeout=9) as client:
            with closing(RedisStore(client, prefix=new_name())) as store:
                record = created(store, owner="Jürgen")
                assert store.load("id") == record
                connection = self.connection(store)
                assert connection.retry._retries == 0
                assert connection.client_name == "lent"
                # Longer than a visitor may have to wait.
                assert connection.socket_timeout == 1.5
                store.delete("id")
            assert client.ping()

    def test_a_client_without_bounds_gets_some(self, redis_url: str) -> None:
        with redis.Redis.from_url(redis_url, socket_timeout=None, socket_connect_timeout=None) as client:
            with closing(RedisStore(client, prefix=new_name())) as store:
                store.load("id")
                connection = self.connection(store)
                assert 0 < connection.socket_timeout + connection.socket_connect_timeout <= 2.5

    def test_a_client_over_sentinels_follows_them(self, redis_sentinel: Any) -> None:
        nodes = [("127.0.0.1", sentinel.port) for sentinel in redis_sentinel.sentinels]
        master = Sentinel(nodes, socket_timeout=1).master_for("mymaster")
        with closing(master), closing(RedisStore(master, prefix=new_name())) as store:
            record = created(store, owner="anna")
            assert store.load("id") == record
            connection = self.connection(store)
            assert connection.retry._retries == 0
            manager = store._server.connections.pool.sentinel_manager  # type: ignore[attr-defined]
            assert all(each.connection_pool.connection_kwargs["retry"]._retries == 0 for each in manager.sentinels)
            store.delete("id")

    def test_a_client_of_a_cluster_is_used_and_left_open(self, redis_cluster: Any) -> None:
        with redis.RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", redis_cluster.nodes[0].port)]) as client:
            with closing(RedisStore(client, prefix=new_name())) as store:
                record = created(store, owner="anna")
                assert store.load("id") == record
                store.delete("id")
            assert client.ping()

    def test_a_cluster_whose_slots_have_moved_is_followed(self, redis_cluster: Any) -> None:
        with redis.RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", redis_cluster.nodes[0].port)]) as client:
            with closing(RedisStore(client, prefix=new_name())) as store:
                self.forget_where_slots_are(client)
                record = created(store, owner="anna")
                self.forget_where_slots_are(client)
                saved = store.save(replace(record, payload=b"saved"))
                self.forget_where_slots_are(client)
                assert store.load("id") == saved == replace(record, payload=b"saved", version=2)
                self.forget_where_slots_are(client)
                assert [found.id for found in store.find_by_owner("anna")] == ["id"]
                self.forget_where_slots_are(client)
                store.delete("id")
                assert store.load("id") is None

    def test_a_value_of_others_in_a_cluster_is_passed_over(self, redis_cluster: Any) -> None:
        with redis.RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", redis_cluster.nodes[0].port)]) as client:
            with closing(RedisStore(client, prefix=f"{new_name()}:")) as store:
                record = created(store, owner="anna")
                client.lpush(f"{store.prefix}session:theirs", "something")
                client.zadd(f"{store.prefix}owner:anna", {"theirs": 0})
                assert store.find_by_owner("anna") == list(store.scan()) == [record]

    def test_a_client_lends_no_limit_of_connections(self, redis_url: str) -> None:
        with redis.Redis.from_url(redis_url, max_connections=1) as client, closing(RedisStore(client)) as store:
            assert store._server.connections.pool.max_connections > 1_000_000  # type: ignore[attr-defined]

    def forget_where_slots_are(self, client: redis.RedisCluster) -> None:
        """Have a client take each server for the next one."""
        nodes = client.nodes_manager
        primaries = client.get_primaries()
        following = {one.name: other for one, other in zip(primaries, primaries[1:] + primaries[:1], strict=True)}
        nodes.slots_cache = {slot: [following[owners[0].name]] for slot, owners in nodes.slots_cache.items()}

    def test_a_client_of_a_cluster_that_decodes_is_refused(self, redis_cluster: Any) -> None:
        nodes = [ClusterNode("127.0.0.1", redis_cluster.nodes[0].port)]
        with redis.RedisCluster(startup_nodes=nodes, decode_responses=True) as client:
            with pytest.raises(ValueError, match="without decode_responses"):
                of_client(client)

    def test_anything_else_is_refused(self) -> None:
        with pytest.raises(TypeError, match="a URL or a client of redis-py, not dict"):
            RedisStore({})  # type: ignore[arg-type]

    def test_nothing_is_connected_before_the_first_use(self, unused_port: int) -> None:
        for url in (f"redis://127.0.0.1:{unused_port}", f"redis+cluster://127.0.0.1:{unused_port}"):
            with pytest.raises(StoreError) as raised:
                RedisStore(url).load("id")
            assert raised.value.__cause__ is not None


@pytest.fixture
def unused_port() -> int:
    """A port on which nobody listens."""
    return services.free_port()


def test_a_sweep_goes_on_where_the_last_one_stopped(
    store: RedisStore, prefix: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsgi_sessions.stores._redis_index._STEPS_PER_SWEEP", 1)
    monkeypatch.setattr("wsgi_sessions.stores._redis_connections._SCANNED_AT_ONCE", 10)
    index = TestIndex()
    owners = [f"owner-{number}" for number in range(40)]
    for owner in owners:
        created(store, owner, owner)
        index.age(client, prefix, owner, owner=owner)
        store.delete(owner)
    left = len(owners)
    for _ in range(100_000):
        store.delete_expired()
        still = sum(client.exists(f"{prefix}owner:{owner}") for owner in owners)
        assert still <= left
        left = still
        if not left:
            break
    assert left == 0


def test_an_expired_record_is_not_touched_nor_saved_by_the_servers_clock(store: RedisStore) -> None:
    """The application's clock decides, on the server as well."""
    record = created(store)
    with ReplacedClock() as time:
        time.set(record.expires)
        with pytest.raises(RecordNotFound):
            store.touch("id", 1, record.expires + HOUR)
        time.set(record.expires - 1)
        assert store.touch("id", 1, record.expires + HOUR) is True
        time.advance(timedelta(hours=1))
        assert store.load("id") is not None


def test_the_log_is_silent_about_a_server_that_keeps_everything(
    store: RedisStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    created(store)
    assert [line for line in caplog.records if line.name.startswith("wsgi_sessions")] == []
