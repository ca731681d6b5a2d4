"""Sessions of Pyramid's signed cookies: what 2.1 writes, and what older versions wrote."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import pickle
import warnings
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask_pyramid_samples import JSON, RICH, cookie_of, entries, label, mutated, written_at
from hypothesis import given
from hypothesis import strategies as st

from wsgi_sessions import clock
from wsgi_sessions.legacy import LegacyError, LegacySession, Reason
from wsgi_sessions.migration.base import Unknown
from wsgi_sessions.migration.pyramid import PyramidSource, PyramidUnencryptedSource
from wsgi_sessions.testing import ReplacedClock

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what WebOb and Pyramid import themselves is deprecated
    from pyramid.request import Request
    from pyramid.response import Response
    from pyramid.session import PickleSerializer, SignedCookieSessionFactory

SAMPLES = entries("pyramid-2.1")
SECRET = "pyr-secret"
DATA = {
    "default": {**JSON, "_csrft_": "ce377759b7ec8fd4ba8d88c15ff53ed56fdf06cc", "_f_": ["hi"], "_f_q": [{"a": 1}]},
    "json": JSON,
    "pickle": {**RICH, "_csrft_": "9120a290ecf92606b1e2d85859d78572d141ba5c"},
    "sha256-salt": JSON,
}


class User:
    """Stands for an application's own class."""


def source_of(entry: dict[str, Any], **options: Any) -> PyramidSource:
    own = {name: value for name, value in entry["options"].items() if name != "secret"}
    return PyramidSource(entry["options"]["secret"], **{"serializer": "pickle", **own, **options})


def reason_of(call: Callable[[], object]) -> Reason:
    with pytest.raises(LegacyError) as caught:
        call()
    return caught.value.reason


def signed(payload: bytes, secret: bytes = SECRET.encode(), salt: bytes = b"pyramid.session.") -> str:
    """Return a cookie that is signed as Pyramid does, whatever it holds."""
    signature = hmac.digest(salt + secret, payload, "sha512")
    return urlsafe_b64encode(signature + payload).rstrip(b"=").decode()


def signed_before_2(payload: bytes, secret: bytes = SECRET.encode()) -> str:
    """Return what ``pyramid.session.signed_serialize`` returned."""
    return hmac.new(secret, payload, hashlib.sha1).hexdigest() + b64encode(payload).decode()


def value_of(data: Any, ago: float = 0) -> tuple[int, float, Any]:
    now = clock.now() / 1000 - ago
    return (int(now), now - 60, data)


def as_json(data: Any, ago: float = 0) -> bytes:
    return json.dumps(value_of(data, ago)).encode()


@pytest.fixture
def source() -> PyramidSource:
    return PyramidSource(SECRET)


class TestSamples:
    @pytest.mark.parametrize("entry", SAMPLES, ids=label)
    def test_each_reads_back_to_what_was_put_in(self, entry: dict[str, Any]) -> None:
        name, cookie = cookie_of(entry)
        source = source_of(entry)
        expected = DATA[entry["variant"]]
        with written_at(entry):
            assert source.cookies(f"a=b; {name}={cookie}") == [cookie]
            assert source.identify(cookie) == [cookie]
            session = source.open(cookie)
        assert session.data == expected
        assert [type(value) for value in session.data.values()] == [type(expected[key]) for key in session.data]
        assert [path for path, _ in session.dropped] == (["cplx"] if entry["variant"] == "pickle" else [])
        assert session.created == pytest.approx(entry["t"] * 1000, abs=100)
        assert session.expires == int(entry["t"]) * 1000 + 1_200_000
        assert not session.persistent

    @pytest.mark.parametrize("entry", SAMPLES, ids=label)
    def test_none_is_read_with_another_secret(self, entry: dict[str, Any]) -> None:
        for options in ({"salt": "other."}, {"hashalg": "sha384"}):
            assert reason_of(lambda: source_of(entry, **options).open(cookie_of(entry)[1])) == Reason.BAD_SIGNATURE  # noqa: B023
        source = PyramidSource("other", serializer="pickle")
        assert reason_of(lambda: source.open(cookie_of(entry)[1])) == Reason.BAD_SIGNATURE

    @pytest.mark.parametrize("entry", SAMPLES[1:3], ids=label)
    def test_none_that_was_changed_is_read(self, entry: dict[str, Any]) -> None:
        source, cookie = source_of(entry), cookie_of(entry)[1]
        with written_at(entry):
            for other in mutated(cookie):
                if other not in (cookie, cookie + "=" * (-len(cookie) % 4)):
                    assert reason_of(lambda: source.open(other)) == Reason.BAD_SIGNATURE  # noqa: B023
                    assert reason_of(lambda: source.identify(other)) == Reason.BAD_SIGNATURE  # noqa: B023

    def test_padding_makes_no_second_session_of_it(self) -> None:
        """Some version of WebOb may have left it there."""
        source, cookie = source_of(SAMPLES[3]), cookie_of(SAMPLES[3])[1]
        assert len(cookie) % 4
        padded = cookie + "=" * (-len(cookie) % 4)
        assert source.identify(padded) == source.identify(cookie) == [cookie]

    def test_a_pickle_is_not_read_unless_that_is_said(self) -> None:
        source, cookie = source_of(SAMPLES[2], serializer="json"), cookie_of(SAMPLES[2])[1]
        with written_at(SAMPLES[2]):
            assert reason_of(lambda: source.open(cookie)) == Reason.PICKLE_DISABLED


class TestExpiry:
    def test_it_ends_a_timeout_after_its_renewal(self) -> None:
        source = PyramidSource(SECRET, timeout=60)
        with ReplacedClock(start=1_800_000_000_500) as time:
            cookie = signed(as_json({"a": 1}))
            session = source.open(cookie)
            assert session.expires == 1_800_000_060_000
            assert session.created == 1_799_999_940_500
            time.advance(timedelta(seconds=59))
            source.open(cookie)
            time.advance(timedelta(seconds=1))
            assert reason_of(lambda: source.open(cookie)) == Reason.EXPIRED

    def test_without_a_timeout_it_does_not_end(self) -> None:
        session = PyramidSource(SECRET, timeout=None).open(signed(as_json({"a": 1}, ago=10**8)))
        assert session.expires is None

    def test_the_cookies_max_age_makes_it_persistent(self) -> None:
        assert PyramidSource(SECRET, persistent=True).open(signed(as_json({}))).persistent


class TestContents:
    def test_an_emptied_session_is_one(self, source: PyramidSource) -> None:
        assert source.open(signed(as_json({}))).data == {}

    @pytest.mark.parametrize(
        "payload",
        [
            b"",
            b"[",
            b"{}",
            b"[1,2]",
            b"[1,2,[]]",
            b'["1",2,{}]',
            b"[true,2,{}]",
            b"[null,2,{}]",
            b"[NaN,2,{}]",
            b"[1,Infinity,{}]",
            b"[1e30,2,{}]",
            b"[-5,2,{}]",
            b"[" * 100_000,
            b"\xff",
            b"\x80",
            b"\x80\x04",
            pickle.dumps({"a": 1}),
            pickle.dumps((1, 2)),
            pickle.dumps((1, 2, User())),
            b"cposix\nsystem\n(S'true'\ntR.",
        ],
        ids=lambda payload: repr(payload[:20]),
    )
    def test_what_is_signed_but_no_session_is_corrupt(self, payload: bytes) -> None:
        source = PyramidSource(SECRET, timeout=None, serializer="pickle")
        assert reason_of(lambda: source.open(signed(payload))) == Reason.CORRUPT
        old = PyramidUnencryptedSource(SECRET, timeout=None, serializer="pickle")
        expected = Reason.CORRUPT if payload else Reason.BAD_SIGNATURE
        assert reason_of(lambda: old.open(signed_before_2(payload))) == expected

    def test_instances_of_a_class_are_dropped_converted_or_refused(self) -> None:
        payload = pickle.dumps(value_of({"user": User(), "ok": 1}))
        session = PyramidSource(SECRET, serializer="pickle").open(signed(payload))
        assert session.data == {"ok": 1}
        assert [path for path, _ in session.dropped] == ["user"]

        def convert(path: str, unknown: Unknown) -> Any:
            return f"{path} {unknown.name}"

        converting = PyramidSource(SECRET, serializer="pickle", convert=convert)
        assert converting.open(signed(payload)).data == {"user": f"user {__name__}.User", "ok": 1}
        refusing = PyramidSource(SECRET, serializer="pickle", on_unknown="refuse")
        assert reason_of(lambda: refusing.open(signed(payload))) == Reason.UNSTORABLE

    @pytest.mark.parametrize("secret", ["plain", "sécret", "日本", b"\xff\x00"], ids=repr)
    @pytest.mark.parametrize("salt", ["pyramid.session.", "", "塩"])
    def test_secrets_are_encoded_as_webob_does(self, secret: str | bytes, salt: str) -> None:
        cookie = stored_by_pyramid({"a": 1}, secret, salt=salt)
        assert PyramidSource(secret, salt=salt).open(cookie).data == {"a": 1}

    @pytest.mark.parametrize("cookie", ["", "a", "é", "\ud800", "a" * 87, "a" * 88, "=" * 88, "a" * 100_000])
    def test_what_pyramid_never_wrote_is_refused(self, source: PyramidSource, cookie: str) -> None:
        old = PyramidUnencryptedSource(SECRET, serializer="pickle")
        for call in (source.open, source.identify, old.open, old.identify):
            assert reason_of(lambda: call(cookie)) == Reason.BAD_SIGNATURE  # noqa: B023

    @given(st.binary(max_size=100) | st.binary(max_size=100).map(lambda rest: b"[1,2," + rest))
    def test_whatever_is_signed_raises_nothing_else(self, payload: bytes) -> None:
        source = PyramidSource(SECRET, timeout=None, serializer="pickle")
        with contextlib.suppress(LegacyError):
            assert isinstance(source.open(signed(payload)), LegacySession)


def stored_by_pyramid(data: dict[str, Any], secret: str | bytes = SECRET, **options: Any) -> str:
    """Return the cookie of the installed Pyramid for a request that has stored some data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of WebOb's own calls
        session = SignedCookieSessionFactory(secret, **options)(Request.blank("/"))
        session.update(data)
        response = Response()
        session._set_cookie(response)
        return response.headers["Set-Cookie"].partition(";")[0].partition("=")[2]


class TestInstalledPyramid:
    def test_json(self) -> None:
        data = {"user": 7, "nested": {"a": [1, None]}, "_f_": ["hi"], "_csrft_": "token"}
        session = PyramidSource(SECRET).open(stored_by_pyramid(data))
        assert session.data == data
        assert session.created == pytest.approx(clock.now(), abs=5_000)
        assert session.expires == pytest.approx(clock.now() + 1_200_000, abs=5_000)

    def test_pickles(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            serializer = PickleSerializer()
        data = {"user": 7, "roles": ("a", "b"), "seen": {1, 2}}
        session = PyramidSource(SECRET, serializer="pickle").open(stored_by_pyramid(data, serializer=serializer))
        assert session.data == data

    def test_all_options(self) -> None:
        options: dict[str, Any] = {"hashalg": "sha1", "salt": "own", "timeout": 5}
        session = PyramidSource(SECRET, **options).open(stored_by_pyramid({"a": 1}, **options))
        assert session.data == {"a": 1}
        assert session.expires == pytest.approx(clock.now() + 5_000, abs=5_000)


class TestUnencrypted:
    """UnencryptedCookieSessionFactoryConfig, of Pyramid before 2.0."""

    @pytest.fixture
    def old(self) -> PyramidUnencryptedSource:
        return PyramidUnencryptedSource(SECRET, serializer="pickle")

    @pytest.mark.parametrize("protocol", range(6))
    def test_it_is_read(self, old: PyramidUnencryptedSource, protocol: int) -> None:
        cookie = signed_before_2(pickle.dumps(value_of({"a": (1, 2), "_csrft_": "t"}), protocol))
        assert old.cookies(f'session="{cookie}"') == [cookie]
        session = old.open(cookie)
        assert session.data == {"a": (1, 2), "_csrft_": "t"}
        assert session.created == pytest.approx(clock.now() - 60_000, abs=5_000)
        assert session.expires == pytest.approx(clock.now() + 1_200_000, abs=5_000)
        assert old.identify(cookie) == [cookie]

    def test_it_ends_a_timeout_after_its_renewal(self, old: PyramidUnencryptedSource) -> None:
        cookie = signed_before_2(pickle.dumps(value_of({"a": 1}, ago=1_201)))
        assert reason_of(lambda: old.open(cookie)) == Reason.EXPIRED

    @pytest.mark.parametrize("padding", range(3))
    def test_none_that_was_changed_is_read(self, old: PyramidUnencryptedSource, padding: int) -> None:
        cookie = signed_before_2(pickle.dumps(value_of({"a": "x" * padding})))
        old.open(cookie)
        for other in mutated(cookie):
            if other != cookie:
                assert reason_of(lambda: old.open(other)) == Reason.BAD_SIGNATURE  # noqa: B023
                assert reason_of(lambda: old.identify(other)) == Reason.BAD_SIGNATURE  # noqa: B023

    def test_neither_form_is_taken_for_the_other(self, source: PyramidSource, old: PyramidUnencryptedSource) -> None:
        new_cookie, old_cookie = signed(as_json({})), signed_before_2(pickle.dumps(value_of({})))
        assert reason_of(lambda: old.open(new_cookie)) == Reason.BAD_SIGNATURE
        assert reason_of(lambda: source.open(old_cookie)) == Reason.BAD_SIGNATURE

    def test_its_pickles_have_to_be_asked_for(self) -> None:
        with pytest.raises(ValueError, match="serializer='pickle'"):
            PyramidUnencryptedSource(SECRET, serializer="json")


class TestConstruction:
    @pytest.mark.parametrize(
        ("wrong", "error"),
        [
            ({"secret": ""}, ValueError),
            ({"secret": b""}, ValueError),
            ({"secret": None}, TypeError),
            ({"timeout": 0}, ValueError),
            ({"timeout": "1200"}, TypeError),
            ({"timeout": True}, TypeError),
            ({"hashalg": "sha0"}, ValueError),
            ({"serializer": "yaml"}, ValueError),
            ({"on_unknown": "keep"}, ValueError),
        ],
    )
    def test_wrong_arguments_are_refused(self, wrong: dict[str, Any], error: type[Exception]) -> None:
        with pytest.raises(error):
            PyramidSource(**{"secret": SECRET, **wrong})
        if "hashalg" not in wrong:
            with pytest.raises(error):
                PyramidUnencryptedSource(**{"secret": SECRET, "serializer": "pickle", **wrong})

    def test_nothing_can_be_imported(self, source: PyramidSource) -> None:
        with pytest.raises(NotImplementedError):
            source.scan()
