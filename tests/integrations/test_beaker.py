"""Applications written for Beaker, on Beaker and on ours; and Beaker's session, member by member."""

from __future__ import annotations

import functools
import gc
import inspect
import json
import logging
import re
import shutil
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie
from itertools import chain
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import beaker.middleware
import cachelib
import paste.deploy
import pytest
import redis
import services
import sqlalchemy
from docutils import nodes
from harness import TEXT, Browser, RecordingStore, Response, call, garbage_of, make_environ, serve
from test_readme import ROOT, blocks, execute, find, parsed

from wsgi_sessions import (
    AtDateTime,
    FileStore,
    HeadersSent,
    MemoryStore,
    OnInactivity,
    OnSessionEnd,
    Record,
    RecordNotFound,
    SerializationError,
    SessionCookie,
    SessionMiddleware,
    SignedCookie,
    SQLiteStore,
    StoreError,
    clock,
    get_session,
    open_session,
)
from wsgi_sessions.integrations import _beaker_ignored
from wsgi_sessions.integrations.beaker import (
    BeakerMiddleware,
    BeakerSession,
    session_filter_app_factory,
    session_filter_factory,
)
from wsgi_sessions.migration.beaker import BeakerSource, FileContainer
from wsgi_sessions.migration.bulk import import_sessions
from wsgi_sessions.stores.cachelib import CachelibStore
from wsgi_sessions.stores.redis import RedisStore
from wsgi_sessions.stores.sql import SQLStore
from wsgi_sessions.testing import ReplacedClock

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what WebOb and Pyramid import themselves is deprecated
    import pyramid.config  # noqa: F401

APPS = Path(__file__).parents[1] / "apps"
BEAKERS = "from beaker.middleware import SessionMiddleware"
OURS = "from wsgi_sessions.integrations.beaker import BeakerMiddleware as SessionMiddleware"
KEY = "8f1c0b6de2a94735b1d07c6e5a3f9820b46c"


class Visitor(Browser):
    """Reads what Beaker sends as well: a space before the name, and Expires."""

    def keep(self, response: Response) -> Response:
        headers = [(name, text.strip()) for name, text in response.headers]
        super().keep(Response(response.status, response.reason, headers))
        for _, text in headers:
            found = re.fullmatch(r"([^=]+)=.*expires=([^;]+) GMT.*", text)
            if found and datetime.strptime(f"{found[2]} +0000", "%a, %d-%b-%Y %H:%M:%S %z") < datetime.now(UTC):
                self._jar.pop(found[1], None)
        return response


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Return what was logged as a warning so far."""
    caplog.set_level(logging.WARNING, logger="wsgi_sessions")
    return lambda: [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# Whole applications


def application(name: str, library: str, config: dict[str, Any]) -> Callable[..., Any]:
    """Return an application of tests/apps, unchanged but for its import line."""
    source = (APPS / f"beaker_{name}.py").read_text()
    assert source.count(BEAKERS) == 1
    if library == "ours":
        source = source.replace(BEAKERS, OURS)
    # Pyramid looks for a module of this name.
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, f"beaker_{name}.py", "exec"), names)
    return validator(names["make_application"](config))


class Story:
    """What one visitor does, and what the answers were; the steps that need an id keep it."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self.browser = Visitor(app, scheme="http")
        self.answers: list[tuple[str, int, str]] = []
        self.id = ""

    def tell(self, *steps: str) -> Story:
        for step in steps:
            method, path = step.split()
            response = self.browser.request(method, path.replace("ID", self.id))
            text = re.sub(r"<[^>]+>", "", response.text) if response.status >= 400 else response.text
            if path.startswith("/token/") and method == "POST":
                self.id, text = text, "an id" if re.fullmatch(r"[\w-]{22,32}", text) else text
            self.answers.append((step, response.status, "".join(text.split("\n")) if response.status < 300 else ""))
        return self


BOTTLE = (
    ["GET /facts", "GET /account", "GET /", "GET /", "POST /login/ada", "GET /", "POST /cart/tea"],
    ["GET /facts", "GET /account", "POST /cart/milk", "GET /account", "POST /token/bob", "GET /token/ID"],
    ["GET /token/0123456789abcdef0123456789abcdef", "POST /forget", "GET /account", "GET /"],
    ["POST /login/eve", "POST /logout", "GET /account", "GET /"],
)
PYRAMID = (
    ["GET /", "GET /write/early", "GET /login/ada", "GET /", "GET /write/second", "GET /read"],
    ["GET /read", "GET /change_mind", "GET /", "GET /remember", "GET /write/third", "GET /read"],
    ["GET /logout", "GET /read", "GET /"],
    ["GET /login/eve", "GET /read"],
)
STORIES = [("bottle", BOTTLE), ("pyramid", PYRAMID)]


def config_in(path: Path, **options: Any) -> dict[str, Any]:
    """Return a configuration as ini files have it."""
    return {
        "session.type": "file",
        "session.data_dir": str(path / "data"),
        "session.cookie_expires": "true",
        "session.timeout": "3600",
        **{f"session.{name}": value for name, value in options.items()},
    }


VARIANTS: list[dict[str, Any]] = [
    {},
    {"secret": "a secret"},
    {"data_serializer": "pickle", "auto": "true", "key": "sid"},
]


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize(("name", "parts"), STORIES)
def test_an_application_runs_unchanged_but_for_the_import_line(
    tmp_path: Path, name: str, parts: tuple[list[str], ...], options: dict[str, Any]
) -> None:
    told = {}
    for library in ("beaker", "ours"):
        config = config_in(tmp_path / library, **options)
        told[library] = Story(application(name, library, config)).tell(*chain(*parts)).answers
    assert told["ours"] == told["beaker"]
    assert {status for _, status, _ in told["ours"]} >= {200, 302 if name == "pyramid" else 303}


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("switch_after", [1, 2, 3])
@pytest.mark.parametrize(("name", "parts"), STORIES)
def test_nobody_is_logged_out_by_the_switch(
    tmp_path: Path, name: str, parts: tuple[list[str], ...], switch_after: int, options: dict[str, Any]
) -> None:
    """The same cookie jar and the same data_dir; what the second process answers, Beaker would have answered."""
    parts = tuple([step for step in part if "/token/" not in step] for part in parts)
    expected = Story(application(name, "beaker", config_in(tmp_path / "beaker", **options))).tell(*chain(*parts))
    config = config_in(tmp_path / "both", **options)
    story = Story(application(name, "beaker", config))
    for part in parts[:switch_after]:
        story.tell(*part)
    story.browser.app = application(name, "ours", config)
    for part in parts[switch_after:]:
        story.tell(*part)
    assert story.answers == expected.answers


def test_after_the_switch_beakers_file_and_cookie_are_gone(tmp_path: Path) -> None:
    config = config_in(tmp_path, secret="a secret")
    story = Story(application("bottle", "beaker", config)).tell("POST /login/ada", "GET /")
    old = story.browser.cookies["beaker.session.id"]
    assert old[40:] in str([*(tmp_path / "data" / "container_file").rglob("*.cache")])
    story.browser.app = application("bottle", "ours", config)
    assert story.tell("GET /").answers[-1][2] == "ada, visit 2"
    assert list(story.browser.cookies) == ["beaker.session.id"]
    assert story.browser.cookies["beaker.session.id"] != old
    assert old[40:] not in str([*(tmp_path / "data" / "container_file").rglob("*.cache")])
    story.tell("POST /logout")
    story.browser.put("beaker.session.id", old)
    assert story.tell("GET /").answers[-1][2] == "stranger, visit 1"


# Member by member


class Site:
    """One visitor of an application whose only page does what a test says, on Beaker or on ours."""

    def __init__(self, library: str, path: Path, scheme: str = "http", **options: Any) -> None:
        self.library = library
        ours = {name: options.pop(name) for name in list(options) if name in _OURS}
        config = {"session.type": "file", "session.data_dir": str(path / "data")}
        config.update({f"session.{name}": value for name, value in options.items()})
        self.store = None
        if library == "beaker":
            # Without a validator inside, which prints the environ, and so loads the session.
            self.middleware: Any = beaker.middleware.SessionMiddleware(self._app, config)
        else:
            self.store = ours.setdefault("store", RecordingStore())
            self.middleware = BeakerMiddleware(validator(self._app), config, **ours)
        self.browser = Visitor(validator(self.middleware), scheme=scheme)
        self.response = Response(0, "", [])
        self.status = "200 OK"
        self.path = "/"

    def _app(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        self.environ = environ
        self.result = self.handler(environ["beaker.session"])
        start_response(self.status, list(TEXT))
        return [b"done"]

    def do(self, handler: Callable[[Any], Any], status: str = "200 OK") -> Any:
        """Send a request, and return what its handler does."""
        self.handler, self.status = handler, status
        self.response = self.browser.get(self.path)
        return self.result

    def set(self, **values: Any) -> None:
        def change(session: Any) -> None:
            session.update(values)
            session.save()

        self.do(change)

    def read(self) -> dict[str, Any]:
        """Return what the next request finds."""
        return self.do(lambda session: {key: session[key] for key in session if not key.startswith("_")})

    @property
    def set_cookie(self) -> str:
        (header,) = self.response.set_cookies
        return header


_OURS = {
    *("store", "explicit_save", "list_internals", "cookie", "cookie_name", "take_over", "retire", "max_payload"),
    "on_unknown",
}


@pytest.fixture(params=["beaker", "ours"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    """Beaker as well: what holds for ours holds there."""
    return Site(request.param, tmp_path)


@pytest.fixture
def ours(tmp_path: Path) -> Site:
    return Site("ours", tmp_path)


class TestTheDictionary:
    def test_it_is_set_read_and_changed_as_a_dict_is(self, both: Site) -> None:
        def change(s: Any) -> Any:
            s["a"] = 1
            s.update({"b": 2}, c=[3])
            s.setdefault("d", {})["e"] = 4
            del s["a"]
            found = [s.get("a"), s.get("b"), s.get("x", 0), s.pop("b"), s.pop("x", None), "b" in s, "c" in s]
            s.save()
            return found

        assert both.do(change) == [None, 2, 0, 2, None, False, True]
        assert both.read() == {"c": [3], "d": {"e": 4}}

    def test_it_has_keys_values_items_and_a_copy(self, both: Site) -> None:
        both.set(a=1, b=[2])

        def look(s: Any) -> Any:
            own = {key: value for key, value in s.items() if not key.startswith("_")}
            copy = s.copy()
            copy["a"] = 5
            found = [own, sorted({*s.keys()} & {"a", "b"}), 1 in list(s.values())]
            return [*found, type(copy), s["a"], s.has_key("a"), s.has_key("x")]

        assert both.do(look) == [{"a": 1, "b": [2]}, ["a", "b"], True, dict, 1, True, False]

    def test_a_missing_key_is_a_key_error(self, both: Site) -> None:
        def look(s: Any) -> None:
            for action in (lambda: s["x"], lambda: s.__delitem__("x"), lambda: s.pop("x")):
                with pytest.raises(KeyError):
                    action()

        both.do(look)

    def test_it_unpacks_and_becomes_a_dict(self, both: Site) -> None:
        both.set(a=1)
        assert both.do(lambda s: (dict(s)["a"], dict(**s)["a"])) == (1, 1)

    def test_its_repr_shows_no_value(self, ours: Site) -> None:
        """Beaker's is that of a dict, and an environ is printed in many a traceback."""
        ours.set(card="4111-1111")
        shown = ours.do(lambda s: (s.get("card"), repr(s) + repr(ours.environ))[1])
        assert "BeakerSession" in shown and "4111" not in shown and "card" not in shown

    def test_its_repr_loads_nothing(self, ours: Site) -> None:
        """Beaker's does, and so does whoever prints an environ."""
        ours.set(a=1)
        ours.store.calls.clear()
        assert ours.do(repr) == "<BeakerSession: not loaded>"
        assert ours.store.calls == [] and ours.response.header("Vary") is None

    def test_popitem_takes_none_of_beakers_own(self, ours: Site) -> None:
        def take(s: Any) -> Any:
            s.update(a=1, b=2)
            s.domain = "example.com"
            taken = [s.popitem(), s.popitem()]
            with pytest.raises(KeyError):
                s.popitem()
            return taken

        assert ours.do(take) == [("b", 2), ("a", 1)]

    def test_clear_keeps_the_domain_and_path(self, both: Site) -> None:
        def change(s: Any) -> Any:
            s["a"] = 1
            s.domain = "example.com"
            s.path = "/app"
            s.clear()
            s.save()
            return "a" in s, "_domain" in s, "_path" in s, (s.domain, s.path)

        *found, place = both.do(change)
        assert found == [False, True, True]
        # Beaker's are the configured ones again, while its cookie stays where it is.
        assert place == (("example.com", "/app") if both.library == "ours" else (None, "/"))

    def test_beakers_own_keys_can_be_asked_for(self, both: Site) -> None:
        both.set(a=1)

        def look(s: Any) -> Any:
            return [
                type(s["_creation_time"]),
                type(s["_accessed_time"]),
                s["_domain"],
                s["_path"],
                all(key in s for key in ("_creation_time", "_accessed_time", "_domain", "_path")),
                s.get("_path"),
                s["_creation_time"] <= s["_accessed_time"],
            ]

        assert both.do(look) == [float, float, None, "/", True, "/", True]

    def test_beakers_own_keys_are_not_stored_and_not_listed(self, ours: Site) -> None:
        def change(s: Any) -> None:
            s["a"] = 1
            s["_creation_time"] = s["_accessed_time"] = 5.0
            del s["_accessed_time"]
            s.update(_creation_time=7.0, b=2)
            assert s.pop("_creation_time") != 7.0

        ours.do(change)
        assert ours.do(lambda s: [list(s), len(s), list(get_session(ours.environ)), s.created > 7]) == [
            ["a", "b"],
            2,
            ["a", "b"],
            True,
        ]

    def test_beakers_own_keys_are_listed_if_asked_for(self, tmp_path: Path) -> None:
        site = Site("ours", tmp_path, list_internals=True)
        site.set(a=1)
        there = Site("beaker", tmp_path / "beaker")
        there.set(a=1)
        assert site.do(lambda s: {*s.copy(), *s.keys()}) == there.do(lambda s: {*s.copy(), *s.keys()})

    def test_setting_the_domain_as_a_key_sets_it(self, ours: Site) -> None:
        def change(s: Any) -> Any:
            s["_domain"] = ".example.com"
            s["_path"] = "/app"
            before = s.domain, s.path
            del s["_domain"], s["_path"]
            return before, s.domain, s.path

        assert ours.do(change) == (("example.com", "/app"), None, "/")

    def test_it_has_a_length(self, ours: Site) -> None:
        """Beaker's has none, a TypeError."""
        ours.set(a=1, b=2)
        assert ours.do(len) == 2

    def test_it_is_true_also_when_it_is_empty(self, both: Site) -> None:
        assert both.do(bool) is True

    def test_it_is_equal_to_itself_only_no_dict_and_no_json(self, both: Site) -> None:
        def look(s: Any) -> Any:
            with pytest.raises(TypeError):
                json.dumps(s)
            return s == {}, s == s, isinstance(s, dict), {s: 1}[s]

        assert both.do(look) == (False, True, False, 1)


class TestSaving:
    def test_save_makes_changes_last(self, both: Site) -> None:
        both.set(a=1)
        assert both.read() == {"a": 1}
        assert len(both.response.set_cookies) == 0

    def test_save_itself_writes_nothing_before_the_response(self, ours: Site) -> None:
        def change(s: Any) -> Any:
            s["a"] = 1
            s.save()
            return list(ours.store.calls)

        assert ours.do(change) == []
        assert [name for name, _ in ours.store.calls] == ["create"]

    def test_save_alone_makes_no_session(self, ours: Site) -> None:
        ours.do(lambda s: s.save())
        assert ours.store.calls == [] and ours.response.set_cookies == []

    def test_without_save_a_change_is_stored_all_the_same_and_logged_once(
        self, ours: Site, log: Callable[[], list[str]]
    ) -> None:
        for value in (1, 2):
            ours.do(lambda s, value=value: s.update(a=value))
        assert ours.read() == {"a": 2}
        (warning,) = [text for text in log() if "save()" in text]
        assert "session['a']" in warning and "explicit_save=True" in warning

    def test_a_removed_key_without_save_is_logged(self, ours: Site, log: Callable[[], list[str]]) -> None:
        ours.set(a=1)
        ours.do(lambda s: s.pop("a"))
        assert len([text for text in log() if "save()" in text]) == 1
        assert ours.read() == {}

    @pytest.mark.parametrize(
        "change",
        [
            lambda s: (s.update(a=1), s.save()),
            lambda s: (s.update(a=1), s.persist()),
            lambda s: (s.update(a=1), s.revert()),
            lambda s: s["list"].append(1),
            lambda s: s.update(list=[]),
            lambda s: s.regenerate_id(),
        ],
    )
    def test_nothing_is_logged_where_beaker_loses_nothing(
        self, ours: Site, log: Callable[[], list[str]], change: Callable[[Any], Any]
    ) -> None:
        ours.set(list=[])
        ours.do(change)
        assert [text for text in log() if "save()" in text] == []

    @pytest.mark.parametrize("library", ["beaker", "ours"])
    def test_auto_stores_every_change(self, tmp_path: Path, library: str, log: Callable[[], list[str]]) -> None:
        site = Site(library, tmp_path, auto="true")
        site.do(lambda s: s.update(a=1))
        assert site.read() == {"a": 1}
        assert [text for text in log() if "save()" in text] == []

    def test_auto_writes_no_session_for_a_mere_read(self, tmp_path: Path) -> None:
        """Beaker's does, with a cookie."""
        site = Site("ours", tmp_path, auto=True)
        site.do(lambda s: s.get("a"))
        assert site.response.set_cookies == [] and site.store.calls == []

    @pytest.mark.parametrize("library", ["beaker", "ours"])
    def test_explicit_save_loses_what_is_not_saved_but_for_changes_inside_of_values(
        self, tmp_path: Path, library: str, log: Callable[[], list[str]]
    ) -> None:
        site = Site(library, tmp_path, explicit_save=True)
        site.do(lambda s: s.update(lost=1))
        assert site.read() == {}
        site.set(a=1, b=2, list=[1], gone=3)

        def change(s: Any) -> None:
            s["a"] = 5
            s["new"] = 6
            del s["gone"]
            s["list"].append(2)

        site.do(change)
        assert site.read() == {"a": 1, "b": 2, "list": [1, 2], "gone": 3}
        site.do(lambda s: (s.clear(), s.update(b=9)))
        assert site.read() == {"a": 1, "b": 2, "list": [1, 2], "gone": 3}
        site.do(lambda s: (s.clear(), s.update(b=9), s.save()))
        assert site.read() == {"b": 9}
        assert [text for text in log() if "save()" in text] == []

    def test_explicit_save_changes_nothing_with_auto(self, tmp_path: Path) -> None:
        site = Site("ours", tmp_path, explicit_save=True, auto=True)
        site.do(lambda s: s.update(a=1))
        assert site.read() == {"a": 1}

    def test_explicit_save_drops_no_change_of_another_request_with_an_unsaved_clear(self, tmp_path: Path) -> None:
        site = Site("ours", tmp_path, explicit_save=True)
        site.set(a=1)

        def clear(s: Any) -> None:
            s.clear()
            s.domain = "example.com"
            other = s.get_by_id(s.id)
            other["b"] = 2
            other.save()

        site.do(clear)
        assert site.read() == {"a": 1, "b": 2}

    @pytest.mark.parametrize("action", ["persist", "revert", "load"])
    def test_explicit_save_takes_a_change_inside_of_a_value_for_one_again(self, tmp_path: Path, action: str) -> None:
        site = Site("ours", tmp_path, explicit_save=True)
        site.set(list=[1])

        def change(s: Any) -> None:
            s["list"] = [1]
            getattr(s, action)()
            s["list"].append(2)

        site.do(change)
        assert site.read() == {"list": [1, 2]}

    def test_explicit_save_keeps_what_was_persisted(self, tmp_path: Path) -> None:
        site = Site("ours", tmp_path, explicit_save=True)

        def change(s: Any) -> None:
            s["a"] = 1
            s.persist()
            s["a"] = 2
            s["b"] = 3

        site.do(change)
        assert site.read() == {"a": 1}

    @pytest.mark.parametrize("library", ["beaker", "ours"])
    def test_explicit_save_stores_no_session_of_which_only_the_id_was_asked_for(
        self, tmp_path: Path, library: str
    ) -> None:
        site = Site(library, tmp_path, explicit_save=True)
        id = site.do(lambda s: (s.update(a=1), s.id)[1])
        assert site.response.set_cookies == []
        assert site.do(lambda s: s.get_by_id(id)) is None
        other = site.do(lambda s: (s.update(b=1), s.id, s.save())[1])
        assert other != id and site.do(lambda s: s.id) == other
        assert site.read() == {"b": 1}

    def test_persist_writes_now(self, ours: Site) -> None:
        def change(s: Any) -> Any:
            s["a"] = 1
            s.persist()
            return s.get_by_id(s.id)["a"]

        assert ours.do(change) == 1

    def test_a_read_writes_no_data(self, ours: Site) -> None:
        """Beaker writes its snapshot back, over what another request has saved meanwhile."""
        ours.set(a=1)
        ours.store.calls.clear()

        def read_while_another_writes(s: Any) -> Any:
            other = s.get_by_id(s.id)
            other["a"] = 2
            other.save()
            return s.get("b")

        ours.do(read_while_another_writes)
        assert ours.read() == {"a": 2}

    def test_an_untouched_session_costs_nothing(self, both: Site) -> None:
        both.set(a=1)
        if both.store is not None:
            both.store.calls.clear()
        both.do(lambda s: None)
        assert both.response.set_cookies == []
        assert both.store is None or both.store.calls == []

    def test_nothing_is_stored_with_a_server_error(self, ours: Site, log: Callable[[], list[str]]) -> None:
        ours.do(lambda s: (s.update(a=1), s.save()), status="500 Internal Server Error")
        ours.do(lambda s: s.update(a=1), status="500 Internal Server Error")
        assert ours.read() == {}
        assert [text for text in log() if "save()" in text] == []

    def test_what_cannot_be_stored_is_an_error_without_a_warning(
        self, ours: Site, log: Callable[[], list[str]]
    ) -> None:
        with pytest.raises(SerializationError):
            ours.do(lambda s: (s.update(a=[]), s["a"].append(object())))
        assert [text for text in log() if "was changed and" in text] == []

    def test_the_response_says_that_it_varies_by_the_cookie(self, ours: Site) -> None:
        ours.do(lambda s: s.get("a"))
        assert ours.response.header("Vary") == "Cookie"


class TestTheEnd:
    def test_delete_ends_it(self, both: Site) -> None:
        both.set(a=1)
        old = both.browser.clone()
        both.do(lambda s: s.delete())
        assert "1970" in both.set_cookie or "expires" in both.set_cookie
        assert both.read() == {}
        both.browser = old
        assert both.read() == {}

    def test_delete_leaves_no_record(self, ours: Site) -> None:
        """Beaker leaves an empty one for ever."""
        ours.set(a=1)
        ours.do(lambda s: s.delete())
        assert list(ours.store.inner.scan()) == []
        assert ours.browser.cookies == {}

    def test_after_delete_the_id_is_still_told_and_nothing_is_made_for_it(self, ours: Site) -> None:
        ours.set(a=1)
        before = ours.do(lambda s: s.id)
        assert ours.do(lambda s: (s.delete(), s.id)[1]) == before
        assert ours.browser.cookies == {}

    def test_after_delete_it_can_be_written_to(self, ours: Site) -> None:
        ours.set(a=1)
        ours.do(lambda s: (s.delete(), s.update(b=2)))
        assert ours.read() == {"b": 2}

    def test_invalidate_ends_it_and_begins_a_new_one(self, both: Site) -> None:
        both.set(a=1)

        def change(s: Any) -> Any:
            before = s.id
            s.invalidate()
            found = [s.is_new, s.was_invalidated, "a" in s, s.id != before]
            s["b"] = 2
            s.save()
            return found

        assert both.do(change) == [True, True, False, True]
        assert both.read() == {"b": 2}

    def test_what_was_invalidated_cannot_be_used_again(self, ours: Site) -> None:
        """Beaker's old record stays valid."""
        ours.set(a=1)
        old = ours.browser.clone()
        ours.do(lambda s: (s.invalidate(), s.update(b=2)))
        ours.browser = old
        assert ours.read() == {}

    def test_regenerate_id_keeps_the_data_under_a_new_cookie(self, both: Site) -> None:
        both.set(a=1)
        before = dict(both.browser.cookies)
        both.do(lambda s: (s.regenerate_id(), s.save()))
        assert both.browser.cookies != before
        assert both.read() == {"a": 1}

    def test_the_cookie_before_regenerate_id_ends(self, ours: Site) -> None:
        """Beaker's stays valid."""
        ours.set(a=1)
        old = ours.browser.clone()
        ours.do(lambda s: s.regenerate_id())
        ours.browser = old
        assert ours.read() == {}

    def test_regenerate_id_needs_no_save(self, tmp_path: Path) -> None:
        site = Site("ours", tmp_path, explicit_save=True)
        site.set(a=1)
        before = dict(site.browser.cookies)
        site.do(lambda s: (s.update(a=2), s.regenerate_id()))
        assert site.browser.cookies != before
        assert site.read() == {"a": 1}


class TestWhatItKnows:
    def test_the_id_is_text_stays_and_finds_the_session(self, both: Site) -> None:
        id = both.do(lambda s: (s.update(a=1), s.save(), s.id)[2])
        assert isinstance(id, str) and len(id) >= 22
        assert both.do(lambda s: (s.id, s.get_by_id(id)["a"], s.get_by_id(id).id)) == (id, 1, id)

    def test_the_id_opens_nothing(self, ours: Site) -> None:
        ours.set(a=1)
        id = ours.do(lambda s: s.id)
        (token,) = ours.browser.cookies.values()
        assert token != id and token not in ours.do(lambda s: repr(s.copy()) + repr(s))
        ours.browser.put("beaker.session.id", id)
        assert ours.read() == {}

    def test_a_session_of_a_newer_version_is_not_shown(self, ours: Site) -> None:
        ours.set(a=1)
        id = ours.do(lambda s: s.id)
        (record,) = ours.store.inner.scan()
        payload = re.sub(rb"^\[\d+", b"[99", record.payload)
        assert payload != record.payload
        ours.store.inner.save(Record(record.id, payload, record.expires, record.version))
        ours.browser = Visitor(ours.browser.app, scheme="http")
        assert ours.do(lambda s: s.get_by_id(id)) is None

    def test_an_id_alone_makes_no_session(self, both: Site) -> None:
        id = both.do(lambda s: s.id)
        assert both.response.set_cookies == [] and both.response.header("Cache-Control") is None
        assert both.do(lambda s: s.get_by_id(id)) is None
        assert both.store is None or "create" not in [name for name, _ in both.store.calls]

    def test_what_goes_wrong_after_an_id_was_asked_for_stores_nothing(self, ours: Site) -> None:
        """Half of what a failed handler has done was stored with the id."""
        ours.do(lambda s: (s.update(role="admin"), s.id, s.save()), status="500 Internal Server Error")
        with pytest.raises(ZeroDivisionError):
            ours.do(lambda s: (s.update(role="admin"), s.id, 1 / 0))
        assert ours.browser.cookies == {} and list(ours.store.inner.scan()) == []

    def test_what_is_reverted_after_an_id_was_asked_for_is_not_stored(self, both: Site) -> None:
        id = both.do(lambda s: (s.update(role="admin"), s.id, s.revert(), s.update(a=1), s.save())[1])
        assert both.do(lambda s: s.id) == id
        assert both.read() == {"a": 1}

    @pytest.mark.parametrize(
        "change",
        [
            lambda s: (s.update(a=1), s.id, s.save())[1],
            lambda s: (s.id, s.update(a=1), s.save())[0],
            lambda s: (s.update(a=1), s.save(), s.id)[2],
            lambda s: (s.id, s.save())[0],
            lambda s: (s.save(), s.id)[1],
            lambda s: (s.update(a=1), s.clear(), s.id, s.save())[2],
        ],
    )
    def test_an_id_that_was_told_is_the_one_of_the_session_that_is_saved(
        self, both: Site, change: Callable[[Any], Any]
    ) -> None:
        id = both.do(change)
        assert len(both.response.set_cookies) == 1
        assert both.do(lambda s: (s.id, s.get_by_id(id).id)) == (id, id)

    @pytest.mark.parametrize("library", ["beaker", "ours"])
    def test_with_auto_an_id_alone_makes_a_session(self, tmp_path: Path, library: str) -> None:
        site = Site(library, tmp_path, auto=True)
        assert site.do(lambda s: s.id) == site.do(lambda s: s.id)

    def test_the_id_after_invalidate_is_the_one_of_the_session_that_begins(self, both: Site) -> None:
        """It was one of nothing if it was asked for before the session held anything."""
        both.set(a=1)

        def login(s: Any) -> Any:
            before = s.id
            s.invalidate()
            id = s.id
            s["user"] = "ada"
            s.save()
            return before, id, s.id

        before, *ids = both.do(login)
        assert both.do(lambda s: [s.id, s.get_by_id(s.id).id]) == ids
        assert before not in ids

    def test_an_id_that_is_over_is_not_used_again(self, ours: Site) -> None:
        first, second = ours.do(lambda s: (s.id, s.invalidate(), s.id, s.save())[::2])
        third = ours.do(lambda s: (s.invalidate(), s.id, s.delete(), s.update(a=1), s.id)[4])
        assert len({first, second, third}) == 3
        assert ours.do(lambda s: [s.get_by_id(first), s.get_by_id(second), s.id]) == [None, None, third]

    def test_an_id_that_is_taken_when_it_is_stored_becomes_another(self, ours: Site) -> None:
        def taken(s: Any) -> Any:
            s["a"] = 1
            ours.store.inner.create(Record(s.id, b"", clock.now() + 60_000, 1))
            return s.id

        id = ours.do(taken)
        assert ours.response.status == 200
        assert ours.do(lambda s: (s["a"], s.id != id)) == (1, True)

    def test_an_id_after_the_logout_of_a_stranger_makes_no_session(self, ours: Site) -> None:
        ids = ours.do(lambda s: (s.delete(), s.id, s.id))[1:]
        assert ids[0] == ids[1]
        before, after = ours.do(lambda s: (s.id, s.delete(), s.id))[::2]
        assert before == after
        assert ours.browser.cookies == {} and list(ours.store.inner.scan()) == []

    def test_an_id_asked_for_too_late_is_of_no_session(self, tmp_path: Path) -> None:
        found = []

        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
            start_response("200 OK", list(TEXT))
            yield b"head"
            session = environ["beaker.session"]
            found.extend([session.id, session.id, session.get_by_id(session.id)])

        store = RecordingStore()
        call(validator(BeakerMiddleware(app, {}, store=store)))
        assert found[0] == found[1] and found[2] is None
        assert [name for name, _ in store.calls] == ["load"]

    def test_what_cannot_be_an_id_is_not_looked_for(self, ours: Site) -> None:
        ours.do(lambda s: [s.get_by_id(id) for id in ("0" * 32, "legacy." + "A" * 15, "A" * 21, "A" * 22 + "\n")])
        assert ours.store.calls == []

    @pytest.mark.parametrize("id", ["0" * 32, "A" * 22, "../../etc/passwd", "", "legacy.x", None, 5])
    def test_no_session_of_an_unknown_id(self, ours: Site, id: Any) -> None:
        assert ours.do(lambda s: s.get_by_id(id)) is None

    def test_another_session_can_be_changed_and_ended(self, ours: Site) -> None:
        ours.set(a=1)
        id = ours.do(lambda s: s.id)
        visitor, ours.browser = ours.browser, Browser(ours.browser.app, scheme="http")

        def change(s: Any) -> None:
            other = s.get_by_id(id)
            other["b"] = 2
            other.save()

        ours.do(change)
        assert ours.browser.cookies == {}
        admin, ours.browser = ours.browser, visitor
        assert ours.read() == {"a": 1, "b": 2}
        ours.browser = admin
        ours.do(lambda s: s.get_by_id(id).delete())
        ours.browser = visitor
        assert ours.read() == {}

    def test_new_created_and_last_accessed(self, both: Site) -> None:
        def look(s: Any) -> Any:
            return s.is_new, type(s.created), s.last_accessed

        def first(s: Any) -> Any:
            s["a"] = 1
            s.save()
            return look(s)

        assert both.do(first) == (True, float, None)
        new, created, last = both.do(lambda s: (s.is_new, s.created, s.last_accessed))
        assert not new and type(last) is float and created - 0.001 <= last <= clock.now() / 1000

    @pytest.mark.parametrize("options", [{"timeout": 100}, {"cookie_expires": 100}, {}])
    def test_last_accessed_is_of_the_previous_request_to_a_tenth_of_the_timeout(
        self, tmp_path: Path, options: dict[str, Any]
    ) -> None:
        with ReplacedClock(start=1_000_000_000_000) as time:
            site = Site("ours", tmp_path, **options)
            site.set(a=1)
            idle = timedelta(seconds=100) if options else timedelta(weeks=2)
            previous = clock.now() / 1000
            for _ in range(12):
                time.advance(idle / 5)
                assert site.do(lambda s: (s.last_accessed, s.created)) == (previous, 1_000_000_000)
                previous = clock.now() / 1000

    def test_last_accessed_of_a_session_with_a_fixed_end_is_when_it_began(self, tmp_path: Path) -> None:
        site = Site("ours", tmp_path, cookie_expires=datetime(2100, 1, 1))
        site.set(a=1)
        assert site.do(lambda s: s.last_accessed == s.created)

    @pytest.mark.parametrize(("before", "after"), [(60, 6000), (6000, 60)])
    def test_last_accessed_is_neither_before_the_beginning_nor_in_the_future(
        self, tmp_path: Path, before: int, after: int
    ) -> None:
        """As another timeout than that of the last use would have it."""
        with ReplacedClock() as time:
            old = Site("ours", tmp_path, timeout=before)
            old.set(a=1)
            new = Site("ours", tmp_path, timeout=after, store=old.store)
            new.browser._jar = old.browser._jar
            time.advance(timedelta(seconds=10))
            assert new.do(lambda s: s.created <= s.last_accessed <= clock.now() / 1000)

    def test_was_not_invalidated_by_delete(self, both: Site) -> None:
        both.set(a=1)
        assert both.do(lambda s: (s.delete(), s.was_invalidated)[1]) is False

    def test_the_snapshot_of_what_was_loaded(self, both: Site) -> None:
        both.set(a=1)

        def change(s: Any) -> Any:
            s["a"] = 2
            return s.accessed_dict["a"], type(s.accessed_dict)

        assert both.do(change) == (1, dict)

    @pytest.mark.parametrize("action", ["invalidate", "load"])
    def test_the_snapshot_is_of_the_session_that_there_is_now(self, both: Site, action: str) -> None:
        both.set(a=1)
        kept = both.do(lambda s: (getattr(s, action)(), s.accessed_dict.get("a"), s.get("a"))[1:])
        assert kept == ((None, None) if action == "invalidate" else (1, 1))

    def test_a_snapshot_leaves_out_what_cannot_be_read(self, ours: Site) -> None:
        ours.set(a=1, b=2)
        (record,) = ours.store.inner.scan()
        payload = record.payload.replace(b'"b":2', b'"b":{"$":["no such",2]}')
        assert payload != record.payload
        ours.store.inner.save(Record(record.id, payload, record.expires, record.version))
        assert ours.do(lambda s: (s.accessed_dict, s.update(b=3), s.persist(), s.revert(), dict(s))) == (
            {"a": 1},
            None,
            None,
            None,
            {"a": 1},
        )

    def test_was_invalidated_when_it_had_timed_out(self, tmp_path: Path) -> None:
        with ReplacedClock() as time:
            site = Site("ours", tmp_path, timeout=60)
            assert site.do(lambda s: s.was_invalidated) is False
            site.set(a=1)
            assert site.do(lambda s: s.was_invalidated) is False
            time.advance(timedelta(seconds=61))
            assert site.do(lambda s: (s.was_invalidated, s.is_new, dict(s))) == (True, True, {})

    def test_revert_and_load(self, both: Site) -> None:
        both.set(a=1)

        def change(s: Any) -> Any:
            s.update(a=2, b=3)
            s.revert()
            reverted = s["a"], "b" in s
            s["a"] = 2
            s.load()
            return reverted, s["a"]

        assert both.do(change) == ((1, False), 1)

    @pytest.mark.parametrize("action", ["revert", "load"])
    def test_revert_and_load_leave_the_new_token_of_a_login(self, ours: Site, action: str) -> None:
        """The cookie of before went on to open the session."""
        ours.set(a=1)
        old = ours.browser.clone()
        ours.do(lambda s: (s.regenerate_id(), s.update(b=2), getattr(s, action)(), s.save()))
        assert ours.read() == {"a": 1}
        ours.browser = old
        assert ours.read() == {}

    @pytest.mark.parametrize("action", ["revert", "load"])
    @pytest.mark.parametrize("is_new", [True, False])
    def test_revert_and_load_leave_what_remembers_a_visitor(self, tmp_path: Path, action: str, is_new: bool) -> None:
        with ReplacedClock():
            site = Site("ours", tmp_path)
            if not is_new:
                site.set(a=1)
            site.do(lambda s: (s._set_cookie_expires(timedelta(days=30)), getattr(s, action)(), s.update(b=1)))
            assert "Max-Age=2592000" in site.set_cookie
            site.browser.restart()
            assert site.read()["b"] == 1

    def test_load_takes_the_end_that_another_request_has_set(self, ours: Site) -> None:
        ours.set(a=1)

        def remember(s: Any) -> Any:
            other = s.get_by_id(s.id)
            other._set_cookie_expires(timedelta(days=30))
            other["a"] = 2
            other.save()
            s.load()
            return s["a"], s.accessed_dict["a"], s.expiry

        assert ours.do(remember) == (2, 2, OnInactivity(timedelta(days=30)))

    def test_revert_after_persist_is_to_what_was_loaded(self, both: Site) -> None:
        both.set(a=1, b=2, list=[1])

        def change(s: Any) -> Any:
            s.update(a=2, c=3)
            del s["b"]
            s["list"].append(2)
            s.save()
            s.persist()
            s.revert()
            return s["a"], s["b"], "c" in s

        assert both.do(change) == (1, 2, False)
        assert both.read() == {"a": 1, "b": 2, "list": [1]} or both.library == "beaker"

    def test_revert_leaves_what_another_request_has_stored(self, ours: Site) -> None:
        ours.set(a=1)

        def change(s: Any) -> None:
            s.clear()
            s.revert()
            s["b"] = 2
            other = s.get_by_id(s.id)
            other["c"] = 3
            other.save()

        ours.do(change)
        assert ours.read() == {"a": 1, "b": 2, "c": 3}

    def test_a_session_that_ended_elsewhere_is_not_loaded_again(self, ours: Site) -> None:
        ours.set(a=1)

        def change(s: Any) -> Any:
            s.regenerate_id()
            s.get_by_id(s.id).delete()
            s.load()
            s["b"] = 1
            return s.get("a"), s.accessed_dict

        assert ours.do(change) == (None, {})
        assert ours.response.set_cookies == [] and list(ours.store.inner.scan()) == []

    def test_it_gives_itself_to_who_knows_how_beakers_is_made(self, both: Site) -> None:
        assert both.do(lambda s: (s._session().update(a=1), s["a"], s._session().save())[1]) == 1
        assert both.do(lambda s: s._session() is s) is (both.library == "ours")

    def test_lock_and_unlock_do_nothing_and_say_so(self, ours: Site) -> None:
        def lock(s: Any) -> None:
            with pytest.warns(DeprecationWarning, match="lock"):
                s.lock()
            with pytest.warns(DeprecationWarning, match="unlock"):
                s.unlock()

        ours.do(lock)
        assert ours.store.calls == []

    @pytest.mark.parametrize("name", ["namespace", "namespace_class", "no_such_thing", "secret", "encrypt_key"])
    def test_what_it_does_not_have_is_an_attribute_error(self, ours: Site, name: str) -> None:
        def look(s: Any) -> None:
            with pytest.raises(AttributeError, match=name):
                getattr(s, name)

        ours.do(look)

    def test_accessed_and_dirty_are_methods_that_load_nothing(self, both: Site) -> None:
        both.set(a=1)

        def look(s: Any) -> Any:
            before = s.accessed(), s.dirty(), bool(s.accessed)
            s.get("a")
            between = s.accessed(), s.dirty()
            s.save()
            return before, between, s.dirty()

        if both.library == "ours":
            both.store.calls.clear()
        assert both.do(look) == ((False, False, True), (True, False), True)

    def test_delete_makes_it_dirty(self, both: Site) -> None:
        assert both.do(lambda s: (s.delete(), s.dirty())[1]) is True

    def test_attributes_can_be_set_and_are_not_stored(self, both: Site) -> None:
        def change(s: Any) -> Any:
            s.permanent = True
            s.foo = 1
            return s.foo

        assert both.do(change) == 1
        assert both.do(lambda s: hasattr(s, "foo")) is False

    @pytest.mark.parametrize("name", ["timeout", "secure", "httponly", "samesite", "key", "type", "is_new", "save"])
    def test_what_is_configured_cannot_be_set_and_says_so_once(
        self, ours: Site, name: str, log: Callable[[], list[str]]
    ) -> None:
        before = ours.do(lambda s: (s.id, getattr(s, name))[1])
        for _ in range(2):
            ours.do(lambda s: setattr(s, name, "x"))
        (warning,) = [text for text in log() if f"session.{name} " in text]
        assert ("give it to BeakerMiddleware" in warning) == (name not in ("is_new", "save"))
        assert ours.do(lambda s: getattr(s, name)) != "x" != before

    @pytest.mark.parametrize("library", ["beaker", "ours"])
    def test_the_configured_can_be_asked_for(self, tmp_path: Path, library: str) -> None:
        options = {"timeout": "100", "key": "sid", "secure": "true", "httponly": "true", "cookie_domain": "example.com"}
        site = Site(library, tmp_path, scheme="https", cookie_path="/app", cookie_expires="true", **options)
        site.path = "/app"
        names = ["timeout", "key", "secure", "httponly", "samesite", "use_cookies", "type", "domain", "path"]
        found = site.do(lambda s: [getattr(s, name) for name in [*names, "cookie_expires"]])
        assert found == [100, "sid", True, True, "Lax", True, "file", "example.com", "/app", True]

    def test_the_application_has_no_header_to_send(self, ours: Site) -> None:
        def look(s: Any) -> Any:
            s["a"] = 1
            inside = s.__dict__
            return [
                dict(s.request),
                dict(inside["_headers"]),
                inside["_sess"],
                inside["_params"]["key"],
                "secret" in inside["_params"],
            ]

        nothing = {"set_cookie": False, "cookie_out": None}
        assert ours.do(look) == [nothing, nothing, None, "beaker.session.id", False]
        assert len(ours.response.set_cookies) == 1


class TestItsCookie:
    def attributes(self, header: str) -> dict[str, str]:
        (morsel,) = SimpleCookie(header).values()
        return {name: value for name, value in morsel.items() if value}

    @pytest.mark.parametrize("library", ["beaker", "ours"])
    @pytest.mark.parametrize(("name", "value"), [("domain", "example.com"), ("path", "/app")])
    def test_another_domain_or_path_sends_a_new_cookie(
        self, tmp_path: Path, library: str, name: str, value: str
    ) -> None:
        site = Site(library, tmp_path)
        site.path = "/app"
        site.set(a=1)
        site.do(lambda s: (setattr(s, name, value), s.save()))
        assert self.attributes(site.response.set_cookies[-1])[name] == value
        assert site.do(lambda s: getattr(s, name)) == value

    def test_the_cookie_in_the_old_place_is_removed(self, ours: Site) -> None:
        ours.set(a=1)
        ours.do(lambda s: setattr(s, "domain", "example.com"))
        removal, new = ours.response.set_cookies
        assert "Max-Age=0" in removal and "Domain" not in removal
        assert "Domain=example.com" in new and "Max-Age" not in new

    @pytest.mark.parametrize(
        "change",
        [
            lambda s: setattr(s, "domain", "example.com"),
            lambda s: setattr(s, "path", "/app"),
            lambda s: (s._set_cookie_expires(timedelta(days=30)), s._update_cookie_out()),
        ],
    )
    def test_a_cookie_that_is_not_stored_is_not_sent_with_a_server_error(
        self, ours: Site, change: Callable[[Any], Any]
    ) -> None:
        """The logout would not have found it there."""
        ours.set(a=1)
        ours.do(lambda s: (change(s), s.save()), status="500 Internal Server Error")
        assert ours.response.set_cookies == []
        assert ours.do(lambda s: (s.domain, s.path)) == (None, "/")
        ours.do(lambda s: s.delete())
        assert ours.browser.cookies == {}

    def test_a_cookie_in_another_place_is_sent_with_a_server_error_if_it_was_persisted(self, ours: Site) -> None:
        ours.set(a=1)
        ours.do(lambda s: (setattr(s, "domain", "example.com"), s.persist()), status="500 Internal Server Error")
        assert "Domain=example.com" in ours.response.set_cookies[-1]
        assert ours.do(lambda s: s.domain) == "example.com"

    def test_what_was_persisted_before_it_was_moved_is_sent_to_where_it_is_stored(self, ours: Site) -> None:
        ours.do(
            lambda s: (s.update(a=1), s.persist(), setattr(s, "domain", "example.com")),
            status="500 Internal Server Error",
        )
        assert "Domain" not in ours.set_cookie
        assert ours.do(lambda s: s.domain) is None

    def test_a_new_session_has_one_cookie_only(self, ours: Site) -> None:
        ours.do(lambda s: (setattr(s, "path", "/"), setattr(s, "domain", "example.com"), s.update(a=1)))
        assert "Domain=example.com" in ours.set_cookie

    def test_the_place_holds_for_every_later_cookie_and_its_removal(self, ours: Site) -> None:
        ours.do(lambda s: (setattr(s, "domain", ".example.com"), s.update(a=1)))
        ours.do(lambda s: s.regenerate_id())
        assert "Domain=example.com" in ours.set_cookie
        ours.do(lambda s: s.delete())
        assert "Domain=example.com" in ours.set_cookie and "Max-Age=0" in ours.set_cookie

    def test_a_cookie_with_keys_moves_as_well(self, tmp_path: Path) -> None:
        site = Site("ours", tmp_path, cookie=SignedCookie([KEY], "id", secure=False))
        site.set(a=1)
        site.do(lambda s: setattr(s, "domain", "example.com"))
        assert "Domain=example.com" in site.response.set_cookies[-1]
        assert site.read() == {"a": 1}

    @pytest.mark.parametrize("value", ["x y", "a;b", 5])
    def test_a_domain_that_a_browser_would_drop_is_refused(self, ours: Site, value: Any) -> None:
        def change(s: Any) -> None:
            with pytest.raises((ValueError, TypeError)):
                s.domain = value

        ours.do(change)
        assert ours.response.set_cookies == []

    def test_remember_me(self, both: Site) -> None:
        """The idiom of RhodeCode, Kallithea and Tracim."""
        both.set(a=1)

        def remember(s: Any) -> Any:
            end = s._set_cookie_expires(timedelta(days=30))
            s._update_cookie_out()
            s.save()
            return type(end), s.cookie_expires

        assert both.do(remember) == (datetime, timedelta(days=30))
        assert self.attributes(both.set_cookie).keys() & {"max-age", "expires"}
        assert both.read() == {"a": 1}

    @pytest.mark.parametrize(
        ("expires", "days"),
        [(False, 400), (timedelta(days=30), 30), (datetime(2026, 1, 3, tzinfo=UTC), 2), (datetime(2026, 1, 3), 2)],
    )
    def test_how_long_a_browser_keeps_it_can_be_set_for_one_session(
        self, tmp_path: Path, expires: Any, days: int
    ) -> None:
        with ReplacedClock(start=1_767_225_600_000):  # 2026
            site = Site("ours", tmp_path)
            site.set(a=1)
            site.do(lambda s: s._set_cookie_expires(expires))
            assert self.attributes(site.set_cookie)["max-age"] == str(days * 86400)
            site.browser.restart()
            assert site.read() == {"a": 1}
            assert site.do(lambda s: s._set_cookie_expires(True)) is True
            assert "max-age" not in self.attributes(site.set_cookie)
            site.browser.restart()
            assert site.read() == {}

    @pytest.mark.parametrize("expires", [datetime(2020, 1, 1, tzinfo=UTC), timedelta(days=-1), timedelta(0)])
    def test_an_end_in_the_past_ends_it(self, ours: Site, expires: Any) -> None:
        ours.set(a=1)
        ours.do(lambda s: s._set_cookie_expires(expires))
        assert "delete" in [name for name, _ in ours.store.calls]
        assert ours.browser.cookies == {} and list(ours.store.inner.scan()) == []

    def test_no_other_kind_of_end_is_accepted(self, both: Site) -> None:
        def change(s: Any) -> None:
            with pytest.raises(ValueError, match="cookie_expires"):
                s._set_cookie_expires("tomorrow")

        both.do(change)

    def test_the_configured_end_is_none_of_the_sessions_own(self, ours: Site) -> None:
        """So that it changes with the configuration."""
        ours.set(a=1)

        def change(s: Any) -> Any:
            s._set_cookie_expires(False)
            own = s._state.own_expiry
            s._set_cookie_expires(True)
            return own is None, s._state.own_expiry

        assert ours.do(change) == (False, None)

    def test_a_domain_that_comes_too_late_is_refused(self, tmp_path: Path) -> None:
        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
            session = environ["beaker.session"]
            session["a"] = session.get("a", 0) + 1
            start_response("200 OK", list(TEXT))
            yield b"head"
            with pytest.raises(HeadersSent, match="domain"):
                session.domain = "example.com"

        browser = Visitor(validator(BeakerMiddleware(app, {}, auto=True)), scheme="http")
        for _ in range(2):
            browser.get()

    def test_setting_cookie_expires_alone_changes_nothing(self, both: Site) -> None:
        both.set(a=1)
        both.do(lambda s: (s.get("a"), setattr(s, "cookie_expires", timedelta(days=3)), s.save()))
        assert both.response.set_cookies == []

    def test_it_can_be_sent_again(self, both: Site) -> None:
        both.set(a=1)
        before = dict(both.browser.cookies)
        both.do(lambda s: (s._set_cookie_values(), s._update_cookie_out(), s.save()))
        assert len(both.response.set_cookies) == 1 and both.browser.cookies == before

    def test_a_read_of_an_existing_session_sends_none(self, both: Site) -> None:
        both.set(a=1)
        both.do(lambda s: s.get("a"))
        assert both.response.set_cookies == []

    def test_an_unknown_id_is_not_kept(self, ours: Site) -> None:
        """Beaker keeps the one that the browser sends."""
        ours.browser.put("beaker.session.id", "A" * 21 + "A." + "A" * 22)
        ours.set(a=1)
        assert ours.browser.cookies["beaker.session.id"][:22] != "A" * 22


class TestDetached:
    def test_get_session_makes_one_whose_save_stores_at_once(self, both: Site) -> None:
        def token_login(s: Any) -> Any:
            new = both.environ["beaker.get_session"]()
            new["user"] = "ada"
            new.save()
            return new.id

        id = both.do(token_login)
        assert both.response.set_cookies == []
        assert both.do(lambda s: s.get_by_id(id)["user"]) == "ada"

    def test_it_is_another_one_each_time_and_not_the_visitors(self, both: Site) -> None:
        both.set(a=1)

        def look(s: Any) -> Any:
            one, two = (both.environ["beaker.get_session"]() for _ in range(2))
            return one.id != two.id, "a" in one, one.is_new, one.use_cookies

        assert both.do(look) == (True, False, True, False)

    def test_save_stores_also_an_empty_one_and_changes_of_one_that_is_stored(self, ours: Site) -> None:
        def use(s: Any) -> Any:
            one = ours.environ["beaker.get_session"]()
            one.save()
            found = s.get_by_id(one.id)
            one["list"] = [1]
            one.persist()
            one["list"].append(2)
            one.save()
            return len(found), s.get_by_id(one.id)["list"]

        assert ours.do(use) == (0, [1, 2])

    @pytest.mark.parametrize("library", ["beaker", "ours"])
    def test_save_can_be_told_that_it_was_only_used(self, tmp_path: Path, library: str) -> None:
        site = Site(library, tmp_path, timeout=100)
        site.set(a=1)

        def use(s: Any) -> Any:
            new = site.environ["beaker.get_session"]()
            new["a"] = 1
            new.save(accessed_only=True)
            there = s.get_by_id(s.id)
            there["a"] = 2
            there.save(accessed_only=True)
            return s.get_by_id(new.id), s.get_by_id(s.id)["a"]

        assert site.do(use) == (None, 1)

    def test_what_was_only_used_lasts_as_long_as_if_it_was_presented(self, tmp_path: Path) -> None:
        with ReplacedClock() as time:
            site = Site("ours", tmp_path, timeout=100)
            site.set(a=1)
            id = site.do(lambda s: s.id)
            for _ in range(3):
                time.advance(timedelta(seconds=60))
                site.browser = Visitor(site.browser.app, scheme="http")
                site.do(lambda s: s.get_by_id(id).save(accessed_only=True))
            assert site.do(lambda s: s.get_by_id(id)["a"]) == 1

    def test_a_save_after_its_end_says_so(self, ours: Site) -> None:
        def use(s: Any) -> None:
            one = ours.environ["beaker.get_session"]()
            one["a"] = 1
            one.save()
            s.get_by_id(one.id).delete()
            one["a"] = 2
            with pytest.raises(RecordNotFound):
                one.save()

        ours.do(use)

    def test_it_ends_as_configured(self, tmp_path: Path) -> None:
        with ReplacedClock() as time:
            site = Site("ours", tmp_path, timeout=60)

            def begin(s: Any) -> str:
                new = site.environ["beaker.get_session"]()
                new["a"] = 1
                new.save()
                return new.id

            id = site.do(begin)
            time.advance(timedelta(seconds=61))
            assert site.do(lambda s: s.get_by_id(id)) is None


# The configuration


def wrap(config: dict[str, Any] | None = None, **options: Any) -> BeakerMiddleware:
    return BeakerMiddleware(_nothing, config, **options)


def _nothing(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", list(TEXT))
    return []


class TestTheStore:
    @pytest.mark.parametrize("kind", ["file", "dbm"])
    def test_of_files_is_a_directory_of_its_own(self, tmp_path: Path, kind: str) -> None:
        store = wrap({"session.type": kind, "session.data_dir": str(tmp_path / "data")}).store
        assert isinstance(store, FileStore)
        assert store.directory == str(tmp_path / "data" / "wsgi_sessions")

    def test_a_type_is_guessed_as_beaker_does(self, tmp_path: Path) -> None:
        assert isinstance(wrap({"session.data_dir": str(tmp_path)}).store, FileStore)
        assert isinstance(wrap({}).store, MemoryStore)
        assert isinstance(wrap().store, MemoryStore)

    def test_of_a_file_dir(self, tmp_path: Path) -> None:
        store = wrap({"session.type": "file", "session.file_dir": str(tmp_path)}).store
        assert isinstance(store, FileStore) and store.directory == str(tmp_path / "wsgi_sessions")

    def test_the_first_start_makes_the_directory_as_beakers_does(
        self, tmp_path: Path, log: Callable[[], list[str]]
    ) -> None:
        config = {"session.type": "file", "session.data_dir": str(tmp_path / "a" / "b"), "session.secure": False}
        for _ in range(2):
            app = wrap(config)
            with open_session(app.store) as session:
                session["a"] = 1
        assert [text for text in log() if "no sessions of Beaker's to take over" in text and "data_dir" in text]

    @pytest.mark.parametrize("kind", ["ext:database", "ext:sqla"])
    def test_of_sqlite_is_a_file_beside(self, tmp_path: Path, kind: str) -> None:
        path = tmp_path / "data.db"
        sqlalchemy.create_engine(f"sqlite:///{path}").connect().close()
        store = wrap({"session.type": kind, "session.url": f"sqlite:///{path}"}).store
        assert isinstance(store, SQLiteStore) and store.path == f"{path}.wsgi_sessions"

    def test_of_a_database_is_a_table_of_its_own_which_is_made(self) -> None:
        # As in Beaker, which driver a URL without one means is up to SQLAlchemy: psycopg2 before 2.1.
        url = services.url_of("postgresql").replace("postgresql:", "postgresql+psycopg:")
        store = wrap({"session.type": "ext:database", "session.url": url}).store
        assert isinstance(store, SQLStore)
        with closing(store):
            assert store.load("x") is None

    def test_of_an_engine_is_a_table_of_its_own_which_is_made(self, tmp_path: Path) -> None:
        engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/data.db")
        table = sqlalchemy.Table("sessions", sqlalchemy.MetaData())
        with closing(wrap(None, type="ext:sqla", bind=engine, table=table).store) as store:
            assert isinstance(store, SQLStore) and store.load("x") is None
        engine.dispose()

    def test_of_redis_has_keys_of_its_own(self) -> None:
        url = services.url_of("redis")
        for server in (url, redis.Redis.from_url(url)):
            store = wrap({"session.type": "ext:redis"}, url=server).store
            assert isinstance(store, RedisStore) and not store.prefix.startswith("beaker")

    def test_of_redis_is_where_redis_py_finds_it(self, server_directory: Path, tmp_path: Path) -> None:
        """Sockets in the file system, and options of redis-py's own."""
        path = server_directory / "socket"
        options = {"type": "ext:redis", "url": f"unix://{path}?db=3&socket_timeout=1"}
        with services.Redis(server_directory, "--unixsocket", str(path)):
            before = Site("beaker", tmp_path, **options)
            before.set(a=1)
            store = wrap(None, **options).store
            assert isinstance(store, RedisStore)
            site = Site("ours", tmp_path, store=store, **options)
            site.browser._jar = before.browser._jar
            assert site.read() == {"a": 1}
            store.close()
            with redis.Redis(unix_socket_path=str(path), db=3) as client:
                keys = client.keys()
            assert keys and all(key.startswith(b"wsgi_sessions:") for key in keys)

    @pytest.mark.parametrize("take_over", [True, False])
    def test_a_url_that_is_none_of_redis_is_not_repeated(self, take_over: bool) -> None:
        with pytest.raises(ValueError, match="redis://localhost") as caught:
            wrap({"session.type": "ext:redis", "session.url": "redis://u:hid#den@h/0"}, take_over=take_over)
        assert "hid" not in str(caught.value) and caught.value.__context__ is None

    def test_of_one_configuration_is_one_in_a_process(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        config = {"session.type": "file", "session.data_dir": "data"}
        monkeypatch.chdir(tmp_path)
        apps = [wrap({**config, "session.key": key}) for key in ("a", "b")]
        assert apps[0].store is apps[1].store
        assert wrap({**config, "session.data_dir": "other"}).store is not apps[0].store
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert wrap(config).store is not apps[0].store

    def test_of_memory_is_forgotten_with_the_last_middleware(self) -> None:
        first = wrap({})
        assert wrap({}).store is first.store
        first.store.create(Record("x", b"", clock.now() + 60_000, 1))
        del first
        gc.collect()
        assert wrap({}).store.load("x") is None

    def test_of_memcached(self) -> None:
        store = wrap({"session.type": "ext:memcached", "session.url": "10.0.0.1:11211;inet:10.0.0.2:11212"}).store
        assert isinstance(store, CachelibStore)

    def test_one_that_is_given_beats_all(self, tmp_path: Path) -> None:
        store = CachelibStore(cachelib.FileSystemCache(str(tmp_path / "cache"), threshold=0))
        assert wrap(config_in(tmp_path), store=store).store is store

    @pytest.mark.parametrize(
        "options",
        [
            {"type": "cookie", "validate_key": KEY},
            {"type": "ext:mongodb"},
            {"type": "ext:rediscluster", "url": "redis://localhost"},
            {"type": "mongodb", "url": "mongodb://localhost"},
        ],
    )
    def test_where_there_is_no_place_for_one_it_has_to_be_given(self, options: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"give BeakerMiddleware a store, such as store=SQLiteStore"):
            wrap(None, **options)
        store = MemoryStore()
        assert wrap(None, store=store, **options).store is store
        assert wrap(None, store=store, take_over=False, **options).store is store

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"type": "file"}, "data_dir"),
            ({"type": "dbm"}, "data_dir"),
            ({"type": "ext:database"}, "url"),
            ({"type": "ext:database", "url": "sqlite://"}, "memory"),
            ({"type": "ext:redis"}, "url"),
            ({"type": "ext:memcached"}, "url"),
            ({"type": "ext:memcached", "url": "unix:/run/memcached"}, "store"),
            ({"type": "no-such"}, "type"),
            ({"type": "cookie"}, "validate_key"),
        ],
    )
    def test_what_is_missing_is_an_error_at_the_start(self, options: dict[str, Any], message: str) -> None:
        for take_over in (True, False):
            if message == "validate_key" and not take_over:
                continue
            with pytest.raises(ValueError, match=message):
                wrap(None, take_over=take_over, **options, store=None)


class TestTheExpiry:
    @pytest.mark.parametrize(
        ("options", "expiry"),
        [
            ({}, OnSessionEnd()),
            ({"timeout": "300"}, OnSessionEnd(timedelta(seconds=300))),
            ({"cookie_expires": "true", "timeout": 300}, OnSessionEnd(timedelta(seconds=300))),
            ({"cookie_expires": False, "timeout": 300}, OnInactivity(timedelta(seconds=300))),
            ({"cookie_expires": "false"}, OnInactivity(timedelta(days=400))),
            ({"cookie_expires": "3600"}, OnInactivity(timedelta(hours=1))),
            ({"cookie_expires": timedelta(hours=1), "timeout": 300}, OnInactivity(timedelta(seconds=300))),
            ({"cookie_expires": 300, "timeout": 3600}, OnInactivity(timedelta(seconds=300))),
            ({"cookie_expires": datetime(2100, 1, 1)}, AtDateTime(datetime(2100, 1, 1, tzinfo=UTC))),
            ({"cookie_expires": datetime(2100, 1, 1), "timeout": 300}, OnInactivity(timedelta(seconds=300))),
            ({"cookie_expires": datetime(2100, 1, 1), "timeout": 10**10}, AtDateTime(datetime(2100, 1, 1, tzinfo=UTC))),
            ({"cookie_expires": None}, OnInactivity(timedelta(days=400))),
            ({"cookie_expires": None, "timeout": "300"}, OnInactivity(timedelta(seconds=300))),
            ({"timeout": 10**13}, OnSessionEnd(timedelta(seconds=10**13))),
            (
                {"cookie_expires": datetime(2100, 1, 1), "timeout": 10**13},
                AtDateTime(datetime(2100, 1, 1, tzinfo=UTC)),
            ),
            ({"save_accessed_time": "false"}, OnSessionEnd(touch_every=None)),
            (
                {"save_accessed_time": False, "cookie_expires": 60},
                OnInactivity(timedelta(seconds=60), touch_every=None),
            ),
        ],
    )
    def test_follows_timeout_and_cookie_expires(self, options: dict[str, Any], expiry: Any) -> None:
        assert wrap(None, **options)._settings.expiry == expiry

    def test_a_timeout_without_access_times_is_refused(self) -> None:
        with pytest.raises(ValueError, match="save_accessed_time"):
            wrap({"session.timeout": 60, "session.save_accessed_time": "false"})


class TestTheCookie:
    def test_has_the_attributes_that_were_set(self) -> None:
        config = {
            "beaker.session.key": "sid",
            "beaker.session.cookie_domain": ".example.com",
            "beaker.session.cookie_path": "/app",
            "beaker.session.secure": "true",
            "beaker.session.httponly": "false",
            "beaker.session.samesite": "Strict",
        }
        assert wrap(config).cookie == SessionCookie(
            "sid", path="/app", domain="example.com", secure=True, http_only=False, same_site="Strict"
        )

    def test_of_what_was_not_set_is_as_beakers_but_out_of_reach_of_scripts(self, log: Callable[[], list[str]]) -> None:
        assert wrap({}).cookie == SessionCookie("beaker.session.id", secure=False)
        assert len([text for text in log() if "session.secure is not set" in text]) == 1

    def test_none_counts_as_not_set(self, log: Callable[[], list[str]]) -> None:
        assert wrap({"session.secure": None, "session.httponly": None}).cookie.http_only is True
        assert len([text for text in log() if "session.secure is not set" in text]) == 1

    @pytest.mark.parametrize("secure", [True, False, "true", "false"])
    def test_what_is_said_of_secure_is_not_warned_of(self, secure: Any, log: Callable[[], list[str]]) -> None:
        assert wrap({"session.secure": secure}).cookie.secure is (secure in (True, "true"))
        assert [text for text in log() if "session.secure" in text] == []

    @pytest.mark.parametrize(
        ("samesite", "secure", "expected"),
        [("None", True, "None"), ("None", False, "Lax"), (None, True, "Lax"), ("Lax", False, "Lax")],
    )
    def test_samesite(self, samesite: Any, secure: bool, expected: str, log: Callable[[], list[str]]) -> None:
        assert wrap({"session.samesite": samesite, "session.secure": secure}).cookie.same_site == expected
        assert len([text for text in log() if "samesite" in text]) == (samesite == "None" and not secure)

    def test_only_another_name_can_be_given(self) -> None:
        """The page's sample for a way back had lost everything that was configured."""
        config = {
            "session.secure": True,
            "session.cookie_domain": "example.com",
            "session.samesite": "Strict",
            "session.cookie_path": "/app",
        }
        assert wrap(config, cookie_name="id").cookie == SessionCookie(
            "id", path="/app", domain="example.com", same_site="Strict"
        )
        with pytest.raises(ValueError, match="cookie or cookie_name"):
            wrap({}, cookie=SessionCookie(), cookie_name="id")

    def test_one_that_is_given_beats_all(self) -> None:
        cookie = SignedCookie([KEY])
        assert wrap({"session.key": "sid"}, cookie=cookie).cookie is cookie


class TestOptions:
    @pytest.mark.parametrize("prefix", ["session.", "beaker.session.", "session_", ""])
    def test_every_prefix_is_read_and_arguments_take_precedence(self, prefix: str) -> None:
        app = BeakerMiddleware(_nothing, {"session.key": "other", "app.debug": "true"}, **{f"{prefix}key": "sid"})
        assert app.cookie.name == "sid"
        if prefix:
            assert wrap({f"{prefix}key": "sid"}).cookie.name == "sid"

    @pytest.mark.parametrize(
        ("config", "ignored"),
        [
            ({"session.lock_dir": "/tmp/lock"}, "session.lock_dir is ignored"),
            ({"session.invalidate_corrupt": "true"}, "session.invalidate_corrupt is ignored"),
            ({"session.webtest_varname": "session"}, "session.webtest_varname is ignored"),
            ({"session.timout": "60"}, "did you mean session.timeout?"),
            ({"sesssion.timeout": "60"}, "did you mean session.timeout?"),
            ({"Session.key": "sid"}, "did you mean session.key?"),
            ({"beaker.sesion.type": "file"}, "did you mean beaker.session.type?"),
            ({"type": "file"}, "type is ignored: it has no prefix"),
            ({"session.sa.pool_recycle": "3600"}, "BeakerSource of an SQLContainer"),
            ({"session.secret": "s"}, "session.secret is ignored: no sessions of Beaker's are read"),
            ({"session.data_dir": "d", "session.type": "memory"}, "session.data_dir is ignored"),
        ],
    )
    def test_every_one_that_is_ignored_is_logged(
        self, config: dict[str, Any], ignored: str, log: Callable[[], list[str]]
    ) -> None:
        wrap(config)
        assert len([text for text in log() if ignored in text]) == 1

    @pytest.mark.parametrize(
        ("arguments", "ignored"),
        [
            ({"take_over": False}, {"secret", "validate_key", "data_serializer", "table_name"}),
            ({"store": MemoryStore()}, set()),
            ({"store": MemoryStore(), "take_over": False}, {"type", "url", "secret", "validate_key"}),
            ({"cookie": SessionCookie("x", secure=False)}, {"secure", "cookie_domain", "samesite", "httponly"}),
            ({"cookie": SessionCookie("x", secure=False), "take_over": False}, {"key", "secure"}),
            (
                {
                    "cookie": SessionCookie(
                        "sid", http_only=False, domain="example.com", path="/app", same_site="Strict"
                    )
                },
                set(),
            ),
        ],
    )
    def test_what_an_argument_takes_the_effect_from_is_logged(
        self, tmp_path: Path, arguments: dict[str, Any], ignored: set[str], log: Callable[[], list[str]]
    ) -> None:
        engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/data.db")
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE t (namespace, data)")
        engine.dispose()
        wrap(
            type="ext:database",
            url=f"sqlite:///{tmp_path}/data.db",
            table_name="t",
            secret="s",
            encrypt_key="e",
            validate_key="v",
            data_serializer="pickle",
            key="sid",
            secure=True,
            cookie_domain="example.com",
            cookie_path="/app",
            samesite="Strict",
            httponly=False,
            **arguments,
        )
        told = set(re.findall(r"session\.(\w+) is ignored", "\n".join(log())))
        assert told >= ignored and (told == set()) == (ignored == set())
        # None of those of Beaker's that are read.
        assert len([text for text in log() if "session.encrypt_key encrypts no session of ours" in text]) == 1

    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("retier", "retire"),
            ("sweep_evry", "sweep_every"),
            ("cookie_nmae", "cookie_name"),
            ("Take_Over", "take_over"),
            ("environ_keys", "environ_key"),
        ],
    )
    def test_a_misspelt_one_of_ours_is_refused(self, name: str, meant: str) -> None:
        message = f"unknown option '{name}'; did you mean {meant}?"
        with pytest.raises(ValueError, match=re.escape(message)):
            wrap(**{name: "keep"})
        with pytest.raises(ValueError, match=re.escape(message)):
            session_filter_app_factory(_nothing, {}, **{name: "keep"})

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({"cookie_pth": "/app"}, "did you mean session.cookie_path?"),
            ({"tiemout": "60"}, "did you mean session.timeout?"),
            ({"session.retier": "keep"}, "session.retier is ignored: no option of Beaker's sessions has this name"),
            ({"crypto_type": "nss", "sa.pool_recycle": "60"}, "session.crypto_type is ignored"),
            ({"colour": "red"}, "session.colour is ignored: no option of Beaker's sessions has this name"),
        ],
    )
    def test_another_name_is_only_told(self, options: dict[str, Any], told: str, log: Callable[[], list[str]]) -> None:
        wrap(**options)
        assert any(told in text for text in log())

    def test_none_of_beakers_is_taken_for_one_of_ours(self) -> None:
        theirs = {*inspect.signature(beaker.session.Session).parameters, "lock_dir", "log_file", "sa_opts", "sa.url"}
        _beaker_ignored.refuse_misspelt(theirs | {"webtest_varname", "memcache_module", "dbmmodule", "session_class"})

    def test_every_argument_of_ours_is_known_by_its_name(self) -> None:
        parameters = inspect.signature(BeakerMiddleware).parameters.values()
        taken = {parameter.name for parameter in parameters if parameter.kind is not inspect.Parameter.VAR_KEYWORD}
        assert set(_beaker_ignored.OURS) == taken

    @pytest.mark.parametrize(
        ("options", "ignored"),
        [
            ({"type": "ext:redis", "url": "redis://localhost", "data_dir": "d"}, ["data_dir"]),
            ({"type": "cookie", "validate_key": "v", "secret": "s", "store": MemoryStore()}, ["secret"]),
            ({"type": "ext:redis", "url": "redis://localhost", "validate_key": "v"}, ["validate_key"]),
            ({"type": "ext:redis", "url": "redis://localhost", "secret": "s"}, []),
            ({"type": "ext:mongodb", "url": "m", "store": MemoryStore()}, ["type", "url"]),
            ({"type": "memory"}, []),
            ({}, []),
        ],
    )
    def test_what_a_type_does_not_need_is_logged(
        self, options: dict[str, Any], ignored: list[str], log: Callable[[], list[str]]
    ) -> None:
        wrap(secure=False, **options)
        assert re.findall(r"session\.(\w+) is ignored", "\n".join(log())) == ignored
        assert len(log()) == len(ignored)

    @pytest.mark.parametrize(
        "options",
        [
            {"timeout": 0},
            {"timeout": "0"},
            {"timeout": 10**15},
            {"cookie_expires": 0},
            {"cookie_expires": timedelta(0)},
            {"cookie_expires": 10**15},
        ],
    )
    def test_a_duration_that_is_none_is_an_error_that_names_the_option(self, options: dict[str, Any]) -> None:
        (name,) = options
        with pytest.raises(ValueError, match=f"session.{name} must be"):
            wrap(options and {f"session.{name}": options[name]})

    @pytest.mark.parametrize("key", [True, 12345, b"abc", "text"])
    def test_a_key_of_any_type_is_what_beaker_makes_of_it(self, tmp_path: Path, key: Any) -> None:
        """Bottle-Cork's own example has validate_key = True."""
        for number, options in enumerate(({"secret": key}, {"type": "cookie", "validate_key": key})):
            path = tmp_path / str(number)
            before = Site("beaker", path, **options)
            before.set(a=1)
            site = Site("ours", path, **options)
            site.browser._jar = before.browser._jar
            assert site.read() == {"a": 1}

    @pytest.mark.parametrize(
        "key", ["cache.type", "beaker.cache.data_dir", "sqlalchemy.url", "app.key", "url", "debug"]
    )
    def test_what_is_of_something_else_is_not(self, key: str, tmp_path: Path, log: Callable[[], list[str]]) -> None:
        config = {**config_in(tmp_path), "session.secure": False, key: "x"}
        (tmp_path / "data" / "container_file").mkdir(parents=True)
        wrap(config)
        assert log() == []

    @pytest.mark.parametrize("value", ["true", "false"])
    def test_what_is_used_is_not_either(self, tmp_path: Path, value: str, log: Callable[[], list[str]]) -> None:
        (tmp_path / "container_file").mkdir()
        wrap({"session.data_dir": str(tmp_path), "session.secure": False, "session.save_accessed_time": value})
        assert log() == []

    def test_no_value_is_in_a_warning_or_a_repr(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(0)
        config = config_in(tmp_path, secret="hidden", validate_key="hidden", typo="hidden", lock_dir="hidden")
        app = wrap(config)
        assert "hidden" not in caplog.text + repr(app) + repr(vars(app))

    def test_encryption_without_cryptography_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "data" / "container_file").mkdir(parents=True)
        for name in ("cryptography.hazmat.primitives.ciphers", "cryptography"):
            monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ImportError, match=r"wsgi-sessions\[encrypted\]"):
            wrap(config_in(tmp_path, encrypt_key="a", validate_key="b"))

    def test_another_place_in_the_environ(self) -> None:
        found = []

        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
            found.append(environ["sessions"])
            return _nothing(environ, start_response)

        call(validator(BeakerMiddleware(app, {}, "sessions")))
        assert isinstance(found[0], BeakerSession)

    def test_keep_needs_a_cookie_of_another_name(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="another name"):
            wrap(config_in(tmp_path), retire="keep")
        wrap(config_in(tmp_path), retire="keep", cookie=SessionCookie("id"))
        wrap(config_in(tmp_path), retire="keep", cookie_name="id")

    def test_the_application_can_be_given_by_beakers_name(self) -> None:
        for app in (BeakerMiddleware(wrap_app=_nothing, config={}), BeakerMiddleware(_nothing, {})):
            assert app.wrap_app is app.app is _nothing
        with pytest.raises(TypeError, match="wrap_app"):
            BeakerMiddleware(_nothing, {}, wrap_app=_nothing)
        with pytest.raises(TypeError, match="app must be"):
            BeakerMiddleware(config={})


class TestTakingOver:
    def begin(self, path: Path, **options: Any) -> Site:
        site = Site("beaker", path, **options)
        site.set(user="ada", cart=("tea", 2))
        return site

    def switch(self, site: Site, path: Path, **options: Any) -> Site:
        after = Site("ours", path, **options)
        after.browser._jar = site.browser._jar
        return after

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"secret": "s"},
            {"data_serializer": "pickle", "encrypt_key": "e", "validate_key": "v"},
            {"type": "dbm"},
            {"key": "sid", "cookie_path": "/", "cookie_domain": ".example.com", "timeout": 600},
            {"type": "cookie", "validate_key": "v"},
            {"type": "cookie", "validate_key": "v", "encrypt_key": "e"},
        ],
    )
    def test_a_session_goes_on(self, tmp_path: Path, options: dict[str, Any]) -> None:
        site = self.switch(self.begin(tmp_path, **options), tmp_path, **options)
        assert site.do(lambda s: (s["user"], s["cart"], s.is_new, s.last_accessed is not None)) == (
            "ada",
            ("tea", 2),
            False,
            True,
        )
        assert site.read() == {"user": "ada", "cart": ("tea", 2)}
        assert site.middleware.legacy_counts == {("beaker", "taken-over"): 1}

    def test_in_sqlite(self, tmp_path: Path) -> None:
        options = {"type": "ext:database", "url": f"sqlite:///{tmp_path}/data.db"}
        site = self.switch(self.begin(tmp_path, **options), tmp_path, **options)
        assert site.read() == {"user": "ada", "cart": ("tea", 2)}

    def test_a_table_that_is_not_there_is_no_outage(self, tmp_path: Path, log: Callable[[], list[str]]) -> None:
        """Whoever still had a cookie of Beaker's was answered 503 until the end of time."""
        options = {"type": "ext:database", "url": f"sqlite:///{tmp_path}/data.db"}
        site = Site("ours", tmp_path, **options)
        site.browser.put("beaker.session.id", "0" * 32)
        assert site.read() == {}
        assert site.response.status == 200
        assert site.middleware.legacy_counts == {("beaker", "not-found"): 1}
        assert len([text for text in log() if "no sessions of Beaker's to take over in the database" in text]) == 1

    @pytest.mark.parametrize("options", [{}, {"secret": "s"}], ids=["bare", "signed"])
    def test_what_was_imported_does_not_need_the_old_directory(self, tmp_path: Path, options: dict[str, Any]) -> None:
        old = self.begin(tmp_path, **options)
        site = self.switch(old, tmp_path, **options)
        source = BeakerSource(FileContainer(tmp_path / "data" / "container_file"), serializer="pickle")
        import_sessions(source, site.middleware.store, default_lifetime=timedelta(days=1))
        shutil.rmtree(tmp_path / "data" / "container_file")
        site = self.switch(old, tmp_path, store=site.middleware.store, **options)
        assert site.read() == {"user": "ada", "cart": ("tea", 2)}

    def test_a_table_that_is_dropped_meanwhile_is_no_outage(self, tmp_path: Path) -> None:
        options = {"type": "ext:database", "url": f"sqlite:///{tmp_path}/data.db"}
        site = self.switch(self.begin(tmp_path, **options), tmp_path, **options)
        engine = sqlalchemy.create_engine(options["url"])
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE beaker_cache")
        engine.dispose()
        assert site.read() == {}
        assert site.middleware.legacy_counts == {("beaker", "not-found"): 1}

    def test_a_database_that_is_down_at_the_start_is_one_with_sessions(
        self, tmp_path: Path, log: Callable[[], list[str]]
    ) -> None:
        options = {"type": "ext:database", "url": f"sqlite:///{tmp_path}/later/data.db"}
        site = Site("ours", tmp_path, **options)
        site.browser.put("beaker.session.id", "0" * 32)
        site.do(lambda s: None)
        assert site.response.status == 200
        site.result = None
        site.do(lambda s: s.get("a"))
        assert site.response.status == 503
        assert [text for text in log() if "to take over" in text] == []

    @pytest.mark.parametrize("secret", [{}, {"secret": "s"}])
    def test_a_cookie_of_ours_is_counted_as_none_of_beakers(self, tmp_path: Path, secret: dict[str, str]) -> None:
        self.begin(tmp_path, **secret)
        site = Site("ours", tmp_path, **secret)
        site.set(a=1)
        old = site.browser.clone()
        site.do(lambda s: s.delete())
        site.browser = old
        assert [site.read() for _ in range(2)] == [{}, {}]
        assert site.middleware.legacy_counts == {}

    def test_in_redis(self, tmp_path: Path) -> None:
        options = {"type": "ext:redis", "url": services.url_of("redis")}
        site = self.switch(self.begin(tmp_path, **options), tmp_path, **options)
        assert site.read() == {"user": "ada", "cart": ("tea", 2)}

    def test_with_the_snapshot_and_creation_of_beakers(self, tmp_path: Path) -> None:
        before = self.begin(tmp_path)
        created = before.do(lambda s: s.created)
        site = self.switch(before, tmp_path)
        assert site.do(lambda s: abs(s.created - created) < 0.002)

    def test_a_change_in_the_request_that_takes_it_over_is_stored(self, tmp_path: Path) -> None:
        site = self.switch(self.begin(tmp_path), tmp_path, explicit_save=True)
        site.do(lambda s: (s.update(user="eve"), s.save()))
        assert site.read()["user"] == "eve"

    def test_another_domain_in_that_request_removes_nothing_that_was_never_set(self, tmp_path: Path) -> None:
        site = self.switch(self.begin(tmp_path), tmp_path)
        site.do(lambda s: (setattr(s, "domain", "example.com"), s.save()))
        assert "Domain=example.com" in site.set_cookie

    def test_it_is_over_with_a_logout_in_that_request(self, tmp_path: Path) -> None:
        before = self.begin(tmp_path)
        site = self.switch(before, tmp_path)
        old = before.browser.clone()
        site.do(lambda s: s.delete())
        site.browser._jar = old._jar
        assert site.read() == {}

    def test_not_if_it_was_told_not_to(self, tmp_path: Path) -> None:
        site = self.switch(self.begin(tmp_path), tmp_path, take_over=False)
        assert site.read() == {}

    def test_kept_for_a_way_back(self, tmp_path: Path) -> None:
        before = self.begin(tmp_path, secret="s")
        site = self.switch(before, tmp_path, secret="s", retire="keep", cookie=SessionCookie("id", secure=False))
        assert site.read()["user"] == "ada"
        assert set(site.browser.cookies) == {"beaker.session.id", "id"}
        assert before.read()["user"] == "ada"

    def test_what_cannot_be_stored_can_be_refused(self, tmp_path: Path) -> None:
        before = Site("beaker", tmp_path)
        before.set(user="ada", thing=Path("x"))
        site = self.switch(before, tmp_path, on_unknown="refuse")
        assert site.read() == {}
        assert site.middleware.legacy_counts == {("beaker", "unstorable"): 1}


class TestTheMiddleware:
    def test_it_is_the_same_session_under_both_names(self, ours: Site) -> None:
        ours.do(lambda s: get_session(ours.environ).update(a=1))
        assert ours.read() == {"a": 1}

    def test_inside_of_another_one_it_shows_that_ones_session(self) -> None:
        found = []

        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
            environ["beaker.session"]["a"] = 1
            found.append(dict(get_session(environ)))
            return _nothing(environ, start_response)

        store = MemoryStore()
        inner = BeakerMiddleware(app, {"session.secure": False}, store=store)
        outer = SessionMiddleware(inner, store, cookie=SessionCookie("beaker.session.id", secure=False))
        assert len(call(validator(outer), scheme="http").set_cookies) == 1
        assert found == [{"a": 1}]

    @pytest.mark.parametrize("library", ["beaker", "ours"])
    def test_inside_of_another_one_of_the_same_configuration_they_share_the_session(
        self, tmp_path: Path, library: str
    ) -> None:
        """It was an error: two middlewares with different stores."""

        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
            session = environ["beaker.session"]
            session["n"] = session.get("n", 0) + 1
            session.save()
            start_response("200 OK", list(TEXT))
            return [str(session["n"]).encode()]

        wrapped = BeakerMiddleware if library == "ours" else beaker.middleware.SessionMiddleware
        config = config_in(tmp_path)
        browser = Visitor(wrapped(wrapped(app, config), config), scheme="http")
        assert [browser.get().text for _ in range(3)] == ["1", "2", "3"]

    def test_an_outage_is_a_503(self, ours: Site) -> None:
        ours.store.fail_always()
        ours.do(lambda s: (s.update(a=1), s.save()))
        assert ours.response.status == 503

    def test_an_outage_while_a_session_with_an_id_is_stored_is_a_503(self, ours: Site) -> None:
        ours.store.fail("create")
        ours.do(lambda s: (s.id, s.update(a=1), s.save()))
        assert ours.response.status == 503 and ours.response.set_cookies == []

        def persist(s: Any) -> None:
            ours.store.fail("create")
            try:
                s.id, s.persist()
            except StoreError:
                ours.status = "500 Internal Server Error"

        ours.do(lambda s: (s.update(a=1), persist(s)))
        assert ours.response.status == 503

    def test_what_is_changed_while_the_body_is_sent_is_dropped_without_save(self, tmp_path: Path) -> None:
        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
            session = environ["beaker.session"]
            session["a"] = 1
            session.save()
            session.persist()
            session._is_saved = False
            start_response("200 OK", list(TEXT))
            yield b"head"
            session["b"] = 2
            yield b"end"

        store = MemoryStore()
        browser = Browser(validator(BeakerMiddleware(app, {"session.secure": False}, store=store, explicit_save=True)))
        browser.get()
        (record,) = store.scan()
        with open_session(store, record.id) as session:
            assert dict(session) == {"a": 1}

    def test_it_leaves_nothing_to_the_garbage_collector(self) -> None:
        def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
            session = environ["beaker.session"]
            session["a"] = 1
            session.save()
            session.get_by_id(session.id)
            return _nothing(environ, start_response)

        middleware = BeakerMiddleware(app, {"session.secure": True})
        assert garbage_of(lambda: serve(middleware, make_environ())) == 0


class TestPasteDeploy:
    def test_both_factories_take_the_sections_options_and_prefixed_ones_of_the_file(self, tmp_path: Path) -> None:
        global_conf = {"here": str(tmp_path), "key": "nobody's", "beaker.session.timeout": "60", **config_in(tmp_path)}
        for app in (
            session_filter_factory(global_conf, key="sid")(_nothing),
            session_filter_app_factory(_nothing, global_conf, key="sid"),
        ):
            assert app.cookie.name == "sid" and isinstance(app.store, FileStore)
            # What comes last in the dictionary counts, as Beaker has it.
            assert app._settings.expiry == OnSessionEnd(timedelta(hours=1))

    @pytest.mark.parametrize("library", ["beaker", "ours"])
    def test_of_several_prefixes_the_last_entry_counts(self, library: str) -> None:
        found = []
        for keys in (("session.key", "beaker.session.key"), ("beaker.session.key", "session.key")):
            config = dict(zip(keys, ("first", "last"), strict=True))
            if library == "ours":
                found.append(wrap(config).cookie.name)
            else:
                found.append(beaker.middleware.SessionMiddleware(_nothing, config).options["key"])
        assert found == ["last", "last"]

    @pytest.mark.parametrize(
        "uses",
        [
            "use = egg:wsgi-sessions#beaker",
            "paste.filter_app_factory = wsgi_sessions.integrations.beaker:session_filter_app_factory",
        ],
    )
    def test_an_ini_file_names_it_in_the_place_of_beakers(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uses: str
    ) -> None:
        browsers = []
        for use in ("use = egg:Beaker#beaker_session", uses):
            app = self.load(tmp_path, monkeypatch, use, "[DEFAULT]\nbeaker.session.key = sid\n")
            browser = Visitor(app, scheme="http")
            if browsers:
                browser._jar = browsers[0]._jar
            browsers.append(browser)
            assert browser.get().text == str(len(browsers))
            assert list(browser.cookies) == ["sid"]
        assert isinstance(browsers[1].app, BeakerMiddleware)

    def load(self, path: Path, monkeypatch: pytest.MonkeyPatch, options: str, before: str = "") -> Any:
        """Return the application of an ini file, whose only page counts visits."""
        module = types.ModuleType("counting")
        module.make = lambda global_conf: TestThePage().app  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "counting", module)
        (path / "app.ini").write_text(
            f"{before}[filter-app:main]\n{options}\ntype = file\ndata_dir = {path}/data\nnext = counting\n"
            "[app:counting]\nuse = call:counting:make\n"
        )
        return paste.deploy.loadapp(f"config:{path}/app.ini")

    def test_what_is_ours_is_read_out_of_its_text(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each text that was not empty counted as true, and no number was one."""
        lines = [
            "use = egg:wsgi-sessions#beaker",
            f"store = sqlite:///{tmp_path}/sessions.db",
            *("take_over = no", "explicit_save = FALSE", "list_internals = false", "cookie_name = id"),
            *("max_lifetime = 8 hours", "sweep_every = 3600", "max_payload = 100000"),
            *("retire = keep", "on_unknown = refuse", "environ_key = beaker.session"),
        ]
        app = self.load(tmp_path, monkeypatch, "\n".join(lines))
        assert isinstance(app.store, SQLiteStore) and app.store.path == f"{tmp_path}/sessions.db"
        assert (app._takeover, app._terms.explicit_save, app._terms.list_internals) == (None, False, False)
        assert (app._settings.max_lifetime, app._settings.max_payload) == (8 * 3_600_000, 100_000)
        assert app._sweeper is not None and app.cookie.name == "id"
        browser = Visitor(app, scheme="http")
        assert [browser.get().text for _ in range(2)] == ["1", "2"]
        app.close()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"take_over": "maybe"}, "take_over must be true or false"),
            ({"explicit_save": ""}, "explicit_save is empty"),
            ({"sweep_every": "soon"}, "sweep_every must be a number of seconds"),
            ({"max_payload": "64 KiB"}, "max_payload must be a number of bytes"),
            ({"store": "nosql://hidden"}, "store cannot be used: no store has URLs"),
            ({"store": 7}, "store must be a URL"),
            ({"cookie": "id"}, "cookie cannot be given in an ini file"),
            ({"convert": "hidden"}, "convert cannot be given in an ini file"),
            ({"error_app": "hidden"}, "error_app cannot"),
            ({"on_deleted": "hidden"}, "on_deleted cannot"),
            ({"wrap_app": "hidden"}, "wrap_app cannot"),
        ],
    )
    def test_a_text_that_makes_no_sense_is_an_error_at_the_start(self, options: dict[str, Any], message: str) -> None:
        for make in (session_filter_factory, functools.partial(session_filter_app_factory, _nothing)):
            with pytest.raises(ValueError, match=message) as caught:
                make({}, **options)
            assert "hidden" not in str(caught.value)

    def test_values_that_are_of_their_types_already_are_taken(self) -> None:
        store = MemoryStore()
        app = session_filter_app_factory(
            _nothing, {}, store=store, take_over=False, max_payload=5, max_lifetime=timedelta(hours=1)
        )
        assert app.store is store and app._settings.max_payload == 5


# docs/migrating.rst

PAGE = ROOT / "docs" / "migrating.rst"


@pytest.fixture(scope="module")
def section() -> Any:
    titled = {section.next_node(nodes.title).astext(): section for section in parsed(PAGE).findall(nodes.section)}
    if "Beaker" not in titled:
        pytest.skip("the page has no section on Beaker")
    return titled["Beaker"]


class TestThePage:
    def test_every_block_is_run_by_a_test_below(self, section: Any) -> None:
        texts = re.findall(r"self\.run\(\s*section,\s*\"(.*?)\",", Path(__file__).read_text())
        assert [code for code in blocks(section, "python") if not any(text in code for text in texts)] == []

    def app(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        """Work with either name of the session."""
        session = environ["beaker.session"] if "beaker.session" in environ else get_session(environ)
        session["n"] = session.get("n", 0) + 1
        if environ["PATH_INFO"] == "/logout":
            session.delete()
        else:
            session.save()
        start_response("200 OK", list(TEXT))
        return [str(session.get("n")).encode()]

    def run(self, section: Any, text: str, path: Path, **names: Any) -> dict[str, Any]:
        code = find(section, text).replace("/var/lib/app", str(path))
        return execute(code, {"app": self.app, **names})

    def options(self, section: Any, path: Path) -> dict[str, Any]:
        return self.run(section, "# Before", path)["session_options"]

    def visitor(self, config: dict[str, Any]) -> Visitor:
        """Return one who has visited Beaker twice."""
        visitor = Visitor(validator(beaker.middleware.SessionMiddleware(self.app, config)), scheme="http")
        assert [visitor.get().text for _ in range(2)] == ["1", "2"]
        return visitor

    def test_the_import_is_all_that_changes(self, section: Any, tmp_path: Path) -> None:
        visitor = self.visitor(self.options(section, tmp_path))
        application = self.run(section, "# Before", tmp_path)["application"]
        visitor.app = validator(application)
        assert [visitor.get().text for _ in range(2)] == ["3", "4"]
        assert application.legacy_counts == {("beaker", "taken-over"): 1}

    def test_of_a_cookie(self, section: Any, tmp_path: Path) -> None:
        names = self.run(section, "cookie_options", tmp_path)
        visitor = self.visitor(names["cookie_options"])
        visitor.app = validator(names["application"])
        assert [visitor.get().text for _ in range(2)] == ["3", "4"]

    def test_the_section_of_an_ini_file(self, section: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (text,) = blocks(section, "ini")
        module = types.ModuleType("counting")
        module.make = lambda global_conf: self.app  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "counting", module)
        (tmp_path / "app.ini").write_text(
            "[pipeline:main]\npipeline = sessions counting\n[app:counting]\nuse = call:counting:make\n"
            + text.replace("/var/lib/app", str(tmp_path))
        )
        visitor = self.visitor({"session.type": "file", "session.data_dir": str(tmp_path / "sessions")})
        visitor.app = paste.deploy.loadapp(f"config:{tmp_path}/app.ini")
        assert [visitor.get().text for _ in range(2)] == ["3", "4"]
        visitor.app.close()

    def test_what_the_page_says_of_a_section_is_what_it_takes(self, section: Any) -> None:
        ours = {name for name, parameter in inspect.signature(BeakerMiddleware).parameters.items() if parameter.kind}
        (text,) = [paragraph for paragraph in section.findall(nodes.paragraph) if "by code only" in paragraph.astext()]
        named = {literal.astext() for literal in text.findall(nodes.literal)}
        assert ours - {"app", "wrap_app", "config", "environ_key", "options"} <= named

    @pytest.mark.parametrize("with_secret", [True, False])
    def test_old_and_new_processes_run_side_by_side(self, section: Any, tmp_path: Path, with_secret: bool) -> None:
        """With the arguments that the page names for it; what it says of the other way is true, too."""
        options = self.options(section, tmp_path)
        if not with_secret:
            del options["session.secret"]
        visitor = self.visitor(options)
        old = visitor.app
        new = validator(BeakerMiddleware(self.app, options, retire="keep", cookie_name="id"))
        for app, text in ((new, "3"), (old, "3"), (new, "4"), (old, "4")):
            visitor.app = app
            assert visitor.get().text == text
        last = validator(BeakerMiddleware(self.app, options, cookie_name="id"))
        visitor.app = last
        assert [visitor.get().text for _ in range(2)] == ["5", "6"]

    def test_an_old_process_makes_a_stranger_of_who_has_moved(self, section: Any, tmp_path: Path) -> None:
        for number, with_secret in enumerate((True, False)):
            options = self.options(section, tmp_path / str(number))
            if not with_secret:
                del options["session.secret"]
            visitor = self.visitor(options)
            old, visitor.app = visitor.app, validator(BeakerMiddleware(self.app, options))
            assert visitor.get().text == "3"
            (token,) = visitor.cookies.values()
            visitor.app = old
            assert visitor.get().text == "1"
            names = str([path.name for path in (tmp_path / str(number)).rglob("*.cache")])
            assert (token.replace(".", "") in names) is not with_secret
            assert (visitor.cookies != {"beaker.session.id": token}) is with_secret

    def test_the_source_alone(self, section: Any, tmp_path: Path) -> None:
        options = self.options(section, tmp_path)
        visitor = self.visitor(options)
        names = self.run(section, "source_of(read_options", tmp_path, session_options=options)
        visitor.app, visitor.scheme = validator(names["application"]), "https"
        assert [visitor.get().text for _ in range(2)] == ["3", "4"]
        assert list(visitor.cookies) == ["id"]

    def test_back_and_forth(self, section: Any, tmp_path: Path) -> None:
        options = self.options(section, tmp_path)
        visitor = self.visitor(options)
        old = visitor.app
        visitor.app = validator(self.run(section, "keep", tmp_path, session_options=options)["application"])
        assert [visitor.get().text for _ in range(2)] == ["3", "4"]
        visitor.app = old
        assert visitor.get().text == "3"

    def test_the_end(self, section: Any, tmp_path: Path) -> None:
        options = self.options(section, tmp_path)
        visitor = self.visitor(options)
        visitor.app = validator(self.run(section, "# Before", tmp_path)["application"])
        visitor.get()
        shutil.rmtree(tmp_path / "sessions" / "container_file")
        visitor.app = validator(self.run(section, "take_over=False", tmp_path, session_options=options)["application"])
        assert visitor.get().text == "4"
