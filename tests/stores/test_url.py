"""What a URL becomes, and what is said of one that is wrong."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_sessions import CachelibStore, FileStore, MemoryStore, Record, SQLiteStore, clock, store_from_url
from wsgi_sessions.stores._address import Address, parse_address
from wsgi_sessions.stores.redis import RedisStore
from wsgi_sessions.stores.sql import SQLStore

PASSWORD = "hunter2-the-password"
QUOTED = "p%40ss%2Fw%3Ard%23%3F"


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory:", MemoryStore),
        ("memory://", MemoryStore),
        ("file:///var/lib/app/sessions", FileStore),
        ("sqlite:///relative.db", SQLiteStore),
        ("sqlite:////absolute.db", SQLiteStore),
        ("postgresql://user@host/database", SQLStore),
        ("postgres://host/database", SQLStore),
        ("postgresql+psycopg://host/database", SQLStore),
        ("mysql://user@host/database", SQLStore),
        ("mariadb://user@host:3307/database", SQLStore),
        ("redis://host", RedisStore),
        ("rediss://host:6380/3", RedisStore),
        ("redis+cluster://one:7000,two:7001", RedisStore),
        ("rediss+cluster://one:7000", RedisStore),
        ("redis+sentinel://one:26379,two/mymaster/2", RedisStore),
        ("rediss+sentinel://one/mymaster", RedisStore),
        ("memcached://one:11211,two", CachelibStore),
        ("MEMORY:", MemoryStore),
    ],
)
def test_each_form_of_url_is_a_store(url: str, kind: type) -> None:
    assert type(store_from_url(url)) is kind


def test_options_reach_the_store(tmp_path: Path) -> None:
    store = store_from_url(f"file://{tmp_path}/sessions?max_payload=3&durability=power&lock_timeout=0.5")
    with pytest.raises(Exception, match="max_payload"):
        store.create(Record("id", b"four", clock.now() + 1000))
    memory = store_from_url("memory:?max_records=1")
    memory.create(Record("one", b"", clock.now() + 1000))
    with pytest.raises(Exception, match="maximum of 1"):
        memory.create(Record("two", b"", clock.now() + 1000))
    assert "prefix='mine:'" in repr(store_from_url("redis://host?prefix=mine:"))
    assert "table='sessions.mine'" in repr(store_from_url("postgresql://host/d?table=mine&schema=sessions"))


def test_sqlite_paths_are_as_in_sqlalchemy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    relative = store_from_url("sqlite:///folder%20of%20mine.db")
    absolute = store_from_url(f"sqlite:///{tmp_path}/folder%20of%20mine.db")
    assert isinstance(relative, SQLiteStore) and isinstance(absolute, SQLiteStore)
    assert relative.path == absolute.path == str(tmp_path / "folder of mine.db")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sessions.db", "needs a scheme"),
        ("mongodb://host", "known are memory, file, sqlite, postgresql"),
        ("memory:?color=red", r"no option 'color'; known are max_records"),
        ("memory:?max_records=many", "max_records must be a number"),
        ("memory://host", "nothing but options"),
        ("file://host/path", "such as file:///var/lib/app/sessions"),
        ("file:", "such as file:///var/lib/app/sessions"),
        ("file:///x?durability=always", "'process' or 'power'"),
        ("file:///x?lock_timeout=-1", "lock_timeout must be positive"),
        ("file:///x?durability=power&durability=process", "twice"),
        ("sqlite://", "such as sqlite:////var/lib/app/sessions.db"),
        ("sqlite:///:memory:", r"use MemoryStore\(\)"),
        ("postgresql://host/d?table=a-b", "table must be a name"),
        ("postgresql://host/d?schema=a.b", "schema must be a name"),
        ("postgresql://host/d?colour=1", "known are application_name, schema, ssl.*, table"),
        ("mysql://host/d?sslmode=require", "no option 'sslmode'; known are charset, schema, ssl_ca"),
        ("redis://host?sslmode=require", "no option 'sslmode'; known are prefix"),
        ("redis://host?ssl_ca_certs=x", "no option 'ssl_ca_certs'"),
        ("redis://host/first", "number of the database"),
        ("redis://one,two", "has one host"),
        ("redis+cluster://one/3", "a cluster has only 0"),
        ("redis+sentinel://one:26379", "names the service"),
        ("redis+fleet://one", "known are"),
        ("redis://host?prefix=", "prefix must be"),
        ("redis://host:port", "below 65536"),
        ("redis://host:70000", "below 65536"),
        ("memcached://host/path", "hosts and options only"),
        ("memcached://:password@host", "hosts and options only"),
        ("redis://:12#34@host/0", "no '#'"),
        ("file:///x?lock_timeout=inf", "lock_timeout must be a number"),
        ("http://[::1", "this is no URL"),
    ],
)
def test_what_is_wrong_is_said(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        store_from_url(url)


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="must be a str, not bytes"):
        store_from_url(b"memory:")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{PASSWORD}@host/database",
        f"mysql://user:{PASSWORD}@host/database",
        f"redis://user:{PASSWORD}@host/0",
        f"redis+cluster://:{PASSWORD}@host",
        f"redis+sentinel://:{PASSWORD}@host/mymaster?sentinel_password={PASSWORD}",
        f"postgresql://user:{PASSWORD}@127.0.0.1:1/database",
        f"redis://user:{PASSWORD}@127.0.0.1:1/0",
        f"redis+sentinel://:{PASSWORD}@127.0.0.1:1/mymaster?sentinel_password={PASSWORD}",
    ],
)
def test_no_repr_and_no_error_tells_a_password(url: str) -> None:
    store = store_from_url(url)
    assert PASSWORD not in repr(store)
    if "127.0.0.1" in url:
        with pytest.raises(Exception) as raised:
            store.load("id")
        error: BaseException | None = raised.value
        while error is not None:
            assert PASSWORD not in str(error) + repr(error)
            error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{PASSWORD}@host/database?unknown={PASSWORD}",
        f"redis://user:{PASSWORD}@host:port/0",
        f"redis://user:{PASSWORD}@host/{PASSWORD}",
        f"redis://user:1?{PASSWORD}@host/0",
        f"unknown://user:{PASSWORD}@host/",
        f"mysql://user:{PASSWORD}@host:port/database",
        f"redis+sentinel://user:{PASSWORD}@host",
        f"postgresql://user:{PASSWORD}@[host/database",
    ],
)
def test_no_refusal_tells_a_password(url: str) -> None:
    with pytest.raises(ValueError) as raised:
        store_from_url(url)
    error: BaseException | None = raised.value
    while error is not None:
        assert PASSWORD not in str(error) + repr(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_user_and_password_are_decoded() -> None:
    address = parse_address(f"redis://us%40er:{QUOTED}@[::1]:7000,host/0?prefix=a%26b")
    assert address == Address("redis", "us@er", "p@ss/w:rd#?", [("::1", 7000), ("host", None)], "/0", {"prefix": "a&b"})
    assert "p@ss" not in repr(address)


@given(st.text(max_size=60))
def test_any_text_is_a_store_or_a_value_error(text: str) -> None:
    """Nothing else is raised, and none is opened."""
    for url in (text, f"redis://{text}", f"postgresql://{text}", f"memcached://{text}"):
        with suppress(ValueError, ImportError):
            store_from_url(url)


@pytest.mark.parametrize(
    ("url", "missing", "said"),
    [
        ("postgresql://host/d", "sqlalchemy", "pip install wsgi-sessions[sql]"),
        ("postgresql://host/d", "psycopg", "pip install wsgi-sessions[postgresql]"),
        ("mariadb://host/d", "pymysql", "pip install wsgi-sessions[mysql]"),
        ("redis://host", "redis", "pip install wsgi-sessions[redis]"),
        ("memcached://host", "pymemcache", "pip install wsgi-sessions[memcached]"),
    ],
)
def test_a_missing_extra_is_named(url: str, missing: str, said: str) -> None:
    code = (
        "import sys\n"
        f"sys.modules[{missing!r}] = None\n"
        "from wsgi_sessions import store_from_url\n"
        "try:\n"
        f"    store_from_url({url!r})\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert said in result.stdout


def test_the_docstring_lists_every_scheme() -> None:
    schemes: dict[str, Any] = vars(sys.modules["wsgi_sessions.stores.url"])["_MAKERS"]
    unnamed = [name for name in schemes if f"{name}:" not in str(store_from_url.__doc__)]
    drivers = ["postgresql+psycopg", "mysql+pymysql", "mariadb+pymysql"]
    assert unnamed == [*drivers, "rediss+cluster", "rediss+sentinel"]
