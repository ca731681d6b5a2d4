"""The table of Flask-Session."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from typing import Any

from ..legacy import LegacyError, Reason
from ._reading import moment
from ._sql_rows import Row, SQLRows


class FlaskSessionTable:
    """Reads and deletes rows.

    :param prefix: what goes before an id in the column ``session_id``.
    :raises TypeError: if the engine is none.
    """

    def __init__(self, engine: Any, prefix: str, name: str, schema: str | None) -> None:
        self._rows = SQLRows(engine, name, schema, ("session_id", "data", "expiry", "id"))
        self._name = name
        self._prefix = prefix

    def identities(self, id: str) -> list[str]:
        """Return the id."""
        return [id]

    def read(self, id: str) -> tuple[bytes, int | None]:
        """Return the data of a session and when it ends, Unix milliseconds.

        :raises LegacyError: if there is none.
        :raises StoreError: if the database fails.
        """
        return self.parts(self._rows.read(self._prefix + id))

    def delete(self, id: str) -> None:
        """Delete a row if it is there.

        :raises StoreError: if the database fails.
        """
        self._rows.delete(self._prefix + id)

    def scan(self) -> Iterator[tuple[str, str, Row]]:
        """Yield each session's id, the number of its row, which nobody can present, and the row.

        :raises StoreError: if the database fails.
        """
        for row in self._rows.scan(self._prefix):
            yield row.key.removeprefix(self._prefix), f"{self._name} {row.number}", row

    def parts(self, row: Row) -> tuple[bytes, int | None]:
        """Return the data in a row and when it ends, Unix milliseconds.

        :raises LegacyError: if it holds none.
        """
        if not isinstance(row.value, bytes | memoryview):
            raise LegacyError(Reason.CORRUPT, "no data")
        if row.end is None:
            # As Flask-Session has it.
            raise LegacyError(Reason.EXPIRED)
        return bytes(row.value), moment(row.end, UTC)
