"""FileStore between processes: races, killed and stopped ones, forks, and limits of a process.

Run as a program, this file is one of the scenarios below: a fresh process with
one thread, which may fork. A scenario reports by what it prints.
"""

import errno
import fcntl
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from wsgi_sessions import clock
from wsgi_sessions.exceptions import RecordExists, RecordNotFound, StoreError, VersionConflict
from wsgi_sessions.record import Record
from wsgi_sessions.stores import _file_folder, _file_lock, _file_sweep, file
from wsgi_sessions.stores._file_format import file_name, unpack
from wsgi_sessions.stores.file import FileStore

FAR = clock.now() + 10**9
RECORD = Record("an-id", b"old", FAR)
# Nothing here takes longer, so that no process outlives its test by much, whatever happens.
LONGEST = 50
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(file.__file__).parents[2])}
NOBODY = 65534


def run(scenario: Callable[..., object], *arguments: object) -> Any:
    """Run a scenario in a fresh process and return what it reported."""
    command = [sys.executable, "-W", "error", __file__, scenario.__name__, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, env=ENVIRONMENT, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def fork(child: Callable[[], object]) -> tuple[int, int]:
    """Start a process; return its id and the descriptor from which its result is read."""
    reading, writing = os.pipe()
    process = os.fork()
    if process:
        os.close(writing)
        return process, reading
    try:
        signal.alarm(LONGEST)
        os.write(writing, json.dumps(child()).encode())
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def collect(process: int, reading: int) -> Any:
    with open(reading, "rb") as stream:
        content = stream.read()
    assert os.waitpid(process, 0)[1] == 0
    return json.loads(content)


def at_once(*children: Callable[[], object]) -> list[Any]:
    """Run all of them at the same time, each in a process of its own."""
    gate, opener = os.pipe()

    def after_the_gate(child: Callable[[], object]) -> object:
        os.close(opener)
        os.read(gate, 1)
        return child()

    started = [fork(lambda child=child: after_the_gate(child)) for child in children]
    os.close(opener)
    results = [collect(*process) for process in started]
    os.close(gate)
    return results


def names_in(directory: str | Path) -> list[str]:
    return sorted(path.name for path in Path(directory).rglob("*") if path.is_file())


# F-07, T-10


def create_one_id(directory: str) -> object:
    def create(number: int) -> bool:
        try:
            FileStore(directory).create(Record("an-id", b"%d" % number, FAR))
        except RecordExists:
            return False
        return True

    won = at_once(*[lambda number=number: create(number) for number in range(16)])
    record = FileStore(directory).load("an-id")
    return won.count(True), record is not None and won[int(record.payload)]


def test_one_of_16_processes_creates_an_id(tmp_path: Path) -> None:
    """F-07, T-10: in a directory that none of them finds there."""
    assert run(create_one_id, tmp_path / "sessions") == [1, True]
    assert names_in(tmp_path / "sessions") == [file_name("an-id")]


# F-18


def write_first_in_a_shard(directory: str) -> object:
    numbers = itertools.count()
    ids = [id for id in (f"id-{next(numbers)}" for _ in range(10_000)) if file_name(id).startswith("42")][:16]

    def create(id: str) -> str:
        FileStore(directory).create(Record(id, b"", FAR))
        return id

    return sorted(at_once(*[lambda id=id: create(id) for id in ids])) == sorted(
        record.id for record in FileStore(directory).scan()
    )


def test_16_processes_write_first_in_the_same_shard(tmp_path: Path) -> None:
    """F-18: whoever is late finds a directory, never an error."""
    assert run(write_first_in_a_shard, tmp_path / "sessions")


# F-02


def save_one_id(directory: str) -> object:
    store = FileStore(directory)
    store.create(Record("an-id", b"", FAR))

    def save(number: int) -> int:
        saved = 0
        while saved < 5:
            record = store.load("an-id")
            assert record is not None
            try:
                store.save(msgspec.structs.replace(record, payload=b"%02d" % number * (100 + 997 * number)))
            except VersionConflict:
                continue
            saved += 1
        return saved

    saved = sum(at_once(*[lambda number=number: save(number) for number in range(16)]))
    record = store.load("an-id")
    assert record is not None
    number = int(record.payload[:2])
    return saved, record.version, record.payload == b"%02d" % number * (100 + 997 * number)


def test_16_processes_save_the_same_id(tmp_path: Path) -> None:
    """F-02: the content is one writer's, and no save is lost."""
    assert run(save_one_id, tmp_path / "sessions") == [80, 81, True]
    assert len(names_in(tmp_path / "sessions")) == 1


# F-01


def read_while_saving(directory: str) -> object:
    store = FileStore(directory)
    store.create(RECORD)
    until = time.monotonic() + 2

    def read() -> int:
        reads = 0
        while time.monotonic() < until:
            record = store.load("an-id")
            if record is None or record.payload[:1] * len(record.payload) != record.payload:
                return -1
            reads += 1
        return reads

    def write() -> int:
        record = RECORD
        while time.monotonic() < until:
            size = record.version * 7919 % 30_000 + 1
            record = store.save(msgspec.structs.replace(record, payload=b"%d" % (record.version % 10) * size))
            store.touch("an-id", record.version, FAR + record.version)
        return record.version

    store.save(msgspec.structs.replace(RECORD, payload=b""))
    store.delete("an-id")
    store.create(Record("an-id", b"", FAR))
    return at_once(write, *[read] * 4)


def test_readers_never_see_half_a_write(tmp_path: Path) -> None:
    """F-01: nor a moment without the record, nor a torn expiry."""
    versions, *reads = run(read_while_saving, tmp_path / "sessions")
    assert versions > 3
    assert min(reads) > 3


# F-08


def delete_and_save(directory: str) -> object:
    store = FileStore(directory)
    until = time.monotonic() + 2
    # Every process knows which id is in use by this file, so that all fight over the same.
    current = Path(directory).parent / "current"
    current.write_text("id-0")

    def save() -> int:
        saved = 0
        while time.monotonic() < until:
            try:
                record = store.load(current.read_text() or "id-0")
                if record is not None:
                    store.touch(record.id, record.version, FAR + saved)
                    store.save(record)
                    saved += 1
            except (RecordNotFound, VersionConflict):
                continue
        return saved

    def destroy() -> int:
        rounds = 0
        while time.monotonic() < until:
            rounds += 1
            id = f"id-{rounds}"
            store.create(Record(id, b"", FAR))
            current.write_text(id)
            time.sleep(0.001)
            store.delete(id)
            # Whatever the others have begun, it never comes back.
            for _ in range(20):
                if store.load(id) is not None:
                    return -1
        return rounds

    return at_once(destroy, save, save, save)


def test_a_deleted_record_never_comes_back(tmp_path: Path) -> None:
    """F-08, T-14: three processes save and touch what a fourth deletes."""
    rounds, *saved = run(delete_and_save, tmp_path / "sessions")
    assert rounds > 1
    assert sum(saved) > 0
    assert names_in(tmp_path / "sessions") == []


# F-09


def count_in_threads_and_processes(directory: str) -> object:
    store = FileStore(directory, lock_timeout=timedelta(seconds=20))
    store.create(Record("an-id", b"0", FAR))

    def count() -> None:
        done = 0
        while done < 10:
            record = store.load("an-id")
            assert record is not None
            try:
                store.save(msgspec.structs.replace(record, payload=b"%d" % (int(record.payload) + 1)))
            except VersionConflict:
                continue
            done += 1

    def count_in_threads() -> None:
        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    at_once(*[count_in_threads] * 4)
    record = store.load("an-id")
    return record is not None and [int(record.payload), record.version]


def test_threads_in_processes_lose_no_increment(tmp_path: Path) -> None:
    """F-09: and the locks leave no files behind."""
    assert run(count_in_threads_and_processes, tmp_path / "sessions") == [160, 161]
    assert len(names_in(tmp_path / "sessions")) == 1


# F-12


def sweep_and_renew(directory: str) -> object:
    store = FileStore(directory)
    until = time.monotonic() + 3
    ids = [f"id-{number}" for number in range(8)]
    lifetime = 40

    def renew(ids: list[str]) -> list[int]:
        lost = renewed = 0
        for id in ids:
            store.create(Record(id, b"", clock.now() + lifetime))
        while time.monotonic() < until:
            for id in ids:
                try:
                    expires = clock.now() + lifetime
                    store.touch(id, 1, expires)
                    renewed += 1
                    # Acknowledged: until it expires again it must be there.
                    if store.load(id) is None and clock.now() < expires:
                        lost += 1
                except RecordNotFound:
                    try:
                        store.create(Record(id, b"", clock.now() + lifetime))
                    except RecordExists:
                        continue
            time.sleep(0.03)
        return [lost, renewed]

    def sweep() -> list[int]:
        removed = alive = 0
        while time.monotonic() < until:
            for record in store.delete_expired(3):
                removed += 1
                alive += record.expires > clock.now()
        return [alive, removed]

    return at_once(sweep, sweep, lambda: renew(ids[:4]), lambda: renew(ids[4:]))


def test_a_sweep_removes_no_renewed_record(tmp_path: Path) -> None:
    """F-12: records renewed at about the moment they expire, under two sweepers."""
    results = run(sweep_and_renew, tmp_path / "sessions")
    assert [wrong for wrong, _ in results] == [0, 0, 0, 0]
    assert sum(count for _, count in results[2:]) > 0


# F-04


class DyingSystem:
    """Stands for the ``os`` module; its Nth call that reaches the disk is never made."""

    CALLS = frozenset({"open", "close", "read", "pwrite", "fsync", "fchmod", "link", "unlink", "replace", "mkdir"})

    def __init__(self, number: int) -> None:
        self.left = number

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in self.CALLS:
            return real

        def call(*arguments: Any, **options: Any) -> Any:
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return call


OPERATIONS: dict[str, Callable[[FileStore], object]] = {
    "create": lambda store: store.create(Record("new", b"new", FAR)),
    "save": lambda store: store.save(msgspec.structs.replace(RECORD, payload=b"new")),
    "touch": lambda store: store.touch("an-id", 1, FAR + 1),
    "delete": lambda store: store.delete("an-id"),
}
ALLOWED = {
    "create": [None, Record("new", b"new", FAR)],
    "save": [RECORD, Record("an-id", b"new", FAR, 2)],
    "touch": [RECORD, Record("an-id", b"old", FAR + 1)],
    "delete": [RECORD, None],
}


def die_at_every_call(directory: str, operation: str, durability: Any) -> object:
    seen = set()
    for number in itertools.count(1):
        place = Path(directory) / str(number)
        store = FileStore(place, durability=durability)
        if operation != "create":
            store.create(RECORD)

        def die(store: FileStore = store, number: int = number) -> None:
            file.os = _file_folder.os = _file_lock.os = _file_sweep.os = DyingSystem(number)
            OPERATIONS[operation](store)

        process, reading = fork(die)
        os.close(reading)
        status = os.waitpid(process, 0)[1]
        found = store.load("new" if operation == "create" else "an-id")
        seen.add(ALLOWED[operation].index(found))
        for path in place.rglob("*"):
            if path.is_file() and not path.name.startswith(".wsgi_sessions-"):
                # What has its name is whole: no placeholder, no part of a write.
                unpack(path.read_bytes())
        # The next one is not kept out by what the dead one held.
        store.create(Record("another", b"", FAR))
        if found is not None:
            store.save(found)
        if status == 0:
            return number, sorted(seen)
        assert os.WTERMSIG(status) == signal.SIGKILL
    return None


@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("operation", list(OPERATIONS))
def test_killed_at_any_call_leaves_old_or_new(tmp_path: Path, operation: str, durability: str) -> None:
    """F-04, F-07, F-10."""
    calls, seen = run(die_at_every_call, tmp_path, operation, durability)
    assert calls > 2
    assert seen == [0, 1]


# F-10


def hold_the_lock(directory: str) -> None:
    """Never returns: somebody else ends it."""
    folder = _file_folder.open_folder(str(Path(directory) / file_name("an-id")[:2]))
    with _file_lock.ShardLocks(1).hold(folder):
        os.write(1, b"held\n")
        time.sleep(LONGEST)


def start_holder(directory: Path) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, hold_the_lock.__name__, str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_a_killed_holder_lets_go_at_once(tmp_path: Path) -> None:
    """F-10."""
    store = FileStore(tmp_path / "sessions")
    store.create(RECORD)
    holder = start_holder(tmp_path / "sessions")
    timer = threading.Timer(0.2, holder.kill)
    timer.start()
    started = time.monotonic()
    try:
        assert store.save(RECORD).version == 2
    finally:
        timer.join()
        end(holder)
    assert 0.15 < time.monotonic() - started < 0.2 + 0.5


def test_a_stopped_holder_is_waited_for_until_the_timeout(tmp_path: Path) -> None:
    """F-10: reading needs no lock, and all goes on when the other one does not come back."""
    store = FileStore(tmp_path / "sessions", lock_timeout=timedelta(seconds=0.3))
    store.create(RECORD)
    holder = start_holder(tmp_path / "sessions")
    try:
        holder.send_signal(signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(StoreError, match="held by others"):
            store.save(RECORD)
        assert 0.2 < time.monotonic() - started < 2
        assert store.load("an-id") == RECORD
    finally:
        end(holder)
    assert store.save(RECORD).version == 2


# T-68


def fork_while_the_lock_is_held(directory: str) -> object:
    store = FileStore(directory, lock_timeout=timedelta(seconds=5))
    store.create(RECORD)
    is_held, may_go = threading.Event(), threading.Event()

    class Waiting:
        def __getattr__(self, name: str) -> Any:
            return getattr(fcntl, name)

        def flock(self, descriptor: int, operation: int) -> None:
            fcntl.flock(descriptor, operation)
            if operation != fcntl.LOCK_UN:
                is_held.set()
                may_go.wait(LONGEST)

    _file_lock.fcntl = Waiting()
    thread = threading.Thread(target=store.touch, args=("an-id", 1, FAR + 1))
    thread.start()
    is_held.wait(LONGEST)
    _file_lock.fcntl = fcntl

    # The thread that holds the lock does not exist in the child, which must neither wait for it nor break in.
    def save() -> object:
        started = time.monotonic()
        record = store.load("an-id")
        assert record is not None
        store.save(msgspec.structs.replace(record, payload=b"child"))
        return time.monotonic() - started

    process, reading = fork(save)
    time.sleep(0.2)
    may_go.set()
    thread.join()
    waited = collect(process, reading)
    record = store.load("an-id")
    return 0.1 < waited < 4, record is not None and [record.version, record.expires == FAR + 1]


def test_a_lock_held_during_a_fork(tmp_path: Path) -> None:
    """T-68: the child waits for the parent's thread, and no longer."""
    assert run(fork_while_the_lock_is_held, tmp_path / "sessions") == [True, [2, False]]


def fork_and_kill_the_holder(directory: str) -> object:
    store = FileStore(directory)
    store.create(RECORD)

    def hold_in_a_thread_and_fork() -> int:
        is_held = threading.Event()

        def hold() -> None:
            with store._locks.hold(_file_folder.open_folder(str(Path(directory) / file_name("an-id")[:2]))):
                is_held.set()
                time.sleep(LONGEST)

        threading.Thread(target=hold, daemon=True).start()
        is_held.wait(LONGEST)
        grandchild = os.fork()
        if not grandchild:
            signal.alarm(LONGEST)
            signal.pause()
        return grandchild

    grandchild = 0
    process, reading = fork(hold_in_a_thread_and_fork)
    try:
        grandchild = json.loads(os.read(reading, 100))
        assert os.waitpid(process, 0)[1] == 0
        # The holder is gone, its child is not, and has a copy of nothing.
        return store.save(RECORD).version
    finally:
        if grandchild:
            os.kill(grandchild, signal.SIGKILL)


def test_a_child_of_the_holder_does_not_keep_the_lock(tmp_path: Path) -> None:
    """F-10, T-68: descriptors of locks that other threads held are closed in a forked child."""
    assert run(fork_and_kill_the_holder, tmp_path / "sessions") == 2


def use_in_many_children(directory: str) -> object:
    store = FileStore(directory)
    store.create(RECORD)

    def use(number: int) -> int:
        for turn in range(20):
            store.create(Record(f"id-{number}-{turn}", b"", FAR))
            assert store.load("an-id") == RECORD
        return len(list(store.scan()))

    at_once(*[lambda number=number: use(number) for number in range(4)])
    return len(list(store.scan()))


def test_a_store_used_before_a_fork_is_used_after_it(tmp_path: Path) -> None:
    """T-68: as under gunicorn --preload."""
    assert run(use_in_many_children, tmp_path / "sessions") == 81


# T-51, F-14, F-16


def cause_of_failure(operation: Callable[[], object]) -> int | None:
    try:
        operation()
    except StoreError as error:
        return error.__cause__.errno if isinstance(error.__cause__, OSError) else None
    return 0


def run_out_of_descriptors(directory: str) -> object:
    store = FileStore(directory)
    store.create(RECORD)
    held = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    codes = []
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        for operation in (
            lambda: store.load("an-id"),
            lambda: store.save(RECORD),
            lambda: store.touch("an-id", 1, FAR),
            lambda: store.delete("an-id"),
            lambda: store.create(Record("new", b"", FAR)),
            lambda: list(store.scan()),
            lambda: store.delete_expired(),
        ):
            codes.append(cause_of_failure(operation))
    for descriptor in held:
        os.close(descriptor)
    return codes, store.save(RECORD).version


def test_no_descriptors_are_left(tmp_path: Path) -> None:
    """T-51: a StoreError each, and all is well again without a restart."""
    assert run(run_out_of_descriptors, tmp_path / "sessions") == [[errno.EMFILE] * 7, 2]


def write_over_the_file_size_limit(directory: str) -> object:
    store = FileStore(directory)
    store.create(RECORD)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    codes = []
    for operation in (
        lambda: store.save(msgspec.structs.replace(RECORD, payload=bytes(5000))),
        lambda: store.create(Record("new", bytes(5000), FAR)),
    ):
        codes.append(cause_of_failure(operation))
    assert store.load("an-id") == RECORD
    return codes, store.save(RECORD).version


def test_files_may_not_grow_so_large(tmp_path: Path) -> None:
    """T-51, F-20: the write comes short first, and fails then."""
    assert run(write_over_the_file_size_limit, tmp_path / "sessions") == [[errno.EFBIG] * 2, 2]
    assert names_in(tmp_path / "sessions") == [file_name("an-id")]


def work_as_nobody(directory: str) -> object:
    os.chown(directory, NOBODY, NOBODY)
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    os.umask(0o777)
    store = FileStore(f"{directory}/sessions")
    store.create(RECORD)
    saved = store.save(RECORD)
    store.close()
    modes = [oct(path.stat().st_mode & 0o7777) for path in sorted(Path(directory).rglob("*"))]
    found = store.load("an-id")
    unreadable = Path(store.directory) / file_name("an-id")[:2] / file_name("an-id")
    unreadable.chmod(0)
    return found == saved, modes, cause_of_failure(lambda: store.load("an-id"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: becomes another user")
def test_an_umask_that_takes_away_our_own_permissions(tmp_path: Path) -> None:
    """F-14: root would not notice; then a file that its owner may not read is a failure, not a corrupt record."""
    with tempfile.TemporaryDirectory() as directory:
        assert run(work_as_nobody, directory) == [True, ["0o700", "0o700", "0o600"], errno.EACCES]


if __name__ == "__main__":
    result = globals()[sys.argv[1]](*sys.argv[2:])
    sys.stdout.write(json.dumps(result))
