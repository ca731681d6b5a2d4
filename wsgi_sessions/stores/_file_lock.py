"""The locks of a FileStore: one per shard, between threads and between processes.

Between processes it is ``flock`` on the shard's directory, which is never
removed by us. Should somebody else remove it, lock and records are gone
together, while a lock file beside the records could be replaced under its
holder. Every holder has a descriptor of its own; the kernel lets go of the lock
when the process dies.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .. import clock
from ..exceptions import StoreError
from ._file_folder import Folder
from .base import renew_after_fork

try:
    import fcntl
except ImportError:  # not POSIX
    fcntl = None  # type: ignore[assignment]  # the constructor looks for this

# Seconds between two attempts: from about what a save takes to a tenth of what a user notices.
_FIRST_PAUSE = 0.0005
_LONGEST_PAUSE = 0.01


class ShardLocks:
    """Exclusive locks, one per shard, with a bounded wait.

    :param timeout: seconds to wait for one.
    """

    def __init__(self, timeout: float) -> None:
        if fcntl is None:
            raise RuntimeError("FileStore needs flock, which only POSIX systems have: use SQLiteStore here")
        self._timeout = min(timeout, threading.TIMEOUT_MAX)
        # By the name of the shard, made when it is first needed.
        self._locks: dict[str, threading.Lock] = {}
        # The threads that hold or await a lock, by the descriptor they do it with.
        self._holders: dict[int, int] = {}
        renew_after_fork(self)

    @contextmanager
    def hold(self, shard: Folder) -> Iterator[None]:
        """Keep everybody else out of a shard, which was opened by this thread for itself.

        :raises StoreError: if the lock was not free in time.
        """
        deadline = clock.monotonic() + self._timeout
        # flock would keep threads apart as well; waiting in line is quicker than trying again and again.
        lock = self._locks.setdefault(shard.name, threading.Lock())
        if not lock.acquire(timeout=self._timeout):
            raise self._too_late(shard)
        descriptor = shard.descriptor
        try:
            self._holders[descriptor] = threading.get_ident()
            self._keep_processes_out(shard, deadline)
            try:
                yield
            finally:
                # Not left to close(): a child forked meanwhile may hold a copy of the descriptor.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            self._holders.pop(descriptor, None)
            lock.release()

    def _keep_processes_out(self, shard: Folder, deadline: float) -> None:
        pause = _FIRST_PAUSE
        while not _is_locked(shard.descriptor):
            left = deadline - clock.monotonic()
            if left <= 0:
                raise self._too_late(shard)
            clock.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _too_late(self, shard: Folder) -> StoreError:
        return StoreError(f"the lock of {shard.path} was held by others for {self._timeout:g} seconds")

    def _after_fork(self) -> None:
        self._locks = {}
        # A copy of a descriptor keeps its lock alive when the parent dies, and the thread
        # that would close it exists in the parent only.
        for descriptor, thread in list(self._holders.items()):
            if thread != threading.get_ident():
                os.close(descriptor)
        self._holders = {}


def _is_locked(descriptor: int) -> bool:
    """Try once to take the lock; True if it is ours now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
