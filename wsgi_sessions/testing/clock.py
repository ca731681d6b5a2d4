"""A clock that a test moves, in place of the one that the package reads.

Not for tests in which threads or processes compete: a store that waits for a
lock waits no real time under it, and gives up at once.
"""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Any, Self

from .. import clock

_REPLACED = ("now", "monotonic", "sleep")
_NANOSECONDS_PER_MILLISECOND = 1_000_000


class ReplacedClock:
    """Stands in for :mod:`wsgi_sessions.clock` inside a ``with`` block.

    >>> from wsgi_sessions import clock
    >>> with ReplacedClock(start=1_000) as replaced:
    ...     replaced.advance(timedelta(seconds=2))
    ...     clock.now()
    3000

    Time stands still except when the test moves it or something sleeps: a sleep
    moves the clock by as much and returns at once. The real clock is back after
    the block, however it ends; blocks may be nested.

    :param start: Unix milliseconds; by default the real time, which suits stores
        whose backend has a clock of its own.
    """

    def __init__(self, start: int | None = None) -> None:
        self._wall = time.time_ns() if start is None else start * _NANOSECONDS_PER_MILLISECOND
        # The real value, so that a moment taken before the block is not in the future.
        self._monotonic = time.monotonic_ns()
        self._lock = threading.Lock()
        # What was there before; None outside of the block.
        self._before: dict[str, Any] | None = None

    def now(self) -> int:
        """Return the replaced wall clock as Unix time in milliseconds."""
        return self._wall // _NANOSECONDS_PER_MILLISECOND

    def monotonic(self) -> float:
        """Return seconds that never go back, whatever :meth:`set` does."""
        return self._monotonic / 1_000_000_000

    def sleep(self, seconds: float) -> None:
        """Let so many seconds pass without waiting for them."""
        self._pass(round(seconds * 1_000_000_000))
        # Others still get their turn, or a loop that waits for them would spin.
        time.sleep(0)

    def advance(self, by: timedelta) -> None:
        """Let time pass.

        :raises ValueError: if ``by`` is negative; :meth:`set` goes back.
        """
        if by < timedelta(0):
            raise ValueError("time passes forwards only; set() puts the wall clock back")
        self._pass(by // timedelta(microseconds=1) * 1_000)

    def set(self, moment: int) -> None:
        """Move to a moment; going back moves the wall clock only.

        :param moment: Unix milliseconds.
        """
        with self._lock:
            wall = moment * _NANOSECONDS_PER_MILLISECOND
            self._monotonic += max(0, wall - self._wall)
            self._wall = wall

    def _pass(self, nanoseconds: int) -> None:
        with self._lock:
            self._wall += nanoseconds
            self._monotonic += nanoseconds

    def __enter__(self) -> Self:
        if self._before is not None:
            raise RuntimeError("this clock is in use already; make a second one")
        self._before = {name: getattr(clock, name) for name in _REPLACED}
        for name in _REPLACED:
            setattr(clock, name, getattr(self, name))
        return self

    def __exit__(self, *exception: object) -> None:
        before, self._before = self._before, None
        for name, function in (before or {}).items():
            setattr(clock, name, function)
