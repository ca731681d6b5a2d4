"""The only place that reads the time; tests replace these functions.

Call them through the module (``clock.now()``), never by a name imported from
it, or a replacement does not reach the caller.
"""

from __future__ import annotations

import time


def now() -> int:
    """Return the wall clock as Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def monotonic() -> float:
    """Return seconds that never go back, for measuring how long something takes."""
    return time.monotonic()


def sleep(seconds: float) -> None:
    """Wait for so many seconds."""
    time.sleep(seconds)
