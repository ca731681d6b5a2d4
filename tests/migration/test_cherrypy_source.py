"""CherryPy's files of sessions: of an old version, and of the installed one."""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import cherrypy
import pytest
from cherrypy.lib.sessions import FileSession
from flask_pyramid_samples import STORES
from hypothesis import given
from hypothesis import strategies as st
from stored_samples import DATA, outcome, place, planted, refused, samples
from werkzeug.test import Client

from wsgi_sessions import StoreError, clock
from wsgi_sessions.legacy import LegacyError, Reason
from wsgi_sessions.migration.cherrypy import CherryPySource
from wsgi_sessions.testing import ReplacedClock

(ENTRY,) = samples("cherrypy-18.10.0")
ID = "31b89acf4db8d658f3a5c7221068f4afe1c41640"
START = 1_795_378_176_000


@pytest.fixture
def time() -> Iterator[ReplacedClock]:
    with ReplacedClock(start=START) as replaced:
        yield replaced


def source(directory: Path, **options: Any) -> CherryPySource:
    return CherryPySource(directory, serializer="pickle", **options)


def stored(directory: Path, value: Any, at: float = START / 1000 - 60) -> None:
    contents = value if isinstance(value, bytes) else pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    place(directory, f"session-{ID}", contents, at)


class TestSamples:
    def test_a_session_reads_back_to_what_was_put_in(self, time: ReplacedClock) -> None:
        (cookie,) = source(STORES).cookies(ENTRY["set_cookie"][0])
        session = source(STORES / "cp-18.10.0", zone=UTC).open(cookie)
        assert session.data == DATA[ENTRY["data"]]
        assert [where for where, _ in session.dropped] == ["cplx"]
        assert session.expires == pytest.approx(ENTRY["t"] * 1000 + 3_600_000, abs=2000)
        assert (session.created, session.persistent) == (None, True)

    def test_it_is_found_without_its_cookie(self, time: ReplacedClock) -> None:
        old = source(STORES / "cp-18.10.0", zone=UTC)
        (found,) = old.scan()
        assert [found.identity] == old.identify(ID)
        assert found.session == old.open(ID)
        assert found.where == f"session-{ID[:10]}..."


class TestTheInstalledCherryPy:
    @pytest.fixture
    def site(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
        class Site:
            @cherrypy.expose
            def index(self) -> str:
                cherrypy.session["user_id"] = 7
                cherrypy.session["roles"] = ("a", {"b"})
                return "ok"

        monkeypatch.setattr(cherrypy.log, "screen", False)
        # It would clean up in a thread.
        monkeypatch.setattr(FileSession, "clean_freq", 0)
        config = {
            "tools.sessions.on": True,
            "tools.sessions.storage_class": FileSession,
            "tools.sessions.storage_path": str(tmp_path),
        }
        return Client(cherrypy.Application(Site(), "", {"/": config}))

    def test_its_session_is_read_and_deleted(self, site: Client, tmp_path: Path) -> None:
        answer = site.get("/")
        assert answer.status == "200 OK"
        old = source(tmp_path)
        (cookie,) = old.cookies(answer.headers["Set-Cookie"].partition(";")[0])
        session = old.open(cookie)
        assert session.data == {"user_id": 7, "roles": ("a", {"b"})}
        # Its clock is this machine's, and so is its zone.
        assert session.expires == pytest.approx(clock.now() + 3_600_000, abs=60_000)
        assert [found.identity for found in old.scan()] == old.identify(cookie) == [cookie]
        old.discard(cookie)
        assert refused(old, cookie).reason is Reason.NOT_FOUND
        old.discard(cookie)


class TestEnd:
    """A naive date and time, of the server that wrote it."""

    def test_it_is_of_the_zone_that_was_named(self, tmp_path: Path, time: ReplacedClock) -> None:
        end = datetime(2027, 1, 15, 12, 0)
        stored(tmp_path, ({"k": 1}, end))
        for zone in (UTC, ZoneInfo("Asia/Tokyo"), ZoneInfo("America/New_York")):
            expected = end.replace(tzinfo=zone).timestamp() * 1000
            assert source(tmp_path, zone=zone).open(ID).expires == expected

    def test_it_is_of_this_machine_if_none_was_named(self, tmp_path: Path, time: ReplacedClock) -> None:
        end = datetime(2027, 1, 15, 12, 0)
        stored(tmp_path, ({"k": 1}, end))
        assert source(tmp_path).open(ID).expires == end.timestamp() * 1000

    def test_a_session_that_has_ended_is_refused(self, tmp_path: Path, time: ReplacedClock) -> None:
        end = datetime.fromtimestamp(START / 1000, UTC).replace(tzinfo=None) + timedelta(seconds=1)
        stored(tmp_path, ({"k": 1}, end))
        assert source(tmp_path, zone=UTC).open(ID).data == {"k": 1}
        time.advance(timedelta(seconds=1))
        assert refused(source(tmp_path, zone=UTC), ID).reason is Reason.EXPIRED
        (found,) = source(tmp_path, zone=UTC).scan()
        assert found.session is None
        assert found.error is not None
        assert found.error.reason is Reason.EXPIRED

    @pytest.mark.parametrize("end", [None, 1_900_000_000, "2027-01-01", datetime.max, datetime.min])
    def test_one_that_is_none_is_corrupt(self, tmp_path: Path, time: ReplacedClock, end: Any) -> None:
        stored(tmp_path, ({"k": 1}, end))
        assert refused(source(tmp_path, zone=ZoneInfo("America/New_York")), ID).reason is Reason.CORRUPT

    def test_one_before_all_times_of_this_machine_is_corrupt(self, tmp_path: Path, time: ReplacedClock) -> None:
        stored(tmp_path, ({"k": 1}, datetime.min))
        assert refused(source(tmp_path), ID).reason is Reason.CORRUPT


class TestFiles:
    @pytest.mark.parametrize(
        "cookie", ["", "x", "../" + ID, ID.upper(), ID + "\n", ID[:-1], ID + "0", ID[:-1] + "\u0661", ID + ".lock"]
    )
    def test_what_is_no_id_is_refused(self, tmp_path: Path, cookie: str) -> None:
        assert refused(source(tmp_path), cookie).reason is Reason.BAD_ID
        with pytest.raises(LegacyError):
            source(tmp_path).identify(cookie)
        source(tmp_path).discard(cookie)

    def test_there_may_be_none(self, tmp_path: Path) -> None:
        assert refused(source(tmp_path), ID).reason is Reason.NOT_FOUND

    @pytest.mark.parametrize("value", [{}, ({},), ({}, datetime(2027, 1, 1), 1), [{}, datetime(2027, 1, 1)], b"", b"N"])
    def test_what_is_no_session_is_corrupt(self, tmp_path: Path, time: ReplacedClock, value: Any) -> None:
        stored(tmp_path, value)
        assert refused(source(tmp_path), ID).reason is Reason.CORRUPT

    def test_one_that_is_being_written_is_read_again(
        self, tmp_path: Path, time: ReplacedClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = pickle.dumps(({"k": 1}, datetime(2027, 1, 1)))
        stored(tmp_path, whole[:10], START / 1000)
        waited = []

        def finish(seconds: float) -> None:
            waited.append(seconds)
            stored(tmp_path, whole)

        monkeypatch.setattr(clock, "sleep", finish)
        assert source(tmp_path).open(ID).data == {"k": 1}
        assert len(waited) == 1

    def test_one_that_was_written_long_ago_is_not(
        self, tmp_path: Path, time: ReplacedClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stored(tmp_path, b"\x80\x04")
        monkeypatch.setattr(clock, "sleep", lambda seconds: pytest.fail("it has waited"))
        assert refused(source(tmp_path), ID).reason is Reason.CORRUPT

    def test_what_is_no_file_is_not_followed_opened_or_waited_for(self, tmp_path: Path) -> None:
        ids = planted(tmp_path, "session-%s")
        for id in ids:
            assert refused(source(tmp_path), id).reason is Reason.CORRUPT
        assert {found.identity: found.error is None for found in source(tmp_path).scan()} == dict.fromkeys(ids, False)

    def test_others_in_the_directory_are_passed_over(self, tmp_path: Path, time: ReplacedClock) -> None:
        stored(tmp_path, ({}, datetime(2027, 1, 1)))
        for name in (f"session-{ID}.lock", "session-", "other", f"xsession-{ID}", f"Session-{ID}"):
            (tmp_path / name).write_bytes(b"0")
        assert [found.identity for found in source(tmp_path).scan()] == [ID]

    def test_one_that_ends_meanwhile_is_passed_over(self, tmp_path: Path, time: ReplacedClock) -> None:
        for digit in "123":
            place(tmp_path, f"session-{digit * 40}", pickle.dumps(({}, datetime(2027, 1, 1))), START / 1000)
        found = source(tmp_path).scan()
        first = next(found)
        for path in tmp_path.iterdir():
            path.unlink()
        assert list(found) == []
        assert first.session is not None

    def test_one_that_must_not_be_read_is_passed_on_as_unreadable(
        self, tmp_path: Path, time: ReplacedClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(path: Any, *arguments: Any) -> int:
            raise PermissionError(errno.EACCES, "no", str(path))

        stored(tmp_path, ({}, datetime(2027, 1, 1)))
        monkeypatch.setattr(os, "open", refuse)
        (found,) = source(tmp_path).scan()
        assert str(found.error) == "corrupt: permission denied"
        with pytest.raises(StoreError) as caught:
            source(tmp_path).open(ID)
        assert ID not in str(caught.value)

    def test_one_that_is_too_large_is_corrupt(self, tmp_path: Path) -> None:
        stored(tmp_path, bytes(1024 * 1024 + 1))
        assert str(refused(source(tmp_path), ID)) == "corrupt: larger than 1 MiB"

    def test_a_directory_that_is_gone_is_a_failure_of_the_storage_when_read_as_a_whole(self, tmp_path: Path) -> None:
        directory = tmp_path / "sessions"
        directory.mkdir()
        old = source(directory)
        directory.rmdir()
        with pytest.raises(StoreError) as caught:
            list(old.scan())
        assert str(directory) not in str(caught.value)

    def test_a_file_that_cannot_be_read_is_a_failure_without_its_name(self, tmp_path: Path) -> None:
        directory = tmp_path / "sessions"
        directory.mkdir()
        old = source(directory)
        directory.rmdir()
        directory.write_bytes(b"")
        for fails in (old.open, old.discard):
            with pytest.raises(StoreError) as caught:
                fails(ID)
            assert ID not in str(caught.value)

    @given(contents=st.binary(max_size=300))
    def test_whatever_is_in_a_file_is_read_or_refused(
        self, tmp_path_factory: pytest.TempPathFactory, contents: bytes
    ) -> None:
        directory = tmp_path_factory.getbasetemp()
        stored(directory, contents)
        assert outcome(source(directory), ID) in (None, Reason.CORRUPT, Reason.EXPIRED)


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "error", "words"),
        [
            ({"serializer": "json"}, ValueError, "serializer='pickle'"),
            ({"directory": "/nowhere/at/all"}, ValueError, "there is no directory"),
            ({"zone": "Europe/Warsaw"}, TypeError, "zone must be a tzinfo"),
        ],
    )
    def test_a_wrong_one_is_an_error(
        self, tmp_path: Path, arguments: dict[str, Any], error: type[Exception], words: str
    ) -> None:
        with pytest.raises(error, match=words):
            CherryPySource(**{"directory": tmp_path, "serializer": "pickle", **arguments})
