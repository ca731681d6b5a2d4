"""A SQLite file that others lock, could read, or that has no room to grow; and what a forked child gets of it."""

import ctypes
import json
import os
import stat
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from harness import Site
from outages import assert_unavailable, at_most, new_record, payload_of
from servers import TIMEOUT, ended
from test_servers import filled

from wsgi_sessions import SQLiteStore, StoreError, clock
from wsgi_sessions.testing.parallel import in_processes

#: Runs statements on a file, says so, and goes on to hold what they have locked until its standard input ends.
_HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2:]:
    connection.execute(statement)
print("held", flush=True)
sys.stdin.read()
"""
_WRITE = "INSERT INTO session VALUES ('theirs', x'00', 1, 1, NULL)"
LOCK_TIMEOUT = timedelta(seconds=0.3)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sessions.db"


@pytest.fixture
def store(path):
    with closing(SQLiteStore(path, lock_timeout=LOCK_TIMEOUT)) as store:
        yield store


@contextmanager
def held(path, *statements):
    """Have another process hold what these statements lock inside the block."""
    command = [sys.executable, "-I", "-S", "-c", _HOLD, str(path), *statements]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with ended(process):
        assert process.stdout.readline() == "held\n"
        yield
        process.communicate(timeout=TIMEOUT)
        assert process.returncode == 0


class TestLocked:
    """T-53: another process is writing, or was stopped while it did."""

    @pytest.mark.parametrize("statements", [["BEGIN EXCLUSIVE"], ["BEGIN IMMEDIATE", _WRITE]])
    def test_reads_go_on_and_writes_wait_as_long_as_they_were_told(self, store, path, statements):
        site = Site(store)
        visitor = site.visitor()
        visitor.set(number=1)
        with held(path, *statements):
            assert visitor.read() == {"number": 1}
            for write in (lambda: visitor.set(number=2), lambda: site.visitor().set(number=2)):
                begun = time.monotonic()
                assert_unavailable(write())
                assert LOCK_TIMEOUT.total_seconds() <= time.monotonic() - begun < 1.5
            assert visitor.read() == {"number": 1}
            assert site.visitor().visit().status == 200
        assert visitor.set(number=3).status == 200
        assert visitor.read() == {"number": 3}

    def test_every_write_fails(self, store, path):
        record = new_record("id")
        store.create(record)
        store.create(new_record("expired", expires=clock.now() - 1000))
        writes = (
            lambda: store.create(new_record("other")),
            lambda: store.save(record),
            lambda: store.touch("id", 1, record.expires + 1),
            lambda: store.delete("id"),
            lambda: store.delete_expired(),
        )
        with held(path, "BEGIN EXCLUSIVE"):
            for write in writes:
                with pytest.raises(StoreError, match="locked"):
                    write()
        assert list(store.scan()) == [record]
        assert [record.id for record in store.delete_expired()] == ["expired"]

    def test_who_opens_it_meanwhile_reads(self, store, path):
        store.create(new_record("id"))
        store.close()
        with held(path, "BEGIN EXCLUSIVE"), closing(SQLiteStore(path)) as other:
            assert payload_of(other, "id") == b"payload"

    def test_by_default_a_write_is_answered_within_three_seconds(self, path):
        with closing(SQLiteStore(path)) as store:
            visitor = Site(store).visitor()
            visitor.set(number=1)
            with held(path, "BEGIN EXCLUSIVE"), at_most():
                assert_unavailable(visitor.set(number=2))

    def test_a_file_that_another_program_keeps_for_itself_is_an_outage(self, path):
        with closing(SQLiteStore(path, lock_timeout=timedelta(seconds=0.6))) as store:
            site = Site(store)
            visitor = site.visitor()
            visitor.set(number=1)
            store.close()
            with held(path, "PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE", _WRITE, "COMMIT"):
                with at_most(1.1):
                    assert_unavailable(visitor.visit(len))
                assert site.visitor().visit().status == 200
            assert visitor.read() == {"number": 1}

    def test_a_new_file_that_another_program_locks_is_an_outage(self, path):
        path.touch(0o600)
        with closing(SQLiteStore(path, lock_timeout=timedelta(seconds=0.6))) as store:
            site = Site(store)
            with held(path, "BEGIN EXCLUSIVE"), at_most(1.1):
                assert_unavailable(site.visitor().set(number=1))
            assert site.visitor().set(number=1).status == 200


class TestPermissions:
    """F-24."""

    def test_nobody_else_can_read_the_files_whatever_the_umask(self, path):
        def use(_index, start):
            os.umask(0)
            start()
            with closing(SQLiteStore(path)) as store:
                store.create(new_record("id"))
                return {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}

        names = ("sessions.db", "sessions.db-wal", "sessions.db-shm")
        assert in_processes(use, 1, 10) == [dict.fromkeys(names, 0o600)]

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
    def test_a_file_that_is_open_to_others_is_refused(self, store, path, mode):
        store.create(new_record("id"))
        store.close()
        path.chmod(mode)
        self.assert_refused(store, f"is open to others: chmod 600 {path}")
        path.chmod(0o600)
        assert payload_of(store, "id") == b"payload"

    def test_a_link_is_refused(self, store, path, tmp_path):
        target = tmp_path / "target"
        target.touch(0o600)
        path.symlink_to(target)
        self.assert_refused(store, "give SQLiteStore the file itself")
        assert target.stat().st_size == 0

    def test_a_link_to_nothing_is_refused(self, store, path, tmp_path):
        path.symlink_to(tmp_path / "target")
        self.assert_refused(store, "give SQLiteStore the file itself")
        assert not (tmp_path / "target").exists()

    def test_a_directory_is_refused(self, store, path):
        path.mkdir()
        self.assert_refused(store, "give SQLiteStore the file itself")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
    def test_a_file_of_another_user_is_refused(self, store, path):
        path.touch(0o600)
        os.chown(path, 65534, 65534)
        self.assert_refused(store, "belongs to user 65534")

    def test_a_directory_in_which_others_can_replace_it_is_refused(self, store, path):
        path.parent.chmod(0o777)
        self.assert_refused(store, "others can replace files")

    def test_a_missing_directory_is_an_outage(self, tmp_path):
        with closing(SQLiteStore(tmp_path / "missing" / "sessions.db")) as store:
            self.assert_refused(store, "No such file or directory")

    def test_a_file_that_is_no_database_is_left_as_it_is(self, store, path):
        path.touch(0o600)
        path.write_bytes(b"something else " * 1000)
        self.assert_refused(store, "not a database")
        assert path.read_bytes() == b"something else " * 1000

    @staticmethod
    def assert_refused(store, reason):
        for call in (lambda: store.load("id"), lambda: store.create(new_record("id"))):
            with pytest.raises(StoreError, match=reason):
                call()
        site = Site(store)
        assert_unavailable(site.visitor().set(number=1))
        assert site.visitor().visit().status == 200


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux tells which files a process has open")
class TestFork:
    """T-68: what a child does with an inherited connection, SQLite does to the file that the parent has open."""

    def test_a_child_has_no_file_of_the_database_open(self, store, path):
        store.create(new_record("id"))
        assert open_files(path)

        def look(index, start):
            found = open_files(path)
            start()
            store.create(new_record(f"of child {index}"))
            return [found, len(open_files(path)) > 0]

        assert in_processes(look, 2, TIMEOUT) == [[[], True]] * 2
        assert sorted(record.id for record in store.scan()) == ["id", "of child 0", "of child 1"]

    def test_a_child_that_nobody_announced_leaves_the_parents_connection_alone(self, store, path):
        """As uWSGI forks: Python is told in the child, when it is too late to close anything."""
        store.create(new_record("id"))
        before = sorted(open_files(path))
        assert len(before) == 3

        def look():
            inherited = sorted(open_files(path))
            store.create(new_record("of the child"))
            return [inherited, len(open_files(path)) > len(inherited)]

        assert forked_unannounced(look) == [before, True]
        assert sorted(record.id for record in store.scan()) == ["id", "of the child"]


def forked_unannounced(work):
    """Return what it returns in a child that was forked without Python's knowledge."""
    python = ctypes.PyDLL(None)
    source, sink = os.pipe()
    pid = python.fork()
    if pid == 0:
        try:
            python.PyOS_AfterFork_Child()
            os.write(sink, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(sink)
    with open(source, "rb") as answer:
        told = answer.read()
    os.waitpid(pid, 0)
    return json.loads(told)


def open_files(path):
    """Return the files of a database that this process has open."""
    links = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        except FileNotFoundError:  # that of the listing itself
            continue
    return [link for link in links if link.startswith(str(path))]


def test_a_full_disk_loses_nothing_that_was_stored(small_disk):
    """T-51."""
    with closing(SQLiteStore(small_disk / "sessions.db")) as store:
        site = Site(store)
        visitor = site.visitor()
        assert visitor.set(old="stored").status == 200
        with filled(small_disk):
            # What the log had room for before is used first.
            answers = [visitor.set(new="v" * 4000 + str(number)) for number in range(50)]
            assert_unavailable(answers[-1])
            assert {answer.status for answer in answers} <= {200, 503}
            assert_unavailable(site.visitor().set(new="v" * 4000))
            assert visitor.read()["old"] == "stored"
            assert site.visitor().visit().status == 200
        assert visitor.set(new="again").status == 200
        assert visitor.read() == {"old": "stored", "new": "again"}


class TestSweep:
    """T-58: several processes may sweep at once."""

    def test_each_record_is_returned_once(self, path):
        ids = sorted(f"expired-{number}" for number in range(2000))
        with closing(SQLiteStore(path)) as store:
            for id in ids:
                store.create(new_record(id, expires=clock.now() - 1000))
            store.create(new_record("live"))

            def sweep(_index, start):
                with closing(SQLiteStore(path)) as own:
                    own.load("live")
                    start()
                    swept = []
                    while records := own.delete_expired(50):
                        swept += [record.id for record in records]
                    return swept

            swept = in_processes(sweep, 8, TIMEOUT)
            assert sorted(id for part in swept for id in part) == ids
            assert [record.id for record in store.scan()] == ["live"]
