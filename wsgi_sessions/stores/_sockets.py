"""Whether an idle connection is still one, as far as this host can tell without asking the server."""

from __future__ import annotations

import select
from typing import Protocol


class HasDescriptor(Protocol):
    """A socket, or a connection around one."""

    def fileno(self) -> int:
        """Return the descriptor."""


def is_quiet(connection: HasDescriptor) -> bool:
    """Tell whether nothing waits to be read; False where that cannot be seen.

    Nothing is expected on an idle connection: one that has something to read was
    closed by its server, or was sent a notice.

    :raises ValueError: if the descriptor was closed.
    """
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return not poll.poll(0)
