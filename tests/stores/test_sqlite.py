"""What SQLiteStore does besides the contract: the file, its connections, its schema."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from wsgi_sessions import Record, RecordNotFound, SQLiteStore, StoreError, VersionConflict, clock
from wsgi_sessions.testing import ReplacedClock
from wsgi_sessions.testing.parallel import in_threads

HOUR = 3_600_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    with closing(SQLiteStore(path)) as store:
        yield store


def created(store: SQLiteStore, id: str = "id", owner: str | None = None) -> Record:
    record = Record(id, b"payload", clock.now() + HOUR, owner=owner)
    store.create(record)
    return record


def pragma(store: SQLiteStore, name: str) -> Any:
    with store._connections.use() as connection:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]


class TestFile:
    def test_nothing_is_made_before_the_first_use(self, path: Path) -> None:
        SQLiteStore(path)
        assert not path.exists()

    def test_it_is_closed_to_others(self, store: SQLiteStore, path: Path) -> None:
        """F-24."""
        created(store)
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        assert modes == {"sessions.db": 0o600, "sessions.db-wal": 0o600, "sessions.db-shm": 0o600}

    def test_the_process_keeps_its_umask(self, store: SQLiteStore) -> None:
        """F-14: it belongs to all threads."""
        before = os.umask(0o123)
        try:
            created(store)
            assert os.umask(0o123) == 0o123
        finally:
            os.umask(before)

    def test_one_that_others_can_read_is_refused(self, store: SQLiteStore, path: Path) -> None:
        path.touch(0o640)
        path.chmod(0o640)
        with pytest.raises(StoreError, match=f"open to others: chmod 600 {path}"):
            store.load("id")

    def test_a_link_is_refused(self, store: SQLiteStore, path: Path, tmp_path: Path) -> None:
        path.symlink_to(tmp_path / "elsewhere.db")
        with pytest.raises(StoreError, match="is no file"):
            store.load("id")
        assert not (tmp_path / "elsewhere.db").exists()

    def test_a_directory_is_refused(self, store: SQLiteStore, path: Path) -> None:
        path.mkdir()
        with pytest.raises(StoreError, match="is no file"):
            store.load("id")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
    def test_anothers_is_refused(self, store: SQLiteStore, path: Path) -> None:
        path.touch(0o600)
        os.chown(path, 12345, -1)
        with pytest.raises(StoreError, match="belongs to user 12345"):
            store.load("id")

    def test_a_directory_in_which_others_can_replace_it_is_refused(self, store: SQLiteStore, path: Path) -> None:
        path.parent.chmod(0o777)
        with pytest.raises(StoreError, match="others can replace files"):
            store.load("id")

    def test_a_missing_directory_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="missing"):
            SQLiteStore(tmp_path / "missing" / "sessions.db").load("id")

    def test_a_file_of_another_kind_is_told(self, store: SQLiteStore, path: Path) -> None:
        path.write_bytes(b"this is no database, " * 100)
        path.chmod(0o600)
        with pytest.raises(StoreError, match="not a database"):
            store.load("id")

    def test_what_a_newer_version_made_is_left_alone(self, store: SQLiteStore, path: Path) -> None:
        created(store)
        with store._connections.use() as connection:
            connection.execute("PRAGMA user_version = 2")
        store.close()
        with pytest.raises(StoreError, match="newer version"):
            store.load("id")

    @pytest.mark.parametrize("version", [0, 1, 7])
    @pytest.mark.parametrize("table", ["other", "session"])
    def test_the_database_of_another_program_is_refused_and_stays(
        self, store: SQLiteStore, path: Path, table: str, version: int
    ) -> None:
        path.touch(0o600)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"CREATE TABLE {table} (x)")
            connection.execute(f"PRAGMA user_version = {version}")
            connection.commit()
        before = path.read_bytes()
        with pytest.raises(StoreError, match="give SQLiteStore a file of its own"):
            created(store)
        assert path.read_bytes() == before

    def test_a_file_that_was_removed_is_made_anew_after_close(self, store: SQLiteStore, path: Path) -> None:
        created(store)
        store.close()
        path.unlink()
        assert store.load("id") is None
        created(store)


class TestConnections:
    def test_it_has_a_write_ahead_log(self, store: SQLiteStore) -> None:
        assert pragma(store, "journal_mode") == "wal"

    @pytest.mark.parametrize(("durability", "synchronous"), [("process", 1), ("power", 2)])
    def test_durability_is_sqlites_own(self, path: Path, durability: Any, synchronous: int) -> None:
        with closing(SQLiteStore(path, durability=durability)) as store:
            assert pragma(store, "synchronous") == synchronous

    def test_each_thread_has_one_and_it_is_closed_with_the_thread(self, store: SQLiteStore) -> None:
        created(store)
        connections: set[int] = set()

        def use() -> None:
            for _ in range(3):
                with store._connections.use() as connection:
                    connections.add(id(connection))
            assert len(store._connections._all) == 2

        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
        assert len(connections) == 1
        assert len(store._connections._all) == 1

    def test_no_transaction_is_left_open(self, store: SQLiteStore) -> None:
        record = created(store)
        for use in (
            lambda: store.load("id"),
            lambda: store.save(record),
            lambda: store.touch("id", 2, record.expires + 1),
            lambda: list(store.scan()),
            lambda: store.delete_expired(),
            lambda: store.find_by_owner("anna"),
        ):
            use()
            with store._connections.use() as connection:
                assert not connection.in_transaction
        with pytest.raises(VersionConflict):
            store.save(replace(record, version=99))
        with store._connections.use() as connection:
            assert not connection.in_transaction

    def test_a_scan_that_is_not_finished_keeps_nobody_waiting(
        self, store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("wsgi_sessions.stores.sqlite._SCANNED_AT_ONCE", 3)
        ids = [f"id-{number}" for number in range(8)]
        for id in ids:
            created(store, id)
        seen = []
        for record in store.scan():
            seen.append(record.id)
            with closing(SQLiteStore(path, lock_timeout=timedelta(milliseconds=1))) as other:
                other.save(record)
        assert seen == ids

    def test_an_exception_of_a_signals_handler_leaves_no_transaction_open(self, store: SQLiteStore) -> None:
        created(store)
        with suppress(KeyboardInterrupt), store._connections.use() as connection:
            connection.execute("BEGIN IMMEDIATE")
            raise KeyboardInterrupt
        assert in_threads(lambda _index, _start: created(store, "another").id, 1, 10) == ["another"]

    def test_a_long_timeout_is_one(self, path: Path) -> None:
        store = SQLiteStore(path, lock_timeout=timedelta(days=30))
        created(store)
        assert pragma(store, "busy_timeout") > 1_000_000_000

    def test_an_error_costs_no_more_than_a_connection(self, store: SQLiteStore) -> None:
        record = created(store)
        with pytest.raises(sqlite3.OperationalError):
            with store._connections.use() as connection:
                connection.execute("SELECT nothing FROM nowhere")
        assert store.load("id") == record

    def test_every_thread_that_has_a_connection_lets_go_of_it_before_a_fork(self, store: SQLiteStore) -> None:
        created(store)
        begun, end = threading.Event(), threading.Event()

        def use() -> None:
            store.load("id")
            begun.set()
            end.wait(20)

        thread = threading.Thread(target=use)
        thread.start()
        assert begun.wait(20)
        pid = os.fork()
        if pid == 0:
            # What is open here was opened by the parent.
            open_here = [held for held in store._connections._all if held.connection is not None]
            os._exit(0 if not open_here and store.load("id") is not None else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        end.set()
        thread.join(20)
        assert store.load("id") is not None


class TestSaving:
    """There are two statements for it: which one is taken, nobody sees."""

    def test_it_follows_an_end_that_a_touch_has_moved(self, store: SQLiteStore) -> None:
        record = created(store, owner="anna")
        store.touch("id", 1, record.expires + 5)
        saved = store.save(replace(record, payload=b"saved"))
        assert store.load("id") == saved == replace(record, payload=b"saved", version=2)

    @pytest.mark.parametrize(
        "owners", [(None, "anna"), ("anna", None), ("anna", "bert"), ("anna", "anna"), (None, None)]
    )
    @pytest.mark.parametrize("moves", [0, 5])
    def test_it_stores_all_fields(self, store: SQLiteStore, owners: tuple[Any, Any], moves: int) -> None:
        record = created(store, owner=owners[0])
        saved = store.save(replace(record, payload=b"saved", owner=owners[1], expires=record.expires + moves))
        assert store.load("id") == saved

    def test_an_expired_record_is_not_saved_by_either(self, store: SQLiteStore) -> None:
        record = created(store)
        with ReplacedClock() as time:
            time.set(record.expires)
            for expires in (record.expires, record.expires + HOUR):
                with pytest.raises(RecordNotFound):
                    store.save(replace(record, expires=expires))


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "error", "said"),
        [
            ({"path": ":memory:"}, ValueError, r"in memory use MemoryStore\(\)"),
            ({"path": ""}, ValueError, "must name a file"),
            ({"path": b"x"}, TypeError, "not bytes"),
            ({"durability": "always"}, ValueError, "durability must be"),
            ({"lock_timeout": 2}, TypeError, "lock_timeout must be a timedelta"),
            ({"lock_timeout": timedelta(0)}, ValueError, "lock_timeout must be positive"),
        ],
    )
    def test_wrong_ones_are_refused(self, arguments: Any, error: type[Exception], said: str) -> None:
        with pytest.raises(error, match=said):
            SQLiteStore(**{"path": "sessions.db", **arguments})

    def test_a_python_without_sqlite_imports_and_says_so(self, path: Path) -> None:
        code = (
            "import sys\n"
            "sys.modules['sqlite3'] = None\n"
            "from wsgi_sessions import SQLiteStore\n"
            "try:\n"
            f"    SQLiteStore({str(path)!r})\n"
            "except RuntimeError as error:\n"
            "    print(error)\n"
        )
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        assert "without sqlite3" in run.stdout

    def test_a_repr_names_the_file(self, store: SQLiteStore, path: Path) -> None:
        assert repr(store) == f"SQLiteStore({str(path)!r})"
