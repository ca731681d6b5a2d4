"""Sessions that Beaker has written, from 1.6 to the one that is installed, are read, and nothing else is."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import pickle
import shutil
import stat
import sys
import tempfile
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit
from wsgiref.util import setup_testing_defaults

import pymemcache
import pytest
import redis
import sqlalchemy
from beaker.ext.database import DatabaseNamespaceManager
from beaker.middleware import SessionMiddleware
from beaker.session import Session
from beaker.util import coerce_session_params
from flask_pyramid_samples import SAMPLES, STORES, cookie_of, entries, label, mutated, written_at
from hypothesis import given, settings
from hypothesis import strategies as st
from rich_data import DATA, types_of

from wsgi_sessions.cookies.cookie import SessionCookie
from wsgi_sessions.exceptions import StoreError
from wsgi_sessions.legacy import LegacyError, LegacySession, Reason
from wsgi_sessions.migration.base import Unknown
from wsgi_sessions.migration.beaker import (
    BeakerCookieSource,
    BeakerOptions,
    BeakerSource,
    DBMContainer,
    FileContainer,
    MemcachedContainer,
    RedisContainer,
    SQLContainer,
    read_options,
    source_of,
)
from wsgi_sessions.testing import ReplacedClock

FILES = sorted(path.stem for path in SAMPLES.glob("beaker-*.json"))
ALL = [entry for name in FILES for entry in entries(name)]
ID = "0123456789abcdef0123456789abcdef"
KEYS = {"encrypt_key": "enc-key-0123456789", "validate_key": "validate-key-abcdef"}


def options_of(sample: dict[str, Any]) -> dict[str, Any]:
    """Return Beaker's configuration of a sample, with the paths that its files have here."""
    options = dict(sample["options"])
    if "session.data_dir" in options:
        options["session.data_dir"] = str(SAMPLES / options["session.data_dir"])
    if "session.url" in options:
        options["session.url"] = options["session.url"].replace("sqlite:///", f"sqlite:///{SAMPLES}/")
    if options["session.type"] == "ext:sqla":
        (database,) = STORES.glob(f"beaker-{sample['version']}-*/sqla.sqlite")
        options["session.bind"] = sqlalchemy.create_engine(f"sqlite:///{database}")
        options["session.table"] = sqlalchemy.Table("beaker_cache", sqlalchemy.MetaData())
    return options


def source_from(sample: dict[str, Any], **changes: Any) -> Any:
    options = {**options_of(sample), **{f"session.{name}": value for name, value in changes.items()}}
    return source_of(read_options(options))


def expected(sample: dict[str, Any]) -> dict[str, Any]:
    is_python_2 = sample["version"].startswith("1.6")
    data = DATA["rich-2" if is_python_2 and sample["data"] == "rich" else sample["data"]]
    if sample["data"] == "rich" and "cookie" in sample["variant"]:
        # There was no room for it.
        return {name: value for name, value in data.items() if name != "big"}
    return data


def refused(source: Any, cookie: str) -> Reason | None:
    """Return why a cookie is refused; None if it is not."""
    try:
        source.open(cookie)
    except LegacyError as error:
        return error.reason
    return None


def signed(key: str, payload: str) -> str:
    return hmac.new(key.encode(), payload.encode(), "sha1").hexdigest() + payload


@pytest.fixture(autouse=True)
def _engines(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close the connections to SQLite that are left in pools."""
    made, create = [], sqlalchemy.create_engine

    def remembered(*arguments: Any, **options: Any) -> sqlalchemy.Engine:
        made.append(create(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(sqlalchemy, "create_engine", remembered)
    yield
    for engine in made:
        engine.dispose()


class TestSamples:
    @pytest.mark.parametrize("sample", ALL, ids=label)
    def test_it_reads_back_to_what_was_put_in(self, sample: dict[str, Any]) -> None:
        name, cookie = cookie_of(sample)
        with written_at(sample) as clock:
            source = source_from(sample)
            assert source.cookies(f"a=1; {name}={cookie}; b=2") == [cookie]
            assert source.identify(cookie) == [sample["sid"]]
            if sample["after"] == "delete":
                assert refused(source, cookie) is Reason.DELETED
                return
            found = source.open(cookie)
            assert types_of(dict(found.data)) == types_of(expected(sample))
            assert [path for path, _ in found.dropped] == (["cplx"] if sample["data"] == "rich" else [])
            assert clock.now() - 1000 < found.created <= clock.now() + 1000

    @pytest.mark.parametrize("sample", [entry for entry in ALL if "cookie" not in entry["variant"]], ids=label)
    def test_it_is_found_without_its_cookie(self, sample: dict[str, Any]) -> None:
        with written_at(sample):
            source = source_from(sample)
            (found,) = source.scan()
            assert found.identity == sample["sid"]
            assert sample["sid"][:8] in found.where
            assert sample["sid"] not in found.where + repr(found.session)
            if sample["after"] == "delete":
                assert found.error.reason is Reason.DELETED
            else:
                assert found.session == source.open(cookie_of(sample)[1])

    @pytest.mark.parametrize("sample", [entry for entry in ALL if "session.timeout" in entry["options"]], ids=label)
    def test_it_ends_with_its_timeout(self, sample: dict[str, Any]) -> None:
        timeout = timedelta(seconds=sample["options"]["session.timeout"])
        with written_at(sample) as clock:
            source, cookie = source_from(sample), cookie_of(sample)[1]
            assert abs(source.open(cookie).expires - clock.now() - timeout.total_seconds() * 1000) < 1000
            clock.advance(timeout - timedelta(seconds=1))
            source.open(cookie)
            clock.advance(timedelta(seconds=2))
            assert refused(source, cookie) is Reason.EXPIRED
            assert [each.error.reason for each in source.scan()] == [Reason.EXPIRED]

    @pytest.mark.parametrize("sample", ALL, ids=label)
    def test_no_other_cookie_is_taken(self, sample: dict[str, Any]) -> None:
        cookie = cookie_of(sample)[1]
        reasons = {Reason.BAD_SIGNATURE}
        if len(cookie) == 32:
            reasons = {Reason.BAD_ID, Reason.NOT_FOUND}
        with written_at(sample):
            source = source_from(sample)
            for other in mutated(cookie):
                if other != cookie:
                    assert refused(source, other) in reasons

    @pytest.mark.parametrize("sample", ALL, ids=label)
    def test_a_wrong_secret_is_one_reason(self, sample: dict[str, Any]) -> None:
        with written_at(sample):
            name = "validate_key" if sample["options"]["session.type"] == "cookie" else "secret"
            assert refused(source_from(sample, **{name: "other"}), cookie_of(sample)[1]) is Reason.BAD_SIGNATURE

    @pytest.mark.parametrize("sample", [entry for entry in ALL if "enc" in entry["variant"]], ids=label)
    def test_a_wrong_key_is_one_reason(self, sample: dict[str, Any]) -> None:
        with written_at(sample):
            assert refused(source_from(sample, encrypt_key="other"), cookie_of(sample)[1]) is Reason.CORRUPT

    @pytest.mark.parametrize("sample", [entry for entry in ALL if entry["data"] == "rich"], ids=label)
    def test_pickles_are_read_if_so_told(self, sample: dict[str, Any]) -> None:
        """Beaker before 1.12 did not serialize what it did not encrypt: that is part of the record."""
        is_text = any(word in sample["variant"] for word in ("enc", "cookie"))
        is_part = sample["version"] in ("1.6.4", "1.11.0") and not is_text
        with written_at(sample):
            source = source_from(sample, data_serializer="json")
            assert refused(source, cookie_of(sample)[1]) is (None if is_part else Reason.PICKLE_DISABLED)


def visit(app: Any, cookie: str = "") -> tuple[list[str], str]:
    """Return the cookies that an application sets, and what it says."""
    environ: dict[str, Any] = {"HTTP_COOKIE": cookie}
    setup_testing_defaults(environ)
    found: list[str] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        found.extend(value for name, value in headers if name.lower() == "set-cookie")

    body = b"".join(app(environ, start_response)).decode()
    return found, body


def login(options: dict[str, Any], data: dict[str, Any]) -> str:
    """Return the Cookie header of a visitor for whom Beaker has stored something."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["beaker.session"].update(data)
        environ["beaker.session"].save()
        start_response("200 OK", [])
        return [b""]

    (cookie,), _ = visit(SessionMiddleware(app, options))
    return cookie.partition(";")[0]


STORED = {"user_id": 7, "name": "Zażółć", "cart": [{"id": 1, "price": 1.5}], "n": None}
PICKLED = {**STORED, "when": datetime(2024, 1, 1), "tags": {"a", "b"}, "pair": (1, 2)}
VARIANTS = {
    "bare": {},
    "signed": {"session.secret": "s3cr3t", "session.timeout": "600"},
    "json": {"session.secret": "s3cr3t", "session.data_serializer": "json"},
    "encrypted": {"session.secret": "s3cr3t", **{f"session.{name}": key for name, key in KEYS.items()}},
}


@pytest.mark.filterwarnings("ignore:Call to deprecated setex")
class TestInstalledBeaker:
    """The one that is installed writes, ours reads."""

    @pytest.fixture(params=["file", "dbm", "ext:database", "ext:redis", "ext:memcached"])
    def place(self, request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
        kind = request.param
        options = {"session.type": kind}
        if kind in ("file", "dbm"):
            return {**options, "session.data_dir": str(tmp_path)}
        if kind == "ext:database":
            url = f"sqlite:///{tmp_path}/sessions.db"
        else:
            url = request.getfixturevalue(f"{kind.removeprefix('ext:')}_url")
        if kind == "ext:memcached":
            url = urlsplit(url).netloc
            options["session.memcache_module"] = "memcache"
        return {**options, "session.url": url, "session.lock_dir": str(tmp_path / "locks")}

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_what_it_stores_is_read_and_deleted(self, place: dict[str, Any], variant: str) -> None:
        options = {**place, **VARIANTS[variant]}
        data = STORED if variant == "json" else PICKLED
        header = login(options, data)
        source = source_of(read_options(options))
        (cookie,) = source.cookies(header)
        found = source.open(cookie)
        assert (types_of(found.data), found.dropped) == (types_of(data), ())
        assert abs(found.created - time.time() * 1000) < 5000
        if variant == "signed":
            assert found.expires == pytest.approx(time.time() * 1000 + 600_000, abs=5000)
        if place["session.type"] != "ext:memcached":
            identity = source.identify(cookie)[0]
            assert [each.session for each in source.scan() if each.identity == identity] == [found]
        source.discard(cookie)
        assert refused(source, cookie) is Reason.NOT_FOUND
        source.discard(cookie)
        ((_, removal),) = source.removals(SessionCookie())
        assert "Max-Age=0" in removal

    @pytest.mark.parametrize("encrypted", [True, False])
    @pytest.mark.parametrize("serializer", ["json", "pickle"])
    def test_what_it_keeps_in_a_cookie_is_read(self, serializer: str, encrypted: bool) -> None:
        options = {
            "beaker.session.type": "cookie",
            "beaker.session.validate_key": "v",
            "beaker.session.data_serializer": serializer,
            **({"beaker.session.encrypt_key": "e"} if encrypted else {}),
        }
        data = STORED if serializer == "json" else PICKLED
        source = source_of(read_options(options))
        (cookie,) = source.cookies(login(options, data))
        assert types_of(source.open(cookie).data) == types_of(data)
        source.discard(cookie)
        with pytest.raises(NotImplementedError):
            list(source.scan())

    def test_all_cookies_of_one_session_have_one_identity(self) -> None:
        """Beaker writes another for each request."""
        options = {"session.type": "cookie", "session.validate_key": "v", "session.data_serializer": "json"}
        source = source_of(read_options(options))
        first = login(options, {"a": 1})

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            environ["beaker.session"]["a"] += 1
            environ["beaker.session"].save()
            start_response("200 OK", [])
            return []

        (second,), _ = visit(SessionMiddleware(app, options), first)
        cookies = source.cookies(first) + source.cookies(second.partition(";")[0])
        assert len(set(cookies)) == 2
        assert source.identify(cookies[0]) == source.identify(cookies[1])
        assert source.identify(cookies[0]) != source.identify(source.cookies(login(options, {"a": 1}))[0])

    def test_what_it_has_deleted_is_gone(self, tmp_path: Path) -> None:
        options = {"session.type": "file", "session.data_dir": str(tmp_path)}
        header = login(options, {"a": 1})

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            environ["beaker.session"].delete()
            start_response("200 OK", [])
            return []

        visit(SessionMiddleware(app, options), header)
        source = source_of(read_options(options))
        assert refused(source, source.cookies(header)[0]) is Reason.DELETED

    def test_sessions_that_no_request_made(self, tmp_path: Path) -> None:
        """What ``environ["beaker.get_session"]()`` returns."""
        session = Session({}, use_cookies=False, type="file", data_dir=str(tmp_path))
        session["token"] = "x"
        session.save()
        source = BeakerSource(FileContainer(tmp_path / "container_file"), serializer="pickle")
        assert source.open(session.id).data == {"token": "x"}


def record(data: Any, **options: Any) -> bytes:
    """Return what Beaker would write to a file."""
    return pickle.dumps({"session": data}, **options)


def in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def text(data: Any) -> str:
    return in_base64(pickle.dumps(data, 2))


def json_text(data: Any) -> str:
    return in_base64(zlib.compress(json.dumps(data).encode()))


def put(folder: Path, content: bytes, session_id: str = ID, ending: str = ".cache") -> None:
    path = folder / session_id[:1] / session_id[:2] / (session_id + ending)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


BEGAN = 1_700_000_000.25
TIMES = {"_creation_time": BEGAN, "_accessed_time": BEGAN + 10, "_domain": None, "_path": "/"}


class TestFiles:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path

    @pytest.mark.parametrize("stored", [text({**TIMES, "a": 1}), json_text({**TIMES, "a": 1}), {**TIMES, "a": 1}])
    def test_one_store_may_hold_every_form(self, folder: Path, stored: Any) -> None:
        put(folder, record(stored))
        found = BeakerSource(FileContainer(folder), serializer="pickle").open(ID)
        assert found == LegacySession(data={"a": 1}, created=1_700_000_000_250, accessed=1_700_000_010_250)

    def test_one_that_was_never_accessed_was_used_when_it_began(self, folder: Path) -> None:
        put(folder, record(text({"_creation_time": BEGAN})))
        source = BeakerSource(FileContainer(folder), serializer="pickle")
        assert source.open(ID).accessed == 1_700_000_000_250

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", Reason.CORRUPT),
            (b"\x80", Reason.CORRUPT),
            (pickle.dumps([1]), Reason.CORRUPT),
            (pickle.dumps({}), Reason.DELETED),
            (pickle.dumps({"other": 1}), Reason.DELETED),
            (record(None), Reason.CORRUPT),
            (record("not base64"), Reason.CORRUPT),
            (record(in_base64(b"neither")), Reason.CORRUPT),
            (record(in_base64(zlib.compress(b"a" * 2_000_000))), Reason.CORRUPT),
            (record(json_text([1])), Reason.CORRUPT),
            (record(text({"_domain": None, "_path": "/"})), Reason.DELETED),
            (record(text({**TIMES, "_creation_time": "x"})), Reason.CORRUPT),
            (record(text({**TIMES, "_creation_time": float("nan")})), Reason.CORRUPT),
            (b"cos\nsystem\n(S'true'\ntR.", Reason.CORRUPT),
        ],
    )
    def test_what_is_none_is_a_reason(self, folder: Path, content: bytes, reason: Reason) -> None:
        put(folder, content)
        source = BeakerSource(FileContainer(folder), serializer="pickle")
        assert refused(source, ID) is reason
        assert [each.error.reason for each in source.scan()] == [reason]

    def test_a_file_that_is_too_large_is_not_read(self, folder: Path) -> None:
        put(folder, b"")
        os.truncate(folder / ID[:1] / ID[:2] / f"{ID}.cache", 1024 * 1024 + 1)
        source = BeakerSource(FileContainer(folder))
        with pytest.raises(LegacyError, match="larger than 1 MiB"):
            source.open(ID)
        assert [each.error.reason for each in source.scan()] == [Reason.CORRUPT]

    @settings(max_examples=300, deadline=None)
    @given(st.binary(max_size=60), st.integers(0, 4), st.booleans())
    def test_whatever_is_stored_raises_nothing_else(self, content: bytes, form: int, encrypted: bool) -> None:
        encoded = in_base64(content)
        stored: Any = [content, content.decode("latin-1"), encoded, {"a": content}, content][form]
        container = FileContainer(STORES)
        container.read = lambda session_id: content if form == 4 else record(stored)  # type: ignore[method-assign]
        source = BeakerSource(container, serializer="pickle", **(KEYS if encrypted else {}))
        assert refused(source, ID) in (Reason.CORRUPT, Reason.DELETED)

    @pytest.mark.parametrize(
        "cookie", ["../../../etc/passwd", ID.upper(), ID + "\n", ID[:-1], "", "\udcff" * 32, ID * 2]
    )
    def test_an_id_is_checked_though_it_is_not_signed(self, folder: Path, cookie: str) -> None:
        source = BeakerSource(FileContainer(folder))
        assert refused(source, cookie) is Reason.BAD_ID
        source.discard(cookie)

    def test_an_id_that_is_none_is_not_taken_though_signed(self, folder: Path) -> None:
        source = BeakerSource(FileContainer(folder), secret="s")
        assert refused(source, signed("s", "../../x")) is Reason.BAD_ID

    def test_a_directory_that_is_missing_is_an_error_at_once(self, folder: Path) -> None:
        for kind in (FileContainer, DBMContainer):
            with pytest.raises(ValueError, match="there is no directory"):
                kind(folder / "missing")

    def test_other_files_are_passed_over(self, folder: Path) -> None:
        put(folder, record(text({**TIMES, "a": 1})))
        put(folder, b"", ending=".cache.temp")
        put(folder, b"", session_id=hashlib.sha1(b"a cache").hexdigest())
        put(folder, b"", session_id="0123", ending=".cache")
        (folder / "container_file_lock").mkdir()
        (folder / "x.cache").write_bytes(b"")
        assert [each.identity for each in BeakerSource(FileContainer(folder), serializer="pickle").scan()] == [ID]

    def test_a_file_that_vanishes_during_a_scan_is_none(self, folder: Path) -> None:
        for number in range(30):
            put(folder, record(text({**TIMES, "a": 1})), session_id=f"ab{number:030}")
        found = []
        for each in BeakerSource(FileContainer(folder), serializer="pickle").scan():
            found.append(each)
            shutil.rmtree(folder / "a", ignore_errors=True)
        assert len(found) == 1

    def test_a_directory_that_cannot_be_read_is_a_failure_of_the_storage(self, folder: Path) -> None:
        put(folder, b"")
        source = BeakerSource(FileContainer(folder))
        shutil.rmtree(folder / "0")
        (folder / "0").write_bytes(b"")
        with pytest.raises(StoreError):
            source.open(ID)
        with pytest.raises(StoreError):
            source.discard(ID)
        shutil.rmtree(folder)
        with pytest.raises(StoreError):
            list(source.scan())

    def test_a_file_that_cannot_be_read_is_one_of_a_scan(self, folder: Path) -> None:
        put(folder, record(text({**TIMES, "a": 1})), session_id="f" * 32)
        (folder / ID[:1] / ID[:2] / f"{ID}.cache").mkdir(parents=True)
        found = {each.identity: each for each in BeakerSource(FileContainer(folder), serializer="pickle").scan()}
        assert found[ID].error.reason is Reason.CORRUPT
        assert found["f" * 32].session.data == {"a": 1}

    @pytest.mark.parametrize(("kind", "ending"), [(FileContainer, ".cache"), (DBMContainer, ".dbm.dat")])
    def test_what_is_no_file_is_not_followed_opened_or_waited_for(self, folder: Path, kind: Any, ending: str) -> None:
        (folder / "0" / "00").mkdir(parents=True)
        (folder / "elsewhere").write_bytes(record(text({**TIMES, "a": 1})))
        ids = [f"00{digit * 30}" for digit in "1234"]
        paths = [folder / "0" / "00" / f"{id}{ending}" for id in ids]
        paths[0].symlink_to(folder / "elsewhere")
        os.mkfifo(paths[1])
        paths[2].mkdir()
        os.mknod(paths[3], stat.S_IFSOCK | 0o600)
        for id in ids:
            put(folder, b"'session', (0, 200)\n", id, ".dbm.dir")
        source = BeakerSource(kind(folder), serializer="pickle")
        assert [refused(source, id) for id in ids] == [Reason.CORRUPT] * 4
        assert {each.identity: each.error.reason for each in source.scan()} == dict.fromkeys(ids, Reason.CORRUPT)

    @pytest.mark.parametrize("ending", [".dbm", ".dbm.db", ".dbm.pag", ".dbm.dir"])
    def test_no_part_of_a_dbm_is_waited_for(self, folder: Path, ending: str) -> None:
        put(folder, b"", ending=".dbm.dat")
        path = folder / ID[:1] / ID[:2] / f"{ID}{ending}"
        os.mkfifo(path)
        assert refused(BeakerSource(DBMContainer(folder)), ID) is Reason.CORRUPT

    @pytest.mark.parametrize(
        "directory",
        [
            b"'session', (0, 1000000000)\n",
            b"'session', (99999999999, 10)\n",
            b"'session', (0, -1)\n",
            b"'session', (-5, 10)\n",
            b"'session', (0, 1" + b"0" * 5000 + b")\n",
            b"'session', (0, " + b"(" * 60_000 + b"\n",
            b"'other', (0, 10)\n" * 200_000,
        ],
        ids=lambda directory: directory[:30].decode(),
    )
    def test_a_dbm_that_claims_much_takes_little(self, folder: Path, directory: bytes) -> None:
        put(folder, b"x" * 100, ending=".dbm.dat")
        put(folder, directory, ending=".dbm.dir")
        source = BeakerSource(DBMContainer(folder), serializer="pickle")
        tracemalloc.start()
        try:
            assert refused(source, ID) is Reason.CORRUPT
            assert tracemalloc.get_traced_memory()[1] < 2 * 1024 * 1024
        finally:
            tracemalloc.stop()

    def test_a_broken_dbm_is_a_reason(self, folder: Path) -> None:
        source = BeakerSource(DBMContainer(folder))
        assert refused(source, ID) is Reason.NOT_FOUND
        for directory in (
            b"'session', (0, ",
            b"'session', (0, 99999)\n",
            b"(" * 5000,
            b"",
            b"\xff\xfe",
            b"__import__('os')\n",
        ):
            put(folder, b"", ending=".dbm.dat")
            put(folder, directory, ending=".dbm.dir")
            assert refused(source, ID) in (Reason.CORRUPT, Reason.DELETED)
        put(folder, b"\x00" * 64, ending=".dbm")
        assert refused(source, ID) is Reason.CORRUPT
        source.discard(ID)
        assert [path for path in folder.rglob("*") if path.is_file()] == []

    def test_few_files_are_in_memory_at_once(self, folder: Path) -> None:
        content = record(text({**TIMES, "a": "x" * 20_000}))
        for number in range(300):
            put(folder, content, session_id=hashlib.md5(b"%d" % number).hexdigest())

        def most() -> int:
            source = BeakerSource(FileContainer(folder), serializer="pickle")
            tracemalloc.start()
            try:
                assert sum(1 for _ in source.scan()) == 300
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

        # During one of them, Python's table of interned strings may grow, by megabytes.
        assert min(most(), most()) < 40 * len(content)


class TestValues:
    @pytest.fixture
    def opened(self, tmp_path: Path) -> Callable[..., LegacySession]:
        def opened(data: dict[str, Any], **options: Any) -> LegacySession:
            put(tmp_path, record(text({**TIMES, **data})))
            return BeakerSource(FileContainer(tmp_path), serializer="pickle", **options).open(ID)

        return opened

    def test_what_cannot_be_stored_is_dropped_or_converted_or_refused(self, opened: Any) -> None:
        data = {"a": 1, "z": 1 + 2j}
        assert opened(data).data == {"a": 1}
        assert opened(data, convert=lambda path, unknown: list(unknown.state)).data == {"a": 1, "z": [1.0, 2.0]}
        with pytest.raises(LegacyError) as caught:
            opened(data, on_unknown="refuse")
        assert caught.value.reason is Reason.UNSTORABLE

    def test_an_id_of_flask_login_stays(self, opened: Any) -> None:
        assert opened({"_id": "f" * 128, "_fresh": True}).data == {"_id": "f" * 128, "_fresh": True}

    def test_the_token_of_open_forms_is_text(self, opened: Any) -> None:
        assert opened({"_csrft_": b"abc", "_f_": ["hi"]}).data == {"_csrft_": "abc", "_f_": ["hi"]}

    def test_it_is_persistent_if_its_cookie_was(self, opened: Any) -> None:
        assert not opened({}).persistent
        assert opened({}, persistent=True).persistent

    def test_the_last_access_counts_or_else_the_beginning(self, opened: Any) -> None:
        with ReplacedClock(start=1_700_000_000_000):
            assert opened({}, timeout=60).expires == 1_700_000_070_250
            assert opened({"_accessed_time": None}, timeout=60).expires == 1_700_000_060_250


class TestCookies:
    def test_what_should_be_encrypted_must_be(self) -> None:
        source = BeakerCookieSource(KEYS["validate_key"], encrypt_key=KEYS["encrypt_key"], serializer="pickle")
        nonce = in_base64(bytes(16))
        for payload in (text({**TIMES, "a": 1}), nonce + text({**TIMES, "a": 1}), nonce[:8] + text({**TIMES, "a": 1})):
            assert refused(source, signed(KEYS["validate_key"], payload)) is Reason.CORRUPT

    def test_in_a_store_it_may_not_be(self, tmp_path: Path) -> None:
        """Beaker without an AES library wrote it as it was, and said nothing."""
        put(tmp_path, record(in_base64(bytes(16)) + text({**TIMES, "a": 1})))
        source = BeakerSource(FileContainer(tmp_path), serializer="pickle", **KEYS)
        assert source.open(ID).data == {"a": 1}
        put(tmp_path, record({**TIMES, "a": 1}))
        assert refused(source, ID) is Reason.CORRUPT

    def test_an_id_that_flask_login_has_replaced_is_not_the_only_identity(self) -> None:
        """It says which browser it is, not which session."""
        source = BeakerCookieSource("v", serializer="json")
        cookies = [
            signed("v", json_text({**TIMES, "_creation_time": BEGAN + more, "_id": "f" * 128})) for more in (0, 1)
        ]
        first, second = (source.identify(cookie) for cookie in cookies)
        assert first != second
        assert source.open(cookies[0]).data == {"_id": "f" * 128}
        again = signed("v", json_text({**TIMES, "_accessed_time": BEGAN + 99, "_id": "f" * 128}))
        assert source.identify(again) == first

    @pytest.mark.parametrize("identity", ["\ud800", 7, "", None, "F" * 128])
    def test_an_id_that_is_none_is_not_the_identity(self, identity: Any) -> None:
        source = BeakerCookieSource("v", serializer="json")
        (found,) = source.identify(signed("v", json_text({**TIMES, "_id": identity})))
        assert len(found) == 64

    def test_without_any_id_it_is_the_cookie(self) -> None:
        source = BeakerCookieSource("v", serializer="json")
        (identity,) = source.identify(signed("v", json_text(TIMES)))
        assert len(identity) == 64
        assert source.identify(signed("v", json_text({**TIMES, "a": 1}))) != [identity]

    @settings(max_examples=300, deadline=None)
    @given(st.text(max_size=80) | st.binary(max_size=60).map(in_base64), st.booleans())
    def test_whatever_is_signed_raises_nothing_else(self, payload: str, encrypted: bool) -> None:
        source = BeakerCookieSource("v", serializer="pickle", encrypt_key="e" if encrypted else None)
        cookie = hmac.new(b"v", payload.encode("utf-8", "replace"), "sha1").hexdigest() + payload
        assert refused(source, payload) is Reason.BAD_SIGNATURE
        assert refused(source, cookie) in (Reason.CORRUPT, Reason.DELETED, Reason.BAD_SIGNATURE)


class TestServers:
    def test_a_table_of_many_rows_is_read_page_by_page(self, tmp_path: Path) -> None:
        engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/many.db")
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE beaker_cache (namespace varchar(255) PRIMARY KEY, data BLOB)")
            rows = [(hashlib.md5(b"%d" % number).hexdigest(), record(text(TIMES))) for number in range(1203)]
            rows += [("some.module.function", pickle.dumps({})), ("zz", b"")]
            connection.exec_driver_sql("INSERT INTO beaker_cache VALUES (?, ?)", rows)
        found = [each.identity for each in BeakerSource(SQLContainer(engine), serializer="pickle").scan()]
        assert len(found) == len(set(found)) == 1203

    @pytest.mark.parametrize(("server", "driver"), [("postgresql", "postgresql+psycopg"), ("mariadb", "mysql+pymysql")])
    def test_other_databases(self, request: pytest.FixtureRequest, tmp_path: Path, server: str, driver: str) -> None:
        table = f"beaker_{os.urandom(6).hex()}"
        options = {
            "session.type": "ext:database",
            "session.url": request.getfixturevalue(f"{server}_url").replace(server, driver, 1),
            "session.table_name": table,
            "session.lock_dir": str(tmp_path),
        }
        try:
            headers = [login(options, {**PICKLED, "number": number}) for number in range(3)]
            source = source_of(read_options(options))
            cookies = [cookie for header in headers for cookie in source.cookies(header)]
            assert [source.open(cookie).data for cookie in cookies] == [{**PICKLED, "number": n} for n in range(3)]
            assert {each.identity for each in source.scan()} == set(cookies)
            source.discard(cookies[0])
            assert {each.identity for each in source.scan()} == set(cookies[1:])
        finally:
            for engine in DatabaseNamespaceManager.binds.dict.values():
                engine.dispose()
            engine = sqlalchemy.create_engine(options["session.url"])
            with engine.begin() as connection:
                connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")

    def test_a_driver_that_is_not_installed_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "MySQLdb", None)
        with pytest.raises(ImportError, match=r"MySQLdb is not installed.*mysql\+pymysql") as caught:
            SQLContainer("mysql://app:secret@localhost/app")
        assert "secret" not in str(caught.value)

    def test_a_table_in_a_schema(self, tmp_path: Path) -> None:
        engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/main.db")
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE main.sessions (namespace varchar(255), data BLOB)")
            connection.exec_driver_sql("INSERT INTO sessions VALUES (?, ?)", [(ID, record(text({**TIMES, "a": 1})))])
        source = BeakerSource(SQLContainer(engine, table="sessions", schema="main"), serializer="pickle")
        assert source.open(ID).data == {"a": 1}

    # Errors of an older PyMySQL have the server's own number alone.
    @pytest.mark.parametrize(
        ("server", "code"), [("sqlite", "SQLITE_ERROR"), ("postgresql", "42P01"), ("mariadb", "(42S02|1146)")]
    )
    def test_a_table_that_is_not_there_holds_no_session(
        self, request: pytest.FixtureRequest, tmp_path: Path, server: str, code: str
    ) -> None:
        url = f"sqlite:///{tmp_path}/data.db"
        if server != "sqlite":
            driver = {"postgresql": "postgresql+psycopg", "mariadb": "mysql+pymysql"}[server]
            url = request.getfixturevalue(f"{server}_url").replace(server, driver, 1)
        container = SQLContainer(url, table=f"beaker_{os.urandom(6).hex()}")
        assert not container.is_there()
        assert refused(BeakerSource(container), ID) is Reason.NOT_FOUND
        # To whoever imports it, it is a mistake.
        with pytest.raises(StoreError, match=f"Error: {code}$"):
            list(container.scan())

    def test_a_table_of_other_columns_is_a_failure_of_the_storage(self, tmp_path: Path) -> None:
        engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/rows.db")
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE beaker_cache (other)")
        container = SQLContainer(engine)
        assert container.is_there()
        with pytest.raises(StoreError):
            container.read(ID)

    def test_asking_for_the_table_leaves_no_connection_open(self, tmp_path: Path) -> None:
        """A process that is forked afterwards would share it."""
        engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/rows.db")
        made, closed = [], []
        sqlalchemy.event.listen(engine, "connect", lambda connection, _: made.append(connection))
        sqlalchemy.event.listen(engine, "close_detached", closed.append)
        SQLContainer(engine).is_there()
        assert made == closed != []

    def test_a_row_that_holds_no_bytes_is_corrupt(self, tmp_path: Path) -> None:
        engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/rows.db")
        wrong = {f"{number:032}": value for number, value in enumerate([None, "text", 5, 2_000_000_000, 1.5])}
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE beaker_cache (namespace, data)")
            rows: list[tuple[Any, Any]] = [*wrong.items(), (ID, record(text({**TIMES, "a": 1}))), (None, b""), (7, b"")]
            connection.exec_driver_sql("INSERT INTO beaker_cache VALUES (?, ?)", rows)
        source = BeakerSource(SQLContainer(engine), serializer="pickle")
        assert [refused(source, id) for id in wrong] == [Reason.CORRUPT] * 5
        found = {each.identity: each.error and each.error.reason for each in source.scan()}
        assert found == {**dict.fromkeys(wrong, Reason.CORRUPT), ID: None}

    def test_a_row_of_text_that_is_none_costs_no_other_one(self, tmp_path: Path) -> None:
        """The driver of SQLite gives up on all that it was to fetch with it."""
        engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/rows.db")
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE beaker_cache (namespace, data)")
            connection.exec_driver_sql("INSERT INTO beaker_cache VALUES (?, CAST(X'FF' AS TEXT))", ("0" * 32,))
            connection.exec_driver_sql("INSERT INTO beaker_cache VALUES (CAST(X'FF' AS TEXT), ?)", (b"",))
            connection.exec_driver_sql("INSERT INTO beaker_cache VALUES (?, ?)", (ID, record(text({**TIMES, "a": 1}))))
        source = BeakerSource(SQLContainer(engine), serializer="pickle")
        assert refused(source, "0" * 32) is Reason.CORRUPT
        found = {each.identity: each.error and each.error.reason for each in source.scan()}
        assert found == {"0" * 32: Reason.CORRUPT, ID: None}

    def test_a_server_that_is_down_is_a_failure_of_the_storage(self, tmp_path: Path) -> None:
        containers = [
            SQLContainer(f"sqlite:///{tmp_path}/missing/folder.db"),
            RedisContainer("redis://127.0.0.1:1/0"),
            MemcachedContainer("127.0.0.1:1"),
        ]
        for container in containers:
            for use in (BeakerSource(container).open, BeakerSource(container).discard):
                with pytest.raises(StoreError) as caught:
                    use(ID)
                assert ID not in f"{caught.value!r}"

    @pytest.mark.parametrize(
        ("flags", "value", "data"),
        [
            (0, json_text({**TIMES, "a": 1}).encode(), {"a": 1}),
            (16, text({**TIMES, "a": 1}).encode(), {"a": 1}),
            (1, pickle.dumps({**TIMES, "a": 1}), {"a": 1}),
            (8 | 16, zlib.compress(text({**TIMES, "a": 1}).encode()), {"a": 1}),
            (8 | 1, zlib.compress(pickle.dumps({**TIMES, "a": 1}, 0)), {"a": 1}),
            (2, b"7", None),
            (8, b"not zlib", None),
            (0, b"", None),
        ],
    )
    def test_flags_of_memcached(self, memcached_url: str, flags: int, value: bytes, data: Any) -> None:
        server = urlsplit(memcached_url).netloc
        client = pymemcache.Client(server)
        session_id = hashlib.md5(os.urandom(8)).hexdigest()
        client.set(f"{session_id}_session", value, flags=flags, noreply=False)
        client.close()
        source = BeakerSource(MemcachedContainer(f"{server};{server}"), serializer="pickle")
        if data is None:
            assert refused(source, session_id) is Reason.CORRUPT
        else:
            assert source.open(session_id).data == data
        with pytest.raises(NotImplementedError):
            list(source.scan())

    def test_keys_of_redis_that_are_none_are_passed_over(self, redis_url: str) -> None:
        with redis.Redis.from_url(redis_url) as client:
            session_id = hashlib.md5(os.urandom(8)).hexdigest()
            keys = {f"beaker_cache:{session_id}:session": pickle.dumps(text({**TIMES, "a": 1}))}
            keys |= {f"beaker_cache:{session_id}:other": b"", f"beaker_cache:{session_id}x:session": b""}
            client.mset(keys)
            try:
                found = list(BeakerSource(RedisContainer(client), serializer="pickle").scan())
                (ours,) = [each for each in found if session_id[:8] in each.where]
                assert ours.session.data == {"a": 1}
                assert session_id not in ours.where
            finally:
                client.delete(*keys)

    @pytest.mark.parametrize(
        ("make", "error"),
        [
            (lambda: SQLContainer("no url of secret"), ValueError),
            (lambda: SQLContainer(7), TypeError),  # type: ignore[arg-type]
            (lambda: RedisContainer("http://secret@localhost"), ValueError),
            (lambda: RedisContainer("redis://app:secret#1@localhost"), ValueError),
            (lambda: RedisContainer(7), TypeError),
            (lambda: MemcachedContainer(" ; "), ValueError),
            (lambda: MemcachedContainer("localhost:secret"), ValueError),
        ],
    )
    def test_a_wrong_place_is_an_error_at_once(self, make: Callable[[], Any], error: type[Exception]) -> None:
        with pytest.raises(error) as caught:
            make()
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "address"),
        [
            ("localhost", ("localhost", 11211)),
            ("10.0.0.1:11212", ("10.0.0.1", 11212)),
            ("inet:10.0.0.1:11212", ("10.0.0.1", 11212)),
            ("unix:/run/memcached.sock", "/run/memcached.sock"),
            ("/run/memcached.sock", "/run/memcached.sock"),
        ],
    )
    def test_names_of_servers(self, name: str, address: Any) -> None:
        assert MemcachedContainer(f" {name} ;")._servers == [address]


class TestArguments:
    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"secret": ""}, ValueError),
            ({"secret": 7}, TypeError),
            ({"serializer": "yaml"}, ValueError),
            ({"timeout": 0}, ValueError),
            ({"timeout": "60"}, TypeError),
            ({"timeout": True}, TypeError),
            ({"encrypt_key": "e"}, ValueError),
            ({"encrypt_key": "", "validate_key": "v"}, ValueError),
            ({"encrypt_key": "e", "validate_key": ""}, ValueError),
            ({"on_unknown": "ignore"}, ValueError),
        ],
    )
    def test_a_wrong_one_is_an_error_at_once(self, options: dict[str, Any], error: type[Exception]) -> None:
        with pytest.raises(error):
            BeakerSource(FileContainer(STORES), **options)

    @pytest.mark.parametrize(
        ("module", "make"),
        [
            ("sqlalchemy", lambda: SQLContainer("sqlite://")),
            ("redis", lambda: RedisContainer("redis://localhost")),
            ("pymemcache", lambda: MemcachedContainer("localhost")),
            ("cryptography.hazmat.primitives.ciphers", lambda: BeakerCookieSource("v", encrypt_key="e")),
        ],
    )
    def test_what_is_not_installed_is_named(
        self, monkeypatch: pytest.MonkeyPatch, module: str, make: Callable[[], Any]
    ) -> None:
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ImportError, match=r"pip install wsgi-sessions\["):
            make()

    def test_a_container_is_one(self) -> None:
        with pytest.raises(TypeError, match="FileContainer"):
            BeakerSource("sessions")  # type: ignore[arg-type]

    def test_a_cookie_needs_a_key(self) -> None:
        with pytest.raises(ValueError):
            BeakerCookieSource("")
        with pytest.raises(ValueError, match="validate_key"):
            source_of(read_options({"session.type": "cookie"}))

    def test_nothing_shows_an_id(self, tmp_path: Path) -> None:
        put(tmp_path, record(text(TIMES)))
        container = FileContainer(tmp_path)
        (stored,) = container.scan()
        assert ID not in f"{stored!r}{container!r}{container.where(ID)}"

    def test_nothing_shows_a_key(self) -> None:
        source = BeakerSource(FileContainer(STORES), secret="s3cr3t", **KEYS)
        options = read_options({"session.secret": "s3cr3t", "session.encrypt_key": "enc"})
        assert "s3cr3t" not in f"{source!r}{vars(source)['_format']!r}{options!r}"
        assert "enc" not in repr(options)


class TestOptions:
    @pytest.mark.parametrize("prefix", ["beaker.session.", "session.", "session_"])
    def test_every_prefix_is_read(self, prefix: str) -> None:
        given_ = {
            "type": "cookie",
            "key": "k",
            "secret": "s",
            "timeout": "300",
            "cookie_expires": "3600",
            "secure": "true",
        }
        given_ |= {"httponly": "0", "auto": "yes", "cookie_path": "/app", "cookie_domain": "example.com"}
        found = read_options(
            {**{prefix + name: value for name, value in given_.items()}, "cache.type": "memory", "debug": "1"}
        )
        assert (found.type, found.key, found.secret, found.timeout) == ("cookie", "k", "s", 300)
        assert (found.cookie_expires, found.secure, found.httponly, found.auto) == (
            timedelta(seconds=3600),
            True,
            False,
            True,
        )
        assert (found.cookie_path, found.cookie_domain, found.unused) == ("/app", "example.com", ())

    def test_a_key_of_beaker_agrees(self, tmp_path: Path) -> None:
        """What it makes of the same configuration."""
        configuration = {
            "session.data_dir": str(tmp_path),
            "session.timeout": "300",
            "session.secure": "on",
            "session.cookie_expires": "False",
            "session.httponly": "f",
        }
        theirs = SessionMiddleware(None, configuration).options
        ours = read_options(configuration)
        for name in ("timeout", "secure", "cookie_expires", "httponly", "data_dir", "key", "secret"):
            assert getattr(ours, name) == theirs[name]
        assert ours.type == "file"

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (True, True),
            ("true", True),
            ("False", False),
            ("1", True),
            (300, timedelta(seconds=300)),
            ("300", timedelta(seconds=300)),
            (timedelta(days=1), timedelta(days=1)),
            (None, False),
        ],
    )
    def test_cookie_expires(self, value: Any, expected: Any) -> None:
        assert read_options({"session.cookie_expires": value}).cookie_expires == expected

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("timeout", "soon"),
            ("timeout", -1.5),
            ("secure", "maybe"),
            ("cookie_expires", "later"),
            ("secret", ""),
            ("key", " "),
            ("key", None),
            ("data_serializer", None),
            ("timeout", 0),
            ("timeout", 10**15),
            ("cookie_expires", 0),
            ("cookie_expires", timedelta(0)),
            ("cookie_expires", 10**15),
        ],
    )
    def test_a_value_that_is_none_is_an_error(self, name: str, value: Any) -> None:
        with pytest.raises(ValueError, match=f"session.{name} must be"):
            read_options({f"session.{name}": value})

    @pytest.mark.parametrize("value", [True, False, 12345, b"abc", 1.5, Path("/a/b"), "text", None])
    @pytest.mark.parametrize("name", ["secret", "validate_key", "encrypt_key", "data_dir", "cookie_domain"])
    def test_a_text_is_what_beaker_makes_of_anything(self, name: str, value: Any) -> None:
        """Bottle-Cork's own example has validate_key = True."""
        theirs = coerce_session_params({name: value})[name]
        assert getattr(read_options({f"session.{name}": value}), name) == theirs

    def test_a_type_that_nobody_knows_is_read_by_no_source(self) -> None:
        options = read_options({"session.type": "mongodb"})
        assert not options.is_readable and [name for name, _ in options.unused] == ["type"]
        with pytest.raises(ValueError, match=r"session\.type must be one of cookie, file, .*, not 'mongodb'"):
            source_of(options)

    def test_what_is_of_no_use_is_told(self) -> None:
        found = read_options(
            {
                "url": "of something else",
                "session.lock_dir": "l",
                "session.sa.pool_recycle": "3600",
                "session.colour": "red",
                "session.crypto_type": "cryptography",
            }
        )
        names = ["lock_dir", "sa.pool_recycle", "colour", "crypto_type", "type"]
        assert [name for name, _ in found.unused] == names
        assert all(reason for _, reason in found.unused)

    def test_a_configuration_without_any_prefix_is_told(self) -> None:
        """Beaker's documentation says that it is used; it never was."""
        found = read_options({"type": "file", "data_dir": "sessions", "debug": True})
        assert (found.type, [name for name, _ in found.unused]) == ("memory", ["type", "data_dir", "type"])

    @pytest.mark.parametrize(
        ("value", "expected"), [(None, None), (False, None), ("None", "None"), ("Strict", "Strict")]
    )
    def test_samesite(self, value: Any, expected: str | None) -> None:
        assert read_options({"session.samesite": value}).samesite == expected
        assert read_options({}).samesite == "Lax"

    def test_options_without_a_prefix_are_options(self) -> None:
        found = read_options({"session.key": "a", "session.timeout": None}, key="b", session_secret="s")
        assert (found.key, found.secret, found.timeout) == ("b", "s", None)

    @pytest.mark.parametrize("kind", ["memory", "ext:mongodb", "ext:google", "ext:rediscluster"])
    def test_what_cannot_be_read_is_no_source(self, kind: str) -> None:
        options = read_options({"session.type": kind})
        assert source_of(options) is None
        assert [name for name, _ in options.unused] == ["type"]
        assert read_options({}).type == "memory"

    @pytest.mark.parametrize("kind", ["file", "dbm", "ext:database", "ext:sqla", "ext:redis", "ext:memcached"])
    def test_a_place_that_is_not_told_is_an_error(self, kind: str) -> None:
        with pytest.raises(ValueError, match="is missing"):
            source_of(read_options({"session.type": kind}))

    def test_directories_of_their_own(self, tmp_path: Path) -> None:
        put(tmp_path, record(text({**TIMES, "a": 1})))
        source = source_of(read_options({"session.type": "file", "session.file_dir": str(tmp_path)}))
        assert source.open(ID).data == {"a": 1}

    def test_a_url_of_sqlalchemy(self, tmp_path: Path) -> None:
        options = read_options({"session.type": "ext:database", "session.sa.url": f"sqlite:///{tmp_path}/a.db"})
        assert options.url == f"sqlite:///{tmp_path}/a.db"
        assert isinstance(options.container(), SQLContainer)

    def test_the_cookie_is_removed_as_it_was_set(self) -> None:
        source = source_of(
            BeakerOptions(
                type="cookie", validate_key="v", key="k", cookie_path="/app", cookie_domain="example.com", secure=True
            )
        )
        (name, value), *_ = source.removals(SessionCookie("k"))
        assert name == "Set-Cookie"
        for part in ("k=;", "Path=/app", "Domain=example.com", "Secure"):
            assert part in value

    def test_what_becomes_of_classes_is_passed_on(self) -> None:
        options = BeakerOptions(type="cookie", validate_key="v")
        seen: list[Unknown] = []

        def convert(path: str, unknown: Unknown) -> Any:
            seen.append(unknown)
            return path

        source = source_of(options, convert=convert)
        assert source.open(signed("v", text({**TIMES, "z": 1j}))).data == {"z": "z"}
        assert [each.name for each in seen] == ["__builtin__.complex"]


class TestNonces:
    @pytest.mark.parametrize("stored", ["\ud800aaaaaaa", "é" * 8, "aaaa\udcff==", "\ud800", "\u2028" * 12])
    @pytest.mark.parametrize("options", [KEYS, {}], ids=["encrypted", "plain"])
    def test_a_text_that_is_not_ascii_is_corrupt(self, tmp_path: Path, stored: str, options: dict[str, str]) -> None:
        """A lone surrogate in the place of the nonce was an error, and ended an import."""
        put(tmp_path, record(stored + in_base64(b"x" * 40)))
        source = BeakerSource(FileContainer(tmp_path), serializer="pickle", **options)
        assert refused(source, ID) is Reason.CORRUPT
        assert [each.error.reason for each in source.scan()] == [Reason.CORRUPT]

    @settings(max_examples=200, deadline=None)
    @given(st.text(st.characters(codec=None) | st.characters(categories=["Cs"]), max_size=40), st.booleans())
    def test_whatever_text_is_stored_raises_nothing_else(self, stored: str, encrypted: bool) -> None:
        container = FileContainer(STORES)
        container.read = lambda session_id: record(stored)  # type: ignore[method-assign]
        source = BeakerSource(container, serializer="pickle", **(KEYS if encrypted else {}))
        assert refused(source, ID) is Reason.CORRUPT

    @pytest.mark.parametrize("kind", ["file", "cookie"])
    @pytest.mark.parametrize("bits", range(0, 392, 8))
    def test_a_nonce_of_any_length_is_found_if_it_is_told(self, tmp_path: Path, kind: str, bits: int) -> None:
        """Those of a multiple of 24 bits have no padding, which would tell where they end."""
        options = {
            "session.type": kind,
            "session.data_dir": str(tmp_path),
            "session.data_serializer": "json",
            **{f"session.{name}": value for name, value in KEYS.items()},
        }
        cookie = login({**options, "session.encrypt_nonce_bits": bits}, {"a": 1}).partition("=")[2]
        told = {**KEYS, "encrypt_nonce_bits": bits}
        if kind == "file":
            source: Any = BeakerSource(FileContainer(tmp_path / "container_file"), **told)
        else:
            source = BeakerCookieSource(told.pop("validate_key"), **told)
        assert source.open(cookie).data == {"a": 1}
        configured = source_of(read_options({**options, "session.encrypt_nonce_bits": str(bits)}))
        assert configured is not None and configured.open(cookie).data == {"a": 1}

    @pytest.mark.parametrize("bits", ["12", "-8", "many", None])
    def test_a_length_that_is_none_is_an_error_that_names_the_option(self, bits: str | None) -> None:
        if bits is None:
            assert read_options({"session.encrypt_nonce_bits": bits}).encrypt_nonce_bits is None
            return
        with pytest.raises(ValueError, match=r"session\.encrypt_nonce_bits must be a number of bits"):
            read_options({"session.encrypt_nonce_bits": bits})

    @pytest.mark.parametrize("bits", [48, 96, 128])
    def test_a_store_may_hold_nonces_of_the_length_that_was_the_default_before(self, tmp_path: Path, bits: int) -> None:
        options = {
            "session.type": "file",
            "session.data_dir": str(tmp_path),
            "session.data_serializer": "json",
            **{f"session.{name}": value for name, value in KEYS.items()},
        }
        cookies = [login({**options, "session.encrypt_nonce_bits": each}, {"a": each}) for each in (48, 128, bits)]
        source = BeakerSource(FileContainer(tmp_path / "container_file"), encrypt_nonce_bits=bits, **KEYS)
        assert [source.open(cookie.partition("=")[2]).data["a"] for cookie in cookies] == [48, 128, bits]

    @pytest.mark.parametrize("bits", [-8, 12, True, "128", 1.5])
    def test_a_length_that_is_none_is_an_error_at_once(self, tmp_path: Path, bits: Any) -> None:
        with pytest.raises((TypeError, ValueError), match="encrypt_nonce_bits must be"):
            BeakerSource(FileContainer(tmp_path), encrypt_nonce_bits=bits, **KEYS)
        with pytest.raises((TypeError, ValueError), match="encrypt_nonce_bits must be"):
            BeakerCookieSource("v", encrypt_key="e", encrypt_nonce_bits=bits)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Have no rights that root has, whom nothing is forbidden."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


class TestForbidden:
    """What this process may not read."""

    @pytest.fixture
    def folder(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            folder.chmod(0o755)
            yield folder

    @pytest.mark.parametrize("endings", [[".dbm"], [".dbm.db"], [".dbm.pag", ".dbm.dir"], [".dbm.dat", ".dbm.dir"]])
    def test_a_dbm_that_may_not_be_read_is_a_failure_of_the_storage(self, folder: Path, endings: list[str]) -> None:
        """It was said to be corrupt, for what dbm raises may be any OSError."""
        for ending in endings:
            put(folder, b"\xce\x9a\x57\x13" + bytes(60), ending=ending)
            (folder / "0" / "01" / f"{ID}{ending}").chmod(0)
        source = BeakerSource(DBMContainer(folder))
        with as_nobody():
            with pytest.raises(StoreError, match="PermissionError: permission denied"):
                source.open(ID)
            (found,) = {str(each.error) for each in source.scan()}
        assert found == "corrupt: its file cannot be read: PermissionError"

    @pytest.mark.parametrize("container", [FileContainer, DBMContainer])
    @pytest.mark.parametrize("forbidden", ["0", "0/01"])
    def test_a_directory_that_may_not_be_read_does_not_end_a_scan(
        self, folder: Path, container: Any, forbidden: str
    ) -> None:
        ids = [ID, *(f"{first}{second}{'0' * 30}" for first in "0f" for second in "2f")]
        for session_id in ids:
            put(folder, record(text({**TIMES, "a": 1})), session_id)
            put(folder, b"(" + text({**TIMES, "a": 1}).encode(), session_id, ".dbm.dat")
            put(folder, b"'session', (0, 1)\n", session_id, ".dbm.dir")
        (folder / forbidden).chmod(0)
        source = BeakerSource(container(folder), serializer="pickle")
        with as_nobody():
            found = list(source.scan())
        (error,) = [each for each in found if len(each.identity) < 32]
        assert str(error.error) == "corrupt: a directory cannot be read: PermissionError"
        assert error.where == str(folder / forbidden)
        readable = [session_id for session_id in ids if not session_id.startswith(forbidden[-2:].lstrip("/"))]
        assert {each.identity for each in found} - {error.identity} == set(readable)

    @pytest.mark.parametrize("container", [FileContainer, DBMContainer])
    def test_directories_that_vanish_do_not_end_a_scan(self, folder: Path, container: Any) -> None:
        for first in "0123":
            put(folder, record(text({**TIMES, "a": 1})), first * 32)
            put(folder, b"(", first * 32, ".dbm.dat")
            put(folder, b"", first * 32, ".dbm.dir")
        found = []
        for each in BeakerSource(container(folder), serializer="pickle").scan():
            found.append(each)
            for first in "0123":
                shutil.rmtree(folder / first, ignore_errors=True)
        assert len(found) == 1

    def test_a_dbm_that_is_too_large_is_not_read(self, folder: Path) -> None:
        put(folder, b"", ending=".dbm.db")
        os.truncate(folder / "0" / "01" / f"{ID}.dbm.db", 17 * 1024 * 1024)
        with pytest.raises(LegacyError, match="a dbm file that is too large"):
            BeakerSource(DBMContainer(folder)).open(ID)

    def test_a_link_to_itself_does_not_end_a_scan(self, folder: Path) -> None:
        put(folder, record(text({**TIMES, "a": 1})))
        (folder / "b").symlink_to("b")
        found = {each.where: each for each in BeakerSource(FileContainer(folder), serializer="pickle").scan()}
        (folder / "b").unlink()
        assert str(found.pop(str(folder / "b")).error) == "corrupt: a directory cannot be read: OSError"
        assert [each.identity for each in found.values()] == [ID]


class TestDBM:
    @pytest.mark.parametrize(
        ("kind", "ending", "content"),
        [
            ("dbm.gnu", ".dbm", b"\xce\x9a\x57\x13" + bytes(60)),
            ("dbm.ndbm", ".dbm.pag", b""),
        ],
    )
    def test_a_kind_that_this_python_lacks_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, ending: str, content: bytes
    ) -> None:
        monkeypatch.setitem(sys.modules, kind, None)
        put(tmp_path, content, ending=ending)
        if ending == ".dbm.pag":
            put(tmp_path, b"", ending=".dbm.dir")
        source = BeakerSource(DBMContainer(tmp_path))
        (found,) = {str(each.error) for each in source.scan()}
        assert found == f"corrupt: written with {kind}, which this Python lacks"

    @pytest.mark.parametrize("ending", [".dbm", ".dbm.db"])
    def test_one_of_no_kind_is_corrupt(self, tmp_path: Path, ending: str) -> None:
        put(tmp_path, bytes(64), ending=ending)
        with pytest.raises(LegacyError, match="corrupt: a dbm file of a kind that is not known"):
            BeakerSource(DBMContainer(tmp_path)).open(ID)

    @pytest.mark.parametrize(
        ("entries", "reason"),
        [({b"session": b"N."}, "it is no dict"), ({}, "deleted"), (None, "corrupt: a dbm file: OSError")],
    )
    def test_what_such_a_module_says_is_believed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: Any, reason: str
    ) -> None:
        """Whether or not this Python has it."""

        def opened(path: str, flag: str) -> Any:
            assert (path, flag) == (str(tmp_path / "0" / "01" / f"{ID}.dbm"), "r")
            if entries is None:
                raise OSError
            return nullcontext(entries)

        monkeypatch.setitem(sys.modules, "dbm.gnu", SimpleNamespace(error=OSError, open=opened))  # type: ignore[arg-type]
        put(tmp_path, b"\xce\x9a\x57\x13" + bytes(60), ending=".dbm")
        with pytest.raises(LegacyError, match=reason):
            BeakerSource(DBMContainer(tmp_path), serializer="pickle").open(ID)

    @pytest.mark.parametrize("kind", ["dbm.gnu", "dbm.ndbm"])
    def test_one_that_another_module_wrote_is_read(self, tmp_path: Path, kind: str) -> None:
        module = pytest.importorskip(kind)
        put(tmp_path, b"", ending=".dbm")
        (tmp_path / "0" / "01" / f"{ID}.dbm").unlink()
        with module.open(str(tmp_path / "0" / "01" / f"{ID}.dbm"), "n") as database:
            database[b"session"] = pickle.dumps(text({**TIMES, "a": 1}))
        source = BeakerSource(DBMContainer(tmp_path), serializer="pickle")
        assert source.open(ID).data == {"a": 1}
        source.discard(ID)
        assert refused(source, ID) is Reason.NOT_FOUND


class TestCookiesAlone:
    """Of what was in servers and in memory there are only the cookies."""

    SAMPLES = json.loads((SAMPLES / "cookies-beaker.json").read_text(encoding="utf-8"))

    @pytest.mark.parametrize("sample", SAMPLES, ids=label)
    def test_it_tells_the_id(self, tmp_path: Path, sample: dict[str, Any]) -> None:
        name, cookie = cookie_of(sample)
        options = read_options(sample["options"])
        source: Any = source_of(options)
        if options.type == "memory":
            assert source is None
            source = BeakerSource(FileContainer(tmp_path), secret=options.secret)
        assert source.cookies(f"a=1; {name}={cookie}; b=2") == [cookie]
        assert source.identify(cookie) == [sample["sid"]]
        for other in mutated(cookie):
            if other != cookie:
                with pytest.raises(LegacyError):
                    source.identify(other)


class TestCluster:
    def test_sessions_in_a_cluster_are_read_listed_and_deleted(self, redis_cluster: Any) -> None:
        """What the keys of many sessions are on, is more than one server."""
        ids = [hashlib.md5(b"%d" % number).hexdigest() for number in range(40)]
        node = redis.cluster.ClusterNode("127.0.0.1", redis_cluster.nodes[0].port)
        with redis.RedisCluster(startup_nodes=[node]) as client:
            for session_id in ids:
                client.set(f"beaker_cache:{session_id}:session", pickle.dumps(text({**TIMES, "id": session_id})))
            source = BeakerSource(RedisContainer(client), serializer="pickle")
            try:
                assert source.open(ids[7]).data == {"id": ids[7]}
                found = {each.identity: each.session.data["id"] for each in source.scan()}
                assert {session_id: found[session_id] for session_id in ids} == {each: each for each in ids}
            finally:
                for session_id in ids:
                    source.discard(session_id)
            assert refused(source, ids[7]) is Reason.NOT_FOUND
