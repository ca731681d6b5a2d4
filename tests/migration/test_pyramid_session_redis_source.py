"""Sessions of pyramid_session_redis, and of pyramid_redis_sessions before it."""

from __future__ import annotations

import hashlib
import hmac
import json
import pickle
import warnings
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import redis
from flask_pyramid_samples import RICH, cookie_of, entries, label, mutated
from hypothesis import given
from hypothesis import strategies as st
from services import silent_port

from wsgi_sessions import StoreError, clock
from wsgi_sessions.legacy import LegacyError, Reason
from wsgi_sessions.migration._redis_values import RedisValues
from wsgi_sessions.migration.base import Unknown
from wsgi_sessions.migration.pyramid_session_redis import PyramidSessionRedisSource
from wsgi_sessions.testing import ReplacedClock

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what WebOb and Pyramid import themselves is deprecated
    from pyramid.request import Request
    from pyramid.response import Response
    from pyramid_session_redis import RedisSessionFactory

SAMPLES = entries("psr-1.8.1")
SECRET = "psr-secret"


class User:
    """Stands for an application's own class."""


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def id(client: redis.Redis) -> Iterator[str]:
    """The id of a session of this test."""
    id = f"test-{uuid4().hex}{uuid4().hex}"[:64]
    yield id
    client.delete(id)


@pytest.fixture
def source(client: redis.Redis) -> PyramidSessionRedisSource:
    return PyramidSessionRedisSource(SECRET, client, serializer="pickle")


def cookie_for(id: str | bytes) -> str:
    """Return a cookie that is signed as pyramid_session_redis does, whatever the id is."""
    id = id.encode() if isinstance(id, str) else id
    signature = hmac.digest(b"pyramid_session_redis." + SECRET.encode(), id, "sha512")
    return urlsafe_b64encode(signature + id).rstrip(b"=").decode()


def old_cookie_for(id: object, protocol: int = 2) -> str:
    """Return a cookie as pyramid_redis_sessions signed it, whatever the id is."""
    payload = id if isinstance(id, bytes) else pickle.dumps(id, protocol)
    return hmac.new(SECRET.encode(), payload, hashlib.sha1).hexdigest() + b64encode(payload).decode()


def stored(data: Any, **others: Any) -> dict[str, Any]:
    return {"m": data, "c": clock.now() // 1000, "v": 1, **others}


def reason_of(call: Callable[[], object]) -> Reason:
    with pytest.raises(LegacyError) as caught:
        call()
    return caught.value.reason


class TestSamples:
    @pytest.mark.parametrize("entry", SAMPLES, ids=label)
    def test_each_cookie_is_an_id(self, source: PyramidSessionRedisSource, entry: dict[str, Any]) -> None:
        cookie = cookie_of(entry)[1]
        signed = urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4))
        assert source.identify(cookie) == [signed[64:].decode()]
        assert reason_of(lambda: source.open(cookie)) == Reason.NOT_FOUND

    def test_none_that_was_changed_is_accepted(self, source: PyramidSessionRedisSource) -> None:
        for entry in SAMPLES[:1] + SAMPLES[3:4]:
            cookie = cookie_of(entry)[1]
            for other in mutated(cookie):
                if other not in (cookie, cookie + "=" * (-len(cookie) % 4)):
                    assert reason_of(lambda: source.identify(other)) == Reason.BAD_SIGNATURE  # noqa: B023

    def test_none_is_accepted_with_another_secret(self, client: redis.Redis) -> None:
        source = PyramidSessionRedisSource("other", client)
        assert {reason_of(lambda: source.identify(cookie_of(entry)[1])) for entry in SAMPLES} == {  # noqa: B023
            Reason.BAD_SIGNATURE
        }


class TestInstalledLibrary:
    def write(self, client: redis.Redis, data: dict[str, Any], **options: Any) -> str:
        """Return the cookie for a request that has stored some data."""
        factory = RedisSessionFactory(SECRET, redis_client_callable=lambda request, **_: client, **options)
        request, response = Request.blank("/"), Response()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of WebOb's own calls
            session = factory(request)
            session.update(data)
            request._process_response_callbacks(response)
            request._process_finished_callbacks()
            return response.headers["Set-Cookie"].partition(";")[0].removeprefix("session=")

    def test_pickles(self, client: redis.Redis, source: PyramidSessionRedisSource) -> None:
        cookie = self.write(client, RICH)
        session = source.open(cookie)
        assert session.data == RICH
        assert session.created == pytest.approx(clock.now(), abs=5_000)
        assert session.expires == pytest.approx(clock.now() + 1_200_000, abs=5_000)
        assert not session.persistent
        unsaid = PyramidSessionRedisSource(SECRET, client)
        assert reason_of(lambda: unsaid.open(cookie)) == Reason.PICKLE_DISABLED
        assert [found.session for found in source.scan() if [found.identity] == source.identify(cookie)] == [session]
        source.discard(cookie)
        assert client.exists(*source.identify(cookie)) == 0
        assert reason_of(lambda: source.open(cookie)) == Reason.NOT_FOUND

    @pytest.mark.parametrize("serializer", ["json", "pickle"])
    def test_json_of_the_applications_own(self, client: redis.Redis, serializer: str) -> None:
        data = {"user": 7, "_f_": ["hi"], "_csrft_": "token"}
        cookie = self.write(
            client, data, serialize=lambda value: json.dumps(value).encode(), deserialize=json.loads, timeout=60
        )
        source = PyramidSessionRedisSource(SECRET, client, serializer=serializer, persistent=True)
        session = source.open(cookie)
        assert session.data == data
        assert session.expires == pytest.approx(clock.now() + 60_000, abs=5_000)
        assert session.persistent
        source.discard(cookie)

    @pytest.mark.parametrize(
        ("options", "ends"),
        [
            ({"timeout": None}, False),
            ({"python_expires": False}, True),
            ({"set_redis_ttl": False}, True),
            ({"python_expires": False, "set_redis_ttl": False}, False),
        ],
        ids=["no-timeout", "ttl-only", "value-only", "neither"],
    )
    def test_every_way_to_end(
        self, client: redis.Redis, source: PyramidSessionRedisSource, options: dict[str, Any], ends: bool
    ) -> None:
        cookie = self.write(client, {"a": 1}, **options)
        session = source.open(cookie)
        assert session.data == {"a": 1}
        if ends:
            assert session.expires == pytest.approx(clock.now() + 1_200_000, abs=5_000)
        else:
            assert session.expires is None
        source.discard(cookie)

    def test_a_prefix_is_part_of_the_id(self, client: redis.Redis) -> None:
        prefix = f"test[{uuid4().hex}]:"
        cookies = [self.write(client, {"n": n}, id_generator=lambda: prefix + uuid4().hex) for n in range(3)]
        source = PyramidSessionRedisSource(SECRET, client, serializer="pickle", prefix=prefix)
        assert {found.identity for found in source.scan()} == {source.identify(cookie)[0] for cookie in cookies}
        for found in source.scan():
            assert found.where == f"{prefix}..."
            client.delete(found.identity)


class TestOlderLibrary:
    """pyramid_redis_sessions."""

    @pytest.mark.parametrize("protocol", range(6))
    def test_it_is_read(self, client: redis.Redis, source: PyramidSessionRedisSource, id: str, protocol: int) -> None:
        value = {"managed_dict": {"a": (1, 2)}, "created": clock.now() / 1000, "timeout": 1200}
        client.set(id, pickle.dumps(value, protocol), ex=600)
        cookie = old_cookie_for(id, protocol)
        assert source.identify(cookie) == [id]
        session = source.open(cookie)
        assert session.data == {"a": (1, 2)}
        assert session.created == pytest.approx(clock.now(), abs=5_000)
        assert session.expires == pytest.approx(clock.now() + 600_000, abs=5_000)
        source.discard(cookie)
        assert reason_of(lambda: source.open(cookie)) == Reason.NOT_FOUND

    def test_none_that_was_changed_is_accepted(self, source: PyramidSessionRedisSource, id: str) -> None:
        cookie = old_cookie_for(id)
        for other in mutated(cookie):
            if other != cookie:
                assert reason_of(lambda: source.identify(other)) == Reason.BAD_SIGNATURE  # noqa: B023

    def test_its_id_is_read_though_its_session_is_not(self, client: redis.Redis, id: str) -> None:
        client.set(id, pickle.dumps({"managed_dict": {}, "created": 1, "timeout": 1200}))
        source = PyramidSessionRedisSource(SECRET, client)
        assert source.identify(old_cookie_for(id)) == [id]
        assert reason_of(lambda: source.open(old_cookie_for(id))) == Reason.PICKLE_DISABLED

    @pytest.mark.parametrize(
        ("id", "reason"),
        [
            (5, Reason.BAD_ID),
            (["a"], Reason.BAD_ID),
            (User, Reason.BAD_ID),
            ("short", Reason.BAD_ID),
            ("é" * 40, Reason.BAD_ID),
            (b"cos\nsystem\n(S'true'\ntR.", Reason.BAD_ID),
            (b"garbage", Reason.CORRUPT),
        ],
    )
    def test_what_is_signed_but_no_id_is_refused(
        self, source: PyramidSessionRedisSource, id: object, reason: Reason
    ) -> None:
        assert reason_of(lambda: source.open(old_cookie_for(id))) == reason


class TestContents:
    @pytest.mark.parametrize("id", ["", "short", "a b" * 10, "é" * 40, "a" * 300, b"\xff" * 40, "a" * 40 + "\n"])
    def test_what_is_signed_but_no_id_is_refused(self, source: PyramidSessionRedisSource, id: str | bytes) -> None:
        assert reason_of(lambda: source.open(cookie_for(id))) == Reason.BAD_ID

    @pytest.mark.parametrize("cookie", ["", "a", "é", "\ud800", "=", "a" * 150, "0" * 40 + "QUJD"])
    def test_what_is_not_signed_is_refused(self, source: PyramidSessionRedisSource, cookie: str) -> None:
        assert reason_of(lambda: source.open(cookie)) == Reason.BAD_SIGNATURE
        source.discard(cookie)

    @pytest.mark.parametrize(
        "payload",
        [
            b"",
            b"garbage",
            b"{",
            b"[]",
            b'{"m":{}}',
            b'{"c":1}',
            b'{"m":[],"c":1}',
            b'{"m":{},"c":"soon"}',
            b'{"m":{},"c":1,"x":NaN}',
            b'{"m":{},"c":1,"x":true}',
            b"{" + b'"m":{"a":"' + b"x" * 1_100_000 + b'"},"c":1}',
            pickle.dumps([1]),
            pickle.dumps(User()),
            b"\x80\x04",
        ],
        ids=lambda payload: repr(payload)[:20],
    )
    def test_what_is_no_session_is_corrupt(
        self, client: redis.Redis, source: PyramidSessionRedisSource, id: str, payload: bytes
    ) -> None:
        client.set(id, payload)
        assert reason_of(lambda: source.open(cookie_for(id))) == Reason.CORRUPT
        assert id not in [found.identity for found in source.scan() if found.session]

    def test_a_key_that_holds_something_else(
        self, client: redis.Redis, source: PyramidSessionRedisSource, id: str
    ) -> None:
        client.sadd(id, "a")
        assert reason_of(lambda: source.open(cookie_for(id))) == Reason.CORRUPT

    def test_it_ends_when_its_value_says_so(
        self, client: redis.Redis, source: PyramidSessionRedisSource, id: str
    ) -> None:
        with ReplacedClock() as time:
            ends = time.now() // 1000 + 60
            client.set(id, pickle.dumps(stored({"a": 1}, t=60, x=ends)))
            assert source.open(cookie_for(id)).expires == ends * 1000
            time.advance(timedelta(seconds=60))
            assert reason_of(lambda: source.open(cookie_for(id))) == Reason.EXPIRED
            errors = [found.error for found in source.scan() if found.identity == id]
            assert [error and error.reason for error in errors] == [Reason.EXPIRED]

    def test_instances_of_a_class_are_dropped_converted_or_refused(
        self, client: redis.Redis, source: PyramidSessionRedisSource, id: str
    ) -> None:
        client.set(id, pickle.dumps(stored({"user": User(), "ok": 1})))
        session = source.open(cookie_for(id))
        assert session.data == {"ok": 1}
        assert [path for path, _ in session.dropped] == ["user"]

        def convert(path: str, unknown: Unknown) -> Any:
            return [path, unknown.name]

        options: dict[str, Any] = {"serializer": "pickle"}
        converting = PyramidSessionRedisSource(SECRET, client, convert=convert, **options)
        assert converting.open(cookie_for(id)).data == {"user": ["user", f"{__name__}.User"], "ok": 1}
        refusing = PyramidSessionRedisSource(SECRET, client, on_unknown="refuse", **options)
        assert reason_of(lambda: refusing.open(cookie_for(id))) == Reason.UNSTORABLE

    @given(st.text(max_size=100))
    def test_whatever_is_presented_raises_nothing_else(self, cookie: str) -> None:
        source = PyramidSessionRedisSource(SECRET, redis.Redis(port=1))
        assert reason_of(lambda: source.open(cookie)) == Reason.BAD_SIGNATURE


class TestStorage:
    def test_a_scan_passes_over_what_may_be_no_session(self, client: redis.Redis, id: str) -> None:
        prefix = id[:30]
        values = {
            "s" * 20: pickle.dumps(stored({"a": 1})),
            "b" * 20: b"{broken",
            "o" * 20: b'{"job": 1}',
        }
        client.mset({prefix + name: value for name, value in values.items()})
        try:
            options: dict[str, Any] = {"serializer": "pickle"}
            found = PyramidSessionRedisSource(SECRET, client, prefix=prefix, **options).scan()
            assert {imported.identity[30]: imported.error and imported.error.reason for imported in found} == {
                "s": None,
                "b": Reason.CORRUPT,
            }
            found = PyramidSessionRedisSource(SECRET, client, **options).scan()
            assert [imported.identity[30] for imported in found if imported.identity.startswith(prefix)] == ["s"]
        finally:
            client.delete(*[prefix + name for name in values])

    def test_a_scan_reads_no_more_of_a_value_than_a_session_can_be(self, client: redis.Redis, id: str) -> None:
        client.set(id, b"x" * 5_000_000)
        lengths = [len(payload) for key, payload, _ in RedisValues(client).scan(id)]
        assert lengths == [1024 * 1024 + 1]

    def test_a_server_that_is_down_is_a_store_error(self, id: str) -> None:
        with silent_port() as port:
            client = redis.Redis(port=port, socket_timeout=0.1, retry=None)
            source = PyramidSessionRedisSource(SECRET, client)
            cookie = cookie_for(id)
            for call in (lambda: source.open(cookie), lambda: source.discard(cookie), lambda: list(source.scan())):
                with pytest.raises(StoreError) as caught:
                    call()
                assert id not in str(caught.value)
            client.close()


class TestConstruction:
    @pytest.mark.parametrize(
        ("wrong", "error"),
        [
            ({"secret": ""}, ValueError),
            ({"secret": None}, TypeError),
            ({"client": "redis://127.0.0.1"}, TypeError),
            ({"client": None}, TypeError),
            ({"client": redis.Redis(decode_responses=True)}, ValueError),
            ({"serializer": "msgpack"}, ValueError),
            ({"on_unknown": "keep"}, ValueError),
        ],
    )
    def test_wrong_arguments_are_refused(self, wrong: dict[str, Any], error: type[Exception]) -> None:
        with pytest.raises(error):
            PyramidSessionRedisSource(**{"secret": SECRET, "client": redis.Redis(), **wrong})
