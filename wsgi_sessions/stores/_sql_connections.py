"""DB-API connections with a cursor each, kept for whoever needs one next.

SQLAlchemy connects; its pool takes as long for each loan as a server on the same
host for its answer, so it has none.
"""

from __future__ import annotations

from collections import deque
from contextlib import AbstractContextManager, suppress
from typing import Any, NamedTuple

from sqlalchemy import Engine

from ._sql_engine import is_alive


class KeptConnection(NamedTuple):
    """A connection, and a cursor on it: making one takes a sixth of a load's time."""

    connection: Any
    cursor: Any

    def close(self) -> None:
        """Close it, whatever state it is in."""
        # It may be closed already, or have lost its server.
        with suppress(Exception):
            self.connection.close()


class Connections:
    """As many connections as are used at once; the one used last is the first to be used again.

    :param engine: makes them; in autocommit.
    :param gate: passed while connecting, for which drivers use libraries with locks of their own.
    :param keep: whether they may be used more than once.
    """

    def __init__(self, engine: Engine, gate: AbstractContextManager[None], *, keep: bool) -> None:
        self._engine = engine
        self._gate = gate
        self._keep = keep
        self._idle: deque[KeptConnection] = deque()
        # psycopg hands over bytes as they are only if it is asked to; as text they come in hexadecimal.
        self._cursor_options: dict[str, Any] = {"binary": True} if engine.driver == "psycopg" else {}

    def take(self) -> KeptConnection:
        """Return a connection that works, as far as can be seen without asking the server; owned by the caller."""
        with suppress(IndexError):
            while True:
                kept = self._idle.pop()
                if is_alive(self._engine.dialect, kept.connection):
                    return kept
                kept.close()
        with self._gate:
            pooled = self._engine.raw_connection()
        connection: Any = pooled.driver_connection
        pooled.detach()
        return KeptConnection(connection, connection.cursor(**self._cursor_options))

    def give_back(self, kept: KeptConnection) -> None:
        """Take back a connection that is ready for its next statement."""
        self._idle.append(kept)
        if not self._keep:
            self.close_idle()

    def close(self) -> None:
        """Close those that nobody uses, and from now on each when it is given back."""
        self._keep = False
        self.close_idle()

    def close_idle(self) -> None:
        """Close those that nobody uses."""
        with suppress(IndexError):
            while True:
                self._idle.pop().close()
