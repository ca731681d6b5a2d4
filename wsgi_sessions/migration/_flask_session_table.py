"""The table of Flask-Session, read and deleted from with SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from ..legacy import LegacyError, Reason
from ._failures import failure
from ._reading import milliseconds

# Rows that one statement asks for.
_BATCH = 500


class FlaskSessionTable:
    """Reads and deletes rows.

    :param prefix: what goes before an id in the column ``session_id``.
    :raises TypeError: if the engine is none.
    """

    def __init__(self, engine: Any, prefix: str, name: str, schema: str | None) -> None:
        try:
            from sqlalchemy import Engine, column, table
        except ImportError as error:
            raise ImportError("sessions in a database need SQLAlchemy: pip install wsgi-sessions[sql]") from error
        if not isinstance(engine, Engine):
            raise TypeError(f"the engine must be an Engine of SQLAlchemy, not {type(engine).__name__}")
        self._engine = engine
        self._prefix = prefix
        # Without types: SQLAlchemy would give up on all rows for one whose time is none.
        columns: list[Any] = [column(name) for name in ("id", "session_id", "data", "expiry")]
        self._table = table(name, *columns, schema=schema)

    def identities(self, id: str) -> list[str]:
        """Return the id."""
        return [id]

    def read(self, id: str) -> tuple[bytes, int]:
        """Return the data of a session and when it ends, Unix milliseconds.

        :raises LegacyError: if there is none.
        :raises StoreError: if the database fails.
        """
        key = self._prefix + id
        rows = self._rows(self._table.select().where(self._table.c.session_id == key))
        for row in rows:
            # A database that ignores case would give one session two ids.
            if row.session_id == key:
                return self.parts(row)
        raise LegacyError(Reason.NOT_FOUND)

    def delete(self, id: str) -> None:
        """Delete a row if it is there.

        :raises StoreError: if the database fails.
        """
        with _store_errors(), self._engine.begin() as connection:
            connection.execute(self._table.delete().where(self._table.c.session_id == self._prefix + id))

    def scan(self) -> Iterator[tuple[str, str, Any]]:
        """Yield each session's id, the number of its row, which nobody can present, and the row.

        :raises StoreError: if the database fails.
        """
        columns = self._table.c
        page = self._table.select().order_by(columns.id).limit(_BATCH)
        rows = self._rows(page)
        while rows:
            for row in rows:
                if str(row.session_id).startswith(self._prefix):
                    yield row.session_id.removeprefix(self._prefix), f"{self._table.name} {row.id}", row
            rows = self._rows(page.where(columns.id > rows[-1].id))

    def parts(self, row: Any) -> tuple[bytes, int]:
        """Return the data in a row and when it ends, Unix milliseconds.

        :raises LegacyError: if it holds none.
        """
        if not isinstance(row.data, bytes | memoryview):
            raise LegacyError(Reason.CORRUPT, "no data")
        return bytes(row.data), _end(row.expiry)

    def _rows(self, statement: Any) -> Sequence[Any]:
        with _store_errors(), self._engine.connect() as connection:
            rows: Sequence[Any] = connection.execute(statement).all()
        return rows


def _end(expiry: Any) -> int:
    if expiry is None:
        # As Flask-Session has it.
        raise LegacyError(Reason.EXPIRED)
    try:
        # SQLite has text.
        moment = datetime.fromisoformat(expiry) if isinstance(expiry, str) else expiry
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return milliseconds(moment.timestamp())
    except (ValueError, AttributeError, OverflowError):
        raise LegacyError(Reason.CORRUPT, "a time is none") from None


@contextmanager
def _store_errors() -> Iterator[None]:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        raise failure("the database of the old sessions", error) from None
