"""Options from text and from code: each by itself, every wrong value, and what no message may repeat."""

from __future__ import annotations

import doctest
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.wrappers import Response

from wsgi_sessions import (
    AtDateTime,
    FileStore,
    MemoryStore,
    OnInactivity,
    OnSessionEnd,
    SessionCookie,
    SessionMiddleware,
    SignedCookie,
    SQLiteStore,
    open_session,
)
from wsgi_sessions.cookies.encrypted import EncryptedCookie
from wsgi_sessions.integrations import base
from wsgi_sessions.integrations.base import OPTIONS, read_options
from wsgi_sessions.migration.flask import FlaskSource
from wsgi_sessions.stores.redis import RedisStore

OLD, NEW = (random.Random(seed).randbytes(32).hex() for seed in range(2))
STORE = MemoryStore()
NO_STORE = 5
NOON = datetime(2030, 1, 31, 12, tzinfo=UTC)
calls: list[Any] = []
SOURCES = [FlaskSource("of the old application")]


def make_store() -> MemoryStore:
    return STORE


def make_something() -> str:
    return "something"


def make_sources() -> list[FlaskSource]:
    return SOURCES


def needs_an_argument(directory: str) -> None: ...


def down(environ: Any, start_response: Any) -> Any:
    return Response("down", 503)(environ, start_response)


class Kept:
    store = STORE


def read(**options: Any) -> dict[str, Any]:
    """Return the arguments, of options whose dots are written as two underscores."""
    named = {name.replace("__", "."): value for name, value in options.items()}
    return read_options({"store": STORE, **named})[1]


def refused(settings: dict[str, Any], prefix: str = "") -> str:
    """Return the message of the error."""
    with pytest.raises(ValueError) as caught:
        read_options(settings, prefix)
    assert type(caught.value) is ValueError
    return str(caught.value)


class TestStore:
    @pytest.mark.parametrize(
        ("text", "kind"),
        [
            ("memory:", MemoryStore),
            ("memory:?max_records=5", MemoryStore),
            ("file:///sessions", FileStore),
            ("file:sessions/here", FileStore),
            ("sqlite:////sessions.db", SQLiteStore),
            ("  sqlite:///sessions.db\n", SQLiteStore),
        ],
    )
    def test_a_url_makes_it(self, text: str, kind: type) -> None:
        assert type(read_options({"store": text})[0]) is kind

    @pytest.mark.parametrize("name", ["STORE", "make_store", "Kept.store"])
    def test_a_dotted_name_finds_it(self, name: str) -> None:
        assert read_options({"store": f"{__name__}:{name}"}) == (STORE, {})

    def test_a_dotted_name_of_a_class_makes_one(self) -> None:
        assert type(read_options({"store": "wsgi_sessions.stores.memory:MemoryStore"})[0]) is MemoryStore

    def test_one_made_by_code_is_taken_as_it_is(self) -> None:
        assert read_options({"store": STORE})[0] is STORE

    @pytest.mark.parametrize("url", ["memory:", "memory:?"])
    def test_its_own_options_are_added_to_the_url(self, url: str) -> None:
        store, _ = read_options({"store": url, "store.max_records": "1"})
        with pytest.raises(Exception, match="1"):
            fill(store, 2)

    def test_its_own_options_may_be_numbers_and_hold_anything(self) -> None:
        store, _ = read_options({"store": "memory:", "store.max_records": 1})
        with pytest.raises(Exception, match="1"):
            fill(store, 2)

    def test_its_own_options_are_encoded_for_the_url(self) -> None:
        store, _ = read_options({"store": "redis://localhost", "store.prefix": "a&b=c%20:"})
        assert isinstance(store, RedisStore)
        assert store.prefix == "a&b=c%20:"

    @pytest.mark.parametrize(
        ("settings", "told"),
        [
            ({}, "store is missing: write a URL such as sqlite:"),
            ({"store": None}, "store is missing"),
            ({"store": ""}, "store is empty"),
            ({"store": " "}, "store is empty"),
            ({"store": "nowhere"}, "store cannot be used: a store's URL needs a scheme"),
            ({"store": "ftp://x"}, "store cannot be used: no store has URLs that begin with ftp:; known are memory"),
            ({"store": "memory:?x=1"}, "known are max_records"),
            ({"store": "memory:", "store.x": "1"}, "has no option 'x'; known are max_records"),
            ({"store": "memory:", "store.max_records": "many"}, "max_records must be a number"),
            ({"store": "memory:", "store.max_records": ""}, "store.max_records is empty"),
            ({"store": "memory:", "store.max_records": True}, "store.max_records must be a text or a number"),
            ({"store": "memory:?max_records=1", "store.max_records": "1"}, "an option stands twice"),
            ({"store": STORE, "store.max_records": "1"}, "store is no URL to which store.max_records"),
            ({"store": f"{__name__}:STORE", "store.max_records": "1"}, "store is no URL to which store.max_records"),
            ({"store": "memory:", "store.": "1"}, "unknown option 'store.'"),
            ({"store": "no_such_module:store"}, "store cannot be imported: No module named 'no_such_module'"),
            ({"store": f"{__name__}:absent"}, "has no attribute 'absent'"),
            ({"store": f"{__name__}:NO_STORE"}, "store must be a URL such as"),
            ({"store": f"{__name__}:make_something"}, "store must be a URL such as"),
            ({"store": f"{__name__}:needs_an_argument"}, "store names what cannot be called without arguments"),
            ({"store": 5}, "package.module:attribute of a store, not int"),
            ({"store": MemoryStore}, "of a store, not the class MemoryStore"),
        ],
    )
    def test_what_is_none_is_refused(self, settings: dict[str, Any], told: str) -> None:
        assert told in refused(settings)

    def test_an_error_inside_of_its_module_is_told_as_it_is(self, tmp_path: Any, monkeypatch: Any) -> None:
        (tmp_path / "broken_shop.py").write_text("raise LookupError('the shop is closed')")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(LookupError, match="closed"):
            read_options({"store": "broken_shop:store"})

    def test_an_import_that_fails_keeps_its_cause(self) -> None:
        with pytest.raises(ValueError) as caught:
            read_options({"store": "no_such_module:store"})
        assert isinstance(caught.value.__cause__, ImportError)


def fill(store: Any, count: int) -> None:
    for number in range(count):
        with open_session(store) as session:
            session["k"] = number


class TestCookie:
    @pytest.mark.parametrize(
        ("option", "value", "expected"),
        [
            ("name", "sid", SessionCookie("sid")),
            ("path", "/shop", SessionCookie(path="/shop")),
            ("domain", "example.com", SessionCookie(domain="example.com")),
            ("domain", "", SessionCookie()),
            ("domain", " ", SessionCookie()),
            ("domain", None, None),
            ("secure", "false", SessionCookie(secure=False)),
            ("secure", False, SessionCookie(secure=False)),
            ("http_only", "no", SessionCookie(http_only=False)),
            ("same_site", "strict", SessionCookie(same_site="Strict")),
            ("same_site", "None", SessionCookie(same_site="None")),
            ("partitioned", "on", SessionCookie(partitioned=True)),
            ("form", "plain", SessionCookie()),
        ],
    )
    def test_an_attribute(self, option: str, value: Any, expected: SessionCookie | None) -> None:
        assert read_options({"store": STORE, f"cookie.{option}": value})[1].get("cookie", SessionCookie()) == (
            expected or SessionCookie()
        )

    def test_all_attributes_together(self) -> None:
        found = read(
            cookie__name="sid",
            cookie__path="/shop",
            cookie__domain="example.com",
            cookie__secure="yes",
            cookie__http_only="1",
            cookie__same_site="Strict",
            cookie__partitioned="true",
        )["cookie"]
        assert found == SessionCookie("sid", path="/shop", domain="example.com", same_site="Strict", partitioned=True)

    @pytest.mark.parametrize(("form", "kind"), [("signed", SignedCookie), ("encrypted", EncryptedCookie)])
    def test_keys_are_separated_by_whitespace_and_the_last_one_writes(self, form: str, kind: Any) -> None:
        found = read(cookie__form=form, cookie__keys=f"\n{OLD}\n  {NEW}", cookie__name="sid", cookie__secure="off")
        assert found["cookie"] == kind([OLD, NEW], "sid", secure=False)
        assert found["cookie"] != kind([NEW, OLD], "sid", secure=False)

    def test_keys_from_code_are_a_list(self) -> None:
        assert read(cookie__form="signed", cookie__keys=[OLD, NEW.encode()])["cookie"] == SignedCookie([OLD, NEW])

    def test_one_made_by_code_is_taken_as_it_is(self) -> None:
        cookie = SessionCookie("sid")
        assert read(cookie=cookie)["cookie"] is cookie

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({"cookie": "sid"}, "cookie is for a SessionCookie made by code: write cookie.name"),
            ({"cookie": SessionCookie(), "cookie.path": "/"}, "cookie cannot be combined with cookie.path"),
            ({"cookie": SessionCookie(), "cookie.keys": NEW}, "cookie cannot be combined with cookie.keys"),
            ({"cookie.name": "a b"}, "cookie.name cannot be used: cookie name 'a b' must be letters"),
            ({"cookie.name": ""}, "cookie.name is empty"),
            ({"cookie.name": 5}, "cookie.name must be a text, not int"),
            ({"cookie.path": "shop"}, "cookie.path cannot be used: path 'shop' must start with a slash"),
            ({"cookie.domain": ".example.com"}, "cookie.domain cannot be used: domain '.example.com' must not start"),
            ({"cookie.secure": "maybe"}, "cookie.secure must be true or false, yes or no, on or off, 1 or 0"),
            ({"cookie.secure": 1}, "cookie.secure must be true or false"),
            ({"cookie.secure": ""}, "cookie.secure is empty"),
            ({"cookie.http_only": "2"}, "cookie.http_only must be true"),
            ({"cookie.same_site": "loose"}, "cookie.same_site cannot be used: same_site 'loose' must be 'Strict'"),
            ({"cookie.partitioned": "t"}, "cookie.partitioned must be true"),
            ({"cookie.form": "jwt"}, "cookie.form must be plain, signed or encrypted"),
            ({"cookie.form": "signed"}, "cookie.keys is missing"),
            ({"cookie.form": "encrypted"}, "cookie.keys is missing"),
            ({"cookie.keys": NEW}, "cookie.keys is for cookie.form = signed or encrypted"),
            ({"cookie.form": "plain", "cookie.keys": NEW}, "cookie.keys is for cookie.form = signed or encrypted"),
            ({"cookie.form": "signed", "cookie.keys": "short"}, "cookie.keys cannot be used: keys[0] is shorter"),
            ({"cookie.form": "encrypted", "cookie.keys": f"{NEW} x"}, "cookie.keys cannot be used: keys[1] is shorter"),
            (
                {"cookie.form": "signed", "cookie.keys": "a" * 64},
                "cookie.keys cannot be used: keys[0] is a repetition",
            ),
            (
                {"cookie.form": "signed", "cookie.keys": f"{NEW} " * 6},
                "cookie.keys cannot be used: keys must be 1 to 5",
            ),
            ({"cookie.form": "signed", "cookie.keys": [5]}, "cookie.keys cannot be used: keys[0] must be str or bytes"),
            ({"cookie.form": "signed", "cookie.keys": NEW.encode()}, "cookie.keys must be keys with whitespace"),
            (
                {"cookie.same_site": "None", "cookie.secure": "no"},
                "cookie cannot be made of cookie.secure, cookie.same_site: same_site='None' needs secure=True",
            ),
            ({"cookie.name": "__Host-id", "cookie.path": "/shop"}, "a __Host- cookie has no domain and path '/'"),
        ],
    )
    def test_what_is_none_is_refused(self, options: dict[str, Any], told: str) -> None:
        message = refused({"store": STORE, **options})
        assert told in message
        assert message.startswith("cookie")

    def test_only_an_encrypted_one_needs_its_extra(self) -> None:
        code = f"""
import sys
sys.modules["cryptography"] = None
from wsgi_sessions.integrations.base import read_options
settings = {{"store": "memory:", "cookie.keys": {NEW!r}}}
print(read_options({{**settings, "cookie.form": "signed"}})[1]["cookie"].name)
try:
    read_options({{**settings, "cookie.form": "encrypted"}})
except ImportError as error:
    print(error)
"""
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        assert result.stdout == "id\nEncryptedCookie needs cryptography: pip install wsgi-sessions[encrypted]\n"


class TestExpiry:
    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({"expiry": "OnSessionEnd"}, OnSessionEnd()),
            ({"expiry.ttl": "1 day"}, OnSessionEnd(timedelta(days=1))),
            ({"expiry.touch_every": "0"}, OnSessionEnd(touch_every=timedelta(0))),
            (
                {"expiry": "OnSessionEnd", "expiry.ttl": "3600", "expiry.touch_every": "5 minutes"},
                OnSessionEnd(timedelta(hours=1), timedelta(minutes=5)),
            ),
            ({"expiry": "OnInactivity", "expiry.idle": "30 minutes"}, OnInactivity(timedelta(minutes=30))),
            (
                {"expiry": "OnInactivity", "expiry.idle": timedelta(1), "expiry.touch_every": "never"},
                OnInactivity(timedelta(1), None),
            ),
            ({"expiry": "AtDateTime", "expiry.at": "2030-01-31T12:00:00Z"}, AtDateTime(NOON)),
            ({"expiry": "AtDateTime", "expiry.at": "2030-01-31 14:00+02:00"}, AtDateTime(NOON)),
            ({"expiry": "AtDateTime", "expiry.at": NOON.astimezone(timezone(timedelta(hours=-5)))}, AtDateTime(NOON)),
            ({"expiry": OnInactivity(timedelta(1))}, OnInactivity(timedelta(1))),
        ],
    )
    def test_a_policy(self, options: dict[str, Any], expected: Any) -> None:
        assert read_options({"store": STORE, **options})[1] == {"expiry": expected}

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({"expiry": "Never"}, "expiry must be OnSessionEnd, OnInactivity, AtDateTime"),
            ({"expiry": ""}, "expiry is empty"),
            ({"expiry": OnSessionEnd}, "expiry must be OnSessionEnd"),
            ({"expiry": 3600}, "expiry must be OnSessionEnd"),
            ({"expiry": OnSessionEnd(), "expiry.ttl": "1"}, "expiry cannot be combined with expiry.ttl"),
            ({"expiry.idle": "1 hour"}, "expiry.idle is an option of OnInactivity, and expiry is OnSessionEnd"),
            (
                {"expiry": "OnInactivity", "expiry.ttl": "1"},
                "expiry.ttl is an option of OnSessionEnd, and expiry is On",
            ),
            ({"expiry": "OnInactivity", "expiry.at": "1"}, "expiry.at is an option of AtDateTime, and"),
            (
                {"expiry": "AtDateTime", "expiry.touch_every": "1"},
                "expiry.touch_every is an option of OnSessionEnd and OnInactivity, and expiry is AtDateTime",
            ),
            ({"expiry": "OnInactivity"}, "expiry.idle is missing: OnInactivity needs it, such as 30 minutes"),
            ({"expiry": "AtDateTime"}, "expiry.at is missing: AtDateTime needs it, such as 2030-"),
            ({"expiry.ttl": "0"}, "expiry.ttl must be at least a millisecond"),
            (
                {"expiry.ttl": "never"},
                "expiry.ttl must be a number of seconds, or a number and one of seconds, minutes",
            ),
            ({"expiry": "OnInactivity", "expiry.idle": ""}, "expiry.idle is empty"),
            ({"expiry.ttl": "60", "expiry.touch_every": "61"}, "expiry.touch_every must lie between 0 and ttl"),
            ({"expiry.touch_every": "often"}, "expiry.touch_every must be a number of seconds"),
            ({"expiry.touch_every": "often"}, "or never"),
            ({"expiry.touch_every": timedelta(-1)}, "expiry.touch_every must lie between 0 and ttl"),
            (
                {"expiry": "AtDateTime", "expiry.at": "2030-01-31T12:00:00"},
                "expiry.at must be a date and time with its",
            ),
            ({"expiry": "AtDateTime", "expiry.at": "2030-01-31"}, "expiry.at must be a date and time with its zone"),
            ({"expiry": "AtDateTime", "expiry.at": "tomorrow"}, "such as 2030-01-31T12:00:00+00:00"),
            ({"expiry": "AtDateTime", "expiry.at": datetime(2030, 1, 1)}, "expiry.at must be a date and time"),
        ],
    )
    def test_what_is_none_is_refused(self, options: dict[str, Any], told: str) -> None:
        message = refused({"store": STORE, **options})
        assert told in message
        assert message.startswith("expiry")


class TestDurations:
    @given(
        st.integers(0, 100_000),
        st.sampled_from(["second", "minute", "hour", "day", "week"]),
        st.sampled_from(["", "s"]),
        st.sampled_from(["", " ", "\t  "]),
    )
    def test_a_number_and_a_unit(self, number: int, unit: str, plural: str, space: str) -> None:
        text = f"{number + 1}{space}{unit}{plural}"
        expected = timedelta(**{f"{unit}s": number + 1})
        assert read(max_lifetime=text, sweep_every=text.upper()) == {"max_lifetime": expected, "sweep_every": expected}

    @given(st.floats(0.001, 1e9), st.sampled_from([1, 60]))
    def test_fractions_are_fractions_of_the_unit(self, number: float, seconds: int) -> None:
        text = f"{number:.3f} {'second' if seconds == 1 else 'minute'}s"
        found = read(max_lifetime=text)["max_lifetime"]
        assert abs(found - timedelta(seconds=float(f"{number:.3f}") * seconds)) <= timedelta(microseconds=10)

    @given(st.integers(1, 10**9) | st.floats(1, 1e9))
    def test_a_number_alone_is_one_of_seconds(self, number: float) -> None:
        expected = timedelta(seconds=number)
        assert read(max_lifetime=number)["max_lifetime"] == expected
        assert read(max_lifetime=repr(number))["max_lifetime"] == expected

    @given(st.timedeltas(min_value=timedelta(milliseconds=1)))
    def test_one_made_by_code_is_taken_as_it_is(self, duration: timedelta) -> None:
        assert read(max_lifetime=duration)["max_lifetime"] == duration

    @given(st.text() | st.integers() | st.floats() | st.none() | st.booleans() | st.binary() | st.timedeltas())
    def test_anything_else_is_an_error_that_names_the_option(self, value: Any) -> None:
        told = ""
        try:
            found = read(max_lifetime=value).get("max_lifetime")
        except ValueError as error:
            found, told = None, str(error)
        assert (value is None and not told) or told.startswith("max_lifetime ") or found >= timedelta(milliseconds=1)

    @pytest.mark.parametrize(
        "text",
        ["-5", "5 fortnights", "5 min", "1h", "1 hour 30 minutes", "1e3", "1,5", ".5", "5.", "٣ hours", "inf", "nan"],
    )
    def test_texts_of_other_notations_are_refused(self, text: str) -> None:
        assert "or a number and one of seconds, minutes, hours, days, weeks" in refused(
            {"store": STORE, "sweep_every": text}
        )

    @pytest.mark.parametrize("value", ["9" * 30, "9" * 5000, "99999999999 weeks", 10**30, float("inf"), float("nan")])
    def test_what_is_longer_than_there_is_time_is_refused(self, value: Any) -> None:
        assert "max_lifetime is too long, or no number" in refused({"store": STORE, "max_lifetime": value})


class TestTheRest:
    @pytest.mark.parametrize("text", ["true", "yes", "on", "1", "True", "YES", " On "])
    def test_texts_that_are_true(self, text: str) -> None:
        assert read(always_save=text) == {"always_save": True}

    @pytest.mark.parametrize("text", ["false", "no", "off", "0", "False", "NO", "\tOff"])
    def test_texts_that_are_false(self, text: str) -> None:
        assert read(always_save=text) == {"always_save": False}

    @pytest.mark.parametrize("value", [True, False])
    def test_booleans_of_code(self, value: bool) -> None:
        assert read(always_save=value) == {"always_save": value}

    @pytest.mark.parametrize("value", ["100000", 100000])
    def test_the_largest_payload(self, value: Any) -> None:
        assert read(max_payload=value) == {"max_payload": 100000}

    @pytest.mark.parametrize("value", [down, f"{__name__}:down"])
    def test_the_error_app_is_found(self, value: Any) -> None:
        assert read(error_app=value) == {"error_app": down}

    def test_a_method_of_an_object_is_found(self) -> None:
        assert read(on_deleted=f"{__name__}:calls.append", sweep_every="1 hour") == {
            "on_deleted": calls.append,
            "sweep_every": timedelta(hours=1),
        }

    def test_none_is_not_given(self) -> None:
        assert read_options({"store": STORE, **dict.fromkeys(OPTIONS - {"store"})}) == (STORE, {})

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({"always_save": "maybe"}, "always_save must be true or false, yes or no, on or off, 1 or 0"),
            ({"always_save": ""}, "always_save is empty: give it a value, or leave it out"),
            ({"always_save": 1}, "always_save must be true or false"),
            ({"max_payload": "64k"}, "max_payload must be a number of bytes, such as 65536"),
            ({"max_payload": "0"}, "max_payload must be a number"),
            ({"max_payload": "-1"}, "max_payload must be a number"),
            ({"max_payload": 0.5}, "max_payload must be a number"),
            ({"max_payload": True}, "max_payload must be a number"),
            ({"max_payload": "9" * 5000}, "max_payload must be a number"),
            ({"max_lifetime": "0"}, "max_lifetime must be at least a millisecond"),
            ({"max_lifetime": timedelta(-1)}, "max_lifetime must be at least a millisecond"),
            ({"max_lifetime": True}, "max_lifetime must be a number of seconds"),
            ({"max_lifetime": "never"}, "max_lifetime must be a number of seconds"),
            ({"sweep_every": "0 days"}, "sweep_every must be at least a millisecond"),
            ({"sweep_every": ""}, "sweep_every is empty"),
            ({"error_app": "down"}, "error_app must be a name such as package.module:attribute"),
            ({"error_app": f"{__name__}:NO_STORE"}, "error_app must be something to call, not int"),
            ({"error_app": 5}, "error_app must be something to call, not int"),
            ({"error_app": "no_such_module:app"}, "error_app cannot be imported: No module named 'no_such_module'"),
            ({"on_deleted": calls.append}, "on_deleted is called by the sweeper: give sweep_every too"),
            ({"on_deleted": "nowhere:f", "sweep_every": "1"}, "on_deleted cannot be imported"),
        ],
    )
    def test_wrong_values_are_refused(self, options: dict[str, Any], told: str) -> None:
        assert refused({"store": STORE, **options}).startswith(told)


class TestLegacy:
    @pytest.mark.parametrize(
        "value", [f"{__name__}:SOURCES", f" {__name__}:make_sources\n", SOURCES, tuple(SOURCES), make_sources]
    )
    def test_a_list_of_sources_or_a_function_that_makes_it_is_found(self, value: Any) -> None:
        found = read(legacy=value, retire="keep")
        assert list(found.pop("legacy")) == SOURCES
        assert found == {"retire": "keep"}

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({"legacy": "FlaskSource"}, "legacy must be a name such as package.module:attribute"),
            ({"legacy": ""}, "legacy is empty"),
            ({"legacy": "no_such_module:sources"}, "legacy cannot be imported: No module named 'no_such_module'"),
            ({"legacy": f"{__name__}:absent"}, "legacy cannot be imported"),
            ({"legacy": f"{__name__}:needs_an_argument"}, "legacy names what cannot be called without arguments"),
            ({"legacy": f"{__name__}:make_something"}, "legacy must be a list of sources, not str"),
            ({"legacy": f"{__name__}:NO_STORE"}, "legacy must be a list of sources, not int"),
            ({"legacy": SOURCES[0]}, "legacy must be a list of sources, not FlaskSource: write legacy=[source]"),
            ({"legacy": [FlaskSource]}, "legacy must be a list of sources such as FlaskSource(secret_key), not of the"),
            ({"legacy": 5}, "legacy must be a list of sources, not int"),
            ({"legacy": SOURCES, "retire": "forget"}, "retire must be delete or keep"),
            ({"legacy": SOURCES, "retire": True}, "retire must be delete or keep"),
            ({"retire": "keep"}, "retire is for the sessions of other libraries: give legacy too"),
        ],
    )
    def test_what_is_none_is_refused(self, options: dict[str, Any], told: str) -> None:
        assert refused({"store": STORE, **options}).startswith(told)


class TestUnknownOptions:
    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("cookie.samesite", "cookie.same_site"),
            ("httponly", "cookie.http_only"),
            ("domain", "cookie.domain"),
            ("Store", "store"),
            ("ttl", "expiry.ttl"),
            ("COOKIE.SECURE", "cookie.secure"),
            ("expiry.timeout", None),
            ("cookie.max_age", None),
            ("max_life_time", "max_lifetime"),
            ("colour", None),
        ],
    )
    def test_the_nearest_is_named_if_there_is_one(self, name: str, meant: str | None) -> None:
        message = refused({"store": STORE, name: "x"})
        assert message.startswith(f"unknown option '{name}'; ")
        if meant is not None:
            assert f"; did you mean {meant}? known are " in message

    def test_all_that_are_known_are_named(self) -> None:
        known = refused({"store": STORE, "colour": "x"}).partition("known are ")[2].split(", ")
        assert known == [*sorted(OPTIONS), "store.<option>"]

    def test_they_are_refused_also_without_a_value(self) -> None:
        assert "'colour'" in refused({"store": STORE, "colour": None})

    @pytest.mark.parametrize("name", [NEW, NEW[:12], "pass word", "x" * 41])
    def test_a_name_that_may_be_a_key_is_not_shown(self, name: str) -> None:
        """A line of keys that is not indented, and holds an equals sign, is an option to a parser."""
        message = refused({"store": STORE, name: ""})
        assert message.startswith("unknown option (no name: is a line not indented?); ")
        assert name not in message


class TestPrefix:
    def test_only_settings_with_it_are_options(self) -> None:
        settings = {"pyramid.reload": "x", "store": "y", "shop.store": "memory:", "shop.cookie.name": "sid"}
        store, arguments = read_options(settings, "shop.")
        assert type(store) is MemoryStore
        assert arguments == {"cookie": SessionCookie("sid")}

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({}, "shop.store is missing"),
            ({"store": "nowhere"}, "shop.store cannot be used"),
            ({"store": "memory:", "store.max_records": ""}, "shop.store.max_records is empty"),
            ({"store": "memory:", "cookie.secure": "x"}, "shop.cookie.secure must be"),
            ({"store": "memory:", "expiry.idle": "x"}, "shop.expiry.idle is an option of"),
            ({"store": "memory:", "expiry.ttl": "9", "expiry.touch_every": "10"}, "shop.expiry.touch_every must"),
            ({"store": "memory:", "max_lifetime": "x"}, "shop.max_lifetime must be"),
            ({"store": "memory:", "on_deleted": calls.append}, "on_deleted is called by the sweeper: give shop.sweep"),
            ({"store": "memory:", "retire": "keep"}, "sessions of other libraries: give shop.legacy too"),
            ({"store": "memory:", "legacy": [5]}, "shop.legacy must be a list of sources"),
            (
                {"store": "memory:", "stroe": "x"},
                "unknown option 'shop.stroe'; did you mean shop.store? known are shop.",
            ),
        ],
    )
    def test_errors_name_settings_as_they_were_written(self, options: dict[str, Any], told: str) -> None:
        assert told in refused({f"shop.{name}": value for name, value in options.items()}, "shop.")


class TestSecrets:
    @pytest.mark.parametrize(
        "options",
        [
            {"cookie.form": "signed", "cookie.keys": "hidden-hidden"},
            {"cookie.form": "signed", "cookie.keys": "hidden-hidden " * 7},
            {"cookie.keys": "hidden-hidden"},
            {"cookie.form": "hidden-hidden"},
            {"cookie.secure": "hidden-hidden"},
            {"expiry": "hidden-hidden"},
            {"max_payload": "hidden-hidden"},
            {"max_lifetime": "hidden-hidden"},
            {"expiry": "AtDateTime", "expiry.at": "hidden-hidden"},
            {"error_app": "hidden-hidden"},
            {"legacy": "hidden-hidden"},
            {"legacy": SOURCES, "retire": "hidden-hidden"},
            {"store": "redis://user:hidden-hidden@localhost:port/0"},
            {"store": "redis://user:hidden-hidden@localhost/0?colour=1"},
            {"store": "redis://user:hidden-hidden@localhost/0", "store.colour": "1"},
            {"store": "ftp://user:hidden-hidden@localhost"},
            {"store": "postgresql://user:hidden-hidden@localhost/db?colour=1"},
            {"store": "postgresql://user:hidden-hidden@localhost/db", "store.table": "a b"},
            {"store": "mysql://user:hidden-hidden@localhost/db?colour=1"},
            {"store": "memory://user:hidden-hidden@localhost"},
            {"store": "://user:hidden-hidden@[localhost"},
            {"store": "user:hidden-hidden@localhost"},
            {"store": "memory:", "store.max_records": "hidden-hidden"},
            {"store": "redis://user:hidden-hidden#x@localhost/0", "store.prefix": "x"},
        ],
    )
    def test_no_error_repeats_one(self, options: dict[str, Any]) -> None:
        with pytest.raises(ValueError) as caught:
            read_options({"store": "memory:", **options})
        error: BaseException | None = caught.value
        while error is not None:
            assert "hidden" not in str(error)
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_the_arguments_are_those_of_the_middleware() -> None:
    settings = {
        "store": "memory:",
        "cookie.name": "sid",
        "expiry": "OnInactivity",
        "expiry.idle": "1 hour",
        "max_lifetime": "8 hours",
        "always_save": "yes",
        "max_payload": "1000",
        "error_app": f"{__name__}:down",
        "sweep_every": "5 minutes",
        "on_deleted": f"{__name__}:calls.append",
        "legacy": f"{__name__}:SOURCES",
        "retire": "keep",
    }
    store, arguments = read_options(settings)
    middleware = SessionMiddleware(down, store, **arguments)
    assert middleware.store is store
    assert middleware.cookie == SessionCookie("sid")
    assert set(arguments) == {"cookie", *settings} - {"store", "cookie.name", "expiry.idle"}


def test_every_option_has_a_case_above() -> None:
    here = Path(__file__).read_text()
    # As read() has it, or as the first of a case of the cookie's attributes.
    written = {name: (f'"{name}"', f"{name.replace('.', '__')}=", f'("{name.partition(".")[2]}",') for name in OPTIONS}
    assert [name for name, forms in written.items() if not any(form in here for form in forms)] == []


def test_the_example_in_the_docstring_is_true() -> None:
    outcome = doctest.testmod(base)
    assert (outcome.attempted, outcome.failed) == (1, 0)
