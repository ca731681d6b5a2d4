"""What is special about databases: locks, transactions, schemas, and what they take for the same."""

import time
from contextlib import closing, contextmanager

import psycopg
import pytest
import services
from backends import new_name
from harness import Site
from msgspec.structs import replace
from outages import LONGEST, assert_unavailable, at_most, in_background, new_record
from servers import at_once
from services import MariaDB, wait_until
from sql_places import ENGINES, execute, sql_place

from wsgi_sessions import StoreError, clock
from wsgi_sessions.stores.sql import SQLStore
from wsgi_sessions.testing.parallel import in_processes

pytestmark = pytest.mark.servers

_PROCESSES = 8
_SWEPT = 2000
# Of PostgreSQL's connections under the name of a place.
_STATES = "SELECT state, wait_event_type FROM pg_stat_activity WHERE application_name = '{}'"
_WAITING = {
    "postgresql": "SELECT pid FROM pg_stat_activity WHERE application_name = '{}' AND wait_event_type = 'Lock'",
    "mariadb": (
        "SELECT trx_id FROM information_schema.innodb_trx "
        "WHERE trx_state = 'LOCK WAIT' AND trx_query LIKE '%{}%' AND trx_query NOT LIKE '%innodb_trx%'"
    ),
}


@pytest.fixture(params=ENGINES)
def place(request):
    with sql_place(request.param) as place:
        yield place


@pytest.fixture
def postgresql():
    with sql_place("postgresql") as place:
        yield place


# Seconds, after which the server ends it: a store that waits for ever fails a test then.
_LONGEST_LOCK = {
    "postgresql": "SET idle_in_transaction_session_timeout = '10s'",
    "mariadb": "SET idle_transaction_timeout = 10",
}


@contextmanager
def locked(place, id):
    """Have another transaction hold the row of a record inside the block."""
    with closing(place.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(_LONGEST_LOCK[place.kind])
        connection.commit()
        cursor.execute(f"SELECT version FROM {place.table} WHERE id = %s FOR UPDATE", (id,))
        assert len(cursor.fetchall()) == 1
        yield
        connection.rollback()


class TestLocks:
    def test_writes_are_given_up_in_time_here_and_on_the_server(self, place):
        """There they would be done at any later time, and each would hold a connection of the server until then."""
        with closing(place.open()) as store:
            record = new_record("id")
            store.create(record)
            writes = (
                lambda: store.save(replace(record, payload=b"given up")),
                lambda: store.touch("id", 1, record.expires + 1),
                lambda: store.delete("id"),
            )
            with locked(place, "id"):
                seconds = at_once([lambda write=write: seconds_to_fail(write) for write in writes])
                assert max(seconds) <= LONGEST
                assert store.load("id") == record
                waiting = _WAITING[place.kind].format(place.table)
                wait_until(lambda: not execute(place.kind, waiting), "the end of the statements on the server", 1)
            assert store.load("id") == record

    def test_where_a_cancellation_knows_no_bound_there_is_none(self, postgresql, monkeypatch):
        """Before libpq 17."""
        monkeypatch.setattr(psycopg.capabilities, "has_cancel_safe", lambda check=False: False)
        with closing(postgresql.open()) as store:
            record = new_record("id")
            store.create(record)
            with locked(postgresql, "id"):
                monkeypatch.setattr(psycopg.Connection, "cancel_safe", lambda self, timeout: pytest.fail("cancelled"))
                assert seconds_to_fail(lambda: store.save(replace(record, payload=b"given up"))) <= LONGEST
                assert store.load("id") == record

    def test_a_request_is_answered_503_and_can_be_sent_again(self, place):
        with closing(place.open()) as store:
            site = Site(store)
            visitor, other = site.visitor(), site.visitor()
            visitor.set(number=1)
            other.set(number=1)
            with locked(place, visitor.id):
                with at_most():
                    assert_unavailable(visitor.set(number=2))
                assert visitor.read() == {"number": 1}
                assert other.set(number=2).status == 200
            assert visitor.set(number=3).status == 200
            assert visitor.read() == {"number": 3}


def seconds_to_fail(write):
    begun = time.monotonic()
    with pytest.raises(StoreError):
        write()
    return time.monotonic() - begun


class TestTransactions:
    def test_none_is_left_open(self, postgresql):
        """T-61."""
        with closing(postgresql.open()) as store:
            site = Site(store)
            # With its first connection, SQLAlchemy asks what server that is, in a short transaction.
            self.live(site)
            join = in_background(lambda: at_once([lambda: [self.live(site) for _ in range(15)]] * 8))
            seen = []
            wait_until(lambda: seen.extend(self.states(postgresql)) or len(seen) > 200, "requests", 10)
            join()
            assert [state for state in seen if "transaction" in str(state)] == []
            assert set(self.states(postgresql)) == {"idle"}
            assert store.delete_expired() == []
            assert set(self.states(postgresql)) == {"idle"}

    @staticmethod
    def live(site):
        visitor = site.visitor()
        assert visitor.set(number=1).status == 200
        assert visitor.set(number=2).status == 200
        assert visitor.read() == {"number": 2}
        assert visitor.visit(lambda session: session.flush()).status == 200
        assert visitor.visit(lambda session: session.update(number=3), status=500).status == 500

    @staticmethod
    def states(place):
        return [state for state, _ in execute("postgresql", _STATES.format(place.table))]


class TestSweep:
    """T-58: several processes may sweep at once."""

    def test_each_record_is_returned_once(self, place):
        ids = sorted(f"expired-{number}" for number in range(_SWEPT))
        with closing(place.open()) as store:
            fill(place, ids)
            store.create(new_record("live"))

            def sweep(_index, start):
                with closing(place.open()) as own:
                    own.load("live")
                    start()
                    swept = []
                    while records := own.delete_expired(50):
                        swept += [record.id for record in records]
                    return swept

            swept = in_processes(sweep, _PROCESSES, 20)
            rest = [record.id for record in store.delete_expired(_SWEPT)]
            assert sorted(id for part in (*swept, rest) for id in part) == ids
            assert [record.id for record in store.scan()] == ["live"]


def fill(place, ids):
    """Store expired records."""
    with closing(place.connect()) as connection, connection.cursor() as cursor:
        expires = clock.now() - 1000
        rows = [(id, b"payload", expires, 1, None) for id in ids]
        cursor.executemany(
            f"INSERT INTO {place.table} (id, payload, expires, version, owner) VALUES (%s, %s, %s, %s, %s)", rows
        )
        connection.commit()


class TestSchema:
    @pytest.mark.parametrize("kind", ENGINES)
    def test_processes_may_create_it_at_once(self, kind):
        """T-61."""
        url, name = services.shared(kind).url, new_name()

        def create(index, start):
            with closing(SQLStore(url, table=name)) as store:
                start()
                store.create_schema()
                store.create(new_record(f"id-{index}"))
                return len(list(store.scan()))

        try:
            assert max(in_processes(create, _PROCESSES, 20)) == _PROCESSES
        finally:
            execute(kind, f"DROP TABLE {name}")

    def test_processes_may_create_postgresqls_schema_at_once(self):
        url, name = services.shared("postgresql").url, new_name()

        def create(_index, start):
            with closing(SQLStore(url, schema=name)) as store:
                start()
                store.create_schema()
                return store.load("id") is None

        try:
            assert in_processes(create, _PROCESSES, 20) == [True] * _PROCESSES
        finally:
            execute("postgresql", f"DROP SCHEMA {name} CASCADE")

    @pytest.mark.parametrize("kind", ENGINES)
    def test_a_missing_table_is_told_with_what_to_do(self, kind):
        with closing(SQLStore(services.shared(kind).url, table="missing")) as store:
            calls = (
                lambda: store.load("id"),
                lambda: store.create(new_record("id")),
                lambda: store.save(new_record("id")),
                lambda: store.touch("id", 1, 2),
                lambda: store.delete("id"),
                lambda: store.delete_expired(),
                lambda: store.find_by_owner("anna"),
                lambda: list(store.scan()),
            )
            for call in calls:
                with pytest.raises(StoreError, match=r"no table 'missing'; call create_schema\(\)"):
                    call()
            assert_unavailable(Site(store).visitor().set(number=1))


@pytest.fixture(scope="module")
def careless():
    """A store on a server that cuts what is too long, and takes packets that are longer than the column."""
    with services.temporary_directory() as directory:
        with MariaDB(directory, "--sql-mode=", "--max-allowed-packet=64M") as server:
            with closing(SQLStore(server.url)) as store:
                store.create_schema()
                yield store


class TestMySQL:
    def test_ids_and_owners_are_compared_by_their_bytes(self):
        """T-08."""
        with sql_place("mariadb") as place:
            columns = execute("mariadb", f"SHOW FULL COLUMNS FROM {place.table}")
        types = {name: (kind, collation) for name, kind, collation, *_ in columns}
        assert types["id"] == ("varbinary(128)", None)
        assert types["owner"] == ("varbinary(1020)", None)
        assert types["payload"] == ("longblob", None)

    @pytest.mark.parametrize("size", [70_000, 2**24 - 1, 2**24 + 1000])
    def test_no_payload_is_cut(self, careless, size):
        """T-61."""
        payload = b"x" * size
        record = new_record(f"id-{size}")
        careless.create(record)
        try:
            saved = careless.save(replace(record, payload=payload))
        except StoreError:
            assert size >= 2**24
            saved = record
        assert careless.load(record.id) == saved

    def test_no_session_is_cut(self, careless):
        visitor = Site(careless, max_payload=100_000).visitor()
        text = "x" * 70_000
        assert visitor.set(text=text).status == 200
        assert visitor.read() == {"text": text}
