"""Sessions of Werkzeug before 1.0, and of secure-cookie after it: files, and a signed cookie."""

from __future__ import annotations

import base64
import hmac
import json
import pickle
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from flask_pyramid_samples import STORES, cookie_of, mutated, written_at
from hypothesis import given
from hypothesis import strategies as st
from secure_cookie.session import FilesystemSessionStore, SessionMiddleware
from stored_samples import DATA, outcome, place, planted, refused, samples
from werkzeug.http import parse_cookie
from werkzeug.test import Client

from wsgi_sessions import StoreError, clock
from wsgi_sessions.legacy import LegacyError, Reason
from wsgi_sessions.migration.werkzeug import SecureCookieSource, WerkzeugSource
from wsgi_sessions.testing import ReplacedClock

ENTRIES = [entry for entry in samples("werkzeug-0.14.1-py27", "werkzeug-0.16.1") if entry["system"] == "securecookie"]
SECRET = "wz-secret"
ID = "f82e9784298ec8260539e7d1733510b74db22678"
START = 1_795_378_141_000


def label(entry: dict[str, Any]) -> str:
    return f"{entry['version']}-{entry['variant']}"


@pytest.mark.parametrize(
    "entry",
    [each for each in samples("werkzeug-0.14.1-py27", "werkzeug-0.16.1") if each["system"] == "werkzeug-fs"],
    ids=label,
)
def test_the_cookie_of_a_file_is_its_id(tmp_path: Path, entry: dict[str, Any]) -> None:
    """Of the files of these samples none is left."""
    name, cookie = cookie_of(entry)
    source = WerkzeugSource(tmp_path, serializer="pickle")
    assert source.cookies(f"a=1; {name}={cookie}") == source.identify(cookie) == [cookie]
    assert refused(source, cookie).reason is Reason.NOT_FOUND


class TestCookies:
    """Werkzeug took the last of several before 1.0, and since then the first; secure-cookie needs that."""

    def test_of_those_of_secure_cookie_the_first_comes_first(self, tmp_path: Path) -> None:
        header = "session=a; session=b"
        files = WerkzeugSource(
            tmp_path, serializer="pickle", filename_template="secure_cookie_%s.session", cookie_name="session"
        )
        for source in (files, SecureCookieSource(SECRET), SecureCookieSource(SECRET, serializer="json")):
            assert source.cookies(header)[0] == parse_cookie(header)["session"]

    def test_of_those_of_werkzeug_the_last_comes_first(self, tmp_path: Path) -> None:
        files = WerkzeugSource(tmp_path, serializer="pickle", cookie_name="session")
        for source in (files, SecureCookieSource(SECRET, serializer="pickle")):
            assert source.cookies("session=a; session=b") == ["b", "a"]


def test_a_relative_directory_stays_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may change its directory when it becomes a daemon."""
    monkeypatch.chdir(tmp_path)
    source = WerkzeugSource(".", serializer="pickle")
    (tmp_path / f"werkzeug_{ID}.sess").write_bytes(pickle.dumps({"a": 1}))
    monkeypatch.chdir("/")
    assert source.open(ID).data == {"a": 1}


class TestSecureCookieSamples:
    @pytest.mark.parametrize("entry", ENTRIES, ids=label)
    def test_a_cookie_reads_back_to_what_was_put_in(self, entry: dict[str, Any]) -> None:
        serializer = "json" if entry["variant"] == "cookie-json" else "pickle"
        with written_at(entry):
            session = SecureCookieSource(SECRET, serializer=serializer).open(entry["cookie"])
        expected = dict(DATA[entry["data"]])
        if entry["tag"].endswith("py27"):
            expected = {**expected, "range": None}
            for key in ("dtz", "dtz2", "deque", "counter"):
                expected.pop(key, None)
            if entry["data"] == "json":
                expected.pop("range")
        assert session.data == expected
        assert {key: type(value) for key, value in session.data.items()} == {
            key: type(value) for key, value in expected.items()
        }
        assert [where for where, _ in session.dropped] == (["cplx"] if entry["data"] == "rich" else [])
        assert session.expires == (1_893_456_000_000 if entry["variant"] == "cookie-exp" else None)

    @pytest.mark.parametrize("entry", [ENTRIES[2], ENTRIES[5]], ids=label)
    def test_a_mutated_cookie_is_refused(self, entry: dict[str, Any]) -> None:
        source = SecureCookieSource(SECRET, serializer="pickle")
        for cookie in mutated(entry["cookie"]):
            if cookie == entry["cookie"]:
                continue
            assert refused(source, cookie).reason is Reason.BAD_SIGNATURE
            with pytest.raises(LegacyError):
                source.identify(cookie)

    @pytest.mark.parametrize("entry", ENTRIES, ids=label)
    def test_a_wrong_secret_is_a_bad_signature(self, entry: dict[str, Any]) -> None:
        assert refused(SecureCookieSource("another"), entry["cookie"]).reason is Reason.BAD_SIGNATURE

    @pytest.mark.parametrize("entry", ENTRIES, ids=label)
    def test_pickles_are_read_only_if_that_was_said(self, entry: dict[str, Any]) -> None:
        if entry["variant"] != "cookie-json":
            assert refused(SecureCookieSource(SECRET), entry["cookie"]).reason is Reason.PICKLE_DISABLED


def signed(data: dict[str, Any], dumps: Any = json.dumps, digest: str = "sha1") -> str:
    """Return what ``SecureCookie`` makes; of the installed version it cannot be imported any more."""
    items = []
    for key in sorted(data):
        text = dumps(data[key])
        value = base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()
        items.append(f"{quote_plus(key)}={value}")
    return signed_items("&".join(items), digest)


def signed_items(items: str, digest: str = "sha1") -> str:
    message = "".join(f"|{item}" for item in items.split("&"))
    signature = base64.b64encode(hmac.digest(SECRET.encode(), message.encode(), digest)).decode()
    return f"{signature}?{items}"


class TestSecureCookie:
    def test_it_is_read_as_it_was_signed(self) -> None:
        data = {"user id": 7, "a&b=c|d": ["x", None], "Łódź": "€"}
        source = SecureCookieSource(SECRET)
        cookie = signed(data)
        assert source.open(cookie).data == data
        assert source.identify(cookie) == [cookie]

    def test_quotes_around_it_are_undone(self) -> None:
        cookie = signed({"k": 1})
        (found,) = SecureCookieSource(SECRET).cookies(f'session="{cookie}"; other={{"json": 1}}')
        assert found == cookie

    def test_two_items_cannot_be_presented_as_one(self) -> None:
        """Their signature is the same."""
        source = SecureCookieSource(SECRET)
        cookie = signed({"a": 1, "b": 2})
        assert source.open(cookie).data == {"a": 1, "b": 2}
        assert refused(source, cookie.replace("&", "|")).reason is Reason.BAD_SIGNATURE
        with pytest.raises(LegacyError):
            source.identify(cookie.replace("&", "|"))

    def test_it_ends_when_it_says(self) -> None:
        with ReplacedClock(start=START) as time:
            cookie = signed({"k": 1, "_expires": START // 1000 + 60})
            source = SecureCookieSource(SECRET)
            session = source.open(cookie)
            assert (session.data, session.expires) == ({"k": 1}, START + 60_000)
            time.advance(timedelta(seconds=60))
            assert refused(source, cookie).reason is Reason.EXPIRED

    @pytest.mark.parametrize("end", [True, "soon", [], -1, 1e300, float("nan")])
    def test_an_end_that_is_none_is_corrupt(self, end: Any) -> None:
        assert refused(SecureCookieSource(SECRET), signed({"_expires": end})).reason is Reason.CORRUPT

    @pytest.mark.parametrize("items", ["", "a", "a=1&", "=", "a=%%%", "a=MQ", "a=MQ=="])
    def test_whatever_items_were_signed_are_read_or_refused(self, items: str) -> None:
        source = SecureCookieSource(SECRET)
        if items == "a=MQ==":
            assert source.open(signed_items(items)).data == {"a": 1}
        else:
            assert refused(source, signed_items(items)).reason is Reason.CORRUPT

    def test_who_reads_pickles_reads_json_too(self) -> None:
        source = SecureCookieSource(SECRET, serializer="pickle")
        assert source.open(signed({"k": [1]})).data == {"k": [1]}
        assert source.open(signed({"k": (1,)}, pickle.dumps)).data == {"k": (1,)}

    def test_another_digest_has_to_be_named(self) -> None:
        cookie = signed({"k": 1}, digest="sha256")
        assert refused(SecureCookieSource(SECRET), cookie).reason is Reason.BAD_SIGNATURE
        assert SecureCookieSource(SECRET, hash_method="sha256").open(cookie).data == {"k": 1}

    @given(st.text(max_size=100) | st.from_regex(r"\A[A-Za-z0-9+/]{27}=\?[a-z]+=[A-Za-z0-9+/]*={0,2}\Z"))
    def test_whatever_was_not_signed_is_refused(self, cookie: str) -> None:
        assert refused(SecureCookieSource(SECRET), cookie).reason is Reason.BAD_SIGNATURE

    @given(st.dictionaries(st.text(max_size=3), st.binary(max_size=40), max_size=3))
    def test_whatever_values_were_signed_are_read_or_refused(self, data: dict[str, Any]) -> None:
        for serializer in ("json", "pickle"):
            source = SecureCookieSource(SECRET, serializer=serializer)
            reason = outcome(source, signed(data, lambda value: value))
            assert reason in (None, Reason.CORRUPT, Reason.PICKLE_DISABLED)

    def test_there_is_nothing_to_discard_or_import(self) -> None:
        source = SecureCookieSource(SECRET)
        source.discard("anything")
        with pytest.raises(NotImplementedError):
            source.scan()

    @pytest.mark.parametrize(
        ("arguments", "error", "words"),
        [
            ({"secret_key": ""}, ValueError, "secret_key must not be empty"),
            ({"secret_key": None}, TypeError, "secret_key must be str or bytes"),
            ({"serializer": "yaml"}, ValueError, "serializer must be one of"),
            ({"hash_method": "sha0"}, ValueError, "hash_method"),
        ],
    )
    def test_a_wrong_argument_is_an_error(self, arguments: dict[str, Any], error: type[Exception], words: str) -> None:
        with pytest.raises(error, match=words):
            SecureCookieSource(**{"secret_key": SECRET, **arguments})


def source(directory: Path, **options: Any) -> WerkzeugSource:
    return WerkzeugSource(directory, serializer="pickle", **options)


def stored(directory: Path, contents: bytes, name: str = f"werkzeug_{ID}.sess") -> Path:
    return place(directory, name, contents, START / 1000)


class TestTheInstalledSecureCookie:
    def test_its_session_is_read_and_deleted(self, tmp_path: Path) -> None:
        def application(environ: Any, start_response: Any) -> Any:
            environ["secure_cookie.session"].update(user_id=7, roles=("a", {"b"}))
            start_response("200 OK", [])
            return []

        answer = Client(SessionMiddleware(application, FilesystemSessionStore(str(tmp_path)))).get("/")
        old = source(tmp_path, filename_template="secure_cookie_%s.session")
        (cookie,) = old.cookies(answer.headers["Set-Cookie"].partition(";")[0])
        session = old.open(cookie)
        assert session.data == {"user_id": 7, "roles": ("a", {"b"})}
        assert session.expires is None
        assert session.created == pytest.approx(clock.now(), abs=60_000)
        (found,) = old.scan()
        assert [found.identity] == old.identify(cookie)
        assert found.session == session
        assert found.where == f"secure_cookie_{cookie[:10]}....session"
        assert FilesystemSessionStore(str(tmp_path)).list() == [cookie]
        old.discard(cookie)
        assert FilesystemSessionStore(str(tmp_path)).list() == []
        assert refused(old, cookie).reason is Reason.NOT_FOUND


class TestFiles:
    @pytest.mark.parametrize("name", ["py2-cPickle-2", "py2-pickle-2"])
    def test_one_of_python_2_is_read(self, tmp_path: Path, name: str) -> None:
        stored(tmp_path, (STORES / "pickles" / f"{name}.pkl").read_bytes())
        data = source(tmp_path).open(ID).data
        assert data["u"] == DATA["json"]["u"]
        assert data["dt"] == DATA["rich"]["dt"]

    def test_it_ends_a_lifetime_after_its_last_change_if_one_was_named(self, tmp_path: Path) -> None:
        stored(tmp_path, pickle.dumps({"k": 1}))
        with ReplacedClock(start=START) as time:
            session = source(tmp_path, lifetime=timedelta(days=1)).open(ID)
            assert (session.created, session.expires) == (START, START + 86_400_000)
            time.advance(timedelta(days=1))
            assert refused(source(tmp_path, lifetime=timedelta(days=1)), ID).reason is Reason.EXPIRED
            session = source(tmp_path).open(ID)
            assert (session.expires, session.accessed) == (None, START)

    @pytest.mark.parametrize("cookie", ["", "../" + ID, ID.upper(), ID + "\n", ID[:-1], ID + "0", ID[:-1] + "\u0661"])
    def test_what_is_no_id_is_refused(self, tmp_path: Path, cookie: str) -> None:
        assert refused(source(tmp_path), cookie).reason is Reason.BAD_ID
        with pytest.raises(LegacyError):
            source(tmp_path).identify(cookie)
        source(tmp_path).discard(cookie)

    @pytest.mark.parametrize(
        "contents", [b"", b"N.", b"].", b"cos\nsystem\n(S'true'\ntR.", b"{}", bytes(1024 * 1024 + 1)]
    )
    def test_what_is_no_session_is_corrupt(self, tmp_path: Path, contents: bytes) -> None:
        stored(tmp_path, contents)
        assert refused(source(tmp_path), ID).reason is Reason.CORRUPT
        (found,) = source(tmp_path).scan()
        assert found.session is None
        assert found.error is not None
        assert ID not in found.where

    def test_what_is_no_file_is_not_followed_opened_or_waited_for(self, tmp_path: Path) -> None:
        ids = planted(tmp_path, "werkzeug_%s.sess")
        for id in ids:
            assert refused(source(tmp_path), id).reason is Reason.CORRUPT
        assert {found.identity: found.error is None for found in source(tmp_path).scan()} == dict.fromkeys(ids, False)

    def test_others_in_the_directory_are_passed_over(self, tmp_path: Path) -> None:
        stored(tmp_path, pickle.dumps({}))
        for name in (
            "tmpabc.__session",
            f"werkzeug_{ID}.session",
            f"werkzeug-{ID}.sess",
            f"werkzeug_{ID}-sess",
            "werkzeug_.sess",
            f"secure_cookie_{ID}.session",
        ):
            stored(tmp_path, b"", name)
        assert [found.identity for found in source(tmp_path).scan()] == [ID]

    def test_a_storage_that_fails_says_so_without_the_id(self, tmp_path: Path) -> None:
        directory = tmp_path / "sessions"
        directory.mkdir()
        old = source(directory)
        directory.rmdir()
        directory.write_bytes(b"")
        for fails in (old.open, old.discard, lambda cookie: list(old.scan())):
            with pytest.raises(StoreError) as caught:
                fails(ID)
            assert ID not in str(caught.value)

    @pytest.mark.parametrize(
        ("arguments", "error", "words"),
        [
            ({"serializer": "json"}, ValueError, "serializer='pickle'"),
            ({"directory": "/nowhere/at/all"}, ValueError, "there is no directory"),
            ({"filename_template": "session"}, ValueError, "filename_template"),
            ({"filename_template": "%s/%s"}, ValueError, "filename_template"),
            ({"filename_template": "../%s"}, ValueError, "filename_template"),
            ({"lifetime": 60}, TypeError, "lifetime must be a timedelta"),
            ({"lifetime": timedelta()}, ValueError, "lifetime"),
        ],
    )
    def test_a_wrong_argument_is_an_error(
        self, tmp_path: Path, arguments: dict[str, Any], error: type[Exception], words: str
    ) -> None:
        with pytest.raises(error, match=words):
            WerkzeugSource(**{"directory": tmp_path, "serializer": "pickle", **arguments})
