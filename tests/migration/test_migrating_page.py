"""docs/migrating.rst is true: its code runs, its reasons and systems are those that there are."""

from __future__ import annotations

import re
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flask
import pytest
import redis
from django.conf import global_settings
from docutils import nodes
from harness import page as app_of
from sqlalchemy import create_engine
from test_readme import ROOT, blocks, execute, find, parsed
from werkzeug.test import Client

import wsgi_sessions
from wsgi_sessions import MemoryStore, OnSessionEnd, Record, clock, store_from_url
from wsgi_sessions.integrations.base import read_options as read_settings
from wsgi_sessions.integrations.flask import WSGISessions
from wsgi_sessions.legacy import LegacySession, Reason
from wsgi_sessions.migration.flask import FlaskSource
from wsgi_sessions.migration.flask_session import FlaskSessionSource
from wsgi_sessions.migration.unknown import Unknown
from wsgi_sessions.notes import imported_record
from wsgi_sessions.testing import ReplacedClock

PUBLIC = {name: getattr(wsgi_sessions, name) for name in wsgi_sessions.__all__}
KEY = "the SECRET_KEY of the old application"


@pytest.fixture(scope="module")
def page() -> Any:
    return parsed("docs/migrating.rst")


def run(page: Any, text: str, **names: Any) -> dict[str, Any]:
    result: dict[str, Any] = execute(find(page, text), {**PUBLIC, **names})
    return result


def old_application(**config: Any) -> flask.Flask:
    app = flask.Flask("old")
    app.secret_key = KEY
    app.config.update(config)

    @app.get("/")
    def index() -> str:
        flask.session["user"] = "anna"
        return "in"

    return app


def test_every_python_block_is_run_by_a_test_below(page: Any) -> None:
    here = Path(__file__).read_text()
    texts = [text for _, text in re.findall(r"(?:run|find)\(page, ([\"'])(.*?)\1[,)]", here)]
    texts += re.findall(r"^    \"(.*)\",$", here, re.MULTILINE)
    # tests/integrations/test_beaker.py runs those of Beaker.
    beaker = next(
        section for section in page.findall(nodes.section) if section.next_node(nodes.title).astext() == "Beaker"
    )
    others = [code for code in blocks(page, "python") if code not in blocks(beaker, "python")]
    assert [code for code in others if not any(text in code for text in texts)] == []


def test_a_visitor_stays_logged_in_and_is_counted(page: Any, capsys: pytest.CaptureFixture[str]) -> None:
    old = old_application().test_client()
    old.get("/")
    application = run(page, "from wsgi_sessions.migration.flask import", app=app_of(dict), store=MemoryStore())[
        "application"
    ]
    client = Client(application)
    client.set_cookie("session", old.get_cookie("session").value)
    assert client.get("/").text == "{'user': 'anna'}"
    assert client.get_cookie("session") is None
    assert client.get("/").text == "{'user': 'anna'}"
    run(page, "application.legacy_counts", application=application)
    assert capsys.readouterr().out == "flask taken-over 1\n"


def test_objects_are_converted_as_shown(page: Any) -> None:
    names = run(page, "def convert(path, unknown)", FlaskSource=FlaskSource)
    assert names["convert"]("price", Unknown("shop.models.Money", {"amount": 5})) == "5"
    with pytest.raises(LookupError):
        names["convert"]("user", Unknown("shop.models.User"))


@pytest.mark.parametrize("name", ["session", "shop"])
def test_flask_takes_them_over_with_the_integration(page: Any, name: str) -> None:
    config = {"SESSION_COOKIE_NAME": name, "PERMANENT_SESSION_LIFETIME": timedelta(hours=1)}
    old, app = old_application(**config), flask.Flask("new")
    app.secret_key = KEY
    app.config.update(config)
    made = {"WSGISessions": WSGISessions, "FlaskSource": FlaskSource, "store": MemoryStore()}
    run(page, "sessions = WSGISessions(", app=app, **made)
    app.add_url_rule("/", view_func=lambda: flask.session["user"])
    before, after, late = old.test_client(), Client(app), Client(app)
    before.get("/")
    for client in (after, late):
        client.set_cookie(name, before.get_cookie(name).value)
    assert after.get("/").text == "anna"
    with ReplacedClock() as time:
        time.advance(timedelta(hours=2))
        assert late.get("/").status_code == 500
    assert app.wsgi_app.legacy_counts == {("flask", "taken-over"): 1, ("flask", "replayed"): 1}


@pytest.mark.parametrize("url", ["memory:", "sqlite:///{}/s.db", "file://{}/s"])
def test_the_notes_are_deleted_as_shown(page: Any, url: str, tmp_path: Path) -> None:
    with closing(store_from_url(url.format(tmp_path))) as store:
        for number in range(20):
            store.create(Record(f"{'' if number % 2 else 'legacy.'}{number}", b"", clock.now() + 60_000))
        run(page, 'startswith("legacy.")', store=store)
        assert sorted(int(record.id) for record in store.scan()) == list(range(1, 20, 2))


def test_only_imported_sessions_come_from_a_storage_that_is_gone(page: Any) -> None:
    with closing(redis.Redis(port=1)) as gone:
        source, store = FlaskSessionSource(redis=gone), MemoryStore()
        imported = LegacySession(data={"user": "anna"})
        store.create(imported_record(source.system, "a" * 43, imported, clock.now() + 60_000))
        application = run(page, "RetiredSource(source)", app=app_of(dict), store=store, source=source)["application"]
        for id, text in (("a" * 43, "{'user': 'anna'}"), ("b" * 43, "{}")):
            client = Client(application)
            client.set_cookie("session", id)
            assert client.get("/").text == text


SOURCES = [
    "FlaskSessionSource.from_config(",
    "PyramidSource(",
    "PyramidSessionRedisSource(",
    "DjangoCookieSource.from_settings(",
    "SecureCookieSource(",
    "CherryPySource(",
    "BottleSource(",
]


@pytest.mark.parametrize("text", SOURCES)
def test_the_sources_are_made_as_shown(page: Any, text: str, tmp_path: Path) -> None:
    app, settings = flask.Flask("new"), SimpleNamespace(**vars(global_settings))
    given = {"wsgi_sessions.store": "memory:"}
    app.config["SESSION_COOKIE_NAME"] = settings.SESSION_COOKIE_NAME = "shop"
    settings.SECRET_KEY = KEY
    others = {"redis": redis, "create_engine": create_engine, "old_directory": tmp_path, "timedelta": timedelta}
    config = SimpleNamespace(add_settings=given.update)
    source = run(page, text, app=app, config=config, settings=settings, **others)["source"]
    assert source.cookies("unrelated=1") == []
    if ".from_" in text:
        assert source.cookies("shop=1; session=2; sessionid=3") == ["1"]
    if "Pyramid" in text:
        _, arguments = read_settings(given, "wsgi_sessions.")
        assert arguments == {"expiry": OnSessionEnd(timedelta(minutes=20)), "legacy": [source]}


def test_every_reason_is_told(page: Any) -> None:
    (table,) = [table for table in page.findall(nodes.table) if "bad-signature" in table.astext()]
    told = {next(iter(row.findall(nodes.entry))).astext() for row in table.findall(nodes.row)} - {"Reason"}
    assert told == {str(reason) for reason in Reason}


def test_every_system_has_its_section(page: Any) -> None:
    modules = {path.stem for path in (ROOT / "wsgi_sessions" / "migration").glob("[a-z]*.py")}
    systems = modules - {"base", "bulk", "pickles", "retired", "unknown", "values"}
    text = (ROOT / "docs" / "migrating.rst").read_text()
    assert [name for name in systems - {"beaker"} if f"migration.{name} import" not in text] == []
    assert "integrations.beaker import" in text
