"""Bottle's signed cookies: of old versions, and of the installed one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import pickle
import warnings
from typing import Any

import bottle
import pytest
from flask_pyramid_samples import mutated
from hypothesis import given
from hypothesis import strategies as st
from stored_samples import DATA, outcome, refused, samples

from wsgi_sessions.cookies.cookie import SessionCookie
from wsgi_sessions.legacy import LegacyError, Reason
from wsgi_sessions.migration.bottle import BottleSource

SECRET = "btl-secret"
ENTRIES = samples("bottle-0.13.4")


class Form:
    """A class of the application."""


def source(secret: str | bytes = SECRET, cookie_name: str = "sess", **options: Any) -> BottleSource:
    return BottleSource(secret, cookie_name, serializer="pickle", **options)


def signed(value: Any, digest: str = "sha256", secret: str = SECRET, protocol: int = -1) -> str:
    """Return a cookie that is signed as Bottle does, whatever it holds."""
    message = base64.b64encode(value if isinstance(value, bytes) else pickle.dumps(value, protocol))
    signature = base64.b64encode(hmac.digest(secret.encode(), message, digest))
    return f"!{signature.decode()}?{message.decode()}"


def cookie_of(entry: dict[str, Any]) -> str:
    (cookie,) = source().cookies(entry["set_cookie"][0])
    return cookie


class TestSamples:
    @pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["variant"])
    def test_a_cookie_reads_back_to_what_was_put_in(self, entry: dict[str, Any]) -> None:
        session = source().open(cookie_of(entry))
        # The whole would have been too large for a cookie.
        expected = {"str": {"sess": "user=7"}, "json": DATA["json"], "rich": DATA["rich-naive"]}[entry["data"]]
        assert session.data == expected
        assert {type(value) for value in session.data.values()} == {type(value) for value in expected.values()}
        assert [where for where, _ in session.dropped] == (["cplx"] if entry["data"] == "rich" else [])
        assert (session.created, session.expires, session.persistent) == (None, None, False)

    @pytest.mark.parametrize("entry", ENTRIES[:2], ids=lambda entry: entry["variant"])
    def test_a_mutated_cookie_is_refused(self, entry: dict[str, Any]) -> None:
        for cookie in mutated(cookie_of(entry)):
            if cookie != cookie_of(entry):
                assert refused(source(), cookie).reason is Reason.BAD_SIGNATURE
                with pytest.raises(LegacyError):
                    source().identify(cookie)


class TestTheInstalledBottle:
    @pytest.mark.parametrize("value", ["user=7", {"user_id": 7, "roles": ["a"]}, ["a", 1]])
    def test_its_cookie_is_read(self, value: Any) -> None:
        response = bottle.BaseResponse()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it would rather have text
            response.set_cookie("sess", value, secret=SECRET)
        ((_, header),) = [pair for pair in response.headerlist if pair[0] == "Set-Cookie"]
        (cookie,) = source().cookies(header.partition(";")[0])
        assert source().open(cookie).data == (value if isinstance(value, dict) else {"sess": value})
        assert source().identify(cookie) == [cookie]


class TestCookie:
    def test_one_of_before_0_13_is_read(self) -> None:
        assert source().open(signed(("sess", {"k": 1}), "md5")).data == {"k": 1}

    def test_one_of_python_2_is_read(self) -> None:
        assert source().open(signed(b"\x80\x02U\x04sessq\x01U\x03abcq\x02\x86q\x03.", "md5")).data == {"sess": "abc"}

    def test_another_digest_is_read_if_it_is_named(self) -> None:
        cookie = signed(["sess", {"k": 1}], "sha512")
        assert source(digestmod="sha512").open(cookie).data == {"k": 1}
        assert refused(source(), cookie).reason is Reason.BAD_SIGNATURE

    def test_if_a_digest_is_named_no_other_is_taken(self) -> None:
        assert refused(source(digestmod="sha256"), signed(["sess", "v"], "md5")).reason is Reason.BAD_SIGNATURE

    def test_a_value_that_is_no_dict_becomes_the_key_that_was_named(self) -> None:
        assert source(key="user").open(signed(["sess", "bob"])).data == {"user": "bob"}

    def test_one_that_was_signed_for_another_name_is_refused(self) -> None:
        cookie = signed(["other", {"admin": True}])
        assert refused(source(), cookie).reason is Reason.BAD_SIGNATURE

    def test_a_wrong_secret_is_a_bad_signature(self) -> None:
        assert refused(source("another"), cookie_of(ENTRIES[0])).reason is Reason.BAD_SIGNATURE

    def test_an_instance_of_a_class_is_dropped_or_refused(self) -> None:
        cookie = signed(["sess", {"form": Form(), "k": 1}])
        session = source().open(cookie)
        assert (session.data, [where for where, _ in session.dropped]) == ({"k": 1}, ["form"])
        assert refused(source(on_unknown="refuse"), cookie).reason is Reason.UNSTORABLE
        assert source(convert=lambda path, unknown: path).open(cookie).data == {"form": "form", "k": 1}

    @pytest.mark.parametrize("value", [None, [], ["sess"], ["sess", 1, 2], {"sess": 1}, "sess", 7])
    def test_what_is_no_pair_is_corrupt(self, value: Any) -> None:
        assert refused(source(), signed(value)).reason is Reason.CORRUPT

    def test_a_pickle_that_runs_code_runs_none(self, tmp_path: Any) -> None:
        made = tmp_path / "made"
        hostile = f"cos\nsystem\n(S'touch {made}'\ntR.".encode()
        assert refused(source(), signed(hostile)).reason is Reason.CORRUPT
        assert not made.exists()

    @given(st.binary(min_size=1, max_size=200))
    def test_whatever_was_signed_is_read_or_refused(self, payload: bytes) -> None:
        assert outcome(source(), signed(payload)) in (None, Reason.CORRUPT, Reason.BAD_SIGNATURE)

    @given(st.text(max_size=100) | st.from_regex(r"\A![A-Za-z0-9+/]{43}=\?[A-Za-z0-9+/]*={0,2}\Z"))
    def test_whatever_was_not_signed_is_refused(self, cookie: str) -> None:
        assert refused(source(), cookie).reason is Reason.BAD_SIGNATURE

    def test_the_removal_repeats_name_and_path(self) -> None:
        ((name, value),) = source(path="/app").removals(SessionCookie("session"))
        assert name == "Set-Cookie"
        assert value.startswith("sess=;")
        assert "Path=/app" in value

    def test_there_is_nothing_to_discard_or_import(self) -> None:
        source().discard("anything")
        with pytest.raises(NotImplementedError):
            source().scan()


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "error", "words"),
        [
            ({"serializer": "json"}, ValueError, "serializer='pickle'"),
            ({"secret": ""}, ValueError, "secret must not be empty"),
            ({"secret": 7}, TypeError, "secret must be str or bytes"),
            ({"digestmod": "sha0"}, ValueError, "digestmod"),
            ({"on_unknown": "ignore"}, ValueError, "on_unknown"),
        ],
    )
    def test_a_wrong_one_is_an_error(self, arguments: dict[str, Any], error: type[Exception], words: str) -> None:
        with pytest.raises(error, match=words):
            BottleSource(**{"secret": SECRET, "cookie_name": "sess", "serializer": "pickle", **arguments})

    def test_no_session_is_personal(self) -> None:
        """The same value has the same cookie, whoever got it."""
        assert not source().open(signed(["sess", {"user": "anna"}])).personal

    def test_the_secret_may_be_bytes(self) -> None:
        assert source(SECRET.encode()).open(signed(["sess", "v"])).data == {"sess": "v"}

    def test_every_algorithm_of_hashlib_that_bottle_knows_is_taken(self) -> None:
        for digest in ("sha1", "sha384", "blake2b"):
            assert source(digestmod=digest).open(signed(["sess", "v"], digest)).data == {"sess": "v"}
        assert hashlib.algorithms_guaranteed >= {"sha1", "sha384", "blake2b"}
