"""A store in a table of PostgreSQL, MySQL or MariaDB: for any number of hosts.

It needs the extra ``wsgi-sessions[sql]`` (SQLAlchemy) and a driver: psycopg for
PostgreSQL, PyMySQL for the others. Where no such server runs yet, Redis takes
less work for sessions alone; on one host, SQLiteStore needs no server at all.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

try:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.engine import URL
    from sqlalchemy.exc import SQLAlchemyError
except ImportError as error:
    raise ImportError("SQLStore needs SQLAlchemy: pip install wsgi-sessions[sql]") from error

from .. import clock
from ..exceptions import StoreError
from ..record import Record
from ._arguments import checked_identifier
from ._fork_gate import ForkGate
from ._sql_database import Database, decoded, is_duplicate, record_of
from ._sql_engine import open_engine, parse_url, refuse_memory, schema_engine
from ._sql_schema import can_skip_locked, create, ddl, make_table
from .base import SessionStore, close_before_fork, not_live, overtaken, taken

_SCANNED_AT_ONCE = 500
# A statement has 65,535 parameters at most.
_DELETED_AT_ONCE = 10_000
# What a forked process has of its parent's connections: not to be used in it, and not to be said good-bye through.
_inherited: list[Database] = []


class SQLStore(SessionStore):
    """Keeps records in one table, which :meth:`create_schema` makes.

    :param database: a URL (``postgresql://``, ``mysql://``, ``mariadb://``, or as SQLAlchemy writes them) or an
        Engine. An Engine lends its settings; the store keeps connections of its own beside its, in
        autocommit. Of a URL's connections none waits more than two seconds for an answer; how long an
        Engine's do is for its ``connect_args`` to say.
    :param table: its name: a letter or underscore, then letters, digits and underscores.
    :param schema: PostgreSQL's schema, MySQL's database, if not the connection's own.
    :raises ValueError: if a name is not of that form, or the database is one in memory.
    """

    shared = True

    def __init__(self, database: Engine | URL | str, *, table: str = "wsgi_session", schema: str | None = None) -> None:
        if isinstance(database, Engine):
            refuse_memory(database.url)
            self._source: Engine | URL = database
        elif isinstance(database, str | URL):
            self._source = parse_url(database)
        else:
            raise TypeError(f"database must be a URL or an Engine, not {type(database).__name__}")
        self._table = make_table(
            checked_identifier("table", table), None if schema is None else checked_identifier("schema", schema)
        )
        self._gate = ForkGate()
        # None before the first use, after close() and in a forked child.
        self._database: Database | None = None
        self._lock = threading.Lock()
        close_before_fork(self)

    def create_schema(self) -> None:
        """Make the table and its indexes, and PostgreSQL's schema, where they are missing.

        Any number of processes may do so at once. An existing table is left as it is.

        :raises StoreError: if the server refuses.
        """
        try:
            create(self._table, schema_engine(self._source))
        except (SQLAlchemyError, OSError) as error:
            raise StoreError(f"create_schema failed in {self!r}: {error}") from error

    def schema_ddl(self) -> list[str]:
        """Return the statements that :meth:`create_schema` would run on an empty database, for a migration tool.

        In Alembic: ``for statement in store.schema_ddl(): op.execute(statement)``.
        """
        return ddl(self._table, open_engine(self._source).dialect)

    def create(self, record: Record) -> None:
        """Insert a new record; see :meth:`SessionStore.create`."""
        database = self._used()
        values = {
            "id": database.text(record.id),
            "payload": record.payload,
            "expires": record.expires,
            "version": record.version,
            "owner": database.text(record.owner),
        }
        try:
            database.change("create", database.statements.create, values)
        except StoreError as error:
            if is_duplicate(error):
                raise taken(record.id) from None
            raise

    def load(self, id: str) -> Record | None:
        """Return the live record or None; see :meth:`SessionStore.load`."""
        database = self._used()
        values = {"of_id": database.text(id), "now": clock.now()}
        for payload, expires, version, owner in database.read("load", database.statements.load, values):
            # psycopg2, of an Engine, has them as memoryviews.
            return Record(id, bytes(payload), expires, version, decoded(owner))
        return None

    def save(self, record: Record) -> Record:
        """Replace the record of the same version; see :meth:`SessionStore.save`."""
        database = self._used()
        saved = Record(record.id, record.payload, record.expires, record.version + 1, record.owner)
        now = clock.now()
        values = {
            "of_id": database.text(record.id),
            "of_version": record.version,
            "now": now,
            "new_payload": saved.payload,
            "new_expires": saved.expires,
            "new_version": saved.version,
            "new_owner": database.text(saved.owner),
        }
        if not database.change("save", database.statements.save, values):
            raise overtaken(record, self._live_version(record.id, now))
        return saved

    def touch(self, id: str, version: int, expires: int) -> bool:
        """Move only the expiry; see :meth:`SessionStore.touch`."""
        database = self._used()
        now = clock.now()
        values = {"of_id": database.text(id), "of_version": version, "now": now, "new_expires": expires}
        if database.change("touch", database.statements.touch, values):
            return True
        # MySQL may count what was set to what it was as not changed.
        return self._live_version(id, now) == version

    def delete(self, id: str) -> None:
        """Remove the record if there is one."""
        database = self._used()
        database.change("delete", database.statements.delete, {"of_id": database.text(id)})

    def delete_expired(self, limit: int = 500) -> list[Record]:
        """Remove at most ``limit`` expired records and return them.

        In one short transaction, past the records that another process is just
        removing where the server can do that (``SKIP LOCKED``: PostgreSQL, MySQL 8, MariaDB 10.6).
        """
        if limit < 1:
            return []
        column = self._table.c

        def remove(connection: Connection) -> list[Any]:
            expired = self._table.select().where(column.expires <= clock.now()).order_by(column.expires).limit(limit)
            if connection.dialect.name in ("mysql", "mariadb"):
                # It locks what it looks at, in the order of the index: which is not that in which a save locks.
                ids = connection.execute(expired.with_only_columns(column.id)).scalars().all()
                expired = self._table.select().where(column.id.in_(ids), column.expires <= clock.now())
            rows = connection.execute(expired.with_for_update(skip_locked=can_skip_locked(connection))).all()
            for begin in range(0, len(rows), _DELETED_AT_ONCE):
                ids = [row.id for row in rows[begin : begin + _DELETED_AT_ONCE]]
                connection.execute(self._table.delete().where(column.id.in_(ids)))
            return list(rows)

        rows = self._used().transact("delete_expired", remove)
        return [record_of(row) for row in rows]

    def scan(self) -> Iterator[Record]:
        """Yield the records that are live when they are reached."""
        last = ""
        while records := self._next_records(last):
            yield from records
            last = records[-1].id

    def find_by_owner(self, owner: str) -> list[Record]:
        """Return the live records of one user."""
        database = self._used()
        values = {"of_owner": database.text(owner), "now": clock.now()}
        return [record_of(row) for row in database.read("find_by_owner", database.statements.owned, values)]

    def close(self) -> None:
        """Close the connections, each as soon as no thread uses it; the next use opens new ones."""
        with self._lock:
            database, self._database = self._database, None
        if database is not None:
            database.close()

    def _used(self) -> Database:
        database = self._database
        if database is not None:
            return database
        with self._lock:
            if self._database is None:
                self._database = Database(self._source, self._table, repr(self), self._gate)
            return self._database

    def _next_records(self, last: str) -> list[Record]:
        database = self._used()
        values = {"last": database.text(last), "now": clock.now(), "limit": _SCANNED_AT_ONCE}
        return [record_of(row) for row in database.read("scan", database.statements.scan, values)]

    def _live_version(self, id: str, now: int) -> int:
        database = self._used()
        for (version,) in database.read("save", database.statements.version, {"of_id": database.text(id), "now": now}):
            return int(version)
        raise not_live(id)

    def _close_idle(self) -> None:
        if self._database is not None:
            self._database.close_idle()

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        if self._database is not None:
            _inherited.append(self._database)
            self._database = None

    def __repr__(self) -> str:
        url = self._source.url if isinstance(self._source, Engine) else self._source
        # Drivers take a password among the options as well.
        return f"{type(self).__name__}({url.set(query={}).render_as_string()!r}, table={self._table.fullname!r})"
