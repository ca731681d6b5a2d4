"""What a SQLStore does all the time, compiled once for the dialect of its database.

SQLAlchemy's own way through a statement takes longer than a server on the same host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy import Table, bindparam
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.expression import Executable, select


class Statement(NamedTuple):
    """A statement, compiled for one dialect.

    :param text: with the placeholders of the driver.
    :param names: the values in the order in which the driver takes them; None if it takes them by name.
    :param constants: the values that are always the same.
    """

    text: str
    names: list[str] | None
    constants: dict[str, Any]

    def arguments(self, values: dict[str, Any]) -> Any:
        """Return the values as the driver takes them."""
        if self.constants:
            values = {**self.constants, **values}
        return values if self.names is None else [values[name] for name in self.names]


class Statements(NamedTuple):
    """What a store does all the time, compiled once.

    Values are named after the columns, with ``of_`` before those of a condition, and ``now``, ``limit``, ``last``.
    """

    create: Statement
    load: Statement
    save: Statement
    touch: Statement
    delete: Statement
    version: Statement
    scan: Statement
    owned: Statement


def compile_statements(table: Table, dialect: Dialect) -> Statements:
    """Compile them: SQLAlchemy's own way through a statement takes longer than many a server."""
    compiled = _compiler(dialect)
    column = table.c
    one = column.id == bindparam("of_id")
    live = column.expires > bindparam("now")
    same = column.version == bindparam("of_version")
    columns = (column.id, column.payload, column.expires, column.version, column.owner)
    scan = select(*columns).where(column.id > bindparam("last"), live).order_by(column.id).limit(bindparam("limit"))
    return Statements(
        create=compiled(table.insert().values({name: bindparam(name) for name, _ in column.items()})),
        load=compiled(select(*columns[1:]).where(one, live)),
        save=compiled(
            table.update()
            .where(one, same, live)
            .values({name: bindparam(f"new_{name}") for name in ("payload", "expires", "version", "owner")})
        ),
        touch=compiled(table.update().where(one, same, live).values(expires=bindparam("new_expires"))),
        delete=compiled(table.delete().where(one)),
        version=compiled(select(column.version).where(one, live)),
        scan=compiled(scan),
        owned=compiled(select(*columns).where(column.owner == bindparam("of_owner"), live)),
    )


def _compiler(dialect: Dialect) -> Callable[[Executable], Statement]:
    def compiled(statement: Executable) -> Statement:
        result: Any = statement.compile(dialect=dialect)  # type: ignore[attr-defined]  # every statement has it
        constants = {name: value for name, value in result.params.items() if value is not None}
        return Statement(result.string, result.positiontup, constants)

    return compiled
