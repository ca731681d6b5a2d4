"""What README.rst shows is true: its code runs, its commands exist, its names are there."""

import configparser
import os
import re
import secrets
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from docutils import nodes
from docutils.core import publish_doctree
from gunicorn.config import Config
from werkzeug.test import Client

import wsgi_sessions.testing
from wsgi_sessions import MemoryStore, SessionMiddleware, get_session, open_session, store_from_url
from wsgi_sessions.operations import revoke

ROOT = Path(__file__).parent.parent


def parsed(name):
    """Parse a file as GitHub and the package index do; anything that they would complain about raises."""
    settings = {"halt_level": 2, "report_level": 5, "syntax_highlight": "none", "_disable_config": True}
    return publish_doctree((ROOT / name).read_text(), settings_overrides=settings)


@pytest.fixture(scope="module")
def readme():
    return parsed("README.rst")


def blocks(document, language):
    return [block.astext() for block in document.findall(nodes.literal_block) if language in block["classes"]]


def find(document, text):
    """Return the one Python block that holds the text."""
    (code,) = [code for code in blocks(document, "python") if text in code]
    return code


def execute(code, names):
    namespace = {"__name__": "readme", **names}
    exec(compile(code, "README.rst", "exec"), namespace)
    return namespace


def run(document, text, **names):
    """Run the one Python block that holds the text, and return its names."""
    known = {name: getattr(wsgi_sessions, name) for name in wsgi_sessions.__all__}
    return execute(find(document, text), {"datetime": datetime, "timedelta": timedelta, "UTC": UTC, **known, **names})


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello " + (get_session(environ).owner or "stranger").encode()]


def test_the_readme_and_the_changes_are_valid():
    parsed("README.rst")
    parsed("CHANGES.rst")


def test_every_python_block_is_run_by_a_test_below(readme):
    here = Path(__file__).read_text()
    texts = re.findall(r"(?:run|find)\(readme, [\"'](.*?)[\"'][,)]", here)
    assert [code for code in blocks(readme, "python") if not any(text in code for text in texts)] == []


def test_the_example_counts_visits(readme, tmp_path, monkeypatch):
    code = find(readme, "Visit number")
    assert len([line for line in code.splitlines() if line]) <= 15
    monkeypatch.chdir(tmp_path)
    names = execute(code, {})
    client = Client(names["app"])
    assert [client.get("/").text for _ in range(3)] == ["Visit number 1", "Visit number 2", "Visit number 3"]
    assert (tmp_path / "sessions.db").is_file()
    names["app"].wsgi_app._settings.store.close()


def test_login_and_logout(readme):
    store = MemoryStore()
    names = run(readme, "def login(environ, user)", revoke=revoke)

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/login":
            names["login"](environ, "anna")
        if environ["PATH_INFO"] == "/logout":
            names["logout"](environ)
        if environ["PATH_INFO"] == "/everywhere":
            names["log_out_everywhere_else"](environ, store)
        return hello(environ, start_response)

    client = Client(SessionMiddleware(app, store))
    assert client.post("/login").text == "Hello anna"
    assert client.get("/").text == "Hello anna"
    assert client.post("/logout").text == "Hello stranger"
    assert list(store.scan()) == []
    client.post("/login")
    with open_session(store) as session:
        session.owner = "anna"
    client.post("/everywhere")
    assert [record.id for record in store.scan()] != [session.id]
    assert client.get("/").text == "Hello anna"
    assert len(list(store.scan())) == 1


def test_every_store_has_a_line_whose_url_makes_it(readme):
    (table,) = [table for table in readme.findall(nodes.table) if "As a URL" in table.astext()]
    rows = [[cell.astext() for cell in row.findall(nodes.entry)] for row in table.findall(nodes.row)]
    made = {name: type(store_from_url(url)).__name__ for name, url, _ in rows[1:] if ":" in url}
    assert made == {name: name for name in made}
    without_url = {name for name, url, _ in rows[1:] if ":" not in url}
    stores = {name for name in wsgi_sessions.__all__ if name.endswith("Store")} | {"SQLStore", "RedisStore"}
    assert set(made) | without_url == stores - {"SessionStore"} | {"your own"}


def test_one_line_names_the_store(readme, monkeypatch):
    monkeypatch.setenv("SESSION_STORE", "memory:")
    assert isinstance(run(readme, "SESSION_STORE", os=os)["store"], MemoryStore)


def test_a_change_inside_a_value_is_stored_and_values_can_be_typed(readme):
    @dataclass
    class Cart:
        items: list[str]
        since: datetime

    store = MemoryStore()
    with open_session(store) as session:
        names = run(readme, 'session["cart"]', session=session, Cart=Cart)
    assert isinstance(names["cart"], Cart)
    with open_session(store, session.id) as session:
        assert session["cart"]["items"] == ["tea", "milk"]
        assert type(session["cart"]["since"]) is datetime


def test_mutate_counts(readme):
    with open_session(MemoryStore()) as session:
        run(readme, "session.mutate", session=session)
        run(readme, "session.mutate", session=session)
        assert session["visits"] == 2


def test_the_middlewares_that_are_shown_work(readme):
    names = run(readme, "__Host-id", app=hello, store=MemoryStore())
    assert Client(names["application"]).get("/").text == "Hello stranger"
    # Not asked for anything: its thread would outlive the test.
    names = run(readme, "sweep_every", app=hello, store=MemoryStore())
    assert isinstance(names["application"], SessionMiddleware)


def test_signed_and_encrypted_cookies(readme, monkeypatch):
    monkeypatch.setenv("OLD_KEY", secrets.token_urlsafe(32))
    monkeypatch.setenv("NEW_KEY", secrets.token_urlsafe(32))
    names = run(readme, "EncryptedCookie", os=os)
    assert isinstance(names["cookie"], names["EncryptedCookie"])


def test_the_test_that_is_shown_passes(readme):
    store = MemoryStore()
    names = run(readme, "ReplacedClock", store=store, application=SessionMiddleware(hello, store))
    names["test_a_login_ends_after_two_weeks"]()


def test_the_contract_can_be_subclassed_as_shown(readme):
    names = run(readme, "StoreContract", MyStore=MemoryStore)
    assert isinstance(names["TestMyStore"]().make_store(), MemoryStore)


def commands(document):
    lines = [line for block in blocks(document, "sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines]


def test_every_command_is_known(readme):
    """Each is checked below by what it starts with."""
    assert {command[0] for command in commands(readme)} == {"pip", "make", "python", "gunicorn"}


def test_what_make_is_asked_for_exists(readme):
    makefile = (ROOT / "Makefile").read_text()
    targets = [command[1] for command in commands(readme) if command[0] == "make"]
    assert targets == ["demo", "test"]
    mentioned = re.findall(r"``make ([a-z-]+)``", (ROOT / "README.rst").read_text())
    for target in [*targets, *mentioned]:
        assert re.search(rf"^{target}: ", makefile, re.MULTILINE)


def test_the_extras_exist(readme):
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    packages = [command[2] for command in commands(readme) if command[:2] == ["pip", "install"]]
    assert [package.partition("[")[0] for package in packages] == [setup["metadata"]["name"]] * 7
    for package in packages:
        extra = package.partition("[")[2].rstrip("]")
        assert not extra or extra in setup["options.extras_require"]


def test_gunicorn_takes_the_options(readme):
    (arguments,) = [command[1:] for command in commands(readme) if command[0] == "gunicorn"]
    options = Config().parser().parse_args(arguments)
    assert (options.workers, options.threads, options.preload_app) == (4, 8, True)


def test_the_key_that_is_made_is_good_enough(readme, capsys):
    (code,) = [command[2] for command in commands(readme) if command[0] == "python"]
    execute(code, {})
    assert wsgi_sessions.SignedCookie([capsys.readouterr().out.strip()])


def test_the_names_exist(readme):
    literals = {node.astext() for node in readme.findall(nodes.literal)}
    classes = {literal for literal in literals if re.fullmatch(r"(?:[A-Z][A-Za-z]+){2,}", literal)}
    # Each in a module of its own, which an extra needs.
    foreign = {"HttpOnly", "TypedDict", "UUID", "SQLStore", "RedisStore"} | set(wsgi_sessions.testing.__all__)
    assert [name for name in classes - foreign if not hasattr(wsgi_sessions, name)] == []


def test_the_files_exist(readme):
    literals = {node.astext() for node in readme.findall(nodes.literal)}
    files = {literal for literal in literals if re.fullmatch(r"[\w/]+\.(?:py|rst)|\w+/", literal)}
    assert len(files) >= 10
    for file in files:
        assert (ROOT / file).exists() or (ROOT / "examples" / file).exists(), file


def test_the_changes_name_everything_public():
    text = (ROOT / "CHANGES.rst").read_text()
    errors = {name for name in wsgi_sessions.__all__ if issubclass_of_error(name)}
    internal = {"Record", "SessionStore", "SessionToken"}
    missing = [name for name in set(wsgi_sessions.__all__) - errors - internal if name not in text]
    assert missing == []


def issubclass_of_error(name):
    value = getattr(wsgi_sessions, name)
    return isinstance(value, type) and issubclass(value, Exception)
