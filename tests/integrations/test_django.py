"""Django's sessions in our stores: what Django's own back ends promise, and what only these do."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import django_site
import flask
import harness
import pytest
from backends import empty_store
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import authenticate, get_user_model, login, logout, update_session_auth_hash
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connection
from django.http import HttpResponse, StreamingHttpResponse
from django.middleware.csrf import get_token
from django.test import AsyncClient, Client, override_settings
from django.utils.safestring import mark_safe
from django_site import ask, put, read, visit
from harness import RecordingStore, garbage_of
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool
from test_readme import ROOT, blocks, execute, find, parsed
from werkzeug.test import Client as WerkzeugClient

from wsgi_sessions import (
    MemoryStore,
    Record,
    SerializationError,
    SessionCookie,
    SessionMiddleware,
    SessionStore,
    SessionToken,
    SessionTooLarge,
    SQLiteStore,
    StoreError,
    clock,
    get_session,
    open_session,
)
from wsgi_sessions.integrations import django as engine
from wsgi_sessions.integrations._django_store import GivenEnd
from wsgi_sessions.legacy import LegacyError, LegacySession, Reason
from wsgi_sessions.migration.base import Source
from wsgi_sessions.migration.django import DjangoCookieSource, DjangoSource
from wsgi_sessions.operations import revoke
from wsgi_sessions.record import open_envelope
from wsgi_sessions.testing import ReplacedClock

Session = engine.SessionStore
NOW = 1_900_000_000_000
TWO_WEEKS = 14 * 24 * 60 * 60
DJANGOS_OWN = "django.contrib.sessions.middleware.SessionMiddleware"


@pytest.fixture(scope="module")
def database() -> Iterator[None]:
    """Users live in Django's database, sessions do not: there is not even a table for them in use."""
    call_command("migrate", verbosity=0)
    yield
    connection.close()


@pytest.fixture
def anna(database: None) -> Iterator[User]:
    user = get_user_model().objects.create_user("anna", password="correct")
    yield user
    user.delete()


@pytest.fixture
def store() -> Iterator[RecordingStore]:
    store = RecordingStore()
    with override_settings(WSGI_SESSIONS_STORE=store):
        yield store


@pytest.fixture(params=["memory", "file", "sqlite", "redis", "postgresql"])
def any_store(request: pytest.FixtureRequest) -> Iterator[SessionStore]:
    with empty_store(request.param) as store, override_settings(WSGI_SESSIONS_STORE=store):
        yield store


def stored(**values: Any) -> Any:
    """Return a session that is stored with these values."""
    session = Session()
    session.update(values)
    session.save()
    return session


def again(session: Any) -> Any:
    """Return the session as another request would have it."""
    return Session(session.session_key)


def contents(session: Any) -> dict[str, Any]:
    """Return what is stored of a session."""
    return dict(again(session).items())


def live(store: SessionStore) -> list[Record]:
    return list(store.scan())


@pytest.mark.usefixtures("store")
class TestDictionary:
    """What SessionBase does over ours."""

    def test_a_new_one_was_neither_used_nor_changed(self) -> None:
        session = Session()
        assert not session.modified
        assert not session.accessed
        assert session.is_empty()
        assert session.session_key is None
        assert session.public_id is None

    def test_reading_counts_as_access_only(self) -> None:
        session = again(stored(cat="dog"))
        assert session.get("cat") == "dog"
        assert "cat" in session
        assert session.has_key("cat")
        assert list(session.keys()) == ["cat"]
        assert list(session.values()) == ["dog"]
        assert list(session.items()) == [("cat", "dog")]
        assert session.accessed
        assert not session.modified

    @pytest.mark.parametrize(
        ("change", "left"),
        [
            (lambda session: session.update({"k": 2}), {"k": 2, "l": 1}),
            (lambda session: session.__setitem__("m", 3), {"k": 1, "l": 1, "m": 3}),
            (lambda session: session.pop("k"), {"l": 1}),
            (lambda session: session.__delitem__("l"), {"k": 1}),
            (lambda session: session.setdefault("n", 4), {"k": 1, "l": 1, "n": 4}),
            (lambda session: session.clear(), {}),
            (lambda session: session.set_test_cookie(), {"k": 1, "l": 1, "testcookie": "worked"}),
        ],
    )
    def test_a_change_counts_and_is_stored(self, change: Any, left: dict[str, Any]) -> None:
        session = again(stored(k=1, l=1))
        change(session)
        assert session.modified
        assert session.accessed
        session.save()
        assert contents(session) == left

    def test_what_changes_nothing_does_not_count(self) -> None:
        session = again(stored(k=1))
        assert session.pop("none", "default") == "default"
        assert session.setdefault("k", 2) == 1
        assert not session.modified

    def test_values_keep_their_types(self) -> None:
        values = {
            "when": datetime(2026, 1, 2, tzinfo=UTC),
            "price": Decimal("1.10"),
            "pair": (1, 2),
            "set": {1, 2},
            "nested": {1: {"two": (3,)}},
            "none": None,
        }
        assert contents(stored(**values)) == values

    def test_a_change_inside_a_value_is_stored_with_the_next_save(self) -> None:
        session = again(stored(cart=["apple"], l=1))
        session["cart"].append("pear")
        session.modified = True
        session.save()
        assert contents(session) == {"cart": ["apple", "pear"], "l": 1}
        session["cart"].append("plum")
        session.save()
        assert contents(session)["cart"] == ["apple", "pear", "plum"]

    def test_a_key_that_is_no_text_is_refused_by_name(self) -> None:
        session = Session()
        with pytest.raises(SerializationError, match="keys of a session are str, not int"):
            session[42] = "answer"
        assert session.session_key is None

    def test_a_value_that_cannot_be_stored_is_refused_and_leaves_what_was_stored(self) -> None:
        session = stored(k=1)
        with pytest.raises(SerializationError, match=re.escape("session['bad']")):
            session["bad"] = object()
        session["inside"] = [object()]
        with pytest.raises(SerializationError, match=re.escape("session['inside'][0]")):
            session.save()
        assert contents(session) == {"k": 1}

    def test_a_text_that_is_marked_safe_would_come_back_unmarked(self) -> None:
        session = Session()
        safe = mark_safe("text")
        with pytest.raises(SerializationError, match=re.escape("session['safe']")):
            session["safe"] = safe
        session["safe"] = str.__str__(safe)
        session.save()
        assert contents(session) == {"safe": "text"}

    def test_requests_leave_nothing_for_the_garbage_collector(self) -> None:
        def use() -> None:
            session = again(stored(k=[1]))
            session["k"].append(2)
            session.save()
            session.cycle_key()
            session.flush()

        assert garbage_of(use) == 0

    def test_the_key_cannot_be_set(self) -> None:
        with pytest.raises(AttributeError):
            Session().session_key = "other"

    def test_what_django_signs_it_can_read(self) -> None:
        """Not used to store anything, but part of what a session has."""
        session = Session()
        assert session.decode(session.encode({"k": "v"})) == {"k": "v"}


class TestEveryStore:
    """What Django asks of every back end."""

    def test_create_stores_an_empty_session_at_once(self, any_store: SessionStore) -> None:
        session = Session()
        session.create()
        assert session.modified
        assert session.exists(session.session_key)
        assert again(session).load() == {}
        assert again(session).session_key == session.session_key

    def test_the_key_is_a_token_of_which_the_store_knows_a_hash(self, any_store: SessionStore) -> None:
        session = stored(k=1)
        token = SessionToken.parse(session.session_key)
        assert token is not None
        assert len(session.session_key) == 45
        assert session.public_id == token.id
        (record,) = live(any_store)
        assert record.id == token.id
        assert token.secret.encode() not in record.payload

    def test_a_save_without_a_key_creates(self, any_store: SessionStore) -> None:
        session = Session()
        session["k"] = 1
        session.save()
        assert contents(session) == {"k": 1}

    def test_a_save_of_what_is_stored_updates(self, any_store: SessionStore) -> None:
        session = stored(k=1)
        session["k"] = 2
        session.save()
        assert contents(session) == {"k": 2}
        assert len(live(any_store)) == 1

    def test_a_forced_creation_of_what_is_there_is_refused(self, any_store: SessionStore) -> None:
        session = stored(k=1)
        with pytest.raises(CreateError):
            again(session).save(must_create=True)
        assert contents(session) == {"k": 1}

    def test_a_forced_creation_gets_a_key_of_its_own(self, any_store: SessionStore) -> None:
        session = Session()
        session["k"] = 1
        session.save(must_create=True)
        assert contents(session) == {"k": 1}
        chosen = SessionToken.generate().value
        other = Session(chosen)
        other.save(must_create=True)
        assert other.session_key != chosen
        assert other.exists(other.session_key)
        assert not other.exists(chosen)

    @pytest.mark.parametrize("end", ["delete", "flush"])
    def test_what_was_ended_elsewhere_stays_ended(self, any_store: SessionStore, end: str) -> None:
        session = stored(k=1)
        getattr(again(session), end)()
        session["k"] = 2
        with pytest.raises(UpdateError):
            session.save()
        with pytest.raises(UpdateError):
            session.save()
        assert session.load() == {}
        assert live(any_store) == []

    def test_a_save_that_changes_nothing_tells_of_the_end_too(self, any_store: SessionStore) -> None:
        with ReplacedClock(NOW) as time:
            session = stored(k=1)
            again(session).delete()
            time.advance(timedelta(seconds=1))
            with pytest.raises(UpdateError):
                session.save()

    @pytest.mark.parametrize(
        "key",
        [
            *("", "1", "a" * 32, "../../etc/passwd", "x" * 5000, "é" * 45),
            pytest.param(SessionToken.generate().value, id="a token"),
        ],
    )
    def test_a_key_that_opens_nothing_is_forgotten(self, any_store: SessionStore, key: str) -> None:
        session = Session(key)
        assert not session.exists(key)
        session.delete(key)
        assert session.load() == {}
        assert session.session_key is None
        session["k"] = 1
        session.save()
        assert session.session_key not in (None, key)
        assert contents(session) == {"k": 1}

    def test_the_id_with_another_secret_opens_and_ends_nothing(self, any_store: SessionStore) -> None:
        session = stored(k=1)
        forged = SessionToken.generate(session.public_id).value
        thief = Session(forged)
        assert not thief.exists(forged)
        thief.delete()
        thief.delete(forged)
        Session(forged).flush()
        assert thief.load() == {}
        assert contents(session) == {"k": 1}

    def test_delete_ends_it_by_its_own_or_a_given_key(self, any_store: SessionStore) -> None:
        session, other = stored(k=1), stored(k=2)
        session.delete(other.session_key)
        assert not session.exists(other.session_key)
        session.delete(session.session_key)
        assert not session.exists(session.session_key)
        session.delete()
        Session().delete()
        with pytest.raises(UpdateError):
            session.save()

    def test_flush_ends_it_and_starts_over(self, any_store: SessionStore) -> None:
        session = again(stored(k=1))
        key = session.session_key
        session.flush()
        assert not session.exists(key)
        assert session.session_key is None
        assert session.is_empty()
        assert session.modified
        session["l"] = 2
        session.save()
        assert contents(session) == {"l": 2}
        assert len(live(any_store)) == 1

    @pytest.mark.parametrize("is_loaded", [True, False])
    def test_cycle_key_moves_the_data_to_a_new_key(self, any_store: SessionStore, is_loaded: bool) -> None:
        session = again(stored(a="b", c="d"))
        if is_loaded:
            session["a"] = "changed"
        before, id = session.session_key, session.public_id
        session.cycle_key()
        assert session.session_key != before
        assert session.public_id == id
        assert session.modified
        assert not session.exists(before)
        assert Session(before).load() == {}
        assert contents(session) == {"a": "changed" if is_loaded else "b", "c": "d"}
        assert len(live(any_store)) == 1

    def test_cycle_key_of_a_new_session_creates_it(self, any_store: SessionStore) -> None:
        session = Session()
        session["k"] = 1
        session.cycle_key()
        assert contents(session) == {"k": 1}

    def test_cycle_key_after_clear_keeps_only_what_came_since(self, any_store: SessionStore) -> None:
        before = stored(k=1)
        session = again(before)
        session.clear()
        session["l"] = 2
        session.cycle_key()
        assert contents(session) == {"l": 2}
        assert not session.exists(before.session_key)

    def test_cycle_key_brings_nothing_back_that_was_ended_elsewhere(self, any_store: SessionStore) -> None:
        session = stored(_auth_user_id="7", k=1)
        again(session).delete()
        session.cycle_key()
        assert contents(session) == {}
        assert [record.owner for record in live(any_store)] == [None]

    def test_parallel_saves_of_different_keys_lose_none(self, any_store: SessionStore) -> None:
        session = stored(first=0, second=0, old=1, list=[1])
        one, other = again(session), again(session)
        one["first"] = 1
        other["second"] = 2
        del other["old"]
        one.save()
        other.save()
        assert contents(session) == {"first": 1, "second": 2, "list": [1]}
        assert dict(other.items()) == {"first": 1, "second": 2, "list": [1]}
        other["list"].append(2)
        other.save()
        one["third"] = 3
        one.save()
        assert contents(session) == {"first": 1, "second": 2, "list": [1, 2], "third": 3}

    def test_clear_without_a_read_drops_everything(self, any_store: SessionStore) -> None:
        session = stored(k=1, l=1)
        cleared = again(session)
        cleared.clear()
        cleared["k"] = 1
        session["parallel"] = 1
        session.save()
        cleared.save()
        assert contents(session) == {"k": 1}

    def test_clear_drops_what_another_request_is_adding_meanwhile_once(self, any_store: SessionStore) -> None:
        session = stored(k=1)
        cleared = again(session)
        assert cleared["k"] == 1
        cleared.clear()
        cleared["l"] = 1
        session["parallel"] = 1
        session.save()
        cleared.save()
        assert contents(session) == {"l": 1}
        other = again(session)
        other["later"] = 1
        other.save()
        cleared["m"] = 1
        cleared.save()
        assert contents(session) == {"l": 1, "m": 1, "later": 1}

    def test_a_look_at_what_is_stored_now_brings_no_old_value_back(self, any_store: SessionStore) -> None:
        session = stored(k=1)
        other = again(session)
        other["k"] = 2
        other.save()
        assert session.load() == {"k": 2}
        session["l"] = 1
        session.save()
        assert contents(session) == {"k": 2, "l": 1}

    def test_what_begins_after_flush_is_kept_by_cycle_key(self, any_store: SessionStore) -> None:
        session = again(stored(k=1))
        session.flush()
        session["l"] = 1
        session.cycle_key()
        assert contents(session) == {"l": 1}

    def test_clear_of_what_is_not_there_creates(self, any_store: SessionStore) -> None:
        session = Session(SessionToken.generate().value)
        session.clear()
        session["k"] = 1
        session.save()
        assert contents(session) == {"k": 1}

    def test_an_expired_session_is_none(self, any_store: SessionStore) -> None:
        session = Session()
        session["k"] = 1
        session.set_expiry(-timedelta(seconds=10))
        session.save()
        assert again(session).load() == {}
        assert not session.exists(session.session_key)

    def test_it_belongs_to_the_user_who_is_logged_in(self, any_store: SessionStore) -> None:
        """So that all sessions of a user can be ended."""
        session, other = stored(_auth_user_id="7"), stored(_auth_user_id="8")
        assert revoke(any_store, "7") == 1
        assert not session.exists(session.session_key)
        other.pop("_auth_user_id")
        other.save()
        assert revoke(any_store, "8") == 0
        assert other.exists(other.session_key)

    def test_clearsessions_removes_what_has_expired(self, any_store: SessionStore) -> None:
        session, expired = stored(k=1), Session()
        expired.set_expiry(-3600)
        expired.save()
        call_command("clearsessions")
        assert [record.id for record in live(any_store)] == [session.public_id]
        assert any_store.delete_expired() == []


class TestExpiry:
    @pytest.mark.parametrize("use_tz", [True, False])
    @pytest.mark.parametrize(
        ("expiry", "seconds"),
        [
            (None, TWO_WEEKS),
            (0, TWO_WEEKS),
            (10, 10),
            (timedelta(hours=1), 3600),
            (datetime.fromtimestamp(NOW / 1000 + 60, UTC), 60),
        ],
    )
    def test_the_record_ends_when_django_says(
        self, store: RecordingStore, expiry: Any, seconds: int, use_tz: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = datetime.fromtimestamp(NOW / 1000, UTC) if use_tz else datetime.fromtimestamp(NOW / 1000)
        monkeypatch.setattr("django.utils.timezone.now", lambda: now)
        if isinstance(expiry, datetime) and not use_tz:
            expiry = datetime.fromtimestamp(expiry.timestamp())
        with override_settings(USE_TZ=use_tz), ReplacedClock(NOW):
            session = Session()
            session.set_expiry(expiry)
            session.save()
            assert session.get_expiry_age() == seconds
            assert [record.expires for record in store.records] == [NOW + seconds * 1000]
            assert again(session).get_expiry_age() == seconds

    def test_the_setting_holds_for_the_rest(self, store: RecordingStore) -> None:
        with override_settings(SESSION_COOKIE_AGE=60), ReplacedClock(NOW):
            session = stored(k=1)
            session.set_expiry(10)
            session.set_expiry(None)
            session.save()
            assert [record.expires for record in store.records] == [NOW + 60_000]

    def test_the_end_is_kept_with_the_record_and_not_as_a_policy_of_the_session(self, store: RecordingStore) -> None:
        """Another application that shares the session moves its end by its own rules."""
        session = stored(k=1)
        assert open_envelope(store.records[0].payload, session.public_id).expiry is None
        assert GivenEnd(NOW).dump() == []

    def test_it_ends_at_that_moment(self, store: RecordingStore) -> None:
        with ReplacedClock(NOW) as time:
            session = Session()
            session.set_expiry(10)
            session.save()
            time.advance(timedelta(milliseconds=9_999))
            assert session.exists(session.session_key)
            time.advance(timedelta(milliseconds=1))
            assert not session.exists(session.session_key)

    @pytest.mark.parametrize("default", [True, False])
    def test_expiry_at_browser_close(self, store: RecordingStore, default: bool) -> None:
        with override_settings(SESSION_EXPIRE_AT_BROWSER_CLOSE=default):
            session = stored(k=1)
            assert session.get_expire_at_browser_close() is default
            session.set_expiry(0)
            assert session.get_expire_at_browser_close()
            session.set_expiry(10)
            assert not session.get_expire_at_browser_close()

    def test_a_read_writes_nothing(self, store: RecordingStore) -> None:
        client = Client()
        put(client, k=1)
        store.forget()
        with ReplacedClock(clock.now() + 86_400_000 * 13):
            assert "Set-Cookie" not in visit(client, lambda request: request.session["k"]).headers
        assert store.methods == ["load"]

    def test_a_save_without_changes_moves_the_end_only(self, store: RecordingStore) -> None:
        with ReplacedClock(NOW) as time:
            session = again(stored(k=1, list=[1]))
            store.forget()
            time.advance(timedelta(seconds=5))
            session["k"] = 1
            session.save()
            assert store.methods == ["load", "touch"]
            assert [record.expires for record in store.records] == [NOW + 5000 + TWO_WEEKS * 1000]

    def test_save_every_request(self, store: RecordingStore) -> None:
        client = Client()
        with override_settings(SESSION_SAVE_EVERY_REQUEST=True), ReplacedClock(NOW) as time:
            put(client, k=1)
            time.advance(timedelta(days=1))
            store.forget()
            response = visit(client)
            assert response.cookies["sessionid"].value == client.cookies["sessionid"].value
            assert store.methods == ["load", "touch"]


@pytest.mark.usefixtures("store")
class TestMiddleware:
    def test_a_page_that_does_not_touch_the_session_costs_nothing(self, store: RecordingStore) -> None:
        client = Client()
        put(client, k=1)
        store.forget()
        response = visit(client)
        assert store.calls == []
        assert "Vary" not in response.headers
        assert not response.cookies

    def test_an_empty_session_is_not_stored(self, store: RecordingStore) -> None:
        client = Client()
        response = visit(client, lambda request: request.session.get("k"))
        assert store.calls == []
        assert response.headers["Vary"] == "Cookie"
        assert not response.cookies

    def test_the_cookie_is_as_the_settings_say(self) -> None:
        with override_settings(
            SESSION_COOKIE_NAME="__Host-id", SESSION_COOKIE_SECURE=True, SESSION_COOKIE_SAMESITE="Strict"
        ):
            cookie = put(Client(), k=1).cookies["__Host-id"]
        assert SessionToken.parse(cookie.value) is not None
        assert (cookie["secure"], cookie["httponly"], cookie["samesite"]) == (True, True, "Strict")
        assert cookie["max-age"] == TWO_WEEKS

    def test_a_session_of_the_browser_has_a_cookie_without_max_age(self) -> None:
        response = visit(Client(), lambda request: request.session.set_expiry(0))
        assert response.cookies["sessionid"]["max-age"] == ""

    def test_the_cookie_of_a_session_that_was_ended_goes(self) -> None:
        client = Client()
        put(client, k=1)
        assert visit(client, lambda request: request.session.flush()).cookies["sessionid"].value == ""

    def test_a_server_error_stores_nothing(self) -> None:
        client = Client()
        put(client, k=1)

        def fail(request: Any) -> HttpResponse:
            request.session["k"] = 2
            return HttpResponse(status=500)

        visit(client, fail)
        assert read(client) == {"k": 1}

    @pytest.mark.parametrize("middleware", [DJANGOS_OWN, settings.MIDDLEWARE[0]])
    def test_a_change_to_what_was_ended_meanwhile_is_a_bad_request(self, middleware: str) -> None:
        client = Client()

        def end_and_change(request: Any) -> None:
            request.session["k"] = 2
            Session(request.session.session_key).flush()

        with override_settings(MIDDLEWARE=[middleware, *settings.MIDDLEWARE[1:]]):
            put(client, k=1)
            assert visit(client, end_and_change).status_code == 400

    def test_django_s_own_middleware_works_as_well(self, store: RecordingStore) -> None:
        client = Client()
        with override_settings(MIDDLEWARE=[DJANGOS_OWN, *settings.MIDDLEWARE[1:]]):
            put(client, k=1)
            assert read(client) == {"k": 1}

    def test_another_engine_is_left_alone(self, store: RecordingStore) -> None:
        client = Client()
        with override_settings(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies"):
            put(client, k=1)
            assert read(client) == {"k": 1}
        assert store.calls == []

    def test_the_test_client_sees_and_changes_the_session(self) -> None:
        client = Client()
        session = client.session
        session["k"] = 1
        session.save()
        assert read(client) == {"k": 1}
        put(client, l=2)
        assert dict(client.session.items()) == {"k": 1, "l": 2}

    def test_parallel_requests_lose_no_key(self, any_store: SessionStore) -> None:
        client, together = Client(), threading.Barrier(6)
        put(client, begun=True)
        cookie = client.cookies["sessionid"].value

        def set_key(key: str) -> None:
            def handler(request: Any) -> None:
                assert request.session["begun"]
                together.wait(10)
                request.session[key] = 1

            own = Client()
            own.cookies["sessionid"] = cookie
            visit(own, handler)

        threads = [threading.Thread(target=set_key, args=(f"key{number}",)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert read(client) == {"begun": True, **{f"key{number}": 1 for number in range(6)}}


class TestSuperseded:
    """A request that was sent with the cookie before a login, and is answered after it."""

    @pytest.fixture
    def straggler(self, store: RecordingStore) -> Client:
        browser, straggler = Client(), Client()
        put(browser, k=1)
        straggler.cookies["sessionid"] = browser.cookies["sessionid"].value
        visit(browser, lambda request: request.session.cycle_key())
        store.forget()
        return straggler

    @pytest.mark.parametrize("every_request", [True, False])
    @pytest.mark.parametrize(
        "handler",
        [
            lambda request: request.session.get("k"),
            lambda request: request.session.update({"l": 2}),
            lambda request: request.session.clear() or request.session.get("k"),
        ],
    )
    def test_it_overwrites_no_cookie_and_stores_nothing(
        self, store: RecordingStore, straggler: Client, handler: Any, every_request: bool
    ) -> None:
        with override_settings(SESSION_SAVE_EVERY_REQUEST=every_request):
            response = visit(straggler, handler)
        assert response.status_code == 200
        assert len(store.records) == 1
        assert not response.cookies
        assert response.headers["Vary"] == "Cookie"

    def test_it_sees_nothing_of_the_session(self, straggler: Client) -> None:
        assert read(straggler) == {}

    def test_a_login_in_it_begins_a_session_of_its_own(self, store: RecordingStore, straggler: Client) -> None:
        """The browser may never have received the answer to its first login."""

        def log_in(request: Any) -> None:
            request.session.cycle_key()
            request.session["l"] = 2

        visit(straggler, log_in)
        assert read(straggler) == {"l": 2}
        assert len(store.records) == 2

    @pytest.mark.parametrize("is_read", [True, False])
    def test_a_logout_in_it_takes_the_cookie_away(self, straggler: Client, is_read: bool) -> None:
        def log_out(request: Any) -> None:
            assert not is_read or request.session.get("k") is None
            request.session.flush()

        assert visit(straggler, log_out).cookies["sessionid"].value == ""

    def test_a_minute_later_it_is_as_any_unknown_key(self, straggler: Client) -> None:
        with ReplacedClock(clock.now() + 61_000):
            assert visit(straggler, lambda request: request.session.get("k")).cookies["sessionid"].value == ""


class TestOutage:
    """A visitor gets a 503, whoever met the error."""

    @pytest.fixture
    def client(self, store: RecordingStore) -> Client:
        client = Client(raise_request_exception=False)
        put(client, k=1)
        store.fail_always()
        return client

    def with_middleware(self, client: Client) -> Client:
        """Return a client of the same cookies that loads the middleware of the settings anew."""
        other = Client(raise_request_exception=False)
        other.cookies["sessionid"] = client.cookies["sessionid"].value
        return other

    def is_unavailable(self, response: HttpResponse) -> bool:
        return response.status_code == 503 and response.headers["Retry-After"] == "5"

    def test_a_read_that_a_view_does_not_catch(self, client: Client) -> None:
        assert self.is_unavailable(visit(client, lambda request: request.session["k"]))

    def test_an_error_of_any_store_of_ours_that_a_view_does_not_catch(self, store: RecordingStore) -> None:
        """And it is no error to Django, which the test's client would raise."""

        def fail(request: Any) -> None:
            raise StoreError("of another store")

        assert self.is_unavailable(visit(Client(), fail))

    def test_a_save_after_the_view(self, store: RecordingStore, client: Client) -> None:
        store.recover()
        store.fail("save")
        assert self.is_unavailable(put(client, k=2))
        assert read(client) == {"k": 1}

    def test_a_creation_after_the_view(self, store: RecordingStore) -> None:
        store.fail_always()
        response = put(Client(), k=1)
        assert self.is_unavailable(response)
        assert not response.cookies

    @pytest.mark.parametrize("method", ["flush", "cycle_key", "save"])
    def test_what_a_view_asks_for(self, client: Client, method: str) -> None:
        assert self.is_unavailable(visit(client, lambda request: getattr(request.session, method)()))

    def test_another_middleware_that_met_it(self, client: Client) -> None:
        """Django has made a 500 of it by then."""
        other = self.with_middleware(client)
        with override_settings(MIDDLEWARE=[settings.MIDDLEWARE[0], "test_django.reading_middleware"]):
            assert self.is_unavailable(visit(other))

    def test_a_view_that_makes_a_server_error_of_it(self, client: Client) -> None:
        def catch(request: Any) -> HttpResponse:
            with pytest.raises(StoreError):
                request.session.get("k")
            return HttpResponse(status=500)

        assert self.is_unavailable(visit(client, catch))

    def test_a_view_that_answers_all_the_same_is_left_alone(self, client: Client) -> None:
        def catch(request: Any) -> str:
            with pytest.raises(StoreError):
                request.session.get("k")
            return "without"

        response = visit(client, catch)
        assert response.status_code == 200
        assert "sessionid" not in response.cookies

    def test_another_error_of_a_view_stays_what_it_is(self, store: RecordingStore) -> None:
        client = Client(raise_request_exception=False)
        assert visit(client, lambda request: 1 / 0).status_code == 500

    def test_a_page_without_a_session_is_not_concerned(self, client: Client) -> None:
        assert visit(client).status_code == 200
        with override_settings(SESSION_SAVE_EVERY_REQUEST=True):
            assert visit(client).status_code == 200

    def test_afterwards_all_is_as_before(self, store: RecordingStore, client: Client) -> None:
        visit(client, lambda request: request.session["k"])
        store.recover()
        assert read(client) == {"k": 1}

    def test_the_page_can_be_another(self, client: Client) -> None:
        other = self.with_middleware(client)
        with override_settings(MIDDLEWARE=["test_django.PoliteMiddleware"]):
            assert visit(other, lambda request: request.session["k"]).content == b"soon"

    def test_a_failed_logout_has_ended_nothing_and_says_so(self, store: RecordingStore, client: Client) -> None:
        store.recover()
        store.fail("delete")
        assert self.is_unavailable(visit(client, lambda request: request.session.flush()))
        assert read(client) == {"k": 1}

    def test_a_failed_save_can_be_repeated(self, store: RecordingStore) -> None:
        session = stored(k=1)
        session["k"] = 2
        store.fail("save")
        with pytest.raises(StoreError):
            session.save()
        assert session.store_failed
        session.save()
        assert contents(session) == {"k": 2}

    def test_a_new_key_that_is_stored_goes_out_though_the_rest_was_not_saved(
        self, store: RecordingStore, client: Client
    ) -> None:
        """The old one opens nothing any more, and the visitor would have lost the session."""
        store.recover()

        def log_in(request: Any) -> None:
            request.session.cycle_key()
            request.session["user"] = "anna"
            store.fail("save")

        response = visit(client, log_in)
        assert self.is_unavailable(response)
        assert response.headers["Vary"] == "Cookie"
        cookie = response.cookies["sessionid"]
        assert (cookie["httponly"], cookie["samesite"], cookie["max-age"]) == (True, "Lax", TWO_WEEKS)
        assert read(client) == {"k": 1}

    def test_a_new_key_goes_out_with_an_error_of_the_view(self, store: RecordingStore, client: Client) -> None:
        store.recover()

        def log_in(request: Any) -> None:
            request.session.cycle_key()
            request.session["user"] = "anna"
            raise ValueError

        assert visit(client, log_in).status_code == 500
        assert read(client) == {"k": 1}

    def test_an_asynchronous_request_is_answered_alike(self, store: RecordingStore, client: Client) -> None:
        async def use(request: Any) -> Any:
            return await request.session.aget("k")

        browser = AsyncClient(raise_request_exception=False)
        browser.cookies["sessionid"] = client.cookies["sessionid"].value
        django_site.asynchronous.append(use)
        assert self.is_unavailable(asyncio.run(browser.get("/asynchronous")))


def reading_middleware(get_response: Any) -> Any:
    def middleware(request: Any) -> HttpResponse:
        request.session.get("k")
        return get_response(request)

    return middleware


class PoliteMiddleware(engine.SessionMiddleware):
    def service_unavailable(self) -> HttpResponse:
        return HttpResponse("soon", status=503)


class TestAsynchronous:
    def test_the_twins_do_the_same(self, any_store: SessionStore) -> None:
        async def use() -> None:
            session = Session()
            await session.aset("k", 1)
            await session.asave()
            first, id = session.session_key, session.public_id
            assert await session.aexists(first)
            await session.acycle_key()
            assert session.public_id == id
            assert not await session.aexists(first)
            assert await Session(session.session_key).aload() == {"k": 1}
            assert len(live(any_store)) == 1
            await session.aset_expiry(timedelta(seconds=-1))
            await session.asave()
            await Session.aclear_expired()
            assert live(any_store) == []
            await session.aflush()
            assert session.session_key is None
            await session.acreate()
            key = session.session_key
            await session.adelete()
            assert not await session.aexists(key)
            await session.aflush()
            await session.aset("l", 2)
            await session.acycle_key()
            assert contents(session) == {"l": 2}

        asyncio.run(use())

    def test_a_request(self, store: RecordingStore) -> None:
        async def handler(request: Any) -> Any:
            await request.session.aset("n", await request.session.aget("n", 0) + 1)
            return await request.session.aget("n")

        async def visits() -> list[bytes]:
            client = AsyncClient()
            answers = []
            for _ in range(3):
                django_site.asynchronous.append(handler)
                answers.append((await client.get("/asynchronous")).content)
            return answers

        assert asyncio.run(visits()) == [b"1", b"2", b"3"]


@pytest.mark.usefixtures("store")
class TestSharedExpiry:
    @pytest.mark.parametrize("value", [300, timedelta(seconds=300)])
    def test_what_set_expiry_asks_for_holds_for_other_frameworks_too(self, store: RecordingStore, value: Any) -> None:
        with ReplacedClock():
            session = Session()
            session["k"] = 1
            session.set_expiry(value)
            session.save()
            client = WerkzeugClient(SessionMiddleware(harness.page(dict), store, cookie=SessionCookie("sessionid")))
            client.set_cookie("sessionid", session.session_key)
            before = [record.expires for record in store.records]
            assert "'k': 1" in client.get("/").text
            assert [record.expires for record in store.records] == before

    def test_it_can_be_taken_back(self, store: RecordingStore) -> None:
        with ReplacedClock():
            session = Session()
            session.set_expiry(300)
            session.save()
            session.set_expiry(None)
            session.save()
            (record,) = store.records
            assert record.expires - clock.now() == settings.SESSION_COOKIE_AGE * 1000


class TestLimits:
    def test_the_most_bytes_and_the_longest_life_can_be_set(self) -> None:
        session = Session()
        session["k"] = "x" * 70_000
        with pytest.raises(SessionTooLarge):
            session.save()
        with override_settings(WSGI_SESSIONS_MAX_PAYLOAD=100_000, WSGI_SESSIONS_MAX_LIFETIME="2 hours"):
            session = Session()
            session["k"] = "x" * 70_000
            session.save()
            with ReplacedClock() as time:
                assert again(session)["k"]
                time.advance(timedelta(hours=3))
                assert not again(session).load()

    def test_a_wrong_one_is_named(self) -> None:
        with (
            override_settings(WSGI_SESSIONS_MAX_PAYLOAD="many"),
            pytest.raises(ImproperlyConfigured, match="WSGI_SESSIONS_MAX_PAYLOAD"),
        ):
            Session().save()


class TestContrib:
    """django.contrib's own users of the session."""

    def log_in(self, client: Client, **extra: Any) -> HttpResponse:
        def handler(request: Any) -> None:
            login(request, authenticate(request, username="anna", password="correct"))

        return visit(client, handler, **extra)

    def test_login_and_logout(self, store: RecordingStore, anna: User) -> None:
        client = Client()
        assert client.get("/members").status_code == 302
        put(client, cart=["apple"])
        before = client.cookies["sessionid"].value
        self.log_in(client)
        assert client.cookies["sessionid"].value != before
        assert client.get("/members").content == b"in"
        assert ask(client, lambda session: session["cart"]) == ["apple"]
        thief = Client()
        thief.cookies["sessionid"] = before
        assert thief.get("/members").status_code == 302
        assert [record.owner for record in store.records] == [str(anna.pk)]
        logged_in = client.cookies["sessionid"].value
        visit(client, lambda request: logout(request))
        assert client.get("/members").status_code == 302
        thief.cookies["sessionid"] = logged_in
        assert thief.get("/members").status_code == 302
        assert store.records == []

    def test_a_login_writes_twice_and_leaves_no_moment_without_a_session(
        self, store: RecordingStore, anna: User
    ) -> None:
        client = Client()
        put(client, k=1)
        store.forget()
        self.log_in(client)
        assert store.methods == ["load", "save", "save"]

    def test_the_key_that_a_receiver_of_the_login_keeps_is_the_one_that_counts(self, anna: User) -> None:
        client, keys = Client(), []

        def receive(sender: Any, request: Any, **_: Any) -> None:
            keys.append(request.session.session_key)

        user_logged_in.connect(receive)
        try:
            put(client, k=1)
            self.log_in(client)
        finally:
            user_logged_in.disconnect(receive)
        assert keys == [client.cookies["sessionid"].value]

    def test_the_owner_of_a_login_survives_another_save_in_between(self, store: RecordingStore, anna: User) -> None:
        session = stored(k=1)
        session.cycle_key()
        with open_session(store, session.public_id) as other:
            other["job"] = "done"
        session["_auth_user_id"] = "7"
        session.save()
        assert [record.owner for record in store.records] == ["7"]
        assert contents(session) == {"k": 1, "job": "done", "_auth_user_id": "7"}

    def test_all_sessions_of_a_user_can_be_ended_but_one(self, store: RecordingStore, anna: User) -> None:
        here, there = Client(), Client()
        self.log_in(here)
        self.log_in(there)
        kept = ask(here, lambda session: session.public_id)
        assert revoke(engine.current_store(), str(anna.pk), keep=kept) == 1
        assert here.get("/members").status_code == 200
        assert there.get("/members").status_code == 302

    def test_a_new_password_keeps_this_session_and_no_other(self, anna: User) -> None:
        here, there = Client(), Client()
        self.log_in(here)
        self.log_in(there)

        def change(request: Any) -> None:
            request.user.set_password("new")
            request.user.save()
            update_session_auth_hash(request, request.user)

        visit(here, change)
        assert here.get("/members").status_code == 200
        assert there.get("/members").status_code == 302

    def test_the_test_client_logs_in_and_out(self, store: RecordingStore, anna: User) -> None:
        client = Client()
        assert client.login(username="anna", password="correct")
        assert client.get("/members").content == b"in"
        client.logout()
        assert client.get("/members").status_code == 302
        client.force_login(anna)
        assert client.get("/members").content == b"in"
        assert [record.owner for record in store.records] == [str(anna.pk)]

    def test_an_asynchronous_login(self, anna: User) -> None:
        async def use() -> int:
            client = AsyncClient()
            await client.aforce_login(anna)
            status: int = (await client.get("/members")).status_code
            return status

        assert asyncio.run(use()) == 200

    def test_messages_wait_in_the_session(self) -> None:
        client = Client()
        visit(client, lambda request: messages.success(request, "saved"))
        seen: list[str] = []
        for _ in range(2):
            visit(client, lambda request: seen.extend(str(message) for message in messages.get_messages(request)))
        assert seen == ["saved"]

    def test_csrf_tokens_in_the_session(self, store: RecordingStore) -> None:
        client = Client(enforce_csrf_checks=True)
        with override_settings(CSRF_USE_SESSIONS=True):
            tokens: list[str] = []
            visit(client, lambda request: tokens.append(get_token(request)))
            assert len(store.records) == 1
            handler = {"tests.handler": lambda request: "posted"}
            assert client.post("/", {"csrfmiddlewaretoken": tokens[0]}, **handler).status_code == 200
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert client.post("/", **handler).status_code == 403


OLD_ENGINES = {"db": 1, "signed_cookies": 0}
GONE = "expires=Thu, 01 Jan 1970 00:00:00 GMT"


def old_database() -> Any:
    """Return what connects to the database of the site."""
    name = settings.DATABASES["default"]["NAME"]
    return create_engine("sqlite://", creator=lambda: sqlite3.connect(name, uri=True), poolclass=NullPool)


def old_sources(**options: Any) -> list[Source]:
    """Return the sources of the sessions that the site has had before."""
    key = settings.SECRET_KEY
    return [DjangoSource(key, engine=old_database(), **options), DjangoCookieSource(key, **options)]


class Paper(Source):
    """A library that keeps its sessions on paper."""

    system = "paper"
    session: LegacySession | None = None
    is_down = False

    def identify(self, cookie: str) -> list[str]:
        if not cookie.startswith("page-"):
            raise LegacyError(Reason.BAD_SIGNATURE)
        return [cookie]

    def open(self, cookie: str) -> LegacySession:
        if self.is_down:
            raise StoreError("the paper is wet")
        if self.session is None:
            raise LegacyError(Reason.NOT_FOUND)
        return self.session


class TestTakeover:
    """A project that stays with Django, and whose visitors have sessions of the engine before."""

    @pytest.fixture(params=OLD_ENGINES)
    def before(self, request: pytest.FixtureRequest, anna: User, store: RecordingStore) -> Client:
        """A browser that is logged in to the site as it was; from now on it is as it is."""
        return self.old_browser(request.param, anna)

    @pytest.fixture(autouse=True)
    def legacy(self) -> Iterator[None]:
        with override_settings(WSGI_SESSIONS_LEGACY=old_sources):
            yield

    def old_browser(self, engine: str, anna: User, expiry: Any = None, **others: Any) -> Client:
        client = Client()
        middleware = [DJANGOS_OWN, *settings.MIDDLEWARE[1:]]
        name = f"django.contrib.sessions.backends.{engine}"
        with override_settings(SESSION_ENGINE=name, MIDDLEWARE=middleware, **others):
            visit(client, lambda request: login(request, anna, "django.contrib.auth.backends.ModelBackend"))
            visit(client, lambda request: request.session.set_expiry(expiry))
            put(client, cart=["tea"])
            assert client.get("/members").content == b"in"
        return client

    def moved(self, client: Client) -> Client:
        """Return a browser with the same cookies whose requests come to the site as it is now."""
        other = Client(raise_request_exception=False)
        other.cookies.update({name: morsel.copy() for name, morsel in client.cookies.items()})
        return other

    def is_in(self, client: Client) -> bool:
        status: int = client.get("/members").status_code
        assert status in (200, 302)
        return status == 200

    def test_nobody_is_logged_out_by_a_new_engine(self, before: Client, store: RecordingStore, anna: User) -> None:
        """The promise of the README."""
        after = self.moved(before)
        response = after.get("/members")
        assert response.content == b"in"
        assert SessionToken.parse(response.cookies["sessionid"].value) is not None
        assert read(after)["cart"] == ["tea"]
        assert self.is_in(after)
        counts = engine.legacy_counts()
        assert sum(count for (_, what), count in counts.items() if what == "taken-over") == 1

    def test_a_replay_after_the_logout_is_nobody(self, before: Client, store: RecordingStore) -> None:
        after, thief = self.moved(before), self.moved(before)
        assert self.is_in(after)
        visit(after, lambda request: logout(request))
        assert not self.is_in(after)
        assert not self.is_in(thief)
        with ReplacedClock(clock.now() + 600_000):
            assert not self.is_in(self.moved(before))

    @pytest.mark.parametrize("is_read", [True, False])
    def test_a_logout_in_the_first_request_ends_what_was_there(self, before: Client, is_read: bool) -> None:
        after, thief = self.moved(before), self.moved(before)

        def log_out(request: Any) -> None:
            assert not is_read or request.session["cart"] == ["tea"]
            request.session.flush()

        response = visit(after, log_out)
        assert response.cookies["sessionid"].value == ""
        assert GONE in response.cookies["sessionid"].OutputString()
        assert not self.is_in(after)
        assert not self.is_in(thief)

    def test_a_new_key_in_the_first_request_leaves_the_old_cookie_nothing(self, before: Client, anna: User) -> None:
        after, thief = self.moved(before), self.moved(before)
        visit(after, lambda request: request.session.cycle_key())
        assert self.is_in(after)
        assert read(after)["cart"] == ["tea"]
        assert not self.is_in(thief)

    def test_a_page_that_does_not_touch_the_session_takes_nothing_over(
        self, before: Client, store: RecordingStore
    ) -> None:
        after = self.moved(before)
        store.forget()
        assert not visit(after).cookies
        assert store.calls == []

    def test_parallel_requests_come_to_the_same_session(self, before: Client, store: RecordingStore) -> None:
        one, other = self.moved(before), self.moved(before)
        put(one, one=1)
        put(other, other=1)
        assert self.is_in(other)
        assert read(one) == read(other)

    def test_its_owner_is_the_user_from_the_first_request_on(
        self, before: Client, store: RecordingStore, anna: User
    ) -> None:
        """Or a user could not be logged out everywhere who has not logged in since."""
        after = self.moved(before)
        assert self.is_in(after)
        assert revoke(store, str(anna.pk)) == 1
        assert not self.is_in(after)
        assert not self.is_in(self.moved(before))

    def test_an_owner_that_cannot_be_stored_is_an_outage_and_comes_with_the_next_request(
        self, before: Client, store: RecordingStore, anna: User
    ) -> None:
        after = self.moved(before)
        store.fail("save")
        assert after.get("/members").status_code == 503
        store.recover()
        assert self.is_in(after)
        assert revoke(store, str(anna.pk)) == 1

    def test_no_cache_keeps_the_answer_that_brings_our_cookie(self, before: Client, store: RecordingStore) -> None:
        """Or it would hand it to whoever comes with a copy of the old cookie."""
        after = self.moved(before)
        assert after.get("/members").headers["Cache-Control"] == "private, no-store"
        assert "Cache-Control" not in after.get("/members").headers

    @pytest.mark.parametrize("status", [404, 500])
    def test_the_cookie_goes_out_whatever_the_answer(self, before: Client, status: int) -> None:
        after = self.moved(before)

        def fail(request: Any) -> HttpResponse:
            assert request.session["cart"] == ["tea"]
            return HttpResponse(status=status)

        response = visit(after, fail)
        cookie = response.cookies["sessionid"]
        assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
        assert response.headers["Vary"] == "Cookie"
        assert self.is_in(after)

    @pytest.mark.parametrize("engine_name", OLD_ENGINES)
    def test_it_ends_when_it_would_have_ended(self, engine_name: str, anna: User, store: RecordingStore) -> None:
        after = self.moved(self.old_browser(engine_name, anna))
        day = 24 * 60 * 60
        with ReplacedClock(clock.now() + 13 * day * 1000) as time:
            cookie = after.get("/members").cookies["sessionid"]
            assert 0 < int(cookie["max-age"]) <= day + 60
            time.advance(timedelta(days=1, minutes=1))
            assert not self.is_in(after)

    @pytest.mark.parametrize("engine_name", OLD_ENGINES)
    def test_a_session_of_the_browser_stays_one(self, engine_name: str, anna: User, store: RecordingStore) -> None:
        """Of whoever has not asked to be remembered."""
        after = self.moved(self.old_browser(engine_name, anna, expiry=0))
        assert after.get("/members").cookies["sessionid"]["max-age"] == ""
        assert put(after, k=1).cookies["sessionid"]["max-age"] == ""

    @pytest.mark.parametrize("engine_name", OLD_ENGINES)
    def test_the_seconds_that_set_expiry_was_given_hold_on(
        self, engine_name: str, anna: User, store: RecordingStore
    ) -> None:
        after = self.moved(self.old_browser(engine_name, anna, expiry=300))
        assert 290 <= int(after.get("/members").cookies["sessionid"]["max-age"]) <= 300
        assert put(after, k=1).cookies["sessionid"]["max-age"] == 300

    def test_the_keys_of_the_session_are_those_that_it_had(self, before: Client, anna: User) -> None:
        after = self.moved(before)
        seen = read(after)
        assert seen == {
            "_auth_user_id": str(anna.pk),
            "_auth_user_backend": "django.contrib.auth.backends.ModelBackend",
            "_auth_user_hash": anna.get_session_auth_hash(),
            "cart": ["tea"],
        }

    @pytest.mark.parametrize("engine_name", OLD_ENGINES)
    def test_what_was_stored_is_deleted(self, engine_name: str, anna: User, store: RecordingStore) -> None:
        after = self.moved(self.old_browser(engine_name, anna))
        stored_before = len(list(old_sources()[0].scan()))
        assert self.is_in(after)
        assert len(list(old_sources()[0].scan())) == stored_before - OLD_ENGINES[engine_name]

    def test_a_look_at_what_is_stored_now_goes_by_the_new_key(self, before: Client, store: RecordingStore) -> None:
        after = self.moved(before)

        def change_and_look(request: Any) -> Any:
            request.session.cycle_key()
            return request.session.load()["cart"]

        assert visit(after, change_and_look).content == b"['tea']"
        assert self.is_in(after)

    def test_another_user_who_logs_in_begins_anew(self, before: Client, anna: User) -> None:
        after, thief = self.moved(before), self.moved(before)
        bert = get_user_model().objects.create_user("bert")
        try:
            visit(after, lambda request: login(request, bert, "django.contrib.auth.backends.ModelBackend"))
            assert ask(after, lambda session: (session["_auth_user_id"], session.get("cart"))) == (str(bert.pk), None)
            assert not self.is_in(thief)
        finally:
            bert.delete()

    @pytest.mark.parametrize("engine_name", OLD_ENGINES)
    def test_a_cookie_of_another_name_path_and_domain_is_removed(
        self, engine_name: str, anna: User, store: RecordingStore
    ) -> None:
        old = {"SESSION_COOKIE_NAME": "old", "SESSION_COOKIE_DOMAIN": "testserver"}
        after = self.moved(self.old_browser(engine_name, anna, **old))
        with override_settings(WSGI_SESSIONS_LEGACY=old_sources(cookie_name="old", domain="testserver")):
            response = after.get("/members")
            sent = [morsel.OutputString() for morsel in response.cookies.values()]
            assert [text.partition("=")[0] for text in sent] == ["sessionid", "old", "old"]
            assert all("Max-Age=0" in text for text in sent[1:])
            assert ["Domain=testserver" in text for text in sent] == [False, True, False]
            assert after.cookies["old"].value == ""
            assert self.is_in(after)

    def test_a_cookie_of_the_same_name_and_another_path_is_removed_beside_ours(
        self, anna: User, store: RecordingStore
    ) -> None:
        before = self.old_browser("db", anna, SESSION_COOKIE_PATH="/shop")
        with override_settings(WSGI_SESSIONS_LEGACY=old_sources(path="/shop")):
            sent = [morsel.OutputString() for morsel in self.moved(before).get("/members").cookies.values()]
        assert [re.findall("(?:Path|path)=([^;]*)", text) for text in sent] == [["/"], ["/shop"]]
        assert [text.partition("=")[0] for text in sent] == ["sessionid", "sessionid"]
        assert "Max-Age=0" in sent[1]

    def test_a_dot_before_the_domain_makes_no_other_cookie(self, anna: User, store: RecordingStore) -> None:
        with override_settings(
            SESSION_COOKIE_DOMAIN=".testserver", WSGI_SESSIONS_LEGACY=old_sources(domain="testserver")
        ):
            after = self.moved(self.old_browser("db", anna))
            assert list(after.get("/members").cookies) == ["sessionid"]
            assert self.is_in(after)

    def test_sessions_without_a_lifetime_are_no_error(self, before: Client, store: RecordingStore) -> None:
        with override_settings(SESSION_COOKIE_AGE=0):
            assert self.moved(before).get("/members").status_code == 200

    def test_another_application_with_the_same_source_gets_no_key_of_django_s(
        self, anna: User, store: RecordingStore
    ) -> None:
        sources = old_sources()
        before = [self.old_browser("db", anna, expiry=300) for _ in range(2)]
        with override_settings(WSGI_SESSIONS_LEGACY=sources):
            assert self.is_in(self.moved(before[0]))
        client = WerkzeugClient(SessionMiddleware(harness.page(dict), store, legacy=sources))
        client.set_cookie("sessionid", before[1].cookies["sessionid"].value)
        assert "_session_expiry" not in client.get("/").text

    def test_a_logout_in_the_first_request_removes_a_cookie_of_another_name(
        self, anna: User, store: RecordingStore
    ) -> None:
        before = self.old_browser("db", anna, SESSION_COOKIE_NAME="old")
        with override_settings(WSGI_SESSIONS_LEGACY=old_sources(cookie_name="old")):
            response = visit(self.moved(before), lambda request: logout(request))
        assert response.cookies["old"].value == ""

    def test_an_old_cookie_beside_ours_goes_with_the_next_of_ours(self, anna: User, store: RecordingStore) -> None:
        client = Client()
        put(client, k=1)
        client.cookies["old"] = "page-1"
        with override_settings(WSGI_SESSIONS_LEGACY=[Paper("old")]):
            client = self.moved(client)
            assert not visit(client, lambda request: request.session["k"]).cookies
            assert put(client, k=2).cookies["old"].value == ""

    def test_one_that_is_nobody_s_is_over_after_a_save_and_a_logout(self, store: RecordingStore) -> None:
        """Two visitors may have the same cookie, so no note was made of it before."""
        before, name = Client(), "django.contrib.sessions.backends.signed_cookies"
        with override_settings(SESSION_ENGINE=name, MIDDLEWARE=[DJANGOS_OWN, *settings.MIDDLEWARE[1:]]):
            put(before, cart=["tea"])
        thief = self.moved(before)

        def save_and_log_out(request: Any) -> None:
            request.session["k"] = 1
            request.session.save()
            request.session.flush()

        visit(self.moved(before), save_and_log_out)
        assert read(thief) == {}

    def test_retire_keep_leaves_all_of_it(self, anna: User, store: RecordingStore) -> None:
        before = self.old_browser("db", anna, SESSION_COOKIE_NAME="old")
        rows = len(list(old_sources()[0].scan()))
        with override_settings(WSGI_SESSIONS_LEGACY=old_sources(cookie_name="old"), WSGI_SESSIONS_RETIRE="keep"):
            response = self.moved(before).get("/members")
        assert list(response.cookies) == ["sessionid"]
        assert len(list(old_sources()[0].scan())) == rows

    @pytest.mark.parametrize("cookie", ["page-1", "no page", "a" * 32])
    def test_a_cookie_that_brings_nothing_is_left_for_the_day_when_a_mistake_is_mended(
        self, store: RecordingStore, cookie: str
    ) -> None:
        client = Client()
        client.cookies["sessionid"] = cookie
        with override_settings(WSGI_SESSIONS_LEGACY=[Paper("sessionid")]):
            for every_request in (False, True):
                with override_settings(SESSION_SAVE_EVERY_REQUEST=every_request):
                    response = visit(client, lambda request: request.session.get("k"))
                assert not response.cookies
                assert response.headers["Vary"] == "Cookie"
            assert put(client, k=1).cookies["sessionid"].value != cookie
            assert read(client) == {"k": 1}

    def test_an_outage_of_what_was_before_is_answered_503(self, store: RecordingStore) -> None:
        paper, client = Paper("sessionid"), Client(raise_request_exception=False)
        paper.is_down = True
        client.cookies["sessionid"] = "page-1"
        with override_settings(WSGI_SESSIONS_LEGACY=[paper]):
            response = visit(client, lambda request: request.session.get("k"))
            assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
            assert not response.cookies
            assert visit(client).status_code == 200
            paper.is_down, paper.session = False, LegacySession(data={"k": 1})
            assert read(client) == {"k": 1}

    def test_ours_comes_first(self, before: Client, store: RecordingStore) -> None:
        after = self.moved(before)
        assert self.is_in(after)
        store.forget()
        assert self.is_in(after)
        assert store.methods == ["load"]

    def test_a_save_of_every_request_counts_as_a_use(self, before: Client, store: RecordingStore) -> None:
        after = self.moved(before)
        with override_settings(SESSION_SAVE_EVERY_REQUEST=True):
            assert SessionToken.parse(visit(after).cookies["sessionid"].value) is not None
        assert self.is_in(after)

    def test_what_is_read_while_the_body_is_sent_comes_too_late(self, before: Client, store: RecordingStore) -> None:
        """The cookie could not be sent, and the visitor would have lost the session."""
        after = self.moved(before)

        def stream(request: Any) -> StreamingHttpResponse:
            return StreamingHttpResponse(str(request.session.get("cart")) for _ in range(1))

        response = visit(after, stream)
        assert response.getvalue() == b"None"
        assert not response.cookies
        assert self.is_in(after)

    def test_an_asynchronous_request_is_no_other(self, before: Client, store: RecordingStore) -> None:
        async def use(request: Any) -> Any:
            return await request.session.aget("cart")

        browser = AsyncClient()
        browser.cookies["sessionid"] = before.cookies["sessionid"].value
        django_site.asynchronous.append(use)
        response = asyncio.run(browser.get("/asynchronous"))
        assert response.content == b"['tea']"
        assert SessionToken.parse(response.cookies["sessionid"].value) is not None

    def test_a_key_in_code_opens_nothing_of_what_was_before(self, before: Client, store: RecordingStore) -> None:
        key = before.cookies["sessionid"].value
        assert not Session().exists(key)
        assert Session(key).load() == {}
        Session(key).delete()
        assert self.is_in(self.moved(before))

    def test_a_function_may_make_them(self, before: Client, store: RecordingStore) -> None:
        with override_settings(WSGI_SESSIONS_LEGACY="test_django.old_sources"):
            assert self.is_in(self.moved(before))

    def test_they_are_made_when_the_first_session_is_used(self, store: RecordingStore) -> None:
        made: list[int] = []
        with override_settings(WSGI_SESSIONS_LEGACY=lambda: made.append(1) or []):
            visit(Client())
            assert made == []
            put(Client(), k=1)
            put(Client(), k=1)
            assert made == [1]

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"LEGACY": "test_django.missing"}, "WSGI_SESSIONS_LEGACY cannot be imported"),
            ({"LEGACY": "no_name"}, "WSGI_SESSIONS_LEGACY must be a name such as"),
            ({"LEGACY": [5]}, "WSGI_SESSIONS_LEGACY must be a list of sources"),
            ({"LEGACY": [Paper("old")], "RETIRE": "burn"}, "WSGI_SESSIONS_RETIRE must be delete or keep"),
            ({"LEGACY": None, "RETIRE": "keep"}, "WSGI_SESSIONS_RETIRE is for the sessions of other libraries"),
            ({"LEGACY": [Paper("sessionid")], "RETIRE": "keep"}, "retire='keep' needs another cookie name"),
        ],
    )
    def test_a_wrong_setting_is_named(self, given: dict[str, Any], message: str) -> None:
        settings_given = {f"WSGI_SESSIONS_{name}": value for name, value in given.items()}
        with override_settings(**settings_given), pytest.raises(ImproperlyConfigured, match=message):
            stored(k=1)

    def test_an_error_in_the_function_is_told_as_it_is(self, store: RecordingStore) -> None:
        with (
            override_settings(WSGI_SESSIONS_LEGACY=lambda: [DjangoCookieSource("")]),
            pytest.raises(ValueError, match="key"),
        ):
            stored(k=1)

    def test_django_s_own_middleware_does_not_do_it_and_is_refused(self, store: RecordingStore) -> None:
        """It would log everybody out."""
        with (
            override_settings(MIDDLEWARE=[DJANGOS_OWN, *settings.MIDDLEWARE[1:]]),
            pytest.raises(ImproperlyConfigured, match=r"needs .*django\.SessionMiddleware in MIDDLEWARE"),
        ):
            stored(k=1)


class TestShared:
    """A Flask application and a Django project, one store, one cookie name, one session."""

    @pytest.fixture
    def flask_client(self, store: RecordingStore) -> WerkzeugClient:
        app = flask.Flask(__name__)

        @app.get("/")
        def index() -> dict[str, Any]:
            session = get_session(flask.request.environ)
            session["flask"] = session.get("flask", 0) + 1
            return {"owner": session.owner, **session}

        app.wsgi_app = SessionMiddleware(  # type: ignore[method-assign]
            app.wsgi_app, store, cookie=SessionCookie("sessionid", secure=False)
        )
        return WerkzeugClient(app)

    def test_both_read_and_write_it(self, flask_client: WerkzeugClient, anna: User) -> None:
        client = Client()
        client.force_login(anna)
        put(client, django=1)
        flask_client.set_cookie("sessionid", client.cookies["sessionid"].value)
        seen = flask_client.get("/").json
        assert seen["owner"] == str(anna.pk) == seen["_auth_user_id"]
        assert seen["django"] == 1
        assert ask(client, lambda session: session["flask"]) == 1
        assert flask_client.get_cookie("sessionid").value == client.cookies["sessionid"].value

    def test_a_session_that_flask_began(self, store: RecordingStore, flask_client: WerkzeugClient) -> None:
        flask_client.get("/")
        client = Client()
        client.cookies["sessionid"] = flask_client.get_cookie("sessionid").value
        put(client, django=1)
        assert flask_client.get("/").json == {"owner": None, "flask": 2, "django": 1}

    def test_the_owner_that_flask_has_set_stays(self, store: RecordingStore) -> None:
        with open_session(store) as session:
            session.owner = "of flask"
            session["k"] = 1
            session.save()
            assert session.token is not None
            key = session.token.value
        other = Session(key)
        other["k"] = 2
        other.save()
        assert other.session_key == key
        assert [record.owner for record in store.records] == ["of flask"]

    def test_a_record_of_a_later_version_is_left_alone(self, store: RecordingStore) -> None:
        token = SessionToken.generate()
        store.put(Record(token.id, b'[2,"x"]', NOW * 2))
        client = Client()
        client.cookies["sessionid"] = token.value
        response = put(client, k=1)
        assert not response.cookies
        assert [record.payload for record in store.records] == [b'[2,"x"]']

    def test_a_value_in_another_form_is_not_taken_for_a_change(self, store: RecordingStore) -> None:
        """As a later version may write it."""
        session = stored(k="a", l=1)
        (record,) = store.records
        store.put(Record(record.id, record.payload.replace(b'"k":"a"', b'"k":"\\u0061"'), record.expires, 1))
        one, other = again(session), again(session)
        assert one["k"] == "a" == other["k"]
        other["k"] = "b"
        other.save()
        one["l"] = 2
        one.save()
        assert contents(session) == {"k": "b", "l": 2}

    def test_a_value_that_does_not_decode_is_left_out_and_stays(self, store: RecordingStore) -> None:
        session = stored(good=1, bad="of a later version")
        (record,) = store.records
        store.put(
            Record(record.id, record.payload.replace(b'"of a later version"', b'{"$":["new",1]}'), record.expires, 1)
        )
        assert contents(session) == {"good": 1}
        other = again(session)
        other["good"] = 2
        other.save()
        assert b'{"$":["new",1]}' in store.records[0].payload


A_STORE = MemoryStore()


def make_store() -> SessionStore:
    return MemoryStore(max_records=7)


class NotAStore:
    pass


class TestSetting:
    def test_a_url(self, tmp_path: Path) -> None:
        with override_settings(WSGI_SESSIONS_STORE=f"sqlite:///{tmp_path / 'sessions.db'}"):
            session = stored(k=1)
            assert isinstance(engine.current_store(), SQLiteStore)
            assert contents(session) == {"k": 1}
        assert (tmp_path / "sessions.db").exists()

    @pytest.mark.parametrize("path", ["test_django.A_STORE", "test_django:A_STORE"])
    def test_a_dotted_path_to_a_store(self, path: str) -> None:
        with override_settings(WSGI_SESSIONS_STORE=path):
            assert engine.current_store() is A_STORE

    @pytest.mark.parametrize("path", ["test_django.make_store", "test_django:make_store", "wsgi_sessions.MemoryStore"])
    def test_a_dotted_path_to_what_makes_one(self, path: str) -> None:
        with override_settings(WSGI_SESSIONS_STORE=path):
            first = engine.current_store()
            assert isinstance(first, MemoryStore)
            assert engine.current_store() is first

    def test_a_store(self) -> None:
        with override_settings(WSGI_SESSIONS_STORE=A_STORE):
            assert engine.current_store() is A_STORE

    def test_an_override_has_a_store_of_its_own(self) -> None:
        with override_settings(WSGI_SESSIONS_STORE="memory:"):
            outer = stored(k=1)
            with override_settings(WSGI_SESSIONS_STORE="memory:"):
                assert not outer.exists(outer.session_key)
                with override_settings(SESSION_COOKIE_AGE=1):
                    inner = stored(k=1)
                assert inner.exists(inner.session_key)

    def test_threads_that_are_first_together_get_one_store(self) -> None:
        together, found = threading.Barrier(8), []

        def ask_for_it() -> None:
            together.wait(10)
            found.append(engine.current_store())

        with override_settings(WSGI_SESSIONS_STORE="memory:"):
            threads = [threading.Thread(target=ask_for_it) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert len(set(map(id, found))) == 1

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (None, r"WSGI_SESSIONS_STORE is missing: write a URL such as sqlite:////var/lib/app/sessions\.db"),
            ("", "WSGI_SESSIONS_STORE is empty"),
            ("nothing:", "WSGI_SESSIONS_STORE cannot be used: no store has URLs that begin with nothing:"),
            ("test_django.missing", "WSGI_SESSIONS_STORE cannot be imported"),
            ("no_such_package.store", "WSGI_SESSIONS_STORE cannot be imported"),
            ("test_django.NotAStore", "WSGI_SESSIONS_STORE must be a URL .* not NotAStore"),
            (object(), "WSGI_SESSIONS_STORE must be a URL .* not object"),
        ],
    )
    def test_what_names_no_store_is_refused_with_what_to_write(self, value: Any, message: str) -> None:
        with override_settings(WSGI_SESSIONS_STORE=value):
            with pytest.raises(ImproperlyConfigured, match=message):
                stored(k=1)

    def test_a_password_is_not_repeated(self) -> None:
        with override_settings(WSGI_SESSIONS_STORE="redis:/user:hunter2@host"):
            with pytest.raises(ImproperlyConfigured) as caught:
                engine.current_store()
        assert "hunter2" not in str(caught.value)

    def test_the_setting_may_be_absent(self) -> None:
        with override_settings(WSGI_SESSIONS_STORE="memory:"):
            del settings.WSGI_SESSIONS_STORE
            with pytest.raises(ImproperlyConfigured, match="is missing"):
                engine.current_store()


def test_without_django_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['django'] = None; import wsgi_sessions.integrations.django"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stderr.splitlines()[-1] == (
        "ImportError: the integration needs Django: pip install wsgi-sessions[django]"
    )


@pytest.fixture(scope="module")
def page() -> Any:
    return parsed("docs/django.rst")


class TestPage:
    """docs/django.rst, followed literally."""

    def test_every_python_block_is_run_by_a_test(self, page: Any) -> None:
        texts = re.findall(r"find\(page, [\"'](.*?)[\"']\)", Path(__file__).read_text())
        assert [code for code in blocks(page, "python") if not any(text in code for text in texts)] == []

    @pytest.fixture
    def python(self, tmp_path: Path) -> Callable[..., str]:
        """Return what runs Python in the directory of a project, and returns what it printed."""
        environment = {
            **{name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
            "DJANGO_SUPERUSER_PASSWORD": "correct",
            "PYTHONPATH": str(ROOT),
        }

        def run(*arguments: str) -> str:
            command = [sys.executable, *arguments]
            result = subprocess.run(
                command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
            )
            assert result.returncode == 0, result.stderr
            return result.stdout

        run("-m", "django", "startproject", "shop", ".")
        return run

    def test_from_nothing_to_a_login(self, page: Any, tmp_path: Path, python: Callable[..., str]) -> None:
        install, run = blocks(page, "sh")
        assert install.splitlines()[1] == "django-admin startproject shop ."
        settings_block, urls_block = find(page, "SESSION_ENGINE ="), find(page, "login_required")
        assert len([line for line in (settings_block + urls_block).splitlines() if line.strip()]) <= 20
        with (tmp_path / "shop" / "settings.py").open("a") as file:
            file.write(f"\n{settings_block}\n")
        (tmp_path / "shop" / "urls.py").write_text(urls_block)
        migrate, create, _runserver = [line.split()[1:] for line in run.splitlines()]
        python(*migrate)
        python(*create, "--noinput", "--username=anna", "--email=anna@example.com")
        (tmp_path / "story.py").write_text(
            """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
import django
django.setup()
from django.test import Client
client = Client(headers={"host": "localhost"})
login = client.get("/", follow=True)
print(login.redirect_chain[-1][0])
client.post("/admin/login/?next=/", {"username": "anna", "password": "correct"})
for _ in range(2):
    print(client.get("/").text, end="")
client.post("/admin/logout/")
print(client.get("/").status_code)
"""
        )
        told = python("-W", "error", "story.py").splitlines()
        assert told == ["/admin/login/?next=/", "Visit number 1 of anna", "Visit number 2 of anna", "302"]
        assert (tmp_path / "sessions.db").is_file()
        assert "no such" not in python(*create[:1], "clearsessions")

    def test_a_project_moves_over_without_a_login(self, page: Any, tmp_path: Path, python: Callable[..., str]) -> None:
        (tmp_path / "shop" / "urls.py").write_text(find(page, "login_required"))
        python("manage.py", "migrate")
        python("manage.py", "createsuperuser", "--noinput", "--username=anna", "--email=anna@example.com")
        story = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
import django
django.setup()
from django.test import Client
client = Client(headers={"host": "localhost"})
"""
        (tmp_path / "before.py").write_text(
            story
            + """
client.login(username="anna", password="correct")
client.get("/")
print(client.cookies["sessionid"].value)
"""
        )
        cookie = python("before.py").strip()
        assert len(cookie) == 32
        with (tmp_path / "shop" / "settings.py").open("a") as file:
            file.write("\n".join(("", find(page, "SESSION_ENGINE ="), find(page, "WSGI_SESSIONS_LEGACY ="), "")))
        (tmp_path / "shop" / "sessions.py").write_text(find(page, "def old_sessions"))
        (tmp_path / "after.py").write_text(
            story
            + """
from wsgi_sessions.integrations.django import legacy_counts
client.cookies["sessionid"] = sys.argv[1]
for _ in range(2):
    print(client.get("/").text, end="")
print(len(client.cookies["sessionid"].value), legacy_counts())
"""
        )
        assert python("-W", "error", "after.py", cookie).splitlines() == [
            "Visit number 2 of anna",
            "Visit number 3 of anna",
            "45 {('django', 'taken-over'): 1}",
        ]

    def test_a_function_that_makes_the_store(self, page: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        names = execute(find(page, "def make_store"), {})
        monkeypatch.setattr(sys.modules[__name__], "make_store", names["make_store"])
        with override_settings(WSGI_SESSIONS_STORE="test_django.make_store"):
            assert contents(stored(k=1)) == {"k": 1}
        assert (tmp_path / "sessions.db").is_file()

    def test_a_page_of_ones_own_for_an_outage(
        self, page: Any, store: RecordingStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = execute(find(page, "def service_unavailable"), {})
        monkeypatch.setattr(sys.modules[__name__], "PoliteMiddleware", names["ShopSessionMiddleware"])
        store.fail_always()
        with override_settings(MIDDLEWARE=["test_django.PoliteMiddleware"]):
            response = put(Client(), k=1)
        assert (response.status_code, response.headers["Retry-After"]) == (503, "60")
        assert response.content == b"Back in a minute."

    def test_the_sweeper(self, page: Any, store: RecordingStore, monkeypatch: pytest.MonkeyPatch) -> None:
        started: list[Any] = []
        monkeypatch.setattr("wsgi_sessions.Sweeper.start", lambda sweeper: started.append(sweeper))
        expired = Session()
        expired.set_expiry(-1)
        expired.save()
        execute(find(page, "Sweeper(current_store()"), {})
        assert started[0].sweep_once() == 1

    def test_logging_out_elsewhere(self, page: Any, store: RecordingStore, anna: User) -> None:
        names = execute(find(page, "def log_out_elsewhere"), {})
        here, there = Client(), Client()
        here.force_login(anna)
        there.force_login(anna)
        visit(here, names["log_out_elsewhere"])
        assert here.get("/members").status_code == 200
        assert there.get("/members").status_code == 302

    def test_one_session_for_django_and_flask(self, page: Any, store: RecordingStore, anna: User) -> None:
        names = execute(find(page, "from flask import"), {"__name__": "shop"})
        # The page's own store is a server; that of the test takes its place.
        names["app"].wsgi_app._settings.store = store
        browser = Client()
        browser.force_login(anna)
        put(browser, cart=["apple"])
        flask_client = WerkzeugClient(names["app"])
        flask_client.set_cookie("sessionid", browser.cookies["sessionid"].value)
        assert flask_client.get("/cart").json == {"user": str(anna.pk), "cart": ["apple"]}
