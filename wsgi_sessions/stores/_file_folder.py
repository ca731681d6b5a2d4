"""Directories of a FileStore held open by descriptor, and the careful use of what is in them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Self

from ..exceptions import StoreError
from ..record import Record
from ._file_format import BEFORE_PAYLOAD, CorruptFile, Summary, file_name, summarize, unpack

# Missing on Windows, where this module is imported but never used.
_CAREFULLY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_OPEN_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _CAREFULLY
#: For a record's file. O_NONBLOCK: a FIFO put there must not keep us waiting for its writer.
READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _CAREFULLY
READ_AND_WRITE = os.O_RDWR | getattr(os, "O_NONBLOCK", 0) | _CAREFULLY
_WRITE_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CAREFULLY
#: How the names of temporary files begin.
TEMPORARY = ".wsgi_sessions-"


class Folder:
    """A directory that belongs to this user, is writable by nobody else, and is held open.

    It is closed at the latest when the last reference goes, so that a thread can
    finish with it after another one has closed the store: the number of a
    descriptor that was closed too early may soon belong to something else.

    :param descriptor: its open descriptor, which the folder owns from now on.
    :param name: within the parent, or its path if that is None.
    """

    def __init__(self, descriptor: int, name: str, parent: Folder | None) -> None:
        self.descriptor = descriptor
        self.name = name
        self._parent = parent
        self._user = os.geteuid()
        self._verified: set[str] = set()

    @property
    def path(self) -> str:
        """Where it was when it was opened, for messages."""
        return _path(self.name, self._parent)

    def verify(self, name: str) -> None:
        """Open and close a directory in this one, once, so that it may be part of a path.

        :raises FileNotFoundError: if it is missing.
        :raises StoreError: if it is a link, or open to others.
        """
        if name not in self._verified:
            open_folder(name, self).close()
            self._verified.add(name)

    def names(self) -> Generator[str, None, None]:
        """Yield the names in it, reading the directory bit by bit."""
        # A descriptor of its own: the position in a directory cannot be shared.
        descriptor = os.open(".", _OPEN_FOLDER, dir_fd=self.descriptor)
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    yield entry.name
        finally:
            os.close(descriptor)

    def open_record(self, path: str, flags: int, id: str, max_payload: int) -> tuple[Record, int]:
        """Open and read a record's file; the caller closes the descriptor.

        :raises FileNotFoundError: if there is none.
        :raises CorruptFile: if it is anything else but the file of this record, written by us.
        """
        descriptor, status = self._open_file(path, flags)
        try:
            # None, not one, for a file that was replaced after it was opened.
            if status.st_nlink > 1:
                raise CorruptFile("it has another name as well")
            size = status.st_size
            if size > max_payload + BEFORE_PAYLOAD:
                raise CorruptFile("it is too large")
            data = os.read(descriptor, size)
            record = unpack(data if len(data) == size else _read_rest(descriptor, size, data))
            if record.id != id:
                raise CorruptFile("it is the file of another record")
        except BaseException:
            os.close(descriptor)
            raise
        return record, descriptor

    def summary(self, name: str) -> Summary:
        """Read the beginning of a record's file, not its payload.

        :raises FileNotFoundError: if there is none.
        :raises CorruptFile: if it cannot be a file of ours.
        """
        descriptor, status = self._open_file(name, READ)
        try:
            summary = summarize(_read_rest(descriptor, min(status.st_size, BEFORE_PAYLOAD), b""))
        finally:
            os.close(descriptor)
        if summary.size != status.st_size:
            raise CorruptFile("it is too short or too long")
        if file_name(summary.id) != name:
            raise CorruptFile("it is the file of another record")
        return summary

    @contextmanager
    def temporary(self, data: bytes, *, is_synced: bool) -> Iterator[str]:
        """Write a file under a new name, which is gone again if the block fails.

        :param is_synced: on the disk before the block begins.
        """
        name = TEMPORARY + os.urandom(8).hex()
        try:
            descriptor = os.open(name, _WRITE_NEW, 0o600, dir_fd=self.descriptor)
            try:
                # A umask may have taken away our own permissions.
                os.fchmod(descriptor, 0o600)
                write_all(descriptor, data, 0)
                if is_synced:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
            yield name
        except BaseException:
            with suppress(OSError):
                os.unlink(name, dir_fd=self.descriptor)
            raise

    def link(self, temporary: str, name: str) -> None:
        """Give a file its name, which must be free: FileExistsError."""
        descriptor = self.descriptor
        os.link(temporary, name, src_dir_fd=descriptor, dst_dir_fd=descriptor, follow_symlinks=False)
        os.unlink(temporary, dir_fd=descriptor)

    def replace(self, temporary: str, name: str) -> None:
        """Put a file in the place of another."""
        os.replace(temporary, name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def _open_file(self, path: str, flags: int) -> tuple[int, os.stat_result]:
        """Open a regular file of this user's."""
        try:
            descriptor = os.open(path, flags, dir_fd=self.descriptor)
        except FileNotFoundError:
            raise
        except OSError:
            # ELOOP, ENXIO, EACCES, EMFILE...: what is there tells whose fault it is.
            self._refuse_foreign(os.stat(path, dir_fd=self.descriptor, follow_symlinks=False))
            raise
        try:
            status = os.fstat(descriptor)
            self._refuse_foreign(status)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor, status

    def _refuse_foreign(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise CorruptFile("it is not a regular file")
        if status.st_uid != self._user:
            raise CorruptFile("it belongs to another user")

    def close(self) -> None:
        """Close the descriptor; the folder cannot be used again."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def __del__(self) -> None:
        with suppress(OSError):
            self.close()


def open_folder(name: str, parent: Folder | None = None) -> Folder:
    """Open a directory.

    :raises FileNotFoundError: if there is none.
    :raises StoreError: if others could have put something into it.
    """
    dir_fd = parent.descriptor if parent else None
    try:
        folder = Folder(os.open(name, _OPEN_FOLDER, dir_fd=dir_fd), name, parent)
    except OSError as error:
        # Which of the two a symbolic link gives differs between systems.
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            refuse_hostile(_path(name, parent), os.stat(name, dir_fd=dir_fd, follow_symlinks=False))
        raise
    refuse_hostile(_path(name, parent), os.fstat(folder.descriptor))
    return folder


def make_folder(name: str, parent: Folder | None = None) -> Folder:
    """Open a directory, made if it is missing; see :func:`open_folder`."""
    try:
        return open_folder(name, parent)
    except FileNotFoundError:
        dir_fd = parent.descriptor if parent else None
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=dir_fd)
    try:
        folder = open_folder(name, parent)
    except PermissionError:
        # A umask can take away our own permissions, and with them the way over the descriptor.
        os.chmod(name, 0o700, dir_fd=dir_fd)
        folder = open_folder(name, parent)
    os.fchmod(folder.descriptor, 0o700)
    return folder


def refuse_hostile(path: str, status: os.stat_result) -> None:
    """Raise StoreError for a directory into which others can put, or have put, what they like."""
    if not _is_hostile(status):
        return
    found = f"{path} (mode {stat.filemode(status.st_mode)})"
    if stat.S_ISLNK(status.st_mode):
        raise StoreError(f"{found} is a symbolic link; give FileStore the directory itself")
    if not stat.S_ISDIR(status.st_mode):
        raise StoreError(f"{found} is not a directory; give FileStore a directory or a name that is free")
    user = os.geteuid()
    if status.st_uid != user:
        raise StoreError(f"{found} belongs to user {status.st_uid}, and this process runs as user {user}")
    raise StoreError(f"{found} can be written to by others; change it with: chmod go-w {path}")


def _is_hostile(status: os.stat_result) -> bool:
    return not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or bool(status.st_mode & 0o022)


def _path(name: str, parent: Folder | None) -> str:
    return os.path.join(parent.path, name) if parent else name


def sync_parent(path: str) -> None:
    """Make sure that a directory, which may be new, is in its parent after a power failure."""
    # In a parent that we may not read it was made by others.
    with suppress(PermissionError):
        descriptor = os.open(os.path.dirname(path), os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_all(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of the bytes at an offset."""
    written = os.pwrite(descriptor, data, offset)
    while written < len(data):
        count = os.pwrite(descriptor, data[written:], offset + written)
        if not count:
            raise OSError(errno.EIO, "nothing was written")
        written += count


def _read_rest(descriptor: int, length: int, data: bytes) -> bytes:
    """Read on until there are so many bytes, or the file ends."""
    while len(data) < length:
        more = os.read(descriptor, length - len(data))
        if not more:
            break
        data += more
    return data
