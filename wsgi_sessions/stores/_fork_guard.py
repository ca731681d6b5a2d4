"""A lock around what must not be going on when the process forks."""

from __future__ import annotations

import threading

from .base import pause_for_fork


class ForkGuard:
    """A lock that a fork waits for, so that a child never finds it held, nor what it guards half done.

    :param timeout: seconds that a fork waits at most: after them it happens all the same.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._lock = threading.Lock()
        self._is_paused = False
        pause_for_fork(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    def _before_fork(self) -> None:
        self._is_paused = self._lock.acquire(timeout=self._timeout)

    def _after_fork_in_parent(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._lock.release()

    def _after_fork_in_child(self) -> None:
        self._is_paused = False
        self._lock = threading.Lock()
