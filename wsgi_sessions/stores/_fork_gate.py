"""A gate around what must not be going on in any thread when the process forks.

C libraries hold locks of their own (SQLite, OpenSSL while it connects), and a
child would find them held by threads that it does not have.
"""

from __future__ import annotations

import threading

from .base import pause_for_fork

# Seconds that a fork waits for what goes on, longer than any of it should take; after them it happens all the same.
_PATIENCE_SECONDS = 5.0


class ForkGate:
    """Any number of threads may be inside of its ``with`` blocks; a fork waits until none is, and lets none in."""

    def __init__(self) -> None:
        self._open()
        pause_for_fork(self)

    def __enter__(self) -> None:
        with self._changed:
            while self._forks:
                self._changed.wait()
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._changed:
            self._inside -= 1
            if self._forks:
                self._changed.notify_all()

    def _open(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._inside = 0
        # How many threads are about to fork: it is closed as long as one is.
        self._forks = 0

    def _before_fork(self) -> None:
        with self._changed:
            self._forks += 1
            self._changed.wait_for(lambda: not self._inside, _PATIENCE_SECONDS)

    def _after_fork_in_parent(self) -> None:
        with self._changed:
            self._forks -= 1
            self._changed.notify_all()

    def _after_fork_in_child(self) -> None:
        # Whoever was inside in spite of it is not in this process.
        self._open()
