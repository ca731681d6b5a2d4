"""flask.session over the core: what Flask documents, what its developers expect, one session whatever wraps what."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple
from uuid import UUID

import flask
import pytest
from flask_site import CheckedClient, FlaskSite
from harness import RecordingStore, make_environ
from markupsafe import Markup
from werkzeug.exceptions import Forbidden
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import Client

from wsgi_sessions import (
    MemoryStore,
    OnInactivity,
    Session,
    SessionCookie,
    SessionMiddleware,
    SessionMissing,
    get_session,
)
from wsgi_sessions.integrations.flask import FlaskSession, WSGISessions, with_bucket
from wsgi_sessions.migration.flask import FlaskSource
from wsgi_sessions.testing import ReplacedClock

DAY = timedelta(days=1)


class Color(StrEnum):
    RED = "red"


class Number(IntEnum):
    ONE = 1


class Point(NamedTuple):
    x: int
    y: int


class Lazy:
    def __html__(self) -> str:
        return "<i>lazy</i>"


@dataclass
class Guest:
    pageviews: int = 0


@pytest.fixture
def site() -> FlaskSite:
    return FlaskSite()


@pytest.fixture
def client(site: FlaskSite) -> Client:
    return site.client()


class TestSession:
    def test_it_is_our_session_and_that_of_the_environ(self, site: FlaskSite, client: Client) -> None:
        def handler() -> str:
            flask.session["k"] = 1
            found = get_session(flask.request.environ)
            assert isinstance(flask.session._get_current_object(), FlaskSession)
            assert isinstance(found, Session)
            found["l"] = 2
            assert flask.session["l"] == 2
            assert flask.session.id == found.id
            return "same"

        assert site.visit(client, handler).text == "same"
        assert site.ask(client, dict) == {"k": 1, "l": 2}

    def test_a_page_that_does_not_touch_it_costs_nothing(self, site: FlaskSite, client: Client) -> None:
        site.set(client, k=1)
        site.store.forget()
        response = site.visit(client, lambda: "untouched")
        assert site.store.calls == []
        assert "Vary" not in response.headers
        assert "Set-Cookie" not in response.headers

    def test_neither_does_a_page_that_is_not_found(self, site: FlaskSite, client: Client) -> None:
        site.set(client, k=1)
        site.store.forget()
        response = client.get("/nowhere")
        assert response.status_code == 404
        assert site.store.calls == []
        assert "Vary" not in response.headers

    def test_the_cookie_has_our_safe_defaults(self, site: FlaskSite, client: Client) -> None:
        response = site.set(client, k=1)
        assert response.headers["Set-Cookie"].startswith("id=")
        attributes = set(response.headers["Set-Cookie"].split("; ")[1:])
        assert attributes == {"HttpOnly", "SameSite=Lax", "Secure", "Path=/"}
        assert response.headers["Vary"] == "Cookie"
        assert response.headers["Cache-Control"] == "no-store"

    def test_a_change_inside_a_value_is_stored(self, site: FlaskSite, client: Client) -> None:
        """flask#1983: nobody has to say modified."""
        site.set(client, cart={"items": ["tea"]})
        site.ask(client, lambda session: session["cart"]["items"].append("milk"))
        assert site.ask(client, lambda session: session["cart"]) == {"items": ["tea", "milk"]}

    @pytest.mark.parametrize(
        "value",
        [
            (1, "two"),
            b"bytes",
            Markup("<b>bold</b>"),
            UUID(int=5),
            datetime(2026, 1, 2, tzinfo=UTC),
            datetime(2026, 1, 2),
            Decimal("1.10"),
            {"a": [(1,), {"b": None}]},
        ],
    )
    def test_what_flasks_own_session_holds_comes_back_as_it_was(
        self, site: FlaskSite, client: Client, value: Any
    ) -> None:
        site.set(client, k=value)
        found = site.ask(client, lambda session: session["k"])
        assert found == value
        assert type(found) is type(value)

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (Color.RED, "red"),
            (Number.ONE, 1),
            (Point(1, 2), (1, 2)),
            (Guest(3), {"pageviews": 3}),
            (OrderedDict(a=1), {"a": 1}),
            (Lazy(), Markup("<i>lazy</i>")),
            ([Color.RED, {"k": Lazy()}], ["red", {"k": Markup("<i>lazy</i>")}]),
        ],
    )
    @pytest.mark.parametrize("streams", [False, True])
    def test_what_flask_converts_is_converted(
        self, site: FlaskSite, client: Client, value: Any, expected: Any, streams: bool
    ) -> None:
        def handler() -> Any:
            flask.session["k"] = value
            return flask.Response(iter(["a", "b"])) if streams else "set"

        assert site.visit(client, handler).status_code == 200
        found = site.ask(client, lambda session: session["k"])
        assert found == expected
        assert type(found) is type(expected)

    def test_it_can_be_copied_as_a_dict_can(self, site: FlaskSite, client: Client) -> None:
        site.set(client, k=1)
        assert site.ask(client, lambda session: session.copy()) == {"k": 1}

    def test_an_async_view_uses_it(self) -> None:
        pytest.importorskip("asgiref")
        site = FlaskSite()

        async def view() -> str:
            flask.session["n"] = flask.session.get("n", 0) + 1
            return str(flask.session["n"])

        site.app.add_url_rule("/async", view_func=view)
        client = site.client()
        assert [client.get("/async").text for _ in range(2)] == ["1", "2"]

    def test_new_says_whether_a_live_session_was_presented(self, site: FlaskSite, client: Client) -> None:
        assert site.ask(client, lambda session: session.new) is True
        site.set(client, k=1)
        assert site.ask(client, lambda session: session.new) is False

    def test_modified_tells_of_changes(self, site: FlaskSite, client: Client) -> None:
        def handler() -> str:
            assert flask.session.modified is False
            flask.session["k"] = 1
            assert flask.session.modified is True
            return "told"

        assert site.visit(client, handler).text == "told"

    def test_modified_can_be_set_as_flasks_documentation_says(self, site: FlaskSite, client: Client) -> None:
        site.set(client, k=[1])

        def handler() -> str:
            flask.session["k"].append(2)
            return "set"

        site.visit(client, handler)

        def mark() -> str:
            flask.session.modified = True
            assert flask.session.modified is True
            return "set"

        site.visit(client, mark)
        assert site.ask(client, lambda session: session["k"]) == [1, 2]

    def test_modified_false_forgets_the_changes(self, site: FlaskSite, client: Client) -> None:
        site.set(client, k=1)

        def handler() -> str:
            flask.session["k"] = 2
            flask.session["l"] = 3
            flask.session.modified = False
            assert flask.session.modified is False
            return "forgotten"

        assert site.visit(client, handler).text == "forgotten"
        assert site.ask(client, dict) == {"k": 1}

    def test_setting_accessed_adds_vary_and_reads_nothing(self, site: FlaskSite, client: Client) -> None:
        """Flask 3.1.3 sets it at every touch of the proxy."""
        site.set(client, k=1)
        site.store.forget()

        def handler() -> str:
            flask.session.accessed = True
            assert flask.session.accessed is True
            return "touched"

        assert site.visit(client, handler).headers["Vary"] == "Cookie"
        assert site.store.calls == []

    def test_a_touched_session_is_kept_alive_by_always_save(self) -> None:
        site = FlaskSite(always_save=True)
        client = site.client()
        with ReplacedClock() as clock:
            site.set(client, k=1)
            clock.advance(7 * DAY)

            def handler() -> str:
                flask.session.accessed = True
                return "touched"

            site.visit(client, handler)
            clock.advance(10 * DAY)
            assert site.ask(client, dict) == {"k": 1}

    def test_sid_is_the_public_id(self, site: FlaskSite, client: Client) -> None:
        site.set(client, k=1)
        assert site.ask(client, lambda session: session.sid) == site.records()[0].id

    def test_two_requests_at_once_lose_nothing(self) -> None:
        site = FlaskSite(MemoryStore())
        barrier = threading.Barrier(8)
        client = site.client()
        site.set(client, start=True)

        def handler() -> str:
            flask.session[flask.request.args["key"]] = True
            barrier.wait(10)
            return "set"

        site.handler = handler
        cookie = client.get_cookie("id")
        assert cookie is not None

        def request(key: str) -> None:
            other = site.client()
            other.set_cookie("id", cookie.value)
            other.get(f"/?key={key}")

        threads = [threading.Thread(target=request, args=(f"key{number}",)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len(site.ask(client, dict)) == 9


class TestPermanent:
    def test_a_session_ends_with_the_browser_by_default(self, site: FlaskSite, client: Client) -> None:
        assert "Max-Age" not in site.set(client, k=1).headers["Set-Cookie"]
        assert site.ask(client, lambda session: session.permanent) is False

    def test_a_permanent_one_outlives_it_for_the_configured_lifetime(self) -> None:
        site = FlaskSite(config={"PERMANENT_SESSION_LIFETIME": timedelta(hours=2)})
        client = site.client()

        def handler() -> str:
            flask.session["k"] = 1
            flask.session.permanent = True
            assert flask.session.permanent is True
            return "set"

        with ReplacedClock() as clock:
            assert "Max-Age=7200" in site.visit(client, handler).headers["Set-Cookie"]
            clock.advance(timedelta(minutes=119))
            assert site.ask(client, lambda session: session.permanent) is True
            clock.advance(timedelta(minutes=119))
            assert site.ask(client, dict) == {"k": 1}
            clock.advance(timedelta(minutes=121))
            assert site.ask(client, dict) == {}

    def test_it_can_be_taken_back(self, site: FlaskSite, client: Client) -> None:
        def handler() -> str:
            flask.session["k"] = 1
            flask.session.permanent = True
            flask.session.permanent = False
            return "set"

        assert "Max-Age" not in site.visit(client, handler).headers["Set-Cookie"]

    def test_where_sessions_are_permanent_one_can_be_made_the_browsers(self) -> None:
        site = FlaskSite(config={"SESSION_TYPE": "null", "PERMANENT_SESSION_LIFETIME": 3600})
        client = site.client()
        with ReplacedClock():
            assert "Max-Age=3600" in site.set(client, k=1).headers["Set-Cookie"]

        def handler() -> str:
            assert flask.session.permanent is True
            flask.session.permanent = False
            return "set"

        assert "Max-Age" not in site.visit(client, handler).headers["Set-Cookie"]

    def test_permanent_alone_stores_nothing(self, site: FlaskSite, client: Client) -> None:
        """As many applications set it before every request."""

        def handler() -> str:
            flask.session.permanent = True
            assert not flask.session
            return "set"

        assert "Set-Cookie" not in site.visit(client, handler).headers
        assert site.records() == []

    def test_without_refresh_only_changes_prolong_it(self) -> None:
        config = {"SESSION_REFRESH_EACH_REQUEST": False, "PERMANENT_SESSION_LIFETIME": timedelta(hours=2)}
        site = FlaskSite(config=config)
        client = site.client()

        def handler() -> str:
            flask.session.permanent = True
            flask.session["k"] = 1
            return "set"

        with ReplacedClock() as clock:
            site.visit(client, handler)
            clock.advance(timedelta(minutes=90))
            assert site.ask(client, dict) == {"k": 1}
            clock.advance(timedelta(minutes=40))
            assert site.ask(client, dict) == {}

    def test_without_refresh_reading_does_not_prolong_what_is_not_permanent_either(self) -> None:
        site = FlaskSite(config={"SESSION_REFRESH_EACH_REQUEST": False})
        client = site.client()
        with ReplacedClock() as clock:
            site.set(client, k=1)
            clock.advance(10 * DAY)
            assert site.ask(client, dict) == {"k": 1}
            clock.advance(5 * DAY)
            assert site.ask(client, dict) == {}

    def test_a_stream_may_say_again_that_it_is_permanent(self) -> None:
        site = FlaskSite()
        client = site.client()

        def make() -> str:
            flask.session["k"] = 1
            flask.session.permanent = True
            return "made"

        def handler() -> flask.Response:
            def stream() -> Iterator[str]:
                yield "first"
                flask.session.permanent = True
                yield "second"

            return flask.Response(flask.stream_with_context(stream()))

        site.visit(client, make)
        assert site.visit(client, handler).text == "firstsecond"

    def test_what_is_not_permanent_ends_after_the_lifetime_too(self) -> None:
        """Flask's own cookie is signed with its time."""
        site = FlaskSite(config={"PERMANENT_SESSION_LIFETIME": timedelta(hours=2)})
        client = site.client()
        with ReplacedClock() as clock:
            assert "Max-Age" not in site.set(client, k=1).headers["Set-Cookie"]
            clock.advance(timedelta(minutes=121))
            assert site.ask(client, dict) == {}

    def test_an_explicit_expiry_beats_the_configuration(self) -> None:
        from wsgi_sessions import OnInactivity

        site = FlaskSite(config={"PERMANENT_SESSION_LIFETIME": 60}, expiry=OnInactivity(timedelta(hours=1)))
        with ReplacedClock():
            assert "Max-Age=3600" in site.set(site.client(), k=1).headers["Set-Cookie"]


class TestClear:
    def test_one_whose_last_key_was_removed_stays(self, site: FlaskSite, client: Client) -> None:
        site.set(client, user="anna")
        response = site.visit(client, lambda: str(flask.session.pop("user")))
        assert "Set-Cookie" not in response.headers
        assert site.ask(client, dict) == {}
        assert len(site.records()) == 1

    def test_a_login_is_not_lost_to_a_tab_that_shows_the_last_flash(self, site: FlaskSite, client: Client) -> None:
        def flash() -> str:
            flask.flash("please log in")
            return "said"

        site.visit(client, flash)
        other = site.client()
        other.set_cookie("id", client.get_cookie("id").value)

        def login() -> str:
            assert flask.session["_flashes"]
            # While the password is being checked.
            assert site.visit(other, lambda: str(len(flask.get_flashed_messages()))).text == "1"
            flask.session["user"] = "anna"
            return "in"

        site.visit(client, login)
        assert site.ask(client, dict) == {"user": "anna"}

    def test_a_cleared_one_is_ended_whoever_owned_it(self, site: FlaskSite, client: Client) -> None:
        def login() -> str:
            flask.session.owner = "anna"
            flask.session["k"] = 1
            return "in"

        def logout() -> str:
            flask.session.clear()
            return "out"

        site.visit(client, login)
        assert "Max-Age=0" in site.visit(client, logout).headers["Set-Cookie"]
        assert site.records() == []

    def test_what_is_written_after_clear_goes_with_a_new_token(self, site: FlaskSite, client: Client) -> None:
        """The login of Flask's tutorial: a cookie that somebody planted is worth nothing afterwards."""
        site.set(client, planted=1)
        planted = client.get_cookie("id")
        assert planted is not None

        def login() -> str:
            flask.session.clear()
            flask.session["user"] = "anna"
            return "in"

        site.visit(client, login)
        thief = site.client()
        thief.set_cookie("id", planted.value)
        assert site.ask(thief, dict) == {}
        assert site.ask(client, dict) == {"user": "anna"}

    def test_clear_takes_back_permanent(self, site: FlaskSite, client: Client) -> None:
        def handler() -> str:
            flask.session["k"] = 1
            flask.session.permanent = True
            flask.session.clear()
            return str(flask.session.permanent)

        assert site.visit(client, handler).text == "False"

    def test_what_another_request_adds_meanwhile_stays(self, site: FlaskSite, client: Client) -> None:
        site.set(client, flashes=["shown"])

        def emptied() -> str:
            flask.session.pop("flashes")
            other = site.client()
            other.set_cookie("id", client.get_cookie("id").value)
            site.set(other, cart=["tea"])
            return "emptied"

        assert "Set-Cookie" not in site.visit(client, emptied).headers
        assert site.ask(client, dict) == {"cart": ["tea"]}

    def test_a_failed_request_ends_nothing(self, site: FlaskSite, client: Client) -> None:
        site.set(client, user="anna")

        def handler() -> tuple[str, int]:
            flask.session.clear()
            return "failed", 500

        site.visit(client, handler)
        assert site.ask(client, dict) == {"user": "anna"}

    def test_an_empty_session_that_is_only_read_is_left_alone(self, site: FlaskSite, client: Client) -> None:
        def make() -> str:
            flask.session.owner = "anna"
            flask.session["k"] = 1
            return "made"

        site.visit(client, make)
        site.ask(client, lambda session: session.pop("k"))
        site.store.forget()
        assert site.ask(client, lambda session: (len(session), session.owner)) == (0, "anna")
        assert site.store.methods == ["load"]


class TestResponses:
    def test_an_error_of_the_view_stores_nothing(self, site: FlaskSite, client: Client) -> None:
        site.set(client, k=1)

        def handler() -> str:
            flask.session["k"] = 2
            raise ZeroDivisionError

        site.app.config["PROPAGATE_EXCEPTIONS"] = False
        assert site.visit(client, handler).status_code == 500
        assert site.ask(client, dict) == {"k": 1}

    def test_abort_is_an_answer(self, site: FlaskSite, client: Client) -> None:
        def handler() -> str:
            flask.session["k"] = 2
            raise Forbidden

        assert site.visit(client, handler).status_code == 403
        assert site.ask(client, dict) == {"k": 2}

    def test_error_handlers_find_it(self, site: FlaskSite, client: Client) -> None:
        site.app.register_error_handler(404, lambda error: (f"sorry, {flask.session['name']}", 404))
        site.set(client, name="anna")
        assert client.get("/nowhere").text == "sorry, anna"

    def test_after_request_may_write(self, site: FlaskSite, client: Client) -> None:
        def hook(response: flask.Response) -> flask.Response:
            flask.session["seen"] = response.status_code
            return response

        site.app.after_request(hook)
        site.visit(client, lambda: "page")
        client.get("/nowhere")
        site.app.after_request_funcs.clear()
        assert site.ask(client, dict) == {"seen": 404}

    def test_before_request_and_teardown_see_the_same_one(self, site: FlaskSite, client: Client) -> None:
        seen: list[Any] = []

        def before() -> None:
            flask.session["k"] = 1

        site.app.before_request(before)
        site.app.teardown_request(lambda error: seen.append(flask.session["k"]))
        site.visit(client, lambda: "page")
        assert seen == [1]

    def test_teardown_may_read_what_nobody_else_has_read(self, site: FlaskSite, client: Client) -> None:
        seen: list[Any] = []
        site.app.teardown_request(lambda error: seen.append(flask.session.get("k")))
        site.visit(client, lambda: "page")
        assert seen == [None]

    def test_teardown_may_write_to_a_session_that_is_stored(self, site: FlaskSite, client: Client) -> None:
        site.app.teardown_request(lambda error: flask.session.update(torn="down") if "k" in flask.session else None)
        site.set(client, k=1)
        site.visit(client, lambda: str(flask.session["k"]))
        site.app.teardown_request_funcs.clear()
        assert site.ask(client, dict) == {"k": 1, "torn": "down"}

    def test_a_value_that_cannot_be_stored_is_an_error_of_the_application(
        self, site: FlaskSite, client: Client
    ) -> None:
        site.app.register_error_handler(500, lambda error: (f"ours: {error.original_exception}", 500))
        site.set(client, k=1)

        def handler() -> str:
            flask.session["bad"] = [object()]
            return "page"

        answer = site.visit(client, handler)
        assert answer.status_code == 500
        assert "session['bad'][0]" in answer.text
        assert site.ask(client, dict) == {"k": 1}

    def test_a_body_that_is_complete_goes_through_as_flask_made_it(self, site: FlaskSite) -> None:
        """Its session is committed by then, and not looked at again."""

        def handler() -> str:
            flask.session["k"] = 1
            return "page"

        site.handler = handler
        heads: list[Any] = []
        body: Any = site.app(make_environ(), lambda status, headers, _=None: heads.append(status))
        assert type(body).__name__ == "ClosingIterator"
        assert heads == ["200 OK"]
        body.close()

    def test_an_iterator_for_a_body_is_not_read_ahead(self, site: FlaskSite, client: Client) -> None:
        site.set(client, k=1)
        read: list[int] = []

        def handler() -> flask.Response:
            flask.session["k"] = 2

            def body() -> Iterator[str]:
                for number in range(3):
                    read.append(number)
                    yield str(number)

            response = flask.Response(body())
            response.call_on_close(lambda: read.append(-1))
            return response

        site.handler = handler
        response = client.get("/", buffered=False)
        assert read == [0]
        assert response.text == "012"
        response.close()
        assert site.ask(client, lambda session: session["k"]) == 2

    def test_a_stream_may_write_until_its_first_chunk(self, site: FlaskSite, client: Client) -> None:
        def handler() -> flask.Response:
            def stream() -> Iterator[str]:
                flask.session["k"] = 1
                yield "first"
                yield "second"

            return flask.Response(flask.stream_with_context(stream()))

        response = site.visit(client, handler)
        assert response.text == "firstsecond"
        assert "Set-Cookie" in response.headers
        assert site.ask(client, dict) == {"k": 1}

    def test_a_stream_of_a_live_session_may_write_until_its_end(self, site: FlaskSite, client: Client) -> None:
        """flask#1348: Flask's own loses this."""
        site.set(client, k=1)

        def handler() -> flask.Response:
            def stream() -> Iterator[str]:
                yield "first"
                flask.session["k"] = 2
                yield "second"

            return flask.Response(flask.stream_with_context(stream()))

        assert site.visit(client, handler).text == "firstsecond"
        assert site.ask(client, dict) == {"k": 2}

    def test_a_file_is_sent_as_flask_sends_it(self, site: FlaskSite, client: Client, tmp_path: Any) -> None:
        (tmp_path / "file").write_bytes(b"x" * 10)

        def handler() -> flask.Response:
            flask.session["k"] = 1
            return flask.send_file(tmp_path / "file", mimetype="text/plain")

        response = site.visit(client, handler)
        assert response.data == b"x" * 10
        assert "Set-Cookie" in response.headers
        response.close()

    @pytest.mark.parametrize("method", ["load", "create"])
    def test_a_store_that_fails_is_answered_503(self, site: FlaskSite, client: Client, method: str) -> None:
        site.store.fail_always()
        client.set_cookie("id", "A" * 22 + "." + "A" * 22)
        if method == "create":
            site.store.recover()
            site.store.fail("create")
        response = site.set(client, k=1)
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) > 0
        assert "Set-Cookie" not in response.headers

    def test_also_where_the_application_has_a_page_for_500(self, site: FlaskSite, client: Client) -> None:
        site.app.register_error_handler(500, lambda error: ("our fault", 500))
        site.store.fail_always()
        client.set_cookie("id", "A" * 22 + "." + "A" * 22)
        assert site.set(client, k=1).status_code == 503

    def test_also_when_a_cleared_session_cannot_be_ended(self, site: FlaskSite, client: Client) -> None:
        site.app.config["PROPAGATE_EXCEPTIONS"] = False
        site.set(client, k=1)
        site.store.fail("delete")
        response = site.visit(client, lambda: str(flask.session.clear()))
        assert response.status_code == 503
        assert "Max-Age=0" not in response.headers.get("Set-Cookie", "")


class TestFlashes:
    def test_markup_and_tuples_come_back_as_they_were(self, site: FlaskSite, client: Client) -> None:
        """flask-session#272."""

        def say() -> str:
            flask.flash(Markup("<b>saved</b>"), "notice")
            flask.flash(("three", 3))
            flask.flash("plain")
            return "said"

        def show() -> str:
            shown = flask.get_flashed_messages(with_categories=True)
            assert [type(message) for _, message in shown] == [Markup, tuple, str]
            assert shown == [("notice", Markup("<b>saved</b>")), ("message", ("three", 3)), ("message", "plain")]
            return flask.render_template_string("{{ shown[0][1] }}", shown=shown)

        site.visit(client, say)
        assert site.visit(client, show).text == "<b>saved</b>"
        assert site.ask(client, lambda session: flask.get_flashed_messages()) == []

    def test_a_page_without_messages_writes_nothing(self, site: FlaskSite, client: Client) -> None:
        site.set(client, k=1)
        site.store.forget()
        assert site.visit(client, lambda: str(flask.get_flashed_messages())).text == "[]"
        assert site.store.methods == ["load"]


class TestSessionTransaction:
    """Flask's test client opens and saves the session without any WSGI application around it."""

    def test_it_gives_a_new_client_a_session(self, site: FlaskSite) -> None:
        site.handler = lambda: flask.session["user"]
        client = site.app.test_client()
        with client.session_transaction() as session:
            session["user"] = "anna"
        assert client.get("/").text == "anna"

    def test_it_changes_the_one_that_there_is(self, site: FlaskSite) -> None:
        site.handler = lambda: str(flask.session.setdefault("n", 1))
        client = site.app.test_client()
        client.get("/")
        with client.session_transaction() as session:
            assert session["n"] == 1
            session["n"] = 5
            session.permanent = True
        assert client.get("/").text == "5"
        assert len(site.records()) == 1

    def test_it_ends_one_that_it_empties(self, site: FlaskSite) -> None:
        site.handler = lambda: str(flask.session.setdefault("n", 1))
        client = site.app.test_client()
        client.get("/")
        with client.session_transaction() as session:
            session.clear()
        assert client.get_cookie("id") is None
        assert site.records() == []

    def test_one_that_only_looks_leaves_no_cookie(self, site: FlaskSite) -> None:
        client = site.app.test_client()
        with client.session_transaction() as session:
            assert "k" not in session
        assert client.get_cookie("id") is None

    def test_a_request_context_without_a_request_has_a_session(self, site: FlaskSite) -> None:
        with site.app.test_request_context("/"):
            flask.session["k"] = 1
            response = site.app.process_response(flask.make_response("page"))
        assert "Set-Cookie" in response.headers
        assert [record.version for record in site.records()] == [1]


class TestUnderTheMiddleware:
    def app(self, *arguments: Any, **options: Any) -> flask.Flask:
        app = flask.Flask("inner")
        WSGISessions(app, *arguments, **options)

        @app.get("/")
        def count() -> str:
            flask.session["n"] = flask.session.get("n", 0) + 1
            return str(flask.session["n"])

        return app

    @pytest.mark.parametrize("has_its_own", [True, False])
    @pytest.mark.parametrize("wraps", ["the whole application", "app.wsgi_app"])
    def test_there_is_one_session_and_one_cookie(self, wraps: str, has_its_own: bool) -> None:
        store = RecordingStore()
        app: Any = self.app(store) if has_its_own else self.app()
        if wraps == "app.wsgi_app":
            app.wsgi_app = SessionMiddleware(app.wsgi_app, store)
        else:
            app = SessionMiddleware(app, store)
        client = CheckedClient(app)
        assert len(client.get("/").headers.getlist("Set-Cookie")) == 1
        assert client.get("/").text == "2"
        assert store.methods == ["create", "load", "save"]

    def test_the_outer_cookie_counts(self) -> None:
        """Whoever has begun the session sends it."""
        store = RecordingStore()
        app = SessionMiddleware(self.app(store), store, cookie=SessionCookie("id", path="/outer"))
        assert "Path=/outer" in CheckedClient(app).get("/").headers["Set-Cookie"]

    def test_a_cleared_session_is_ended_there_too(self) -> None:
        store = RecordingStore()
        app = self.app()
        app.add_url_rule("/out", view_func=lambda: str(flask.session.clear()))
        client = CheckedClient(SessionMiddleware(app, store))
        client.get("/")
        assert "Max-Age=0" in client.get("/out").headers["Set-Cookie"]
        assert store.records == []

    def test_a_session_of_another_name_stays_apart(self) -> None:
        inner, outer = RecordingStore(), RecordingStore()
        client = CheckedClient(SessionMiddleware(self.app(inner), outer, cookie=SessionCookie("outer")))
        assert [client.get("/").text for _ in range(2)] == ["1", "2"]
        assert len(inner.records) == 1
        assert outer.records == []

    def test_two_stores_of_one_name_are_an_error(self) -> None:
        client = Client(SessionMiddleware(self.app(RecordingStore()), RecordingStore()))
        with pytest.raises(ValueError, match="different stores"):
            client.get("/")

    @pytest.mark.parametrize(
        "use", [lambda session: session.get("k"), lambda session: "k" in session, lambda session: session.update(k=1)]
    )
    def test_without_any_store_whoever_uses_it_is_told_what_is_missing(self, use: Any) -> None:
        app = self.app()
        with app.test_request_context("/"), pytest.raises(SessionMissing, match=r"write WSGISessions\(app, store\)"):
            use(flask.session)

    def test_without_any_store_what_does_not_use_it_works(self) -> None:
        app = self.app()
        app.add_url_rule("/other", view_func=lambda: "other")
        with app.test_request_context("/"):
            assert flask.url_for("count") == "/"
        assert CheckedClient(app).get("/other").text == "other"

    def test_session_transaction_finds_the_middleware_that_was_put_around_by_hand(self) -> None:
        app = self.app()
        app.wsgi_app = SessionMiddleware(app.wsgi_app, RecordingStore())
        client = app.test_client()
        with client.session_transaction() as session:
            session["n"] = 41
        assert client.get("/").text == "42"

    def test_an_application_is_taken_once(self) -> None:
        app = self.app(RecordingStore())
        with pytest.raises(ValueError, match="given to WSGISessions before"):
            WSGISessions(app, RecordingStore())

    def test_flask_is_told_which_cookie_it_is(self) -> None:
        app = self.app(RecordingStore(), cookie=SessionCookie("mine", same_site="Strict"))
        interface = app.session_interface
        assert interface.get_cookie_name(app) == "mine"
        assert interface.get_cookie_secure(app) is interface.get_cookie_httponly(app) is True
        assert interface.get_cookie_samesite(app) == "Strict"
        assert (interface.get_cookie_path(app), interface.get_cookie_domain(app)) == ("/", None)
        assert interface.get_cookie_partitioned(app) is False

    def test_the_view_is_flasks_there_too(self) -> None:
        app = self.app()
        app.add_url_rule("/kind", view_func=lambda: f"{type(flask.session._get_current_object()).__name__}")
        client = CheckedClient(SessionMiddleware(app, MemoryStore()))
        assert client.get("/kind").text == "FlaskSession"

    def test_two_applications_can_have_one_extension_object(self) -> None:
        sessions = WSGISessions()
        stores = [RecordingStore(), RecordingStore()]
        for store in stores:
            app = flask.Flask("one of two")
            sessions.init_app(app, store)
            app.add_url_rule("/", view_func=lambda: str(flask.session.setdefault("n", 1)))
            CheckedClient(app).get("/")
        assert [len(store.records) for store in stores] == [1, 1]


class TestWithoutAStore:
    """What only a store of its own could heed is refused, not ignored."""

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"legacy": [FlaskSource("of the old application")]}, "legacy without a store"),
            ({"retire": "keep"}, "retire without a store"),
            ({"always_save": True, "max_payload": 5}, "always_save, max_payload without a store"),
            ({"cookie": SessionCookie("sid")}, "cookie without a store"),
            ({"expiry": OnInactivity(DAY)}, "expiry without a store"),
            ({"signed": True}, "signed without a store"),
        ],
    )
    @pytest.mark.parametrize("is_late", [False, True])
    def test_an_argument_that_would_have_no_effect_is_refused(
        self, options: dict[str, Any], message: str, is_late: bool
    ) -> None:
        app = flask.Flask("site")
        with pytest.raises(TypeError, match=message) as caught:
            WSGISessions(**options).init_app(app) if is_late else WSGISessions(app, **options)
        assert "SessionMiddleware" in str(caught.value)

    def test_what_says_nothing_is_no_argument(self) -> None:
        app = flask.Flask("site")
        WSGISessions(app, legacy=[], retire="delete", always_save=False, signed=False)
        app.wsgi_app = SessionMiddleware(app.wsgi_app, MemoryStore())  # type: ignore[method-assign]
        app.add_url_rule("/", view_func=lambda: str(flask.session.get("n")))
        assert CheckedClient(app).get("/").text == "None"

    def test_the_configuration_may_name_the_store(self) -> None:
        app = flask.Flask("site")
        app.config["WSGI_SESSIONS_STORE"] = MemoryStore()
        WSGISessions(app, legacy=[FlaskSource("of the old application")], retire="keep")
        assert app.wsgi_app.legacy_counts == {}  # type: ignore[attr-defined]

    def test_there_is_nothing_to_count(self) -> None:
        assert WSGISessions(flask.Flask("site")).legacy_counts == {}
        assert WSGISessions().legacy_counts == {}


class TestLegacyCounts:
    def test_they_are_there_behind_proxy_fix_and_of_all_applications(self) -> None:
        sessions = WSGISessions(store=MemoryStore(), legacy=[FlaskSource("of the old application")])
        assert sessions.legacy_counts == {}
        for name in ("site", "shop"):
            app = flask.Flask(name)
            app.add_url_rule("/", view_func=lambda: str(flask.session.get("n")))
            sessions.init_app(app)
            app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
            client = CheckedClient(app)
            client.set_cookie("session", "forged")
            assert client.get("/").text == "None"
        assert sessions.legacy_counts == {("flask", "bad-signature"): 2}


class TestWithBucket:
    def site(self) -> FlaskSite:
        site = FlaskSite()

        @site.app.get("/guest/<name>")
        @with_bucket(Guest)
        def guest(name: str, guest: Guest) -> str:
            guest.pageviews += 1
            if name == "forbidden":
                flask.abort(403)
            if name == "broken":
                raise ZeroDivisionError
            return f"{name} {guest.pageviews}"

        site.app.config["PROPAGATE_EXCEPTIONS"] = False
        return site

    def test_a_view_gets_it_and_its_changes_are_stored(self) -> None:
        site = self.site()
        client = site.client()
        assert [client.get("/guest/anna").text for _ in range(2)] == ["anna 1", "anna 2"]
        assert site.ask(client, dict) == {"Guest": {"pageviews": 2}}

    def test_abort_is_an_answer_and_an_error_is_none(self) -> None:
        site = self.site()
        client = site.client()
        assert client.get("/guest/forbidden").status_code == 403
        assert client.get("/guest/broken").status_code == 500
        assert client.get("/guest/anna").text == "anna 2"
