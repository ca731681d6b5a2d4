"""What the pages in docs/ show is true: their code runs, their URLs and names exist."""

from __future__ import annotations

import configparser
import re
import shlex
import warnings
from contextlib import ExitStack, closing
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cachelib
import pytest
import redis
from backends import new_name, new_table
from docutils import nodes
from test_readme import ROOT, blocks, execute, find, parsed
from werkzeug.test import Client

import wsgi_sessions.testing
from wsgi_sessions import FileStore, MemoryStore, open_session, store_from_url
from wsgi_sessions.operations import statistics
from wsgi_sessions.stores.redis import RedisStore
from wsgi_sessions.stores.sql import SQLStore

PUBLIC = {name: getattr(wsgi_sessions, name) for name in wsgi_sessions.__all__}
CLASS = re.compile(r"^class (\w+)", re.MULTILINE).findall
PAGES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.rst"))


@pytest.fixture(scope="module")
def stores() -> Any:
    return parsed("docs/stores.rst")


def run(document: Any, text: str, **names: Any) -> dict[str, Any]:
    result: dict[str, Any] = execute(find(document, text), {**PUBLIC, "timedelta": timedelta, **names})
    return result


@pytest.mark.parametrize("page", PAGES)
def test_the_pages_are_valid(page: str) -> None:
    parsed(page)


def test_every_python_block_is_run_by_a_test_below(stores: Any) -> None:
    here = Path(__file__).read_text()
    texts = re.findall(r"(?:run|find)\(\s*stores,\s*[\"'](.*?)[\"'][,)]", here)
    assert [code for code in blocks(stores, "python") if not any(text in code for text in texts)] == []


def test_the_one_line_that_changes(stores: Any) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        session = wsgi_sessions.get_session(environ)
        session["n"] = session.get("n", 0) + 1
        start_response("200 OK", [])
        return [str(session["n"]).encode()]

    system = SimpleNamespace(environ={"SESSION_STORE": "memory:"})
    client = Client(run(stores, "application = ", app=app, os=system)["application"])
    assert [client.get("/").text for _ in range(2)] == ["1", "2"]


def tables(document: Any) -> list[list[list[str]]]:
    return [
        [[cell.astext() for cell in row.findall(nodes.entry)] for row in table.findall(nodes.row)]
        for table in document.findall(nodes.table)
    ]


def test_every_url_is_of_the_store_beside_it(stores: Any) -> None:
    (rows,) = [rows for rows in tables(stores) if rows[0][0] == "URL"]
    checked = 0
    for urls, kind, _ in rows[1:]:
        for url in urls.split(", "):
            assert type(store_from_url(url)).__name__ == kind
            checked += 1
    assert checked == 11


def test_every_option_is_known(stores: Any) -> None:
    (rows,) = [rows for rows in tables(stores) if rows[0][0] == "URL"]
    samples = {"max_records": "5", "durability": "power", "lock_timeout": "1", "max_payload": "5"}
    for urls, _, told in rows[1:]:
        for option in re.findall(r"\b[a-z]+_[a-z]+\b|\b(?:durability|table|schema|prefix)\b", told):
            url = urls.split(", ")[0]
            store_from_url(f"{url}{'&' if '?' in url else '?'}{option}={samples.get(option, 'name')}")
    with pytest.raises(ValueError, match="known are"):
        store_from_url("memory:?unknown=1")


def test_the_stores_are_made_as_shown(stores: Any, tmp_path: Path) -> None:
    code = find(stores, "SQLiteStore(").replace("/var/lib/app", str(tmp_path))
    with closing(execute(code, PUBLIC)["store"]) as store:
        with open_session(store) as session:
            session["k"] = 1
        assert statistics(store).sessions == 1
    assert isinstance(run(stores, 'SQLStore("postgresql')["store"], SQLStore)
    assert isinstance(run(stores, "RedisStore(redis.Redis", redis=redis)["store"], RedisStore)
    code = find(stores, "FileSystemCache(").replace("/var/lib/app", str(tmp_path))
    assert execute(code, {**PUBLIC, "FileSystemCache": cachelib.FileSystemCache})["store"].atomic is False
    assert run(stores, "max_staleness=", RedisCache=cachelib.RedisCache)["store"].shared is True


def test_the_schema_is_made_as_shown(stores: Any, postgresql_url: str) -> None:
    from sqlalchemy import create_engine, text

    engine = create_engine(postgresql_url.replace("postgresql:", "postgresql+psycopg:"))
    with ExitStack() as stack:
        stack.callback(engine.dispose)
        with closing(SQLStore(postgresql_url, table=stack.enter_context(new_table(postgresql_url)))) as store:
            run(stores, "create_schema()", store=store)
            assert store.load("id") is None
        with closing(SQLStore(postgresql_url, table=new_name())) as store, engine.begin() as connection:
            op = SimpleNamespace(execute=lambda statement: connection.execute(text(statement)))
            run(stores, "schema_ddl()", store=store, op=op)
            connection.rollback()


def test_the_operations_do_what_is_said(stores: Any, tmp_path: Path) -> None:
    files, store = FileStore(tmp_path / "sessions"), MemoryStore()
    with open_session(files) as copied:
        copied["k"] = "copied"
    sessions = []
    for _ in range(3):
        with open_session(store) as session:
            session.owner = "anna"
        sessions.append(session)
    code = find(stores, "import copy, revoke").replace("/var/lib/app", str(tmp_path))
    execute(code, {**PUBLIC, "store": store, "session": sessions[0]})
    assert [record.id for record in store.scan()] == [record.id for record in files.scan()]


def test_moving_to_another_store(stores: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    urls = {"OLD_SESSION_STORE": f"file://{tmp_path}/sessions", "SESSION_STORE": f"sqlite:///{tmp_path}/s.db"}
    old = store_from_url(urls["OLD_SESSION_STORE"])
    for number in range(3):
        with open_session(old) as session:
            session["n"] = number
    new = run(stores, "MigratingStore(old, new)", os=SimpleNamespace(environ=urls))["store"]
    with closing(new):
        assert (statistics(new).sessions, statistics(old).sessions) == (3, 0)
    assert capsys.readouterr().out == "3 sessions are in the old store\n3 have moved\n0 are left\n"


def test_the_extras_exist() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    for page in PAGES:
        for block in blocks(parsed(page), "sh"):
            for line in block.splitlines():
                command = shlex.split(line, comments=True)
                if command[:2] == ["pip", "install"] and command[2] != "wsgi-sessions":
                    assert command[2].partition("[")[2].rstrip("]") in setup["options.extras_require"]


@pytest.mark.parametrize("page", PAGES)
def test_the_names_exist(page: str) -> None:
    literals = {node.astext() for node in parsed(page).findall(nodes.literal)}
    classes = {
        literal for literal in literals if re.fullmatch(r"(?:[A-Z][A-Za-z]+){2,}", literal) and not literal.isupper()
    }
    known = {*PUBLIC, *vars(cachelib), *wsgi_sessions.testing.__all__}
    known |= {name for path in (ROOT / "wsgi_sessions").rglob("*.py") for name in CLASS(path.read_text())}
    # Those of others.
    known |= {"RedisCluster", "TypedDict", "SQLAlchemy", "FileSession", "SecureCookie"}
    known |= {"SignedCookieSessionFactory", "UnencryptedCookieSessionFactoryConfig"}
    integration = ROOT / "wsgi_sessions" / "integrations" / f"{Path(page).stem}.py"
    if integration.exists():
        # And what the framework calls its own. Pyramid's packages import what is deprecated.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            known |= vars(import_module(f"wsgi_sessions.integrations.{integration.stem}")).keys()
    assert classes - known == set()
