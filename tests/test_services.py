"""The helpers with which the tests start real servers."""

import os
import socket
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import psycopg
import pymysql
import pytest
import redis
import services.programs
import services.server
import services.shared_servers
from pymemcache.client.base import Client
from services import (
    Memcached,
    PostgreSQL,
    Proxy,
    Redis,
    ServerError,
    require,
    shared,
    silent_port,
    unavailable,
    url_of,
    wait_until,
)

pytestmark = pytest.mark.servers

TESTS = Path(__file__).parent
#: What each server answers to at once: a request for encryption, nothing, and commands.
GREETINGS = {
    "own_postgresql": b"\0\0\0\x08\x04\xd2\x16\x2f",
    "own_mariadb": b"",
    "own_redis": b"PING\r\n",
    "own_memcached": b"version\r\n",
}
OWN = list(GREETINGS)
KEEPING = [name for name in OWN if name != "own_memcached"]


def connect(server):
    """Return a connection to a database that commits each statement."""
    if isinstance(server, PostgreSQL):
        return psycopg.connect(server.url, autocommit=True)
    return pymysql.connect(host="127.0.0.1", port=server.port, user="root", database="test", autocommit=True)


def write(server):
    if isinstance(server, Redis):
        with server.client() as client:
            client.set("key", "kept")
        return
    with closing(connect(server)) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE kept (value VARCHAR(9))")
        cursor.execute("INSERT INTO kept VALUES ('kept')")


def read(server):
    if isinstance(server, Redis):
        with server.client() as client:
            return client.get("key")
    with closing(connect(server)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT value FROM kept")
        ((value,),) = cursor.fetchall()
        return value


def is_gone(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return ") Z " in state


class TestPrivateServers:
    @pytest.mark.parametrize("name", KEEPING)
    def test_data_is_still_there_after_a_kill_and_after_a_stop(self, request, name):
        server = request.getfixturevalue(name)
        url, pid = server.url, server.pid
        write(server)
        server.kill()
        assert is_gone(pid)
        server.start()
        assert read(server) == "kept"
        server.stop()
        server.start()
        assert (server.url, read(server)) == (url, "kept")

    def test_a_memcached_that_was_killed_is_empty(self, own_memcached):
        address = ("127.0.0.1", own_memcached.port)
        with closing(Client(address)) as client:
            client.set("key", b"lost")
        own_memcached.kill()
        with pytest.raises(own_memcached.ERRORS):
            own_memcached.ask(own_memcached.url, 1)
        own_memcached.start()
        with closing(Client(address)) as client:
            assert client.get("key") is None

    @pytest.mark.parametrize("name", OWN)
    def test_a_paused_server_takes_connections_and_does_not_answer(self, request, name):
        server = request.getfixturevalue(name)
        server.pause()
        with socket.create_connection(("127.0.0.1", server.port), 0.2) as client:
            client.sendall(GREETINGS[name])
            with pytest.raises(TimeoutError):
                client.recv(1)
            server.resume()
            client.settimeout(5)
            assert client.recv(1)

    @pytest.mark.parametrize("name", OWN)
    def test_a_paused_server_can_be_killed_and_stopped(self, request, name):
        server = request.getfixturevalue(name)
        for end in (server.kill, server.stop):
            server.pause()
            end()
            assert not server.is_running
            server.start()

    def test_no_process_and_no_memory_of_postgresql_is_left(self, server_directory):
        with PostgreSQL(server_directory) as server:
            with closing(connect(server)) as connection:
                pids = [pid for (pid,) in connection.execute("SELECT pid FROM pg_stat_activity").fetchall()]
            segment = (server_directory / "postgresql" / "postmaster.pid").read_text().splitlines()[6].split()[1]
            server.kill()
            assert len(pids) > 3
            assert all(map(is_gone, pids))
        segments = Path("/proc/sysvipc/shm").read_text().splitlines()
        assert segment not in [line.split()[1] for line in segments]

    def test_redis_takes_options(self, server_directory):
        with Redis(server_directory, "--maxmemory", "1mb", "--maxmemory-policy", "noeviction") as server:
            with server.client() as client, pytest.raises(redis.ResponseError, match=r"OOM|maxmemory"):
                client.set("key", "x" * 2_000_000)

    def test_a_server_that_does_not_start_says_why(self, server_directory):
        server = Redis(server_directory, "--no-such-option", "1")
        with pytest.raises(ServerError, match="no-such-option"):
            server.start()
        assert not server.is_running

    def test_another_port_is_tried_when_one_is_taken(self, monkeypatch):
        with Memcached() as first:
            ports = [services.free_port(), first.port]
            monkeypatch.setattr(services.server, "free_port", lambda *beside: ports.pop())
            with Memcached() as second:
                assert second.port != first.port
                assert first.is_running

    def test_a_killed_test_run_leaves_no_process(self, server_directory):
        program = (
            "import os, pathlib, sys, services\n"
            "for server in (services.Redis(pathlib.Path(sys.argv[1])), services.Memcached()):\n"
            "    server.start()\n"
            "    print(server.pid)\n"
            "server.pause()\n"
            "sys.stdout.flush()\n"
            "os.kill(os.getpid(), 9)\n"
        )
        run = subprocess.run(
            [sys.executable, "-c", program, str(server_directory)], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(TESTS)}, timeout=60,
        )  # fmt: skip
        pids = run.stdout.split()
        assert len(pids) == 2
        wait_until(lambda: all(map(is_gone, pids)), "the end of the servers")


class TestRedisGroups:
    def test_a_cluster_has_three_primaries(self, redis_cluster):
        assert {redis_cluster.primary_of(f"key{number}") for number in range(20)} == set(redis_cluster.nodes)
        assert len(redis_cluster.nodes) == 3
        with redis.RedisCluster.from_url(f"redis://127.0.0.1:{redis_cluster.nodes[0].port}") as client:
            client.set("key", "value")
            assert client.get("key") == b"value"

    def test_a_primary_of_a_cluster_is_replaced(self, own_redis_cluster):
        primary = own_redis_cluster.primary_of("key")
        replica = own_redis_cluster.replica_of(primary)
        primary.kill()
        assert own_redis_cluster.primary_of("key") is replica
        own_redis_cluster.start()
        assert own_redis_cluster.replica_of(replica) is primary

    def test_a_primary_under_sentinels_is_replaced_after_a_kill_of_all(self, own_redis_sentinel):
        url = own_redis_sentinel.url
        write(own_redis_sentinel.primary)
        own_redis_sentinel.kill()
        own_redis_sentinel.start()
        primary, replica = own_redis_sentinel.primary, own_redis_sentinel.replica
        primary.kill()
        assert own_redis_sentinel.wait_for_failover(primary) is replica
        assert own_redis_sentinel.primary is replica
        assert (own_redis_sentinel.url, read(replica)) == (url, "kept")

    def test_sentinels_that_tests_share(self, redis_sentinel):
        assert redis_sentinel.url == url_of("redis-sentinel")
        assert redis_sentinel.primary.replication()["role"] == "master"


class TestSharedServers:
    @pytest.mark.parametrize("kind", ["postgresql", "mariadb", "redis", "memcached"])
    def test_one_that_answers(self, request, kind):
        url = request.getfixturevalue(f"{kind}_url")
        assert url == url_of(kind)
        if f"TEST_{kind.upper()}_URL" not in os.environ:
            assert services.shared_servers._STANDARD[kind][0].ask(url, 2)

    def test_a_variable_overrides(self, monkeypatch):
        monkeypatch.setattr(services.shared_servers, "_borrowed", {})
        monkeypatch.setenv("TEST_REDIS_URL", "redis://elsewhere:1/2")
        assert url_of.__wrapped__("redis") == services.borrowed("redis") == "redis://elsewhere:1/2"

    def test_a_private_one_takes_the_place_of_one_that_does_not_answer(self, monkeypatch):
        monkeypatch.delenv("TEST_REDIS_URL", raising=False)
        with silent_port() as port:
            monkeypatch.setitem(
                services.shared_servers._STANDARD, "redis", (Redis, "TEST_REDIS_URL", f"redis://127.0.0.1:{port}/0")
            )
            monkeypatch.setattr(services.shared_servers, "_PATIENCE", 0.2)
            assert url_of.__wrapped__("redis") == shared("redis").url


class TestMissing:
    @pytest.fixture(autouse=True)
    def not_required(self, monkeypatch):
        monkeypatch.delenv("REQUIRE_SERVICES", raising=False)

    def test_a_missing_program_skips_and_names_the_package(self, monkeypatch):
        with pytest.raises(pytest.skip.Exception, match="initdb9 is missing: install the Debian package postgresql"):
            require("initdb9", "postgresql")

    def test_a_skip_is_a_failure_where_services_are_required(self, monkeypatch):
        monkeypatch.setenv("REQUIRE_SERVICES", "1")
        with pytest.raises(pytest.fail.Exception, match="REQUIRE_SERVICES=1, but it rains"):
            unavailable("it rains")

    def test_programs_are_found_where_debian_has_them(self, monkeypatch, tmp_path):
        for version in ("9", "15"):
            folder = tmp_path / version / "bin"
            folder.mkdir(parents=True)
            (folder / "initdb").touch(mode=0o755)
        monkeypatch.setattr(services.programs, "_POSTGRESQL_VERSIONS", tmp_path)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert require("initdb", "postgresql") == str(tmp_path / "15" / "bin" / "initdb")


@pytest.fixture
def echo():
    """A port that answers with what it hears, one client after the other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    while data := connection.recv(100):
                        connection.sendall(data)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        assert not thread.is_alive()


class TestProxy:
    def test_it_forwards_hangs_and_goes_on(self, echo):
        with Proxy(echo) as proxy, socket.create_connection(("127.0.0.1", proxy.port), 0.2) as client:
            client.sendall(b"one")
            assert client.recv(100) == b"one"
            proxy.freeze()
            client.sendall(b"two")
            with pytest.raises(TimeoutError):
                client.recv(100)
            proxy.thaw()
            assert client.recv(100) == b"two"

    def test_a_frozen_one_takes_connections(self, echo):
        with Proxy(echo) as proxy:
            proxy.freeze()
            with socket.create_connection(("127.0.0.1", proxy.port), 0.2) as client, pytest.raises(TimeoutError):
                client.recv(100)

    @pytest.mark.parametrize("is_frozen", [False, True])
    def test_it_cuts_and_takes_new_connections(self, echo, is_frozen):
        with Proxy(echo) as proxy, socket.create_connection(("127.0.0.1", proxy.port), 5) as client:
            client.sendall(b"one")
            client.recv(100)
            if is_frozen:
                proxy.freeze()
                client.sendall(b"two")
            proxy.cut()
            assert client.recv(100) == b""
            proxy.thaw()
            with socket.create_connection(("127.0.0.1", proxy.port), 5) as second:
                second.sendall(b"three")
                assert second.recv(100) == b"three"

    def test_it_leaves_no_thread(self, echo):
        before = threading.active_count()
        with Proxy(echo) as proxy, socket.create_connection(("127.0.0.1", proxy.port), 5) as client:
            client.sendall(b"one")
            client.recv(100)
            proxy.freeze()
            client.sendall(b"two")
            proxy.close()
            assert threading.active_count() == before

    def test_a_driver_works_through_it(self, own_redis):
        with Proxy(own_redis.port) as proxy:
            assert proxy.through(own_redis.url) == f"redis://127.0.0.1:{proxy.port}/0"
            assert own_redis.ask(proxy.through(own_redis.url), 2) == str(own_redis.pid)


def test_a_silent_port_says_nothing():
    with silent_port() as port, socket.create_connection(("127.0.0.1", port), 0.2) as client:
        client.sendall(b"hello")
        with pytest.raises(TimeoutError):
            client.recv(100)
