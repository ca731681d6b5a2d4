"""Sessions of Flask-Session in Redis, tables and files: of old versions, and of the installed one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import shutil
import stat
import struct
import time
import warnings
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import flask
import msgspec
import pytest
import redis
from cachelib import FileSystemCache
from flask_pyramid_samples import JSON, RICH, STORES, cookie_of, entries, label, mutated, written_at
from hypothesis import given
from hypothesis import strategies as st
from services import silent_port
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.pool import NullPool
from werkzeug.http import parse_cookie

from wsgi_sessions import StoreError, clock
from wsgi_sessions.legacy import LegacyError, Reason
from wsgi_sessions.migration.base import Unknown
from wsgi_sessions.migration.flask_session import FlaskSessionSource
from wsgi_sessions.testing import ReplacedClock

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what they import is deprecated
    from flask_session import Session
    from flask_sqlalchemy import SQLAlchemy

SAMPLES = {entry["variant"]: entry for entry in entries("flask-session-0.8.0")}
FOLDER = STORES / "fs-0.8.0"
KEY = "k1"
DAY = 86_400_000
#: What msgspec made of the data: its types became text, arrays and maps; MessagePack alone has bytes and a time.
MSGPACK = {
    **JSON,
    "dt": "2024-02-29T12:34:56.789012",
    "dtz": datetime(2024, 2, 29, 12, 34, 56, tzinfo=UTC),
    "date": "2024-02-29",
    "time": "12:34:56",
    "td": "P1DT2.000003S",
    "bytes": b"\x00\xff\x80abc",
    "tup": [1, "two", [3.0, None]],
    "set": [1, 2, 3],
    "fset": ["a"],
    "dec": "1.10",
    "uuid": "12345678-1234-5678-1234-567812345678",
    "od": {"z": 1, "a": 2},
    "dd": {"k": [1]},
    "ba": b"xy",
}
AS_JSON = {**MSGPACK, "dtz": "2024-02-29T12:34:56Z", "bytes": "AP+AYWJj", "ba": "eHk="}
# A session of the samples holds one value that has no form here, and a cached one an app's class besides.
DROPPED = ["cplx"]


def id_of(entry: dict[str, Any]) -> str:
    return cookie_of(entry)[1].partition(".")[0]


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def prefix(client: redis.Redis) -> Iterator[str]:
    """A prefix of this test's own; it holds what has a meaning in a pattern."""
    prefix = f"test[{uuid4().hex}]*:"
    yield prefix
    for key in client.scan_iter(match=f"test?{prefix[5:37]}*"):
        client.delete(key)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A database with the table that Flask-Session makes."""
    engine = create_engine(f"sqlite:///{tmp_path}/sessions.sqlite", poolclass=NullPool)
    with engine.begin() as connection:
        columns = "id INTEGER PRIMARY KEY, session_id VARCHAR(255) UNIQUE, data BLOB, expiry DATETIME"
        connection.execute(text(f"CREATE TABLE sessions ({columns})"))
    yield engine
    engine.dispose()


def insert(engine: Engine, key: str, data: bytes | None, expiry: object = "2126-01-01 00:00:00.000000") -> None:
    with engine.begin() as connection:
        statement = text("INSERT INTO sessions (session_id, data, expiry) VALUES (:key, :data, :expiry)")
        connection.execute(statement, {"key": key, "data": data, "expiry": expiry})


def reason_of(call: Callable[[], object]) -> Reason:
    with pytest.raises(LegacyError) as caught:
        call()
    return caught.value.reason


class TestSamples:
    @pytest.mark.parametrize(
        ("variant", "expected"), [("sqlalchemy", MSGPACK), ("sqlalchemy-json", AS_JSON)], ids=["msgpack", "json"]
    )
    def test_a_table_reads_back_to_what_was_put_in(
        self, tmp_path: Path, variant: str, expected: dict[str, Any]
    ) -> None:
        entry = SAMPLES[variant]
        shutil.copy(FOLDER / f"{variant}.sqlite", tmp_path / "copy.sqlite")
        source = FlaskSessionSource(engine=create_engine(f"sqlite:///{tmp_path}/copy.sqlite", poolclass=NullPool))
        with written_at(entry) as replaced:
            session = source.open(id_of(entry))
            assert session.data == expected
            assert session.dropped == ()
            assert session.persistent
            assert session.expires == pytest.approx(entry["t"] * 1000 + 31 * DAY, abs=1_000)
            (imported,) = source.scan()
            assert (imported.identity, imported.where, imported.session) == (id_of(entry), "sessions 1", session)
            replaced.advance(timedelta(days=31))
            assert reason_of(lambda: source.open(id_of(entry))) == Reason.EXPIRED
        source.discard(id_of(entry))
        assert reason_of(lambda: source.open(id_of(entry))) == Reason.NOT_FOUND
        assert list(source.scan()) == []

    @pytest.mark.parametrize(("variant", "folder"), [("filesystem", "fs"), ("cachelib", "cl")])
    def test_a_directory_reads_back_to_what_was_put_in(self, tmp_path: Path, variant: str, folder: str) -> None:
        entry = SAMPLES[variant]
        shutil.copytree(FOLDER / folder, tmp_path / "copy")
        source = FlaskSessionSource(directory=tmp_path / "copy", serializer="pickle")
        with written_at(entry) as replaced:
            session = source.open(id_of(entry))
            assert session.data == RICH
            assert [type(value) for value in session.data.values()] == [type(RICH[key]) for key in session.data]
            assert [path for path, _ in session.dropped] == DROPPED
            assert session.persistent
            assert session.expires == pytest.approx(entry["t"] * 1000 + 31 * DAY, abs=1_000)
            (imported,) = source.scan()
            assert imported.identity == source.identify(id_of(entry))[0]
            assert imported.session == session
            replaced.advance(timedelta(days=31))
            assert reason_of(lambda: source.open(id_of(entry))) == Reason.EXPIRED
            assert [found.error.reason for found in source.scan() if found.error] == [Reason.EXPIRED]
        source.discard(id_of(entry))
        assert reason_of(lambda: source.open(id_of(entry))) == Reason.NOT_FOUND

    @pytest.mark.parametrize("entry", SAMPLES.values(), ids=label)
    def test_every_cookie_is_an_id(self, client: redis.Redis, entry: dict[str, Any]) -> None:
        cookie = cookie_of(entry)[1]
        signed = entry["options"].get("SESSION_USE_SIGNER")
        source = FlaskSessionSource(redis=client, secret_key=KEY if signed else None)
        assert source.identify(cookie) == [id_of(entry)]

    def test_no_changed_signature_is_accepted(self, client: redis.Redis) -> None:
        source, cookie = FlaskSessionSource(redis=client, secret_key=KEY), cookie_of(SAMPLES["redis-signer"])[1]
        source.identify(cookie)
        for other in mutated(cookie):
            if other != cookie:
                assert reason_of(lambda: source.identify(other)) == Reason.BAD_SIGNATURE  # noqa: B023
        assert reason_of(lambda: source.identify(id_of(SAMPLES["redis"]))) == Reason.BAD_SIGNATURE
        other_key = FlaskSessionSource(redis=client, secret_key="k2")
        assert reason_of(lambda: other_key.identify(cookie)) == Reason.BAD_SIGNATURE


def logged_in(data: dict[str, Any], **config: Any) -> str:
    """Return the cookie of an application of the installed Flask-Session that has stored some data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of its own calls
        app = flask.Flask("shop")
        app.config.update({"SECRET_KEY": KEY, **config})
        if config.get("SESSION_TYPE") == "sqlalchemy":
            app.config["SESSION_SQLALCHEMY"] = SQLAlchemy(app)
        Session(app)

        @app.route("/")
        def index() -> str:
            flask.session.update(data)
            return ""

        value = app.test_client().get("/").headers["Set-Cookie"].partition(";")[0].removeprefix("session=")
        if "SESSION_SQLALCHEMY" in app.config:
            with app.app_context():
                app.config["SESSION_SQLALCHEMY"].engine.dispose()
        return value


SOME = {"user": 7, "roles": ["a", {"b": None}], "_flashes": [["message", "hi"]], "csrf_token": "t"}


def is_in_31_days(expires: int | None) -> bool:
    return expires is not None and abs(expires - clock.now() - 31 * DAY) < 10_000


class TestInstalledFlaskSession:
    @pytest.mark.parametrize("form", ["msgpack", "json"])
    @pytest.mark.parametrize("signed", [False, True], ids=["bare", "signed"])
    def test_redis(self, client: redis.Redis, prefix: str, form: str, signed: bool) -> None:
        data = {**SOME, "when": datetime(2024, 1, 1, tzinfo=UTC), "raw": b"\xff"}
        cookie = logged_in(
            data,
            SESSION_TYPE="redis",
            SESSION_REDIS=client,
            SESSION_KEY_PREFIX=prefix,
            SESSION_USE_SIGNER=signed,
            SESSION_SERIALIZATION_FORMAT=form,
        )
        source = FlaskSessionSource(redis=client, key_prefix=prefix, secret_key=KEY if signed else None)
        session = source.open(cookie)
        flattened = {"when": "2024-01-01T00:00:00Z", "raw": b64encode(b"\xff").decode()}
        assert session.data == (data if form == "msgpack" else {**data, **flattened})
        assert session.persistent
        assert is_in_31_days(session.expires)
        (found,) = source.scan()
        assert [found.identity] == source.identify(cookie)
        assert found.session is not None and found.session.data == session.data
        assert found.identity not in found.where and found.where.startswith(prefix)
        source.discard(cookie)
        assert reason_of(lambda: source.open(cookie)) == Reason.NOT_FOUND
        assert list(client.scan_iter(match=f"test?{prefix[5:37]}*")) == []

    def test_a_session_for_the_browsers_life(self, client: redis.Redis, prefix: str) -> None:
        options = {"SESSION_TYPE": "redis", "SESSION_REDIS": client, "SESSION_KEY_PREFIX": prefix}
        cookie = logged_in(SOME, SESSION_PERMANENT=False, **options)
        session = FlaskSessionSource(redis=client, key_prefix=prefix).open(cookie)
        assert session.data == SOME
        assert not session.persistent
        assert is_in_31_days(session.expires)

    def test_sqlite(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/site.sqlite"
        cookie = logged_in(
            SOME, SESSION_TYPE="sqlalchemy", SQLALCHEMY_DATABASE_URI=url, SESSION_SQLALCHEMY_TABLE="visits"
        )
        self.check_table(FlaskSessionSource(engine=create_engine(url, poolclass=NullPool), table="visits"), cookie)

    def test_postgresql(self, postgresql_url: str) -> None:
        url, table = make_url(postgresql_url).set(drivername="postgresql+psycopg"), f"sessions_{uuid4().hex}"
        engine = create_engine(url, poolclass=NullPool)
        try:
            cookie = logged_in(
                SOME,
                SESSION_TYPE="sqlalchemy",
                SQLALCHEMY_DATABASE_URI=url.render_as_string(hide_password=False),
                SESSION_SQLALCHEMY_TABLE=table,
            )
            self.check_table(FlaskSessionSource(engine=engine, table=table, schema="public"), cookie)
        finally:
            with engine.begin() as connection:
                connection.execute(text(f"DROP TABLE IF EXISTS {table}"))

    def check_table(self, source: FlaskSessionSource, cookie: str) -> None:
        session = source.open(cookie)
        assert session.data == SOME
        assert is_in_31_days(session.expires)
        assert [found.identity for found in source.scan()] == source.identify(cookie)
        source.discard(cookie)
        source.discard(cookie)
        assert reason_of(lambda: source.open(cookie)) == Reason.NOT_FOUND

    def test_files(self, tmp_path: Path) -> None:
        data = {**SOME, "tuple": (1, 2), "when": timedelta(hours=1)}
        cookie = logged_in(data, SESSION_TYPE="cachelib", SESSION_CACHELIB=FileSystemCache(str(tmp_path)))
        source = FlaskSessionSource(directory=tmp_path, serializer="pickle")
        session = source.open(cookie)
        assert session.data == data
        assert is_in_31_days(session.expires)
        (found,) = source.scan()
        assert found.session == session
        assert (tmp_path / found.where).is_file()
        source.discard(cookie)
        assert reason_of(lambda: source.open(cookie)) == Reason.NOT_FOUND

    def test_one_that_it_has_deleted(self, client: redis.Redis, prefix: str) -> None:
        cookie = logged_in(SOME, SESSION_TYPE="redis", SESSION_REDIS=client, SESSION_KEY_PREFIX=prefix)
        client.delete(prefix + cookie)
        assert reason_of(lambda: FlaskSessionSource(redis=client, key_prefix=prefix).open(cookie)) == Reason.NOT_FOUND


ID = "0" * 43


class TestPayloads:
    """What one storage holds: msgspec's forms, and older pickles that nobody has rewritten."""

    @pytest.mark.parametrize("protocol", range(6))
    def test_pickles_are_read_if_that_is_said(self, engine: Engine, protocol: int) -> None:
        insert(engine, f"session:{ID}", pickle.dumps({"_permanent": True, "a": (1, "é")}, protocol))
        assert reason_of(lambda: FlaskSessionSource(engine=engine).open(ID)) == Reason.PICKLE_DISABLED
        session = FlaskSessionSource(engine=engine, serializer="pickle").open(ID)
        assert (session.data, session.persistent) == ({"a": (1, "é")}, True)
        assert [found.error.reason for found in FlaskSessionSource(engine=engine).scan() if found.error] == [
            Reason.PICKLE_DISABLED
        ]

    @pytest.mark.parametrize("payload", [b"\x80", b"{}"], ids=["msgpack", "json"])
    @pytest.mark.parametrize("serializer", ["msgpack", "json", "pickle"])
    def test_every_serializer_reads_msgspecs(self, engine: Engine, serializer: str, payload: bytes) -> None:
        insert(engine, f"session:{ID}", payload)
        assert FlaskSessionSource(engine=engine, serializer=serializer).open(ID).data == {}

    @pytest.mark.parametrize(
        "payload",
        [
            b"",
            None,
            b"{",
            b"[]",
            b"\x81",
            b"\xc1",
            b"\x81\xa1",
            b"\x90",
            b"\x80\x80",
            b"\xdf\xff\xff\xff\xff",
            b"\x81\x81\x01\x01\x02",
            b"\x81\xa1a" * 90_000,
            b"\x81\xa1\xff\x01",
            b'{"a":"' + b"x" * 1_100_000 + b'"}',
            pickle.dumps([]),
            b"cos\nsystem\n(S'true'\ntR.",
            b"garbage",
        ],
        ids=lambda payload: repr(payload)[:20],
    )
    def test_what_is_no_session_is_corrupt(self, engine: Engine, payload: bytes | None) -> None:
        insert(engine, f"session:{ID}", payload)
        assert reason_of(lambda: FlaskSessionSource(engine=engine, serializer="pickle").open(ID)) == Reason.CORRUPT

    def test_what_cannot_be_stored_is_dropped_converted_or_refused(self, engine: Engine) -> None:
        insert(engine, f"session:{ID}", msgspec.msgpack.encode({"ok": 1, "own": msgspec.msgpack.Ext(5, b"x")}))
        session = FlaskSessionSource(engine=engine).open(ID)
        assert session.data == {"ok": 1}
        assert [path for path, _ in session.dropped] == ["own"]
        refusing = FlaskSessionSource(engine=engine, on_unknown="refuse")
        assert reason_of(lambda: refusing.open(ID)) == Reason.UNSTORABLE

        def convert(path: str, unknown: Unknown) -> Any:
            return [path, unknown.name, unknown.state]

        converting = FlaskSessionSource(engine=engine, convert=convert)
        assert converting.open(ID).data == {"ok": 1, "own": ["own", "MessagePack extension 5", b"x"]}

    @given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda rest: b"\x82\xa1a" + rest))
    def test_whatever_is_stored_raises_nothing_else(self, payload: bytes) -> None:
        source = FlaskSessionSource(directory=STORES, serializer="pickle")
        with contextlib.suppress(LegacyError):
            source._session(source._value(payload), None)

    @given(
        st.dictionaries(
            st.text(st.characters(codec="utf-8")).filter(lambda key: key != "_permanent"),
            st.recursive(
                st.none()
                | st.booleans()
                | st.integers(-(2**63), 2**64 - 1)
                | st.floats(allow_nan=False)
                | st.binary()
                # msgspec has made a time of any other zone one in UTC.
                | st.datetimes(timezones=st.just(UTC)),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
                ),
                max_leaves=8,
            ),
        )
    )
    def test_what_msgspec_writes_is_read(self, data: dict[str, Any]) -> None:
        source = FlaskSessionSource(directory=STORES, serializer="pickle")
        session = source._session(source._value(msgspec.msgpack.encode(data)), None)
        assert (session.data, session.dropped) == (data, ())


class TestRedis:
    def test_a_key_that_holds_something_else(self, client: redis.Redis, prefix: str) -> None:
        client.sadd(prefix + ID, "a")
        source = FlaskSessionSource(redis=client, key_prefix=prefix)
        assert reason_of(lambda: source.open(ID)) == Reason.CORRUPT
        assert list(source.scan()) == []

    def test_a_key_without_an_end(self, client: redis.Redis, prefix: str) -> None:
        client.set(prefix + ID, b"{}")
        assert FlaskSessionSource(redis=client, key_prefix=prefix).open(ID).expires is None

    def test_a_scan_finds_all_of_its_prefix_and_nothing_else(self, client: redis.Redis, prefix: str) -> None:
        ids = {f"{number:043}" for number in range(450)}
        client.mset({prefix + id: b"{}" for id in ids})
        client.set(prefix.replace("*", "x") + ID, b"{}")
        client.set(prefix.encode() + b"\xff", b"{}")
        found = list(FlaskSessionSource(redis=client, key_prefix=prefix).scan())
        assert {imported.identity for imported in found} == ids
        assert all(imported.session and imported.session.data == {} for imported in found)

    def test_a_cluster_is_read_listed_and_deleted_from(self, redis_cluster: Any) -> None:
        node = redis.cluster.ClusterNode("127.0.0.1", redis_cluster.nodes[0].port)
        prefix, ids = f"test{uuid4().hex}:", [f"{number:043}" for number in range(250)]
        with redis.RedisCluster(startup_nodes=[node]) as client:
            for id in ids:
                client.set(prefix + id, b'{"a": 1}', ex=100)
            client.sadd(prefix + "x" * 43, "something else")
            source = FlaskSessionSource(redis=client, key_prefix=prefix)
            session = source.open(ids[3])
            assert (session.data, session.expires) == ({"a": 1}, pytest.approx(clock.now() + 100_000, abs=5_000))
            assert reason_of(lambda: source.open("x" * 43)) == Reason.CORRUPT
            assert reason_of(lambda: source.open("y" * 43)) == Reason.NOT_FOUND
            assert {found.identity: found.session.data for found in source.scan()} == {id: {"a": 1} for id in ids}
            for id in (*ids, "x" * 43):
                source.discard(id)
            assert list(source.scan()) == []

    def test_a_cluster_that_is_down_is_a_store_error(self, redis_cluster: Any) -> None:
        node = redis.cluster.ClusterNode("127.0.0.1", redis_cluster.nodes[0].port)
        with silent_port() as port, redis.RedisCluster(startup_nodes=[node], socket_timeout=0.1) as client:
            source = FlaskSessionSource(redis=client)
            for each in client.get_nodes():
                each.port = port
                each.redis_connection = redis.Redis(port=port, socket_timeout=0.1, retry=None)
            client.nodes_manager.startup_nodes = {each.name: each for each in client.get_nodes()}
            with pytest.raises(StoreError) as caught:
                source.open(ID)
            assert ID not in str(caught.value)

    def test_a_server_that_is_down_is_a_store_error(self) -> None:
        with silent_port() as port:
            client = redis.Redis(port=port, socket_timeout=0.1, retry=None)
            source = FlaskSessionSource(redis=client)
            for call in (lambda: source.open(ID), lambda: source.discard(ID), lambda: list(source.scan())):
                with pytest.raises(StoreError) as caught:
                    call()
                assert ID not in str(caught.value)
            client.close()


class TestTable:
    def test_null_for_an_end_is_the_end(self, engine: Engine) -> None:
        insert(engine, f"session:{ID}", b"{}", None)
        assert reason_of(lambda: FlaskSessionSource(engine=engine).open(ID)) == Reason.EXPIRED

    def test_an_end_is_in_utc(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        try:
            monkeypatch.setenv("TZ", "Asia/Tokyo")
            time.tzset()
            self.check_end(engine)
        finally:
            monkeypatch.undo()
            time.tzset()

    def check_end(self, engine: Engine) -> None:
        insert(engine, f"session:{ID}", b"{}", "2026-12-23 20:05:59.702207")
        with ReplacedClock(start=1_798_056_359_701) as replaced:
            assert FlaskSessionSource(engine=engine).open(ID).expires == 1_798_056_359_702
            replaced.advance(timedelta(milliseconds=1))
            assert reason_of(lambda: FlaskSessionSource(engine=engine).open(ID)) == Reason.EXPIRED

    @pytest.mark.parametrize("expiry", ["soon", 5, "9999-99-99"])
    def test_an_end_that_is_none_is_corrupt_and_stops_no_scan(self, engine: Engine, expiry: object) -> None:
        insert(engine, f"session:{ID}", b"{}", expiry)
        insert(engine, f"session:{'1' * 43}", b"{}")
        source = FlaskSessionSource(engine=engine)
        assert reason_of(lambda: source.open(ID)) == Reason.CORRUPT
        assert [found.error and found.error.reason for found in source.scan()] == [Reason.CORRUPT, None]

    def test_an_id_in_another_case_is_another(self, tmp_path: Path) -> None:
        engine = create_engine(f"sqlite:///{tmp_path}/nocase.sqlite", poolclass=NullPool)
        with engine.begin() as connection:
            columns = "id INTEGER PRIMARY KEY, session_id VARCHAR(255) COLLATE NOCASE, data BLOB, expiry DATETIME"
            connection.execute(text(f"CREATE TABLE sessions ({columns})"))
        insert(engine, f"session:{'a' * 43}", b"{}")
        source = FlaskSessionSource(engine=engine)
        source.open("a" * 43)
        assert reason_of(lambda: source.open("A" * 43)) == Reason.NOT_FOUND

    def test_a_scan_finds_all_of_its_prefix_and_nothing_else(self, engine: Engine) -> None:
        rows = [
            {"key": f"{kind}:{number:043}", "data": b"{}", "expiry": "2126-01-01"}
            for number in range(0, 1_100, 2)
            for kind in ("session", "other")
        ]
        with engine.begin() as connection:
            connection.execute(
                text("INSERT INTO sessions (session_id, data, expiry) VALUES (:key, :data, :expiry)"), rows
            )
        found = list(FlaskSessionSource(engine=engine).scan())
        assert [imported.identity for imported in found] == [f"{number:043}" for number in range(0, 1_100, 2)]

    def test_rows_that_sqlite_cannot_decode_stop_no_scan(self, engine: Engine) -> None:
        """In SQLite a text may be any bytes."""
        rows = [
            ("NULL", "CAST('{}' AS BLOB)", "'2126-01-01'"),
            ("CAST(x'ff' AS TEXT)", "CAST('{}' AS BLOB)", "'2126-01-01'"),
            ("CAST('session:' || x'ff' AS TEXT)", "CAST('{}' AS BLOB)", "'2126-01-01'"),
            (f"'session:{'1' * 43}'", "CAST(x'c1ff' AS TEXT)", "'2126-01-01'"),
            (f"'session:{'2' * 43}'", "CAST('{}' AS BLOB)", "CAST(x'ff' AS TEXT)"),
            (f"'session:{'3' * 43}'", "NULL", "'2126-01-01'"),
            (f"'session:{'4' * 43}'", "CAST('{}' AS BLOB)", "'2126-01-01'"),
        ]
        with engine.begin() as connection:
            for row in rows:
                connection.execute(text(f"INSERT INTO sessions (session_id, data, expiry) VALUES ({', '.join(row)})"))
        for prefix in ("session:", ""):
            source = FlaskSessionSource(engine=engine, key_prefix=prefix)
            found = {each.identity[-43:]: each.error and each.error.reason for each in source.scan()}
            bad = dict.fromkeys((digit * 43 for digit in "123"), Reason.CORRUPT)
            assert found == {**bad, "4" * 43: None}
        source = FlaskSessionSource(engine=engine)
        for digit in "123":
            assert reason_of(lambda digit=digit: source.open(digit * 43)) is Reason.CORRUPT
        assert source.open("4" * 43).data == {}

    def test_a_page_may_end_with_a_key_that_sqlite_cannot_decode(self, engine: Engine) -> None:
        with engine.begin() as connection:
            for number in range(1_200):
                key = f"'session:{number:043}'" if number % 2 else f"CAST('session:{number:042}' || x'ff' AS TEXT)"
                connection.execute(
                    text(f"INSERT INTO sessions (session_id, data, expiry) VALUES ({key}, x'7b7d', '2126-01-01')")
                )
            connection.execute(text("INSERT INTO sessions (session_id, data) VALUES (x'73657373696f6e3a', x'7b7d')"))
        assert len(list(FlaskSessionSource(engine=engine).scan())) == 600

    def test_a_table_that_is_missing_is_a_store_error(self, engine: Engine) -> None:
        source = FlaskSessionSource(engine=engine, table="visits")
        for call in (lambda: source.open(ID), lambda: source.discard(ID), lambda: list(source.scan())):
            with pytest.raises(StoreError) as caught:
                call()
            assert ID not in str(caught.value)


def header(seconds: int) -> bytes:
    return struct.pack("=I", seconds)


class TestFiles:
    @pytest.fixture
    def source(self, tmp_path: Path) -> FlaskSessionSource:
        return FlaskSessionSource(directory=tmp_path, serializer="pickle")

    @pytest.mark.parametrize("algorithm", ["sha256", "md5"])
    @pytest.mark.parametrize("protocol", range(6))
    def test_both_hashes_and_every_protocol(
        self, source: FlaskSessionSource, tmp_path: Path, algorithm: str, protocol: int
    ) -> None:
        file = tmp_path / hashlib.new(algorithm, f"session:{ID}".encode()).hexdigest()
        file.write_bytes(header(4_000_000_000) + pickle.dumps({"a": 1}, protocol))
        session = source.open(ID)
        assert (session.data, session.expires) == ({"a": 1}, 4_000_000_000_000)
        assert file.name in source.identify(ID)
        assert [found.identity for found in source.scan()] == [file.name]
        source.discard(ID)
        assert not file.exists()

    def test_the_newest_hash_is_the_one_that_is_remembered(self, source: FlaskSessionSource) -> None:
        assert [len(name) for name in source.identify(ID)] == [64, 32]

    @pytest.mark.parametrize("before", range(6))
    @pytest.mark.parametrize("protocol", range(6))
    @pytest.mark.parametrize("seconds", [0, 2_000_000_000, 4_000_000_000])
    def test_a_time_that_is_a_pickle_of_its_own(
        self, source: FlaskSessionSource, tmp_path: Path, before: int, protocol: int, seconds: int
    ) -> None:
        """As before cachelib 0.7."""
        by_python_2 = b"I%d\n." % seconds
        for stored in (pickle.dumps(seconds, before), by_python_2):
            (tmp_path / source.identify(ID)[1]).write_bytes(stored + pickle.dumps({"a": 1}, protocol))
            session = source.open(ID)
            assert (session.data, session.expires) == ({"a": 1}, seconds * 1000 or None)

    @pytest.mark.parametrize(
        "stored",
        [b"", b"\x00", header(0), header(0) + b"x", header(0) + pickle.dumps(5), b"J\0\0\0\0.(", b"x" * 2_000_000],
        ids=lambda stored: repr(stored[:10]),
    )
    def test_what_is_no_session_is_corrupt(self, source: FlaskSessionSource, tmp_path: Path, stored: bytes) -> None:
        (tmp_path / source.identify(ID)[0]).write_bytes(stored)
        assert reason_of(lambda: source.open(ID)) == Reason.CORRUPT

    def test_a_scan_passes_over_what_is_no_session(self, source: FlaskSessionSource, tmp_path: Path) -> None:
        cache = FileSystemCache(str(tmp_path))
        cache.set(f"session:{ID}", {"a": 1})
        cache.set("some page", "<html>")
        (tmp_path / "tmpabc.__wz_cache").write_bytes(b"unfinished")
        (tmp_path / "notes.txt").write_text("mine")
        (tmp_path / ("a" * 64)).mkdir()
        (tmp_path / ("b" * 64)).symlink_to(tmp_path / "notes.txt")
        os.mkfifo(tmp_path / ("c" * 64))
        found = {each.identity[0]: each for each in source.scan()}
        unreadable = {name: str(found.pop(name).error) for name in "abc"}
        assert unreadable == dict.fromkeys("abc", "corrupt: not a regular file")
        assert [each.session.data for each in found.values()] == [{"a": 1}]

    @pytest.mark.parametrize("kind", ["directory", "link", "FIFO", "socket"])
    def test_what_is_no_file_is_corrupt(self, source: FlaskSessionSource, tmp_path: Path, kind: str) -> None:
        """And not an outage, which would be a 503 for its visitor as long as it is there."""
        path = tmp_path / source.identify(ID)[0]
        if kind == "directory":
            path.mkdir()
        elif kind == "link":
            path.symlink_to(tmp_path)
        else:
            os.mknod(path, 0o600 | (stat.S_IFIFO if kind == "FIFO" else stat.S_IFSOCK))
        assert reason_of(lambda: source.open(ID)) is Reason.CORRUPT

    def test_a_relative_directory_stays_where_it_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A server may change its directory when it becomes a daemon."""
        monkeypatch.chdir(tmp_path)
        source = FlaskSessionSource(directory=".", serializer="pickle")
        (tmp_path / source.identify(ID)[0]).write_bytes(header(0) + pickle.dumps({"a": 1}))
        monkeypatch.chdir("/")
        assert source.open(ID).data == {"a": 1}
        assert len(list(source.scan())) == 1
        source.discard(ID)
        assert list(source.scan()) == []

    def test_a_file_that_cannot_be_read_stops_no_scan(
        self, source: FlaskSessionSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        unreadable, opened = source.identify(ID)[0], os.open
        for name in (unreadable, source.identify("1" * 43)[0]):
            (tmp_path / name).write_bytes(header(0) + pickle.dumps({"a": 1}))

        def open_some(path: Path, flags: int) -> int:
            if path.name == unreadable:  # root may read everything
                raise PermissionError(13, "Permission denied")
            return opened(path, flags)

        monkeypatch.setattr(os, "open", open_some)
        reasons = {found.identity: found.error and found.error.reason for found in source.scan()}
        assert reasons == {unreadable: Reason.CORRUPT, source.identify("1" * 43)[0]: None}
        with pytest.raises(StoreError):
            source.open(ID)

    def test_a_directory_that_went_away_has_no_sessions(self, tmp_path: Path) -> None:
        folder = tmp_path / "gone"
        folder.mkdir()
        source = FlaskSessionSource(directory=folder, serializer="pickle")
        folder.rmdir()
        assert reason_of(lambda: source.open(ID)) == Reason.NOT_FOUND
        with pytest.raises(StoreError):
            list(source.scan())


class TestCookies:
    def test_of_two_the_one_comes_first_that_werkzeug_took(self, tmp_path: Path) -> None:
        """Before 1.0 it was the last."""
        header = "session=a; session=b"
        source = FlaskSessionSource(directory=tmp_path, serializer="pickle")
        assert source.cookies(header)[0] == parse_cookie(header)["session"]
        old = FlaskSessionSource(directory=tmp_path, serializer="pickle", takes_last=True)
        assert old.cookies(header) == ["b", "a"]


class TestIds:
    @pytest.mark.parametrize(
        "cookie",
        ["", "a", "../" * 12 + "etc/passwd", "a" * 15, "a" * 129, f"{ID}\n", f" {ID}", f"{ID}*", f"{ID}é", f"{ID}.x"],
    )
    def test_what_is_none_never_reaches_the_storage(self, cookie: str, tmp_path: Path) -> None:
        source = FlaskSessionSource(directory=tmp_path, serializer="pickle")
        for call in (source.identify, source.open):
            assert reason_of(lambda: call(cookie)) == Reason.BAD_ID  # noqa: B023
        source.discard(cookie)

    @pytest.mark.parametrize("cookie", [pytest.param(str(uuid4()), id="a uuid"), ID, "a" * 16])
    def test_those_of_all_versions_do(self, cookie: str, tmp_path: Path) -> None:
        source = FlaskSessionSource(directory=tmp_path, serializer="pickle")
        assert reason_of(lambda: source.open(cookie)) == Reason.NOT_FOUND


class TestConstruction:
    @pytest.mark.parametrize(
        ("wrong", "error"),
        [
            ({"directory": None}, ValueError),
            ({"directory": "/does/not/exist"}, ValueError),
            ({"redis": object()}, ValueError),
            ({"directory": None, "redis": object()}, TypeError),
            ({"directory": None, "redis": redis.Redis(decode_responses=True)}, ValueError),
            ({"directory": None, "engine": "sqlite:///x"}, TypeError),
            ({"secret_key": ""}, ValueError),
            ({"secret_key": 5}, TypeError),
            ({"serializer": "yaml"}, ValueError),
            ({"serializer": "msgpack"}, ValueError),
            ({"on_unknown": "keep"}, ValueError),
        ],
    )
    def test_wrong_arguments_are_refused(self, tmp_path: Path, wrong: dict[str, Any], error: type[Exception]) -> None:
        with pytest.raises(error):
            FlaskSessionSource(**{"directory": tmp_path, "serializer": "pickle", **wrong})
