"""The middleware: what one request does with its session, from the server's and the browser's side."""

from __future__ import annotations

import copy
import gc
import io
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from wsgiref.handlers import SimpleHandler
from wsgiref.util import FileWrapper

import msgspec
import pytest
from harness import TEXT, Browser, Exchange, Headers, RecordingStore, call, garbage_of, make_environ, serve, wrapped

from wsgi_sessions import (
    AtDateTime,
    FileStore,
    HeadersSent,
    MemoryStore,
    OnInactivity,
    OnSessionEnd,
    RecordNotFound,
    SerializationError,
    Session,
    SessionCookie,
    SessionFrozen,
    SessionMiddleware,
    SessionMissing,
    SessionToken,
    SessionTooLarge,
    SignedCookie,
    StoreError,
    get_session,
    open_session,
)
from wsgi_sessions.cookies.encrypted import EncryptedCookie
from wsgi_sessions.testing import ReplacedClock
from wsgi_sessions.testing.parallel import in_processes, in_threads

# Over each kind of store.
pytestmark = pytest.mark.usefixtures("backend")

KEY = "b9f2c47d10e8a35664d1907fce2b83a57e0d4c6f91b8253ad7f6e04c8b1a9d35"
HOUR = timedelta(hours=1)
NOON = 2_000_000_000_000
# No test waits this long unless it fails.
TIMEOUT = 20
SECRET_VALUE = "the-stored-value"


class AppError(Exception):
    """The application's own."""


class Body:
    """An iterable that counts its closes."""

    def __init__(self, *items: bytes) -> None:
        self.items = items
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.items)

    def close(self) -> None:
        self.closed += 1


class SizedBody(Body):
    """The same, complete when it is returned."""

    def __len__(self) -> int:
        return len(self.items)


PAGES: dict[str, Callable[[Session], Any]] = {
    "untouched": lambda session: None,
    "read": lambda session: session.get("k"),
    "write": lambda session: session.update(k=SECRET_VALUE),
    "count": lambda session: session.mutate("n", lambda n: n + 1, 0),
    "append": lambda session: session.setdefault("list", []).append(1),
    "remove": lambda session: session.pop("k"),
    "cycle": lambda session: session.cycle_id(),
    "login": lambda session: setattr(session, "owner", "alice"),
    "flush": lambda session: session.flush(),
    "delete": lambda session: session.delete(),
    "save": lambda session: (session.update(k=SECRET_VALUE), session.save()),
    "day": lambda session: setattr(session, "expiry", AtDateTime(datetime.fromtimestamp(NOON / 1000 + 86400, UTC))),
    "closing": lambda session: setattr(session, "expiry", OnSessionEnd()),
}


def site(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Do what the path says; the query is the status."""
    result = PAGES[environ["PATH_INFO"][1:]](get_session(environ))
    start_response(f"{environ['QUERY_STRING'] or '200'} Status", [*TEXT, ("X-App", "yes")])
    return [repr(result).encode()]


def leaving(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Log out and say good-bye in the next session; the query is the status."""
    session = get_session(environ)
    session.flush()
    session["flash"] = "bye"
    start_response(f"{environ['QUERY_STRING']} Status", list(TEXT))
    return []


def answering(
    body: Any, status: str = "200 OK", headers: Headers | None = None, use: Callable[[Session], Any] | None = None
) -> Callable[..., Any]:
    """Return an app that uses its session and answers with this very body."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        if use is not None:
            use(get_session(environ))
        start_response(status, list(TEXT) if headers is None else headers)
        return body

    return app


def streaming(position: str, use: Callable[[Session], Any]) -> Callable[..., Any]:
    """Return an app with a body of two items that uses its session at one point of the response."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        session = get_session(environ)

        def at(place: str) -> None:
            if place == position:
                use(session)

        class Stream:
            def __iter__(self) -> Iterator[bytes]:
                at("before the first item")
                yield b"1"
                at("after the first item")
                yield b"2"

            def close(self) -> None:
                at("in close")

        at("before start_response")
        start_response("200 OK", list(TEXT))
        at("before the return")
        return Stream()

    return app


@pytest.fixture
def store() -> RecordingStore:
    return RecordingStore()


def visitor(store: RecordingStore, app: Callable[..., Any] = site, **options: Any) -> Browser:
    """Return a browser whose session holds a value; the store's log starts after that."""
    browser = Browser(wrapped(site, store, **options))
    assert browser.get("/write").set_cookies != []
    browser.app = wrapped(app, store, **options)
    store.forget()
    return browser


def stored(store: RecordingStore) -> dict[str, Any]:
    """Return what the only session of the store holds."""
    (record,) = store.records
    with open_session(store.inner, record.id) as session:
        return dict(session)


def messages(caplog: pytest.LogCaptureFixture, logger: str, level: int = logging.NOTSET) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == logger and record.levelno >= level]


class TestUntouched:
    """Section 0.1: a request that does not use its session costs nothing and changes nothing."""

    @pytest.mark.parametrize("body", [[b"a"], (b"a",), [], SizedBody(b"a")])
    @pytest.mark.parametrize("status", ["200 OK", "304 Not Modified", "500 Oops"])
    def test_the_very_headers_and_body_go_through(self, store: RecordingStore, body: Any, status: str) -> None:
        """P-16, P-22."""
        headers = list(TEXT)
        browser = visitor(store)
        browser.app = SessionMiddleware(answering(body, status, headers), store)
        exchange = browser.open()
        assert exchange.body is body
        assert exchange.response is not None
        assert exchange.response.headers is headers
        assert headers == TEXT
        assert store.calls == []

    @pytest.mark.parametrize("cookie", ["", "id=malformed", f"id={'A' * 22}.{'A' * 22}", "id=; other=1"])
    @pytest.mark.parametrize("body", [[b"one"], [b"a", b"b"], [], Body(b"a", b"", b"b")])
    def test_the_bytes_that_leave_are_those_without_it(self, store: RecordingStore, cookie: str, body: Any) -> None:
        """P-22, P-29: through the reference server; and a cookie that opens nothing stays in the browser."""

        def bytes_of(app: Any) -> bytes:
            output = io.BytesIO()
            handler = SimpleHandler(io.BytesIO(), output, io.StringIO(), make_environ(HTTP_COOKIE=cookie))
            handler.origin_server = False
            handler.run(app)
            return output.getvalue()

        app = answering(body, headers=[("Content-Type", "text/html"), ("Set-Cookie", "a=1"), ("set-cookie", "id=2")])
        assert bytes_of(SessionMiddleware(app, store)) == bytes_of(app)
        assert store.calls == []

    @pytest.mark.parametrize("headers", [tuple(TEXT), iter(TEXT)])
    def test_what_is_wrong_with_the_head_is_left_for_the_server(self, store: RecordingStore, headers: Any) -> None:
        """P-04, P-22: it may be one that does not mind."""
        received: list[Any] = []
        middleware = SessionMiddleware(answering([], "OK", headers), store)
        middleware(make_environ(), lambda *arguments: received.extend(arguments))
        assert received[0] == "OK"
        assert received[1] is headers

    def test_a_file_goes_through_as_it_is(self, store: RecordingStore) -> None:
        """P-19."""
        body = FileWrapper(io.BytesIO(b"file"))
        middleware = SessionMiddleware(answering(body, use=PAGES["write"]), store)
        exchange = Exchange(middleware, make_environ(**{"wsgi.file_wrapper": FileWrapper}))
        assert exchange.body is body
        assert store.methods == ["create"]

    def test_without_cookie_or_use_nothing_happens(self, store: RecordingStore) -> None:
        """T-49."""
        response = call(wrapped(site, store), path="/untouched")
        assert response.headers == [*TEXT, ("X-App", "yes")]
        assert store.calls == []


class TestEnviron:
    def test_it_stays_the_same_dict_with_two_more_keys(self, store: RecordingStore) -> None:
        """P-02, P-24, T-64: nothing that is there is touched, ``wsgi.early_hints`` included."""
        seen = []

        def app(environ: dict[str, Any], start_response: Any, /) -> list[bytes]:
            seen.append(environ)
            get_session(environ)["k"] = 1
            start_response("200 OK", list(TEXT))
            return []

        hints = object()
        environ = make_environ(HTTP_COOKIE="id=x; a=1", **{"wsgi.early_hints": hints})
        before = dict(environ)
        Exchange(SessionMiddleware(app, store), environ).finish()
        assert seen == [environ]
        assert seen[0] is environ
        assert type(environ) is dict
        assert environ.keys() - before.keys() == {"wsgi_sessions.session", "wsgi_sessions.session.id"}
        assert all(environ[key] is value for key, value in before.items())
        assert environ["wsgi.input"].tell() == 0

    def test_the_session_is_there_under_both_names(self) -> None:
        """P-03."""
        found = []

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            found.extend(
                [
                    get_session(environ),
                    get_session(environ, "sid"),
                    environ["wsgi_sessions.session"],
                    environ["wsgi_sessions.session.sid"],
                ]
            )
            start_response("200 OK", list(TEXT))
            return []

        call(wrapped(app, cookie=SessionCookie("sid")))
        assert isinstance(found[0], Session)
        assert all(session is found[0] for session in found)

    def test_the_cookie_is_the_one_that_came_with_the_request(self, store: RecordingStore) -> None:
        """P-03, where design.md differs: a session never holds the environ, which would be a cycle."""
        browser = visitor(store)

        def app(environ: dict[str, Any], start_response: Any) -> Any:
            environ["HTTP_COOKIE"] = ""
            return site(environ, start_response)

        browser.app = SessionMiddleware(app, store)
        assert browser.get("/read").text == repr(SECRET_VALUE)

    @pytest.mark.parametrize("environ", [{}, {"wsgi_sessions.session": None}, {"wsgi_sessions.session": {}}])
    def test_without_a_middleware_get_session_says_so(self, environ: dict[str, Any]) -> None:
        """Trap 24."""
        with pytest.raises(SessionMissing, match="is SessionMiddleware wrapped around this app"):
            get_session(environ)

    def test_a_wrong_name_is_named(self) -> None:
        """Trap 24."""
        with pytest.raises(SessionMissing, match=r"'other'.*SessionMiddleware"):
            call(SessionMiddleware(lambda environ, start_response: get_session(environ, "other"), MemoryStore()))


# Every way to look into a session; the test below finds the public names that are missing here.
ACCESSES: dict[str, Callable[[Session], Any]] = {
    "__getitem__": lambda session: session["k"],
    "__setitem__": lambda session: session.__setitem__("k", 1),
    "__delitem__": lambda session: session.__delitem__("k"),
    "__contains__": lambda session: "k" in session,
    "__iter__": lambda session: list(session),
    "__len__": lambda session: len(session),
    "__eq__": lambda session: session == {},
    "__ne__": lambda session: session != {},
    "bool": lambda session: bool(session),
    "dict": lambda session: dict(session),
    "unpacking": lambda session: {**session},
    "get": lambda session: session.get("k"),
    "get of a type": lambda session: session.get("k", type=str),
    "pop": lambda session: session.pop("k"),
    "pop of a missing key": lambda session: session.pop("missing", None),
    "popitem": lambda session: session.popitem(),
    "setdefault": lambda session: session.setdefault("k", 1),
    "update": lambda session: session.update(k=1),
    "update with nothing": lambda session: session.update(),
    "clear": lambda session: session.clear(),
    "keys": lambda session: list(session.keys()),
    "items": lambda session: list(session.items()),
    "values": lambda session: list(session.values()),
    "mutate": lambda session: session.mutate("k", lambda value: 1),
    "id": lambda session: session.id,
    "is_new": lambda session: session.is_new,
    "is_empty": lambda session: session.is_empty,
    "created": lambda session: session.created,
    "owner": lambda session: session.owner,
    "set owner": lambda session: setattr(session, "owner", "alice"),
    "expiry": lambda session: session.expiry,
    "set expiry": lambda session: setattr(session, "expiry", OnInactivity(HOUR)),
    "expiry_date": lambda session: session.expiry_date,
    "expiry_age": lambda session: session.expiry_age,
    "copy()": lambda session: session.copy(),
    "save": lambda session: session.save(),
    "load": lambda session: session.load(),
    "flush": lambda session: session.flush(),
    "delete": lambda session: session.delete(),
    "cycle_id": lambda session: session.cycle_id(),
}
GLANCES: dict[str, Callable[[Session], Any]] = {
    "is_loaded": lambda session: session.is_loaded,
    "is_modified": lambda session: session.is_modified,
    "accessed": lambda session: session.accessed,
    "repr": lambda session: repr(session),
    "str": lambda session: str(session),
    "identity": lambda session: session is None,
    "copy": lambda session: copy.copy(session),
    "view": Session.view,
}


class TestVary:
    def test_the_table_names_everything_public(self) -> None:
        """T-62: a method that is added must be added there."""
        public = {name for name in dir(Session) if not name.startswith("_")}
        assert public - {name.removesuffix("()") for name in ACCESSES} - GLANCES.keys() == set()

    @pytest.mark.parametrize("live", [True, False])
    @pytest.mark.parametrize("name", ACCESSES)
    def test_it_goes_on_every_response_that_looked_into_the_session(
        self, store: RecordingStore, name: str, live: bool
    ) -> None:
        """T-62 (CVE-2023-30861, CVE-2026-27205)."""

        def use(session: Session) -> None:
            with suppress(KeyError):
                ACCESSES[name](session)
            assert session.accessed

        browser = visitor(store)
        app = answering([], headers=[*TEXT, ("Vary", "Accept-Encoding")], use=use)
        browser = browser if live else Browser(None)
        browser.app = wrapped(app, store)
        assert browser.get().header("Vary") == "Accept-Encoding, Cookie"

    @pytest.mark.parametrize("name", GLANCES)
    def test_it_does_not_go_where_only_the_outside_was_seen(self, store: RecordingStore, name: str) -> None:
        """T-62: these do no I/O, and their answer is the same for everybody."""
        browser = visitor(store, answering([], use=GLANCES[name]))
        assert browser.get().headers == TEXT
        assert store.calls == []

    @pytest.mark.parametrize("status", ["200 OK", "302 Found", "404 Not Found", "500 Oops"])
    def test_it_goes_whatever_the_status(self, store: RecordingStore, status: str) -> None:
        """T-62, T-64."""
        assert visitor(store, answering([], status, use=PAGES["read"])).get().header("Vary") == "Cookie"


class TestHeaders:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            (None, "no-store"),
            ("public, max-age=60", "no-store"),
            ("s-maxage=60", "no-store"),
            ("private, max-age=60", "private, max-age=60"),
            ("no-cache", "no-cache"),
            ("no-store", "no-store"),
        ],
    )
    @pytest.mark.parametrize("page", ["write", "read", "cycle", "flush"])
    def test_cache_control_goes_with_set_cookie(
        self, store: RecordingStore, page: str, given: str | None, expected: str
    ) -> None:
        """T-63: created, renewed, rotated, removed."""
        headers = TEXT if given is None else [*TEXT, ("Cache-Control", given)]
        with ReplacedClock(NOON) as clock:
            app = answering([], headers=headers, use=PAGES[page])
            browser = visitor(store, app, expiry=OnInactivity(HOUR))
            clock.advance(HOUR / 2)
            browser = Browser(browser.app) if page == "write" else browser
            response = browser.get()
        assert len(response.set_cookies) == 1
        assert response.header("Cache-Control") == expected

    def test_without_set_cookie_the_apps_own_stays(self, store: RecordingStore) -> None:
        """T-63."""
        headers = [*TEXT, ("Cache-Control", "public")]
        browser = visitor(store, answering([], headers=headers, use=PAGES["read"]))
        assert browser.get().headers == [*headers, ("Vary", "Cookie")]

    def test_all_of_the_apps_headers_stay_as_they_are(self, store: RecordingStore) -> None:
        """P-22, P-23: five cookies of its own, case and order; ours come last."""
        headers = [("Content-Length", "0"), *TEXT, *[("SET-Cookie", f"c{number}=1") for number in range(5)]]
        response = Browser(wrapped(answering([], headers=headers, use=PAGES["write"]), store)).get()
        assert response.headers[: len(headers)] == headers
        assert [name for name, _ in response.headers[len(headers) :]] == ["Vary", "Set-Cookie", "Cache-Control"]

    def test_a_cookie_of_our_name_set_by_the_app_is_dropped_when_we_set_one(
        self, store: RecordingStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        """T-38 (RFC 6265bis 4.1.1)."""
        cookies = [("Set-Cookie", "a=1"), ("Set-Cookie", "id=x"), ("Set-Cookie", "b=2")]
        response = Browser(wrapped(answering([], headers=[*TEXT, *cookies], use=PAGES["write"]), store)).get()
        assert [value.split("=")[0] for value in response.set_cookies] == ["a", "b", "id"]
        assert "id=x" not in response.set_cookies
        assert len(messages(caplog, "wsgi_sessions", logging.WARNING)) == 1

    def test_a_cookie_of_our_name_set_by_the_app_stays_when_we_set_none(self, store: RecordingStore) -> None:
        """T-38."""
        browser = visitor(store, answering([], headers=[*TEXT, ("Set-Cookie", "id=x")], use=PAGES["read"]))
        assert browser.get().set_cookies == ["id=x"]

    def test_a_list_that_the_app_uses_again_never_carries_anothers_cookie(self, store: RecordingStore) -> None:
        """P-04, T-67: a constant of the module, as in many small apps."""
        headers = list(TEXT)
        middleware = SessionMiddleware(answering([], headers=headers, use=PAGES["count"]), store)
        cookies = []
        for _ in range(3):
            (cookie,) = Browser(middleware).get().set_cookies
            cookies.append(cookie)
        assert len(set(cookies)) == 3
        assert headers == TEXT
        assert Browser(SessionMiddleware(answering([], headers=headers), store)).get().headers is headers

    @pytest.mark.parametrize("headers", [tuple(TEXT), iter(TEXT)])
    @pytest.mark.parametrize("kind", [Body, SizedBody])
    def test_headers_that_are_no_list_are_refused_before_anything_is_stored(
        self, store: RecordingStore, headers: Any, kind: type[Body]
    ) -> None:
        """P-04: reading an iterator twice would lose them without a word."""
        body = kind(b"a")
        with pytest.raises(TypeError, match="headers must be a list"):
            call(SessionMiddleware(answering(body, headers=headers, use=PAGES["write"]), store))
        assert store.calls == []
        assert body.closed == 1

    @pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
    def test_a_response_without_body_gets_the_cookie_and_no_content_headers(
        self, store: RecordingStore, status: str
    ) -> None:
        """P-25, T-64: the checkers know what such a response may have."""
        response = Browser(wrapped(answering([], status, [], PAGES["write"]), store)).get()
        assert [name for name, _ in response.headers] == ["Vary", "Set-Cookie", "Cache-Control"]
        assert response.body == b""

    @pytest.mark.parametrize("status", ["200 OK", "206 Partial Content", "302 Found", "404 Not Found"])
    def test_head_and_other_statuses_get_the_cookie(self, store: RecordingStore, status: str) -> None:
        """P-25, T-56, T-64."""
        browser = Browser(wrapped(answering([], status, use=PAGES["write"]), store))
        assert len(browser.request("HEAD").set_cookies) == 1
        assert stored(store) == {"k": SECRET_VALUE}


class TestCookieOverHttp:
    def test_the_warning_comes_once(self, store: RecordingStore, caplog: pytest.LogCaptureFixture) -> None:
        """T-40: and names both ways out."""
        app = wrapped(site, store)
        for _ in range(3):
            assert "; Secure" in call(app, path="/write", scheme="http").set_cookies[0]
        (message,) = messages(caplog, "wsgi_sessions", logging.WARNING)
        assert "SessionCookie(secure=False)" in message
        assert "wsgi.url_scheme" in message

    @pytest.mark.parametrize(("scheme", "secure"), [("https", True), ("http", False), ("https", False)])
    def test_there_is_none_where_the_browser_will_return_it(
        self, store: RecordingStore, caplog: pytest.LogCaptureFixture, scheme: str, secure: bool
    ) -> None:
        """T-40."""
        call(wrapped(site, store, cookie=SessionCookie(secure=secure)), path="/write", scheme=scheme)
        assert messages(caplog, "wsgi_sessions", logging.WARNING) == []

    def test_what_a_client_says_about_its_scheme_is_ignored(
        self, store: RecordingStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        """T-41."""
        call(wrapped(site, store), path="/write", scheme="http", HTTP_X_FORWARDED_PROTO="https")
        assert len(messages(caplog, "wsgi_sessions", logging.WARNING)) == 1
        call(wrapped(site, store), path="/write", scheme="https", HTTP_X_FORWARDED_PROTO="http")
        assert len(messages(caplog, "wsgi_sessions", logging.WARNING)) == 1


class TestNesting:
    def test_the_same_name_and_store_is_one_session(self, store: RecordingStore) -> None:
        """T-65, trap 26: one load, one save, one cookie."""
        found = []

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            found.append((get_session(environ), get_session(environ, "id")))
            return site(environ, start_response)

        browser = Browser(wrapped(SessionMiddleware(app, store), store))
        response = browser.get("/count")
        assert len(response.set_cookies) == 1
        assert response.header("Vary") == "Cookie"
        assert store.methods == ["create"]
        store.forget()
        assert browser.get("/count").text == "2"
        assert store.methods == ["load", "save"]
        assert all(first is second for first, second in found)

    def test_the_same_name_with_two_stores_is_an_error(self) -> None:
        """T-65."""
        app = SessionMiddleware(SessionMiddleware(site, MemoryStore()), MemoryStore())
        with pytest.raises(ValueError, match=r"different stores.*'id'.*SessionCookie\('another name'\)"):
            call(app, path="/untouched")

    def test_different_names_are_different_sessions(self) -> None:
        """T-65, trap 26: both are found by name, and the innermost without."""
        inner, outer = RecordingStore(), RecordingStore()

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            get_session(environ, "a")["k"] = "outer"
            get_session(environ, "b")["k"] = "inner"
            assert get_session(environ) is get_session(environ, "b")
            start_response("200 OK", list(TEXT))
            return []

        nested = SessionMiddleware(app, inner, cookie=SessionCookie("b"))
        browser = Browser(wrapped(nested, outer, cookie=SessionCookie("a")))
        response = browser.get()
        assert browser.cookies.keys() == {"a", "b"}
        assert response.header("Vary") == "Cookie"
        assert response.header("Cache-Control") == "no-store"
        assert (stored(outer), stored(inner)) == ({"k": "outer"}, {"k": "inner"})

    def test_the_innermost_is_found_without_a_name_also_where_it_is_shared(self, store: RecordingStore) -> None:
        """T-65: a around b around a again."""
        found = []

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            found.extend([get_session(environ), get_session(environ, "a"), get_session(environ, "b")])
            start_response("200 OK", list(TEXT))
            return []

        a, b = SessionCookie("a"), SessionCookie("b")
        inner = SessionMiddleware(SessionMiddleware(app, store, cookie=a), store, cookie=b)
        call(SessionMiddleware(inner, store, cookie=a))
        assert found[0] is found[1]
        assert found[0] is not found[2]

    def test_a_sub_request_with_a_copied_environ_shares_the_session(self, store: RecordingStore) -> None:
        """P-28, T-65: it is part of this request, which commits once."""

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            if environ["PATH_INFO"] == "/count":
                return site(environ, start_response)
            get_session(environ)["n"] = 40
            sub = Exchange(middleware, {**environ, "PATH_INFO": "/count"}).finish()
            assert sub.set_cookies == []
            get_session(environ)["n"] += 1
            start_response("200 OK", list(TEXT))
            return [sub.body]

        middleware = SessionMiddleware(app, store)
        response = Browser(middleware).get()
        assert response.body == b"41"
        assert len(response.set_cookies) == 1
        assert store.methods == ["create"]
        assert stored(store) == {"n": 42}

    def test_a_sub_request_with_a_fresh_environ_is_another_visitor(self, store: RecordingStore) -> None:
        """P-28, T-65."""

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            if environ["PATH_INFO"] == "/":
                get_session(environ)["secret"] = 1
                sub = call(middleware, path="/read")
                start_response("200 OK", list(TEXT))
                return [sub.body]
            return site(environ, start_response)

        middleware = SessionMiddleware(app, store)
        assert Browser(middleware).get().body == b"None"
        assert store.methods == ["create"]

    def test_an_environ_that_is_used_again_gets_a_session_of_its_own(self, store: RecordingStore) -> None:
        """T-65, T-67: as some test clients do."""
        middleware = SessionMiddleware(site, store)
        environ = make_environ(path="/count")
        first = Exchange(middleware, environ)
        first.finish()
        session = get_session(environ)
        second = Exchange(middleware, environ).finish()
        assert get_session(environ) is not session
        assert second.body == b"1"
        assert len(store.records) == 2


class TestThreads:
    def test_a_hundred_threads_share_one_middleware(self) -> None:
        """P-28, T-67: with a sub-request inside each; nobody sees another's value."""

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            if environ["PATH_INFO"] == "/outer":
                session = get_session(environ)
                session["me"] = environ["QUERY_STRING"]
                sub = call(middleware, path=f"/inner?{environ['QUERY_STRING']}-inner")
                body = f"{session['me']} {sub.text}"
            elif environ["PATH_INFO"] == "/inner":
                get_session(environ)["me"] = environ["QUERY_STRING"]
                body = get_session(environ)["me"]
            else:
                body = get_session(environ)["me"]
            start_response("200 OK", headers)
            return [body.encode()]

        headers = list(TEXT)
        middleware = SessionMiddleware(app, MemoryStore())

        def work(index: int, ready: Callable[[], object]) -> list[str]:
            browser = Browser(middleware)
            ready()
            return [browser.get(f"/outer?{index}").text, *[browser.get("/me").text for _ in range(3)]]

        results = in_threads(work, 100, TIMEOUT)
        assert results == [[f"{index} {index}-inner", *[str(index)] * 3] for index in range(100)]
        assert headers == TEXT

    def test_threads_of_one_request_share_its_session(self, store: RecordingStore) -> None:
        """T-66: one load, and no write is lost."""
        found: list[Session] = []

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            session = get_session(environ)
            found.append(session)

            def work(index: int, ready: Callable[[], object]) -> None:
                ready()
                for number in range(100):
                    session[f"{index}-{number}"] = number

            in_threads(work, 8, TIMEOUT)
            start_response("200 OK", list(TEXT))
            return []

        visitor(store, app).get()
        assert store.methods == ["load", "save"]
        assert len(stored(store)) == 801

    def test_a_thread_that_writes_after_the_response_is_told(self, store: RecordingStore) -> None:
        """T-66: in that thread, and nothing is stored."""
        over = threading.Event()
        errors: list[BaseException] = []

        def work(session: Session) -> None:
            over.wait(TIMEOUT)
            try:
                session["late"] = 1
            except SessionFrozen as error:
                errors.append(error)

        thread: list[threading.Thread] = []

        def use(session: Session) -> None:
            session["k"] = 1
            thread.append(threading.Thread(target=work, args=(session,)))
            thread[0].start()

        Browser(wrapped(answering([], use=use), store)).get()
        store.forget()
        over.set()
        thread[0].join(TIMEOUT)
        assert len(errors) == 1
        assert store.calls == []


class TestOutage:
    """A store that fails: T-50, T-52, T-54, T-55, trap 25."""

    def assert_503(self, response: Any) -> None:
        assert response.status == 503
        assert int(response.header("Retry-After")) > 0
        assert response.header("X-App") is None
        assert response.set_cookies == []
        assert b"told to fail" not in response.body

    @pytest.mark.parametrize(
        ("page", "method"),
        [
            ("read", "load"),
            ("write", "load"),
            ("count", "save"),
            ("cycle", "save"),
            ("login", "save"),
            ("flush", "delete"),
            ("delete", "delete"),
            ("save", "create"),
            ("write", "create"),
            ("read", "touch"),
        ],
    )
    def test_any_failure_before_the_head_is_a_503(
        self, store: RecordingStore, page: str, method: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """T-50, T-54: at load, at commit and from ``flush`` or ``save``; one log line with the cause."""
        with ReplacedClock(NOON) as clock:
            browser = visitor(store)
            clock.advance(timedelta(days=7))
            browser = Browser(browser.app) if method == "create" else browser
            before = store.records
            store.fail(method)
            self.assert_503(browser.get(f"/{page}"))
            assert store.records == before
        assert len(messages(caplog, "wsgi_sessions", logging.ERROR)) == 1
        assert "no such host" in caplog.text

    def test_a_request_that_does_not_use_its_session_never_notices(self, store: RecordingStore) -> None:
        """T-52."""
        browser = visitor(store)
        store.fail_always()
        assert browser.get("/untouched").status == 200
        assert store.calls == []

    def test_it_clears_no_cookie_and_the_session_is_there_afterwards(self, store: RecordingStore) -> None:
        """T-52."""
        browser = visitor(store)
        before = browser.cookies
        store.fail_always()
        for page in ("read", "write", "flush", "cycle"):
            self.assert_503(browser.get(f"/{page}"))
        assert browser.cookies == before
        store.recover()
        assert browser.get("/read").text == repr(SECRET_VALUE)

    @pytest.mark.parametrize("kind", [Body, SizedBody])
    @pytest.mark.parametrize("fails_at", ["load", "save"])
    def test_the_apps_body_is_closed_once_and_its_headers_are_dropped(
        self, store: RecordingStore, kind: type[Body], fails_at: str
    ) -> None:
        """T-54: it answered 500 after an error that it caught, or does not know of the error at all."""
        body = kind(b"the app's")

        def use(session: Session) -> None:
            with suppress(StoreError):
                session["k"] = 1

        status = "500 Oops" if fails_at == "load" else "200 OK"
        app = answering(body, status, [*TEXT, ("X-App", "yes"), ("Set-Cookie", "a=1")], use)
        browser = visitor(store)
        browser.app = SessionMiddleware(app, store)
        store.fail(fails_at)
        response = browser.get()
        self.assert_503(response)
        assert body.closed == 1
        assert b"the app's" not in response.body

    def test_a_handler_that_copes_is_left_alone(self, store: RecordingStore) -> None:
        """T-52: it caught the error and answered below 500."""

        def use(session: Session) -> None:
            with pytest.raises(StoreError):
                session["k"]

        browser = visitor(store, answering([b"degraded"], headers=[*TEXT, ("X-App", "yes")], use=use))
        before = browser.cookies
        store.fail("load")
        response = browser.get()
        assert (response.status, response.body, response.header("X-App")) == (200, b"degraded", "yes")
        assert response.header("Vary") == "Cookie"
        assert (response.set_cookies, browser.cookies) == ([], before)

    def test_a_second_try_in_the_same_request_may_succeed(self, store: RecordingStore) -> None:
        """T-52."""

        def use(session: Session) -> None:
            with pytest.raises(StoreError):
                session["k"]
            session["n"] = session["k"]

        browser = visitor(store, answering([], use=use))
        store.fail("load")
        assert browser.get().status == 200
        assert stored(store) == {"k": SECRET_VALUE, "n": SECRET_VALUE}

    def test_a_generator_is_answered_503_too(self, store: RecordingStore) -> None:
        """T-54: at its first item, and at its end if it has none."""
        for items in ((), (b"a", b"b")):
            body = Body(*items)
            browser = visitor(store)
            browser.app = wrapped(answering(body, use=PAGES["count"]), store)
            store.fail("save")
            self.assert_503(browser.get())
            assert body.closed == 1

    def test_write_is_answered_503_too(self, store: RecordingStore) -> None:
        """T-54, P-08: and what the app writes after that is dropped."""
        body = SizedBody(b"c")

        def app(environ: dict[str, Any], start_response: Any) -> Any:
            get_session(environ)["n"] = 1
            write = start_response("200 OK", [*TEXT, ("X-App", "yes")])
            write(b"a")
            write(b"b")
            return body

        browser = visitor(store, app)
        store.fail("save")
        browser.app = SessionMiddleware(app, store)
        response = browser.get()
        self.assert_503(response)
        assert all(channel == "item" for channel, _ in response.chunks)
        assert body.closed == 1
        assert stored(store) == {"k": SECRET_VALUE}

    def test_error_app_answers_instead(self, store: RecordingStore) -> None:
        """Trap 25: and sees the request."""
        seen = []

        def error_app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            seen.append(environ["PATH_INFO"])
            start_response("503 Soon", [("Content-Type", "application/json")])
            return [b"{}"]

        browser = visitor(store, error_app=error_app)
        store.fail("load")
        response = browser.get("/read")
        assert (response.status, response.reason, response.body) == (503, "Soon", b"{}")
        assert response.headers == [("Content-Type", "application/json"), ("Vary", "Cookie")]
        assert seen == ["/read"]

    def test_an_os_error_of_the_apps_own_passes(self, store: RecordingStore) -> None:
        """T-50, P-26: only the store's errors are answered."""
        error = OSError("disk full")

        def use(session: Session) -> None:
            raise error

        with pytest.raises(OSError, match="disk full") as raised:
            visitor(store, answering([], use=use)).get()
        assert raised.value is error

    def test_a_failure_in_the_stream_is_logged_and_never_raised(
        self, store: RecordingStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        """T-50, T-55: the head is out and the body is whole."""
        browser = visitor(store, streaming("after the first item", PAGES["count"]))
        store.fail("save")
        response = browser.get()
        assert (response.status, response.body) == (200, b"12")
        assert len(messages(caplog, "wsgi_sessions", logging.ERROR)) == 1
        assert stored(store) == {"k": SECRET_VALUE}

    def test_always_save_does_not_make_it_everybodys(
        self, store: RecordingStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        """T-52: a request that does not use its session is answered as ever."""
        browser = visitor(store, always_save=True)
        store.fail_always()
        response = browser.get("/untouched")
        assert (response.status, response.headers) == (200, [*TEXT, ("X-App", "yes")])
        assert len(messages(caplog, "wsgi_sessions", logging.WARNING)) == 1

    @pytest.mark.parametrize("status", ["200 OK", "500 Oops"])
    def test_a_late_write_under_always_save_is_refused_and_not_lost(self, store: RecordingStore, status: str) -> None:
        """P-30: the head is out also where keeping the session alive failed, or was not tried."""
        raised = []

        def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
            start_response(status, list(TEXT))
            yield b"1"
            store.recover()
            with pytest.raises(HeadersSent) as caught:
                get_session(environ)["late"] = 1
            raised.append(caught)
            yield b"2"

        browser = Browser(wrapped(app, store, always_save=True))
        token = SessionToken.generate()
        store.fail_always()
        browser.put("id", token.value)
        assert browser.get().body == b"12"
        assert len(raised) == 1


class TestAppErrors:
    """What the app raises, and what its response says: T-56, trap 14."""

    @pytest.mark.parametrize("page", ["write", "count", "cycle", "login", "day"])
    def test_an_exception_stores_nothing(self, store: RecordingStore, page: str) -> None:
        """T-56, P-26."""

        def use(session: Session) -> None:
            PAGES[page](session)
            raise AppError

        browser = visitor(store, answering([], use=use))
        before = store.records
        with pytest.raises(AppError):
            browser.get()
        assert store.methods == ["load"]
        assert store.records == before

    def test_a_logout_survives_an_exception(self, store: RecordingStore) -> None:
        """T-56: it is done at once."""

        def use(session: Session) -> None:
            session.flush()
            raise AppError

        with pytest.raises(AppError):
            visitor(store, answering([], use=use)).get()
        assert store.records == []

    @pytest.mark.parametrize("page", ["write", "count", "cycle", "login"])
    def test_a_5xx_stores_nothing_and_sets_no_cookie(self, store: RecordingStore, page: str) -> None:
        """T-56, trap 14: the old token simply stays valid, also after ``cycle_id``."""
        browser = visitor(store)
        before = store.records
        response = browser.get(f"/{page}?500")
        assert (response.status, response.set_cookies, store.methods) == (500, [], ["load"])
        assert store.records == before
        assert browser.get("/read").text == repr(SECRET_VALUE)

    def test_a_5xx_after_a_logout_removes_the_cookie(self, store: RecordingStore) -> None:
        """T-56, trap 14."""
        browser = visitor(store)
        assert browser.get("/flush?500").status == 500
        assert browser.cookies == {}
        assert store.records == []

    def test_what_was_written_after_a_logout_is_stored_unless_the_response_failed(self, store: RecordingStore) -> None:
        """T-56, trap 1: under another id; of a 5xx only the logout remains."""
        browser = visitor(store, leaving)
        (before,) = store.records
        assert browser.get("/?200").status == 200
        (after,) = store.records
        assert after.id != before.id
        assert stored(store) == {"flash": "bye"}
        assert browser.get("/?500").status == 500
        assert browser.cookies == {}
        assert store.records == []

    def test_a_5xx_after_save_announces_what_is_durable(self, store: RecordingStore) -> None:
        """T-56."""
        browser = Browser(wrapped(site, store))
        assert browser.get("/save?500").status == 500
        assert browser.get("/read").text == repr(SECRET_VALUE)

    @pytest.mark.parametrize("status", [302, 400, 404, 499])
    def test_any_other_status_stores(self, store: RecordingStore, status: int) -> None:
        """T-56."""
        browser = visitor(store)
        assert browser.get(f"/count?{status}").status == status
        assert stored(store)["n"] == 1

    def test_the_status_of_exc_info_decides(self, store: RecordingStore) -> None:
        """P-09: nothing of the first head remains, and one cookie is set at most."""

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            get_session(environ)["k"] = 1
            start_response("200 OK", [*TEXT, ("X-Stale", "yes")])
            try:
                raise AppError
            except AppError as error:
                start_response(environ["QUERY_STRING"], list(TEXT), (AppError, error, error.__traceback__))
            return []

        failed = call(wrapped(app, store), path="/?500 Oops")
        assert (failed.status, failed.set_cookies, failed.header("X-Stale")) == (500, [], None)
        assert store.calls == []
        refused = call(wrapped(app, store), path="/?403 No")
        assert (refused.status, len(refused.set_cookies), refused.header("X-Stale")) == (403, 1, None)

    @pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
    def test_what_is_no_exception_passes(self, store: RecordingStore, kind: type[BaseException]) -> None:
        """P-26."""

        def use(session: Session) -> None:
            session["n"] = 1
            raise kind

        with pytest.raises(kind):
            visitor(store, answering([], use=use)).get()
        assert store.methods == ["load"]

    @pytest.mark.parametrize("result", [None, [b"no head"]])
    def test_a_response_without_a_head_stores_nothing(self, store: RecordingStore, result: Any) -> None:
        """P-26: the server refuses it."""

        def app(environ: dict[str, Any], start_response: Any) -> Any:
            get_session(environ)["k"] = 1
            return result

        with pytest.raises((TypeError, AssertionError)):
            call(SessionMiddleware(app, store))
        assert store.calls == []

    @pytest.mark.parametrize("kind", [Body, SizedBody])
    @pytest.mark.parametrize(
        ("use", "error"),
        [
            (lambda session: session.setdefault("list", []).append(object()), SerializationError),
            (lambda session: session.update(big="x" * 500), SessionTooLarge),
        ],
    )
    def test_what_cannot_be_stored_is_raised_as_the_apps_own_error(
        self, store: RecordingStore, kind: type[Body], use: Callable[[Session], Any], error: type[Exception]
    ) -> None:
        """T-54: body closed, stored session unchanged, no head sent."""
        body = kind(b"a")
        browser = visitor(store, max_payload=300)
        browser.app = SessionMiddleware(answering(body, use=use), store, max_payload=300)
        before = store.records
        with pytest.raises(error):
            browser.get()
        assert body.closed == 1
        assert store.records == before

    def test_what_cannot_be_stored_is_raised_by_write_where_the_app_may_still_answer(
        self, store: RecordingStore
    ) -> None:
        """P-08, P-09: nothing has left yet."""

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            get_session(environ)["list"] = [object]
            write = start_response("200 OK", list(TEXT))
            try:
                write(b"a")
            except SerializationError as error:
                start_response("500 Oops", list(TEXT), (type(error), error, error.__traceback__))
            return [b"oops"]

        response = call(wrapped(app, store))
        assert (response.status, response.body) == (500, b"oops")
        assert store.calls == []


class TestStreaming:
    """P-30, trap 19: one change at each point of a response."""

    BEFORE = ("before start_response", "before the return", "before the first item")
    AFTER = ("after the first item", "in close")

    @pytest.mark.parametrize("position", BEFORE)
    def test_a_change_before_the_first_item_is_stored_and_announced(self, store: RecordingStore, position: str) -> None:
        """P-13, P-30: of a new session."""
        browser = Browser(wrapped(streaming(position, PAGES["count"]), store))
        response = browser.get()
        assert response.body == b"12"
        assert len(response.set_cookies) == 1
        assert stored(store) == {"n": 1}

    @pytest.mark.parametrize("position", [*BEFORE, *AFTER])
    def test_a_change_of_an_existing_session_is_stored_at_any_point(self, store: RecordingStore, position: str) -> None:
        """P-30: its cookie is the one that the browser has."""
        browser = visitor(store, streaming(position, PAGES["count"]))
        response = browser.get()
        assert (response.body, response.set_cookies) == (b"12", [])
        assert stored(store) == {"k": SECRET_VALUE, "n": 1}
        assert store.methods == ["load", "save"]

    @pytest.mark.parametrize("position", AFTER)
    def test_a_new_session_after_the_first_item_is_refused(self, store: RecordingStore, position: str) -> None:
        """P-30: loudly, for its cookie cannot be sent."""
        with pytest.raises(HeadersSent, match="needs a cookie"):
            call(wrapped(streaming(position, PAGES["write"]), store))
        assert store.calls == []

    @pytest.mark.parametrize("position", AFTER)
    @pytest.mark.parametrize("page", ["cycle", "login", "day"])
    def test_what_needs_a_cookie_is_refused_after_the_first_item(
        self, store: RecordingStore, position: str, page: str
    ) -> None:
        """P-30."""
        browser = visitor(store, streaming(position, PAGES[page]))
        before = store.records
        with pytest.raises(HeadersSent):
            browser.get()
        assert store.records == before

    @pytest.mark.parametrize("position", AFTER)
    def test_a_logout_in_the_stream_still_deletes(self, store: RecordingStore, position: str) -> None:
        """P-30."""
        visitor(store, streaming(position, PAGES["flush"])).get()
        assert store.records == []

    def test_a_session_that_the_head_announced_may_be_changed_in_the_stream(self, store: RecordingStore) -> None:
        """P-30: it exists by then."""

        def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
            session = get_session(environ)
            session["before"] = 1
            start_response("200 OK", list(TEXT))
            yield b"1"
            session["after"] = 2

        assert len(call(wrapped(app, store)).set_cookies) == 1
        assert store.methods == ["create", "save"]
        assert stored(store) == {"before": 1, "after": 2}

    @pytest.mark.parametrize("kind", [Body, SizedBody])
    def test_after_close_the_session_is_frozen(self, store: RecordingStore, kind: type[Body]) -> None:
        """P-30: of a list, the end is the return."""
        found: list[Session] = []
        browser = visitor(store)
        browser.app = SessionMiddleware(answering(kind(b"a"), use=lambda s: found.append(s) or s.get("k")), store)
        browser.get()
        store.forget()
        for change in (PAGES["write"], PAGES["flush"], PAGES["cycle"], PAGES["save"], PAGES["login"]):
            with pytest.raises(SessionFrozen, match="response has ended"):
                change(found[0])
        assert store.calls == []

    def test_a_session_that_was_never_used_is_frozen_too(self, store: RecordingStore) -> None:
        """P-30."""
        environ = visitor(store).environ()
        Exchange(SessionMiddleware(answering([]), store), environ).finish()
        with pytest.raises(SessionFrozen):
            get_session(environ).get("k")
        assert store.calls == []

    def test_a_session_that_could_not_be_loaded_is_frozen_too(self, store: RecordingStore) -> None:
        """P-30: it does not ask the store again when everything is over."""

        def use(session: Session) -> None:
            with pytest.raises(StoreError):
                session.get("k")

        environ = visitor(store).environ()
        store.fail("load")
        Exchange(SessionMiddleware(answering([], use=use), store), environ).finish()
        store.forget()
        with pytest.raises(SessionFrozen):
            get_session(environ).get("k")
        assert store.calls == []

    def test_reading_again_after_the_end_is_refused(self, store: RecordingStore) -> None:
        """P-30: what was loaded may still be looked at; the store is asked no more."""
        environ = visitor(store).environ()
        Exchange(SessionMiddleware(answering([], use=PAGES["read"]), store), environ).finish()
        store.forget()
        assert get_session(environ)["k"] == SECRET_VALUE
        with pytest.raises(SessionFrozen):
            get_session(environ).load()
        assert store.calls == []

    def test_a_first_use_after_the_head_warns_of_vary(
        self, store: RecordingStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        """T-62."""
        browser = visitor(store, streaming("after the first item", PAGES["read"]))
        assert browser.get().header("Vary") is None
        assert ["Vary could not be sent" in message for message in messages(caplog, "wsgi_sessions")] == [True]

    def test_an_error_in_the_stream_gives_up_its_changes(self, store: RecordingStore) -> None:
        """P-10, P-30."""
        error = AppError()

        def use(session: Session) -> None:
            session["n"] = 1
            raise error

        browser = visitor(store, streaming("after the first item", use))
        with pytest.raises(AppError) as raised:
            browser.get()
        assert raised.value is error
        assert stored(store) == {"k": SECRET_VALUE}

    def test_a_5xx_gives_up_the_changes_in_its_stream(self, store: RecordingStore) -> None:
        """T-56."""

        def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
            session = get_session(environ)
            session["k"] = 1
            start_response("500 Oops", list(TEXT))
            yield b"1"
            session["k"] = 2

        browser = visitor(store, app)
        browser.get()
        assert stored(store) == {"k": SECRET_VALUE}

    def test_a_disconnect_stores_what_was_done_until_then(self, store: RecordingStore) -> None:
        """T-74: once, and nothing stays locked."""
        browser = visitor(store, streaming("after the first item", PAGES["count"]))
        exchange = browser.open()
        assert [exchange.next(), exchange.next()] == [b"1", b"2"]
        exchange.close()
        assert store.methods == ["load", "save"]
        browser.app = wrapped(site, store)
        assert browser.get("/count").text == "2"

    def test_a_disconnect_before_the_first_item_stores_nothing(self, store: RecordingStore) -> None:
        """T-74: there was no response."""
        environ = visitor(store).environ()
        Exchange(SessionMiddleware(streaming("before the return", PAGES["count"]), store), environ).close()
        assert stored(store) == {"k": SECRET_VALUE}
        with pytest.raises(SessionFrozen):
            get_session(environ)["n"] = 1

    @pytest.mark.parametrize("rest", [[b"b"], Body(b"b")])
    def test_write_announces_the_session(self, store: RecordingStore, rest: Any) -> None:
        """P-06, P-08: what was set between start_response and the first write is stored, once."""

        def app(environ: dict[str, Any], start_response: Any) -> Any:
            write = start_response("200 OK", list(TEXT))
            get_session(environ)["k"] = 1
            write(b"")
            write(b"a")
            return rest

        response = Browser(wrapped(app, store)).get()
        assert (response.body, len(response.set_cookies)) == (b"ab", 1)
        assert store.methods == ["create"]

    def test_changes_between_a_write_and_the_return_are_stored(self, store: RecordingStore) -> None:
        """P-08, P-30."""

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            start_response("200 OK", list(TEXT))(b"a")
            get_session(environ)["n"] = 1
            return []

        browser = visitor(store)
        browser.app = SessionMiddleware(app, store)
        browser.get()
        assert stored(store) == {"k": SECRET_VALUE, "n": 1}


def _raise(error: Exception) -> None:
    raise error


def _get(session: Session) -> None:
    session.get("k")


class TestReferences:
    """A request that leaves cycles behind makes the collector pause the server later."""

    @pytest.mark.parametrize("scenario", ["site", "streaming", "write"])
    @pytest.mark.parametrize(
        ("use", "fails"),
        [
            (lambda session: None, None),
            (_get, None),
            (PAGES["count"], None),
            (PAGES["cycle"], None),
            (PAGES["login"], None),
            (lambda session: (session.flush(), session.update(k=1)), None),
            (lambda session: _raise(AppError()), None),
            (lambda session: session.update(k=[object]), None),
            (PAGES["append"], None),
            (_get, "load"),
            (PAGES["count"], "save"),
        ],
    )
    @pytest.mark.parametrize("always_save", [False, True])
    def test_a_request_leaves_nothing_for_the_garbage_collector(
        self, store: RecordingStore, scenario: str, use: Callable[[Session], Any], fails: str | None, always_save: bool
    ) -> None:
        """P-11: untouched, read, written, created, failed, streamed and answered 503."""
        sessions: weakref.WeakSet[Session] = weakref.WeakSet()

        def app(environ: dict[str, Any], start_response: Any) -> Any:
            session = get_session(environ)
            sessions.add(session)
            if scenario == "streaming":
                return stream(session, start_response)
            use(session)
            write = start_response("200 OK", list(TEXT))
            if scenario == "write":
                write(b"a")
            return [b"b"]

        def stream(session: Session, start_response: Any) -> Iterator[bytes]:
            use(session)
            start_response("200 OK", list(TEXT))
            yield b"a"
            session.get("k")
            yield b"b"

        def request() -> None:
            if fails:
                store.fail(fails)
            serve(middleware, browser.environ())
            serve(middleware, make_environ())
            assert len(sessions) == 0

        browser = visitor(store, always_save=always_save)
        middleware = SessionMiddleware(app, store, always_save=always_save)
        # What captures the log would keep the errors, and all that they refer to.
        logging.disable()
        try:
            assert garbage_of(request) == 0
        finally:
            logging.disable(logging.NOTSET)
        assert gc.isenabled()

    def test_nested_middlewares_leave_nothing_either(self, store: RecordingStore) -> None:
        """P-11, T-65."""
        inner = SessionMiddleware(SessionMiddleware(site, store), RecordingStore(), cookie=SessionCookie("b"))
        middleware = SessionMiddleware(inner, store)
        assert garbage_of(lambda: serve(middleware, make_environ(path="/count"))) == 0


class TestProcess:
    """What happens once in each process: P-27, T-68."""

    @pytest.fixture
    def sweeping(self, store: RecordingStore) -> Iterator[SessionMiddleware]:
        middleware = SessionMiddleware(site, store, sweep_every=HOUR)
        yield middleware
        middleware.close()

    def sweepers(self) -> int:
        return sum("sweeper" in thread.name for thread in threading.enumerate())

    def test_the_sweeper_starts_with_the_first_request(self, sweeping: SessionMiddleware) -> None:
        """P-27, T-68: and only once."""
        before = self.sweepers()
        for _ in range(3):
            assert call(sweeping, path="/untouched").status == 200
            assert self.sweepers() == before + 1

    def test_it_does_not_start_before(self, sweeping: SessionMiddleware) -> None:
        """T-68: a thread that is made before a fork is in no worker."""
        assert self.sweepers() == 0

    def test_it_does_not_start_where_the_process_ends_with_the_request(self, sweeping: SessionMiddleware) -> None:
        """P-27."""
        call(sweeping, path="/untouched", **{"wsgi.run_once": True})
        assert self.sweepers() == 0

    def test_close_ends_it_until_the_next_request(self, sweeping: SessionMiddleware) -> None:
        """P-27."""
        call(sweeping, path="/untouched")
        sweeping.close()
        assert self.sweepers() == 0
        call(sweeping, path="/untouched")
        assert self.sweepers() == 1

    def test_it_starts_again_after_a_fork(self, sweeping: SessionMiddleware) -> None:
        """T-68: gunicorn's --preload after a warm-up request."""
        call(sweeping, path="/untouched")

        def work(index: int, ready: Callable[[], object]) -> list[int]:
            before = self.sweepers()
            call(sweeping, path="/untouched")
            call(sweeping, path="/untouched")
            return [before, self.sweepers()]

        assert in_processes(work, 2, TIMEOUT) == [[0, 1], [0, 1]]

    def test_expired_records_go_to_on_deleted(self, store: RecordingStore) -> None:
        """The crate's callback of deleted records."""
        if store.expires_itself:
            pytest.skip("the backend drops expired records by itself, and tells nobody")
        deleted = threading.Event()
        batches: list[int] = []

        def on_deleted(records: list[Any]) -> None:
            batches.append(len(records))
            deleted.set()

        with ReplacedClock(NOON) as clock:
            call(SessionMiddleware(site, store), path="/write")
            clock.advance(timedelta(weeks=3))
            middleware = SessionMiddleware(site, store, sweep_every=timedelta(milliseconds=1), on_deleted=on_deleted)
            try:
                call(middleware, path="/untouched")
                assert deleted.wait(TIMEOUT)
            finally:
                middleware.close()
        assert batches == [1]

    def test_a_store_of_one_process_under_several_is_warned_of_once(
        self, store: RecordingStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        """P-27."""
        store.shared = False
        middleware = SessionMiddleware(site, store)
        for _ in range(3):
            call(middleware, path="/untouched", **{"wsgi.multiprocess": True})
        (message,) = messages(caplog, "wsgi_sessions", logging.WARNING)
        assert "RecordingStore" in message
        assert "FileStore" in message

    def test_a_shared_store_is_not_warned_of(self, tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
        """P-27."""
        middleware = SessionMiddleware(site, FileStore(tmp_path / "sessions"))
        call(middleware, path="/untouched", **{"wsgi.multiprocess": True})
        assert messages(caplog, "wsgi_sessions") == []

    def test_one_process_is_not_warned_of(self, store: RecordingStore, caplog: pytest.LogCaptureFixture) -> None:
        """P-27."""
        call(SessionMiddleware(site, store), path="/untouched")
        assert messages(caplog, "wsgi_sessions") == []


class TestOpenSession:
    """A session without a request."""

    def test_a_new_one_is_stored_at_the_end_and_its_token_opens_it(self, store: RecordingStore) -> None:
        with open_session(store) as session:
            assert session.token is None
            session["k"] = SECRET_VALUE
            session.save()
            token = session.token
            session["n"] = 1
        assert token is not None
        assert stored(store) == {"k": SECRET_VALUE, "n": 1}
        response = call(wrapped(site, store), path="/read", HTTP_COOKIE=f"id={token.value}")
        assert response.text == repr(SECRET_VALUE)

    def test_an_existing_one_is_changed_and_its_browser_keeps_it(self, store: RecordingStore) -> None:
        browser = visitor(store)
        with open_session(store, store.records[0].id) as session:
            assert session.token is None  # nobody but the browser knows its secret
            session["k"] = "from a job"
        assert browser.get("/read").text == "'from a job'"

    def test_an_unused_one_is_not_stored(self, store: RecordingStore) -> None:
        with open_session(store):
            pass
        assert store.calls == []

    def test_an_exception_stores_nothing_and_freezes(self, store: RecordingStore) -> None:
        def fail(session: Session) -> None:
            session["k"] = 1
            found.append(session)
            raise AppError

        found: list[Session] = []
        with pytest.raises(AppError), open_session(store) as session:
            fail(session)
        assert store.calls == []
        with pytest.raises(SessionFrozen):
            found[0]["k"] = 2

    def test_an_unknown_id_is_refused_before_the_block(self, store: RecordingStore) -> None:
        with pytest.raises(RecordNotFound, match="no live session 'unknown'"), open_session(store, "unknown"):
            pytest.fail("the block ran")

    def test_one_that_was_ended_meanwhile_says_that_the_changes_are_lost(self, store: RecordingStore) -> None:
        def change(session: Session) -> None:
            session["k"] = 1
            store.delete(record.id)

        visitor(store)
        (record,) = store.records
        with pytest.raises(RecordNotFound, match="the changes are lost"), open_session(store, record.id) as session:
            change(session)
        assert store.records == []

    def test_one_of_a_newer_version_is_left_alone(self, store: RecordingStore) -> None:
        visitor(store)
        (record,) = store.records
        store.inner.save(msgspec.structs.replace(record, payload=b"[999]"))
        before = store.records
        with pytest.raises(StoreError, match="not for this version"), open_session(store, record.id):
            pytest.fail("the block ran")
        assert store.records == before


class TestConstruction:
    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"app": None}, TypeError, "app must be a WSGI application, not NoneType"),
            ({"store": MemoryStore}, TypeError, r"such as MemoryStore\(\), not the class MemoryStore"),
            ({"store": {}}, TypeError, r"SessionStore such as MemoryStore\(\), not dict"),
            ({"cookie": "sid"}, TypeError, r"such as SessionCookie\('id'\), not str"),
            ({"cookie": SessionCookie}, TypeError, "not the class SessionCookie"),
            ({"expiry": HOUR}, TypeError, r"such as OnInactivity\(timedelta\(hours=1\)\), not timedelta"),
            ({"expiry": OnSessionEnd}, TypeError, "not the class OnSessionEnd"),
            ({"max_lifetime": 3600}, TypeError, "max_lifetime must be a timedelta or None, not int"),
            ({"max_lifetime": timedelta(0)}, ValueError, "max_lifetime must be at least"),
            ({"max_lifetime": -HOUR}, ValueError, "max_lifetime must be at least"),
            ({"max_payload": "64k"}, TypeError, "max_payload must be a number of bytes, not str"),
            ({"max_payload": True}, TypeError, "max_payload must be a number of bytes, not bool"),
            ({"max_payload": 0}, ValueError, "max_payload must be at least one byte"),
            ({"sweep_every": 300}, TypeError, r"not int: write timedelta\(minutes=5\)"),
            ({"sweep_every": timedelta(0)}, ValueError, "every must be longer than no time"),
            ({"on_deleted": print}, ValueError, "give sweep_every too"),
            ({"on_deleted": "print", "sweep_every": HOUR}, TypeError, "on_deleted must be a function, not str"),
            ({"error_app": "sorry"}, TypeError, "error_app must be a WSGI application, not str"),
            ({"always_save": "no"}, TypeError, "always_save must be True or False, not str"),
        ],
    )
    def test_a_wrong_argument_is_named_with_what_to_write(
        self, arguments: dict[str, Any], error: type[Exception], message: str
    ) -> None:
        """Section 7 of the design: at construction, not at the first request."""
        with pytest.raises(error, match=message):
            SessionMiddleware(**{"app": site, "store": MemoryStore(), **arguments})

    def test_nothing_is_done_before_the_first_request(self, store: RecordingStore) -> None:
        """T-68."""
        SessionMiddleware(site, store, sweep_every=HOUR)
        assert store.calls == []
        assert not [thread for thread in threading.enumerate() if "sweeper" in thread.name]


class TestSecrecy:
    """T-72: no secret where people and programs look at things."""

    def test_no_repr_shows_a_key_a_token_or_a_value(self, store: RecordingStore) -> None:
        """T-72: the middleware, the session and everything that hangs from them."""
        secrets: set[str] = {KEY, SECRET_VALUE}
        texts: list[str] = []

        def use(session: Session) -> None:
            session["list"] = [session["k"]]
            state = session._state
            texts.extend([repr(session), str(session), repr(state), repr(state.record), repr(state.envelope)])
            texts.extend([repr(state.token), repr(state.values)])

        browser = Browser(wrapped(site, store, cookie=SignedCookie([KEY])))
        browser.get("/write")
        secrets.add(browser.cookies["id"].split(".")[1])
        secrets.add(browser.cookies["id"])

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            texts.append(repr(start_response))
            return answering([], use=use)(environ, start_response)

        middleware = SessionMiddleware(app, store, cookie=SignedCookie([KEY]))
        browser.app = middleware
        browser.get()
        texts.extend([repr(middleware), repr(vars(middleware)), repr(vars(middleware._settings))])
        assert len(texts) == 11
        assert not [text for text in texts for secret in secrets if secret in text]

    def test_no_log_line_or_error_shows_one(self, store: RecordingStore, caplog: pytest.LogCaptureFixture) -> None:
        """T-72: everything that is logged, at any level, with the tracebacks."""
        caplog.set_level(logging.DEBUG)
        raised: list[str] = []

        def failing(use: Callable[[Session], Any]) -> None:
            browser.app = wrapped(answering([], use=use), store, max_payload=500)
            try:
                browser.get()
            except (SerializationError, SessionTooLarge) as error:
                raised.append(f"{error} {error!r} {error.__cause__!r} {error.__context__!r}")

        browser = visitor(store)
        secrets = {SECRET_VALUE, browser.cookies["id"], browser.cookies["id"].split(".")[1]}
        failing(lambda session: session.update(list=[SECRET_VALUE, {"key": object}]))
        failing(lambda session: session.update(k=SECRET_VALUE * 100))
        failing(lambda session: session.get("k", type=int))
        for method in ("load", "save"):
            store.fail(method)
            browser.app = wrapped(site, store)
            assert browser.get("/count").status == 503
        other = SessionToken.generate(browser.cookies["id"].split(".")[0])
        secrets.add(other.secret)
        call(wrapped(site, store), path="/write", HTTP_COOKIE=f"id={other.value}; id={other.value}x", scheme="http")
        assert len(raised) == 3
        assert len(caplog.records) >= 4
        assert not [secret for secret in secrets for text in [caplog.text, *raised] if secret in text]


class TestAuditEvents:
    """T-73: what a watcher of ``wsgi_sessions.security`` learns, once each."""

    def events(self, caplog: pytest.LogCaptureFixture) -> list[str]:
        return messages(caplog, "wsgi_sessions.security")

    @pytest.fixture(autouse=True)
    def _all_levels(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)

    def test_an_unknown_id(self, store: RecordingStore, caplog: pytest.LogCaptureFixture) -> None:
        """T-73."""
        token = SessionToken.generate()
        call(wrapped(site, store), path="/read", HTTP_COOKIE=f"id={token.value}")
        assert self.events(caplog) == [f"no live session {token.id}"]

    def test_a_wrong_secret(self, store: RecordingStore, caplog: pytest.LogCaptureFixture) -> None:
        """T-73."""
        browser = visitor(store)
        browser.put("id", SessionToken.generate(browser.cookies["id"].split(".")[0]).value)
        caplog.clear()
        assert browser.get("/read").text == "None"
        assert len(self.events(caplog)) == 1
        assert "wrong secret" in caplog.text

    def test_a_malformed_cookie(self, store: RecordingStore, caplog: pytest.LogCaptureFixture) -> None:
        """T-73."""
        call(wrapped(site, store), path="/read", HTTP_COOKIE="id=malformed; id=again")
        assert len(self.events(caplog)) == 1
        assert "malformed" in caplog.text

    def test_two_live_cookies(self, store: RecordingStore, caplog: pytest.LogCaptureFixture) -> None:
        """T-73: none is used, none is removed."""
        tokens = [visitor(store).cookies["id"] for _ in range(2)]
        caplog.clear()
        response = call(wrapped(site, store), path="/read", HTTP_COOKIE="; ".join(f"id={token}" for token in tokens))
        assert (response.text, response.set_cookies) == ("None", [])
        assert len(self.events(caplog)) == 1
        assert "several cookies" in caplog.text

    def test_a_write_after_a_logout_elsewhere(self, store: RecordingStore, caplog: pytest.LogCaptureFixture) -> None:
        """T-73: and the session stays ended, without a cookie."""

        def use(session: Session) -> None:
            session["k"] = 1
            (record,) = store.records
            store.inner.delete(record.id)

        browser = visitor(store, answering([], use=use))
        caplog.clear()
        assert browser.get().set_cookies == []
        assert store.records == []
        assert len(self.events(caplog)) == 1
        assert "ended elsewhere" in caplog.text

    def test_a_corrupt_record(self, store: RecordingStore, caplog: pytest.LogCaptureFixture) -> None:
        """T-73: no session, and no error page."""
        browser = visitor(store)
        (record,) = store.records
        store.inner.save(msgspec.structs.replace(record, payload=b"garbage"))
        caplog.clear()
        assert browser.get("/read").text == "None"
        errors = messages(caplog, "wsgi_sessions.security", logging.WARNING)
        assert len(errors) == 1
        assert "corrupt" in errors[0]


class TestCrate:
    """The middleware tests of the crate whose counterpart this is, with our differences named."""

    def first(self, page: str = "write", **options: Any) -> str:
        (header,) = call(wrapped(site, **options), path=f"/{page}").set_cookies
        return header

    def test_basic_service(self, store: RecordingStore) -> None:
        """An equal assignment is no change."""
        browser = visitor(store)
        assert browser.get("/write").set_cookies == []
        assert store.methods == ["load"]

    def test_a_whole_set_cookie_header_sent_back_is_read(self, store: RecordingStore) -> None:
        """basic_service_test sends it like that."""
        app = wrapped(site, store)
        (header,) = call(app, path="/write").set_cookies
        assert call(app, path="/read", HTTP_COOKIE=header).text == repr(SECRET_VALUE)

    @pytest.mark.parametrize("value", ["bogus", "AAAAAAAAAAAAAAAAAAAAAA", f"{'A' * 22}.{'A' * 22}"])
    def test_bogus_cookie(self, store: RecordingStore, value: str) -> None:
        """Never adopted: a new session."""
        (header,) = call(wrapped(site, store), path="/write", HTTP_COOKIE=f"id={value}").set_cookies
        assert not header.startswith(f"id={value}")
        assert store.records[0].id not in value

    def test_no_set_cookie(self) -> None:
        """no_session_set."""
        assert call(wrapped(site), path="/untouched").set_cookies == []

    @pytest.mark.parametrize("page", ["untouched", "read", "flush", "delete"])
    @pytest.mark.parametrize("value", ["malformed", f"{'A' * 22}.{'A' * 22}"])
    def test_malformed_session_cookie(self, page: str, value: str) -> None:
        """Where the crate removes it, we do not: it could erase what a parallel login has just set."""
        assert call(wrapped(site), path=f"/{page}", HTTP_COOKIE=f"id={value}").set_cookies == []

    def test_name(self) -> None:
        """with_name."""
        assert self.first(cookie=SessionCookie("my.sid")).startswith("my.sid=")

    def test_http_only(self) -> None:
        """with_http_only."""
        assert "; HttpOnly" in self.first()
        assert "HttpOnly" not in self.first(cookie=SessionCookie(http_only=False))

    @pytest.mark.parametrize("same_site", ["Strict", "Lax", "None"])
    def test_same_site(self, same_site: str) -> None:
        """with_same_site."""
        assert f"; SameSite={same_site}" in self.first(cookie=SessionCookie(same_site=same_site))

    def test_same_site_is_lax_by_default(self) -> None:
        """The crate's Strict drops the session on every inbound link."""
        assert "; SameSite=Lax" in self.first()

    def test_secure(self) -> None:
        """with_secure."""
        assert "; Secure" in self.first()
        assert "Secure" not in self.first(cookie=SessionCookie(secure=False))

    def test_path_and_domain(self) -> None:
        """with_path, with_domain."""
        assert "; Path=/" in self.first()
        assert "Domain" not in self.first()
        header = self.first(cookie=SessionCookie(path="/foo/bar", domain="example.com"))
        assert "; Path=/foo/bar" in header
        assert "; Domain=example.com" in header

    def test_expiry_on_session_end(self) -> None:
        """session_max_age: no Max-Age, by default either."""
        assert "Max-Age" not in self.first(expiry=OnSessionEnd(HOUR))
        assert "Max-Age" not in self.first()

    def test_expiry_on_inactivity(self) -> None:
        """Max-Age is the whole time."""
        with ReplacedClock(NOON):
            assert self.first(expiry=OnInactivity(2 * HOUR)).endswith("; Max-Age=7200")

    def test_expiry_at_date_time(self) -> None:
        """Max-Age is what is left."""
        with ReplacedClock(NOON):
            at = datetime.fromtimestamp(NOON / 1000, UTC) + HOUR
            assert self.first(expiry=AtDateTime(at)).endswith("; Max-Age=3600")

    def test_expiry_on_session_end_always_save(self, store: RecordingStore) -> None:
        """An untouched request moves the end; the cookie, which has none, is not sent again."""
        with ReplacedClock(NOON) as clock:
            browser = visitor(store, expiry=OnSessionEnd(HOUR), always_save=True)
            clock.advance(HOUR / 2)
            assert browser.get("/untouched").set_cookies == []
            assert store.records[0].expires == NOON + 5_400_000
            assert store.methods == ["load", "touch"]

    def test_expiry_on_inactivity_always_save(self, store: RecordingStore) -> None:
        """The same token, with its full Max-Age again."""
        with ReplacedClock(NOON) as clock:
            browser = visitor(store, expiry=OnInactivity(HOUR), always_save=True)
            before = browser.cookies
            clock.advance(HOUR / 2)
            (header,) = browser.get("/untouched").set_cookies
            assert header.endswith("; Max-Age=3600")
            assert browser.cookies == before
            assert store.records[0].expires == NOON + 5_400_000

    def test_expiry_at_date_time_always_save(self, store: RecordingStore) -> None:
        """The end stays; the crate sends the cookie again, we do not: nothing in it would change."""
        with ReplacedClock(NOON) as clock:
            at = datetime.fromtimestamp(NOON / 1000, UTC) + HOUR
            browser = visitor(store, expiry=AtDateTime(at), always_save=True)
            clock.advance(HOUR / 2)
            assert browser.get("/untouched").set_cookies == []
            assert store.records[0].expires == NOON + 3_600_000

    @pytest.mark.parametrize("cookie", ["", "id=malformed", f"id={'A' * 22}.{'A' * 22}"])
    def test_always_save_makes_no_session_for_a_bogus_cookie(self, store: RecordingStore, cookie: str) -> None:
        """Trap 7: the crate fills its store with empty ones."""
        response = call(wrapped(site, store, always_save=True), path="/untouched", HTTP_COOKIE=cookie)
        assert response.set_cookies == []
        assert store.records == []

    def test_always_save_does_not_count_a_5xx(self, store: RecordingStore) -> None:
        """T-56: the store is not even asked."""
        browser = visitor(store, always_save=True)
        assert browser.get("/untouched?500").headers == [*TEXT, ("X-App", "yes")]
        assert store.calls == []

    @pytest.mark.parametrize("kind", [SignedCookie, EncryptedCookie])
    def test_signed_and_private(self, store: RecordingStore, kind: Any) -> None:
        """They round-trip, and one that was changed or made elsewhere opens nothing."""
        browser = visitor(store, cookie=kind([KEY if kind is SignedCookie else bytes.fromhex(KEY)]))
        assert browser.get("/read").text == repr(SECRET_VALUE)
        value = browser.cookies["id"]
        for forged in (value[:-2] + ("AA" if value[-2:] != "AA" else "BB"), value[:22], value + "x"):
            browser.put("id", forged)
            assert browser.get("/read").text == "None"

    @pytest.mark.parametrize("secure", [True, False])
    @pytest.mark.parametrize("http_only", [True, False])
    def test_removal_repeats_the_attributes(self, store: RecordingStore, secure: bool, http_only: bool) -> None:
        """secure_removal, http_only_removal, flush_with_domain; trap 18."""
        cookie = SessionCookie(secure=secure, http_only=http_only, domain="example.com", path="/")
        (header,) = visitor(store, cookie=cookie).get("/flush").set_cookies
        assert header.startswith("id=;")
        assert ("; Secure" in header, "; HttpOnly" in header) == (secure, http_only)
        for attribute in ("; SameSite=Lax", "; Path=/", "; Domain=example.com", "; Max-Age=0", "; Expires=Thu, 01 Jan"):
            assert attribute in header

    def test_insert_session(self) -> None:
        """All of it."""
        with ReplacedClock(NOON):
            header = self.first(expiry=OnInactivity(HOUR))
        value, *attributes = header.split("; ")
        assert SessionToken.parse(value.removeprefix("id=")) is not None
        assert sorted(attributes) == ["HttpOnly", "Max-Age=3600", "Path=/", "SameSite=Lax", "Secure"]

    def test_get_session_and_get_no_value(self, store: RecordingStore) -> None:
        """get_session, get_no_value."""
        assert visitor(store).get("/read").text == repr(SECRET_VALUE)
        assert call(wrapped(site, store), path="/read").text == "None"

    def test_remove_last_value(self, store: RecordingStore) -> None:
        """The session stays, empty."""
        browser = visitor(store)
        assert browser.get("/remove").text == repr(SECRET_VALUE)
        assert browser.get("/read").text == "None"
        assert stored(store) == {}

    def test_cycle_session_id(self, store: RecordingStore) -> None:
        """A new token, the data kept, the old one dead."""
        browser = visitor(store)
        old = browser.clone()
        browser.get("/cycle")
        assert browser.cookies != old.cookies
        assert browser.get("/read").text == repr(SECRET_VALUE)
        assert old.get("/read").text == "None"

    def test_flush_session(self, store: RecordingStore) -> None:
        """The record is gone, and so is the cookie."""
        browser = visitor(store)
        old = browser.clone()
        browser.get("/flush")
        assert browser.cookies == {}
        assert store.records == []
        assert old.get("/read").text == "None"

    def test_set_expiry(self, store: RecordingStore) -> None:
        """Of one session; trap 8: it is stored with it."""
        with ReplacedClock(NOON):
            browser = visitor(store)
            (header,) = browser.get("/day").set_cookies
            assert header.endswith("; Max-Age=86400")
            browser.get("/count")
            assert store.records[0].expires == NOON + 86_400_000

    def test_change_expiry_type(self, store: RecordingStore) -> None:
        """To a persistent cookie and back."""
        with ReplacedClock(NOON):
            browser = visitor(store)
            assert "Max-Age" in browser.get("/day").set_cookies[0]
            (header,) = browser.get("/closing").set_cookies
            assert "Max-Age" not in header

    def test_expired(self, store: RecordingStore) -> None:
        """At its end it is not there any more, whatever the browser sends."""
        with ReplacedClock(NOON) as clock:
            browser = visitor(store, expiry=OnInactivity(timedelta(seconds=1)))
            cookie = f"id={browser.cookies['id']}"
            clock.advance(timedelta(milliseconds=999))
            assert call(browser.app, path="/read", HTTP_COOKIE=cookie).text == repr(SECRET_VALUE)
            clock.advance(timedelta(milliseconds=1000))
            assert call(browser.app, path="/read", HTTP_COOKIE=cookie).text == "None"

    def test_save_of_an_untouched_new_session_leaves_no_orphan(self, store: RecordingStore) -> None:
        """Trap 15: the crate stores a record that no cookie names."""
        response = call(wrapped(answering([], use=lambda session: session.save()), store))
        assert (response.set_cookies, store.records) == ([], [])
