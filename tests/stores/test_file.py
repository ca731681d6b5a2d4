"""FileStore in one process: what is in the files, what is planted beside them, and calls that fail.

Each test names the row of the requirements that it proves: F for the file
store's own, T for the threats to every store.
"""

import errno
import fcntl
import gc
import hashlib
import logging
import os
import stat
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from wsgi_sessions import clock
from wsgi_sessions.exceptions import RecordExists, RecordNotFound, SessionTooLarge, StoreError, VersionConflict
from wsgi_sessions.record import Record
from wsgi_sessions.stores import _file_folder, _file_format, _file_lock, _file_sweep, file
from wsgi_sessions.stores.file import FileStore

HOUR = 60 * 60 * 1000
FAR = clock.now() + 1000 * HOUR
RECORD = Record("an-id", b"payload", FAR, 1, "ann")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(file.__file__).parents[2])}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts a file system or changes owners")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


@pytest.fixture
def store(directory: Path) -> Iterator[FileStore]:
    store = FileStore(directory)
    yield store
    store.close()


def path_of(directory: Path, id: str) -> Path:
    name = hashlib.sha256(id.encode()).hexdigest()
    return directory / name[:2] / name


def files_in(directory: Path) -> set[Path]:
    return {path for path in directory.rglob("*") if not path.is_dir()}


def open_descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def is_locked(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


class SystemShim:
    """Stands for the ``os`` module; what ``before`` returns, if not None, is called in place of the function."""

    def __init__(self, before: Callable[..., Callable[..., Any] | None]) -> None:
        self._before = before

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in SYSTEM_CALLS:
            return real

        def call(*arguments: Any, **options: Any) -> Any:
            replacement = self._before(name, *arguments, **options)
            return (replacement or real)(*arguments, **options)

        return call


SYSTEM_CALLS = frozenset(
    {
        *("open", "close", "read", "pwrite", "fsync", "fchmod", "chmod"),
        *("fstat", "stat", "link", "unlink", "replace", "mkdir", "scandir", "urandom"),
    }
)


def replace_system(monkeypatch: pytest.MonkeyPatch, before: Callable[..., Callable[..., Any] | None]) -> None:
    shim = SystemShim(before)
    for module in (file, _file_folder, _file_lock, _file_sweep):
        monkeypatch.setattr(module, "os", shim)


class Faults:
    """Lets the call with a certain number fail, or all from it on."""

    def __init__(self, number: int, code: int, *, is_persistent: bool = False) -> None:
        self.number = number
        self.code = code
        self.is_persistent = is_persistent
        self.calls = 0
        self.failed: list[str] = []

    @property
    def have_happened(self) -> bool:
        return self.calls >= self.number

    def __call__(self, name: str, *arguments: Any, **options: Any) -> Callable[..., Any] | None:
        self.calls += 1
        if self.calls == self.number or (self.is_persistent and self.have_happened):
            self.failed.append(f"{self.calls} {name} {arguments}")
            return self.fail_close if name == "close" else self.fail
        return None

    def fail(self, *arguments: Any, **options: Any) -> None:
        raise OSError(self.code, os.strerror(self.code))

    def fail_close(self, descriptor: int) -> None:
        # Linux closes the descriptor even when close reports an error.
        os.close(descriptor)
        self.fail()


class TestConstruction:
    def test_it_touches_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        descriptors = open_descriptors()
        replace_system(monkeypatch, Faults(1, errno.EIO, is_persistent=True))
        FileStore(tmp_path / "sessions")
        assert list(tmp_path.iterdir()) == []
        assert open_descriptors() == descriptors

    @pytest.mark.parametrize(
        ("arguments", "options", "expected", "message"),
        [
            (("",), {}, ValueError, "must name a directory"),
            (("a\0b",), {}, ValueError, "must name a directory"),
            ((b"sessions",), {}, TypeError, "not bytes"),
            ((None,), {}, TypeError, "None"),
            (("x",), {"durability": "full"}, ValueError, "'process' or 'power'"),
            (("x",), {"max_payload": "64k"}, TypeError, "number of bytes"),
            (("x",), {"max_payload": 0}, ValueError, "at least 1"),
            (("x",), {"lock_timeout": 2}, TypeError, "timedelta"),
            (("x",), {"lock_timeout": timedelta(0)}, ValueError, "positive"),
        ],
    )
    def test_wrong_arguments_say_what_to_write(
        self, arguments: tuple[Any], options: dict[str, Any], expected: type[Exception], message: str
    ) -> None:
        with pytest.raises(expected, match=message):
            FileStore(*arguments, **options)

    def test_it_names_posix_where_there_is_no_flock(self) -> None:
        program = (
            "import logging, os, sys\n"
            "sys.modules['fcntl'] = None\n"
            "for name in ('O_NOFOLLOW', 'O_CLOEXEC', 'O_DIRECTORY', 'O_NONBLOCK', 'geteuid', 'fchmod', 'pwrite'):\n"
            "    delattr(os, name)\n"
            "from wsgi_sessions.stores.file import FileStore\n"
            "try:\n"
            "    FileStore('x')\n"
            "except RuntimeError as error:\n"
            "    print(error)\n"
        )
        output = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env=ENVIRONMENT, check=True
        ).stdout
        assert "POSIX" in output

    def test_a_relative_directory_stays_where_it_was_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        store = FileStore("sessions/")
        monkeypatch.chdir("/")
        store.create(RECORD)
        assert (tmp_path / "sessions").is_dir()
        assert repr(store) == f"FileStore('{tmp_path}/sessions')"


class TestFiles:
    def test_the_path_is_the_hash_in_a_shard(self, store: FileStore, directory: Path) -> None:
        """F-17, F-18: the name of a file tells nothing, and has one shape."""
        store.create(RECORD)
        assert files_in(directory) == {path_of(directory, "an-id")}

    @pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
    def test_modes_do_not_depend_on_the_umask(self, directory: Path, umask: int) -> None:
        """F-14: in a child, because the umask belongs to the whole process."""
        program = (
            "import os, sys\n"
            "from wsgi_sessions.stores.file import FileStore\n"
            "from wsgi_sessions.record import Record\n"
            "os.umask(int(sys.argv[2]))\n"
            "sys.addaudithook(lambda event, arguments: event == 'os.umask' and os._exit(3))\n"
            f"FileStore(sys.argv[1]).create(Record('an-id', b'', {FAR}))\n"
        )
        subprocess.run([sys.executable, "-c", program, str(directory), str(umask)], env=ENVIRONMENT, check=True)
        path = path_of(directory, "an-id")
        assert [stat.S_IMODE(p.stat().st_mode) for p in (directory, path.parent, path)] == [0o700, 0o700, 0o600]

    def test_our_source_never_calls_umask(self) -> None:
        """F-14: it would open a window for every other thread."""
        sources = Path(file.__file__).parent.glob("*file*.py")
        assert [path.name for path in sources if ".umask(" in path.read_text()] == []

    def test_the_target_is_never_opened_for_writing_by_a_save(
        self, store: FileStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """F-01, F-02: content goes to a new name, exclusively, and is moved as a whole."""
        store.create(RECORD)
        opened: list[tuple[str, int]] = []

        def note(name: str, *arguments: Any, **options: Any) -> None:
            if name == "open":
                opened.append(arguments[:2])

        replace_system(monkeypatch, note)
        store.save(store.save(RECORD))
        written = [(name, flags) for name, flags in opened if flags & (os.O_WRONLY | os.O_RDWR)]
        careful = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        assert len({name for name, _ in written}) == 2
        assert all(name.startswith(".wsgi_sessions-") and flags & careful == careful for name, flags in written)

    @pytest.mark.parametrize(
        ("durability", "expected"),
        [
            ("process", {"create": [], "save": [], "touch": [], "delete": []}),
            (
                "power",
                {
                    "create": ["fsync file", "link", "unlink", "fsync folder", "fsync folder"],
                    "save": ["fsync file", "replace", "fsync folder"],
                    "touch": [],
                    "delete": ["unlink", "fsync folder"],
                },
            ),
        ],
    )
    def test_what_is_flushed_when(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch, durability: Any, expected: dict[str, list[str]]
    ) -> None:
        """F-03, F-13: power: the file before it gets its name, the folder after each change of a name."""
        store = FileStore(directory, durability=durability)
        store.create(Record("another", b"", FAR))
        events: list[str] = []

        def note(name: str, *arguments: Any, **options: Any) -> None:
            if name == "fsync":
                is_folder = stat.S_ISDIR(os.fstat(arguments[0]).st_mode)
                events.append(f"fsync {'folder' if is_folder else 'file'}")
            elif name in ("link", "replace", "unlink") and durability == "power":
                events.append(name)

        replace_system(monkeypatch, note)
        seen = {}
        for name, operation in {
            "create": lambda: store.create(RECORD),
            "save": lambda: store.save(RECORD),
            "touch": lambda: store.touch("an-id", 2, FAR + 1),
            "delete": lambda: store.delete("an-id"),
        }.items():
            operation()
            seen[name] = events[:]
            events.clear()
        assert seen == expected

    def test_times_of_the_file_mean_nothing(self, store: FileStore, directory: Path) -> None:
        """F-21: a restored backup neither ends nor prolongs a session."""
        store.create(RECORD)
        store.create(Record("short", b"", clock.now() + HOUR))
        for id, moment in (("an-id", 0), ("short", 4_000_000_000)):
            os.utime(path_of(directory, id), (moment, moment))
        assert store.delete_expired() == []
        assert {record.id for record in store.scan()} == {"an-id", "short"}

    def test_the_size_does_not_change_with_a_touch(self, store: FileStore, directory: Path) -> None:
        store.create(RECORD)
        before = path_of(directory, "an-id").read_bytes()
        assert store.touch("an-id", 1, FAR + 5)
        after = path_of(directory, "an-id").read_bytes()
        assert (before[:12], before[24:]) == (after[:12], after[24:])
        assert store.load("an-id") == msgspec.structs.replace(RECORD, expires=FAR + 5)

    @pytest.mark.parametrize("owner", [None, "", "ann", "\U0001f600" * 255, "\udc80"])
    def test_owners_come_back(self, store: FileStore, owner: str | None) -> None:
        record = Record("x" * 128, b"\0" * 70_000, FAR, 2**63, owner)
        store.create(record)
        assert store.load(record.id) == record
        assert list(store.scan()) == [record]
        if owner is not None:
            assert store.find_by_owner(owner) == [record]

    @pytest.mark.parametrize("record", [Record("", b"", FAR), Record("x" * 129, b"", FAR), Record("é", b"", FAR)])
    def test_an_id_that_no_record_may_have_is_refused(self, store: FileStore, record: Record) -> None:
        with pytest.raises(ValueError):
            store.create(record)

    def test_an_owner_that_is_too_long_is_refused(self, store: FileStore) -> None:
        with pytest.raises(ValueError, match="255"):
            store.create(Record("an-id", b"", FAR, 1, "x" * 256))

    @pytest.mark.parametrize(
        "id", ["../../etc/passwd", "a/b", ".", "..", "", "\0", "%2e%2e", "x" * 5000, "\udc80", "/etc/passwd"]
    )
    def test_no_id_is_a_path(self, store: FileStore, directory: Path, id: str) -> None:
        """F-17, T-06: Tomcat CVE-2020-9484 and Beaker issues 248 and 250."""
        store.create(RECORD)
        assert store.load(id) is None
        store.delete(id)
        with pytest.raises(RecordNotFound):
            store.touch(id, 1, FAR)
        assert files_in(directory) == {path_of(directory, "an-id")}

    def test_a_payload_over_the_limit_leaves_the_stored_one(self, directory: Path) -> None:
        """T-46."""
        store = FileStore(directory, max_payload=10)
        store.create(RECORD)
        with pytest.raises(SessionTooLarge):
            store.save(msgspec.structs.replace(RECORD, payload=b"x" * 11))
        with pytest.raises(SessionTooLarge):
            store.create(Record("another", b"x" * 11, FAR))
        assert store.load("an-id") == RECORD
        assert files_in(directory) == {path_of(directory, "an-id")}


class TestDirectory:
    def test_a_symbolic_link_is_refused(self, tmp_path: Path) -> None:
        """F-15; a slash at the end must not lead through it."""
        (tmp_path / "real").mkdir(0o700)
        (tmp_path / "link").symlink_to(tmp_path / "real")
        for name in ("link", "link/"):
            with pytest.raises(StoreError, match=r"link \(mode l.*symbolic link"):
                FileStore(f"{tmp_path}/{name}").create(RECORD)
        assert list((tmp_path / "real").iterdir()) == []

    def test_a_file_is_refused(self, directory: Path) -> None:
        """F-15."""
        directory.write_text("")
        with pytest.raises(StoreError, match=r"\(mode -.*not a directory"):
            FileStore(directory).load("an-id")

    @pytest.mark.parametrize("mode", [0o720, 0o702, 0o777, 0o1777])
    def test_one_that_others_can_write_to_is_refused(self, directory: Path, mode: int) -> None:
        """F-15."""
        directory.mkdir()
        directory.chmod(mode)
        with pytest.raises(StoreError, match=r"sessions \(mode d.*chmod go-w"):
            FileStore(directory).load("an-id")
        directory.chmod(0o755)
        assert FileStore(directory).load("an-id") is None

    def test_one_that_is_opened_to_others_later_is_refused(self, store: FileStore, directory: Path) -> None:
        """F-15."""
        store.create(RECORD)
        directory.chmod(0o777)
        with pytest.raises(StoreError, match="chmod go-w"):
            store.save(RECORD)

    def test_one_of_another_user_is_refused(self, directory: Path) -> None:
        """F-15."""
        if os.geteuid() == 0:
            directory.mkdir(0o700)
            os.chown(directory, 65534, -1)
        foreign = directory if os.geteuid() == 0 else Path("/usr")
        with pytest.raises(StoreError, match=rf"{foreign} \(mode d.*belongs to user"):
            FileStore(foreign).load("an-id")

    @pytest.mark.parametrize("kind", ["link", "file", "writable"])
    def test_a_shard_is_held_to_the_same(self, store: FileStore, directory: Path, tmp_path: Path, kind: str) -> None:
        """F-15, F-16: O_NOFOLLOW looks only at the last part of a path."""
        directory.mkdir(0o700)
        shard = path_of(directory, "an-id").parent
        (tmp_path / "elsewhere").mkdir()
        if kind == "link":
            shard.symlink_to(tmp_path / "elsewhere")
        elif kind == "file":
            shard.write_text("")
        else:
            shard.mkdir()
            shard.chmod(0o777)
        for operation in (lambda: store.load("an-id"), lambda: store.create(RECORD), lambda: list(store.scan())):
            with pytest.raises(StoreError, match="mode"):
                operation()
        assert list((tmp_path / "elsewhere").iterdir()) == []

    def test_a_missing_parent_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match=r"No such file.*nowhere/sessions"):
            FileStore(tmp_path / "nowhere" / "sessions").load("an-id")

    def test_it_recovers_when_everything_was_removed_under_it(self, store: FileStore, directory: Path) -> None:
        store.create(RECORD)
        for path in (path_of(directory, "an-id"), path_of(directory, "an-id").parent, directory):
            path.unlink() if path.is_file() else path.rmdir()
        other = FileStore(directory)
        other.create(msgspec.structs.replace(RECORD, payload=b"new"))
        found = store.load("an-id")
        assert found is not None
        assert found.payload == b"new"
        store.save(found)

    def test_it_can_be_used_after_close(self, store: FileStore) -> None:
        descriptors = open_descriptors()
        store.create(RECORD)
        store.close()
        assert open_descriptors() == descriptors
        assert store.load("an-id") == RECORD

    def test_closing_while_others_work_disturbs_nobody(self, store: FileStore) -> None:
        """A descriptor closed under a thread could be reused for something else."""
        store.create(RECORD)
        wrong: list[object] = []

        def read() -> None:
            for _ in range(300):
                try:
                    if store.load("an-id") != RECORD:
                        wrong.append("not the record")
                except Exception as error:
                    wrong.append(error)

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            store.close()
            time.sleep(0)
        assert wrong == []


class TestCorruptFiles:
    def assert_is_no_record(self, store: FileStore, caplog: pytest.LogCaptureFixture) -> None:
        caplog.clear()
        assert store.load("an-id") is None
        assert [(entry.name, entry.levelno) for entry in caplog.records] == [
            ("wsgi_sessions.security", logging.WARNING)
        ]
        assert caplog.messages[0].startswith("corrupt record 'an-id': ")
        assert "payload" not in caplog.text
        with pytest.raises(RecordNotFound):
            store.save(RECORD)
        with pytest.raises(RecordNotFound):
            store.touch("an-id", 1, FAR)
        with pytest.raises(RecordExists):
            store.create(RECORD)

    def test_any_flipped_bit(self, store: FileStore, directory: Path, caplog: pytest.LogCaptureFixture) -> None:
        """T-43, F-05: also in the expiry and in the checksums themselves."""
        store.create(RECORD)
        path = path_of(directory, "an-id")
        whole = path.read_bytes()
        for bit in range(8 * len(whole)):
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            assert store.load("an-id") is None, f"bit {bit}"
        assert len(caplog.records) == 8 * len(whole)
        path.write_bytes(whole)
        assert store.load("an-id") == RECORD

    def test_every_prefix(self, store: FileStore, directory: Path) -> None:
        """F-05, T-43: what a file system may leave after the power failed."""
        store.create(RECORD)
        path = path_of(directory, "an-id")
        whole = path.read_bytes()
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            assert store.load("an-id") is None, f"{length} bytes"
            path.write_bytes(whole[:length] + bytes(len(whole) - length))
            assert store.load("an-id") is None, f"{length} bytes and zeros"

    @pytest.mark.parametrize(
        "content", [b"", b"5", b"[]", b'{"v":999}', bytes(500), b"\x80\x04." * 100, b"\xff" * 5000, b"WSGIse" * 40]
    )
    def test_anything_else(
        self, store: FileStore, directory: Path, caplog: pytest.LogCaptureFixture, content: bytes
    ) -> None:
        """T-42, T-43."""
        store.create(RECORD)
        path_of(directory, "an-id").write_bytes(content)
        self.assert_is_no_record(store, caplog)

    def test_the_file_of_another_record(
        self, store: FileStore, directory: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """T-43: nobody is given another user's session by a moved file."""
        store.create(RECORD)
        store.create(Record("another", b"secrets of another", FAR, 1, "bob"))
        path_of(directory, "another").replace(path_of(directory, "an-id"))
        self.assert_is_no_record(store, caplog)
        assert store.find_by_owner("bob") == list(store.scan()) == []

    def test_well_formed_files_that_we_would_not_write(self, store: FileStore, directory: Path) -> None:
        """T-43: with right checksums, but wrong lengths, ids and owners."""
        store.create(RECORD)
        path = path_of(directory, "an-id")
        for lengths, tail in [
            ((7, 0, 9), b"an-idpayload"),
            ((2, 5, 5), b"an-id\xff\xff\xff\xff"),
            ((0, 0, 5), b"\xff" * 5),
        ]:
            body = _file_format._BODY.pack(1, *lengths) + tail
            path.write_bytes(_file_format._head(_file_format.crc32(body), FAR) + body)
            assert store.load("an-id") is None
            assert list(store.scan()) == []

    @pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "hard link", "directory", "sparse", "socket"])
    def test_what_is_not_a_file_of_ours(
        self, store: FileStore, directory: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
    ) -> None:
        """F-16: never read through, never hang, never read much; the target stays as it was."""
        store.create(RECORD)
        path = path_of(directory, "an-id")
        target = tmp_path / "target"
        path.rename(target)
        before = target.read_bytes()
        if kind == "link":
            path.symlink_to(target)
        elif kind == "dangling":
            path.symlink_to(tmp_path / "nothing")
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "hard link":
            path.hardlink_to(target)
        elif kind == "directory":
            path.mkdir()
        elif kind == "socket":
            os.mknod(path, stat.S_IFSOCK | 0o600)
        else:
            path.touch()
            os.truncate(path, 1 << 30)
        started = time.monotonic()
        self.assert_is_no_record(store, caplog)
        assert time.monotonic() - started < 1
        store.delete("an-id")
        assert target.read_bytes() == before
        assert path.exists() == (kind == "directory")

    @needs_root
    def test_a_file_of_another_user(self, store: FileStore, directory: Path, caplog: pytest.LogCaptureFixture) -> None:
        """F-16."""
        store.create(RECORD)
        os.chown(path_of(directory, "an-id"), 65534, 65534)
        self.assert_is_no_record(store, caplog)

    def test_one_with_two_names_for_a_moment_is_read_when_it_has_one(
        self, store: FileStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """F-16: a reader that comes between the link and the unlink of a create waits for it."""
        found: list[Record | None] = []
        reader = threading.Thread(target=lambda: found.append(FileStore(store.directory).load("an-id")))

        def read_in_between(name: str, *arguments: Any, **options: Any) -> None:
            if name == "unlink" and not reader.ident:
                reader.start()
                reader.join(0.1)
                assert reader.is_alive()

        replace_system(monkeypatch, read_in_between)
        store.create(RECORD)
        reader.join()
        assert found == [RECORD]
        assert caplog.records == []

    def test_an_old_one_is_removed_by_the_sweep(
        self, store: FileStore, directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """T-43: an hour after its last change."""
        store.create(RECORD)
        path_of(directory, "an-id").write_bytes(b"rubbish")
        assert store.delete_expired() == []
        assert path_of(directory, "an-id").exists()
        assert caplog.records == []
        later = clock.now() + HOUR + 10_000
        monkeypatch.setattr(clock, "now", lambda: later)
        assert store.delete_expired() == []
        assert not path_of(directory, "an-id").exists()
        assert "removed the corrupt file" in caplog.text

    def test_an_expired_one_with_a_damaged_payload_is_removed_but_not_returned(
        self, store: FileStore, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.create(Record("an-id", b"payload", clock.now() + HOUR))
        path = path_of(directory, "an-id")
        path.write_bytes(path.read_bytes()[:-1] + b"!")
        later = clock.now() + 3 * HOUR
        monkeypatch.setattr(clock, "now", lambda: later)
        assert store.delete_expired() == []
        assert not path.exists()

    def test_a_newer_format_is_no_record_and_is_left_alone(
        self, store: FileStore, directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """T-43: during a rolling deployment the new version still needs it."""
        store.create(RECORD)
        path = path_of(directory, "an-id")
        monkeypatch.setattr(_file_format, "_FORMAT", 2)
        newer = _file_format.pack(RECORD) + b"what a newer version adds"
        monkeypatch.undo()
        path.write_bytes(newer)
        self.assert_is_no_record(store, caplog)
        later = FAR + 1000 * HOUR
        monkeypatch.setattr(clock, "now", lambda: later)
        assert store.delete_expired() == []
        assert path.read_bytes() == newer

    def test_a_format_that_never_was_is_corrupt(
        self, store: FileStore, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.create(RECORD)
        monkeypatch.setattr(_file_format, "_FORMAT", 0)
        content = _file_format.pack(RECORD)
        monkeypatch.undo()
        path_of(directory, "an-id").write_bytes(content)
        assert store.load("an-id") is None


class TestSweep:
    def test_leftovers_are_removed_when_old_and_only_ours(self, store: FileStore, directory: Path) -> None:
        """F-06, F-22."""
        store.create(RECORD)
        shard = path_of(directory, "an-id").parent
        old = time.time() - 2 * 60 * 60
        names = [".wsgi_sessions-old", "notes.txt", ".nfs0001", "ab" * 31, "../README"]
        for name in names:
            (shard / name).write_text("")
            os.utime(shard / name, (old, old))
        (shard / ".wsgi_sessions-new").write_text("")
        (shard / ".wsgi_sessions-folder").mkdir()
        os.utime(shard / ".wsgi_sessions-folder", (old, old))
        (directory / "zz").mkdir()
        assert store.delete_expired() == []
        left = {path.name for path in shard.iterdir()} - {path_of(directory, "an-id").name}
        assert left == {"notes.txt", ".nfs0001", "ab" * 31, ".wsgi_sessions-new", ".wsgi_sessions-folder"}
        assert (directory / "README").exists()

    def test_planted_links_are_removed_but_not_followed(
        self, store: FileStore, directory: Path, tmp_path: Path
    ) -> None:
        """F-06, F-16."""
        store.create(RECORD)
        target = tmp_path / "target"
        target.write_text("precious")
        shard = path_of(directory, "an-id").parent
        links = [shard / ".wsgi_sessions-link", shard / ("0" * 64)]
        for link in links:
            link.symlink_to(target)
            os.utime(link, (0, 0), follow_symlinks=False)
        assert store.delete_expired() == []
        assert [link.is_symlink() for link in links] == [False, False]
        assert target.read_text() == "precious"

    def test_a_record_renewed_after_the_check_survives(self, store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """F-12: it is checked again once nobody else can change it."""
        soon = clock.now() + 1000
        store.create(Record("an-id", b"", soon))
        other = FileStore(store.directory)
        renewed: list[bool] = []

        class Renewing:
            def __getattr__(self, name: str) -> Any:
                return getattr(fcntl, name)

            def flock(self, descriptor: int, operation: int) -> None:
                # The sweep has seen an expired record and is about to take the lock: the clock had not reached it.
                if not renewed:
                    renewed.append(True)
                    monkeypatch.setattr(clock, "now", lambda: soon - 1)
                    assert other.touch("an-id", 1, FAR)
                    monkeypatch.setattr(clock, "now", lambda: soon + 1)
                fcntl.flock(descriptor, operation)

        monkeypatch.setattr(clock, "now", lambda: soon + 1)
        monkeypatch.setattr(_file_lock, "fcntl", Renewing())
        assert store.delete_expired() == []
        assert renewed == [True]
        assert store.load("an-id") is not None

    def test_batches_are_bounded_and_go_on_where_the_last_stopped(
        self, store: FileStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """F-22, T-58: one batch opens few of the shards that the batches before it have done."""
        for number in range(100):
            store.create(Record(f"id-{number}", b"", clock.now() + HOUR))
        store.create(RECORD)
        opened: list[str] = []

        def note(name: str, *arguments: Any, **options: Any) -> None:
            if name == "open" and len(arguments[0]) == 2:
                opened.append(arguments[0])

        replace_system(monkeypatch, note)
        later = clock.now() + 2 * HOUR
        monkeypatch.setattr(clock, "now", lambda: later)
        sizes = []
        removed: set[str] = set()
        while batch := store.delete_expired(limit=9):
            sizes.append(len(batch))
            removed.update(record.id for record in batch)
        assert sizes == [9] * 11 + [1]
        assert removed == {f"id-{number}" for number in range(100)}
        # One round for the records, one that fills the last batch, one that finds nothing; a shard twice per batch.
        assert len(opened) <= 3 * 256 + len(sizes)
        assert store.delete_expired(limit=0) == []

    def test_it_reads_heads_only(self, store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """F-22: the payloads of live records are not looked at."""
        for number in range(20):
            store.create(Record(f"id-{number}", bytes(100_000), FAR, 1, "ann" if number < 2 else "bob"))
        read: list[int] = []

        def note(name: str, *arguments: Any, **options: Any) -> None:
            if name == "read":
                read.append(arguments[1])

        replace_system(monkeypatch, note)
        store.delete_expired()
        assert max(read) < 4096
        read.clear()
        assert len(store.find_by_owner("ann")) == 2
        assert sum(length > 4096 for length in read) == 2

    def test_its_memory_does_not_grow_with_the_directory(self, store: FileStore, directory: Path) -> None:
        """F-22."""
        store.create(RECORD)
        shard = path_of(directory, "an-id").parent
        for number in range(5_000):
            os.close(os.open(shard / f"{number:0200}", os.O_CREAT | os.O_WRONLY))
        tracemalloc.start()
        try:
            store.delete_expired()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 300_000

    @pytest.mark.parametrize("call", ["open", "stat", "unlink"])
    def test_files_that_vanish_are_no_error(
        self, store: FileStore, directory: Path, monkeypatch: pytest.MonkeyPatch, call: str
    ) -> None:
        """F-22: another process may remove them at any moment."""
        for number in range(5):
            store.create(Record(f"id-{number}", b"", clock.now() + HOUR))
            leftover = path_of(directory, f"id-{number}").parent / ".wsgi_sessions-x"
            leftover.touch()
            os.utime(leftover, (0, 0))

        def remove_first(name: str, *arguments: Any, **options: Any) -> None:
            if name == call and len(str(arguments[0])) > 2 and options.get("dir_fd") is not None:
                with suppress(FileNotFoundError):
                    os.unlink(arguments[0], dir_fd=options["dir_fd"])

        replace_system(monkeypatch, remove_first)
        later = clock.now() + 2 * HOUR
        monkeypatch.setattr(clock, "now", lambda: later)
        store.delete_expired()
        assert list(store.scan()) == []

    def test_what_was_removed_is_returned_though_the_rest_failed(
        self, store: FileStore, directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """T-51: a shard that fails stops neither the others nor the report of what is gone."""
        ids = [f"id-{number}" for number in range(50)]
        for id in ids:
            store.create(Record(id, b"", clock.now() + HOUR))
        bad = sorted(path_of(directory, id).parent.name for id in ids)[20]
        (directory / bad).chmod(0o777)
        later = clock.now() + 2 * HOUR
        monkeypatch.setattr(clock, "now", lambda: later)
        removed = {record.id for record in store.delete_expired()}
        assert removed == {id for id in ids if path_of(directory, id).parent.name != bad}
        assert "chmod go-w" in caplog.text
        with pytest.raises(StoreError, match="chmod go-w"):
            store.delete_expired()

    def test_a_walk_that_is_given_up_leaves_nothing_open(self, store: FileStore, directory: Path) -> None:
        """F-10: nor does it hold a lock while the caller works."""
        store.create(RECORD)
        descriptors = open_descriptors()
        walk = store.scan()
        assert next(walk) == RECORD
        assert not is_locked(path_of(directory, "an-id").parent)
        del walk
        assert open_descriptors() == descriptors


class TestLocks:
    def test_none_is_held_between_calls(self, store: FileStore, directory: Path) -> None:
        """F-11: the application runs without one; F-09: locks need no files of their own."""
        shard = path_of(directory, "an-id").parent
        store.create(RECORD)
        for operation in (
            lambda: store.load("an-id"),
            lambda: store.save(RECORD),
            lambda: store.touch("an-id", 2, FAR),
            lambda: store.touch("an-id", 1, FAR),
            store.delete_expired,
        ):
            operation()
            assert not is_locked(shard)
        assert files_in(directory) == {path_of(directory, "an-id")}
        with pytest.raises(VersionConflict):
            store.save(RECORD)
        store.delete("an-id")
        with pytest.raises(RecordNotFound):
            store.save(RECORD)
        assert not is_locked(shard)
        assert files_in(directory) == set()

    @pytest.mark.parametrize("holder", ["process", "thread"])
    def test_waiting_is_bounded(self, directory: Path, holder: str) -> None:
        """F-10."""
        store = FileStore(directory, lock_timeout=timedelta(seconds=0.1))
        store.create(RECORD)
        shard = _file_folder.open_folder(str(path_of(directory, "an-id").parent))
        descriptor = os.open(shard.path, os.O_RDONLY)
        lock = store._locks._locks[path_of(directory, "an-id").parent.name]
        if holder == "process":
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        else:
            lock.acquire()
        try:
            for operation in (
                lambda: store.save(RECORD),
                lambda: store.touch("an-id", 1, FAR),
                lambda: store.delete("an-id"),
                lambda: store.create(Record("another-id-here", b"", FAR)) or store.delete("an-id"),
            ):
                started = time.monotonic()
                with pytest.raises(StoreError, match=r"held by others for 0\.1 seconds"):
                    operation()
                assert 0.05 < time.monotonic() - started < 1
            assert store.load("an-id") == RECORD
        finally:
            os.close(descriptor)
            if holder == "thread":
                lock.release()
        assert [path.name for path in path_of(directory, "an-id").parent.iterdir()] == [
            path_of(directory, "an-id").name
        ]
        store.save(RECORD)

    def test_the_longest_timeout_is_taken(self, directory: Path) -> None:
        FileStore(directory, lock_timeout=timedelta.max).create(RECORD)

    def test_threads_lose_no_update(self, store: FileStore) -> None:
        """F-09: with compare and swap, over two stores of one process."""
        store.create(Record("an-id", b"0", FAR))
        stores = [store, FileStore(store.directory)]

        def count(store: FileStore) -> None:
            done = 0
            while done < 25:
                record = store.load("an-id")
                assert record is not None
                try:
                    store.save(msgspec.structs.replace(record, payload=b"%d" % (int(record.payload) + 1)))
                except VersionConflict:
                    continue
                done += 1

        threads = [threading.Thread(target=count, args=(stores[number % 2],)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = store.load("an-id")
        assert found is not None
        assert (found.payload, found.version) == (b"100", 101)


# These have the same shard, the first of all.
FIRST = Record("id-487", b"payload", FAR, 1, "ann")
NEW_ID = "id-840"


OPERATIONS: dict[str, Callable[[FileStore], object]] = {
    "create": lambda store: store.create(Record(NEW_ID, b"new", FAR)),
    "load": lambda store: store.load(FIRST.id),
    "save": lambda store: store.save(msgspec.structs.replace(FIRST, payload=b"saved")),
    "touch": lambda store: store.touch(FIRST.id, 1, FAR + 1),
    "delete": lambda store: store.delete(FIRST.id),
    "delete_expired": lambda store: store.delete_expired(),
    "scan": lambda store: list(store.scan()),
    "find_by_owner": lambda store: store.find_by_owner("ann"),
}
OLD_OR_NEW: dict[str, tuple[object, ...]] = {
    "save": (FIRST, Record(FIRST.id, b"saved", FAR, 2, "ann")),
    "touch": (FIRST, msgspec.structs.replace(FIRST, expires=FAR + 1)),
    "delete": (FIRST, None),
}


class TestFailingSystem:
    @pytest.mark.parametrize("durability", ["process", "power"])
    @pytest.mark.parametrize("is_persistent", [False, True])
    @pytest.mark.parametrize("operation", list(OPERATIONS))
    def test_the_nth_call_fails(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        operation: str,
        is_persistent: bool,
        durability: Any,
    ) -> None:
        """T-50, T-51, F-19: a StoreError, never an OSError; old or new; no descriptor, file or lock left."""
        codes = [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE, errno.EDQUOT, errno.EINTR, errno.ESTALE]
        number = 0
        # What earlier tests left to the collector must not be closed while this one counts descriptors.
        gc.collect()
        while True:
            number += 1
            directory = tmp_path / str(number)
            store = FileStore(directory, durability=durability)
            descriptors = open_descriptors()
            store.create(FIRST)
            store.create(Record("id-637", b"", clock.now() + 1))
            before = files_in(directory)
            if operation == "create":
                store.close()
            faults = Faults(number, codes[number % len(codes)], is_persistent=is_persistent)
            with monkeypatch.context() as patches:
                later = clock.now() + HOUR
                # One shard that exists and one that does not, or the walks take minutes.
                patches.setattr(file, "_SHARDS", 2)
                patches.setattr(clock, "now", lambda moment=later: moment)
                replace_system(patches, faults)
                cause = self.cause_of_failure(lambda store=store: OPERATIONS[operation](store))
            if faults.have_happened:
                # A sweep that has removed something reports that instead, and logs the failure.
                assert cause == faults.code or (operation == "delete_expired" and cause is None and caplog.records)
            caplog.clear()
            self.assert_is_whole(store, operation, before, is_persistent)
            store.close()
            assert open_descriptors() == descriptors, faults.failed
            if not faults.have_happened:
                break
        assert number > 5

    def cause_of_failure(self, operation: Callable[[], object]) -> int | None:
        try:
            operation()
        except StoreError as error:
            return error.__cause__.errno if isinstance(error.__cause__, OSError) else -1
        return None

    def assert_is_whole(self, store: FileStore, operation: str, before: set[Path], is_persistent: bool) -> None:
        directory = Path(store.directory)
        assert store.load(FIRST.id) in OLD_OR_NEW.get(operation, (FIRST,))
        if not is_persistent:
            left = files_in(directory) - before
            assert left <= {path_of(directory, NEW_ID)}
        assert not any(is_locked(shard) for shard in directory.iterdir())
        # It works again at once, without a restart.
        store.create(Record("again", b"", FAR))
        store.delete("again")

    @pytest.mark.parametrize("code", [errno.ENOLCK, errno.EBADF, errno.EIO])
    def test_flock_fails(self, store: FileStore, directory: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
        """T-51: such as on a network file system."""
        store.create(FIRST)

        class Failing:
            def __getattr__(self, name: str) -> Any:
                return getattr(fcntl, name)

            def flock(self, descriptor: int, operation: int) -> None:
                raise OSError(code, os.strerror(code))

        with monkeypatch.context() as patches:
            patches.setattr(_file_lock, "fcntl", Failing())
            for operation in (lambda: store.save(FIRST), lambda: store.create(Record("x", b"", FAR))):
                with pytest.raises(StoreError):
                    operation()
        assert files_in(directory) == {path_of(directory, FIRST.id)}
        store.save(FIRST)

    @pytest.mark.parametrize("operation", ["create", "save", "touch"])
    def test_writes_that_come_short(self, store: FileStore, monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
        """F-20: one byte at a time, in both directions."""
        store.create(FIRST)

        def one_byte(name: str, *arguments: Any, **options: Any) -> Callable[..., Any] | None:
            if name == "pwrite":
                return lambda descriptor, data, offset: os.pwrite(descriptor, data[:1], offset)
            if name == "read":
                return lambda descriptor, length: os.read(descriptor, 1)
            return None

        replace_system(monkeypatch, one_byte)
        OPERATIONS[operation](store)
        id = NEW_ID if operation == "create" else FIRST.id
        expected = {"create": Record(NEW_ID, b"new", FAR)} | {name: states[1] for name, states in OLD_OR_NEW.items()}
        assert store.load(id) == expected[operation]
        assert {record.id for record in store.scan()} == {FIRST.id, id}

    def test_a_write_of_nothing_does_not_go_on_forever(
        self, store: FileStore, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """F-20."""
        replace_system(monkeypatch, lambda name, *_, **__: (lambda *_: 0) if name == "pwrite" else None)
        with pytest.raises(StoreError, match="nothing was written"):
            store.create(FIRST)
        assert files_in(directory) == set()

    def test_a_file_that_ends_early_is_corrupt(self, store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
        store.create(FIRST)
        replace_system(monkeypatch, lambda name, *_, **__: (lambda *_: b"") if name == "read" else None)
        assert store.load(FIRST.id) is None

    def test_an_interrupted_write_leaves_no_file(
        self, store: FileStore, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """F-10: a server that ends its worker raises something that is no Exception."""
        store.create(FIRST)

        def interrupt(name: str, *arguments: Any, **options: Any) -> None:
            if name == "replace":
                raise SystemExit(1)

        with monkeypatch.context() as patches:
            replace_system(patches, interrupt)
            with pytest.raises(SystemExit):
                store.save(FIRST)
        assert files_in(directory) == {path_of(directory, FIRST.id)}
        store.save(FIRST)


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a file system in memory with options of ``mount``; skip where that is not allowed."""
    point = tmp_path / "mounted"
    point.mkdir()
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", f"mode=700,{options}", "tmpfs", str(point)]
        try:
            result = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("there is no mount command")
        if result.returncode:
            pytest.skip(f"cannot mount: {result.stderr.strip()}")
        mounted.append(point)
        return point

    yield mount
    for path in mounted:
        subprocess.run(["umount", "-l", str(path)], check=True)


@needs_root
class TestFullFileSystem:
    @pytest.mark.parametrize(("options", "payload"), [("size=64k", bytes(3000)), ("nr_inodes=50", b"x")])
    def test_it_is_full(self, mount: Callable[[str], Path], options: str, payload: bytes) -> None:
        """F-19, T-51: no room for bytes, or for names."""
        directory = mount(options)
        store = FileStore(directory)
        stored: list[Record] = []
        with suppress(StoreError):
            while True:
                record = Record(f"id-{len(stored)}", payload, FAR)
                store.create(record)
                stored.append(record)
        assert stored
        # What is left may be enough for a save, which needs less than a create.
        fillers: list[Path] = []
        with suppress(OSError):
            while True:
                fillers.append(directory / f"filler-{len(fillers)}")
                fillers[-1].write_bytes(payload)
        with pytest.raises(StoreError, match="No space left"):
            store.save(msgspec.structs.replace(stored[0], payload=payload * 2))
        with pytest.raises(StoreError, match="No space left"):
            store.create(record)
        assert [store.load(record.id) for record in stored] == stored
        assert files_in(directory) - set(fillers) == {path_of(directory, record.id) for record in stored}
        assert store.touch(stored[0].id, 1, FAR + 1)
        store.delete(stored[0].id)
        store.delete(stored[1].id)
        assert store.save(stored[2]).version == 2

    def test_it_becomes_read_only(self, mount: Callable[[str], Path]) -> None:
        """T-51: reads go on, writes say so, and all is well again without a restart."""
        directory = mount("size=1m")
        store = FileStore(directory)
        store.create(RECORD)
        subprocess.run(["mount", "-o", "remount,ro", str(directory)], check=True)
        for operation in (
            lambda: store.save(RECORD),
            lambda: store.touch("an-id", 1, FAR),
            lambda: store.delete("an-id"),
            lambda: store.create(Record("new", b"", FAR)),
        ):
            with pytest.raises(StoreError, match="Read-only"):
                operation()
        assert store.load("an-id") == RECORD
        subprocess.run(["mount", "-o", "remount,rw", str(directory)], check=True)
        store.save(RECORD)
