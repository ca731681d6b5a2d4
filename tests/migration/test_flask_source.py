"""Sessions of Flask's signed cookie: what old versions wrote, what the installed one writes, and what nobody did."""

from __future__ import annotations

import contextlib
import hashlib
import json
import zlib
from base64 import b64encode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import flask
import pytest
from flask.sessions import SecureCookieSessionInterface
from flask_pyramid_samples import JSON, cookie_of, entries, label, mutated, written_at
from harness import Site
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import Signer
from markupsafe import Markup
from werkzeug.http import parse_cookie

from wsgi_sessions import SessionCookie, clock
from wsgi_sessions.legacy import LegacyError, LegacySession, Reason
from wsgi_sessions.migration import beaker
from wsgi_sessions.migration.base import Source, Unknown
from wsgi_sessions.migration.django import DjangoCookieSource
from wsgi_sessions.migration.flask import FlaskSource
from wsgi_sessions.testing import ReplacedClock

OLD, NEW = entries("flask-0.12.5-py27"), entries("flask-3.1.3")
KEY = "k1"
DAY = 86_400_000
_TYPED: dict[str, Any] = {
    **JSON,
    "dt": datetime(2024, 2, 29, 12, 34, 56, tzinfo=UTC),
    "bytes": b"\x00\xff\x80abc",
    "tup": (1, "two", (3.0, None)),
    "uuid": UUID("12345678-1234-5678-1234-567812345678"),
    "mk": Markup("<b>x</b>"),
    "l2": [(1, 2), {"x": (b"q",)}],
    "tagclash2": {" t__": 5},
}
# Before there was an escape, Flask itself took {" t": [1, 2]} for the tuple (1, 2).
DATA = {
    ("3.1.3", "flask"): {**_TYPED, "tagclash": {" t": [1, 2]}},
    ("0.12.5", "flask"): {**_TYPED, "tagclash": (1, 2)},
    ("3.1.3", "none"): {"date": "Mon, 01 Jan 2024 00:00:00 GMT", "dec": "1.10"},
    ("0.12.5", "none"): {"ik": {"1": "x"}},
    "small": {"user_id": 7},
    "flash": {"_flashes": [("message", "hello"), ("error", "err")]},
}


def expected(entry: dict[str, Any]) -> dict[str, Any]:
    """Return what a sample reads back to."""
    if entry is NEW[-1]:
        return {"ik": {"1": "x"}}
    return DATA.get((entry["version"], entry["data"])) or DATA[entry["data"]]


def source_of(entry: dict[str, Any]) -> FlaskSource:
    options = entry["options"]
    return FlaskSource(
        options.get("SECRET_KEY", b"\x00\xffkey"),
        fallbacks=options.get("SECRET_KEY_FALLBACKS", ()),
        cookie_name=options.get("SESSION_COOKIE_NAME", "session"),
    )


def written(data: Any, at: int | None = None, key: str | bytes = KEY, *, epoch: int = 0) -> str:
    """Return a cookie that is signed as Flask does, whatever it holds.

    :param at: when, Unix seconds.
    """
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    seconds = (clock.now() // 1000 if at is None else at) - epoch
    stamp = seconds.to_bytes((seconds.bit_length() + 7) // 8, "big")
    return signed(b".".join(urlsafe_b64encode(part).rstrip(b"=") for part in (text, stamp)), key)


def signed(payload: bytes, key: str | bytes = KEY) -> str:
    signer = Signer(key, salt="cookie-session", key_derivation="hmac", digest_method=hashlib.sha1)
    return signer.sign(payload).decode("latin-1")


def refused(source: FlaskSource, cookie: str) -> LegacyError:
    with pytest.raises(LegacyError) as caught:
        source.open(cookie)
    assert len(cookie) < 20 or cookie not in repr(caught.value)
    return caught.value


class TestSamples:
    @pytest.mark.parametrize("entry", OLD + NEW, ids=label)
    def test_each_reads_back_to_what_was_put_in(self, entry: dict[str, Any]) -> None:
        name, cookie = cookie_of(entry)
        source = source_of(entry)
        with written_at(entry):
            assert source.cookies(f"other=1; {name}={cookie}") == [cookie]
            session = source.open(cookie)
        assert session.data == expected(entry)
        assert list(map(type, session.data.values())) == [type(expected(entry)[key]) for key in session.data]
        assert session.dropped == ()
        assert session.persistent == (entry["variant"] == "permanent")
        assert session.created is None
        assert session.expires == int(entry["t"]) * 1000 + 31 * DAY

    @pytest.mark.parametrize("entry", OLD + NEW, ids=label)
    def test_none_is_read_with_another_key(self, entry: dict[str, Any]) -> None:
        with written_at(entry):
            error = refused(FlaskSource("another key"), cookie_of(entry)[1])
        assert error.reason == Reason.BAD_SIGNATURE

    @pytest.mark.parametrize("entry", [OLD[0], OLD[2], NEW[2], NEW[3]], ids=label)
    def test_none_that_was_changed_is_read(self, entry: dict[str, Any]) -> None:
        source, cookie = source_of(entry), cookie_of(entry)[1]
        with written_at(entry):
            source.open(cookie)
            for other in mutated(cookie):
                if other == cookie:
                    continue
                assert refused(source, other).reason == Reason.BAD_SIGNATURE
                with pytest.raises(LegacyError):
                    source.identify(other)

    def test_each_ends_when_flask_ends_it(self) -> None:
        _, cookie = cookie_of(NEW[1])
        source = source_of(NEW[1])
        with written_at(NEW[1]) as time:
            time.advance(timedelta(days=31) - timedelta(seconds=1))
            source.open(cookie)
            time.advance(timedelta(seconds=1))
            assert refused(source, cookie).reason == Reason.EXPIRED


@pytest.fixture
def source() -> FlaskSource:
    return FlaskSource(KEY)


class TestSignature:
    def test_every_key_is_tried(self) -> None:
        source = FlaskSource("new", fallbacks=["old", b"\xffoldest"])
        assert [source.open(written({"a": 1}, key=key)).data for key in ("new", "old", b"\xffoldest")] == [{"a": 1}] * 3
        assert refused(source, written({"a": 1}, key="older")).reason == Reason.BAD_SIGNATURE

    def test_an_interface_of_its_own_is_followed(self) -> None:
        class Interface(SecureCookieSessionInterface):
            salt = "own salt"
            digest_method = staticmethod(hashlib.sha512)
            key_derivation = "django-concat"

        cookie = store_with_flask({"a": 1}, Interface())
        options: dict[str, Any] = {"salt": "own salt", "digest_method": "sha512", "key_derivation": "django-concat"}
        assert FlaskSource(KEY, **options).open(cookie).data == {"a": 1}
        for left_out in options:
            rest = {name: value for name, value in options.items() if name != left_out}
            assert refused(FlaskSource(KEY, **rest), cookie).reason == Reason.BAD_SIGNATURE

    @pytest.mark.parametrize("cookie", ["", ".", "..", "a", "a.b", "a.b.c", "é.b.c", "\ud800.a.b", "." * 4000])
    def test_what_flask_never_wrote_is_refused(self, source: FlaskSource, cookie: str) -> None:
        assert refused(source, cookie).reason == Reason.BAD_SIGNATURE

    def test_a_cookie_is_identified_by_itself(self, source: FlaskSource) -> None:
        cookie = written({"a": 1})
        assert source.identify(cookie) == [cookie]

    def test_one_from_the_future_is_refused_and_kept(self) -> None:
        """A server's clock was ahead, and itsdangerous before 2.0 did not mind."""
        with ReplacedClock() as time:
            site = Site(legacy=[FlaskSource(KEY)])
            visitor = site.visitor()
            visitor.put("session", written({"user": "ann"}, at=time.now() // 1000 + 90))
            users: list[Any] = []
            assert visitor.visit(lambda session: users.append(session.get("user"))).header("Set-Cookie") is None
            time.advance(timedelta(seconds=60))
            visitor.visit(lambda session: users.append(session.get("user")))
            assert users == [None, "ann"]
            assert site.middleware.legacy_counts == {("flask", "corrupt"): 1, ("flask", "taken-over"): 1}

    @pytest.mark.parametrize(
        ("options", "first"),
        [
            ({}, parse_cookie("session=a; session=b")["session"]),
            ({"takes_last": True}, "b"),
            ({"python2": True}, "b"),
            ({"python2": True, "takes_last": False}, "a"),
        ],
    )
    def test_of_two_cookies_the_one_comes_first_that_werkzeug_took(self, options: dict[str, Any], first: str) -> None:
        """Before 1.0 it was the last."""
        assert FlaskSource(KEY, **options).cookies("session=a; session=b")[0] == first

    def test_a_domain_may_be_written_with_a_dot(self) -> None:
        """As Flask, Beaker and others have it in their configuration; browsers leave it away."""
        dotted = FlaskSource(KEY, domain=".example.com").removals(SessionCookie())
        assert dotted == FlaskSource(KEY, domain="example.com").removals(SessionCookie())
        assert "Domain=example.com" in dotted[0][1]
        for domain in ("..example.com", ".", ""):
            with pytest.raises(ValueError, match="domain"):
                FlaskSource(KEY, domain=domain)

    def test_one_as_itsdangerous_counted_before_1_0_is_read(self, source: FlaskSource) -> None:
        cookie = written({"a": 1}, epoch=1_293_840_000)
        assert source.open(cookie).expires == pytest.approx(clock.now() + 31 * DAY, abs=5_000)

    def test_the_lifetime_is_the_applications(self) -> None:
        source = FlaskSource(KEY, lifetime=timedelta(minutes=30))
        with ReplacedClock() as time:
            cookie = written({"a": 1})
            assert source.open(cookie).expires == time.now() // 1000 * 1000 + 1_800_000
            time.advance(timedelta(minutes=31))
            assert refused(source, cookie).reason == Reason.EXPIRED


class TestContents:
    @pytest.mark.parametrize(
        "payload",
        [b"", b"[]", b"1", b"null", b'{"a":', b"\xff", b"{}x", b"[" * 100_000, b'{"a":' * 900 + b"1" + b"}" * 900],
    )
    def test_what_is_signed_but_no_session_is_corrupt(self, source: FlaskSource, payload: bytes) -> None:
        assert refused(source, written(payload)).reason == Reason.CORRUPT

    @pytest.mark.parametrize("payload", [b".!", b".AAAA", b"!", b"A", b"", b"."])
    def test_what_is_signed_but_not_encoded_is_corrupt(self, source: FlaskSource, payload: bytes) -> None:
        stamp = written({}).split(".")[1].encode()
        assert refused(source, signed(payload + b"." + stamp)).reason == Reason.CORRUPT

    def test_what_inflates_to_too_much_is_refused(self, source: FlaskSource) -> None:
        stamp = written({}).split(".")[1].encode()
        bomb = urlsafe_b64encode(zlib.compress(json.dumps({"a": "x" * 3_000_000}).encode())).rstrip(b"=")
        assert len(bomb) < 5_000
        assert refused(source, signed(b"." + bomb + b"." + stamp)).reason == Reason.CORRUPT

    @pytest.mark.parametrize(
        ("tag", "body"),
        [(" u", "no hex"), (" u", 1), (" t", 1), (" b", "a"), (" d", "soon"), (" di", {})],
    )
    def test_a_tag_that_is_none_takes_its_own_key_along_only(self, source: FlaskSource, tag: str, body: Any) -> None:
        session = source.open(written({"ok": 1, "bad": {tag: body}}))
        assert session.data == {"ok": 1}
        assert [path for path, _ in session.dropped] == ["bad"]

    def test_such_a_session_can_be_refused(self) -> None:
        source = FlaskSource(KEY, on_unknown="refuse")
        assert refused(source, written({"ok": 1, "bad": {" u": 1}})).reason == Reason.UNSTORABLE

    def test_such_a_value_can_be_converted(self) -> None:
        def convert(path: str, unknown: Unknown) -> Any:
            return {path: unknown.state}

        source = FlaskSource(KEY, convert=convert)
        assert source.open(written({"bad": {" u": 1}})).data == {"bad": {"bad": 1}}

    def test_messages_written_by_python_2_are_text(self, source: FlaskSource) -> None:
        category = {" b": b64encode(b"message").decode()}
        data = {"_flashes": [{" t": [category, "hi"]}], "raw": category, "none": {" b": b64encode(b"\xff").decode()}}
        assert source.open(written(data)).data == {"_flashes": [("message", "hi")], "raw": b"message", "none": b"\xff"}
        python2 = FlaskSource(KEY, python2=True)
        assert python2.open(written(data)).data == {"_flashes": [("message", "hi")], "raw": "message", "none": b"\xff"}

    @pytest.mark.parametrize(
        ("data", "is_personal"),
        [
            ({"user": "anna"}, True),
            ({"_user_id": "7"}, True),
            ({"csrf_token": "4f1c"}, True),
            ({"lang": "de"}, False),
            ({"user": None, "user_id": 0}, False),
        ],
    )
    def test_what_two_visitors_may_have_in_common_is_not_personal(
        self, data: dict[str, Any], is_personal: bool
    ) -> None:
        assert FlaskSource(KEY).open(store_with_flask(data)).personal is is_personal

    def test_which_keys_are_personal_can_be_said(self) -> None:
        cookie = store_with_flask({"user": "guest", "cart_id": 9})
        assert not FlaskSource(KEY, personal_keys=[]).open(cookie).personal
        assert FlaskSource(KEY, personal_keys=["cart_id"]).open(cookie).personal

    def test_keys_of_the_framework_stay(self, source: FlaskSource) -> None:
        data = {"_user_id": "1", "_fresh": True, "_id": "a" * 128, "csrf_token": "t", "_permanent": True}
        session = source.open(written(data))
        assert session.data == {key: value for key, value in data.items() if key != "_permanent"}
        assert session.persistent

    def test_nan_is_read_as_flask_writes_it(self, source: FlaskSource) -> None:
        value = source.open(written({"x": float("nan")})).data["x"]
        assert value != value

    @given(st.binary(max_size=200))
    def test_whatever_is_signed_raises_nothing_else(self, payload: bytes) -> None:
        source = FlaskSource(KEY)
        for cookie in (written(payload), signed(payload)):
            with contextlib.suppress(LegacyError):
                assert isinstance(source.open(cookie), LegacySession)

    @given(
        st.sampled_from([" t", " b", " m", " u", " d", " di", "x"]),
        st.recursive(
            st.none()
            | st.integers()
            | st.text(max_size=40)
            | st.from_regex(r"[A-Z][a-z]{2}, \d{1,12} (Feb|Dec) \d{1,12} \d{1,12}:\d\d:\d\d GMT", fullmatch=True),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(st.sampled_from([" t", " b", " di", " u", "a__"]), inner, max_size=2)
            ),
            max_leaves=5,
        ),
    )
    def test_whatever_is_tagged_raises_nothing(self, tag: str, body: Any) -> None:
        session = FlaskSource(KEY).open(written({"ok": 1, "k": {tag: body}}))
        assert session.data["ok"] == 1

    @given(st.text(max_size=100))
    def test_whatever_is_presented_raises_nothing_else(self, cookie: str) -> None:
        with pytest.raises(LegacyError):
            FlaskSource(KEY).open(cookie)


def store_with_flask(data: dict[str, Any], interface: SecureCookieSessionInterface | None = None, **config: Any) -> str:
    """Return the cookie of an application of the installed Flask."""
    app = flask.Flask("shop")
    app.config.update(SECRET_KEY=KEY, **config)
    if interface is not None:
        app.session_interface = interface
    permanent = data.pop("_permanent", False)

    @app.route("/")
    def index() -> str:
        flask.session.update(data)
        flask.session.permanent = permanent
        return ""

    value = app.test_client().get("/").headers["Set-Cookie"].partition(";")[0]
    return value.removeprefix("session=")


def _in_seconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


_storable_by_flask = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"))
    | st.binary()
    | st.uuids()
    | st.datetimes(datetime(1900, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC)).map(_in_seconds)
    | st.text(max_size=5).map(Markup),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.sampled_from(["a", " t", " b", " di", " t__", "k"]), inner, max_size=2)
    ),
    max_leaves=8,
)


class TestInstalledFlask:
    @given(st.dictionaries(st.sampled_from(["a", " t", " b", " di", "user"]), _storable_by_flask, min_size=1))
    def test_what_it_writes_is_read(self, data: dict[str, Any]) -> None:
        app = flask.Flask("shop")
        app.config["SECRET_KEY"] = KEY
        serializer = SecureCookieSessionInterface().get_signing_serializer(app)
        assert serializer is not None
        cookie = serializer.dumps(data)
        session = FlaskSource(KEY).open(cookie)
        # As Flask reads it: a session of one key that looks like a tag is not escaped.
        if isinstance(theirs := serializer.loads(cookie), dict):
            assert session.data == theirs

    def test_what_a_request_stores_is_read(self) -> None:
        data = {"user": 7, "roles": ("a", "b")}
        session = FlaskSource(KEY).open(store_with_flask({**data, "_permanent": True}))
        assert session.data == data
        assert session.persistent

    def test_one_that_is_deflated_is_read(self) -> None:
        cookie = store_with_flask({"text": "x" * 5_000})
        assert cookie.startswith(".")
        assert FlaskSource(KEY).open(cookie).data == {"text": "x" * 5_000}

    @pytest.mark.parametrize("fallbacks", [["old"], ["older", "old"]])
    def test_whichever_of_its_keys_signs_is_accepted(self, fallbacks: list[str]) -> None:
        """Flask 3.1.0 signed with a fallback, all others with the key itself."""
        cookie = store_with_flask({"a": 1}, SECRET_KEY_FALLBACKS=fallbacks)
        assert FlaskSource(KEY, fallbacks=fallbacks).open(cookie).data == {"a": 1}
        assert FlaskSource("k2", fallbacks=[KEY, *fallbacks]).open(cookie).data == {"a": 1}


class TestConstruction:
    @pytest.mark.parametrize(
        ("wrong", "error"),
        [
            ({"secret_key": ""}, ValueError),
            ({"secret_key": None}, TypeError),
            ({"fallbacks": "key"}, TypeError),
            ({"fallbacks": [""]}, ValueError),
            ({"fallbacks": [1]}, TypeError),
            ({"personal_keys": "user"}, TypeError),
            ({"lifetime": 5}, TypeError),
            ({"lifetime": timedelta()}, ValueError),
            ({"digest_method": "sha0"}, ValueError),
            ({"digest_method": "shake_128"}, ValueError),
            ({"key_derivation": "scrypt"}, ValueError),
            ({"on_unknown": "keep"}, ValueError),
            ({"cookie_name": "a b"}, ValueError),
        ],
    )
    def test_wrong_arguments_are_refused(self, wrong: dict[str, Any], error: type[Exception]) -> None:
        with pytest.raises(error):
            FlaskSource(**{"secret_key": KEY, **wrong})

    def test_the_removal_repeats_what_the_cookie_was_set_with(self) -> None:
        source = FlaskSource(KEY, path="/shop", domain="example.com", secure=True)
        (_, removal), (_, of_the_host) = source.removals(SessionCookie())
        assert removal.startswith("session=;")
        assert {"Path=/shop", "Domain=example.com", "Secure"} <= set(removal.split("; "))
        assert "Domain" not in of_the_host

    @pytest.mark.parametrize("name", ["__Host-session", "__Secure-session", "__host-session", "__Http-session"])
    def test_a_name_that_browsers_accept_with_secure_only_needs_no_word_about_it(self, name: str) -> None:
        options = beaker.BeakerOptions(type="cookie", validate_key="v", key=name)
        sources: list[Source | None] = [
            FlaskSource(KEY, cookie_name=name),
            DjangoCookieSource(KEY, cookie_name=name),
            beaker.BeakerCookieSource("v", cookie_name=name),
            beaker.source_of(options),
        ]
        for source in sources:
            assert source is not None
            ((_, removal),) = source.removals(SessionCookie())
            assert removal.startswith(f"{name}=;") and "; Secure" in removal

    def test_that_it_was_set_without_is_refused_and_no_other_name_advised(self) -> None:
        message = "without Secure no browser has accepted a cookie of the name '__Host-session' .*: leave secure out$"
        with pytest.raises(ValueError, match=message):
            FlaskSource(KEY, cookie_name="__Host-session", secure=False)

    def test_other_names_are_removed_as_they_were_set(self) -> None:
        for source in (FlaskSource(KEY), FlaskSource(KEY, secure=False)):
            assert "Secure" not in source.removals(SessionCookie())[0][1]

    def test_nothing_can_be_imported(self, source: FlaskSource) -> None:
        with pytest.raises(NotImplementedError):
            source.scan()

    def test_nothing_is_there_to_discard(self, source: FlaskSource) -> None:
        cookie = written({"a": 1})
        source.discard(cookie)
        assert source.open(cookie).data == {"a": 1}
