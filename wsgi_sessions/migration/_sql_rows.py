"""The rows of a table of sessions, read with SQLAlchemy: one that is broken costs none of the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from ..legacy import LegacyError, Reason
from ._failures import failure

# Rows that one statement asks for.
_BATCH = 500


class Row(NamedTuple):
    """A row of a session.

    :param value: text or bytes, if it is what it should be; bytes in SQLite.
    :param end: as the driver returns it: aware or naive, or text, as SQLite has it; None if there is no column for it.
    :param number: None if there is no column for it.
    """

    key: str
    value: Any
    end: Any = None
    number: Any = None


class SQLRows:
    """Reads and deletes rows by their key.

    In SQLite a text may be any bytes, and SQLAlchemy would give up on all rows for one that cannot be decoded. So all
    comes as bytes there, and elsewhere as the driver has it.

    :param columns: the names of what a :class:`Row` has; the last ones may be left out.
    :raises ImportError: if SQLAlchemy is not installed.
    :raises TypeError: if the engine is none.
    """

    def __init__(self, engine: Any, name: str, schema: str | None, columns: tuple[str, ...]) -> None:
        try:
            from sqlalchemy import Engine, LargeBinary, cast, column, func, select, table
        except ImportError as error:
            raise ImportError("sessions in a database need SQLAlchemy: pip install wsgi-sessions[sql]") from error
        if not isinstance(engine, Engine):
            raise TypeError(f"the engine must be an Engine of SQLAlchemy, not {type(engine).__name__}")
        self._engine = engine
        # Columns without types: a value that is none is to be found out row by row, and not while fetching.
        self._table = table(name, *map(column, columns), schema=schema)
        self._key = self._table.c[columns[0]]
        self._is_sqlite = engine.dialect.name == "sqlite"
        whole: Any = self._table.c
        self._select = select(*((cast(each, LargeBinary) for each in whole) if self._is_sqlite else whole))
        # Anything else, which SQLite may have there, too, is in no order with texts.
        self._is_text: Any = func.typeof(self._key) == "text" if self._is_sqlite else self._key.is_not(None)

    def is_there(self) -> bool:
        """Tell whether the database has such a table; no connection stays open.

        :raises StoreError: if the database fails.
        """
        from sqlalchemy import inspect

        with _store_errors(), self._engine.connect() as connection:
            # It may be asked before the processes are forked that will use the pool.
            connection.detach()
            return inspect(connection).has_table(self._table.name, schema=self._table.schema)

    def read(self, key: str) -> Row:
        """Return the row of a key.

        :raises LegacyError: if there is none.
        :raises StoreError: if the database fails.
        """
        for row in map(_row, self._rows(self._select.where(self._key == key))):
            # A database that ignores case would give one session two ids.
            if row is not None and row.key == key:
                return row
        raise LegacyError(Reason.NOT_FOUND)

    def delete(self, key: str) -> None:
        """Delete the row of a key if it is there.

        :raises StoreError: if the database fails.
        """
        with _store_errors(), self._engine.begin() as connection:
            connection.execute(self._table.delete().where(self._key == key))

    def scan(self, prefix: str) -> Iterator[Row]:
        """Yield the rows whose keys begin with a prefix; no more than some of them are in memory.

        :raises StoreError: if the database fails.
        """
        wanted = self._select.where(self._is_text).order_by(self._key).limit(_BATCH)
        if prefix:
            wanted = wanted.where(self._key.startswith(prefix, autoescape=True))
        rows = self._rows(wanted)
        while rows:
            for row in map(_row, rows):
                # LIKE may ignore case. A key that is no text is nobody's.
                if row is not None and row.key.startswith(prefix):
                    yield row
            rows = self._rows(wanted.where(self._key > self._comparable(rows[-1][0])))

    def _rows(self, statement: Any) -> list[Any]:
        with _store_errors(), self._engine.connect() as connection:
            return list(connection.execute(statement))

    def _comparable(self, key: Any) -> Any:
        from sqlalchemy import LargeBinary, Text, cast, literal

        return cast(literal(key, LargeBinary), Text) if self._is_sqlite else key


def _row(values: Any) -> Row | None:
    """Return a row; None if its key is none."""
    key, value, *others = values
    try:
        key = key.decode() if isinstance(key, bytes) else key
    except UnicodeDecodeError:
        return None
    return Row(key, value, *(each.decode("utf-8", "replace") if isinstance(each, bytes) else each for each in others))


@contextmanager
def _store_errors() -> Iterator[None]:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        raise failure("the database of the old sessions", error) from None
