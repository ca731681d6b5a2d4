"""The process of the old application is replaced by that of the new one, on its port: its visitors notice nothing."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from servers import APPS, COMMANDS, ROOT, TIMEOUT, Server, ended

from demo.browser import Answer, Browser

pytestmark = pytest.mark.servers

#: The systems, what their sessions can hold (see moving_pages.py), and the name of their cookie.
SYSTEMS = {
    "beaker-files": ("pickle", "beaker.session.id"),
    "beaker-files-drop-in": ("pickle", "beaker.session.id"),
    "beaker-cookie": ("json", "beaker.session.id"),
    "flask": ("flask", "session"),
    "flask-session-files": ("pickle", "session"),
    "flask-session-redis": ("json", "session"),
    "pyramid": ("json", "session"),
    "pyramid-session-redis": ("pickle", "session"),
    "django-cookie": ("json", "sessionid"),
    "django-db": ("json", "sessionid"),
    "django-files": ("json", "sessionid"),
    "cherrypy": ("pickle", "session_id"),
    "bottle": ("pickle", "account"),
    "secure-cookie": ("pickle", "session_id"),
}
#: Those that show messages once.
MESSAGES = {
    "flask": "[('greeting', 'hello')]",
    "flask-session-files": "[('greeting', 'hello')]",
    # MessagePack has no tuples, and the old application said the same.
    "flask-session-redis": "[['greeting', 'hello']]",
    "pyramid": "['hello']",
    "pyramid-session-redis": "['hello']",
}
#: Where ours takes the place of the old cookie, by its name.
SAME_NAME = {"beaker-files-drop-in", "flask-session-files"}
STORES = {"sqlite": "sqlite:///{}/new.db", "files": "file://{}/new"}
#: Those that have all of a session in its cookie.
IN_COOKIES = {"beaker-cookie", "flask", "pyramid", "django-cookie", "bottle"}
#: Where two visitors may have the same cookie, so that each request with one comes to a session of its own.
SHARED = {"bottle"}
# Bytes.
_SMALLEST = 100
# In turn, so that either meets sessions of cookies, of files and of servers.
CASES = [(system, tuple(STORES)[number % 2]) for number, system in enumerate(SYSTEMS)]


class Place:
    """A port, a folder and an environment, which one process after another has."""

    def __init__(self, system: str, store: str, directory: Path, redis_url: str | None) -> None:
        self.system = system
        self.values, self.cookie = SYSTEMS[system]
        self.directory = directory
        self.redis_url = redis_url
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT, APPS))),
            "SESSIONS": str(directory),
            "STORE": STORES[store].format(directory),
            "SYSTEM": system,
            "VALUES": self.values,
            "REDIS": redis_url or "",
        }

    def close(self) -> None:
        self.listener.close()

    @contextmanager
    def served_by(self, module: str, **environment: str) -> Iterator[Server]:
        """Run ``module:application``; requests that come while nothing runs wait for the next one."""
        log_path = self.directory / f"{module}.log"
        descriptor = self.listener.fileno()
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *COMMANDS["wsgiref"], f"{module}:application", str(descriptor)],
                cwd=self.directory, env={**self.environment, **environment}, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, pass_fds=[descriptor], start_new_session=True,
            )  # fmt: skip
        server = Server(self.port, process, log_path)
        with ended(process):
            try:
                yield server
            except BaseException:
                sys.stderr.write(server.log)
                raise
            server.stop()
        assert "Traceback" not in server.log, server.log

    def stored(self) -> list[str]:
        """What the old library has stored of sessions: names of files, of keys, and of rows."""
        old = self.directory / "old"
        # Beaker's locks and the count that cachelib keeps are smaller than any session.
        files = [path for path in old.rglob("*") if path.is_file() and path.stat().st_size > _SMALLEST]
        names = [path.name for path in files if path.name != "django.db"]
        if (old / "django.db").exists():
            with closing(sqlite3.connect(old / "django.db")) as connection:
                names += [row[0] for row in connection.execute("SELECT session_key FROM django_session")]
        if self.redis_url is not None:
            with redis.Redis.from_url(self.redis_url) as client:
                names += [key.decode() for key in client.scan_iter()]
        return names


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    system, store = request.param
    url = request.getfixturevalue("own_redis").url if system.endswith("redis") else None
    with closing(Place(system, store, tmp_path, url)) as place:
        yield place


def answered(answer: Answer) -> str:
    assert answer.status == 200
    return answer.text


def logged_in(browser: Browser) -> tuple[str, list[Any]]:
    """Log in at the old application; return all that its session holds, and what a browser knows its cookies by."""
    welcome = browser.post("/login")
    assert answered(welcome) == "welcome"
    held = answered(browser.get("/who"))
    assert "anna" in held and "Żółw" in held
    return held, identities(welcome.set_cookies)


def identities(set_cookies: list[str]) -> list[Any]:
    """Return what a browser tells cookies apart by, sorted: name, path and domain."""
    found = []
    for header in set_cookies:
        pair, *attributes = header.split(";")
        named = {key.strip().lower(): value for key, _, value in (text.partition("=") for text in attributes)}
        found.append((pair.partition("=")[0], named.get("path"), named.get("domain")))
    return sorted(found)


@pytest.mark.parametrize("place", CASES, ids="-on-".join, indirect=True)
def test_a_visitor_goes_on_logged_in_with_nothing_lost(place: Place) -> None:
    browser = Browser(place.port, timeout=TIMEOUT)
    with place.served_by("moving_old"):
        held, old_identities = logged_in(browser)
    assert list(browser.cookies) == [place.cookie]
    old_cookie = browser.cookies[place.cookie]
    assert len(place.stored()) == (0 if place.system in IN_COOKIES else 1)
    late, thief = browser.copy(), browser.copy()

    with place.served_by("moving_new") as server:
        # The very same, of the same types; it was read only, and yet it has moved.
        moved = browser.get("/who")
        assert answered(moved) == held
        new_cookies = dict(browser.cookies)
        assert len(new_cookies) == 1 and old_cookie not in new_cookies.values()
        assert (place.cookie in new_cookies) is (place.system in SAME_NAME)
        assert set(old_identities) <= set(identities(moved.set_cookies))
        assert place.stored() == []

        # It was sent before the new cookie had arrived.
        assert answered(late.get("/who")) == held
        assert (late.cookies == new_cookies) is (place.system not in SHARED)

        assert answered(browser.post("/add")) == "added"
        assert "Jeż" in answered(browser.get("/who"))
        if place.system in MESSAGES:
            assert answered(browser.get("/message")) == MESSAGES[place.system]
            assert answered(browser.get("/message")) == "[]"
        if place.system.startswith("flask"):
            assert answered(browser.get("/permanent")) == "True"
        assert browser.cookies == new_cookies
        assert "not taken over" not in server.log and "dropped" not in server.log

        assert answered(browser.post("/logout")) == "bye"
        for cookies in ({place.cookie: old_cookie}, new_cookies, {place.cookie: old_cookie, **new_cookies}):
            thief.cookies = dict(cookies)
            assert answered(thief.get("/who")) == "[]"
        assert answered(browser.get("/who")) == "[]"

        assert answered(browser.post("/login")) == "welcome"
        assert "anna" in answered(browser.get("/who"))
        assert browser.cookies.keys() == new_cookies.keys() and browser.cookies != new_cookies
        for secret in (old_cookie, *new_cookies.values(), *browser.cookies.values()):
            assert secret not in server.log


@pytest.mark.parametrize(
    "place", [("beaker-files", "sqlite"), ("django-cookie", "files")], ids="-on-".join, indirect=True
)
def test_the_old_application_can_be_put_back_if_it_was_told_to_keep(place: Place) -> None:
    browser = Browser(place.port, timeout=TIMEOUT)
    with place.served_by("moving_old"):
        held, _ = logged_in(browser)
    with place.served_by("moving_new", RETIRE="keep"):
        assert answered(browser.get("/who")) == held
        assert browser.cookies.keys() == {place.cookie, "id"}
    with place.served_by("moving_old"):
        assert answered(browser.get("/who")) == held


def test_there_is_a_case_for_each_system_of_the_applications() -> None:
    def systems(module: str) -> Any:
        text = (APPS / f"{module}.py").read_text().partition("SYSTEMS = {")[2].partition("}")[0]
        return {line.split('"')[1] for line in text.splitlines() if '"' in line}

    assert systems("moving_new") == set(SYSTEMS)
    assert systems("moving_old") == {system.removesuffix("-drop-in") for system in SYSTEMS}
