"""The tables in which Django keeps sessions, its own and that of its cache, read with SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from ..legacy import LegacyError, Reason
from ._failures import failure

# Rows that one statement asks for.
_BATCH = 500


class Row(NamedTuple):
    """A row; its end is as the driver returns it, aware or naive, or text in SQLite."""

    key: str
    value: Any
    end: Any


class DjangoTable:
    """Reads and deletes rows by their key.

    :param columns: the names of the key, the value and the end.
    :raises TypeError: if the engine is none.
    """

    def __init__(self, engine: Any, name: str, schema: str | None, columns: tuple[str, str, str]) -> None:
        try:
            from sqlalchemy import Engine, column, select, table
        except ImportError as error:
            raise ImportError("sessions in a database need SQLAlchemy: pip install wsgi-sessions[sql]") from error
        if not isinstance(engine, Engine):
            raise TypeError(f"the engine must be an Engine of SQLAlchemy, not {type(engine).__name__}")
        self._engine = engine
        # Columns without types: a value that is none is to be found out here, row by row, and not while fetching.
        self._table = table(name, *map(column, columns), schema=schema)
        self._key = self._table.c[columns[0]]
        self._rows = select(*(self._table.c[name] for name in columns))

    def read(self, key: str) -> Row:
        """Return the row of a key.

        :raises LegacyError: if there is none.
        :raises StoreError: if the database fails.
        """
        with _store_errors(), self._engine.connect() as connection:
            row = connection.execute(self._rows.where(self._key == key)).first()
        if row is None:
            raise LegacyError(Reason.NOT_FOUND)
        return Row(*row)

    def delete(self, key: str) -> None:
        """Delete the row of a key if it is there.

        :raises StoreError: if the database fails.
        """
        with _store_errors(), self._engine.begin() as connection:
            connection.execute(self._table.delete().where(self._key == key))

    def scan(self, prefix: str = "") -> Iterator[Row]:
        """Yield the rows whose keys begin with a prefix; no more than some of them are in memory.

        :raises StoreError: if the database fails.
        """
        wanted = self._rows.order_by(self._key).limit(_BATCH)
        if prefix:
            wanted = wanted.where(self._key.startswith(prefix, autoescape=True))
        page = wanted
        while True:
            with _store_errors(), self._engine.connect() as connection:
                rows = [Row(*row) for row in connection.execute(page)]
            yield from rows
            if len(rows) < _BATCH:
                return
            page = wanted.where(self._key > rows[-1].key)


@contextmanager
def _store_errors() -> Iterator[None]:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        raise failure("the database of the old sessions", error) from None
