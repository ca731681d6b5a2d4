"""docs/flask.rst is true: its code runs, its commands exist, its settings are known."""

from __future__ import annotations

import re
import shlex
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import flask
import flask_session
import pytest
import redis
from backends import empty_store
from docutils import nodes
from flask_login import user_logged_in, user_logged_out
from flask_site import CheckedClient, FlaskSite
from test_readme import ROOT, blocks, execute, find, parsed

import wsgi_sessions
from wsgi_sessions import MemoryStore, OnInactivity, SessionCookie
from wsgi_sessions.integrations.flask import WSGISessions, with_bucket

PUBLIC = {name: getattr(wsgi_sessions, name) for name in wsgi_sessions.__all__}
FLASK = {"Flask": flask.Flask, "session": flask.session, "WSGISessions": WSGISessions, "with_bucket": with_bucket}


@pytest.fixture(scope="module")
def page() -> Any:
    return parsed("docs/flask.rst")


def run(page: Any, text: str, **names: Any) -> dict[str, Any]:
    result: dict[str, Any] = execute(find(page, text), {**PUBLIC, **FLASK, "timedelta": timedelta, **names})
    return result


def test_every_python_block_is_run_by_a_test_below(page: Any) -> None:
    here = Path(__file__).read_text()
    texts = re.findall(r"(?:run|find)\(page, [\"'](.*?)[\"'][,)]", here)
    assert [code for code in blocks(page, "python") if not any(text in code for text in texts)] == []


def test_a_newcomer_gets_a_login(page: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = find(page, "def index():")
    assert len([line for line in code.splitlines() if line]) <= 21
    monkeypatch.chdir(tmp_path)
    app = execute(code, {})["app"]
    client = CheckedClient(app)
    with closing(app.wsgi_app.store):
        assert "Log in" in client.get("/").text
        assert client.post("/login", data={"user": "anna"}).headers["Location"] == "/"
        old = client.get_cookie("id").value
        assert client.get("/").text.startswith("anna")
        client.post("/logout")
        assert "Log in" in client.get("/").text
        client.set_cookie("id", old)
        assert "Log in" in client.get("/").text
        client.post("/login", data={"user": "<script>"})
        assert "<script>" not in client.get("/").text
        assert client.post("/login", data={"user": ""}).status_code == 302


def test_a_factory_is_configured_as_shown(page: Any) -> None:
    app = run(page, "def create_app():")["create_app"]()
    assert app.wsgi_app.cookie == SessionCookie("__Host-id")
    assert app.wsgi_app._settings.expiry == OnInactivity(timedelta(hours=1))
    assert type(app.wsgi_app.store).__name__ == "RedisStore"


def test_a_switch_from_flask_session_is_one_import(page: Any) -> None:
    app = run(page, "WSGISessions as Session", redis=redis)["app"]
    assert type(app.wsgi_app.store).__name__ == "RedisStore"


def logged_in(app: flask.Flask) -> str:
    """Return the cookie of a visitor whom an application has greeted that has other sessions than ours."""

    def index() -> str:
        flask.session["user"] = "anna"
        return "in"

    app.add_url_rule("/", view_func=index)
    client = app.test_client()
    client.get("/")
    return str(client.get_cookie(app.config["SESSION_COOKIE_NAME"]).value)


# The blocks take over who comes to an application with a name of its own for the cookie, too.
configured = pytest.mark.parametrize("config", [{}, {"SESSION_COOKIE_NAME": "shop"}])


def assert_taken_over(app: flask.Flask, cookie: str) -> None:
    """Show that this application knows the visitor, and gives a cookie of ours."""
    app.add_url_rule("/", view_func=lambda: str(flask.session.get("user")))
    client, name = CheckedClient(app), app.config["SESSION_COOKIE_NAME"]
    client.set_cookie(name, cookie)
    assert [client.get("/").text for _ in range(2)] == ["anna", "anna"]
    if name == "session":
        assert client.get_cookie("session") is None
        assert client.get_cookie("id") is not None
    else:
        assert client.get_cookie(name).value != cookie


@configured
def test_nobody_is_logged_out_by_a_move_from_flask(
    page: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    old, app = flask.Flask("old"), flask.Flask("new")
    for each in (old, app):
        each.config.update(config, SECRET_KEY="as it was")
    run(page, "FlaskSource.from_config(", app=app)
    with closing(app.wsgi_app.store):
        assert_taken_over(app, logged_in(old))


@configured
def test_nobody_is_logged_out_by_a_move_from_flask_session(page: Any, redis_url: str, config: dict[str, Any]) -> None:
    with redis.Redis.from_url(redis_url) as client, empty_store("redis") as store:
        old, app = flask.Flask("old"), flask.Flask("new")
        for each in (old, app):
            each.config.update(config, SESSION_TYPE="redis", SESSION_REDIS=client)
        flask_session.Session(old)
        app.config["WSGI_SESSIONS_STORE"] = store
        run(page, "FlaskSessionSource.from_config(", app=app, Session=WSGISessions)
        cookie = logged_in(old)
        assert_taken_over(app, cookie)
        assert client.get(f"session:{cookie}") is None


def test_flask_logins_signals_give_an_owner_and_new_tokens(page: Any) -> None:
    site = FlaskSite()
    signals = {"user_logged_in": user_logged_in, "user_logged_out": user_logged_out}
    names = run(page, "user_logged_in.connect_via", app=site.app, **signals)
    assert callable(names["take_over"])

    class User:
        def get_id(self) -> str:
            return "anna"

    def handler(signal: Any) -> Any:
        return lambda: str(len(signal.send(site.app, user=User())))

    client, thief = site.client(), site.client()
    site.set(client, cart=1)
    for signal, owner in ((user_logged_in, "anna"), (user_logged_in, "anna"), (user_logged_out, None)):
        thief.set_cookie("id", client.get_cookie("id").value)
        site.visit(client, handler(signal))
        assert site.ask(client, lambda session: (session.owner, dict(session))) == (owner, {"cart": 1})
        assert site.ask(thief, dict) == {}


def test_the_bucket_counts(page: Any) -> None:
    site = FlaskSite()
    run(page, "@with_bucket(Guest)", app=site.app, dataclass=dataclass)
    client = site.client()
    assert [client.get("/guest").text for _ in range(2)] == ["1 pages", "2 pages"]


def test_the_middleware_may_be_around_it(page: Any) -> None:
    app = flask.Flask("page")
    app.add_url_rule("/", view_func=lambda: str(flask.session.setdefault("n", 1)))
    application = run(page, "application = SessionMiddleware", app=app, store=MemoryStore())["application"]
    assert CheckedClient(application).get("/").text == "1"


def test_the_test_that_is_shown_passes(page: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    app = execute(find(page, "def index():"), {})["app"]
    with closing(app.wsgi_app.store):
        run(page, "session_transaction() as", app=app)["test_the_page_knows_the_visitor"]()


def test_the_commands_exist(page: Any, tmp_path: Path) -> None:
    commands = [
        shlex.split(line, comments=True)
        for block in blocks(page, "sh")
        for line in block.splitlines()
        if line.startswith("flask")
    ]
    assert len(commands) == 4
    site = FlaskSite(MemoryStore())
    for command in commands:
        if command[-1] != "create-schema":
            assert site.app.test_cli_runner().invoke(args=command[1:]).exit_code == 0, command


def test_the_settings_are_read(page: Any) -> None:
    """Each that a table names stands in the code."""
    code = (ROOT / "wsgi_sessions/integrations/_flask_config.py").read_text()
    code += (ROOT / "wsgi_sessions/integrations/flask.py").read_text()
    named = {
        row.findall(nodes.entry).__next__().astext()
        for table in page.findall(nodes.table)
        for row in table.findall(nodes.row)
    } - {"Setting"}
    assert len(named) == 21
    known = {"SECRET_KEY": "secret_key", "PERMANENT_SESSION_LIFETIME": "permanent_session_lifetime"}
    assert [name for name in named if known.get(name, name) not in code] == []


def test_the_screenshots_are_there(page: Any) -> None:
    images = [image["uri"] for image in page.findall(nodes.image)]
    assert images == ["screenshots/login.png", "screenshots/welcome.png"]
    for image in images:
        assert (ROOT / "docs" / image).read_bytes().startswith(b"\x89PNG")
