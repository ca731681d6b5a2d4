"""Bottle: the plugin, by itself and inside of a middleware, and the classic mistakes."""

from __future__ import annotations

import functools
import io
import re
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import beaker.middleware
import bottle
import pytest
from harness import TEXT, Browser, Exchange, RecordingStore, call, garbage_of, make_environ, serve
from test_readme import blocks, execute, find, parsed

import wsgi_sessions
from wsgi_sessions import (
    MemoryStore,
    OnInactivity,
    Session,
    SessionCookie,
    SessionMiddleware,
    SessionMissing,
    SessionTooLarge,
    get_session,
    open_session,
)
from wsgi_sessions.integrations.bottle import SessionPlugin
from wsgi_sessions.testing import ReplacedClock, cookie_of_visitor


@pytest.fixture
def store() -> RecordingStore:
    return RecordingStore()


@pytest.fixture
def app(store: RecordingStore) -> bottle.Bottle:
    """An application with the plugin."""
    app = bottle.Bottle()
    app.install(SessionPlugin(store))
    return app


@pytest.fixture
def browser(app: bottle.Bottle) -> Browser:
    return Browser(validator(app))


def count(session: Session) -> str:
    session["n"] = session.get("n", 0) + 1
    return str(session["n"])


def log_of(exchange_environ: dict[str, Any]) -> str:
    text: str = exchange_environ["wsgi.errors"].getvalue()
    return text


def fail_of(app: Any, path: str = "/") -> str:
    """Return what a request that is answered 500 writes to the server's log."""
    environ = make_environ(path=path)
    assert Exchange(app, environ).finish().status == 500
    return log_of(environ)


class TestInstalled:
    """``app.install(SessionPlugin(store))`` and nothing else."""

    def test_a_callback_that_takes_a_session_gets_it(self, app: bottle.Bottle, browser: Browser) -> None:
        app.get("/", callback=count)
        assert [browser.get().text for _ in range(3)] == ["1", "2", "3"]

    def test_routes_can_be_defined_before_and_after_it(self, store: RecordingStore) -> None:
        app = bottle.Bottle()
        app.get("/before", callback=count)
        app.install(SessionPlugin(store))
        app.get("/after", callback=count)
        browser = Browser(validator(app))
        assert [browser.get(path).text for path in ("/before", "/after", "/before")] == ["1", "2", "3"]

    def test_requests_before_it_was_installed_do_no_harm(self, store: RecordingStore) -> None:
        app = bottle.Bottle()
        app.get("/", callback=count)
        assert "session" in fail_of(app)
        app.install(SessionPlugin(store))
        assert call(app).text == "1"

    def test_the_login_story(self, app: bottle.Bottle, store: RecordingStore, browser: Browser) -> None:
        @app.post("/login")
        def login(session: Session) -> str:
            session.cycle_id()
            session.owner = bottle.request.query["user"]
            return "in"

        @app.post("/logout")
        def logout(session: Session) -> str:
            session.flush()
            return "out"

        app.get("/", callback=count)
        app.get("/who", callback=lambda session: session.owner or "nobody")
        browser.get()
        before_login = browser.clone()
        browser.post("/login?user=anna")
        assert (browser.get("/who").text, browser.get().text) == ("anna", "2")
        assert before_login.get("/who").text == "nobody"
        before_logout = browser.clone()
        browser.post("/logout")
        assert browser.cookies == {}
        assert before_logout.get("/who").text == "nobody"
        assert store.records == []

    def test_an_untouched_request_asks_the_store_nothing(self, app: bottle.Bottle, store: RecordingStore) -> None:
        app.get("/", callback=lambda session: "hello")
        response = call(validator(app), HTTP_COOKIE="id=AAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAA")
        assert (store.calls, response.set_cookies, response.header("Vary")) == ([], [], None)

    # Not a missing page: what Bottle raises for one is a cycle of its own, and keeps the environ.
    @pytest.mark.parametrize("path", ["/", "/none"])
    def test_no_request_leaves_more_garbage_than_without_it(self, store: RecordingStore, path: str) -> None:
        apps = [bottle.Bottle(), bottle.Bottle()]
        apps[1].install(SessionPlugin(store))
        for app in apps:
            app.get("/none", callback=lambda: "hello")
        apps[0].get("/", callback=lambda: "1")
        apps[1].get("/", callback=count)
        without, with_it = [garbage_of(lambda app=app: serve(app, make_environ(path=path))) for app in apps]
        assert with_it == without

    def test_the_options_are_those_of_the_middleware(self, store: RecordingStore) -> None:
        app = bottle.Bottle()
        app.install(
            SessionPlugin(
                store, cookie=SessionCookie("visitor"), expiry=OnInactivity(timedelta(hours=1)), max_payload=300
            )
        )
        app.get("/", callback=count)
        browser = Browser(validator(app))
        with ReplacedClock() as clock:
            (cookie,) = browser.get().set_cookies
            assert cookie.startswith("visitor=")
            assert "Max-Age=3600" in cookie
            clock.advance(timedelta(hours=1))
            assert browser.get().text == "1"
        app.get("/large", callback=lambda session: session.update(text="x" * 300))
        with pytest.raises(SessionTooLarge):
            browser.get("/large")

    def test_always_save_counts_untouched_requests(self, store: RecordingStore) -> None:
        app = bottle.Bottle()
        app.install(SessionPlugin(store, always_save=True, expiry=OnInactivity(timedelta(hours=1))))
        app.get("/", callback=count)
        app.get("/still", callback=lambda: "here")
        browser = Browser(validator(app))
        browser.get()
        with ReplacedClock() as clock:
            for _ in range(3):
                clock.advance(timedelta(minutes=40))
                browser.get("/still")
            assert browser.get().text == "2"

    def test_the_default_application_of_bottle(self, store: RecordingStore) -> None:
        with bottle.Bottle() as app:
            bottle.install(SessionPlugin(store))
            bottle.get("/")(count)
            assert bottle.default_app() is app
            browser = Browser(validator(bottle.default_app()))
            assert [browser.get().text for _ in range(2)] == ["1", "2"]

    def test_run_serves_the_application_itself(self, store: RecordingStore) -> None:
        served = []

        class Server(bottle.ServerAdapter):  # type: ignore[misc]
            def run(self, handler: Any) -> None:
                served.append(handler)

        app = bottle.Bottle()
        app.get("/", callback=count)
        bottle.run(app=app, server=Server, quiet=True, plugins=[SessionPlugin(store)])
        assert served == [app]
        browser = Browser(validator(app))
        assert [browser.get().text for _ in range(2)] == ["1", "2"]
        app.run(server=Server, quiet=True)
        assert served == [app, app]

    def test_the_method_wsgi_is_the_application_too(self, app: bottle.Bottle) -> None:
        app.get("/", callback=count)
        browser = Browser(validator(app.wsgi))
        assert [browser.get().text for _ in range(2)] == ["1", "2"]


class TestInjection:
    def test_other_callbacks_are_left_as_they_are(self, app: bottle.Bottle) -> None:
        (plugin,) = [plugin for plugin in app.plugins if isinstance(plugin, SessionPlugin)]
        takes_others = [lambda: "", lambda name: "", lambda **names: "", lambda *session: "", dict]
        for callback in takes_others:
            route = bottle.Route(app, "/", "GET", callback)
            assert plugin.apply(callback, route) is callback

    def test_a_positional_only_parameter_cannot_be_given(self, app: bottle.Bottle) -> None:
        (plugin,) = [plugin for plugin in app.plugins if isinstance(plugin, SessionPlugin)]

        def callback(session: Session, /) -> str:
            return ""

        assert plugin.apply(callback, bottle.Route(app, "/", "GET", callback)) is callback

    @pytest.mark.parametrize("form", ["plain", "keyword-only", "default", "method", "callable", "partial", "wrapped"])
    def test_every_form_of_a_parameter(self, app: bottle.Bottle, browser: Browser, form: str) -> None:
        class Pages:
            def index(self, session: Session) -> str:
                return count(session)

            def __call__(self, session: Session) -> str:
                return count(session)

        @functools.wraps(count)
        def wrapped_count(*arguments: Any, **keywords: Any) -> str:
            return count(*arguments, **keywords)

        def keyword_only(*, session: Session) -> str:
            return count(session)

        def with_default(session: Any = None) -> str:
            return count(session)

        def with_name(name: str, session: Session) -> str:
            return count(session)

        callbacks = {
            "plain": count,
            "keyword-only": keyword_only,
            "default": with_default,
            "method": Pages().index,
            "callable": Pages(),
            "partial": functools.partial(with_name, "anna"),
            "wrapped": wrapped_count,
        }
        app.get("/", callback=callbacks[form])
        assert [browser.get().text for _ in range(2)] == ["1", "2"]

    def test_it_stands_beside_the_parameters_of_the_url(self, app: bottle.Bottle, browser: Browser) -> None:
        app.get("/<name>/<number:int>", callback=lambda session, number, name: f"{name} {number} {count(session)}")
        assert browser.get("/anna/3").text == "anna 3 1"

    def test_other_plugins_around_it(self, app: bottle.Bottle, browser: Browser) -> None:
        class Shouting:
            api, name = 2, "shouting"

            def apply(self, callback: Callable[..., str], route: Any) -> Callable[..., str]:
                return lambda *arguments, **keywords: f"{callback(*arguments, **keywords)}!"

        app.install(Shouting())
        app.get("/", callback=count)
        app.get("/apply", callback=count, apply=[Shouting()], skip=["shouting"])
        assert [browser.get().text, browser.get("/apply").text] == ["1!", "2"]

    def test_other_plugins_may_give_arguments_by_position(self, app: bottle.Bottle, browser: Browser) -> None:
        class Positional:
            api, name = 2, "positional"

            def apply(self, callback: Callable[..., str], route: Any) -> Callable[..., str]:
                return lambda **names: callback(*names.values())

        app.get("/<name>", callback=lambda name, session: f"{name} {count(session)}")
        # The later one is closer to the callback.
        app.plugins.insert(0, Positional())
        assert browser.get("/anna").text == "anna 1"

    def test_a_route_can_leave_it_out(self, app: bottle.Bottle) -> None:
        app.get("/<session>", callback=lambda session: session, skip=["session"])
        assert call(app, path="/mine").text == "mine"

    @pytest.mark.parametrize(
        ("rule", "path"), [("/<session>", "/x"), ("/a/<session:int>/b", "/a/1/b"), ("/<session:re:[a-z]+>", "/x")]
    )
    def test_a_url_parameter_of_the_same_name_is_an_error_that_says_so(
        self, app: bottle.Bottle, rule: str, path: str
    ) -> None:
        app.get(rule, callback=count)
        with pytest.raises(bottle.PluginError, match=r"rename the wildcard, .*skip=\['session'\]"):
            app.routes[0].prepare()
        assert "rename the wildcard" in fail_of(app, path)

    def test_so_is_one_in_the_older_syntax(self, app: bottle.Bottle) -> None:
        with pytest.warns(DeprecationWarning, match="old route syntax"):
            app.get("/:session", callback=count)
        with pytest.raises(bottle.PluginError, match="rename the wildcard"):
            app.routes[0].prepare()

    @pytest.mark.parametrize("rule", ["/<sessions>", "/session", r"/\<session>", "/<a:re:session>"])
    def test_other_wildcards_are_none(self, app: bottle.Bottle, rule: str) -> None:
        app.get(rule, callback=lambda session, **others: count(session))
        app.routes[0].prepare()

    def test_a_wildcard_is_no_matter_to_a_callback_that_takes_any(self, app: bottle.Bottle) -> None:
        app.get("/<session>", callback=lambda **names: names["session"])
        assert call(app, path="/mine").text == "mine"


class TestRequest:
    """``bottle.request.session``."""

    def test_it_is_the_session(self, app: bottle.Bottle, browser: Browser) -> None:
        seen = []

        @app.get("/")
        def index(session: Session) -> str:
            seen.extend([session, bottle.request.session, get_session(bottle.request.environ)])
            return count(bottle.request.session)

        assert [browser.get().text for _ in range(2)] == ["1", "2"]
        assert seen[0] is seen[1] is seen[2]

    def test_hooks_and_error_handlers_have_it(
        self, app: bottle.Bottle, store: RecordingStore, browser: Browser
    ) -> None:
        @app.hook("before_request")
        def before() -> None:
            count(bottle.request.session)

        @app.hook("after_request")
        def after() -> None:
            bottle.response.set_header("X-Count", str(bottle.request.session["n"]))

        @app.error(404)
        def not_found(error: bottle.HTTPError) -> str:
            return f"missing, {bottle.request.session['n']}"

        assert browser.get("/missing").text == "missing, 1"
        response = browser.get("/missing")
        assert (response.status, response.text, response.header("X-Count")) == (404, "missing, 2", "2")
        assert len(store.records) == 1

    def test_it_cannot_be_replaced(self, app: bottle.Bottle) -> None:
        @app.get("/")
        def index() -> None:
            bottle.request.session = {}

        assert "Attribute already defined" in fail_of(app)

    def test_it_has_the_name_of_the_parameter(self, store: RecordingStore) -> None:
        app = bottle.Bottle()
        app.install(SessionPlugin(store, keyword="visitor"))
        app.get("/", callback=lambda visitor: str(visitor is bottle.request.visitor))
        app.get("/session", callback=lambda: str(hasattr(bottle.request, "session")))
        assert (call(app).text, call(app, path="/session").text) == ("True", "False")


class TestResponses:
    @pytest.mark.parametrize("how", ["redirect", "abort", "raise"])
    def test_an_answer_that_is_raised_is_an_answer(self, app: bottle.Bottle, browser: Browser, how: str) -> None:
        answers: dict[str, Callable[[], Any]] = {
            "redirect": lambda: bottle.redirect("/"),
            "abort": lambda: bottle.abort(403, "no"),
            "raise": lambda: (_ for _ in ()).throw(bottle.HTTPResponse("yes", 202)),
        }

        @app.post("/")
        def index(session: Session) -> None:
            count(session)
            answers[how]()

        app.get("/", callback=count)
        assert browser.post().status == {"redirect": 303, "abort": 403, "raise": 202}[how]
        assert browser.get().text == "2"

    @pytest.mark.parametrize("how", ["exception", "abort"])
    def test_nothing_is_stored_if_the_callback_fails(
        self, app: bottle.Bottle, store: RecordingStore, browser: Browser, how: str
    ) -> None:
        @app.get("/")
        def index(session: Session) -> None:
            count(session)
            if how == "abort":
                bottle.abort(500, "broken")
            raise ZeroDivisionError

        response = browser.get()
        assert (response.status, response.set_cookies, store.records) == (500, [], [])

    def test_an_exception_that_bottle_does_not_catch_stores_nothing(
        self, app: bottle.Bottle, store: RecordingStore
    ) -> None:
        @app.get("/")
        def index(session: Session) -> None:
            count(session)
            raise ZeroDivisionError

        # In Bottle 0.13.0, setting the attribute of this name changes nothing.
        app.config["catchall"] = False
        with pytest.raises(ZeroDivisionError):
            call(app)
        assert store.records == []

    def test_a_change_before_the_first_item_of_a_stream_is_saved_with_its_cookie(
        self, app: bottle.Bottle, browser: Browser
    ) -> None:
        @app.get("/")
        def index(session: Session) -> Iterator[str]:
            count(session)
            yield "one"
            session["late"] = True
            yield "two"

        @app.get("/seen")
        def seen(session: Session) -> dict[str, Any]:
            return dict(session)

        response = browser.get()
        assert (response.text, len(response.set_cookies)) == ("onetwo", 1)
        assert browser.get("/seen").text == '{"n": 1, "late": true}'

    def test_head_stores_as_get_does(self, app: bottle.Bottle, browser: Browser) -> None:
        app.get("/", callback=count)
        response = browser.request("HEAD")
        assert (response.body, len(response.set_cookies)) == (b"", 1)
        assert browser.get().text == "2"

    def test_a_static_file_goes_through_as_it_is(
        self, app: bottle.Bottle, store: RecordingStore, tmp_path: Path
    ) -> None:
        (tmp_path / "page.txt").write_text("static")

        class Wrapper(list[bytes]):
            def __init__(self, file: io.BufferedReader, size: int = 8192) -> None:
                with file:
                    super().__init__([file.read()])

        app.get("/<name>", callback=lambda name: bottle.static_file(name, root=str(tmp_path)))
        exchange = Exchange(app, make_environ(path="/page.txt", **{"wsgi.file_wrapper": Wrapper}))
        assert type(exchange.body) is Wrapper
        response = exchange.finish()
        assert (response.text, response.set_cookies, store.calls) == ("static", [], [])

    def test_vary_and_no_store_are_said_once(self, app: bottle.Bottle, browser: Browser) -> None:
        app.get("/", callback=count)
        response = browser.get()
        assert (response.header("Vary"), response.header("Cache-Control")) == ("Cookie", "no-store")

    @pytest.mark.parametrize("catches", [True, False])
    @pytest.mark.parametrize("method", ["load", "create", "save"])
    def test_a_store_that_fails_is_a_503(
        self, app: bottle.Bottle, store: RecordingStore, browser: Browser, method: str, catches: bool
    ) -> None:
        app.get("/", callback=count)
        app.config["catchall"] = catches
        if method != "create":
            browser.get()
        store.fail(method)
        response = browser.get()
        assert (response.status, response.header("Retry-After"), response.set_cookies) == (503, "5", [])
        assert browser.get().status == 200

    def test_the_error_app_answers_instead(self, store: RecordingStore) -> None:
        def sorry(environ: Any, start_response: Any) -> list[bytes]:
            start_response("503 Sorry", list(TEXT))
            return [b"sorry"]

        app = bottle.Bottle()
        app.install(SessionPlugin(store, error_app=sorry))
        app.get("/", callback=count)
        store.fail_always()
        assert call(validator(app)).text == "sorry"


class TestInsideOfAMiddleware:
    """``SessionPlugin()`` or the same store again: the session is the middleware's."""

    @pytest.mark.parametrize("has_store", [True, False])
    def test_one_session_and_one_cookie(self, store: RecordingStore, has_store: bool) -> None:
        app = bottle.Bottle()
        app.install(SessionPlugin(store if has_store else None))
        app.get(
            "/", callback=lambda session: count(bottle.request.session) if session is bottle.request.session else ""
        )
        browser = Browser(validator(SessionMiddleware(app, store)))
        assert len(browser.get().set_cookies) == 1
        assert browser.get().text == "2"
        assert store.methods == ["create", "load", "save"]

    def test_without_one_only_routes_that_ask_for_a_session_fail(self) -> None:
        app = bottle.Bottle()
        app.install(SessionPlugin())
        app.get("/", callback=count)
        app.get("/none", callback=lambda: "hello")
        app.get("/request", callback=lambda: str(hasattr(bottle.request, "session")))
        assert call(validator(app), path="/none").text == "hello"
        assert call(validator(app), path="/request").text == "False"
        assert "is SessionMiddleware wrapped around this app?" in fail_of(app)
        app.config["catchall"] = False
        with pytest.raises(SessionMissing):
            call(app)

    def test_the_cookie_says_which_middleware_is_meant(self, store: RecordingStore) -> None:
        app = bottle.Bottle()
        app.install(SessionPlugin(cookie=SessionCookie("outer")))
        app.get("/", callback=lambda session: f"{count(session)} {session is bottle.request.session}")
        other = RecordingStore()
        application = SessionMiddleware(SessionMiddleware(app, other), store, cookie=SessionCookie("outer"))
        browser = Browser(validator(application))
        assert browser.get().text == "1 True"
        assert (list(browser.cookies), other.records, len(store.records)) == (["outer"], [], 1)


class TestSeveral:
    def test_two_sessions_by_two_names(self, store: RecordingStore) -> None:
        carts = RecordingStore()
        app = bottle.Bottle()
        app.install(SessionPlugin(store))
        app.install(SessionPlugin(carts, keyword="cart", cookie=SessionCookie("cart")))

        @app.get("/")
        def index(session: Session, cart: Session) -> str:
            assert (session, cart) == (bottle.request.session, bottle.request.cart)
            count(session)
            count(cart)
            return f"{count(cart)} {count(session)}"

        app.get("/cart", callback=lambda cart: count(cart))
        browser = Browser(validator(app))
        assert [browser.get().text, browser.get("/cart").text, browser.get().text] == ["2 2", "3", "5 4"]
        assert sorted(browser.cookies) == ["cart", "id"]
        assert (len(store.records), len(carts.records)) == (1, 1)

    def test_one_session_by_two_names(self, app: bottle.Bottle, store: RecordingStore, browser: Browser) -> None:
        app.install(SessionPlugin(store, keyword="visitor"))
        app.get("/", callback=lambda session, visitor: str(session is visitor) + count(visitor))
        assert [browser.get().text, browser.get().text] == ["True1", "True2"]
        assert len(browser.cookies) == 1

    def test_a_second_one_of_the_same_name_is_refused(self, app: bottle.Bottle, store: RecordingStore) -> None:
        for plugin in (SessionPlugin(store), SessionPlugin(), app.plugins[-1]):
            with pytest.raises(bottle.PluginError, match=r"'session' is installed already: .*keyword="):
                app.install(plugin)
        app.get("/", callback=count)
        assert call(app).text == "1"

    def test_two_stores_for_one_cookie_are_refused(self, app: bottle.Bottle) -> None:
        with pytest.raises(bottle.PluginError, match=r"different stores use the cookie name 'id'.*SessionCookie"):
            app.install(SessionPlugin(MemoryStore(), keyword="other"))


class TestUninstalled:
    @pytest.mark.parametrize("which", [SessionPlugin, "session", True, "itself"])
    def test_it_is_as_if_it_had_never_been_there(self, app: bottle.Bottle, store: RecordingStore, which: Any) -> None:
        app.get("/", callback=lambda: str(hasattr(bottle.request, "session")))
        app.get("/session", callback=count)
        assert call(app).text == "True"
        (plugin,) = [plugin for plugin in app.plugins if isinstance(plugin, SessionPlugin)]
        assert plugin in app.uninstall(plugin if which == "itself" else which)
        assert call(app).text == "False"
        assert "TypeError" in fail_of(app, "/session")
        assert store.calls == []

    def test_it_can_be_installed_again(self, app: bottle.Bottle, browser: Browser) -> None:
        app.get("/", callback=count)
        (plugin,) = app.uninstall("session")
        app.install(plugin)
        assert [browser.get().text for _ in range(2)] == ["1", "2"]
        app.uninstall(plugin)
        assert "TypeError" in fail_of(app)

    def test_also_after_the_application_was_closed(self, app: bottle.Bottle) -> None:
        app.get("/", callback=lambda: str(hasattr(bottle.request, "session")))
        app.close()
        assert call(app).text == "True"
        app.uninstall("session")
        assert call(app).text == "False"

    def test_others_stay(self, app: bottle.Bottle, store: RecordingStore) -> None:
        app.install(SessionPlugin(MemoryStore(), keyword="cart", cookie=SessionCookie("cart")))
        app.install(SessionPlugin(keyword="visitor"))
        app.uninstall("session")
        app.uninstall("visitor")
        app.get("/", callback=lambda cart: f"{count(cart)} {hasattr(bottle.request, 'session')}")
        browser = Browser(validator(app))
        assert [browser.get().text for _ in range(2)] == ["1 False", "2 False"]
        assert list(browser.cookies) == ["cart"]

    def test_one_application_of_two(self, app: bottle.Bottle) -> None:
        (plugin,) = [plugin for plugin in app.plugins if isinstance(plugin, SessionPlugin)]
        other = bottle.Bottle()
        other.install(plugin)
        app.uninstall(plugin)
        other.get("/", callback=count)
        assert call(validator(other)).text == "1"

    @pytest.mark.parametrize("ends", ["close", "uninstall"])
    def test_its_sweeper_ends_with_it(self, store: RecordingStore, ends: str) -> None:
        app = bottle.Bottle()
        plugin = SessionPlugin(store, sweep_every=timedelta(hours=1))
        app.install(plugin)
        app.get("/", callback=lambda: "")
        call(app)
        (entrance,) = plugin._entrances
        sweeper = entrance._middleware._sweeper  # type: ignore[union-attr]
        assert sweeper._thread is not None  # type: ignore[union-attr]
        app.close() if ends == "close" else app.uninstall(plugin)
        assert sweeper._thread is None  # type: ignore[union-attr]
        call(app)
        assert (sweeper._thread is None) is (ends == "uninstall")  # type: ignore[union-attr]
        app.close()
        assert sweeper._thread is None or ends == "close"  # type: ignore[union-attr]


class TestOtherApplications:
    """Mounted and merged."""

    def parent_of(self, store: RecordingStore, child: Any, prefix: str = "/child/") -> Browser:
        parent = bottle.Bottle()
        parent.install(SessionPlugin(store))
        parent.get("/", callback=count)
        parent.mount(prefix, child)
        return Browser(validator(parent))

    @pytest.mark.parametrize("has_store", [True, False])
    def test_a_child_with_a_plugin_has_the_session_of_its_parent(self, store: RecordingStore, has_store: bool) -> None:
        child = bottle.Bottle()
        child.install(SessionPlugin(store if has_store else None))
        child.get("/", callback=count)
        child.get("/more", callback=count)
        browser = self.parent_of(store, child)
        paths = ("/", "/child/", "/child/more", "/")
        assert [browser.get(path).text for path in paths] == ["1", "2", "3", "4"]
        assert (len(browser.cookies), len(store.records)) == (1, 1)

    def test_the_same_plugin_can_be_installed_in_both(self, store: RecordingStore) -> None:
        plugin = SessionPlugin(store)
        parent, child = bottle.Bottle(), bottle.Bottle()
        for app in (parent, child):
            app.install(plugin)
            app.get("/", callback=count)
        parent.mount("/child/", child)
        browser = Browser(validator(parent))
        assert [browser.get(path).text for path in ("/", "/child/")] == ["1", "2"]

    def test_a_child_without_a_plugin_has_it_as_attribute_of_the_request(self, store: RecordingStore) -> None:
        child = bottle.Bottle()
        child.get("/", callback=lambda: count(bottle.request.session))
        browser = self.parent_of(store, child)
        assert [browser.get(path).text for path in ("/", "/child/")] == ["1", "2"]

    @pytest.mark.parametrize("has_plugin", [True, False])
    def test_a_child_that_bottle_mounts_as_a_wsgi_application(self, store: RecordingStore, has_plugin: bool) -> None:
        child = bottle.Bottle()
        if has_plugin:
            child.install(SessionPlugin(store))
        child.get("/page", callback=lambda: count(bottle.request.session))
        with pytest.warns(DeprecationWarning, match="Prefix must end"):
            browser = self.parent_of(store, child, "/child")
        assert [browser.get(path).text for path in ("/", "/child/page", "/")] == ["1", "2", "3"]
        assert len(browser.cookies) == 1

    def test_a_wsgi_application(self, store: RecordingStore) -> None:
        def child(environ: Any, start_response: Any) -> list[bytes]:
            text = count(get_session(environ))
            start_response("200 OK", list(TEXT))
            return [text.encode()]

        browser = self.parent_of(store, child)
        assert [browser.get(path).text for path in ("/", "/child/", "/")] == ["1", "2", "3"]

    def test_a_child_with_another_cookie_has_no_middleware(self, store: RecordingStore) -> None:
        """Bottle takes its routes over and never calls it."""
        child = bottle.Bottle()
        child.install(SessionPlugin(store, cookie=SessionCookie("child")))
        child.get("/", callback=count)
        app = bottle.Bottle()
        app.install(SessionPlugin(store))
        app.mount("/child/", child)
        assert "holds no session of the cookie name 'child'" in fail_of(app, "/child/")

    def test_merged_routes_have_the_plugins_of_their_own_application(self, store: RecordingStore) -> None:
        app, other = bottle.Bottle(), bottle.Bottle()
        app.install(SessionPlugin(store))
        other.install(SessionPlugin())
        app.get("/", callback=count)
        other.get("/other", callback=count)
        app.merge(other)
        browser = Browser(validator(app))
        assert [browser.get(path).text for path in ("/", "/other")] == ["1", "2"]


class TestMistakes:
    def test_a_route_of_the_wrapped_application(self, store: RecordingStore) -> None:
        """The classic one: bbangert/beaker issue 79."""
        app = SessionMiddleware(bottle.Bottle(), store)
        with pytest.raises(AttributeError) as caught:
            app.route("/")
        message = str(caught.value)
        assert "no attribute 'route', but the Bottle inside of it has" in message
        assert "app = Bottle(...)" in message
        assert "application = SessionMiddleware(app, store)" in message

    def test_an_attribute_that_neither_has(self, store: RecordingStore) -> None:
        with pytest.raises(AttributeError, match=r"^SessionMiddleware has no attribute 'rout'$"):
            SessionMiddleware(bottle.Bottle(), store).rout  # noqa: B018

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"store": "memory:"}, TypeError, "store must be a SessionStore"),
            ({"store": MemoryStore}, TypeError, "the class MemoryStore"),
            ({"store": MemoryStore(), "cookie": "id"}, TypeError, "cookie must be a SessionCookie"),
            ({"cookie": "id"}, TypeError, "cookie must be a SessionCookie"),
            ({"store": MemoryStore(), "expiry": timedelta(hours=1)}, TypeError, "expiry must be a policy"),
            ({"store": MemoryStore(), "max_payload": 0}, ValueError, "at least one byte"),
            ({"store": MemoryStore(), "on_deleted": print}, ValueError, "give sweep_every too"),
            ({"always_save": True, "max_payload": 5}, TypeError, "always_save, max_payload without a store"),
            ({"sweep_every": timedelta(hours=1)}, TypeError, "sweep_every without a store"),
            ({"keyword": 5}, TypeError, "keyword must be a str"),
            ({"keyword": "my session"}, ValueError, "what a parameter can be named"),
            ({"keyword": "class"}, ValueError, "what a parameter can be named"),
            ({"keyword": "query"}, ValueError, "a 'query' of its own"),
        ],
    )
    def test_wrong_arguments_are_refused_at_once(
        self, options: dict[str, Any], error: type[Exception], message: str
    ) -> None:
        with pytest.raises(error, match=message):
            SessionPlugin(**options)

    def test_without_bottle_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "bottle", None)
        monkeypatch.delitem(sys.modules, SessionPlugin.__module__)
        with pytest.raises(ImportError, match=r"pip install wsgi-sessions\[bottle\]"):
            import_module(SessionPlugin.__module__)

    def test_the_repr_tells_what_it_is(self) -> None:
        assert repr(SessionPlugin(MemoryStore())) == "SessionPlugin(MemoryStore(0 records), keyword='session')"


@pytest.fixture(scope="module")
def page() -> Any:
    return parsed("docs/bottle.rst")


class TestPage:
    """docs/bottle.rst."""

    @pytest.fixture
    def names(self, page: Any, tmp_path: Path) -> Iterator[dict[str, Any]]:
        """Return what the application that is shown first defines."""
        code = find(page, "def login(session)").replace("sessions.db", str(tmp_path / "sessions.db"))
        names = execute(code, {})
        yield names
        (plugin,) = [plugin for plugin in names["app"].plugins if isinstance(plugin, SessionPlugin)]
        plugin.store.close()

    def run(self, page: Any, text: str, **names: Any) -> dict[str, Any]:
        public = {name: getattr(wsgi_sessions, name) for name in wsgi_sessions.__all__}
        known = {
            "timedelta": timedelta,
            "Bottle": bottle.Bottle,
            "request": bottle.request,
            "SessionPlugin": SessionPlugin,
        }
        result: dict[str, Any] = execute(find(page, text), {**public, **known, **names})
        return result

    def test_every_python_block_is_run_by_a_test_below(self, page: Any) -> None:
        here = Path(__file__).read_text()
        texts = re.findall(r"(?:run|find)\(page, [\"'](.*?)[\"'][,)]", here)
        assert [code for code in blocks(page, "python") if not any(text in code for text in texts)] == []

    def test_a_login_from_nothing(self, page: Any, names: dict[str, Any]) -> None:
        code = find(page, "def login(session)")
        assert len([line for line in code.splitlines() if line.strip()]) <= 24
        browser = Browser(validator(names["app"]))
        assert "Log in" in browser.get().text
        form = {"wsgi.input": io.BytesIO(b"user=<anna>"), "CONTENT_LENGTH": "11"}
        assert browser.post("/login", **form, CONTENT_TYPE="application/x-www-form-urlencoded").status == 303
        assert browser.get().text == (
            'Hello &lt;anna&gt; <form method="post" action="/logout"><button>Log out</button></form>'
        )
        assert browser.post("/logout").status == 303
        assert browser.cookies == {}
        assert browser.post("/login").status == 400

    def test_hooks_and_error_handlers(self, page: Any, names: dict[str, Any]) -> None:
        self.run(page, "def remember_language()", app=names["app"])
        browser = Browser(validator(names["app"]))
        assert browser.get("/missing?language=eo").text == "Nothing is here, stranger."
        plugin = names["app"].plugins[-1]
        with open_session(plugin.store, browser.cookies["id"].partition(".")[0]) as session:
            assert session["language"] == "eo"

    def test_the_options(self, page: Any, store: RecordingStore) -> None:
        plugin = self.run(page, 'keyword="visitor"', store=store)["plugin"]
        app = bottle.Bottle()
        app.install(plugin)
        app.get("/", callback=lambda visitor: count(bottle.request.visitor))
        app.get("/skipped", callback=lambda visitor="none": visitor, skip=["visitor"])
        browser = Browser(validator(app))
        with ReplacedClock():
            (cookie,) = browser.get().set_cookies
        assert cookie.startswith("__Host-id=")
        assert "Max-Age=3600" in cookie
        assert browser.get("/skipped").text == "none"
        plugin.close()

    def test_a_typed_part(self, page: Any, names: dict[str, Any]) -> None:
        self.run(page, "class Guest", app=names["app"])
        browser = Browser(validator(names["app"]))
        assert [browser.get("/visits").text for _ in range(2)] == ["Visit number 1", "Visit number 2"]

    def test_a_mounted_application(self, page: Any, names: dict[str, Any]) -> None:
        self.run(page, "app.mount(", app=names["app"])
        browser = Browser(validator(names["app"]))
        browser.put(*cookie_of_visitor(names["app"].plugins[-1].store, {"cart": ["tea", "milk"]}))
        assert browser.get("/shop/cart").text == "tea milk"

    def test_inside_of_a_middleware(self, page: Any, store: RecordingStore) -> None:
        browser = Browser(
            validator(self.run(page, "application = SessionMiddleware(app, store)", store=store)["application"])
        )
        assert [browser.get().text for _ in range(2)] == ["Visit number 1", "Visit number 2"]

    def test_the_test_that_is_shown_passes(self, page: Any, names: dict[str, Any]) -> None:
        store = names["app"].plugins[-1].store
        shown = self.run(page, "cookie_of_visitor", app=names["app"], store=store)
        shown["test_a_visitor_is_greeted_for_two_weeks"]()

    @pytest.fixture
    def shown_options(self, page: Any, tmp_path: Path) -> tuple[str, dict[str, Any]]:
        """Return the block that changes the import, over another directory, and the options in it."""
        code = find(page, "BeakerMiddleware as SessionMiddleware").replace("/var/lib/app", str(tmp_path))
        return code, execute(code, {"app": bottle.Bottle()})["session_options"]

    def beakers_cookie(self, options: dict[str, Any]) -> tuple[str, str]:
        """Return the cookie of a visitor whom an application with Beaker has greeted."""
        old = bottle.Bottle()

        @old.get("/")
        def begin() -> str:
            session = bottle.request.environ["beaker.session"]
            session["user"] = "anna"
            session.save()
            return "in"

        browser = Browser(beaker.middleware.SessionMiddleware(old, options))
        browser.get()
        ((name, value),) = browser.cookies.items()
        return name.strip(), value

    def test_an_application_of_beaker_changes_one_import(self, shown_options: tuple[str, dict[str, Any]]) -> None:
        code, options = shown_options
        cookie, app = self.beakers_cookie(options), bottle.Bottle()
        app.get("/", callback=lambda: bottle.request.environ["beaker.session"]["user"])
        browser = Browser(validator(execute(code, {"app": app})["application"]))
        browser.put(*cookie)
        assert [browser.get().text for _ in range(2)] == ["anna", "anna"]

    def test_the_plugin_takes_beakers_sessions_over(
        self, page: Any, store: RecordingStore, shown_options: tuple[str, dict[str, Any]]
    ) -> None:
        _, options = shown_options
        cookie, app = self.beakers_cookie(options), bottle.Bottle()
        self.run(page, "SessionPlugin(store, legacy", app=app, store=store, session_options=options)
        app.get("/", callback=lambda session: session["user"])
        browser = Browser(validator(app))
        browser.put(*cookie)
        assert [browser.get().text for _ in range(2)] == ["anna", "anna"]
        assert list(browser.cookies) == ["id"]
        (plugin,) = [plugin for plugin in app.plugins if isinstance(plugin, SessionPlugin)]
        assert plugin.legacy_counts == {("beaker", "taken-over"): 1}
        assert SessionPlugin().legacy_counts == {}

    def test_from_bottle_session(self, page: Any) -> None:
        plugin = self.run(page, "RedisStore(")["plugin"]
        assert type(plugin.store).__name__ == "RedisStore"

    def test_the_cookie_without_https_and_with_the_old_name(self) -> None:
        assert SessionPlugin(MemoryStore(), cookie=SessionCookie(secure=False))
        assert SessionPlugin(MemoryStore(), cookie=SessionCookie("beaker.session.id"))
