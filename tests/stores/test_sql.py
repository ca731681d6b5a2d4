"""What SQLStore does besides the contract: the table, names, engines, connections."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import services
from backends import new_name, new_table
from msgspec.structs import replace
from sqlalchemy import Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from wsgi_sessions import Record, RecordExists, StoreError, VersionConflict, clock
from wsgi_sessions.stores import sql
from wsgi_sessions.stores._sql_engine import parse_url
from wsgi_sessions.stores.sql import SQLStore
from wsgi_sessions.testing import ReplacedClock
from wsgi_sessions.testing.parallel import in_threads

HOUR = 3_600_000
KINDS = ("postgresql", "mariadb")


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest) -> str:
    return services.url_of(request.param)


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """The application's own, in no autocommit."""
    engine = create_engine(parse_url(url), pool_size=1, max_overflow=0, pool_timeout=1)
    yield engine
    engine.dispose()


@pytest.fixture
def table(url: str) -> Iterator[str]:
    with new_table(url) as name:
        yield name


@pytest.fixture
def store(url: str, table: str) -> Iterator[SQLStore]:
    with closing(SQLStore(url, table=table)) as store:
        yield store


def created(store: SQLStore, id: str = "id", owner: str | None = None) -> Record:
    record = Record(id, b"payload", clock.now() + HOUR, owner=owner)
    store.create(record)
    return record


class TestSchema:
    def test_the_table_has_indexes_over_ends_and_owners(self, engine: Engine, store: SQLStore, table: str) -> None:
        """Seed trap 29."""
        looked_at = inspect(engine)
        assert [column["name"] for column in looked_at.get_columns(table)] == [
            "id",
            "payload",
            "expires",
            "version",
            "owner",
        ]
        assert looked_at.get_pk_constraint(table)["constrained_columns"] == ["id"]
        assert sorted(index["column_names"] for index in looked_at.get_indexes(table)) == [["expires"], ["owner"]]

    def test_making_it_again_changes_nothing(self, store: SQLStore) -> None:
        record = created(store)
        store.create_schema()
        assert store.load("id") == record

    def test_what_is_missing_of_it_is_made(self, engine: Engine, store: SQLStore, table: str) -> None:
        """A process that was killed after the table leaves no index."""
        index = next(
            index["name"] for index in inspect(engine).get_indexes(table) if index["column_names"] == ["owner"]
        )
        with engine.begin() as connection:
            on = f" ON {table}" if engine.dialect.name != "postgresql" else ""
            connection.execute(text(f"DROP INDEX {index}{on}"))
        store.create_schema()
        assert len(inspect(engine).get_indexes(table)) == 2

    def test_the_printed_statements_make_the_same(self, engine: Engine, url: str) -> None:
        name = new_name()
        with closing(SQLStore(url, table=name)) as store:
            with engine.begin() as connection:
                for statement in store.schema_ddl():
                    connection.execute(text(statement))
            try:
                record = created(store, owner="anna")
                assert store.find_by_owner("anna") == [record]
                # Nothing is missing that create_schema() would have made.
                before = len(inspect(engine).get_indexes(name))
                store.create_schema()
                assert len(inspect(engine).get_indexes(name)) == before == 2
            finally:
                with engine.begin() as connection:
                    connection.execute(text(f"DROP TABLE {name}"))

    def test_the_printed_statements_make_the_schema_too(self) -> None:
        statements = SQLStore("postgresql://host/d", schema="sessions").schema_ddl()
        assert statements[0] == "CREATE SCHEMA IF NOT EXISTS sessions"
        assert "CREATE TABLE sessions.wsgi_session" in statements[1]

    def test_an_engine_in_autocommit_makes_it_in_a_transaction(self, url: str) -> None:
        """Without one, PostgreSQL's lock would end before the table is made."""
        engine = create_engine(parse_url(url), isolation_level="AUTOCOMMIT", poolclass=NullPool)
        name = new_name()

        def create(_index: int, start: Any) -> bool:
            with closing(SQLStore(engine, table=name)) as store:
                start()
                store.create_schema()
                return store.load("id") is None

        try:
            assert in_threads(create, 8, 20) == [True] * 8
        finally:
            with engine.begin() as connection:
                connection.execute(text(f"DROP TABLE {name}"))

    def test_nothing_is_made_behind_the_users_back(self, url: str) -> None:
        with closing(SQLStore(url, table=new_name())) as store:
            for use in (
                lambda: store.load("id"),
                lambda: created(store),
                lambda: store.delete("id"),
                lambda: store.delete_expired(),
                lambda: store.find_by_owner("anna"),
                lambda: list(store.scan()),
            ):
                with pytest.raises(StoreError, match=r"there is no table .*call create_schema\(\)"):
                    use()

    @pytest.mark.parametrize("name", ["order", "Sessions", "select", "_", "t" * 63])
    def test_names_are_quoted_where_they_have_to_be(self, engine: Engine, url: str, name: str) -> None:
        """Seed trap 30."""
        with closing(SQLStore(url, table=name)) as store:
            store.create_schema()
            try:
                record = created(store, owner="anna")
                record = store.save(replace(record, payload=b"saved"))
                assert list(store.scan()) == store.find_by_owner("anna") == [record]
                with ReplacedClock() as time:
                    time.set(record.expires)
                    assert store.delete_expired() == [record]
            finally:
                with engine.begin() as connection:
                    connection.execute(text(f"DROP TABLE {engine.dialect.identifier_preparer.quote(name)}"))

    @pytest.mark.parametrize("name", ["", "a-b", "a b", "1a", "a;b", 'a"b', "a.b", "ä", "t" * 64, "a\n"])
    def test_other_names_are_refused(self, name: str) -> None:
        with pytest.raises(ValueError, match="table must be a name"):
            SQLStore("postgresql://host/d", table=name)
        with pytest.raises(ValueError, match="schema must be a name"):
            SQLStore("postgresql://host/d", schema=name)

    def test_a_schema_is_made_and_used(self, engine: Engine, url: str) -> None:
        """MySQL calls a database what PostgreSQL calls a schema; making one there is not our business."""
        is_postgresql = engine.dialect.name == "postgresql"
        schema = new_name() if is_postgresql else "test"
        name = new_name()
        with closing(SQLStore(url, table=name, schema=schema)) as store:
            store.create_schema()
            try:
                record = created(store)
                assert store.load("id") == record
                assert name in inspect(engine).get_table_names(schema=schema)
            finally:
                with engine.begin() as connection:
                    connection.execute(text(f"DROP TABLE {schema}.{name}"))
                    if is_postgresql:
                        connection.execute(text(f"DROP SCHEMA {schema}"))


class TestEngine:
    """An Engine lends its settings, and nothing else."""

    def test_the_applications_transaction_is_its_own(self, engine: Engine, table: str) -> None:
        with closing(SQLStore(engine, table=table)) as store, engine.connect() as connection:
            # Its pool has one connection, and the application holds it.
            connection.execute(text("SELECT 1"))
            record = created(store)
            assert store.load("id") == record
            saved = store.save(record)
            connection.rollback()
            assert store.load("id") == saved

    def test_the_applications_connections_stay_as_they_were(self, engine: Engine, table: str) -> None:
        with closing(SQLStore(engine, table=table)) as store:
            created(store)
            with engine.connect() as connection:
                connection.execute(text(f"DELETE FROM {table}"))
                # Not in autocommit: this takes it back.
                connection.rollback()
            assert store.load("id") is not None

    def test_its_way_to_connect_is_used(self, url: str, table: str) -> None:
        engine = create_engine(parse_url(url), poolclass=NullPool)
        made: list[Any] = []
        event.listen(engine, "do_connect", lambda dialect, record, arguments, options: made.append(options))
        with closing(SQLStore(engine, table=table)) as store:
            store.load("id")
        assert made

    def test_an_engine_over_sqlite_keeps_the_contract_of_forks(self, tmp_path: Path) -> None:
        """Each of its connections is used once: none is open while the process forks."""
        engine = create_engine(f"sqlite:///{tmp_path / 'sessions.db'}")
        with closing(SQLStore(engine)) as store:
            store.create_schema()
            record = created(store)
            assert store.load("id") == record
            assert store._used().engine.pool.status() == "NullPool"
        engine.dispose()

    @pytest.mark.parametrize(
        "source", ["sqlite://", "sqlite:///:memory:", "sqlite:///file::memory:?uri=true", create_engine("sqlite://")]
    )
    def test_a_database_in_memory_is_refused(self, source: Any) -> None:
        with pytest.raises(ValueError, match=r"in memory use MemoryStore\(\)"):
            SQLStore(source)

    def test_what_is_no_database_is_refused(self) -> None:
        with pytest.raises(TypeError, match="database must be a URL or an Engine, not int"):
            SQLStore(5)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="this is no database URL"):
            SQLStore("no database")
        with pytest.raises(ValueError, match="SQLAlchemy knows no database 'graph'"):
            SQLStore("graph://host/d")

    def test_a_url_of_sqlalchemys_own_is_taken(self, url: str, table: str) -> None:
        with closing(SQLStore(make_url(url), table=table)) as store:
            assert store.load("id") is None


class TestConstraints:
    """That the application has put on the table."""

    def test_what_breaks_one_is_no_taken_id(self, engine: Engine, store: SQLStore, table: str) -> None:
        with engine.begin() as connection:
            connection.execute(text(f"ALTER TABLE {table} ADD CONSTRAINT {table}_c CHECK (expires > 5)"))
        now = ReplacedClock(0)
        with now:
            with pytest.raises(StoreError) as raised:
                store.create(Record("id", b"payload", 5))
            assert not isinstance(raised.value, RecordExists)
            record = Record("id", b"payload", 6)
            store.create(record)
            with pytest.raises(RecordExists):
                store.create(record)
            with pytest.raises(StoreError) as raised:
                store.save(replace(record, expires=5))
            assert not isinstance(raised.value, VersionConflict)
            with pytest.raises(StoreError):
                store.touch("id", 1, 5)
            assert store.load("id") == record


def test_a_stricter_isolation_makes_a_conflict_of_a_conflict(postgresql_url: str) -> None:
    """Not an outage."""
    options = {"options": "-c default_transaction_isolation=serializable"}
    engine = create_engine(parse_url(postgresql_url), connect_args=options, poolclass=NullPool)
    with new_table(postgresql_url) as table, closing(SQLStore(engine, table=table)) as store:
        record = created(store)
        with engine.connect() as other:
            other.execute(text(f"UPDATE {table} SET version = 2"))
            result: list[Any] = []
            thread = threading.Thread(target=lambda: result.append(outcome(lambda: store.save(record))))
            thread.start()
            locks = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE :query")
            with create_engine(parse_url(postgresql_url), poolclass=NullPool).connect() as watcher:
                query = {"query": f"UPDATE {table}%"}
                services.wait_until(lambda: watcher.execute(locks, query).scalar() == 1, "the save")
            other.commit()
            thread.join(10)
    assert result == [VersionConflict]


def outcome(action: Any) -> Any:
    """Return what an action returns, or the type of what it raises."""
    try:
        return action()
    except Exception as error:
        return type(error)


class TestSweep:
    def test_a_batch_may_be_larger_than_a_statement(self, store: SQLStore, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sql, "_DELETED_AT_ONCE", 2)
        with ReplacedClock(0):
            for number in range(5):
                store.create(Record(f"id-{number}", b"payload", 1 + number))
        assert len(store.delete_expired(70_000)) == 5
        assert store.delete_expired() == []

    def test_a_batch_is_limited(self, store: SQLStore) -> None:
        for number in range(7):
            created(store, str(number))
        with ReplacedClock() as time:
            time.advance(timedelta(hours=2))
            assert [len(store.delete_expired(3)) for _ in range(4)] == [3, 3, 1, 0]
            assert store.delete_expired(0) == []

    def test_the_oldest_go_first(self, store: SQLStore) -> None:
        now = clock.now()
        for number in (3, 1, 2):
            store.create(Record(str(number), b"", now + number))
        with ReplacedClock() as time:
            time.set(now + 10)
            assert [record.id for record in store.delete_expired(2)] == ["1", "2"]

    def test_what_another_process_is_removing_is_passed_over(self, engine: Engine, store: SQLStore, table: str) -> None:
        """And waited for by nobody."""
        for number in range(3):
            created(store, str(number))
        with ReplacedClock() as time, engine.connect() as connection:
            connection.execute(text(f"SELECT * FROM {table} WHERE id = '1' FOR UPDATE"))
            time.advance(timedelta(hours=2))
            assert sorted(record.id for record in store.delete_expired()) == ["0", "2"]
            connection.rollback()
            assert [record.id for record in store.delete_expired()] == ["1"]


def test_a_repr_names_the_database_and_the_table(store: SQLStore, table: str) -> None:
    assert repr(store).endswith(f"/test', table='{table}')")


def test_a_repr_hides_what_the_options_hold() -> None:
    assert "hunter2" not in repr(SQLStore("postgresql://user:hunter2@host/d?password=hunter2"))


def test_many_threads_share_few_connections(store: SQLStore, engine: Engine) -> None:

    created(store)

    def work(_index: int, start: Any) -> int:
        start()
        return sum(store.load("id") is not None for _ in range(20))

    assert in_threads(work, 8, 30.0) == [20] * 8
    assert 1 <= len(store._used()._connections._idle) <= 8


def test_a_scan_larger_than_a_batch_holds_no_connection(store: SQLStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsgi_sessions.stores.sql._SCANNED_AT_ONCE", 4)
    ids = [f"id-{number:02}" for number in range(11)]
    for id in ids:
        created(store, id)
    seen = []
    for record in store.scan():
        seen.append(record.id)
        assert len(store._used()._connections._idle) == 1
    assert seen == ids
