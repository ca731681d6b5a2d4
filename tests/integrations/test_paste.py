"""The filter of PasteDeploy: ini files on disk, loaded as a server loads them, and what each option does."""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import beaker.middleware
import flask
import pytest
from docutils import nodes
from harness import Browser
from paste.deploy import loadapp
from servers import APPS, ROOT, running
from test_readme import blocks, find, parsed

from wsgi_sessions import FileStore, SessionMiddleware, SessionTooLarge, open_session
from wsgi_sessions.integrations.base import OPTIONS, read_options
from wsgi_sessions.integrations.paste import filter_factory
from wsgi_sessions.testing import ReplacedClock

OLD, NEW = (random.Random(seed).randbytes(32).hex() for seed in range(2))
SHOP = "[app:shop]\nuse = call:paste_shop:make_app\n"
FILTER = "use = egg:wsgi-sessions\n"
PIPELINE = f"[pipeline:main]\npipeline = sessions shop\n{SHOP}[filter:sessions]\n{FILTER}"

Load = Callable[..., Any]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Return what loads the application of an ini file with this text."""
    monkeypatch.syspath_prepend(APPS)
    # It remembers what was called.
    monkeypatch.delitem(sys.modules, "paste_shop", raising=False)
    apps = []

    def load(text: str, **global_conf: str) -> Any:
        path = tmp_path / f"{len(apps)}.ini"
        path.write_text(text)
        apps.append(loadapp(f"config:{path.name}", relative_to=str(tmp_path), global_conf=global_conf))
        return apps[-1]

    yield load
    for app in apps:
        if isinstance(app, SessionMiddleware):
            app.close()


@pytest.fixture
def visit(load: Load) -> Callable[..., Browser]:
    """Return what loads a pipeline whose filter has these options, and returns a browser that visits it."""

    def visit(*options: str, store: str = "memory:") -> Browser:
        app = load("\n".join((PIPELINE + f"store = {store}", *options)))
        return Browser(validator(app))

    return visit


def counts(app: Any) -> bool:
    """Tell whether an application counts the requests of each visitor."""
    browser = Browser(validator(app))
    counted = [browser.get().text for _ in range(2)]
    return counted == ["1", "2"] and Browser(validator(app)).get().text == "1"


class TestPlaces:
    """Where an ini file can have the filter."""

    def test_in_a_pipeline(self, load: Load) -> None:
        assert counts(load(f"{PIPELINE}store = memory:"))

    def test_as_the_filter_app_of_another(self, load: Load) -> None:
        assert counts(load(f"[filter-app:main]\n{FILTER}store = memory:\nnext = shop\n{SHOP}"))

    def test_with_filter_with_in_an_application(self, load: Load) -> None:
        section = "[app:main]\nuse = call:paste_shop:make_app\nfilter-with = sessions\n"
        assert counts(load(f"{section}[filter:sessions]\n{FILTER}store = memory:\n"))

    def test_with_filter_with_in_another_filter(self, load: Load) -> None:
        """The one that is named is the outer one."""
        inner = f"[filter:inner]\n{FILTER}store = memory:\ncookie.name = inner\nfilter-with = sessions\n"
        app = load(f"{PIPELINE}store = memory:\n{inner}".replace("sessions shop", "inner shop"))
        assert (app.cookie.name, app.app.cookie.name) == ("id", "inner")
        assert counts(app)

    def test_around_a_composite(self, load: Load) -> None:
        text = f"{PIPELINE}store = memory:\n[composite:all]\nuse = call:{__name__}:make_composite\nshop = shop\n"
        assert counts(load(text.replace("sessions shop", "sessions all")))

    def test_by_the_names_of_its_function(self, load: Load) -> None:
        explicit = "paste.filter_factory = wsgi_sessions.integrations.paste:filter_factory\n"
        assert counts(load(f"{PIPELINE}store = memory:".replace(FILTER, explicit)))
        called = "use = call:wsgi_sessions.integrations.paste:filter_factory\n"
        assert counts(load(f"{PIPELINE}store = memory:".replace(FILTER, called)))

    def test_out_of_another_section_whose_options_it_changes(self, load: Load) -> None:
        base = f"[filter:base]\n{FILTER}store = memory:\ncookie.name = base\ncookie.path = /shop\n"
        app = load(f"{PIPELINE}cookie.name = own\n{base}".replace(FILTER, "use = base\n", 1))
        assert app.cookie.name == "own"
        assert app.cookie.path == "/shop"

    def test_twice_in_one_pipeline_under_two_names(self, load: Load) -> None:
        second = f"[filter:others]\n{FILTER}store = memory:\ncookie.name = other\n"
        app = load(f"{PIPELINE}store = memory:\n{second}".replace("sessions shop", "sessions others shop"))
        assert counts(app)
        browser = Browser(validator(app))
        browser.get()
        assert list(browser.cookies) == ["other"]


def make_composite(loader: Any, global_conf: Any, shop: str) -> Any:
    return loader.get_app(shop, global_conf=global_conf)


class TestParser:
    """What PasteDeploy does to values before the filter sees them."""

    def test_here_is_the_directory_of_the_file(self, visit: Any, tmp_path: Path) -> None:
        visit(store="file://%(here)s/kept").get()
        assert len(list(FileStore(tmp_path / "kept").scan())) == 1

    def test_a_percent_sign_is_written_twice(self, visit: Any, tmp_path: Path) -> None:
        visit(store="file://%(here)s/a%%20b").get()
        assert (tmp_path / "a b").is_dir()

    def test_global_settings_can_be_fetched(self, load: Load, tmp_path: Path) -> None:
        text = f"[DEFAULT]\ndirectory = file://%(here)s/kept\n{PIPELINE}get store = directory\n"
        Browser(load(text)).get()
        assert (tmp_path / "kept").is_dir()
        text = f"{PIPELINE}get store = directory\nstore.durability = %(safety)s\n"
        Browser(load(text, directory=f"file://{tmp_path}/given", safety="power")).get()
        assert (tmp_path / "given").is_dir()

    def test_a_debug_setting_for_all_is_no_option(self, load: Load) -> None:
        assert counts(load(f"[DEFAULT]\ndebug = true\n{PIPELINE}store = memory:\n", unrelated="x"))

    @pytest.mark.parametrize("name", ["store", "cookie.secure", "max_lifetime", "store.max_records"])
    def test_an_option_that_the_defaults_hide_is_refused(self, load: Load, name: str) -> None:
        """PasteDeploy leaves it out of the section, silently."""
        store = "" if name == "store" else "store = memory:\n"
        text = f"[DEFAULT]\n{name} = x\n{PIPELINE}{store}{name} = 5\n"
        with pytest.raises(ValueError, match=f"^{name} is a global setting .* write 'get {name} = {name}'"):
            load(text)
        with pytest.raises(ValueError, match=f"^{name} is a global setting"):
            load(f"{PIPELINE}{store}", **{name: "x"})

    def test_an_option_that_is_set_for_all_is_refused_where_it_has_no_effect(self, load: Load) -> None:
        text = f"{PIPELINE}store = memory:\n".replace("sessions shop\n", "sessions shop\nset cookie.secure = false\n")
        with pytest.raises(ValueError, match=r"^cookie\.secure is a global setting"):
            load(text)

    def test_what_the_defaults_hide_can_be_fetched_from_them(self, load: Load) -> None:
        assert counts(load(f"[DEFAULT]\nstore = memory:\n{PIPELINE}get store = store\n"))

    def test_no_option_takes_the_place_of_the_global_settings(self, load: Load) -> None:
        with pytest.raises(ValueError, match=r"^unknown option 'global_conf'"):
            load(f"{PIPELINE}store = memory:\nglobal_conf = x\n")

    def test_the_factory_works_without_global_settings(self) -> None:
        def app(environ: Any, start_response: Any) -> list[bytes]:
            return []

        middleware = filter_factory(None, store="memory:")(app)
        assert isinstance(middleware, SessionMiddleware)
        assert middleware.app is app


class TestErrors:
    @pytest.mark.parametrize(
        ("line", "told"),
        [
            ("colour = red", "unknown option 'colour'; known are always_save, cookie, cookie.domain"),
            ("cookie.httponly = true", "unknown option 'cookie.httponly'; did you mean cookie.http_only?"),
            ("cookie = sid", "cookie is for a SessionCookie made by code: write cookie.name"),
            ("always_save =", "always_save is empty"),
            ("expiry.idle = 30 minutes", "expiry.idle is an option of OnInactivity, and expiry is OnSessionEnd"),
            ("on_deleted = paste_shop:remember", "on_deleted is called by the sweeper"),
            ("legacy = paste_shop:absent", "legacy cannot be imported"),
            ("legacy = paste_shop:store", "legacy must be a list of sources, not MemoryStore"),
            ("retire = keep", "retire is for the sessions of other libraries: give legacy too"),
            ("error_app = paste_shop:absent", "has no attribute 'absent'"),
        ],
    )
    def test_a_wrong_line_is_an_error_before_the_first_request(self, load: Load, line: str, told: str) -> None:
        with pytest.raises(ValueError, match=re.escape(told)):
            load(f"{PIPELINE}store = memory:\n{line}\n")

    def test_the_store_is_asked_for(self, load: Load) -> None:
        with pytest.raises(ValueError, match=r"^store is missing: write a URL such as"):
            load(PIPELINE)

    def test_a_key_on_a_line_that_is_not_indented_is_not_shown(self, load: Load) -> None:
        key = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0cw=="
        with pytest.raises(ValueError, match="is a line not indented") as caught:
            load(f"{PIPELINE}store = memory:\ncookie.form = signed\ncookie.keys =\n{key}\n")
        assert "c2Vj" not in str(caught.value)


class TestOptions:
    """Each of them, on a real request."""

    def test_the_attributes_of_the_cookie(self, visit: Any) -> None:
        (header,) = (
            visit(
                "cookie.name = sid",
                "cookie.path = /shop",
                "cookie.domain = example.com",
                "cookie.http_only = off",
                "cookie.same_site = none",
                "cookie.partitioned = yes",
            )
            .get()
            .set_cookies
        )
        name, _, attributes = header.partition("=")
        assert name == "sid"
        assert attributes.split("; ")[1:] == [
            "SameSite=None", "Partitioned", "Secure", "Path=/shop", "Domain=example.com",
        ]  # fmt: skip

    def test_a_cookie_without_attributes_is_the_default_one(self, visit: Any) -> None:
        (header,) = visit("cookie.domain =", "cookie.form = plain").get().set_cookies
        assert header.partition("; ")[2] == "HttpOnly; SameSite=Lax; Secure; Path=/"

    def test_an_insecure_cookie(self, visit: Any) -> None:
        (header,) = visit("cookie.secure = false").get().set_cookies
        assert header.partition("; ")[2] == "HttpOnly; SameSite=Lax; Path=/"

    @pytest.mark.parametrize(("form", "length"), [("signed", 90), ("encrypted", 98)])
    def test_the_form_and_the_keys_of_the_cookie(self, visit: Any, form: str, length: int, tmp_path: Path) -> None:
        lines = (f"cookie.form = {form}", "cookie.keys =", f"    {OLD}")
        browser = visit(*lines, store="file://%(here)s/kept")
        browser.get()
        assert abs(len(browser.cookies["id"]) - length) <= 10
        later = visit(*lines, f"    {NEW}", store="file://%(here)s/kept")
        later.put("id", browser.cookies["id"])
        assert later.get().text == "2"
        stranger = visit(f"cookie.form = {form}", f"cookie.keys = {NEW}", store="file://%(here)s/kept")
        stranger.put("id", browser.cookies["id"])
        assert stranger.get().text == "1"

    def test_inactivity(self, visit: Any) -> None:
        with ReplacedClock() as clock:
            browser = visit("expiry = OnInactivity", "expiry.idle = 30 minutes", "expiry.touch_every = 10 minutes")
            assert browser.get().set_cookies[0].endswith("; Max-Age=1800")
            clock.advance(timedelta(minutes=9))
            assert browser.get("/read").set_cookies == []
            clock.advance(timedelta(minutes=2))
            assert browser.get("/read").set_cookies[0].endswith("; Max-Age=1800")
            clock.advance(timedelta(minutes=31))
            assert browser.get("/read").text == "0"

    def test_reads_that_never_count(self, visit: Any) -> None:
        with ReplacedClock() as clock:
            browser = visit("expiry.ttl = 1 hour", "expiry.touch_every = never")
            browser.get()
            clock.advance(timedelta(minutes=59))
            assert browser.get("/read").text == "1"
            clock.advance(timedelta(minutes=2))
            assert browser.get("/read").text == "0"

    def test_the_end_of_the_browser_session(self, visit: Any) -> None:
        with ReplacedClock() as clock:
            browser = visit("expiry = OnSessionEnd", "expiry.ttl = 2 days")
            assert "Max-Age" not in browser.get().set_cookies[0]
            clock.advance(timedelta(days=2, seconds=1))
            assert browser.get().text == "1"

    def test_a_fixed_moment(self, visit: Any) -> None:
        noon = 1_900_000_800  # 2030-03-17T18:00:00Z
        with ReplacedClock(start=(noon - 60) * 1000):
            browser = visit("expiry = AtDateTime", "expiry.at = 2030-03-17T20:00:00+02:00")
            assert browser.get().set_cookies[0].endswith("; Max-Age=60")

    def test_the_longest_lifetime(self, visit: Any) -> None:
        with ReplacedClock() as clock:
            browser = visit("max_lifetime = 50 minutes")
            for expected in ("1", "2", "1"):
                assert browser.get().text == expected
                clock.advance(timedelta(minutes=26))

    @pytest.mark.parametrize(("value", "expected"), [("yes", "1"), ("no", "0")])
    def test_requests_that_do_not_touch_the_session_count_on_demand(
        self, visit: Any, value: str, expected: str
    ) -> None:
        with ReplacedClock() as clock:
            browser = visit(f"always_save = {value}", "expiry.ttl = 1 hour")
            browser.get()
            clock.advance(timedelta(minutes=50))
            browser.get("/plain")
            clock.advance(timedelta(minutes=50))
            assert browser.get("/read").text == expected

    def test_the_largest_payload(self, visit: Any) -> None:
        assert visit("max_payload = 3000").get("/large").status == 200
        with pytest.raises(SessionTooLarge):
            visit("max_payload = 2000").get("/large")

    def test_the_own_options_of_the_store(self, visit: Any) -> None:
        browser = visit("store.max_records = 1")
        assert [browser.get().status, Browser(browser.app).get().status] == [200, 503]

    def test_a_store_of_a_dotted_name(self, visit: Any) -> None:
        visit(store="paste_shop:store").get()
        assert len(list(sys.modules["paste_shop"].store.scan())) == 1

    def test_the_answer_when_the_store_fails(self, visit: Any) -> None:
        # A file cannot have a directory in it.
        answer = visit("error_app = paste_shop:busy", store="file://%(__file__)s/kept").get()
        assert (answer.status, answer.text, answer.header("Retry-After")) == (503, "come back later", "60")
        assert visit(store="file://%(__file__)s/kept").get().header("Retry-After") == "5"

    def test_the_sweeper_and_what_it_calls(self, visit: Any) -> None:
        options = ("expiry.ttl = 0.01", "sweep_every = 0.02 seconds", "on_deleted = paste_shop:remember")
        visit(*options).get()
        shop = sys.modules["paste_shop"]
        assert shop.swept.wait(20)
        assert len(shop.deleted) == 1

    @pytest.mark.parametrize("retire", ["keep", "delete"])
    def test_sessions_of_another_library(self, visit: Any, retire: str) -> None:
        browser = visit("legacy = paste_shop:sources", f"retire = {retire}")
        browser.put("session", old_cookie(visits=41))
        assert browser.get().text == "42"
        assert set(browser.cookies) == ({"id", "session"} if retire == "keep" else {"id"})
        assert browser.get().text == "43"

    def test_every_option_but_the_one_of_code_is_in_a_line_above(self) -> None:
        here = Path(__file__).read_text()
        assert [name for name in OPTIONS if not re.search(rf"[\"{{(]{re.escape(name)} = ?", here)] == []


def old_cookie(**values: Any) -> str:
    """Return the cookie of an application before that was Flask's."""
    app = flask.Flask("old")
    app.secret_key = "of the old application"
    signer = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined]
    return str(signer.dumps(values))


@pytest.mark.servers
@pytest.mark.parametrize("kind", ["gunicorn-sync", "gunicorn-preload-gthread"])
def test_gunicorn_with_two_workers_counts_over_both(kind: str, tmp_path: Path) -> None:
    (tmp_path / "deployed.ini").write_text(
        f"{PIPELINE}store = sqlite:///%(here)s/kept.db\nexpiry = OnInactivity\nexpiry.idle = 1 hour\n"
        "cookie.secure = false\nsweep_every = 5 minutes\n"
    )
    with running(kind, f"--paste={tmp_path / 'deployed.ini'}", tmp_path) as server:
        browser = server.browser()
        workers, count = set(), 0
        while len(workers) < 2 and count < 500:
            count += 1
            assert browser.get("/").text == str(count)
            workers.add(browser.get("/pid").text)
        assert len(workers) == 2
        before_login = browser.copy()
        assert browser.post("/login").text == "Welcome"
        assert browser.cookies != before_login.cookies
        assert {browser.get("/who").text for _ in range(10)} == {"anna"}
        assert browser.get("/").text == str(count + 1)
        assert {before_login.get("/who").text for _ in range(10)} == {"a guest"}
        before_logout = browser.copy()
        assert browser.post("/logout").text == "Good bye"
        assert not browser.cookies
        assert {before_logout.get("/who").text for _ in range(10)} == {"a guest"}


@pytest.fixture(scope="module")
def page() -> Any:
    return parsed("docs/paste.rst")


class TestPage:
    """docs/paste.rst, and examples/paste.ini that it shows."""

    def test_the_file_shown_is_the_example(self, page: Any) -> None:
        shown = [block for block in blocks(page, "ini") if "[pipeline:main]" in block]
        example = (ROOT / "examples" / "paste.ini").read_text()
        assert shown == [example.partition("\n\n")[2].rstrip()]

    @pytest.mark.servers
    def test_what_is_written_from_nothing_is_a_working_login(self, page: Any, tmp_path: Path) -> None:
        code = find(page, "def make_app")
        ini = (ROOT / "examples" / "paste.ini").read_text()
        assert len([line for line in code.splitlines() if line]) <= 22
        (tmp_path / "shop.py").write_text(code)
        (tmp_path / "paste.ini").write_text(ini)
        (command,) = [block for block in blocks(page, "console") if "gunicorn" in block]
        assert command == "$ gunicorn --paste paste.ini --workers 2"
        with running("gunicorn-sync", "--paste=paste.ini", tmp_path) as server:
            browser = server.browser()
            assert browser.get().text == "Visit number 1 of a guest\n"
            before_login = browser.copy()
            assert browser.post("/login?user=anna").text == "Welcome, anna\n"
            assert browser.get().text == "Visit number 2 of anna\n"
            assert before_login.get().text == "Visit number 1 of a guest\n"
            assert browser.post("/logout").text == "Good bye\n"
            assert browser.get().text == "Visit number 1 of a guest\n"
        assert (tmp_path / "sessions.db").is_file()

    def test_the_table_has_every_option(self, page: Any) -> None:
        listed = [row[0] for row in tables(page, "option")]
        names = {name for cell in listed for name in cell.split(", ")}
        assert names == OPTIONS - {"cookie"} | {"store.<option>"}

    def test_the_values_in_the_table_are_accepted(self, page: Any, load: Load) -> None:
        chosen = {"expiry.idle": {"expiry": "OnInactivity"}, "expiry.at": {"expiry": "AtDateTime"}}
        chosen |= {"cookie.keys": {"cookie.form": "signed"}, "on_deleted": {"sweep_every": "1 hour"}}
        chosen |= {"retire": {"legacy": "paste_shop:sources"}}
        for form in ("signed", "encrypted"):
            chosen[form] = {"cookie.keys": NEW}
        chosen |= {"OnInactivity": {"expiry.idle": "1"}, "AtDateTime": {"expiry.at": "2030-01-31T12:00:00Z"}}
        for name, examples, default, _ in tables(page, "option"):
            option = name.replace("<option>", "max_records")
            for value in [
                *examples.split(", "),
                *([default] if default in ("plain", "OnSessionEnd", "2 weeks") else []),
            ]:
                text = value.replace("shop:", "paste_shop:").replace("<key>", NEW)
                read_options({"store": "memory:", **chosen.get(option, {}), **chosen.get(value, {}), option: text})

    def test_all_other_files_shown_are_loaded(self, page: Any, load: Load, tmp_path: Path) -> None:
        others = [block for block in blocks(page, "ini") if "[pipeline:main]" not in block]
        assert len(others) == 5
        for block in others:
            text = block.replace("/var/lib/shop", str(tmp_path)).replace("<older key>", OLD).replace("<newer key>", NEW)
            text = text.replace("shop:old_sessions", "paste_shop:sources")
            if "[filter:" not in text:
                text = f"[filter:sessions]\n{FILTER}{text}"
            assert counts(load(f"[pipeline:main]\npipeline = sessions shop\n{SHOP}{text}\n"))

    def test_the_function_shown_reads_the_environment(
        self, page: Any, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SESSION_STORE", f"file://{tmp_path}/kept")
        monkeypatch.delitem(sys.modules, "shop", raising=False)
        (tmp_path / "shop.py").write_text(find(page, "def make_store"))
        monkeypatch.syspath_prepend(tmp_path)
        assert counts(load(f"{PIPELINE}store = shop:make_store"))
        assert len(list(FileStore(tmp_path / "kept").scan())) == 2

    @pytest.mark.parametrize("line", ["paste.filter_app_factory", "legacy = shop"])
    def test_nobody_is_logged_out_by_a_move_from_beaker(
        self, page: Any, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
    ) -> None:
        def begin(environ: Any, start_response: Any) -> list[bytes]:
            environ["beaker.session"]["visits"] = 41
            environ["beaker.session"].save()
            start_response("200 OK", [])
            return [b""]

        options = {"session.type": "file", "session.data_dir": f"{tmp_path}/cache", "session.secret": "<secret>"}
        old = Browser(beaker.middleware.SessionMiddleware(begin, options))
        old.get()
        monkeypatch.delitem(sys.modules, "shop", raising=False)
        (tmp_path / "shop.py").write_text(find(page, "def old_sessions").replace("/var/lib/shop", str(tmp_path)))
        monkeypatch.syspath_prepend(tmp_path)
        (section,) = [block for block in blocks(page, "ini") if line in block]
        section = section.replace("/var/lib/shop", str(tmp_path))
        browser = Browser(validator(load(f"[pipeline:main]\npipeline = sessions shop\n{SHOP}{section}\n")))
        ((_, cookie),) = old.cookies.items()  # its name has a space before it
        browser.put("beaker.session.id", cookie)
        assert [browser.get().text for _ in range(2)] == ["42", "43"]

    def test_what_becomes_of_each_option_of_beaker_exists(self, page: Any) -> None:
        for _, ours in tables(page, "Beaker"):
            for name in re.findall(r"\b(?:cookie|expiry|store)\.[a-z_]+", ours):
                assert name in OPTIONS or name.startswith("store.")

    def test_every_python_block_is_run(self, page: Any) -> None:
        assert len(blocks(page, "python")) == 3


def tables(page: Any, first: str) -> list[list[str]]:
    """Return the rows below the head of the table whose first heading begins so."""
    for table in page.findall(nodes.table):
        rows = [[cell.astext() for cell in row.findall(nodes.entry)] for row in table.findall(nodes.row)]
        if rows[0][0].startswith(first):
            return rows[1:]
    raise AssertionError(first)


def test_sessions_of_the_file_can_be_used_by_code(load: Load, tmp_path: Path) -> None:
    with closing(load(f"{PIPELINE}store = file://%(here)s/kept\n")) as app:
        browser = Browser(app)
        browser.get()
        with open_session(FileStore(tmp_path / "kept"), browser.cookies["id"].partition(".")[0]) as session:
            assert session["visits"] == 1
