"""Werkzeug: the mixin of requests, and what its page shows."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import werkzeug
from harness import RecordingStore, garbage_of, make_environ, serve
from secure_cookie.session import FilesystemSessionStore
from test_readme import ROOT, blocks, execute, find, parsed
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.test import Client

import wsgi_sessions
from wsgi_sessions import (
    MemoryStore,
    Session,
    SessionCookie,
    SessionMiddleware,
    SessionMissing,
    StoreError,
    get_session,
    open_session,
)
from wsgi_sessions.integrations.werkzeug import SessionRequestMixin
from wsgi_sessions.testing import cookie_of_visitor


class Request(SessionRequestMixin, werkzeug.Request):
    """A request with a session."""


@Request.application
def counter(request: Request) -> werkzeug.Response:
    if request.path == "/missing":
        request.session["missed"] = True
        raise NotFound
    if request.path == "/untouched":
        return werkzeug.Response("hello")
    request.session["n"] = request.session.get("n", 0) + 1
    if request.path == "/broken":
        raise ZeroDivisionError
    return werkzeug.Response(str(request.session["n"]))


@pytest.fixture
def store() -> RecordingStore:
    return RecordingStore()


@pytest.fixture
def client(store: RecordingStore) -> Client:
    return Client(SessionMiddleware(counter, store))


class TestSession:
    def test_it_remembers(self, client: Client) -> None:
        assert [client.get("/").text for _ in range(3)] == ["1", "2", "3"]

    def test_it_is_the_session_of_the_environ(self, store: RecordingStore) -> None:
        seen = []

        @Request.application
        def app(request: Request) -> werkzeug.Response:
            seen.extend([request.session, request.session, get_session(request.environ)])
            return werkzeug.Response()

        Client(SessionMiddleware(app, store)).get("/")
        assert seen[0] is seen[1] is seen[2]
        assert isinstance(seen[0], Session)

    def test_an_untouched_request_asks_the_store_nothing(self, client: Client, store: RecordingStore) -> None:
        response = client.get("/untouched")
        assert (response.text, "Set-Cookie" in response.headers, store.calls) == ("hello", False, [])

    def test_an_http_exception_is_an_answer(self, client: Client, store: RecordingStore) -> None:
        assert client.get("/missing").status_code == 404
        assert len(store.records) == 1

    def test_nothing_is_stored_if_the_view_fails(self, client: Client, store: RecordingStore) -> None:
        with pytest.raises(ZeroDivisionError):
            client.get("/broken")
        assert store.records == []

    def test_a_store_that_fails_is_a_503(self, client: Client, store: RecordingStore) -> None:
        client.get("/")
        store.fail("load")
        response = client.get("/")
        assert (response.status_code, response.retry_after is not None) == (503, True)
        assert client.get("/").text == "2"

    def test_also_if_the_application_makes_an_error_page_of_it(self, store: RecordingStore) -> None:
        @Request.application
        def app(request: Request) -> werkzeug.Response | HTTPException:
            try:
                return werkzeug.Response(str(len(request.session)))
            except StoreError:
                return werkzeug.Response("sorry", 500)

        client = Client(SessionMiddleware(app, store))
        client.set_cookie(*cookie_of_visitor(store, {"k": 1}))
        store.fail("load")
        assert client.get("/").status_code == 503

    def test_without_a_middleware_it_says_what_is_missing(self) -> None:
        with pytest.raises(SessionMissing, match="is SessionMiddleware wrapped around this app"):
            Request(make_environ()).session  # noqa: B018

    def test_the_innermost_session_or_that_of_a_cookie_name(self, store: RecordingStore) -> None:
        class Outer(SessionRequestMixin, werkzeug.Request):
            session_cookie_name = "outer"

        seen = []

        def app(environ: Any, start_response: Any) -> Any:
            seen.extend([Request(environ).session, Outer(environ).session])
            return werkzeug.Response()(environ, start_response)

        inside = SessionMiddleware(app, MemoryStore())
        Client(SessionMiddleware(inside, store, cookie=SessionCookie("outer"))).get("/")
        assert [session._settings.cookie.name for session in seen] == ["id", "outer"]

    def test_it_stays_the_same_when_a_part_inside_begins_another(self, store: RecordingStore) -> None:
        inside = SessionMiddleware(werkzeug.Response(), MemoryStore(), cookie=SessionCookie("inside"))

        @Request.application
        def app(request: Request) -> werkzeug.Response:
            session = request.session
            list(inside(request.environ, lambda status, headers: lambda data: None))
            innermost = get_session(request.environ)
            return werkzeug.Response(f"{request.session is session} {innermost is session}")

        assert Client(SessionMiddleware(app, store)).get("/").text == "True False"

    def test_no_request_leaves_garbage_of_ours(self, store: RecordingStore) -> None:
        """A request that is in its environ is a cycle; this one is not."""

        def app(environ: Any, start_response: Any) -> Any:
            request = Request(environ, populate_request=False)
            request.session["n"] = 1
            return werkzeug.Response()(environ, start_response)

        application = SessionMiddleware(app, store)
        assert garbage_of(lambda: serve(application, make_environ())) == 0

    def test_type_checkers_know_what_it_is(self, tmp_path: Path) -> None:
        (tmp_path / "typed.py").write_text(
            "import werkzeug\n"
            "from wsgi_sessions.integrations.werkzeug import SessionRequestMixin\n"
            "class Request(SessionRequestMixin, werkzeug.Request):\n"
            "    session_cookie_name = 'cart'\n"
            "def view(request: Request) -> str | None:\n"
            "    reveal_type(request.session)\n"
            "    return request.session.owner\n"
        )
        command = [sys.executable, "-m", "mypy", "--follow-imports=silent", str(tmp_path / "typed.py")]
        result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)
        assert 'Revealed type is "wsgi_sessions.session.Session"' in result.stdout
        assert result.returncode == 0, result.stdout


@pytest.fixture(scope="module")
def page() -> Any:
    return parsed("docs/werkzeug.rst")


class TestPage:
    """docs/werkzeug.rst."""

    @pytest.fixture
    def names(self, page: Any, tmp_path: Path) -> Iterator[dict[str, Any]]:
        """Return what the application that is shown first defines."""
        names = execute(find(page, "@Request.application").replace("sessions.db", str(tmp_path / "sessions.db")), {})
        yield names
        names["store"].close()

    def run(self, page: Any, text: str, names: dict[str, Any]) -> dict[str, Any]:
        public = {name: getattr(wsgi_sessions, name) for name in wsgi_sessions.__all__}
        result: dict[str, Any] = execute(
            find(page, text), {**public, "Client": Client, "timedelta": timedelta, **names}
        )
        return result

    def test_every_python_block_is_run_by_a_test_below(self, page: Any) -> None:
        here = Path(__file__).read_text()
        texts = re.findall(r"(?:run|find)\(page, [\"'](.*?)[\"'][,)]", here)
        assert [code for code in blocks(page, "python") if not any(text in code for text in texts)] == []

    def test_a_login_from_nothing(self, page: Any, names: dict[str, Any]) -> None:
        code = find(page, "@Request.application")
        assert len([line for line in code.splitlines() if line.strip()]) <= 26
        client = Client(names["application"])
        assert client.get("/").text.startswith("Hello stranger")
        client.post("/login", data={"user": "<anna>"})
        assert client.get("/").text.startswith("Hello &lt;anna&gt;")
        client.post("/logout")
        assert client.get("/").text.startswith("Hello stranger")
        assert client.post("/login").status_code == 400

    def test_another_cookie(self, page: Any, names: dict[str, Any], store: RecordingStore) -> None:
        shown = self.run(page, "class CartRequest", names)
        cookie = SessionCookie("cart")

        def app(environ: Any, start_response: Any) -> Any:
            shown["CartRequest"](environ).session["k"] = 1
            return werkzeug.Response()(environ, start_response)

        Client(SessionMiddleware(SessionMiddleware(app, MemoryStore()), store, cookie=cookie)).get("/")
        assert len(store.records) == 1

    def test_nobody_is_logged_out_by_a_move(self, page: Any, tmp_path: Path) -> None:
        old = FilesystemSessionStore(str(tmp_path), filename_template="werkzeug_%s.sess")
        session = old.new()
        session["user"] = "anna"
        old.save(session)

        @Request.application
        def app(request: Request) -> werkzeug.Response:
            return werkzeug.Response(request.session.get("user", "stranger"))

        code = find(page, "WerkzeugSource(").replace("/var/lib/app/old", str(tmp_path))
        names = {"SessionMiddleware": SessionMiddleware, "timedelta": timedelta, "app": app, "store": MemoryStore()}
        client = Client(execute(code, names)["application"])
        client.set_cookie("session_id", session.sid)
        assert [client.get("/").text for _ in range(2)] == ["anna", "anna"]
        assert client.get_cookie("session_id") is None

    def test_the_tests_that_are_shown_pass(self, page: Any, names: dict[str, Any]) -> None:
        self.run(page, "def test_login_and_logout", names)["test_login_and_logout"]()
        self.run(page, "ReplacedClock", names)["test_a_login_ends_after_two_weeks"]()
        self.run(page, "def test_a_login_has_an_owner", names)["test_a_login_has_an_owner"]()

    def test_a_test_that_is_shown_can_fail(self, page: Any, names: dict[str, Any]) -> None:
        with open_session(names["store"]) as session:
            session.owner = "anna"
        broken = {**names, "application": SessionMiddleware(names["app"], MemoryStore())}
        with pytest.raises(AssertionError):
            self.run(page, "ReplacedClock", broken)["test_a_login_ends_after_two_weeks"]()
