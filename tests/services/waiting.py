"""Waiting that ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

# Seconds. What works takes a tenth of it, on a busy machine too.
TIMEOUT = 30
_PAUSE = 0.02

_Found = TypeVar("_Found")


def wait_until(find: Callable[[], _Found | None], what: str, seconds: float = TIMEOUT) -> _Found:
    """Return what it returns as soon as that is true.

    :param what: completes "waited in vain for …".
    :raises TimeoutError: it was not in time.
    """
    deadline = time.monotonic() + seconds
    while not (found := find()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} seconds in vain for {what}")
        time.sleep(_PAUSE)
    return found
