"""A database as a SQLStore uses it: statements compiled once, run on DB-API connections that are kept."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Table
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from .. import clock
from ..exceptions import StoreError
from ..record import Record
from ._edge import AT_ONCE_SECONDS
from ._fork_gate import ForkGate
from ._sql_connections import Connections
from ._sql_engine import open_engine
from ._sql_statements import Statement, compile_statements

_Result = TypeVar("_Result")

# The servers' numbers for what was taken back for the sake of another transaction: each waited for the other, or
# PostgreSQL was told to isolate them more strictly than by default.
_TAKEN_BACK = ("40P01", "40001", 1213)
# For an id that is taken: SQLite has a number for a primary key, and one for other unique ones.
_DUPLICATE = ("23505", 1062, 1555, 2067)
_MOST_ATTEMPTS = 3
# PostgreSQL's and MySQL's numbers for a table that does not exist.
_NO_TABLE = ("42P01", 1146)


class Database:
    """One process's connections to the database of a store.

    :param source: where it is.
    :param table: where the records are.
    :param name: of the store, for messages.
    :param gate: of the store, which outlives this.
    """

    def __init__(self, source: Engine | URL, table: Table, name: str, gate: ForkGate) -> None:
        self.engine = open_engine(source)
        dialect = self.engine.dialect
        self.statements = compile_statements(table, dialect)
        self._table = table
        self._name = name
        is_sqlite = dialect.name == "sqlite"
        # None of SQLite's connections may be open while the process forks; of the others none may be just connecting.
        self._while_open: AbstractContextManager[None] = gate if is_sqlite else nullcontext()
        self._while_connecting: AbstractContextManager[None] = nullcontext() if is_sqlite else gate
        self._connections = Connections(self.engine, self._while_connecting, keep=not is_sqlite)
        driver = dialect.loaded_dbapi
        self._integrity_error: type[Exception] = driver.IntegrityError
        self._errors = (driver.Error, SQLAlchemyError, OSError)
        # In MySQL texts are kept as bytes, the only kind whose comparison minds case, accents and blanks.
        self._is_in_bytes = dialect.name in ("mysql", "mariadb")

    def close(self) -> None:
        """Close the connections that nobody uses; the others as soon as they are not used any more."""
        self._connections.close()

    def close_idle(self) -> None:
        """Close the connections that nobody uses."""
        self._connections.close_idle()

    def text(self, text: str | None) -> Any:
        """Return a text as the driver has to be given it."""
        return text.encode() if self._is_in_bytes and text is not None else text

    def change(self, action: str, statement: Statement, values: dict[str, Any]) -> int:
        """Run a statement that changes something, and return how many records it did.

        Never again after a failure, which may have been a success, unless the server says that it took it back.
        """
        return _until_not_taken_back(lambda: self._run(action, statement, values, _row_count))

    def read(self, action: str, statement: Statement, values: dict[str, Any]) -> list[Any]:
        """Run a query and return its rows; once more if a dead connection was all that was wrong."""
        begun = clock.monotonic()
        try:
            return self._run(action, statement, values, _rows)
        except StoreError as error:
            if clock.monotonic() - begun > AT_ONCE_SECONDS or not isinstance(error.__cause__, self._errors):
                raise
        # Others may be just as dead, without a sign of it on this host.
        self.close_idle()
        return self._run(action, statement, values, _rows)

    def transact(self, action: str, work: Callable[[Connection], _Result]) -> _Result:
        """Return what a function of a connection does in a transaction, which locks no more than it reads.

        It is done again if the server has taken it back for the sake of another one.
        """
        return _until_not_taken_back(lambda: self._transact(action, work))

    def _transact(self, action: str, work: Callable[[Connection], _Result]) -> _Result:
        try:
            with self._while_open, self._connected() as connection:
                if connection.dialect.name == "sqlite":
                    with connection.begin():
                        connection.exec_driver_sql("BEGIN IMMEDIATE")
                        return work(connection)
                # MySQL's own default keeps others from inserting what would lie in between.
                bound = connection.execution_options(isolation_level="READ COMMITTED")
                with bound.begin():
                    return work(bound)
        except self._errors as error:
            raise self._store_error(action, error) from error

    def _connected(self) -> Connection:
        with self._while_connecting:
            return self.engine.connect()

    def _run(
        self, action: str, statement: Statement, values: dict[str, Any], result: Callable[[Any], _Result]
    ) -> _Result:
        try:
            with self._while_open:
                kept = self._connections.take()
                try:
                    kept.cursor.execute(statement.text, statement.arguments(values))
                    answer = result(kept.cursor)
                except self._integrity_error:
                    self._connections.give_back(kept)
                    raise
                except BaseException:
                    # Whatever it was, the next one begins with another connection.
                    kept.close()
                    raise
                self._connections.give_back(kept)
                return answer
        except self._errors as error:
            raise self._store_error(action, error) from error

    def _store_error(self, action: str, error: Exception) -> StoreError:
        if _has_number(error, _NO_TABLE) or "no such table" in str(error):
            return StoreError(
                f"{action} failed in {self._name}: there is no table {self._table.fullname!r}; "
                "call create_schema() once, or run the statements of schema_ddl()"
            )
        return StoreError(f"{action} failed in {self._name}: {error}")


def is_duplicate(error: StoreError) -> bool:
    """Tell whether a record could not be stored because its id is taken."""
    return _has_number(error.__cause__, _DUPLICATE)


def _row_count(cursor: Any) -> int:
    count: int = cursor.rowcount
    return count


def _rows(cursor: Any) -> list[Any]:
    return list(cursor.fetchall())


def _until_not_taken_back(action: Callable[[], _Result]) -> _Result:
    for _ in range(_MOST_ATTEMPTS - 1):
        try:
            return action()
        except StoreError as error:
            if not _has_number(error.__cause__, _TAKEN_BACK):
                raise
    return action()


def _has_number(error: Any, numbers: tuple[str | int, ...]) -> bool:
    """Tell whether a driver's error, or SQLAlchemy's around it, has one of these numbers."""
    cause = getattr(error, "orig", error)
    attributes = ("sqlstate", "pgcode", "sqlite_errorcode")
    told = (*(getattr(cause, name, None) for name in attributes), *cause.args[:1])
    return any(number in told for number in numbers)


def record_of(row: Any) -> Record:
    """Return the record of a row of all columns."""
    id, payload, expires, version, owner = row
    return Record(decoded(id), bytes(payload), expires, version, decoded(owner))


def decoded(text: Any) -> Any:
    """Return a text, or None, that the driver may have given as bytes."""
    return text.decode() if isinstance(text, bytes) else text
