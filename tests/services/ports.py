"""Ports on the loopback interface."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager

# Below the ports that Linux gives to outgoing connections (32768 to 60999), which could take one at any moment;
# and so that no port plus 10000, where a node of a Redis Cluster listens too, is in the range itself.
_RANGE = range(11_000, 21_000)


def free_port(*beside: int) -> int:
    """Return a port that was free a moment ago; that many ports further must be free, too."""
    # The tests may seed the common generator, and two runs at once would then choose the same ports.
    chosen = random.SystemRandom()
    while True:
        port = chosen.choice(_RANGE)
        if all(_is_free(port + distance) for distance in (0, *beside)):
            return port


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


@contextmanager
def silent_port() -> Iterator[int]:
    """Open a port that takes connections and never says a word.

    The kernel accepts them, up to the backlog; that nobody reads is what is wanted.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield listener.getsockname()[1]
