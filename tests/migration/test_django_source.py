"""Django's sessions: of old versions, and of the installed one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import pickle
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
import redis
from flask_pyramid_samples import STORES, mutated, written_at
from hypothesis import given
from hypothesis import strategies as st
from redis.backoff import NoBackoff
from redis.retry import Retry
from services import silent_port
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool
from stored_samples import DATA, outcome, place, refused, samples

from wsgi_sessions import StoreError, clock
from wsgi_sessions.legacy import LegacyError, Reason
from wsgi_sessions.migration.base import Source
from wsgi_sessions.migration.django import DjangoCacheSource, DjangoCookieSource, DjangoSource
from wsgi_sessions.testing import ReplacedClock

# What was in Redis is there no more.
ENTRIES = [entry for entry in samples("django-2.2.28", "django-5.2.19") if entry["options"]["engine"] != "cache-redis"]
COOKIES = [entry for entry in ENTRIES if entry["options"]["engine"] == "signed_cookies"]
SIGNED = [entry for entry in ENTRIES if not entry["options"]["engine"].startswith("cache-")]
KEY = "dj-secret"
ID = "abcdefghijklmnopqrstuvwxyz012345"
START = 1_795_378_044_000
WEEKS = 14 * 86_400_000
SALT = "django.contrib.sessions.SessionStore"
COOKIE_SALT = "django.contrib.sessions.backends.signed_cookies"


def label(entry: dict[str, Any]) -> str:
    return f"{entry['version']}-{entry['variant']}"


def engine_of(path: Path) -> Engine:
    return create_engine(f"sqlite:///{path}", poolclass=NullPool)


def source_of(entry: dict[str, Any], folder: Path, **options: Any) -> Source:
    """Return the source for a sample, over a copy of what was stored.

    :param folder: where the copy is put, if there is none yet.
    """
    store = folder / entry["version"]
    if not store.exists():
        shutil.copytree(STORES / f"dj-{entry['version']}", store)
        for written in ENTRIES:
            # A copy does not have the times of its originals.
            if written["version"] == entry["version"] and written["options"]["engine"] == "file":
                name = f"sessionid{written['cookie']}"
                place(store / "files", name, (store / "files" / name).read_bytes(), written["t"])
    options = {"serializer": entry["options"]["serializer"], **options}
    engine = engine_of(store / "db.sqlite")
    match entry["options"]["engine"]:
        case "signed_cookies":
            return DjangoCookieSource(options.pop("secret_key", KEY), **options)
        case "db" | "cached_db-file":
            return DjangoSource(options.pop("secret_key", KEY), engine=engine, **options)
        case "file":
            return DjangoSource(options.pop("secret_key", KEY), directory=store / "files", **options)
        case "cache-db":
            return DjangoCacheSource(engine=engine, table="dj_cache", **{**options, "serializer": "pickle"})
    return DjangoCacheSource(directory=store / "fcache", **{**options, "serializer": "pickle"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for copies that nobody changes."""
    return tmp_path_factory.mktemp("django")


class TestSamples:
    @pytest.mark.parametrize("entry", ENTRIES, ids=label)
    def test_a_session_reads_back_to_what_was_put_in(self, entry: dict[str, Any], folder: Path) -> None:
        with written_at(entry):
            session = source_of(entry, folder).open(entry["cookie"])
        if entry["data"] == "auth":
            assert session.data["_auth_user_id"] == "1"
            assert session.data["_auth_user_backend"] == "django.contrib.auth.backends.ModelBackend"
            assert session.data.keys() >= {"_auth_user_hash"}
        else:
            assert session.data == DATA[entry["data"]]
        assert [where for where, _ in session.dropped] == (["cplx"] if entry["data"] == "rich" else [])

    @pytest.mark.parametrize("entry", ENTRIES, ids=label)
    def test_a_session_ends_when_it_did(self, entry: dict[str, Any], folder: Path) -> None:
        with written_at(entry):
            session = source_of(entry, folder).open(entry["cookie"])
        end = datetime.fromisoformat(entry["expiry"]).timestamp() * 1000
        if entry["options"]["engine"] == "signed_cookies":
            # Whatever a session says, Django takes no cookie that is older.
            end = min(end, entry["t"] * 1000 + WEEKS)
        assert session.expires == pytest.approx(end, abs=2000)
        assert session.persistent is not entry["variant"].endswith("exp-0")
        assert session.created is None

    @pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry["variant"].endswith("small")], ids=label)
    def test_a_session_that_has_ended_is_refused(self, entry: dict[str, Any], folder: Path) -> None:
        with written_at(entry) as time:
            time.advance(timedelta(weeks=2, seconds=2))
            assert refused(source_of(entry, folder), entry["cookie"]).reason is Reason.EXPIRED

    @pytest.mark.parametrize("entry", [COOKIES[1], COOKIES[2], COOKIES[-5]], ids=label)
    def test_a_mutated_cookie_is_refused(self, entry: dict[str, Any], folder: Path) -> None:
        source = source_of(entry, folder)
        with written_at(entry):
            for cookie in mutated(entry["cookie"]):
                if cookie == entry["cookie"]:
                    continue
                assert refused(source, cookie).reason is Reason.BAD_SIGNATURE
                with pytest.raises(LegacyError):
                    source.identify(cookie)

    @pytest.mark.parametrize("entry", SIGNED, ids=label)
    def test_a_wrong_secret_is_a_bad_signature(self, entry: dict[str, Any], folder: Path) -> None:
        with written_at(entry):
            source = source_of(entry, folder, secret_key="another")
            assert refused(source, entry["cookie"]).reason is Reason.BAD_SIGNATURE
            source = source_of(entry, folder, secret_key="another", fallbacks=["a third", KEY.encode()])
            assert source.open(entry["cookie"]).data

    @pytest.mark.parametrize("entry", SIGNED, ids=label)
    def test_pickles_are_read_only_if_that_was_said(self, entry: dict[str, Any], folder: Path) -> None:
        with written_at(entry):
            if entry["options"]["serializer"] == "pickle":
                source = source_of(entry, folder, serializer="json")
                assert refused(source, entry["cookie"]).reason is Reason.PICKLE_DISABLED
            else:
                # What was JSON stays readable after the switch.
                assert source_of(entry, folder, serializer="pickle").open(entry["cookie"]).data

    @pytest.mark.parametrize("version", ["2.2.28", "5.2.19"])
    @pytest.mark.parametrize("engine", ["db", "file", "cache-db", "cache-file"])
    def test_all_are_found_without_their_cookies(self, version: str, engine: str, folder: Path) -> None:
        # The files of the cache hold those of cached_db as well, which are read from the table.
        beside = {"db": ("cached_db-file",), "cache-file": ()}.get(engine, ())
        wanted = [
            entry
            for entry in ENTRIES
            if entry["version"] == version and entry["options"]["engine"] in (engine, *beside)
        ]
        with written_at(wanted[0]):
            source = source_of(wanted[0], folder, serializer="pickle")
            found = {one.identity: one for one in source.scan()}
            for entry in wanted:
                identity = source.identify(entry["cookie"])[-1]
                assert found[identity].session == source.open(entry["cookie"])
                assert entry["cookie"] not in found[identity].where
            if engine != "cache-file":
                assert len(found) == len(wanted)

    @pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry["variant"].endswith("small")], ids=label)
    def test_a_session_is_deleted_and_others_stay(self, entry: dict[str, Any], tmp_path: Path) -> None:
        source = source_of(entry, tmp_path)
        if isinstance(source, DjangoCookieSource):
            source.discard(entry["cookie"])
            with pytest.raises(NotImplementedError):
                source.scan()
            return
        before = len(list(source.scan()))
        source.discard(entry["cookie"])
        source.discard(entry["cookie"])
        source.discard("no id")
        assert refused(source, entry["cookie"]).reason is Reason.NOT_FOUND
        assert len(list(source.scan())) == before - 1


def written(settings: dict[str, Any], sessions: list[tuple[str, dict[str, Any], Any]]) -> list[str]:
    """Return the cookies of sessions that the installed Django has written."""
    asked = json.dumps({"settings": {"SECRET_KEY": KEY, **settings}, "sessions": sessions})
    script = Path(__file__).with_name("django_writer.py")
    done = subprocess.run([sys.executable, str(script), asked], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def prefix(redis_url: str) -> Iterator[str]:
    """Return a prefix of keys that this test has for itself."""
    prefix = f"tests-django-{uuid4().hex}*"
    yield prefix
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(match=prefix.replace("*", r"\*") + "*"):
            client.delete(key)


class TestTheInstalledDjango:
    DATA: ClassVar = {"user_id": 7, "_auth_user_id": "1", "_messages": "[]", "long": "x" * 500, "u": "Łódź"}

    def settings(self, tmp_path: Path, **others: Any) -> dict[str, Any]:
        return {
            "DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db")}},
            "SESSION_FILE_PATH": str(tmp_path),
            "USE_TZ": True,
            **others,
        }

    def test_what_is_signed_is_read(self, tmp_path: Path) -> None:
        engines = ("signed_cookies", "db", "cached_db", "file")
        cookies = written(self.settings(tmp_path), [(engine, self.DATA, 3600) for engine in engines])
        table = DjangoSource(KEY, engine=engine_of(tmp_path / "db"))
        sources = (DjangoCookieSource(KEY), table, table, DjangoSource(KEY, directory=tmp_path))
        for source, cookie in zip(sources, cookies, strict=True):
            session = source.open(cookie)
            assert (session.data, session.dropped, session.persistent) == (self.DATA, (), True)
            assert session.expires == pytest.approx(clock.now() + 3_600_000, abs=60_000)
            assert source.identify(cookie) == [cookie]
        assert {found.identity for found in table.scan()} == set(cookies[1:3])
        assert [found.identity for found in sources[-1].scan()] == cookies[3:]

    @pytest.mark.parametrize("cache", ["redis", "db", "file"])
    def test_what_is_in_a_cache_is_read(self, tmp_path: Path, request: pytest.FixtureRequest, cache: str) -> None:
        options: dict[str, Any] = {"KEY_PREFIX": "p%_", "VERSION": 3}
        old: dict[str, Any] = {"key_prefix": "p%_", "version": 3, "serializer": "pickle"}
        directory = tmp_path / "cache"
        directory.mkdir()
        match cache:
            case "redis":
                url, prefix = request.getfixturevalue("redis_url"), request.getfixturevalue("prefix")
                options |= {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url}
                options["KEY_PREFIX"] = old["key_prefix"] = prefix
                old["redis"] = redis.Redis.from_url(url)
                request.addfinalizer(old["redis"].close)
            case "db":
                options |= {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "a_cache"}
                old |= {"engine": engine_of(tmp_path / "db"), "table": "a_cache"}
            case "file":
                options |= {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache"}
                options["LOCATION"] = old["directory"] = str(directory)
        settings = self.settings(tmp_path, CACHES={"default": options})
        first, second = written(settings, [("cache", self.DATA, None), ("cache", {"k": 1}, 0)])
        source = DjangoCacheSource(**old)
        session = source.open(first)
        assert (session.data, session.dropped, session.persistent) == (self.DATA, (), True)
        assert session.expires == pytest.approx(clock.now() + WEEKS, abs=60_000)
        assert (source.open(second).data, source.open(second).persistent) == ({"k": 1}, False)
        assert {found.identity for found in source.scan()} == {source.identify(id)[-1] for id in (first, second)}
        source.discard(first)
        assert refused(source, first).reason is Reason.NOT_FOUND
        assert [found.identity for found in source.scan()] == source.identify(second)[-1:]

    def test_times_without_a_zone_are_of_the_one_that_was_named(self, tmp_path: Path) -> None:
        (cookie,) = written(self.settings(tmp_path, USE_TZ=False, TIME_ZONE="Asia/Tokyo"), [("db", {"k": 1}, 3600)])
        source = DjangoSource(KEY, engine=engine_of(tmp_path / "db"), zone=ZoneInfo("Asia/Tokyo"))
        assert source.open(cookie).expires == pytest.approx(clock.now() + 3_600_000, abs=60_000)


def signed(data: Any, at: int = START, *, salt: str = SALT, key: str = KEY, digest: str = "sha256") -> str:
    """Return a text that is signed as Django does since 3.1, whatever it holds.

    :param at: when, Unix milliseconds.
    """
    payload = data if isinstance(data, bytes) else json.dumps(data).encode()
    return signed_text(f"{encoded(payload)}:{base62(at // 1000)}", salt, key, digest)


def signed_text(signs: str, salt: str = SALT, key: str = KEY, digest: str = "sha256") -> str:
    derived = hashlib.new(digest, f"{salt}signer{key}".encode()).digest()
    return f"{signs}:{encoded(hmac.digest(derived, signs.encode(), digest))}"


def signed_before_3_1(data: Any, key: str = KEY) -> str:
    payload = data if isinstance(data, bytes) else json.dumps(data).encode()
    derived = hashlib.sha1(f"django.contrib.sessionsSessionStore{key}".encode()).digest()
    signature = hmac.digest(derived, payload, "sha1").hex().encode()
    return base64.b64encode(signature + b":" + payload).decode()


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def base62(number: int) -> str:
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    return (base62(number // 62) if number >= 62 else "") + digits[number % 62]


@pytest.fixture
def time() -> Iterator[ReplacedClock]:
    with ReplacedClock(start=START) as replaced:
        yield replaced


def cookie(data: Any, **options: Any) -> str:
    return signed(data, salt=COOKIE_SALT, **options)


class TestSignedCookies:
    SOURCE = DjangoCookieSource(KEY)

    def test_both_digests_and_what_is_deflated_are_read(self, time: ReplacedClock) -> None:
        assert self.SOURCE.open(cookie({"k": 1})).data == {"k": 1}
        assert self.SOURCE.open(cookie({"k": 1}, digest="sha1")).data == {"k": 1}
        deflated = encoded(zlib.compress(b'{"k":1}'))
        assert self.SOURCE.open(signed_text(f".{deflated}:{base62(START // 1000)}", COOKIE_SALT)).data == {"k": 1}

    def test_only_one_with_a_user_or_a_token_is_personal(self, time: ReplacedClock) -> None:
        contents: list[dict[str, Any]] = [{"_auth_user_id": "7"}, {"_csrftoken": "x"}, {"lang": "de"}]
        assert [self.SOURCE.open(cookie(data)).personal for data in contents] == [True, True, False]

    def test_one_that_was_signed_for_a_table_is_refused(self, time: ReplacedClock) -> None:
        assert refused(self.SOURCE, signed({"k": 1})).reason is Reason.BAD_SIGNATURE

    def test_it_ends_by_its_age_or_sooner_if_it_says_so(self, time: ReplacedClock) -> None:
        ends = [
            (None, START + WEEKS),
            (0, START + WEEKS),
            (60, START + 60_000),
            (10**7, START + WEEKS),
            ("2026-11-23T00:00:00+00:00", 1_795_392_000_000),
            ("2030-01-01T00:00:00+00:00", START + WEEKS),
            ("9999-12-31T23:59:59+00:00", START + WEEKS),
        ]
        for expiry, end in ends:
            data = {"k": 1} if expiry is None else {"k": 1, "_session_expiry": expiry}
            session = self.SOURCE.open(cookie(data))
            assert (session.data, session.expires, session.persistent) == ({"k": 1}, end, expiry != 0)

    def test_a_date_and_time_without_a_zone_is_of_the_one_that_was_named(self, time: ReplacedClock) -> None:
        source = DjangoCookieSource(KEY, zone=ZoneInfo("Asia/Tokyo"))
        ends = source.open(cookie({"_session_expiry": "2026-11-23T09:00:00"})).expires
        assert ends == datetime(2026, 11, 23, 0, 0, tzinfo=UTC).timestamp() * 1000

    @pytest.mark.parametrize("expiry", ["soon", [1], {"a": 1}, float("nan"), 1e300, -(10**12), 10**400])
    def test_an_end_that_is_none_is_corrupt(self, time: ReplacedClock, expiry: Any) -> None:
        assert refused(self.SOURCE, cookie({"_session_expiry": expiry})).reason is Reason.CORRUPT

    def test_it_is_refused_once_it_has_ended(self, time: ReplacedClock) -> None:
        once, never = cookie({"_session_expiry": 60}), cookie({})
        time.advance(timedelta(seconds=60))
        assert refused(self.SOURCE, once).reason is Reason.EXPIRED
        assert self.SOURCE.open(never).data == {}
        assert refused(DjangoCookieSource(KEY, cookie_age=timedelta(seconds=60)), never).reason is Reason.EXPIRED

    def test_a_browser_session_is_not_persistent(self, time: ReplacedClock) -> None:
        source = DjangoCookieSource(KEY, expire_at_browser_close=True)
        assert source.open(cookie({})).persistent is False
        assert source.open(cookie({"_session_expiry": 60})).persistent is True

    def test_internal_keys_are_dropped_and_those_of_the_framework_stay(self, time: ReplacedClock) -> None:
        kept = {"_auth_user_id": "1", "_auth_user_hash": "x", "_messages": "[]", "_csrftoken": "t", "k": None}
        data = {**kept, "testcookie": "worked", "_session_expiry": 60}
        assert self.SOURCE.open(cookie(data)).data == kept

    @pytest.mark.parametrize("payload", [b"[]", b"7", b"", b"{", b'"x"', b"\xff", b"\x80\x04N."])
    def test_what_is_no_session_is_corrupt(self, time: ReplacedClock, payload: bytes) -> None:
        source = DjangoCookieSource(KEY, serializer="pickle")
        assert refused(source, cookie(payload)).reason is Reason.CORRUPT

    @pytest.mark.parametrize("signs", ["e30:", "e30:-1", "e30:1 2", "e30:zzzzzzzzzzz", "e30:" + "1" * 99, "e3:1xVDqC"])
    def test_what_is_signed_and_malformed_is_corrupt_or_has_ended(self, time: ReplacedClock, signs: str) -> None:
        assert refused(self.SOURCE, signed_text(signs, COOKIE_SALT)).reason is Reason.CORRUPT

    def test_what_becomes_too_large_is_corrupt(self, time: ReplacedClock) -> None:
        bomb = encoded(zlib.compress(b" " * 2_000_000 + b"{}"))
        text = signed_text(f".{bomb}:{base62(START // 1000)}", COOKIE_SALT)
        assert refused(self.SOURCE, text).reason is Reason.CORRUPT

    @given(st.text(max_size=100) | st.from_regex(r"\A[A-Za-z0-9_-]{4,20}:[A-Za-z0-9]{6}:[A-Za-z0-9_-]{43}\Z"))
    def test_whatever_was_not_signed_is_refused(self, text: str) -> None:
        assert refused(self.SOURCE, text).reason is Reason.BAD_SIGNATURE

    @given(st.binary(max_size=100))
    def test_whatever_was_signed_is_read_or_refused(self, payload: bytes) -> None:
        with ReplacedClock(start=START):
            # Two bytes are enough for a session.
            source = DjangoCookieSource(KEY, serializer="pickle")
            assert outcome(source, cookie(payload)) in (None, Reason.CORRUPT)


class Table:
    """A table of sessions with one in it."""

    def __init__(self, path: Path) -> None:
        self.engine = engine_of(path / "db")
        with self.engine.begin() as connection:
            connection.execute(text("CREATE TABLE django_session (session_key PRIMARY KEY, session_data, expire_date)"))

    def put(self, data: Any, end: Any = "2026-12-01 00:00:00", id: str = ID) -> None:
        with self.engine.begin() as connection:
            connection.execute(
                text("INSERT OR REPLACE INTO django_session VALUES (:id, :data, :end)"),
                {"id": id, "data": data, "end": end},
            )


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path)


class TestTable:
    def test_both_ways_of_signing_are_read(self, table: Table, time: ReplacedClock) -> None:
        source = DjangoSource(KEY, engine=table.engine)
        old = signed_before_3_1({"k": "x" * 90})
        for data, value in ((signed({"k": 1}), 1), (signed({"k": 1}, digest="sha1"), 1), (old, "x" * 90)):
            table.put(data)
            assert source.open(ID).data == {"k": value}
        # As the first versions wrote it.
        table.put("\n".join(old[start : start + 76] for start in range(0, len(old), 76)) + "\n")
        assert source.open(ID).data == {"k": "x" * 90}

    def test_a_class_of_its_own_signs_in_its_own_name(self, table: Table, time: ReplacedClock) -> None:
        table.put(signed({"k": 1}, salt="django.contrib.sessions.MyStore"))
        assert DjangoSource(KEY, engine=table.engine, store_class="MyStore").open(ID).data == {"k": 1}
        assert refused(DjangoSource(KEY, engine=table.engine), ID).reason is Reason.BAD_SIGNATURE

    def test_another_key_is_a_bad_signature(self, table: Table, time: ReplacedClock) -> None:
        for data in (signed({}, key="another"), signed_before_3_1({}, "another"), cookie({}), "", "e30=", "a:b:c"):
            table.put(data)
            assert refused(DjangoSource(KEY, engine=table.engine), ID).reason in (
                Reason.BAD_SIGNATURE,
                # Of the old form, without which there is no signature.
                *([Reason.CORRUPT] if ":" not in data else []),
            )

    @pytest.mark.parametrize("data", [None, 7, "é", "e30", b"\xff", "=", "e30:e30"])
    def test_what_is_no_session_is_refused(self, table: Table, time: ReplacedClock, data: Any) -> None:
        table.put(data)
        source = DjangoSource(KEY, engine=table.engine)
        assert refused(source, ID).reason in (Reason.CORRUPT, Reason.BAD_SIGNATURE)
        (found,) = source.scan()
        assert (found.identity, found.where, found.session) == (ID, f"{ID[:8]}...", None)

    @pytest.mark.parametrize("end", [None, 7, "soon", "", b"x", "0001-01-01"])
    def test_an_end_that_is_none_is_corrupt(self, table: Table, time: ReplacedClock, end: Any) -> None:
        table.put(signed({}), end)
        assert refused(DjangoSource(KEY, engine=table.engine), ID).reason is Reason.CORRUPT
        table.put(signed({"k": 1}), id="another0")
        errors = {found.identity: found.error is None for found in DjangoSource(KEY, engine=table.engine).scan()}
        assert errors == {ID: False, "another0": True}

    def test_the_end_is_that_of_the_table_whatever_the_session_says(self, table: Table, time: ReplacedClock) -> None:
        table.put(signed({"_session_expiry": 60}), "2026-12-01 00:00:00.500000")
        expected = datetime(2026, 12, 1, tzinfo=UTC).timestamp() * 1000 + 500
        assert DjangoSource(KEY, engine=table.engine).open(ID).expires == expected
        table.put(signed({}), "2026-12-01 00:00:00+02:00")
        assert DjangoSource(KEY, engine=table.engine).open(ID).expires == expected - 500 - 7_200_000

    def test_the_last_of_all_times_is_no_end(self, table: Table, time: ReplacedClock) -> None:
        table.put(signed({"k": 1}), "9999-12-31 23:59:59")
        for zone in (UTC, ZoneInfo("America/New_York"), ZoneInfo("Asia/Tokyo")):
            assert DjangoSource(KEY, engine=table.engine, zone=zone).open(ID).expires is None

    def test_rows_that_sqlite_cannot_decode_stop_no_scan(self, table: Table, time: ReplacedClock) -> None:
        """In SQLite a text may be any bytes."""
        table.put(signed({"k": 1}), id="good0000")
        keys = ("CAST(x'ff' AS TEXT)", "NULL", "x'626c6f62'", "'bad00001'", "'bad00002'")
        for key in keys:
            data, end = ("CAST(x'ff' AS TEXT)", "'2126-01-01'") if "1" in key else ("'a'", "CAST(x'ff' AS TEXT)")
            with table.engine.begin() as connection:
                connection.execute(text(f"INSERT INTO django_session VALUES ({key}, {data}, {end})"))
        source = DjangoSource(KEY, engine=table.engine)
        found = {each.identity: each.error is None for each in source.scan()}
        assert found == {"bad00001": False, "bad00002": False, "good0000": True}
        assert refused(source, "bad00001").reason is Reason.CORRUPT
        assert refused(source, "bad00002").reason is Reason.CORRUPT

    def test_many_are_read_page_by_page(self, table: Table, time: ReplacedClock) -> None:
        ids = {f"{number:032}" for number in range(1001)}
        data = signed({"k": 1})
        with table.engine.begin() as connection:
            connection.execute(
                text("INSERT INTO django_session VALUES (:id, :data, '2026-12-01')"),
                [{"id": id, "data": data} for id in ids],
            )
        found = list(DjangoSource(KEY, engine=table.engine).scan())
        assert len(found) == 1001
        assert {one.identity for one in found} == ids

    @pytest.mark.parametrize(
        "id", ["", "short", ID.upper(), ID + "\n", "../../etc/passwd", "a" * 41, ID[:-1] + "\u0663"]
    )
    def test_what_is_no_id_is_refused(self, table: Table, id: str) -> None:
        source = DjangoSource(KEY, engine=table.engine)
        assert refused(source, id).reason is Reason.BAD_ID
        with pytest.raises(LegacyError):
            source.identify(id)
        source.discard(id)

    def test_there_may_be_none(self, table: Table) -> None:
        assert refused(DjangoSource(KEY, engine=table.engine), ID).reason is Reason.NOT_FOUND

    def test_a_database_that_fails_says_so_without_the_id(self, table: Table) -> None:
        source = DjangoSource(KEY, engine=table.engine, table="another")
        for fails in (source.open, source.discard, lambda id: list(source.scan())):
            with pytest.raises(StoreError) as caught:
                fails(ID)
            assert ID not in str(caught.value)

    def test_without_sqlalchemy_the_extra_is_named(self, monkeypatch: pytest.MonkeyPatch, table: Table) -> None:
        monkeypatch.setitem(sys.modules, "sqlalchemy", None)
        with pytest.raises(ImportError, match=r"wsgi-sessions\[sql\]"):
            DjangoSource(KEY, engine=table.engine)

    def test_a_table_of_postgresql_is_read(self, postgresql_url: str, time: ReplacedClock) -> None:
        """There, an end is aware."""
        engine = create_engine(postgresql_url.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)
        name = f"tests_{uuid4().hex}"
        columns = "session_key varchar(40) PRIMARY KEY, session_data text, expire_date timestamptz"
        source = DjangoSource(KEY, engine=engine, table=name, schema="public", zone=ZoneInfo("Asia/Tokyo"))
        with engine.begin() as connection:
            connection.execute(text(f"CREATE TABLE {name} ({columns})"))
            connection.execute(
                text(f"INSERT INTO {name} VALUES (:id, :data, '2026-12-01 00:00:00+00')"),
                {"id": ID, "data": signed({"k": 1})},
            )
        try:
            assert source.open(ID).expires == datetime(2026, 12, 1, tzinfo=UTC).timestamp() * 1000
            assert [found.session for found in source.scan()] == [source.open(ID)]
            source.discard(ID)
            assert list(source.scan()) == []
        finally:
            with engine.begin() as connection:
                connection.execute(text(f"DROP TABLE {name}"))


class TestFiles:
    def test_an_empty_one_is_not_written_yet(self, tmp_path: Path, time: ReplacedClock) -> None:
        place(tmp_path, f"sessionid{ID}", b"", START / 1000)
        assert refused(DjangoSource(KEY, directory=tmp_path), ID).reason is Reason.NOT_FOUND

    def test_their_names_begin_with_that_of_the_cookie(self, tmp_path: Path, time: ReplacedClock) -> None:
        contents = signed({"k": 1}).encode()
        for name in (f"sid{ID}", f"sid{ID}_out_abc", "sid", f"sessionid{ID}", "other"):
            place(tmp_path, name, contents, START / 1000)
        source = DjangoSource(KEY, directory=tmp_path, cookie_name="sid")
        assert source.open(ID).data == {"k": 1}
        assert [(found.identity, found.where) for found in source.scan()] == [(ID, f"sid{ID[:8]}...")]

    def test_what_is_no_file_is_not_followed_opened_or_waited_for(self, tmp_path: Path) -> None:
        (tmp_path / f"sessionid{ID}").symlink_to(__file__)
        source = DjangoSource(KEY, directory=tmp_path)
        assert refused(source, ID).reason is Reason.CORRUPT
        assert [found.session for found in source.scan()] == [None]

    def test_it_ends_after_its_last_change(self, tmp_path: Path, time: ReplacedClock) -> None:
        source = DjangoSource(KEY, directory=tmp_path, cookie_age=timedelta(days=1))
        for data, end in (({}, 86_400_000), ({"_session_expiry": 60}, 60_000), ({"_session_expiry": 0}, 86_400_000)):
            place(tmp_path, f"sessionid{ID}", signed(data).encode(), START / 1000)
            assert source.open(ID).expires == START + end
        place(tmp_path, f"sessionid{ID}", signed({}).encode(), START / 1000 - 86_400)
        assert refused(source, ID).reason is Reason.EXPIRED


class TestCache:
    def file(self, directory: Path, value: bytes, end: Any = START / 1000 + 60) -> DjangoCacheSource:
        name = hashlib.md5(f":1:django.contrib.sessions.cache{ID}".encode()).hexdigest()
        (directory / f"{name}.djcache").write_bytes(pickle.dumps(end) + zlib.compress(value))
        return DjangoCacheSource(directory=directory, serializer="pickle")

    def test_the_name_of_a_file_cannot_be_presented(self, tmp_path: Path, time: ReplacedClock) -> None:
        """It identifies what was imported, and is no secret."""
        source = self.file(tmp_path, pickle.dumps({"k": 1}))
        (found,) = source.scan()
        assert found.identity == source.identify(ID)[1]
        name = found.where.removesuffix(".djcache")
        assert found.identity not in source.identify(name)
        with pytest.raises(LegacyError):
            source.identify(found.identity)

    def test_one_without_an_end_has_none(self, tmp_path: Path, time: ReplacedClock) -> None:
        assert self.file(tmp_path, pickle.dumps({"k": 1}), None).open(ID).expires is None

    def test_a_table_in_which_base64_has_line_breaks_is_read(self, tmp_path: Path, time: ReplacedClock) -> None:
        """As Django 1.4 wrote it."""
        engine = engine_of(tmp_path / "db")
        value = base64.encodebytes(pickle.dumps({"k": "x" * 200})).decode()
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE a_cache (cache_key PRIMARY KEY, value, expires)"))
            connection.execute(
                text("INSERT INTO a_cache VALUES (:key, :value, '2126-01-01')"),
                {"key": f":1:django.contrib.sessions.cache{ID}", "value": value},
            )
        assert value.count("\n") > 1
        source = DjangoCacheSource(engine=engine, table="a_cache", serializer="pickle")
        assert source.open(ID).data == {"k": "x" * 200}

    def test_other_values_in_it_are_passed_over(self, tmp_path: Path, time: ReplacedClock) -> None:
        source = self.file(tmp_path, pickle.dumps(["a page"]))
        assert list(source.scan()) == []
        assert refused(source, ID).reason is Reason.CORRUPT

    @pytest.mark.parametrize("contents", [b"", b"N.", b"N.x", b"K\x01.x", b"\x80\x04", b"cos\nsystem\n(S'true'\ntR."])
    def test_a_file_that_is_none_is_corrupt(self, tmp_path: Path, time: ReplacedClock, contents: bytes) -> None:
        source = self.file(tmp_path, b"")
        (path,) = tmp_path.iterdir()
        path.write_bytes(contents)
        assert refused(source, ID).reason is Reason.CORRUPT
        (found,) = source.scan()
        assert found.error is not None

    @given(value=st.binary(max_size=100))
    def test_whatever_is_in_it_is_read_or_refused(self, tmp_path_factory: pytest.TempPathFactory, value: bytes) -> None:
        source = self.file(tmp_path_factory.getbasetemp(), value, None)
        assert outcome(source, ID) in (None, Reason.CORRUPT)

    def test_a_server_that_does_not_answer_is_a_failure_of_the_storage(self) -> None:
        once = Retry(NoBackoff(), 0)
        with silent_port() as port, redis.Redis(port=port, socket_timeout=0.05, retry=once) as client:
            source = DjangoCacheSource(redis=client, serializer="pickle")
            with pytest.raises(StoreError) as caught:
                source.open(ID)
        assert ID not in str(caught.value)

    def test_json_in_redis_is_read_and_no_pickle(self, redis_url: str, prefix: str) -> None:
        with redis.Redis.from_url(redis_url) as client:
            source = DjangoCacheSource(redis=client, key_prefix=prefix, serializer="json")
            client.set(f"{prefix}:1:django.contrib.sessions.cache{ID}", b'{"k": 1}', ex=60)
            session = source.open(ID)
            assert session.data == {"k": 1}
            assert session.expires == pytest.approx(clock.now() + 60_000, abs=5000)
            client.set(f"{prefix}:1:django.contrib.sessions.cache{ID}", pickle.dumps({"k": 1}))
            assert refused(source, ID).reason is Reason.PICKLE_DISABLED


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "error", "words"),
        [
            ({"secret_key": ""}, ValueError, "secret_key must not be empty"),
            ({"secret_key": None}, TypeError, "secret_key must be str or bytes"),
            ({"fallbacks": "one"}, TypeError, "fallbacks must be a list"),
            ({"fallbacks": ["one", ""]}, ValueError, r"fallbacks\[1\] must not be empty"),
            ({"serializer": "yaml"}, ValueError, "serializer must be one of"),
            ({"cookie_age": 60}, TypeError, "cookie_age must be a timedelta"),
            ({"cookie_age": timedelta()}, ValueError, "cookie_age"),
            ({"zone": "Asia/Tokyo"}, TypeError, "zone must be a tzinfo"),
        ],
    )
    def test_a_wrong_one_is_an_error(
        self, tmp_path: Path, arguments: dict[str, Any], error: type[Exception], words: str
    ) -> None:
        with pytest.raises(error, match=words):
            DjangoCookieSource(**{"secret_key": KEY, **arguments})
        with pytest.raises(error, match=words):
            DjangoSource(**{"secret_key": KEY, "directory": tmp_path, **arguments})

    @pytest.mark.parametrize(
        ("arguments", "error", "words"),
        [
            ({}, ValueError, "engine and directory"),
            ({"engine": 1, "directory": "."}, ValueError, "engine and directory"),
            ({"engine": "sqlite://"}, TypeError, "Engine of SQLAlchemy"),
            ({"directory": "/nowhere/at/all"}, ValueError, "there is no directory"),
        ],
    )
    def test_where_sessions_are_is_checked(self, arguments: dict[str, Any], error: type[Exception], words: str) -> None:
        with pytest.raises(error, match=words):
            DjangoSource(KEY, **arguments)

    @pytest.mark.parametrize(
        ("arguments", "error", "words"),
        [
            ({}, ValueError, "redis, engine and directory"),
            ({"redis": 1, "directory": "."}, ValueError, "redis, engine and directory"),
            ({"redis": "redis://"}, TypeError, "Redis"),
            ({"engine": "sqlite://", "table": "t"}, TypeError, "Engine of SQLAlchemy"),
            ({"engine": "sqlite://"}, ValueError, "LOCATION of the cache"),
            ({"directory": "/nowhere/at/all"}, ValueError, "there is no directory"),
            ({"directory": ".", "serializer": "json"}, ValueError, "serializer='pickle'"),
        ],
    )
    def test_where_a_cache_is_is_checked(self, arguments: dict[str, Any], error: type[Exception], words: str) -> None:
        with pytest.raises(error, match=words):
            DjangoCacheSource(**{"serializer": "pickle", **arguments})
