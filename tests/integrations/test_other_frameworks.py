"""What needs no adapter: CherryPy, Falcon and plain WSGI, wrapped as docs/wsgi.rst says."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import cherrypy
import falcon
import pytest
from harness import TEXT, Browser, RecordingStore
from test_readme import blocks, execute, find, parsed

import wsgi_sessions
from wsgi_sessions import MemoryStore, Session, SessionMiddleware, get_session


@pytest.fixture
def store() -> RecordingStore:
    return RecordingStore()


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """CherryPy would write its logs to the screen, and remember what was mounted."""
    monkeypatch.setattr(cherrypy.log, "screen", False)
    monkeypatch.setattr(cherrypy.tree, "apps", {})


def count(session: Session) -> str:
    session["n"] = session.get("n", 0) + 1
    return str(session["n"])


def cherrypy_session() -> Session:
    return get_session(cherrypy.request.wsgi_environ)


class Pages:
    """A CherryPy application."""

    @cherrypy.expose
    def index(self) -> str:
        return count(cherrypy_session())

    @cherrypy.expose
    def untouched(self) -> str:
        return "hello"

    @cherrypy.expose
    def redirect(self) -> None:
        count(cherrypy_session())
        raise cherrypy.HTTPRedirect("/")

    @cherrypy.expose
    def internal(self) -> None:
        count(cherrypy_session())
        raise cherrypy.InternalRedirect("/")

    @cherrypy.expose
    def refused(self) -> None:
        count(cherrypy_session())
        raise cherrypy.HTTPError(403)

    @cherrypy.expose
    def broken(self) -> None:
        count(cherrypy_session())
        raise ZeroDivisionError

    @cherrypy.expose
    @cherrypy.config(**{"response.stream": True})
    def stream(self) -> Iterator[str]:
        session = cherrypy_session()

        def body() -> Iterator[str]:
            yield count(session)
            session["late"] = True
            yield "!"

        return body()


class Falcon:
    """A resource of a Falcon application for each page of the one above."""

    def __init__(self, page: str) -> None:
        self.page = page

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        if self.page == "untouched":
            resp.text = "hello"
            return
        session = get_session(req.env)
        if self.page == "stream":
            resp.stream = self.body(session)
            return
        resp.text = count(session)
        if self.page == "redirect":
            raise falcon.HTTPFound("/")
        if self.page == "refused":
            raise falcon.HTTPForbidden
        if self.page == "broken":
            raise ZeroDivisionError

    @staticmethod
    def body(session: Session) -> Iterator[bytes]:
        yield count(session).encode()
        session["late"] = True
        yield b"!"


def cherrypy_application(store: RecordingStore) -> Any:
    return SessionMiddleware(cherrypy.Application(Pages()), store)


def cherrypy_tree(store: RecordingStore) -> Any:
    cherrypy.tree.mount(Pages(), "/")
    return SessionMiddleware(cherrypy.tree, store)


def cherrypy_pipeline(store: RecordingStore) -> Any:
    config = {"/": {"wsgi.pipeline": [("sessions", SessionMiddleware)], "wsgi.sessions.store": store}}
    return cherrypy.Application(Pages(), config=config)


def falcon_application(store: RecordingStore) -> Any:
    app = falcon.App()
    app.add_route("/", Falcon(""))
    for page in ("untouched", "redirect", "refused", "broken", "stream"):
        app.add_route(f"/{page}", Falcon(page))
    return SessionMiddleware(app, store)


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("make", [cherrypy_application, cherrypy_tree, cherrypy_pipeline, falcon_application])
class TestWrapped:
    @pytest.fixture
    def browser(self, make: Callable[[RecordingStore], Any], store: RecordingStore) -> Browser:
        return Browser(validator(make(store)))

    def test_it_remembers(self, browser: Browser) -> None:
        assert [browser.get().text for _ in range(3)] == ["1", "2", "3"]

    def test_an_untouched_page_asks_the_store_nothing(self, browser: Browser, store: RecordingStore) -> None:
        response = browser.get("/untouched")
        assert (response.text, response.set_cookies, store.calls) == ("hello", [], [])

    def test_the_framework_may_answer_by_raising(self, browser: Browser) -> None:
        assert browser.get("/redirect").status in (302, 303)
        assert browser.get("/refused").status == 403
        assert browser.get().text == "3"

    def test_a_page_that_fails_stores_nothing(self, browser: Browser, store: RecordingStore) -> None:
        response = browser.get("/broken", **{"wsgi.errors": io.StringIO()})
        assert (response.status, response.set_cookies, store.records) == (500, [], [])

    def test_a_stream_is_saved_with_its_first_item_and_after_its_last(
        self, browser: Browser, store: RecordingStore
    ) -> None:
        response = browser.get("/stream")
        assert (response.text, len(response.set_cookies)) == ("1!", 1)
        assert store.methods == ["create", "save"]

    def test_a_store_that_fails_is_a_503(self, browser: Browser, store: RecordingStore) -> None:
        browser.get()
        for method in ("load", "save"):
            store.fail(method)
            response = browser.get("/", **{"wsgi.errors": io.StringIO()})
            assert (response.status, response.header("Retry-After")) == (503, "5")
        assert browser.get().text == "2"


@pytest.mark.usefixtures("silent")
class TestCherryPy:
    @pytest.mark.parametrize("make", [cherrypy_application, cherrypy_tree])
    def test_an_internal_redirection_keeps_the_session(
        self, make: Callable[[RecordingStore], Any], store: RecordingStore
    ) -> None:
        browser = Browser(make(store))
        assert browser.get("/internal").text == "2"
        assert len(store.records) == 1

    def test_a_middleware_in_the_pipeline_loses_it(self, store: RecordingStore) -> None:
        """CherryPy redirects outside of it: each page is a request of its own there."""
        assert Browser(cherrypy_pipeline(store)).get("/internal").text == "1"

    def test_the_engine_is_not_needed(self, store: RecordingStore) -> None:
        before = cherrypy.engine.state
        Browser(cherrypy_application(store)).get()
        assert cherrypy.engine.state == before


@pytest.fixture(scope="module")
def page() -> Any:
    return parsed("docs/wsgi.rst")


@pytest.mark.usefixtures("silent")
class TestPage:
    """docs/wsgi.rst."""

    @pytest.fixture
    def run(self, page: Any, tmp_path: Path) -> Iterator[Callable[..., dict[str, Any]]]:
        """Return what runs the block that holds a text, and closes its store afterwards."""
        made: list[dict[str, Any]] = []
        public = {name: getattr(wsgi_sessions, name) for name in wsgi_sessions.__all__}

        def run(page: Any, text: str, **names: Any) -> dict[str, Any]:
            code = find(page, text).replace("sessions.db", str(tmp_path / "sessions.db"))
            made.append(execute(code, {**public, **names}))
            return made[-1]

        yield run
        for names in made:
            if isinstance(names.get("application"), SessionMiddleware):
                names["application"].store.close()

    def test_every_python_block_is_run_by_a_test_below(self, page: Any) -> None:
        here = Path(__file__).read_text()
        texts = re.findall(r"run\(page, [\"'](.*?)[\"'][,)]", here)
        assert [code for code in blocks(page, "python") if not any(text in code for text in texts)] == []

    def test_a_login_from_nothing(self, page: Any, run: Callable[..., dict[str, Any]]) -> None:
        code = find(page, "def app(environ")
        assert len([line for line in code.splitlines() if line.strip()]) <= 20
        browser = Browser(validator(run(page, "def app(environ")["application"]))
        assert browser.get().text == "Hello stranger\n"
        assert browser.post("/login?user=anna").text == "Hello anna\n"
        assert browser.get().text == "Hello anna\n"
        assert browser.post("/logout").text == "Hello stranger\n"
        assert browser.cookies == {}

    def test_two_middlewares(self, page: Any, run: Callable[..., dict[str, Any]]) -> None:
        def app(environ: Any, start_response: Any) -> list[bytes]:
            cart, login = names["cart_and_login"](environ)
            text = f"{count(cart)}{count(cart)}{count(login)}"
            start_response("200 OK", list(TEXT))
            return [text.encode()]

        names = run(page, "def cart_and_login", app=app, carts=MemoryStore(), logins=MemoryStore())
        browser = Browser(validator(names["application"]))
        assert [browser.get().text for _ in range(2)] == ["121", "342"]
        assert sorted(browser.cookies) == ["cart", "login"]

    def test_cherrypy(self, page: Any, run: Callable[..., dict[str, Any]]) -> None:
        application = run(page, "class Root:")["application"]
        browser = Browser(validator(application))
        assert [browser.get().text for _ in range(2)] == ["Visit number 1", "Visit number 2"]
        run(page, "cherrypy.tree.graft", cherrypy=cherrypy, application=application)
        browser.app = validator(cherrypy.tree)
        assert browser.get().text == "Visit number 3"

    def test_falcon(self, page: Any, run: Callable[..., dict[str, Any]]) -> None:
        browser = Browser(validator(run(page, "class Visits:")["application"]))
        assert [browser.get().text for _ in range(2)] == ["Visit number 1", "Visit number 2"]

    def test_a_component_of_falcon(self, page: Any, run: Callable[..., dict[str, Any]], store: RecordingStore) -> None:
        class Counter:
            def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
                resp.text = count(req.context.session)

        app = run(page, "class SessionComponent:", falcon=falcon)["app"]
        app.add_route("/", Counter())
        browser = Browser(validator(SessionMiddleware(app, store)))
        assert [browser.get().text for _ in range(2)] == ["1", "2"]
