"""What the ``@with_bucket`` of all integrations have in common: through Bottle's, and by itself."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, TypedDict
from wsgiref.validate import validator

import bottle
import msgspec
import pytest
from harness import Browser, Exchange, RecordingStore, call, garbage_of, make_environ, serve

from wsgi_sessions import Session, SessionMiddleware, open_session
from wsgi_sessions.integrations._buckets import inject_bucket
from wsgi_sessions.integrations.bottle import SessionPlugin, with_bucket
from wsgi_sessions.testing import cookie_of_visitor

if TYPE_CHECKING:
    from nowhere import Unknown


@dataclass
class Guest:
    visits: int = 0
    seen: set[str] = field(default_factory=set)


class Cart(msgspec.Struct):
    items: list[str] = []


class Choices(TypedDict, total=False):
    theme: str


class Complete(TypedDict):
    theme: str


@dataclass
class Demanding:
    name: str


@dataclass
class Unstorable:
    what: Any = field(default_factory=object)


@pytest.fixture
def store() -> RecordingStore:
    return RecordingStore()


@pytest.fixture(params=["plugin", "middleware", "both"])
def site(request: pytest.FixtureRequest, store: RecordingStore) -> tuple[bottle.Bottle, Browser]:
    """An application, and a browser of it: with the plugin, inside of a middleware, and both."""
    app = bottle.Bottle()
    if request.param != "middleware":
        app.install(SessionPlugin(store))
    application = app if request.param == "plugin" else SessionMiddleware(app, store)
    return app, Browser(validator(application))


Site = tuple[bottle.Bottle, Browser]


class TestKinds:
    def test_a_dataclass(self, site: Site) -> None:
        app, browser = site

        @app.get("/<page>")
        @with_bucket(Guest)
        def index(page: str, guest: Guest) -> str:
            guest.visits += 1
            guest.seen.add(page)
            return f"{guest.visits} {sorted(guest.seen)}"

        assert [browser.get("/a").text, browser.get("/b").text] == ["1 ['a']", "2 ['a', 'b']"]

    def test_a_struct(self, site: Site) -> None:
        app, browser = site

        @app.get("/<item>")
        @with_bucket(Cart)
        def index(item: str, cart: Cart) -> str:
            cart.items.append(item)
            return " ".join(cart.items)

        assert [browser.get("/tea").text, browser.get("/milk").text] == ["tea", "tea milk"]

    def test_a_typed_dict(self, site: Site) -> None:
        app, browser = site

        @app.get("/<theme>")
        @with_bucket(Choices)
        def index(theme: str, choices: Choices) -> str:
            before = choices.get("theme", "none")
            choices["theme"] = theme
            return before

        assert [browser.get(path).text for path in ("/dark", "/light")] == ["none", "dark"]

    def test_the_key_is_the_name_of_the_class_or_the_one_given(self, store: RecordingStore) -> None:
        app = bottle.Bottle()
        app.install(SessionPlugin(store))

        @app.get("/")
        @with_bucket(Guest)
        @with_bucket(Cart, "basket")
        @with_bucket(dict, "others", parameter="others")
        def index(guest: Guest, cart: Cart, others: dict[str, int]) -> None:
            guest.visits = 3
            cart.items = ["tea"]
            others["n"] = 1

        call(validator(app))
        with open_session(store, store.records[0].id) as session:
            assert dict(session) == {
                "Guest": {"visits": 3, "seen": []},
                "basket": {"items": ["tea"]},
                "others": {"n": 1},
            }


class TestStoring:
    @pytest.fixture
    def app(self, store: RecordingStore) -> bottle.Bottle:
        app = bottle.Bottle()
        app.install(SessionPlugin(store))
        return app

    def test_what_is_only_read_is_not_written(self, app: bottle.Bottle, store: RecordingStore) -> None:
        @app.get("/")
        @with_bucket(Guest)
        def index(guest: Guest) -> str:
            return str(guest.visits)

        browser = Browser(validator(app))
        assert browser.get().text == "0"
        assert store.calls == []
        browser.put(*cookie_of_visitor(store, {"Guest": {"visits": 5, "seen": []}}))
        store.forget()
        assert browser.get().text == "5"
        assert store.methods == ["load"]

    def test_what_is_changed_is_written_once(self, app: bottle.Bottle, store: RecordingStore) -> None:
        @app.get("/")
        @with_bucket(Guest)
        def index(guest: Guest) -> None:
            guest.visits += 1
            guest.visits += 1

        browser = Browser(validator(app))
        browser.get()
        browser.get()
        assert store.methods == ["create", "load", "save"]

    @pytest.mark.parametrize("answer", [lambda: bottle.redirect("/"), lambda: bottle.abort(404)])
    def test_an_answer_that_is_raised_stores_it(
        self, app: bottle.Bottle, store: RecordingStore, answer: Callable[[], None]
    ) -> None:
        @app.get("/")
        @with_bucket(Guest)
        def index(guest: Guest) -> None:
            guest.visits += 1
            answer()

        assert call(validator(app)).status in (302, 303, 404)
        assert len(store.records) == 1

    @pytest.mark.parametrize("failure", [ZeroDivisionError, lambda: bottle.HTTPError(500)])
    def test_nothing_is_stored_if_the_view_fails(
        self, app: bottle.Bottle, store: RecordingStore, failure: Callable[[], Exception]
    ) -> None:
        @app.get("/")
        @with_bucket(Guest)
        def index(guest: Guest) -> None:
            guest.visits += 1
            raise failure()

        assert call(validator(app)).status == 500
        assert store.records == []

    def test_a_change_of_the_bucket_is_lost_if_the_error_is_handled(self) -> None:
        session: dict[str, Any] = {}

        @inject_bucket(Guest, None, None, find_session=lambda arguments: session, answers=(KeyError,))
        def view(guest: Guest) -> None:
            guest.visits += 1
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            view()
        assert session == {}

    def test_it_stands_beside_the_session_itself(self, app: bottle.Bottle) -> None:
        @app.get("/<name>")
        @with_bucket(Guest)
        def index(name: str, session: Session, guest: Guest) -> str:
            session["name"] = name
            guest.visits += 1
            return f"{sorted(session)} {guest.visits}"

        browser = Browser(validator(app))
        assert [browser.get("/anna").text for _ in range(2)] == ["['name'] 1", "['Guest', 'name'] 2"]

    def test_a_store_that_fails_is_a_503(self, app: bottle.Bottle, store: RecordingStore) -> None:
        app.get("/", callback=with_bucket(Guest, parameter="guest")(lambda guest: str(guest.visits)))
        browser = Browser(validator(app))
        browser.put(*cookie_of_visitor(store, {"Guest": {"visits": 5, "seen": []}}))
        store.fail("load")
        assert browser.get().status == 503
        assert browser.get().text == "5"

    def test_what_is_stored_and_of_another_form_is_told_without_its_value(
        self, app: bottle.Bottle, store: RecordingStore
    ) -> None:
        app.get("/", callback=with_bucket(Guest, parameter="guest")(lambda guest: ""))
        browser = Browser(app)
        browser.put(*cookie_of_visitor(store, {"Guest": {"visits": "the-secret"}}))
        environ = browser.environ()
        assert Exchange(app, environ).finish().status == 500
        assert "session['Guest']['visits']: expected `int`, got `str`" in environ["wsgi.errors"].getvalue()
        assert "the-secret" not in environ["wsgi.errors"].getvalue()

    def test_no_request_leaves_garbage(self, app: bottle.Bottle) -> None:
        def view(guest: Guest) -> None:
            guest.visits += 1
            raise KeyError

        app.get("/", callback=with_bucket(Guest, parameter="guest")(lambda guest: str(guest.visits)))
        assert garbage_of(lambda: serve(app, make_environ())) == 0
        answering = inject_bucket(Guest, None, None, find_session=lambda arguments: {}, answers=(KeyError,))(view)

        def ask() -> None:
            with suppress(KeyError):
                answering()

        assert garbage_of(ask) == 0


def of(session: dict[str, Any], kind: Any = Guest, name: str | None = None, parameter: str | None = None) -> Any:
    """Return a decorator for a session at hand, given a view's first argument or none."""
    return inject_bucket(kind, name, parameter, find_session=lambda arguments: session, answers=())


class TestParameters:
    def test_the_others_come_as_they_were_given(self) -> None:
        @of({})
        def view(request: str, guest: Guest, page: str = "index", *others: str, **more: str) -> Any:
            return request, guest.visits, page, others, more

        assert view("r") == ("r", 0, "index", (), {})
        assert view("r", "p") == ("r", 0, "p", (), {})
        assert view("r", "p", "o", x="m") == ("r", 0, "p", ("o",), {"x": "m"})
        assert view(request="r", page="p") == ("r", 0, "p", (), {})

    def test_it_can_come_first_or_by_keyword_only(self) -> None:
        @of({})
        def first(guest: Guest, request: str) -> Any:
            return guest.visits, request

        @of({})
        def keyword_only(*requests: str, guest: Guest) -> Any:
            return guest.visits, requests

        assert (first("r"), keyword_only("r", "s")) == ((0, "r"), (0, ("r", "s")))

    def test_frameworks_see_only_the_others(self) -> None:
        @of({})
        def view(request: str, guest: Guest, *, page: str = "") -> str:
            """Say something."""
            return ""

        assert list(inspect.signature(view).parameters) == ["request", "page"]
        assert (view.__name__, view.__doc__) == ("view", "Say something.")

    def test_the_session_is_found_by_the_arguments(self) -> None:
        sessions: dict[str, dict[str, Any]] = {"a": {}, "b": {}}
        decorate = inject_bucket(Guest, None, None, find_session=lambda arguments: sessions[arguments[0]], answers=())

        @decorate
        def view(request: str, guest: Guest) -> None:
            guest.visits += 1

        view("b")
        assert (sorted(sessions["a"]), sorted(sessions["b"])) == ([], ["Guest"])

    def test_a_decorated_view(self) -> None:
        def noisy(view: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(view)
            def wrapper(*arguments: Any, **keywords: Any) -> Any:
                return view(*arguments, **keywords), "noise"

            return wrapper

        @of({})
        @noisy
        def view(guest: Guest) -> int:
            return guest.visits

        assert view() == (0, "noise")

    def test_a_method(self) -> None:
        class Pages:
            @of({})
            def index(self, guest: Guest) -> Any:
                return type(self).__name__, guest.visits

        assert Pages().index() == ("Pages", 0)

    def test_annotations_of_which_one_is_for_type_checkers_only(self) -> None:
        @of({})
        def view(request: Unknown, guest: Guest) -> Unknown:
            return guest.visits

        assert view("r") == 0

    def test_a_class_that_only_the_function_around_knows(self) -> None:
        @dataclass
        class Local:
            n: int = 0

        @of({}, Local, "local")
        def view(local: Local) -> int:
            return local.n

        assert view() == 0

    def test_annotations_with_more_to_say(self) -> None:
        @of({})
        def view(guest: Annotated[Guest, "the visitor"]) -> int:
            return guest.visits

        assert view() == 0

    def test_what_a_view_returns_is_none_of_its_parameters(self) -> None:
        @of({})
        def view(guest: Guest) -> Guest:
            return guest

        assert view() == Guest()

    def test_two_of_one_kind_by_their_names(self) -> None:
        session: dict[str, Any] = {}

        @of(session, name="mine", parameter="mine")
        @of(session, name="yours", parameter="yours")
        def view(mine: Guest, yours: Guest) -> None:
            mine.visits, yours.visits = 1, 2

        view()
        assert (session["mine"]["visits"], session["yours"]["visits"]) == (1, 2)

    def test_the_second_of_two_needs_no_name(self) -> None:
        @of({}, name="mine")
        @of({}, name="yours", parameter="yours")
        def view(mine: Guest, yours: Guest) -> Any:
            return mine.visits, yours.visits

        assert view() == (0, 0)


def no_parameter() -> None: ...
def two_of_them(one: Guest, two: Guest) -> None: ...
def only_positional(guest: Guest, /) -> None: ...
def any_number(**guest: Guest) -> None: ...


def a_generator(guest: Guest) -> Iterator[str]:
    yield ""


async def a_coroutine(guest: Guest) -> None: ...


async def an_async_generator(guest: Guest) -> AsyncIterator[str]:
    yield ""


class TestMistakes:
    @pytest.mark.parametrize(
        ("view", "parameter", "message"),
        [
            (no_parameter, None, r"@with_bucket\(Guest\) needs one parameter of no_parameter\(\)"),
            (two_of_them, None, r"or parameter='its name'"),
            (lambda guest: "", None, r"annotated with Guest"),
            (functools.partial(two_of_them), None, r"needs one parameter of functools.partial"),
            (no_parameter, "guest", r"no_parameter\(\) has no parameter 'guest'"),
            (only_positional, None, r"'guest' of only_positional\(\) cannot be given by its name"),
            (any_number, None, r"'guest' of any_number\(\) cannot be given by its name"),
            (a_generator, None, r"a_generator\(\) is a generator or coroutine.*bucket\(\)"),
            (a_coroutine, None, r"a_coroutine\(\) is a generator or coroutine"),
            (an_async_generator, None, r"an_async_generator\(\) is a generator or coroutine"),
        ],
    )
    def test_a_view_that_cannot_have_one_is_refused_when_it_is_decorated(
        self, view: Callable[..., Any], parameter: str | None, message: str
    ) -> None:
        with pytest.raises(TypeError, match=message):
            with_bucket(Guest, parameter=parameter)(view)

    def test_the_class_is_forgotten(self) -> None:
        with pytest.raises(TypeError, match=r"write @with_bucket\(Guest\)"):

            @with_bucket  # type: ignore[arg-type]
            def view(guest: Guest) -> None: ...

    @pytest.mark.parametrize(
        ("kind", "message"),
        [
            (Demanding, r"@with_bucket\(Demanding\).*made without arguments.*'name'"),
            (dict, r"@with_bucket\(dict\).*name='...'.*name is missing"),
            ("Guest", r"write @with_bucket\(Guest\)"),
            (Complete, r"@with_bucket\(Complete\).*total=False"),
            (Unstorable, r"@with_bucket\(Unstorable\).*could not be read again"),
        ],
    )
    def test_a_kind_that_no_first_visitor_could_have_is_refused(self, kind: Any, message: str) -> None:
        with pytest.raises(TypeError, match=message):
            with_bucket(kind)
