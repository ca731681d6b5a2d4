"""A daemon thread that deletes expired records.

Not for a backend that drops them by itself, such as Redis; there it finds
nothing to do. Where threads do not run (uWSGI without ``enable-threads``), call
:meth:`Sweeper.sweep_once` from a scheduled job instead.
"""

from __future__ import annotations

import logging
import random
import threading
import traceback
from collections.abc import Callable
from datetime import timedelta
from typing import Self

from .exceptions import StoreError
from .notes import NOTES
from .record import Record, is_session
from .stores.base import SessionStore, renew_after_fork

_logger = logging.getLogger("wsgi_sessions")
# Processes that were started together shall not sweep together for ever.
_JITTER = 0.1
# Longer than a thread should hold up the end of a process.
_STOP_TIMEOUT = timedelta(seconds=5)


class Sweeper:
    """Removes expired records once per period, a batch at a time.

    Outside of a server: ``with Sweeper(store, timedelta(minutes=5)): ...``. In a
    server the middleware starts it with the first request of each process, so
    that it lives in the workers and not in the master that forks them.

    :param store: any number of processes may sweep the same one.
    :param every: the period; the first sweep comes after one.
    :param on_deleted: called in the thread with each batch of records that were
        removed. They are gone whatever it does; what it raises is logged.
    :param batch: how many records to remove in one step.
    :raises TypeError: if ``every`` is no timedelta.
    :raises ValueError: if ``every`` is not positive, or ``batch`` is less than 1.
    """

    def __init__(
        self,
        store: SessionStore,
        every: timedelta,
        *,
        on_deleted: Callable[[list[Record]], object] | None = None,
        batch: int = 500,
    ) -> None:
        if batch < 1:
            raise ValueError("batch must be at least 1")
        self._store = store
        self._seconds = _seconds(every)
        self._on_deleted = on_deleted
        self._batch = batch
        # None when it is not running in this process.
        self._thread: threading.Thread | None = None
        # Of the running thread alone; each one has its own, so that a stop is never undone by a start.
        self._stop = threading.Event()
        self._lock = threading.Lock()
        renew_after_fork(self)

    def start(self) -> None:
        """Start the thread, unless it runs in this process already."""
        if self._thread is not None:
            return
        with self._lock:
            # Another request may have come first.
            if self._thread is None:
                self._thread = self._started_thread()

    def stop(self, timeout: timedelta = _STOP_TIMEOUT) -> None:
        """End the thread after the batch it is at; it may be started again.

        :param timeout: how long to wait for that batch. The thread ends after it
            in any case, and does not keep the process from ending.
        """
        with self._lock:
            thread, self._thread = self._thread, None
            self._stop.set()
        # The callback may have had enough: no thread can wait for itself.
        if thread is None or thread is threading.current_thread():
            return
        thread.join(min(timeout.total_seconds(), threading.TIMEOUT_MAX))
        if thread.is_alive():
            _logger.warning("the sweeper is still at its last batch after %s", timeout)

    def sweep_once(self) -> int:
        """Remove everything that has expired, in the calling thread, and return how many records that were.

        :raises StoreError: if the store failed; the thread would log it and go on.
        """
        return self._sweep(threading.Event())

    def _started_thread(self) -> threading.Thread:
        self._stop = threading.Event()
        thread = threading.Thread(target=self._run, args=(self._stop,), name="wsgi_sessions sweeper", daemon=True)
        thread.start()
        return thread

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(self._pause()):
            try:
                self._sweep(stop)
            except Exception as error:
                _logger.error("cannot delete expired sessions, will try again: %s", _describe(error))

    def _pause(self) -> float:
        """Return the seconds until the next sweep."""
        seconds = self._seconds * random.uniform(1 - _JITTER, 1 + _JITTER)
        return min(seconds, threading.TIMEOUT_MAX)

    def _sweep(self, stop: threading.Event) -> int:
        count = 0
        while not stop.is_set():
            removed = self._store.delete_expired(self._batch)
            count += len(removed)
            if removed:
                self._announce(removed)
            if len(removed) < self._batch:
                break
        return count

    def _announce(self, removed: list[Record]) -> None:
        # Notes of other libraries' sessions are none of the application's, nor is what a move has left.
        removed = [record for record in removed if is_session(record) and not record.id.startswith(NOTES)]
        if self._on_deleted is None or not removed:
            return
        try:
            self._on_deleted(removed)
        except Exception as error:
            _logger.error("on_deleted failed for %d deleted sessions: %s", len(removed), _describe(error))

    def _after_fork(self) -> None:
        # Threads stay behind in the parent.
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


def _seconds(every: object) -> float:
    if not isinstance(every, timedelta):
        raise TypeError(f"every must be a timedelta, not {type(every).__name__}: write timedelta(minutes=5)")
    if every <= timedelta(0):
        raise ValueError("every must be longer than no time")
    return every.total_seconds()


def _describe(error: Exception) -> str:
    """Say what happened without the text of an unknown error, which may hold what a session holds."""
    if isinstance(error, StoreError):
        return f"{type(error).__name__}: {error}"
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {place.filename}, line {place.lineno}"
