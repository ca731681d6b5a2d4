"""Fills a table of ours on the server, and ends half of what is in it."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import sha256

import psycopg

from benchmarks.engines.engine import example_record
from wsgi_sessions import clock
from wsgi_sessions.stores.sql import SQLStore

# Between the ends of two neighbours, Unix milliseconds: a million of them end within a week, in their order.
_STEP = 600
_WEEK = 7 * 24 * 3_600_000
# Ids as random_id() makes them, in no order, and payloads that differ; half of the users have five sessions.
_FILL = """
INSERT INTO {table} (id, payload, expires, version, owner)
SELECT
    substr(translate(encode(sha256(n::text::bytea), 'base64'), '+/', '-_'), 1, 22),
    decode(md5(n::text), 'hex') || %(rest)s,
    %(first)s + n::bigint * {step},
    1,
    CASE WHEN n %% 2 = 0 THEN 'user-' || n / 10 END
FROM generate_series(1, %(rows)s) AS n
"""
_END_EVERY_OTHER = """
UPDATE {table} SET expires = expires - %(earlier)s WHERE (expires - %(first)s) / {step} %% 2 = 1
"""


class Rows:
    """A table of ours with many records, whose ids are known.

    :param url: of the database.
    :param table: its name; it is made.
    :param count: how many records.
    """

    def __init__(self, url: str, table: str, count: int) -> None:
        self.url = url
        self.table = table
        self.count = count
        # The end of the one with the number 0, which is not there.
        self._first = clock.now() + _WEEK

    def fill(self) -> None:
        """Make the table and its records, and leave nothing of it for the server to do later."""
        store = SQLStore(self.url, table=self.table)
        store.create_schema()
        store.close()
        # The whole has the length of a payload of ours.
        rest = example_record().payload[16:]
        self._run(_FILL, {"rest": rest, "first": self._first, "rows": self.count})

    def end_half(self) -> None:
        """Have those with odd numbers ended, over the week that lies behind."""
        earlier = 2 * _WEEK + _STEP
        self._run(_END_EVERY_OTHER, {"first": self._first, "earlier": earlier})

    def _run(self, statement: str, values: dict[str, object]) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.format(table=self.table, step=_STEP), values)
            connection.execute(f"VACUUM (ANALYZE) {self.table}")
            settle(connection)


def id_of(number: int) -> str:
    """Return the id of the record with a number, from 1."""
    return urlsafe_b64encode(sha256(str(number).encode()).digest())[:22].decode()


def settle(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Have the server write out what it holds back, which it would otherwise do during some measurement."""
    try:
        connection.execute("CHECKPOINT")
    except psycopg.errors.InsufficientPrivilege:
        print("CHECKPOINT was refused: what was filled in may still be written while time is taken\n")
