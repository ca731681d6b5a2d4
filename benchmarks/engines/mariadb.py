"""MariaDB through PyMySQL: a database of its own, one kept connection in autocommit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pymysql

from benchmarks import places, systems
from benchmarks.engines.engine import Engine, example_record, later
from benchmarks.engines.raw_sql import floors
from wsgi_sessions.stores.sql import SQLStore


@contextmanager
def opened(folder: Path) -> Iterator[Engine]:
    """Yield what is measured, each system with a table of its own."""
    record = example_record()
    with places.mariadb() as url, closing(SQLStore(url, table="ours")) as store:
        store.create_schema()
        with closing(SQLStore(url, table="raw")) as raw:
            raw.create_schema()
            raw.create(record)
        alchemy = url.replace("mysql:", "mysql+pymysql:", 1)
        with closing(pymysql.connect(**places.pymysql_options(url), autocommit=True)) as connection:
            # It says that it was MySQL 5.5.5, for clients that know no other, and then what it is.
            version = connection.get_server_info().removeprefix("5.5.5-").partition("-")[0]
            yield Engine(
                title=f"MariaDB {version}: the ten-key session of 1 KB",
                ours=systems.ours("ours", store),
                raw=floors(_executing(connection), "raw", "%s", record, str.encode),
                budgets={"read": "<= 1.5 x raw", "write": "<= 1.5 x raw"},
                peers={
                    "Django": later("django.database_peer", _django_database(url)),
                    "Beaker": later("beaker.peer", "ext:database", alchemy, folder),
                    "Flask-Session": later("flask_session.sqlalchemy_peer", alchemy),
                },
                notes=["Everything runs through PyMySQL; Django, which wants mysqlclient, takes it for that."],
            )


def _executing(connection: Any) -> Callable[[str, Any], Any]:
    def execute(statement: str, values: Any) -> Any:
        cursor = connection.cursor()
        cursor.execute(statement, values)
        return cursor

    return execute


def _django_database(url: str) -> dict[str, Any]:
    # As the module that Django imports.
    pymysql.install_as_MySQLdb()
    address = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.mysql",
        "NAME": address.path.strip("/"),
        "HOST": address.hostname,
        "PORT": address.port or 3306,
        "USER": address.username,
        "PASSWORD": address.password or "",
    }
