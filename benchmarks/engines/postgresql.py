"""PostgreSQL through psycopg: a database of its own, one kept connection in autocommit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from benchmarks import places, systems
from benchmarks.engines.engine import Engine, example_record, later
from benchmarks.engines.raw_sql import floors
from wsgi_sessions.stores.sql import SQLStore


@contextmanager
def opened(folder: Path) -> Iterator[Engine]:
    """Yield what is measured, each system with a table of its own."""
    record = example_record()
    with places.postgresql() as url, closing(SQLStore(url, table="ours")) as store:
        store.create_schema()
        with closing(SQLStore(url, table="raw")) as raw:
            raw.create_schema()
            raw.create(record)
        alchemy = url.replace("postgresql:", "postgresql+psycopg:", 1)
        with psycopg.connect(url, autocommit=True) as connection:
            # What the distribution calls it follows after a blank.
            version = (connection.info.parameter_status("server_version") or "").partition(" ")[0]
            yield Engine(
                title=f"PostgreSQL {version}: the ten-key session of 1 KB",
                ours=systems.ours("ours", store),
                # As text, bytes would come in hexadecimal and take longer.
                raw=floors(partial(connection.execute, binary=True), "raw", "%s", record),
                budgets={"read": "<= 1.5 x raw", "write": "<= 1.5 x raw"},
                peers={
                    "Django": later("django.database_peer", _django_database(url)),
                    "Beaker": later("beaker.peer", "ext:database", alchemy, folder),
                    "Flask-Session": later("flask_session.sqlalchemy_peer", alchemy),
                },
                notes=["Django keeps its connection, which by default it does not: CONN_MAX_AGE is None."],
            )


def _django_database(url: str) -> dict[str, Any]:
    address = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": address.path.strip("/"),
        "HOST": address.hostname,
        "PORT": address.port or 5432,
        "USER": address.username,
        "PASSWORD": address.password or "",
    }
