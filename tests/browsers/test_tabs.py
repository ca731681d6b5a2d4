"""Requests of one browser that are under way together: of one page, and of two tabs."""

import json
import re
from contextlib import contextmanager

import pytest

pytestmark = pytest.mark.servers

FRAMEWORKS = ["flask", "bottle", "pyramid"]
ROUNDS = 5


@contextmanager
def tab(visitor):
    """Do something in another tab, which stays open, and come back to the one that is in front."""
    first = visitor.driver.current_window_handle
    visitor.driver.switch_to.new_window("tab")
    yield
    visitor.driver.switch_to.window(first)


@contextmanager
def held_request(sites, visitor, read="before"):
    """Have a request of the page under way inside the block, which writes after that; its answer is appended then.

    :param read: it reads the session before or after the block.
    """
    directory = sites.servers["https"].log_path.parent
    started, go = directory / "started", directory / "go"
    answers = []
    visitor.driver.execute_script(
        "window.held = fetch('held', {method: 'POST', body: new URLSearchParams({read: arguments[0]})})"
        ".then(answer => answer.text().then(text => answer.status + ' ' + text))",
        read,
    )
    visitor.wait(started.exists, "the request that is held")
    try:
        yield answers
        go.touch()
        answers.append(visitor.driver.execute_async_script("window.held.then(arguments[0])"))
    finally:
        go.touch()
        started.unlink()
    go.unlink()


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_ten_requests_at_once_with_a_key_each_lose_none(sites, framework):
    visitor = sites.visitor(framework, "https")
    visitor.log_in("anna")
    visitor.open("parallel")
    for round in range(ROUNDS):
        visitor.driver.execute_script("send(arguments[0])", f"round{round}")
        shown = " ".join([f"round{round}", *["200"] * 10])
        visitor.wait(lambda: visitor.text("result").startswith(f"round{round} "), "ten answers")  # noqa: B023
        assert visitor.text("result") == shown
        assert json.loads(visitor.fetch("keys")) == {f"key{number}": f"round{round}" for number in range(10)}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_login_among_ten_requests_holds(sites, framework):
    visitor = sites.visitor(framework, "https")
    visitor.open()
    before = visitor.cookie()["value"]
    visitor.open("parallel")
    visitor.driver.execute_script("send('first', () => login('anna'))")
    visitor.wait(lambda: visitor.text("result") == " ".join(["first", *["200"] * 11]), "eleven answers")
    assert visitor.fetch("who") == "anna"
    assert visitor.cookie()["value"] != before
    # Other than those before it, which were a guest's.
    visitor.driver.execute_script("send('second')")
    visitor.wait(lambda: visitor.text("result") == " ".join(["second", *["200"] * 10]), "ten answers")
    assert json.loads(visitor.fetch("keys")) == {f"key{number}": "second" for number in range(10)}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_login_in_one_tab_logs_nobody_out_while_another_tab_polls(sites, framework):
    visitor = sites.visitor(framework, "https")
    visitor.open()
    visitor.open("poller")
    visitor.wait(lambda: answers(visitor), "the first poll")
    with tab(visitor):
        visitor.log_in("anna")
        assert visitor.seen()[0] == "anna"
    enough = len(answers(visitor)) + 3
    visitor.wait(lambda: len(answers(visitor)) >= enough, "polls after the login")
    # A guest's, then anna's, and never a guest's again.
    assert re.fullmatch("(200 guest,)+(200 anna,)+", "".join(f"{answer}," for answer in answers(visitor)))
    network = visitor.network()
    assert len(network) > enough
    # The guest's and the login's; no poll gave one, or took one away.
    assert sum(len(answer.set_cookies) for answer in network) == 2
    assert not any("Max-Age=0" in line for answer in network for line in answer.set_cookies)


def answers(visitor):
    return visitor.driver.execute_script("return answers")


@pytest.mark.parametrize("read", ["before", "after"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_request_that_is_under_way_while_another_tab_logs_in_changes_nothing(sites, framework, read):
    visitor = sites.visitor(framework, "https")
    visitor.open()
    visitor.network()
    with held_request(sites, visitor, read) as held:
        with tab(visitor):
            visitor.log_in("anna")
            cookie = visitor.cookie()["value"]
    assert held == ["200 guest"]
    assert visitor.cookie()["value"] == cookie
    assert visitor.fetch("who") == "anna"
    assert json.loads(visitor.fetch("keys")) == {}
    assert sum(len(answer.set_cookies) for answer in visitor.network()) == 1


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_logout_in_one_tab_ends_the_other(sites, framework):
    visitor = sites.visitor(framework, "https")
    visitor.log_in("anna")
    with tab(visitor):
        visitor.open()
        assert visitor.seen()[0] == "anna"
        visitor.log_out()
    # As it was left, until it asks again.
    assert visitor.seen()[0] == "anna"
    assert visitor.fetch("who") == "guest"
    visitor.driver.refresh()
    assert visitor.seen()[0] == "guest"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_request_that_is_under_way_while_another_tab_logs_out_does_not_bring_the_session_back(sites, framework):
    visitor = sites.visitor(framework, "https")
    visitor.log_in("anna")
    with held_request(sites, visitor) as held:
        with tab(visitor):
            visitor.open("parallel")
            visitor.fetch("end", user="anna")
            assert visitor.cookies() == []
    assert held == ["200 anna"]
    assert visitor.cookies() == []
    assert visitor.fetch("who") == "guest"
