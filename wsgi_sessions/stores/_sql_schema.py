"""The table of a SQLStore, and how it is made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from zlib import crc32

from sqlalchemy import BigInteger, Column, Connection, Engine, Index, LargeBinary, MetaData, String, Table, inspect
from sqlalchemy.dialects.mysql import LONGBLOB, VARBINARY
from sqlalchemy.dialects.postgresql import VARCHAR
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateIndex, CreateSchema, CreateTable, DDLElement
from sqlalchemy.sql.expression import text

_LONGEST_NAME = 63
_MYSQL = ("mysql", "mariadb")


def _exact_text(characters: int, bytes_each: int) -> Any:
    """Return the type of a text that is compared byte by byte: case, accents and trailing blanks count."""
    by_bytes = VARBINARY(characters * bytes_each)
    return (
        String(characters)
        .with_variant(VARCHAR(characters, collation="C"), "postgresql")
        .with_variant(by_bytes, *_MYSQL)
    )


def make_table(name: str, schema: str | None) -> Table:
    """Return the table: id, payload, expires, version and owner, with an index over each of expires and owner."""
    return Table(
        name,
        MetaData(),
        Column("id", _exact_text(128, 1), primary_key=True),
        Column("payload", LargeBinary().with_variant(LONGBLOB(), *_MYSQL), nullable=False),
        Column("expires", BigInteger, nullable=False),
        Column("version", BigInteger, nullable=False),
        Column("owner", _exact_text(255, 4)),
        Index(_index_name(name, "expires"), "expires"),
        Index(_index_name(name, "owner"), "owner"),
        schema=schema,
    )


def _index_name(table: str, column: str) -> str:
    """Return a name of at most 63 characters, PostgreSQL's limit, that no other table's index has."""
    name = f"{table}_{column}"
    return name if len(name) <= _LONGEST_NAME else f"{table[:40]}_{crc32(table.encode()):08x}_{column}"


def ddl(table: Table, dialect: Dialect) -> list[str]:
    """Return the statements that make the table and its indexes."""
    made: list[DDLElement] = [CreateTable(table), *map(CreateIndex, _indexes(table))]
    if table.schema is not None and dialect.name == "postgresql":
        made.insert(0, CreateSchema(table.schema, if_not_exists=True))
    return [str(statement.compile(dialect=dialect)).strip() for statement in made]


def create(table: Table, engine: Engine) -> None:
    """Make what is missing of the schema, the table and its indexes; any number of processes may do so at once."""
    with engine.connect() as connection, _alone(connection, table):
        if table.schema is not None and not inspect(connection).has_schema(table.schema):
            connection.execute(CreateSchema(table.schema, if_not_exists=True))
        table.create(connection, checkfirst=True)
        # An earlier attempt may have ended after the table.
        for index in _indexes(table):
            index.create(connection, checkfirst=True)


def can_skip_locked(connection: Connection) -> bool:
    """Tell whether the server can pass over the rows that others have locked."""
    dialect: Any = connection.dialect
    if dialect.name == "postgresql":
        return True
    if dialect.name not in _MYSQL:
        return False
    version = dialect.server_version_info or (0,)
    return bool(version >= ((10, 6) if getattr(dialect, "is_mariadb", False) else (8,)))


def _indexes(table: Table) -> list[Any]:
    return sorted(table.indexes, key=lambda index: str(index.name))


@contextmanager
def _alone(connection: Connection, table: Table) -> Iterator[None]:
    """Keep others from making the same table meanwhile, which not even IF NOT EXISTS does everywhere."""
    name = f"wsgi_sessions {table.fullname}"
    with connection.begin():
        if connection.dialect.name == "postgresql":
            # Its end with the transaction; the key is any number that is the same for all.
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": crc32(name.encode())})
            yield
        elif connection.dialect.name in _MYSQL:
            # At most 64 characters. A statement that makes a table commits, so the lock is not the transaction's.
            lock = {"name": f"wsgi_sessions {crc32(name.encode())}"}
            if connection.execute(text("SELECT GET_LOCK(:name, 60)"), lock).scalar() != 1:
                raise TimeoutError("another process has been making the table for a minute")
            try:
                yield
            finally:
                connection.execute(text("SELECT RELEASE_LOCK(:name)"), lock)
        else:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield
