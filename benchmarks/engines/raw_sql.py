"""What a session has a database do, in the fewest statements there are, through nothing but its driver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.engines.engine import Functions, changed, random_ids
from wsgi_sessions import Record


def floors(
    execute: Callable[[str, Any], Any], table: str, mark: str, record: Record, text: Callable[[str], Any] = str
) -> Functions:
    """Return the floor of each scenario: a query by the key; that and the update of one version; an insert.

    :param execute: runs a statement with its values on a kept connection in autocommit; returns a cursor.
    :param table: of the same columns and indexes as ours, with the record in it.
    :param mark: the driver's placeholder.
    :param text: turns an id into what the table has for it.
    """
    select = f"SELECT payload, version FROM {table} WHERE id = {mark}"
    update = f"UPDATE {table} SET payload = {mark}, version = {mark} WHERE id = {mark} AND version = {mark}"
    insert = f"INSERT INTO {table} (id, payload, expires, version, owner) VALUES ({', '.join([mark] * 5)})"
    id, payload, expires = text(record.id), record.payload, record.expires
    new_ids = map(text, random_ids())

    def read() -> None:
        execute(select, (id,)).fetchone()

    def write() -> None:
        stored, version = execute(select, (id,)).fetchone()
        execute(update, (changed(stored, version), version + 1, id, version))

    def create() -> None:
        execute(insert, (next(new_ids), payload, expires, 1, None))

    return {"read": read, "write": write, "create": create}
