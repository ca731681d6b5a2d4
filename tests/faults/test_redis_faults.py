"""Redis that is full, forgets, or would drop sessions; and what is sent to it."""

import logging
import re
from contextlib import closing, contextmanager
from datetime import timedelta

import pytest
import redis
from harness import Site
from outages import assert_unavailable, in_background, new_record
from servers import at_once
from services import DURABLE, Redis, free_port, wait_until

from wsgi_sessions import OnInactivity
from wsgi_sessions.stores.redis import RedisStore
from wsgi_sessions.testing.parallel import in_processes

pytestmark = pytest.mark.servers

# Those that write, and would in two steps what has to happen in one.
_EXPIRING = {"EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT", "SETEX", "PSETEX", "SETNX", "GETEX"}
_SCRIPTS = {"EVALSHA", "EVAL"}


@pytest.fixture
def site(own_redis):
    with closing(RedisStore(own_redis.url)) as store:
        yield Site(store)


class TestFullServer:
    """T-60: what cannot be stored is refused, and nothing that was stored makes room for it."""

    @pytest.fixture
    def full(self, server_directory):
        with Redis(server_directory, "--maxmemory", "1mb", "--maxmemory-policy", "noeviction") as server:
            with closing(RedisStore(server.url)) as store, server.client() as client:
                yield Site(store), client

    def test_it_refuses_what_is_new_and_keeps_what_is_old(self, full):
        site, client = full
        visitor, other = site.visitor(), site.visitor()
        visitor.set(number=1)
        other.set(number=1)
        fill(client)
        assert_unavailable(visitor.set(number=2))
        assert_unavailable(visitor.visit(lambda session: session.cycle_id()))
        assert_unavailable(site.visitor().set(number=1))
        assert_unavailable(site.visitor().visit(lambda session: setattr(session, "owner", "anna")))
        assert visitor.read() == {"number": 1}
        assert site.visitor().visit().status == 200
        old = other.tab()
        assert other.visit(lambda session: session.flush()).status == 200
        assert old.read() == {}

    def test_it_works_again_when_there_is_room(self, full):
        site, client = full
        visitor = site.visitor()
        visitor.set(number=1)
        fill(client)
        assert_unavailable(visitor.set(number=2))
        client.config_set("maxmemory", "2mb")
        assert visitor.set(number=3).status == 200
        assert visitor.read() == {"number": 3}


def fill(client):
    """Leave no room for another key, nor for a longer value."""
    for size in (10_000, 1000, 10):
        for number in range(100_000):
            try:
                client.set(f"filler {size} {number}", "x" * size)
            except redis.ResponseError:
                break


class TestCommands:
    """T-60."""

    def test_whatever_has_an_end_gets_it_in_the_same_step(self, own_redis):
        with closing(RedisStore(own_redis.url)) as store, own_redis.client() as client:
            site = Site(store, expiry=OnInactivity(timedelta(hours=1), touch_every=timedelta(0)))
            with monitored(own_redis) as commands:
                self.live(site)
            sent = [command for by_script, command in commands if not by_script]
            names = {command.split()[0] for command in sent}
            assert {"GET", "SET", "UNLINK"} | _SCRIPTS <= names
            assert not names & _EXPIRING
            sets = [command for _, command in commands if command.split()[0] == "SET"]
            assert len(sets) > 4
            assert [command for command in sets if not re.search(r" PXAT [0-9]{13}$", command)] == []
            assert [each for each in sent if each.startswith("SET ") and " NX PXAT " not in each] == []
            assert all(client.pttl(key) > 3_000_000 for key in client.keys("wsgi_sessions:session:*"))

    @staticmethod
    def live(site):
        visitor = site.visitor()
        visitor.visit(lambda session: session.update(user="anna"))
        visitor.visit(lambda session: setattr(session, "owner", "anna"))
        visitor.set(number=1)
        assert visitor.read() == {"user": "anna", "number": 1}
        visitor.visit(lambda session: session.cycle_id())
        assert len(site.store.find_by_owner("anna")) == 1
        assert len(list(site.store.scan())) == 1
        site.visitor().set(stays=1)
        visitor.visit(lambda session: session.flush())
        assert site.store.delete_expired() == []


@contextmanager
def monitored(server):
    """Get, when the block has ended, all commands that were sent in it, each with whether a script did."""
    commands = []
    with server.client() as client, server.client() as watcher, watcher.monitor() as monitor:
        yield commands
        client.echo("the end")
        while True:
            seen = monitor.next_command()
            if seen["command"] == "ECHO the end":
                return
            commands.append((seen["client_type"] == "lua", seen["command"]))


class TestEvictionPolicy:
    @pytest.mark.parametrize(
        ("options", "warnings"),
        [
            (("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"), 1),
            (("--maxmemory", "100mb", "--maxmemory-policy", "noeviction"), 0),
            (("--maxmemory-policy", "allkeys-lru"), 0),
        ],
    )
    def test_that_sessions_may_be_dropped_is_said_once(self, server_directory, caplog, options, warnings):
        with Redis(server_directory, *options) as server, closing(RedisStore(server.url)) as store:
            assert logged(caplog) == []
            at_once([lambda number=number: store.create(new_record(f"id-{number}")) for number in range(8)])
            store.close()
            store.load("id-1")
            assert len(logged(caplog)) == warnings
            assert all("set it to noeviction" in line for line in logged(caplog))

            def lines_of_child(_index, start):
                start()
                store.load("id-1")
                return logged(caplog)

            assert in_processes(lines_of_child, 1, 10) == [logged(caplog)]


def logged(caplog):
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING and "maxmemory-policy" in record.getMessage()
    ]


class TestForgottenData:
    def test_scripts_that_the_server_has_forgotten_are_sent_again(self, site, own_redis):
        visitor = site.visitor()
        visitor.set(number=1)
        visitor.set(number=2)
        with own_redis.client() as client:
            client.script_flush()
        assert visitor.set(number=3).status == 200
        assert visitor.read() == {"number": 3}

    def test_a_session_that_the_server_has_forgotten_is_not_brought_back(self, site, own_redis):
        visitor = site.visitor()
        visitor.set(number=1)
        visitor.set(number=2)

        def forget_and_write(session):
            session["number"] = 3
            with own_redis.client() as client:
                client.flushall()
                client.script_flush()

        answer = visitor.visit(forget_and_write)
        assert (answer.status, answer.set_cookies) == (200, [])
        assert visitor.read() == {}
        assert visitor.set(number=4).status == 200
        assert visitor.set(number=5).status == 200
        assert visitor.read() == {"number": 5}


def test_a_logout_just_before_a_kill_may_be_undone_whole_but_never_in_part(server_directory):
    """T-59: with ``appendfsync everysec`` Redis promises no more; with ``always`` it would survive a power cut too."""
    options = ("--appendonly", "yes", "--appendfsync", "everysec")
    with Redis(server_directory, *options) as server, closing(RedisStore(server.url)) as store:
        site = Site(store)
        for round in range(4):
            visitor = site.visitor()
            visitor.visit(lambda session: (setattr(session, "owner", "anna"), session.update(user="anna", cart=[1, 2])))
            old = visitor.tab()
            visitor.visit(lambda session: session.flush())
            server.kill()
            server.start()
            assert old.read() in ({}, {"user": "anna", "cart": [1, 2]}), round
            assert [record.id for record in store.find_by_owner("anna")] in ([], [old.id])
            assert old.visit(lambda session: session.flush()).status == 200
            assert old.read() == {}


def test_a_logout_survives_a_kill_where_every_write_is_synchronised(site, own_redis):
    assert "always" in DURABLE
    for _ in range(4):
        visitor = site.visitor()
        visitor.set(user="anna")
        old = visitor.tab()
        visitor.visit(lambda session: session.flush())
        own_redis.kill()
        own_redis.start()
        assert old.read() == {}


class TestUnreachable:
    @pytest.mark.parametrize("url", ["redis://{}/0", "redis+sentinel://{}/mymaster/0", "redis+cluster://{}"])
    def test_a_server_that_was_never_there_is_an_outage(self, url):
        with closing(RedisStore(url.format(f"127.0.0.1:{free_port()}"))) as store:
            site = Site(store)
            assert_unavailable(site.visitor().set(number=1))
            assert site.visitor().visit().status == 200

    def test_a_server_may_start_after_the_application(self, own_redis, site):
        own_redis.stop()
        assert_unavailable(site.visitor().set(number=1))
        own_redis.start()
        assert site.visitor().set(number=1).status == 200


def test_a_server_that_still_reads_its_data_is_an_outage(server_directory):
    """Redis answers LOADING to everything while it reads a large file after its start."""
    # Microseconds for each key, and how often it looks at its clients meanwhile.
    slowly = ("--key-load-delay", "5000", "--loading-process-events-interval-bytes", "1024", "--rdbcompression", "no")
    with Redis(server_directory, *DURABLE, *slowly, "--enable-debug-command", "yes") as server:
        with closing(RedisStore(server.url)) as store, server.client() as client, server.client() as loader:
            site = Site(store)
            visitor = site.visitor()
            visitor.set(number=1)
            client.execute_command("DEBUG", "POPULATE", 100, "filler", 1000)
            reload = in_background(lambda: loader.execute_command("DEBUG", "RELOAD"))
            wait_until(lambda: client.info("persistence")["loading"], "the loading")
            assert_unavailable(visitor.set(number=2))
            assert_unavailable(site.visitor().set(number=2))
            assert site.visitor().visit().status == 200
            reload()
            assert visitor.read() == {"number": 1}
