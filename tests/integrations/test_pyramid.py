"""Pyramid applications with our sessions: alone, and inside of SessionMiddleware."""

from __future__ import annotations

import configparser
import inspect
import io
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import Any
from wsgiref.validate import validator

import pytest
import redis
from docutils import nodes
from harness import Browser, Exchange, RecordingStore, Response, call, garbage_of, serve
from servers import TIMEOUT
from test_readme import ROOT, blocks, execute, find, parsed
from test_takeover import Shelf

import wsgi_sessions
from wsgi_sessions import (
    FileStore,
    HeadersSent,
    MemoryStore,
    OnInactivity,
    SerializationError,
    SessionCookie,
    SessionMiddleware,
    SessionMissing,
    SessionTooLarge,
    StoreError,
    get_session,
)
from wsgi_sessions.integrations.base import OPTIONS
from wsgi_sessions.legacy import LegacySession
from wsgi_sessions.migration.pyramid import PyramidSource
from wsgi_sessions.operations import revoke
from wsgi_sessions.testing import ReplacedClock

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what WebOb and Pyramid import themselves is deprecated
    import beaker.middleware
    import transaction
    import webtest
    from pyramid import testing
    from pyramid.authentication import SessionAuthenticationHelper
    from pyramid.config import Configurator
    from pyramid.csrf import LegacySessionCSRFStoragePolicy, SessionCSRFStoragePolicy, get_csrf_token, new_csrf_token
    from pyramid.events import NewResponse
    from pyramid.httpexceptions import HTTPForbidden, HTTPFound, HTTPNotFound
    from pyramid.interfaces import ISession, ISessionFactory
    from pyramid.request import Request
    from pyramid.response import FileIter, FileResponse
    from pyramid.response import Response as PyramidResponse
    from pyramid.security import forget, remember
    from pyramid.session import SignedCookieSessionFactory
    from pyramid.view import exception_view_config, view_config
    from pyramid_retry import RetryableException, mark_error_retryable
    from zope.interface.verify import verifyObject

from wsgi_sessions.integrations.pyramid import PyramidSession, SessionFactory, session_factory, with_bucket

INTEGRATION = "wsgi_sessions.integrations.pyramid"
OUTAGE = "a request was answered 503: its session could not be read or stored"
Handler = Callable[[Any], Any]


class Site:
    """A Pyramid application whose page does what a test hands to it, a protocol checker around it, and a browser.

    :param mode: ``factory`` and ``include`` have the store in Pyramid; ``around`` in a middleware, and
        ``both`` in both.
    :param configure: called with the Configurator after the integration.
    :param options: those of the session factory, or the middleware.
    """

    def __init__(
        self,
        mode: str = "include",
        store: Any = None,
        *,
        configure: Callable[[Any], object] | None = None,
        before: Callable[[Any], object] | None = None,
        settings: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.store = RecordingStore() if store is None else store
        self.handler: Handler = lambda request: "untouched"
        given = {"store": self.store, **options} if mode in ("include", "both") else {}
        settings = {**{f"wsgi_sessions.{name}": value for name, value in given.items()}, **(settings or {})}
        with Configurator(settings=settings) as config:
            if before is not None:
                before(config)
            if mode == "factory":
                config.set_session_factory(session_factory(self.store, **options))
            else:
                config.include(INTEGRATION)
            config.add_route("page", "/")
            config.add_view(self._view, route_name="page")
            if configure is not None:
                configure(config)
        self.registry = config.registry
        self.router = config.make_wsgi_app()
        app: Any = validator(self.router)
        if mode in ("around", "both"):
            app = validator(SessionMiddleware(app, self.store, **options))
        self.app = app
        self.browser = Browser(app)

    def _view(self, request: Any) -> Any:
        answer = self.handler(request)
        return answer if hasattr(answer, "status_int") else PyramidResponse(repr(answer), content_type="text/plain")

    def visit(self, handler: Handler, browser: Browser | None = None, **extra: Any) -> Response:
        """Request the page and let it do and answer this."""
        self.handler = handler
        return (browser or self.browser).get("/", **extra)

    def ask(self, question: Handler, browser: Browser | None = None) -> Any:
        """Return what a function of the session returns within a request."""
        answers: list[Any] = []

        def handler(request: Any) -> str:
            answers.append(question(request.session))
            return "asked"

        assert self.visit(handler, browser).status == 200
        return answers[0]

    def set(self, **values: Any) -> Response:
        return self.visit(lambda request: request.session.update(values))

    def read(self, browser: Browser | None = None) -> dict[str, Any]:
        values: dict[str, Any] = self.ask(dict, browser)
        return values


ALONE = ["factory", "include"]
everywhere = pytest.mark.parametrize("mode", [*ALONE, "around", "both"])
alone = pytest.mark.parametrize("mode", ALONE)
# An older WebTest finds the fields of a form by a name that BeautifulSoup has deprecated.
with_forms = pytest.mark.filterwarnings("ignore:Call to deprecated method findAll:DeprecationWarning:webtest.forms")


def crash(request: Any) -> Any:
    request.session["lost"] = True
    raise ZeroDivisionError


# What is stored, and what the browser is told


@everywhere
def test_a_visitor_is_remembered_with_one_safe_cookie(mode: str) -> None:
    site = Site(mode)
    response = site.set(n=1)
    (cookie,) = response.set_cookies
    assert re.fullmatch(r"id=[\w-]{22}\.[\w-]{22}; HttpOnly; SameSite=Lax; Secure; Path=/", cookie)
    assert response.header("Vary") == "Cookie"
    assert response.header("Cache-Control") == "no-store"
    assert site.read() == {"n": 1}
    assert site.store.methods == ["create", "load"]


@everywhere
def test_a_request_that_does_not_touch_its_session_asks_nothing_and_says_nothing(mode: str) -> None:
    site = Site(mode)
    site.set(n=1)
    site.store.forget()
    response = site.visit(lambda request: "untouched")
    assert site.store.methods == []
    assert response.all("Vary") == []
    assert response.set_cookies == []


@alone
def test_a_session_that_is_only_named_asks_nothing(mode: str) -> None:
    site = Site(mode)
    site.set(n=1)
    site.store.forget()
    assert site.visit(lambda request: request.session is None).all("Vary") == []
    assert site.store.methods == []


@everywhere
def test_reading_says_vary_and_sets_nothing(mode: str) -> None:
    site = Site(mode)
    response = site.visit(lambda request: request.session.get("n"))
    assert response.header("Vary") == "Cookie"
    assert response.set_cookies == []
    assert site.store.methods == []


def test_the_applications_own_headers_stay() -> None:
    site = Site()

    def handler(request: Any) -> Any:
        request.session["n"] = 1
        response = PyramidResponse("text", vary="Accept", cache_control="public, max-age=60")
        response.set_cookie("other", "1")
        return response

    response = site.visit(handler)
    assert response.header("Vary") == "Accept, Cookie"
    assert response.header("Cache-Control") == "no-store"
    assert [cookie.partition("=")[0] for cookie in response.set_cookies] == ["other", "id"]


@everywhere
def test_the_options_of_the_cookie_and_the_expiry_hold(mode: str) -> None:
    with ReplacedClock() as clock:
        site = Site(mode, cookie=SessionCookie("__Host-id"), expiry=OnInactivity(timedelta(minutes=10)))
        assert "Max-Age=600" in site.set(n=1).set_cookies[0]
        assert list(site.browser.cookies) == ["__Host-id"]
        clock.advance(timedelta(minutes=9))
        assert site.read() == {"n": 1}
        clock.advance(timedelta(minutes=9))
        assert site.read() == {"n": 1}
        clock.advance(timedelta(minutes=11))
        assert site.read() == {}


@alone
def test_always_save_counts_the_requests_that_name_their_session(mode: str) -> None:
    with ReplacedClock() as clock:
        site = Site(mode, expiry=OnInactivity(timedelta(minutes=10)), always_save=True)
        site.set(n=1)
        clock.advance(timedelta(minutes=5))
        site.visit(lambda request: "untouched")
        assert site.store.methods == ["create"]
        site.visit(lambda request: request.session is None)
        assert site.store.methods == ["create", "load", "touch"]


@everywhere
def test_an_exception_takes_the_changes_along(mode: str) -> None:
    site = Site(mode)
    site.set(n=1)
    site.store.forget()
    with pytest.raises(ZeroDivisionError):
        site.visit(crash)
    assert site.store.methods == ["load"]
    assert site.read() == {"n": 1}


def with_old_session(mode: str, **options: Any) -> Site:
    """A site whose visitor has a session of another library."""
    shelf = Shelf()
    shelf.sessions["key-anna"] = LegacySession(data={"user": "anna"})
    site = Site(mode, legacy=[shelf], **options)
    site.browser.put("shelf", "key-anna")
    return site


@everywhere
def test_an_exception_in_the_first_request_of_an_old_session_loses_nobody(mode: str) -> None:
    with ReplacedClock() as time:
        site = with_old_session(mode)
        with pytest.raises(ZeroDivisionError):
            site.visit(crash)
        assert set(site.browser.cookies) == {"shelf"}
        time.advance(timedelta(hours=1))
        assert site.read() == {"user": "anna"}
        assert set(site.browser.cookies) == {"id"}


@everywhere
def test_an_old_session_whose_first_request_was_repeated_is_not_opened_a_minute_later(mode: str) -> None:
    with ReplacedClock() as time:
        site = with_old_session(mode, configure=lambda config: config.include("pyramid_retry"))
        assert site.visit(Attempts(failures=1)).status == 200
        assert site.read() == {"user": "anna", "attempt2": True}
        time.advance(timedelta(minutes=2))
        thief = Browser(site.app)
        thief.put("shelf", "key-anna")
        assert site.read(thief) == {}


@everywhere
@pytest.mark.parametrize(("status", "is_kept"), [(409, True), (500, False), (503, False)])
def test_what_an_exception_view_answers_below_500_is_an_answer(mode: str, status: int, is_kept: bool) -> None:
    def configure(config: Any) -> None:
        config.add_exception_view(lambda request: PyramidResponse(status=status), context=ZeroDivisionError)

    site = Site(mode, configure=configure)
    assert site.visit(crash).status == status
    assert site.read() == ({"lost": True} if is_kept else {})


@everywhere
@pytest.mark.parametrize("answer", [HTTPFound("/elsewhere"), HTTPForbidden(), HTTPNotFound()])
def test_a_raised_http_exception_is_an_answer(mode: str, answer: Any) -> None:
    def handler(request: Any) -> Any:
        request.session["n"] = 1
        raise type(answer)("/elsewhere") if answer.code == 302 else type(answer)()

    site = Site(mode)
    response = site.visit(handler)
    assert response.status == answer.code
    assert len(response.set_cookies) == 1
    assert site.read() == {"n": 1}


@everywhere
def test_the_session_is_there_where_no_route_matches(mode: str) -> None:
    def configure(config: Any) -> None:
        config.add_notfound_view(lambda request: PyramidResponse(repr(dict(request.session)), status=404))

    site = Site(mode, configure=configure)
    site.set(n=1)
    response = site.browser.get("/nowhere")
    assert (response.status, response.text) == (404, "{'n': 1}")


@everywhere
def test_the_environ_has_the_same_session(mode: str) -> None:
    site = Site(mode)

    def handler(request: Any) -> Any:
        request.session["n"] = 1
        session = get_session(request.environ)
        session["m"] = session["n"] + 1
        return request.session["m"]

    assert site.visit(handler).text == "2"
    assert site.read() == {"n": 1, "m": 2}


@everywhere
def test_a_request_has_one_session_object(mode: str) -> None:
    assert Site(mode).visit(lambda request: request.session is request.session).text == "True"


@pytest.mark.parametrize("mode", [*ALONE, "both"])
def test_values_that_cannot_be_stored_are_the_applications_error(mode: str) -> None:
    site = Site(mode, max_payload=300)
    site.set(n=1)
    with pytest.raises(SerializationError, match=r"session\['list'\]\[0\]"):
        site.visit(lambda request: request.session.update(list=[object()]))
    with pytest.raises(SessionTooLarge):
        site.visit(lambda request: request.session.update(text="x" * 300))
    assert site.read() == {"n": 1}


@pytest.mark.parametrize("mode", ["factory", "both"])
def test_parallel_requests_of_one_session_lose_nothing(mode: str) -> None:
    site = Site(mode, MemoryStore())
    site.set(first=0)
    barrier = threading.Barrier(8)

    def handler(request: Any) -> str:
        key = request.GET["key"]
        request.session[key] = key
        request.session.flash(key)
        barrier.wait(10)
        return key

    site.handler = handler

    def fetch(key: str) -> None:
        site.browser.clone().get("/", QUERY_STRING=f"key={key}")

    threads = [threading.Thread(target=fetch, args=(f"k{index}",)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keys = {f"k{index}" for index in range(8)}
    values = site.read()
    assert values.keys() == {"first", "_f_", *keys}
    assert set(values["_f_"]) == keys


@everywhere
def test_a_request_leaves_no_garbage_cycle_of_ours(mode: str) -> None:
    site = Site(mode)
    site.set(n=1)
    cookie = "; ".join(f"{name}={value}" for name, value in site.browser.cookies.items())

    app = SessionMiddleware(site.router, site.store) if mode in ("around", "both") else site.router

    def garbage(handler: Handler) -> int:
        site.handler = handler
        environ = site.browser.environ
        return garbage_of(lambda: serve(app, {**environ(), "HTTP_COOKIE": cookie}))

    assert garbage(lambda request: request.session["n"]) == garbage(lambda request: "untouched")


# Nothing that comes late is lost silently


@alone
@pytest.mark.parametrize("is_new", [True, False])
def test_response_callbacks_of_others_may_use_the_session(mode: str, is_new: bool) -> None:
    site = Site(mode)
    if not is_new:
        site.set(n=1)

    def handler(request: Any) -> str:
        request.add_response_callback(lambda request, response: request.session.update(before=1))
        request.session["view"] = 1
        request.add_response_callback(lambda request, response: request.session.update(after=1))
        return "text"

    response = site.visit(handler)
    assert len(response.set_cookies) == is_new
    assert site.read() == {"before": 1, "view": 1, "after": 1} | ({} if is_new else {"n": 1})


@alone
def test_a_response_callback_may_be_the_first_to_write(mode: str) -> None:
    site = Site(mode)

    def handler(request: Any) -> Any:
        request.session.get("n")
        request.add_response_callback(lambda request, response: request.session.update(n=1))

    assert len(site.visit(handler).set_cookies) == 1
    assert site.read() == {"n": 1}


@alone
def test_what_subscribers_and_finished_callbacks_change_is_saved(mode: str) -> None:
    def configure(config: Any) -> None:
        config.add_subscriber(lambda event: event.request.session.update(subscriber=1), NewResponse)

    site = Site(mode, configure=configure)

    def handler(request: Any) -> str:
        request.add_finished_callback(lambda request: request.session.update(before=1))
        request.session["view"] = 1
        request.add_finished_callback(lambda request: request.session.update(after=1))
        return "text"

    site.visit(handler)
    assert site.read() == {"view": 1, "subscriber": 1, "before": 1, "after": 1}


@alone
def test_a_subscriber_that_needs_a_cookie_is_told_that_it_is_late(mode: str) -> None:
    def configure(config: Any) -> None:
        config.add_subscriber(lambda event: event.request.session.cycle_id(), NewResponse)

    site = Site(mode, configure=configure)
    with pytest.raises(HeadersSent):
        site.visit(lambda request: request.session.get("n"))


@alone
def test_a_subscriber_that_is_the_first_to_write_is_told_that_it_is_late(mode: str) -> None:
    def configure(config: Any) -> None:
        config.add_subscriber(lambda event: event.request.session.update(n=1), NewResponse)

    with pytest.raises(HeadersSent, match="use it in the view"):
        Site(mode, configure=configure).visit(lambda request: "untouched")


@alone
def test_a_subscriber_may_be_the_first_to_read(mode: str) -> None:
    seen: list[Any] = []

    def configure(config: Any) -> None:
        config.add_subscriber(lambda event: seen.append(event.request.session.get("n")), NewResponse)

    assert Site(mode, configure=configure).visit(lambda request: "untouched").status == 200
    assert seen == [None]


# Bodies that are streamed


class ClosedBody:
    """A body that notes when it is closed."""

    def __init__(self) -> None:
        self.is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"text"])

    def close(self) -> None:
        self.is_closed = True


def streaming(body: Callable[[Any], Iterator[bytes]], **options: Any) -> Handler:
    def handler(request: Any) -> Any:
        request.session["view"] = 1
        return PyramidResponse(app_iter=body(request), content_type="text/plain", **options)

    return handler


@everywhere
def test_what_changes_while_the_body_streams_is_saved(mode: str) -> None:
    def body(request: Any) -> Iterator[bytes]:
        yield b"first "
        request.session["streamed"] = 1
        yield b"last"

    site = Site(mode)
    response = site.visit(streaming(body))
    assert response.text == "first last"
    assert len(response.set_cookies) == 1
    assert site.read() == {"view": 1, "streamed": 1}


@everywhere
def test_a_body_that_fails_saves_nothing_more(mode: str) -> None:
    def body(request: Any) -> Iterator[bytes]:
        yield b"first"
        request.session["streamed"] = 1
        raise ZeroDivisionError

    site = Site(mode)
    site.set(n=1)
    with pytest.raises(ZeroDivisionError):
        site.visit(streaming(body))
    assert site.read() == {"n": 1, "view": 1}


@alone
def test_a_body_that_needs_a_cookie_is_told_that_it_is_late(mode: str) -> None:
    def body(request: Any) -> Iterator[bytes]:
        yield b"first"
        request.session.cycle_id()
        yield b"never"

    with pytest.raises(HeadersSent):
        Site(mode).visit(streaming(body))


@alone
def test_a_body_that_is_the_first_to_use_the_session_is_told_that_it_is_late(mode: str) -> None:
    def body(request: Any) -> Iterator[bytes]:
        yield b"first"
        yield repr(request.session.get("n")).encode()

    site = Site(mode)
    with pytest.raises(HeadersSent, match="use it in the view"):
        site.visit(lambda request: PyramidResponse(app_iter=body(request)))


@everywhere
def test_a_streamed_body_is_closed_and_keeps_its_length(mode: str) -> None:
    closed: list[bool] = []

    def body(request: Any) -> Iterator[bytes]:
        try:
            yield b"12345"
        finally:
            closed.append(True)

    site = Site(mode)
    site.handler = streaming(body, content_length=5)
    exchange = site.browser.open()
    exchange.next()
    exchange.close()
    assert closed == [True]
    assert exchange.response is not None and exchange.response.header("Content-Length") == "5"
    assert site.browser.keep(exchange.response) and site.read() == {"view": 1}


class Wrapper:
    """What servers have as ``wsgi.file_wrapper``."""

    def __init__(self, file: Any, block_size: int) -> None:
        self.file = file

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.file.read, b"")

    def close(self) -> None:
        self.file.close()


@alone
def test_lists_and_files_reach_the_server_as_they_are(mode: str, tmp_path: Path) -> None:
    site = Site(mode)
    (tmp_path / "file").write_bytes(b"12345")
    bodies: list[Any] = []

    def handler(request: Any) -> Any:
        request.session["n"] = 1
        bodies.append(FileResponse(str(tmp_path / "file"), request) if request.GET else PyramidResponse("12345"))
        return bodies[-1]

    site.handler = handler
    for query, extra, kind in (
        ("", {}, list),
        ("file=1", {"wsgi.file_wrapper": Wrapper}, Wrapper),
        ("file=1", {"wsgi.file_wrapper": lambda file, block_size: file}, io.BufferedReader),  # as uWSGI's
        ("file=1", {}, FileIter),
    ):
        exchange = Exchange(site.router, site.browser.environ(QUERY_STRING=query, **extra))
        assert type(exchange.body) is kind
        response = exchange.finish()
        assert (response.text, response.header("Content-Length")) == ("12345", "5")
        assert len(response.set_cookies) == 1


@alone
def test_a_streamed_body_beside_a_session_that_is_only_named_keeps_its_length(mode: str) -> None:
    def handler(request: Any) -> Any:
        assert request.session is not None
        return PyramidResponse(app_iter=iter([b"12345"]), content_length=5)

    response = Site(mode).visit(handler)
    assert (response.header("Content-Length"), response.all("Vary")) == ("5", [])


@everywhere
def test_a_body_that_cannot_be_closed_saves_nothing_more(mode: str) -> None:
    class Body(ClosedBody):
        def __iter__(self) -> Iterator[bytes]:
            yield b"first"
            sessions[0]["streamed"] = 1

        def close(self) -> None:
            raise ZeroDivisionError

    site = Site(mode)
    site.set(n=1)
    sessions: list[Any] = []

    def handler(request: Any) -> Any:
        sessions.append(request.session)
        request.session["view"] = 1
        return PyramidResponse(app_iter=Body())

    with pytest.raises(ZeroDivisionError):
        site.visit(handler)
    assert site.read() == {"n": 1, "view": 1}


@everywhere
def test_a_streamed_page_may_look_for_messages_of_a_visitor_without_any(mode: str) -> None:
    def body(request: Any) -> Iterator[bytes]:
        yield b"first "
        yield repr(request.session.pop_flash()).encode()

    site = Site(mode)

    def handler(request: Any) -> Any:
        request.session.get("n")
        return PyramidResponse(app_iter=body(request))

    assert site.visit(handler).text == "first []"


@alone
def test_a_head_request_ends_its_session(mode: str) -> None:
    def body(request: Any) -> Iterator[bytes]:
        yield b"12345"

    site = Site(mode)
    site.handler = streaming(body)
    assert site.browser.request("HEAD").body == b""
    assert site.read() == {"view": 1}


# The store is down


@everywhere
@pytest.mark.parametrize("failing", ["load", "save"])
def test_an_outage_is_answered_503(mode: str, failing: str, caplog: pytest.LogCaptureFixture) -> None:
    site = Site(mode)
    site.set(n=1)
    site.store.fail(failing)

    def handler(request: Any) -> Any:
        request.session["n"] = 2
        response = PyramidResponse("text")
        response.set_cookie("other", "1")
        return response

    response = site.visit(handler)
    assert response.status == 503
    assert response.header("Retry-After") == "5"
    assert response.set_cookies == []
    assert response.text != "text"
    assert [record.getMessage() for record in caplog.records] == [OUTAGE]
    assert site.read() == {"n": 1}


@everywhere
@pytest.mark.parametrize("context", [Exception, StoreError])
def test_an_exception_view_that_turns_an_outage_into_500_is_overruled(mode: str, context: Any) -> None:
    body = ClosedBody()

    def configure(config: Any) -> None:
        config.add_exception_view(lambda request: PyramidResponse(app_iter=body, status=500), context=context)

    site = Site(mode, configure=configure)
    site.set(n=1)
    site.store.fail("load")
    response = site.visit(lambda request: request.session["n"])
    assert (response.status, response.header("Retry-After")) == (503, "5")
    # Pyramid's own view of HTTP exceptions is nearer to a 503 than one of all exceptions.
    assert body.is_closed == (context is StoreError)


@everywhere
def test_an_exception_view_that_answers_an_outage_below_500_is_left_alone(mode: str) -> None:
    def configure(config: Any) -> None:
        config.add_exception_view(lambda request: PyramidResponse("without you"), context=StoreError)

    site = Site(mode, configure=configure)
    site.set(n=1)
    site.store.fail("load")
    response = site.visit(lambda request: request.session["n"])
    assert (response.status, response.text) == (200, "without you")


@everywhere
def test_a_view_that_answers_an_outage_itself_is_left_alone(mode: str) -> None:
    site = Site(mode)
    site.set(n=1)
    site.store.fail("load")

    def handler(request: Any) -> str:
        try:
            return str(request.session["n"])
        except StoreError as error:
            return type(error.__cause__ or error).__name__

    response = site.visit(handler)
    assert (response.status, response.text) == (200, "'StoreError'")


@alone
@pytest.mark.parametrize("value", [1, [object()]])
def test_a_body_that_is_not_sent_is_closed(mode: str, value: Any) -> None:
    body = ClosedBody()
    site = Site(mode)
    site.store.fail("create")

    def handler(request: Any) -> Any:
        request.session["n"] = value
        return PyramidResponse(app_iter=body)

    if value == 1:
        assert site.visit(handler).status == 503
    else:
        with pytest.raises(SerializationError):
            site.visit(handler)
    assert body.is_closed


@everywhere
def test_error_app_answers_in_place_of_the_503(mode: str) -> None:
    def sorry(environ: Any, start_response: Any) -> list[bytes]:
        start_response("503 Sorry", [("Content-Type", "text/plain"), ("Retry-After", "77")])
        return [b"sorry"]

    site = Site(mode, error_app=sorry)
    site.set(n=1)
    for failing in ("load", "save"):
        site.store.fail(failing)
        response = site.visit(lambda request: request.session.update(n=2))
        assert (response.status, response.reason, response.text) == (503, "Sorry", "sorry")
        assert response.header("Retry-After") == "77"


@everywhere
@pytest.mark.parametrize("action", ["save", "flush", "load", "invalidate"])
def test_an_outage_in_a_method_is_answered_503(mode: str, action: str) -> None:
    site = Site(mode)
    site.set(n=1)

    def handler(request: Any) -> Any:
        request.session["n"] = 2
        site.store.fail_always()
        return getattr(request.session, action)()

    assert site.visit(handler).status == 503
    site.store.recover()
    assert site.read() == {"n": 1}


@everywhere
def test_a_logout_before_an_outage_removes_the_cookie(mode: str) -> None:
    site = Site(mode)
    site.set(n=1)

    def handler(request: Any) -> None:
        request.session.invalidate()
        request.session["n"] = 2
        site.store.fail("create")

    response = site.visit(handler)
    assert response.status == 503
    assert "Max-Age=0" in response.set_cookies[0]


answered_everywhere = pytest.mark.parametrize("mode", ["include", "around", "both"])


@answered_everywhere
def test_an_outage_while_pyramid_tm_asks_for_the_user_is_answered_503(
    mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    def configure(config: Any) -> None:
        config.set_security_policy(Policy())
        config.include("pyramid_tm")

    site = Site(mode, configure=configure)
    site.set(n=1)
    site.store.fail_always()
    response = site.visit(lambda request: "text")
    assert (response.status, response.header("Retry-After")) == (503, "5")
    assert [record.getMessage() for record in caplog.records] == [OUTAGE]


@answered_everywhere
def test_an_outage_of_a_store_that_a_tween_asks_itself_is_answered_503(
    mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    # Before the integration, so that it is under its tween.
    site = Site(mode, before=lambda config: config.add_tween(f"{__name__}.asking_tween_factory"))
    site.registry.settings["asked"] = site.store
    site.store.fail_always()
    response = site.visit(lambda request: "text")
    assert (response.status, response.header("Retry-After")) == (503, "5")
    assert [record.getMessage() for record in caplog.records] == [OUTAGE]


def asking_tween_factory(handler: Handler, registry: Any) -> Handler:
    def tween(request: Any) -> Any:
        registry.settings["asked"].load("id")
        return handler(request)

    return tween


# Pyramid's transactions and repetitions


@everywhere
def test_the_session_is_stored_after_the_transaction_and_not_if_that_fails(mode: str) -> None:
    class Data:
        """Says what the transaction and the store did, in order; fails when it is to."""

        transaction_manager = transaction.manager

        def __init__(self, fails: bool) -> None:
            self.fails = fails

        def sortKey(self) -> str:
            return "data"

        def tpc_vote(self, transaction: Any) -> None:
            if self.fails:
                raise ZeroDivisionError

        def tpc_finish(self, transaction: Any) -> None:
            site.store.calls.append(("commit", ""))

        def abort(self, transaction: Any) -> None: ...

        tpc_begin = commit = tpc_abort = abort

    site = Site(mode, configure=lambda config: config.include("pyramid_tm"))

    def handler(fails: bool) -> Handler:
        def handler(request: Any) -> str:
            request.tm.get().join(Data(fails))
            request.session["fails"] = fails
            return "text"

        return handler

    site.visit(handler(False))
    assert site.store.methods == ["commit", "create"]
    with pytest.raises(ZeroDivisionError):
        site.visit(handler(True))
    assert site.read() == {"fails": False}


@dataclass
class Attempts:
    """A view that fails so many times before it succeeds."""

    failures: int = 1
    seen: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, request: Any) -> str:
        self.seen.append(dict(request.session))
        request.session[f"attempt{len(self.seen)}"] = True
        if len(self.seen) <= self.failures:
            request.session["failed"] = True
            raise RetryableException
        return "text"


@everywhere
@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.parametrize("status", [None, 409, 500])
def test_an_attempt_does_not_see_what_the_one_before_has_changed(mode: str, is_new: bool, status: int | None) -> None:
    def configure(config: Any) -> None:
        config.include("pyramid_retry")
        if status is not None:
            config.add_exception_view(lambda request: PyramidResponse(status=status), context=RetryableException)

    site = Site(mode, configure=configure)
    before = {} if is_new else {"n": 1}
    if not is_new:
        site.set(n=1)
    attempts = Attempts(failures=2)
    response = site.visit(attempts)
    assert response.status == 200
    assert len(response.set_cookies) == is_new
    assert attempts.seen == [before] * 3
    assert site.read() == {**before, "attempt3": True}
    assert len(site.store.records) == 1


@everywhere
def test_what_the_last_attempt_answers_is_the_answer(mode: str) -> None:
    def configure(config: Any) -> None:
        config.include("pyramid_retry")
        config.add_exception_view(lambda request: PyramidResponse(status=409), context=RetryableException)

    site = Site(mode, configure=configure)
    assert site.visit(Attempts(failures=3)).status == 409
    assert site.read() == {"attempt3": True, "failed": True}


@everywhere
def test_a_later_attempt_that_leaves_its_session_alone_stores_nothing(mode: str) -> None:
    site = Site(mode, configure=lambda config: config.include("pyramid_retry"))
    site.set(n=1)

    def handler(request: Any) -> str:
        if request.environ["retry.attempt"] == 0:
            request.session["failed"] = True
            raise RetryableException
        return "text"

    assert site.visit(handler).status == 200
    assert site.read() == {"n": 1}


@everywhere
def test_what_an_attempt_has_saved_itself_is_known_to_the_next(mode: str) -> None:
    site = Site(mode, configure=lambda config: config.include("pyramid_retry"))
    site.set(cart=1)

    def handler(request: Any) -> Any:
        session = request.session
        seen = dict(session)
        session.cycle_id()
        session["attempt"] = request.environ["retry.attempt"]
        if request.environ["retry.attempt"] == 0:
            session.save()
            raise RetryableException
        return seen

    response = site.visit(handler)
    assert response.text == "{'cart': 1, 'attempt': 0}"
    assert site.read() == {"cart": 1, "attempt": 1}


@everywhere
def test_an_outage_can_be_repeated(mode: str) -> None:
    class Outage(StoreError):
        """Of a store that is asked again."""

    mark_error_retryable(Outage)

    def configure(config: Any) -> None:
        config.include("pyramid_retry")

    site = Site(mode, configure=configure)

    def handler(request: Any) -> Any:
        if request.environ["retry.attempt"] == 0:
            raise Outage
        return request.environ["retry.attempt"]

    assert site.visit(handler).text == "1"


# Subrequests


@everywhere
def test_a_blank_subrequest_has_a_session_of_its_own(mode: str) -> None:
    site = Site(mode)
    site.set(n=1)

    def handler(request: Any) -> Any:
        if "inner" in request.GET:
            if mode != "around":
                return dict(request.session)
            with pytest.raises(SessionMissing):  # the middleware has not seen it
                dict(request.session)
            return {}
        request.session["n"] += 1
        response = request.invoke_subrequest(Request.blank("/?inner=1"))
        return (response.text, request.session["n"])

    assert site.visit(handler).text == "('{}', 2)"
    assert site.read() == {"n": 2}


@everywhere
@pytest.mark.parametrize("use_tweens", [True, False])
def test_a_copied_subrequest_has_the_session_of_its_request(mode: str, use_tweens: bool) -> None:
    site = Site(mode)
    site.set(n=1)

    def handler(request: Any) -> Any:
        if "inner" in request.GET:
            request.session["inner"] = request.session["n"]
            return "inner"
        request.session["n"] = 2
        copy = request.copy()
        copy.query_string = "inner=1"
        response = request.invoke_subrequest(copy, use_tweens=use_tweens)
        request.session["after"] = 3
        return (response.text, request.session["inner"])

    response = site.visit(handler)
    assert response.text == "(\"'inner'\", 2)"
    assert site.read() == {"n": 2, "inner": 2, "after": 3}


@everywhere
def test_a_subrequest_that_comes_first_keeps_what_it_stores(mode: str) -> None:
    site = Site(mode)
    site.set(n=1)

    def handler(request: Any) -> Any:
        if "inner" in request.GET:
            request.session["inner"] = 2
            return "inner"
        copy = request.copy()
        copy.query_string = "inner=1"
        request.invoke_subrequest(copy)
        request.session["outer"] = 3
        return "outer"

    site.visit(handler)
    assert site.read() == {"n": 1, "inner": 2, "outer": 3}


# What ISession asks for


@everywhere
def test_the_session_is_all_that_the_interface_says(mode: str) -> None:
    site = Site(mode)
    assert site.ask(lambda session: verifyObject(ISession, session)) is True
    assert verifyObject(ISessionFactory, site.registry.getUtility(ISessionFactory)) if mode != "around" else True


def test_created_is_in_unix_seconds_and_new_tells_the_first_request() -> None:
    with ReplacedClock(1_700_000_000_999) as clock:
        site = Site()
        site.set(n=1)
        clock.advance(timedelta(seconds=5))
        assert site.ask(lambda session: (session.created, session.new)) == (1_700_000_000, False)
        fresh = Browser(site.app)
        assert site.ask(lambda session: (session.created, session.new), fresh) == (1_700_000_005, True)

        def core(request: Any) -> Any:
            return request.session.is_new, get_session(request.environ).created

        expected = (False, datetime(2023, 11, 14, 22, 13, 20, 999000, tzinfo=UTC))
        assert site.visit(core).text == repr(expected)


def test_the_whole_session_is_there() -> None:
    site = Site()
    site.set(n=1)

    def use(session: Any) -> Any:
        session.cycle_id()
        session.owner = "anna"
        session.expiry = OnInactivity(timedelta(hours=1))
        return session.mutate("n", lambda n: n + 1), isinstance(session, PyramidSession), session.id is not None

    before = site.browser.clone()
    assert site.ask(use) == (2, True, True)
    assert site.read(before) == {}
    assert site.ask(lambda session: (session.owner, session["n"])) == ("anna", 2)


def test_the_mapping_is_a_dictionary() -> None:
    def use(session: Any) -> Any:
        session.update({"a": 1, "b": 2})
        session.setdefault("c", 3)
        popped = session.pop("a"), session.pop("a", None), session.popitem()
        del session["b"]
        session["d"] = 4
        return popped, list(session), list(session.items()), "d" in session, len(session), bool(session), session == {}

    expected = ((1, None, ("c", 3)), ["d"], [("d", 4)], True, 1, True, False)
    assert Site().ask(use) == expected


def test_invalidate_ends_the_session_and_leaves_one_to_write_to() -> None:
    site = Site()
    site.set(n=1)
    before = site.browser.clone()

    def relogin(session: Any) -> None:
        session.invalidate()
        assert dict(session) == {}
        session["m"] = 2

    site.ask(relogin)
    assert site.read(before) == {}
    assert site.read() == {"m": 2}
    assert len(site.store.records) == 1
    response = site.visit(lambda request: request.session.invalidate())
    assert "Max-Age=0" in response.set_cookies[0]
    assert site.store.records == []


def test_changed_is_not_needed_and_changes_nothing() -> None:
    site = Site()
    assert site.visit(lambda request: request.session.changed()).set_cookies == []
    site.set(cart=[])
    site.store.forget()
    site.ask(lambda session: (session["cart"], session.changed()))
    assert site.store.methods == ["load"]
    site.ask(lambda session: session["cart"].append(1))
    assert site.store.methods == ["load", "load", "save"]
    assert site.read() == {"cart": [1]}


def test_flashed_messages_are_kept_by_queue_until_they_are_popped() -> None:
    site = Site()

    def flash(session: Any) -> None:
        session.flash("one")
        session.flash("one")
        session.flash("one", allow_duplicate=False)
        session.flash(("a", 1), "other")
        session.flash("two", queue="other", allow_duplicate=False)

    site.ask(flash)
    assert site.read() == {"_f_": ["one", "one"], "_f_other": [("a", 1), "two"]}
    assert site.ask(lambda session: session.peek_flash()) == ["one", "one"]
    assert site.ask(lambda session: session.pop_flash()) == ["one", "one"]
    assert site.ask(lambda session: (session.peek_flash(), session.pop_flash(), session.pop_flash("other"))) == (
        [],
        [],
        [("a", 1), "two"],
    )
    assert site.read() == {}


def test_popping_no_messages_writes_nothing() -> None:
    site = Site()
    response = site.visit(lambda request: (request.session.pop_flash(), request.session.peek_flash("other")))
    assert response.set_cookies == []
    assert site.store.methods == []


def test_a_message_that_cannot_be_stored_is_refused_where_it_is_flashed() -> None:
    from pyramid.i18n import TranslationString

    def flash(session: Any) -> None:
        with pytest.raises(SerializationError):
            session.flash(TranslationString("saved"))

    assert Site().ask(flash) is None


def test_the_csrf_token_stays_until_a_new_one_is_asked_for() -> None:
    site = Site()
    first = site.ask(lambda session: (session.get_csrf_token(), session.get_csrf_token()))
    assert first[0] == first[1] and len(first[0]) >= 40 and first[0].isascii()
    assert site.ask(lambda session: session.get_csrf_token()) == first[0]
    new = site.ask(lambda session: (session.new_csrf_token(), session.get_csrf_token()))
    assert new[0] == new[1] != first[0]
    assert site.read() == {"_csrft_": new[0]}


@with_forms
@pytest.mark.parametrize("policy", [LegacySessionCSRFStoragePolicy(), SessionCSRFStoragePolicy()])
@everywhere
def test_forms_are_protected(mode: str, policy: Any) -> None:
    def configure(config: Any) -> None:
        config.set_csrf_storage_policy(policy)
        config.set_default_csrf_options(require_csrf=True)

    site = Site(mode, configure=configure, cookie=SessionCookie(secure=False))
    client = webtest.TestApp(site.app, lint=False)

    def handler(request: Any) -> Any:
        if request.method == "POST":
            request.session["name"] = request.POST["name"]
            new_csrf_token(request)
            return "posted"
        return PyramidResponse(
            f'<form method="post"><input name="csrf_token" value="{get_csrf_token(request)}"><input name="name"></form>'
        )

    site.handler = handler
    form = client.get("/").form
    client.post("/", {"name": "x"}, status=400)
    client.post("/", {"name": "x", "csrf_token": "é"}, status=400)
    form["name"] = "Anna"
    assert form.submit().text == "'posted'"
    form.submit(status=400)  # the token is another one
    assert client.get("/").form["csrf_token"].value != form["csrf_token"].value
    site.handler = lambda request: request.session["name"]
    assert client.get("/").text == "'Anna'"


# Who is logged in


class Policy:
    """A security policy that keeps the user in the session, by Pyramid's own helper."""

    def __init__(self) -> None:
        self.helper = SessionAuthenticationHelper()

    def identity(self, request: Any) -> Any:
        return self.authenticated_userid(request)

    def authenticated_userid(self, request: Any) -> Any:
        return self.helper.authenticated_userid(request)

    def permits(self, request: Any, context: Any, permission: str) -> bool:
        return self.authenticated_userid(request) is not None

    def remember(self, request: Any, userid: str, **options: Any) -> Any:
        request.session.cycle_id()
        return self.helper.remember(request, userid, **options)

    def forget(self, request: Any, **options: Any) -> Any:
        request.session.invalidate()
        return self.helper.forget(request, **options)


@everywhere
def test_a_security_policy_keeps_the_user_in_the_session(mode: str) -> None:
    def configure(config: Any) -> None:
        config.include("pyramid_tm")  # it asks for the user, too
        config.set_security_policy(Policy())
        config.add_view(lambda request: PyramidResponse("secret"), name="secret", permission="view")

    site = Site(mode, configure=configure)
    site.set(cart=1)
    assert site.browser.get("/secret").status == 403
    before_login = site.browser.clone()
    assert site.visit(lambda request: remember(request, "anna")).text == "[]"
    assert site.browser.get("/secret").text == "secret"
    assert before_login.get("/secret").status == 403
    assert site.read() == {"cart": 1, "auth.userid": "anna"}
    before_logout = site.browser.clone()
    site.visit(lambda request: forget(request))
    assert site.browser.cookies == {}
    assert site.browser.get("/secret").status == before_logout.get("/secret").status == 403


# How it is set up


def test_settings_may_be_texts(tmp_path: Path) -> None:
    settings = {
        "wsgi_sessions.store": f"file://{tmp_path}/sessions",
        "wsgi_sessions.cookie.name": "visitor",
        "wsgi_sessions.cookie.secure": "false",
        "wsgi_sessions.expiry": "OnInactivity",
        "wsgi_sessions.expiry.idle": "30 minutes",
        "other.setting": "1",
    }
    site = Site("around", settings=settings)
    factory = site.registry.getUtility(ISessionFactory)
    assert isinstance(factory, SessionFactory)
    assert isinstance(factory.store, FileStore)
    browser = Browser(site.router, scheme="http")
    with ReplacedClock():
        assert "Max-Age=1800" in site.visit(lambda request: request.session.update(n=1), browser).set_cookies[0]
        assert site.read(browser) == {"n": 1}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"wsgi_sessions.always_save": "true"}, r"wsgi_sessions\.store is missing"),
        ({"wsgi_sessions.store": "memory:", "wsgi_sessions.cookie.nam": "id"}, r"wsgi_sessions\.cookie\.name"),
        ({"wsgi_sessions.store": "memory:", "wsgi_sessions.always_save": "perhaps"}, "always_save must be true"),
    ],
)
def test_wrong_settings_are_refused_when_included(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Configurator(settings=settings).include(INTEGRATION)


def test_wrong_arguments_are_refused_at_once() -> None:
    with pytest.raises(TypeError, match="store must be a SessionStore"):
        session_factory("memory:")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="cookie must be a SessionCookie"):
        session_factory(MemoryStore(), cookie="id")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_payload"):
        session_factory(MemoryStore(), max_payload=0)
    with pytest.raises(TypeError, match="timeout"):
        session_factory(MemoryStore(), timeout=5)  # type: ignore[call-arg]


@pytest.mark.parametrize("settings", [{}, {"wsgi_sessions.store": None}])
def test_without_a_store_and_a_middleware_it_is_said_what_to_do(settings: dict[str, Any]) -> None:
    site = Site("around", settings=settings)
    site.handler = lambda request: request.session["n"]
    with pytest.raises(SessionMissing, match=r"wsgi_sessions\.store, or wrap SessionMiddleware"):
        call(site.router)


def test_another_store_under_the_cookie_name_of_the_middleware_is_refused() -> None:
    site = Site("factory")
    site.handler = lambda request: request.session["n"]
    with pytest.raises(ValueError, match="different stores use the cookie name 'id'"):
        call(SessionMiddleware(site.router, MemoryStore()))


def test_a_middleware_of_another_cookie_name_has_a_session_of_its_own() -> None:
    site = Site("factory")
    browser = Browser(SessionMiddleware(site.app, MemoryStore(), cookie=SessionCookie("outer")))

    def handler(request: Any) -> Any:
        request.session["n"] = 1
        get_session(request.environ, "outer")["m"] = 2
        return "text"

    site.visit(handler, browser)
    assert sorted(browser.cookies) == ["id", "outer"]
    assert site.read(browser) == {"n": 1}


def test_a_factory_of_the_applications_own_has_precedence_and_the_outages_of_its_store_are_answered() -> None:
    store = RecordingStore()

    def configure(config: Any) -> None:
        config.set_session_factory(session_factory(store))
        config.include("pyramid_tm")
        config.set_security_policy(Policy())

    site = Site(configure=configure)
    site.set(n=1)
    assert len(store.records) == 1
    store.fail("load")
    assert site.visit(lambda request: "text").status == 503


@pytest.mark.parametrize(("module", "expected"), [("pyramid_retry", "True"), ("pyramid", "wsgi-sessions[pyramid]")])
def test_pyramid_is_needed_and_pyramid_retry_is_not(module: str, expected: str) -> None:
    code = f"""
import sys
sys.modules[{module!r}] = None
try:
    from {INTEGRATION} import session_factory
    from pyramid.config import Configurator
    from pyramid.request import Request
    from wsgi_sessions import MemoryStore
except ImportError as error:
    sys.exit(print(error))
config = Configurator(session_factory=session_factory(MemoryStore()))
config.add_view(lambda request: {{"n": request.session.setdefault("n", 1)}}, renderer="json")
print("Set-Cookie" in Request.blank("/").get_response(config.make_wsgi_app()).headers)
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=TIMEOUT)
    assert expected in done.stdout


def test_it_can_be_included_for_a_unit_test() -> None:
    with testing.testConfig(settings={"wsgi_sessions.store": MemoryStore()}) as config:
        config.include(INTEGRATION)
        request = testing.DummyRequest()
        request.session.flash("one")
        assert request.session.pop_flash() == ["one"]
        session = config.registry.getUtility(ISessionFactory)(request)
        session["n"] = 1
        assert (session["n"], session.new, verifyObject(ISession, session)) == (1, True, True)


# Buckets


@dataclass
class Guest:
    visits: int = 0


@view_config(route_name="function")
@with_bucket(Guest)
def by_function(request: Any, guest: Guest) -> Any:
    guest.visits += 1
    return PyramidResponse(f"{type(request).__name__} {guest.visits}")


@view_config(route_name="context")
@with_bucket(Guest)
def by_context(context: Any, request: Any, guest: Guest) -> Any:
    guest.visits += 1
    return PyramidResponse(f"{type(context).__name__} {guest.visits}")


@view_config(route_name="first")
@with_bucket(Guest, parameter="who")
def by_parameter(who: Any, request: Any) -> Any:
    who.visits += 1
    raise HTTPFound("/elsewhere")


def by_keyword(context: Any, request: Any, *, guest: Any) -> Any:
    return PyramidResponse(str(guest.visits))


class Pages:
    """The session of the class is its own, a database's."""

    session = None

    def __init__(self, request: Any) -> None:
        self.request = request

    @view_config(route_name="method")
    @with_bucket(Guest)
    def by_method(self, guest: Guest) -> Any:
        guest.visits += 1
        return PyramidResponse(f"{type(self).__name__} {guest.visits}")

    @view_config(route_name="failing")
    @with_bucket(Guest)
    def failing(self, guest: Guest) -> Any:
        guest.visits += 100
        raise ZeroDivisionError


@everywhere
def test_views_of_every_form_get_their_bucket(mode: str) -> None:
    def configure(config: Any) -> None:
        for name in ("function", "context", "first", "method", "failing"):
            config.add_route(name, f"/{name}")
        config.add_route("imperative", "/imperative")
        config.add_view(with_bucket(Guest, parameter="guest")(by_keyword), route_name="imperative")
        config.scan(__name__, categories=("pyramid",))
        config.add_exception_view(lambda request: PyramidResponse("failed"), context=ZeroDivisionError)

    site = Site(mode, configure=configure)
    get = site.browser.get
    assert get("/function").text == "Request 1"
    assert get("/context").text == "DefaultRootFactory 2"
    assert get("/first").status == 302
    assert get("/method").text == "Pages 4"
    assert get("/failing").text == "failed"
    assert get("/imperative").text == "4"
    assert get("/method").text == "Pages 5"
    assert site.read() == {"Guest": {"visits": 5}}


def test_a_view_with_a_bucket_can_be_called_in_a_unit_test() -> None:
    request = testing.DummyRequest()
    assert by_function(request).text == "DummyRequest 1"
    assert request.session["Guest"] == {"visits": 1}


def test_a_view_without_a_request_is_told_so() -> None:
    with pytest.raises(TypeError, match=r"views that take a request, and for methods with self\.request"):
        by_function()
    with pytest.raises(TypeError, match="views that take a request"):
        by_function(object())


# Sessions of other libraries

KEY = "of the application before"
SOURCES = [PyramidSource(KEY)]


def make_sources() -> list[PyramidSource]:
    return SOURCES


def old_browser() -> Browser:
    """Return a browser that an application with Pyramid's own sessions has greeted."""
    config = Configurator(session_factory=SignedCookieSessionFactory(KEY))

    def begin(request: Any) -> str:
        request.session["user"] = "anna"
        request.session.flash("saved")
        return str(request.session.get_csrf_token())

    browser = answering(config, begin)
    assert browser.get("/").status == 200
    return browser


@pytest.mark.parametrize("value", [f"{__name__}:SOURCES", f"{__name__}:make_sources", SOURCES, make_sources])
@pytest.mark.parametrize("retire", [None, "keep"])
def test_a_setting_takes_over_the_sessions_of_another_library(value: Any, retire: str | None) -> None:
    site = Site(settings={"wsgi_sessions.legacy": value, "wsgi_sessions.retire": retire})
    old = old_browser()
    thief = Browser(site.app)
    for browser in (site.browser, thief):
        browser.put("session", old.cookies["session"])
    assert site.ask(lambda session: (session["user"], session.pop_flash())) == ("anna", ["saved"])
    assert set(site.browser.cookies) == ({"id", "session"} if retire else {"id"})
    assert site.read()["user"] == "anna"
    site.visit(lambda request: request.session.invalidate())
    assert site.read(thief) == {}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"legacy": f"{__name__}:absent"}, "wsgi_sessions.legacy cannot be imported"),
        ({"legacy": PyramidSource("key")}, "wsgi_sessions.legacy must be a list of sources, not PyramidSource"),
        ({"legacy": SOURCES, "retire": "burn"}, "wsgi_sessions.retire must be delete or keep"),
        ({"retire": "keep"}, "give wsgi_sessions.legacy too"),
    ],
)
def test_a_wrong_source_is_an_error_at_the_start(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        Site(settings={f"wsgi_sessions.{name}": value for name, value in settings.items()})


# The page in docs/


@pytest.fixture(scope="module")
def page() -> Any:
    return parsed("docs/pyramid.rst")


def run(document: Any, text: str, **names: Any) -> dict[str, Any]:
    known = {name: getattr(wsgi_sessions, name) for name in wsgi_sessions.__all__}
    result: dict[str, Any] = execute(find(document, text), {**known, "timedelta": timedelta, **names})
    return result


def answering(config: Any, handler: Handler) -> Browser:
    """Return a browser for an application with one page."""
    config.add_view(lambda request: PyramidResponse(repr(handler(request))))
    return Browser(validator(config.make_wsgi_app()))


def test_every_python_block_is_run_by_a_test_below(page: Any) -> None:
    texts = re.findall(r"(?:run|find)\(page, \"(.*?)\"[,)]", Path(__file__).read_text())
    assert [code for code in blocks(page, "python") if not any(text in code for text in texts)] == []


@with_forms
def test_the_page_leads_to_a_login_in_short(page: Any, tmp_path: Path) -> None:
    code = find(page, "make_server(").replace("sqlite:///sessions.db", f"sqlite:///{tmp_path}/sessions.db")
    assert len([line for line in code.splitlines() if line.strip()]) <= 30
    app = execute(code, {"__name__": __name__})["app"]
    store = app.registry.getUtility(ISessionFactory).store
    with closing(store):
        client = webtest.TestApp(validator(app), extra_environ={"wsgi.url_scheme": "https"}, lint=False)
        form = client.get("/").form
        form["user"] = "<anna>"
        welcome = form.submit().follow()
        assert "&lt;anna&gt;" in welcome
        assert [record.owner for record in store.scan()] == ["<anna>"]
        assert "Log in" in welcome.form.submit().follow()
        assert list(store.scan()) == []
        run(page, "def test_login", app=app, webtest=webtest)["test_login"]()


def test_the_settings_on_the_page_can_be_set(page: Any, tmp_path: Path) -> None:
    (text,) = blocks(page, "ini")
    parser = configparser.ConfigParser(defaults={"here": str(tmp_path)})
    parser.read_string(text)
    settings = dict(parser["app:main"])
    assert settings["pyramid.includes"].split() == ["pyramid_tm", INTEGRATION]
    config = Configurator(settings=settings)
    config.commit()
    factory = config.registry.getUtility(ISessionFactory)
    assert (factory.cookie.name, type(factory.store).__name__) == ("__Host-id", "SQLiteStore")


def test_every_setting_on_the_page_exists(page: Any) -> None:
    texts = [*(node.astext() for node in page.findall(nodes.literal)), *blocks(page, "ini"), *blocks(page, "python")]
    settings = {name for text in texts for name in re.findall(r"wsgi_sessions\.((?:\w+\.)?\w+)", text)}
    modules = {"integrations.pyramid", "operations", "security"}
    modules |= {f"migration.{name}" for name in ("beaker", "pyramid", "pyramid_session_redis")}
    assert settings - modules - OPTIONS == set()
    assert len(settings) > 15


@pytest.mark.parametrize(
    ("index", "factory"),
    [(0, "pyramid.session:SignedCookieSessionFactory"), (1, "pyramid_session_redis:RedisSessionFactory")],
)
def test_the_arguments_that_the_page_replaces_are_those_of_the_others(page: Any, index: int, factory: str) -> None:
    pytest.importorskip(factory.partition(":")[0])
    rows = list(page.findall(nodes.table))[index].findall(nodes.row)
    first_cells = [next(iter(row.findall(nodes.entry))) for row in rows][1:]
    named = {node.astext() for cell in first_cells for node in cell.findall(nodes.literal)}
    known = set(inspect.signature(resolve_name(factory)).parameters)
    assert named - known == set()
    unnamed = known - named
    # Those of the cookie are told of as a group.
    assert all(name.startswith(("cookie_", "redis_")) or name == "invalidate_empty_session" for name in unnamed)


def test_objects_can_be_settings_as_on_the_page(page: Any) -> None:
    config = Configurator()
    run(page, "SessionCookie(", config=config, store=MemoryStore())
    browser = answering(config, lambda request: request.session.update(n=1))
    assert browser.get("/").set_cookies[0].startswith("__Host-id=")


def test_the_sessions_of_pyramid_go_over_as_on_the_page(page: Any, tmp_path: Path) -> None:
    config = Configurator()
    code = (
        find(page, "PyramidSource(").replace("/var/lib/shop", str(tmp_path)).replace("the secret of the factory", KEY)
    )
    execute(code, {"config": config})
    old = old_browser()
    browser = answering(config, lambda request: (request.session["user"], request.session.pop_flash()))
    browser.put("session", old.cookies["session"])
    with closing(config.registry.getUtility(ISessionFactory).store):
        assert browser.get("/").text == "('anna', ['saved'])"
        assert browser.get("/").text == "('anna', [])"
    assert list(browser.cookies) == ["id"]


def test_the_sessions_of_other_libraries_go_over_as_on_the_page(page: Any, tmp_path: Path, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        config = Configurator(settings={"wsgi_sessions.store": MemoryStore()})
        config.registry.settings["redis"] = client
        servers = SimpleNamespace(Redis=lambda: client)
        source = run(page, "PyramidSessionRedisSource(", config=config, redis=servers)["source"]
        assert config.registry.settings["wsgi_sessions.legacy"] == [source]
    settings = {
        "pyramid.includes": "",
        "session.type": "file",
        "session.data_dir": str(tmp_path),
        "session.secret": "as before",
    }

    def begin(environ: Any, start_response: Any) -> list[bytes]:
        environ["beaker.session"]["user"] = "anna"
        environ["beaker.session"].save()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"in"]

    old = Browser(beaker.middleware.SessionMiddleware(begin, settings))
    old.get("/")
    config = Configurator(settings={"wsgi_sessions.store": MemoryStore(), **settings})
    run(page, "source_of(", config=config, beaker_settings=settings)
    config.include(INTEGRATION)
    browser = answering(config, lambda request: request.session["user"])
    ((_, cookie),) = old.cookies.items()  # its name has a space before it
    browser.put("beaker.session.id", cookie)
    assert [browser.get("/").text for _ in range(2)] == ["'anna'", "'anna'"]
    assert list(browser.cookies) == ["id"]


def test_the_factory_is_set_as_on_the_page(page: Any) -> None:
    config, store = Configurator(), MemoryStore()
    run(page, "set_session_factory(session_factory(", config=config, store=store)
    browser = answering(config, lambda request: request.session.update(n=1))
    with ReplacedClock():
        assert "Max-Age=1800" in browser.get("/").set_cookies[0]


def test_the_owner_is_the_user_with_the_policy_on_the_page(page: Any) -> None:
    store = MemoryStore()
    config = Configurator(settings={"wsgi_sessions.store": store})
    config.include("pyramid_tm")
    config.include(INTEGRATION)
    run(page, "class OwnerPolicy", config=config)
    actions: dict[str, Handler] = {
        "login": lambda request: remember(request, "anna"),
        "logout": forget,
        "": lambda request: (request.authenticated_userid, request.has_permission("view") and True),
    }
    browser = answering(config, lambda request: actions[request.query_string](request))
    browser.get("/?login")
    planted = browser.clone()
    assert browser.get("/").text == "('anna', True)"
    assert [record.owner for record in store.scan()] == ["anna"]
    browser.get("/?login")
    assert planted.get("/").text == "(None, False)"  # the same user, and a new token
    revoke(store, "anna")
    assert browser.get("/").text == "(None, False)"
    browser.get("/?login")
    browser.get("/?logout")
    assert list(store.scan()) == []


def test_forms_are_protected_as_on_the_page(page: Any) -> None:
    config = Configurator(settings={"wsgi_sessions.store": MemoryStore()})
    config.include(INTEGRATION)
    run(page, "set_default_csrf_options(", config=config)
    browser = answering(config, get_csrf_token)
    token = browser.get("/").text.strip("'")
    assert browser.post("/").status == 400
    # Over https, Pyramid asks where the form was, too.
    assert browser.post("/", HTTP_X_CSRF_TOKEN=token, HTTP_REFERER="https://example.com/").status == 200


def test_the_bucket_on_the_page_counts(page: Any) -> None:
    config = Configurator(settings={"wsgi_sessions.store": MemoryStore()})
    config.include(INTEGRATION)
    view = run(page, "class Guest", view_config=view_config)["count"]
    config.add_view(view, renderer="string")
    browser = Browser(validator(config.make_wsgi_app()))
    assert [browser.get("/").text for _ in range(2)] == ["Page 1", "Page 2"]


def test_an_outage_is_answered_as_on_the_page(page: Any) -> None:
    store = RecordingStore()
    config = Configurator(settings={"wsgi_sessions.store": store})
    config.include(INTEGRATION)
    view = run(page, "exception_view_config(", exception_view_config=exception_view_config)["without_session"]
    config.add_exception_view(view, context=StoreError, renderer="string")
    browser = answering(config, lambda request: request.session.setdefault("n", 1))
    browser.get("/")
    store.fail("load")
    assert browser.get("/").text == "Our shop window is open; the till is not."
