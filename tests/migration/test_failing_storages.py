"""A storage that fails is told to whoever reads the log, and no id with it: it would open the session."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool
from werkzeug.test import Client

from wsgi_sessions import MemoryStore, SessionMiddleware, StoreError, get_session
from wsgi_sessions.migration.base import Source
from wsgi_sessions.migration.beaker import (
    BeakerSource,
    DBMContainer,
    FileContainer,
    MemcachedContainer,
    RedisContainer,
    SQLContainer,
)
from wsgi_sessions.migration.cherrypy import CherryPySource
from wsgi_sessions.migration.django import DjangoCacheSource, DjangoSource
from wsgi_sessions.migration.flask_session import FlaskSessionSource
from wsgi_sessions.migration.werkzeug import WerkzeugSource

#: An id for all of them: of 32 hexadecimal digits, or 40.
SHORT, LONG = "0123456789abcdef" * 2, "0123456789abcdef01234567" + "89abcdef" * 2


def database(path: Path) -> Any:
    return create_engine(f"sqlite:///{path / 'no-tables.db'}", poolclass=NullPool)


def beakers_table(path: Path) -> Any:
    """One that is there, for one that is not holds no session."""
    engine = database(path)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE beaker_cache (other)")
    return engine


def down() -> Any:
    return redis.Redis(port=1, socket_timeout=0.2, retry=None)


#: How to make each, its id, and what the log is to say.
FAILING: dict[str, tuple[Callable[[Path], Source], str, str]] = {
    "Beaker's files": (lambda path: BeakerSource(FileContainer(path)), SHORT, "NotADirectoryError: not a directory"),
    "Beaker's dbm": (lambda path: BeakerSource(DBMContainer(path)), SHORT, "NotADirectoryError: not a directory"),
    "Beaker's table": (lambda path: BeakerSource(SQLContainer(beakers_table(path))), SHORT, "SQLITE_ERROR"),
    "Beaker's Redis": (lambda path: BeakerSource(RedisContainer(down())), SHORT, "ConnectionError"),
    "Beaker's Memcached": (
        lambda path: BeakerSource(MemcachedContainer("127.0.0.1:1")),
        SHORT,
        "ConnectionRefusedError: connection refused",
    ),
    "Django's table": (lambda path: DjangoSource("key", engine=database(path)), SHORT, "SQLITE_ERROR"),
    "Django's cache": (lambda path: DjangoCacheSource(serializer="pickle", redis=down()), SHORT, "ConnectionError"),
    "Django's files": (lambda path: DjangoSource("key", directory=path), SHORT, "NotADirectoryError"),
    "Flask-Session's table": (lambda path: FlaskSessionSource(engine=database(path)), LONG, "SQLITE_ERROR"),
    "Flask-Session's files": (
        lambda path: FlaskSessionSource(directory=path, serializer="pickle"),
        LONG,
        "NotADirectoryError",
    ),
    "CherryPy's files": (lambda path: CherryPySource(path, serializer="pickle"), LONG, "NotADirectoryError"),
    "Werkzeug's files": (lambda path: WerkzeugSource(path, serializer="pickle"), LONG, "NotADirectoryError"),
}


@pytest.fixture(params=sorted(FAILING))
def failing(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Source, str, str]:
    """Return a source whose storage fails, a cookie for it, and what the log is to say."""
    make, id, words = FAILING[request.param]
    folder = tmp_path / "sessions"
    folder.mkdir()
    source = make(folder)
    if words.startswith("NotADirectory"):
        folder.rmdir()
        folder.write_bytes(b"")
    return source, id, words


def application(environ: Any, start_response: Any) -> list[bytes]:
    body = str(get_session(environ).get("user")).encode()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]


def test_the_log_tells_what_failed_and_no_id(
    failing: tuple[Source, str, str], caplog: pytest.LogCaptureFixture
) -> None:
    source, id, words = failing
    browser = Client(SessionMiddleware(application, MemoryStore(), legacy=[source]))
    browser.set_cookie(source.cookie_name, id)
    with caplog.at_level(logging.DEBUG, "wsgi_sessions"):
        assert browser.get("/").status_code == 503
    assert "Traceback" in caplog.text
    assert words in caplog.text
    assert id not in caplog.text
    assert id[:16] not in caplog.text


# Errors of an older PyMySQL have the server's own number alone.
@pytest.mark.parametrize(
    ("server", "driver", "code"),
    [("postgresql", "postgresql+psycopg", "42P01"), ("mariadb", "mysql+pymysql", "(42S02|1146)")],
)
def test_the_code_of_a_server_is_told(request: pytest.FixtureRequest, server: str, driver: str, code: str) -> None:
    url = request.getfixturevalue(f"{server}_url").replace(server, driver, 1)
    engine = create_engine(url, poolclass=NullPool)
    for source, id in (
        (DjangoSource("key", engine=engine, table="no_table"), SHORT),
        (FlaskSessionSource(engine=engine, table="no_table"), LONG),
    ):
        with pytest.raises(StoreError, match=f"Error: {code}$"):
            source.open(id)


def test_neither_does_what_a_discard_raises(failing: tuple[Source, str, str]) -> None:
    source, id, words = failing
    with pytest.raises(StoreError, match=words) as caught:
        source.discard(id)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
