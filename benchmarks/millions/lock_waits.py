"""Watches a PostgreSQL database for whoever waits for a lock.

The server notes when each wait began (``pg_locks.waitstart``, from version 14
on), so a wait that is seen at all is measured exactly up to then, and at most
one interval more. Of shorter ones some are missed: what they took is within the
times of the clients.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import psycopg

_INTERVAL = 0.005
_WAITS = """
SELECT pid, waitstart, extract(epoch FROM clock_timestamp() - waitstart)::float8
FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE NOT granted AND waitstart IS NOT NULL AND datname = current_database()
"""


class LockWaits(NamedTuple):
    """What was seen. Seconds.

    :param samples: how often was looked.
    :param interval: the longest time between two looks.
    :param waits: how many were seen.
    :param longest: the longest of them.
    """

    samples: int
    interval: float
    waits: int
    longest: float


def watch(url: str, stop: Path) -> LockWaits:
    """Watch until a file is there."""
    waits: dict[tuple[object, object], float] = {}
    samples, interval = 0, 0.0
    with psycopg.connect(url, autocommit=True) as connection:
        last = due = time.monotonic()
        while not stop.exists():
            for pid, began, seconds in connection.execute(_WAITS):
                waits[pid, began] = seconds
            samples += 1
            now = time.monotonic()
            interval, last = max(interval, now - last), now
            due = max(due + _INTERVAL, now)
            time.sleep(due - now)
    return LockWaits(samples, interval, len(waits), max(waits.values(), default=0.0))
