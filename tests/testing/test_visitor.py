"""The visitor that an application's tests start with."""

import doctest

import pytest
from werkzeug.test import Client

from wsgi_sessions import MemoryStore, SessionCookie, SessionMiddleware, SignedCookie, get_session
from wsgi_sessions.testing import cookie_of_visitor, visitor


def greet(environ, start_response):
    session = get_session(environ)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{session.get('user')} {session.owner}".encode()]


@pytest.mark.parametrize("cookie", [SessionCookie(), SignedCookie([b"0a1b2c3d4e5f60718293a4b5c6d7e8f9 test"], "sid")])
def test_the_application_knows_the_visitor(cookie):
    store = MemoryStore()
    client = Client(SessionMiddleware(greet, store, cookie=cookie))

    client.set_cookie(*cookie_of_visitor(store, {"user": "alice"}, owner="7", cookie=cookie))

    assert client.get("/").text == "alice 7"


def test_nobody_is_refused():
    with pytest.raises(ValueError, match="without values and owner"):
        cookie_of_visitor(MemoryStore(), {})


def test_its_example_is_right():
    assert doctest.testmod(visitor).attempted > 0
    assert doctest.testmod(visitor).failed == 0
