"""Rows are read page by page, whatever order the database has its texts in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.pool import NullPool

from wsgi_sessions.legacy import LegacyError, Reason
from wsgi_sessions.migration._sql_rows import SQLRows

DRIVERS = {"postgresql": "postgresql+psycopg", "mariadb": "mysql+pymysql"}


@pytest.fixture(params=["sqlite", *DRIVERS])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Engine, str]]:
    """A table of 1,500 rows."""
    name, url = f"tests_{uuid4().hex}", f"sqlite:///{tmp_path}/rows.db"
    if request.param != "sqlite":
        made = make_url(request.getfixturevalue(f"{request.param}_url"))
        url = made.set(drivername=DRIVERS[request.param]).render_as_string(hide_password=False)
    engine = create_engine(url, poolclass=NullPool)
    rows = [
        {"key": f"{prefix}{number:04}{'Aa_-'[number % 4]}", "value": f"{number}"}
        for number in range(500)
        for prefix in ("a%_:", "a%x:", "")
    ]
    with engine.begin() as connection:
        connection.execute(text(f"CREATE TABLE {name} (name varchar(60) PRIMARY KEY, content text, ends text)"))
        connection.execute(text(f"INSERT INTO {name} VALUES (:key, :value, '2030-01-01')"), rows)
    yield engine, name
    with engine.begin() as connection:
        connection.execute(text(f"DROP TABLE {name}"))


def test_every_row_of_a_prefix_comes_once(table: tuple[Engine, str]) -> None:
    engine, name = table
    rows = SQLRows(engine, name, None, ("name", "content", "ends"))
    found = [row.key for row in rows.scan("a%_:")]
    assert sorted(found) == [f"a%_:{number:04}{'Aa_-'[number % 4]}" for number in range(500)]
    assert len({row.key for row in rows.scan("")}) == len(list(rows.scan(""))) == 1500


def test_one_row_is_read_and_deleted(table: tuple[Engine, str]) -> None:
    engine, name = table
    rows = SQLRows(engine, name, None, ("name", "content", "ends"))
    row = rows.read("a%_:0001a")
    value = b"1" if engine.dialect.name == "sqlite" else "1"
    assert (row.key, row.value, row.end) == ("a%_:0001a", value, "2030-01-01")
    rows.delete("a%_:0001a")
    for key in ("a%_:0001a", "A%_:0002_"):
        with pytest.raises(LegacyError) as caught:
            rows.read(key)
        assert caught.value.reason is Reason.NOT_FOUND
