"""Servers that are killed and started again in the middle of the traffic of gunicorn's workers."""

import threading
import time
from contextlib import closing
from typing import Any, NamedTuple

import pytest
from outages import LONGEST, assert_unavailable, in_background
from servers import at_once, running
from services import wait_until

from wsgi_sessions.stores.sql import SQLStore

pytestmark = pytest.mark.servers

_VISITORS = 4


@pytest.mark.parametrize("name", ["own_redis", "own_postgresql", "own_mariadb"])
def test_a_restart_costs_no_session_and_no_page_without_one(name, request, tmp_path, monkeypatch):
    """T-52."""
    server = request.getfixturevalue(name)
    if name != "own_redis":
        with closing(SQLStore(server.url)) as store:
            store.create_schema()
    monkeypatch.setenv("STORE", server.url)
    with running("gunicorn-gthread", "anywhere:application", tmp_path, quiet=False) as web:
        visitors = [_Visitor(web.browser(), number) for number in range(_VISITORS)]
        bystander = _Bystander(web.browser())
        stop = threading.Event()
        join = in_background(lambda: at_once([each.until(stop) for each in (*visitors, bystander)]))
        try:
            wait_until(lambda: all(len(visitor.answers) >= 10 for visitor in visitors), "traffic")
            server.kill()
            wait_until(lambda: all(visitor.outages >= 3 for visitor in visitors), "an outage")
            server.start()
            started = time.monotonic()
            first = web.browser().post("/login?user=new")
            wait_until(lambda: all(visitor.answers[-1].begun > started for visitor in visitors), "traffic again")
        finally:
            stop.set()
            join()
        assert first.status == 200
        assert {(each.answer.status, each.answer.text) for each in bystander.answers} == {(200, "plain")}
        for visitor in visitors:
            visitor.check(started)


class _Answered(NamedTuple):
    """An answer, and when its request was sent and answered."""

    begun: float
    answer: Any
    ended: float


class _Client:
    """Sends one request after the other."""

    def __init__(self, browser):
        self.browser = browser
        self.answers = []

    def until(self, stop):
        def work():
            while not stop.is_set():
                self.go_on()

        return work

    def send(self, path):
        begun = time.monotonic()
        answer = self.browser.get(path)
        self.answers.append(_Answered(begun, answer, time.monotonic()))
        return answer


class _Bystander(_Client):
    """Asks for what has nothing to do with sessions."""

    def go_on(self):
        self.send("/plain")


class _Visitor(_Client):
    """Logs in, and then writes 1, 2, 3..., and reads between two of them."""

    def __init__(self, browser, name):
        super().__init__(browser)
        assert self.browser.post(f"/login?user={name}").status == 200
        self.token = browser.cookies["id"]
        self.number = 0
        #: What may be stored: the value that was acknowledged last, and those that were not, since then.
        self.possible = ["nothing"]

    @property
    def outages(self):
        return sum(each.answer.status != 200 for each in self.answers)

    def go_on(self):
        found = self.send("/get?key=n")
        assert found.status != 200 or found.text in self.possible
        self.number += 1
        self.possible.append(str(self.number))
        if self.send(f"/put?key=n&value={self.number}").status == 200:
            self.possible = [str(self.number)]

    def check(self, started):
        assert max(each.ended - each.begun for each in self.answers) <= LONGEST
        for each in self.answers:
            assert each.begun < started or each.answer.status == 200
            if each.answer.status != 200:
                assert_unavailable(each.answer)
            assert each.answer.set_cookies == []
        assert self.browser.cookies == {"id": self.token}
        assert self.browser.get("/get?key=n").text in self.possible
