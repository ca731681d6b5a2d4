"""Every example over real servers: as a program, and under gunicorn."""

import ast
import os
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from servers import EXAMPLES, ROOT, TIMEOUT, ended, free_port, running

from demo.browser import Browser

pytestmark = pytest.mark.servers

NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))
WITH_LOGIN = ["bottle_app", "cherrypy_app", "django_app", "falcon_app", "flask_app", "pyramid_app", "signed"]
# Only the examples' own log lines: some frameworks use what is deprecated.
WARNINGS = ("-W", "error::ResourceWarning")


@contextmanager
def as_program(name, directory):
    """Run ``python examples/name.py port`` and return a browser for it."""
    browser = Browser(free_port(), timeout=TIMEOUT)
    command = [sys.executable, *WARNINGS, str(EXAMPLES / f"{name}.py"), str(browser.port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=directory, env=environment, stdout=log, stderr=log)
    with ended(process):
        wait_until_listening(browser, process)
        yield browser
    assert "Traceback" not in (directory / "log").read_text()


@contextmanager
def under_gunicorn(name, directory):
    """Run ``gunicorn name:application``, in one process because the examples keep sessions in memory."""
    options = ("--workers=1", "--threads=4")
    with running("gunicorn-sync", f"{name}:application", directory, *options) as server:
        yield server.browser()


def wait_until_listening(browser, process):
    deadline = time.monotonic() + TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        try:
            browser.copy().get("/")
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the example does not listen")


started = pytest.mark.parametrize("start", [as_program, under_gunicorn])


@started
@pytest.mark.parametrize("name", WITH_LOGIN)
def test_login_and_logout_leave_the_old_cookies_worthless(name, start, tmp_path):
    with start(name, tmp_path) as browser:
        assert browser.get().text == "Visit number 1 of a guest\n"
        before_login = browser.copy()
        assert browser.post("/login?user=anna").text == "Welcome, anna\n"
        assert browser.cookies != before_login.cookies
        assert browser.get().text == "Visit number 2 of anna\n"
        assert before_login.get().text == "Visit number 1 of a guest\n"
        before_logout = browser.copy()
        assert browser.post("/logout").text == "Good bye\n"
        assert not browser.cookies
        assert before_logout.get().text == "Visit number 1 of a guest\n"
        assert browser.get().text == "Visit number 1 of a guest\n"


@started
@pytest.mark.parametrize("name", ["counter", "custom_store"])
def test_the_counters_count_each_visitor(name, start, tmp_path):
    with start(name, tmp_path) as browser:
        other = browser.copy()
        assert [browser.get().text for _ in range(3)] == [f"Visit number {visit}\n" for visit in (1, 2, 3)]
        assert other.get().text == "Visit number 1\n"
        replay = browser.copy()
        assert replay.get().text == "Visit number 4\n"


@started
def test_the_typed_guest_book_remembers_the_first_visit(start, tmp_path):
    with start("typed", tmp_path) as browser:
        first, second = browser.get().text, browser.get().text
        assert first.startswith("Visit number 1, first seen ")
        assert second.startswith("Visit number 2, first seen ")
        assert first.split(", ")[1] == second.split(", ")[1]
        before_logout = browser.copy()
        assert browser.post("/logout").text == "Good bye\n"
        assert before_logout.get().text.startswith("Visit number 1, first seen ")


def test_a_forged_signature_opens_nothing(tmp_path):
    with under_gunicorn("signed", tmp_path) as browser:
        browser.post("/login?user=anna")
        token, _, signature = browser.cookies["id"].rpartition(".")
        thief = Browser(browser.port, {"id": f"{token}.{signature[:-1]}{'A' if signature[-1] != 'A' else 'E'}"})
        assert thief.get().text == "Visit number 1 of a guest\n"
        assert Browser(browser.port, {"id": token}).get().text == "Visit number 1 of a guest\n"


def test_every_example_is_among_those_above():
    assert sorted([*WITH_LOGIN, "counter", "custom_store", "typed"]) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_short_and_explains_itself(name):
    text = (EXAMPLES / f"{name}.py").read_text()
    assert len([line for line in text.splitlines() if line.strip()]) <= 60
    assert ast.get_docstring(ast.parse(text))
