"""``wsgi-sessions``: what an operator types, sees and gets back as an exit code."""

from __future__ import annotations

import dbm.dumb
import errno
import inspect
import os
import pickle
import pty
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import termios
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import timedelta
from fcntl import ioctl
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import services
import sqlalchemy
from backends import new_name, new_table
from click.testing import CliRunner, Result
from redis import Redis, RedisCluster
from servers import ROOT, TIMEOUT, ended
from test_readme import blocks, parsed
from werkzeug.test import Client

from wsgi_sessions import Record, SessionMiddleware, clock, get_session, open_session, store_from_url
from wsgi_sessions._cli_commands import commands
from wsgi_sessions._cli_import import import_commands
from wsgi_sessions._cli_progress import Lines
from wsgi_sessions._cli_storages import FILES, REDIS, SQL, count_files
from wsgi_sessions._cli_systems import SYSTEMS, Setting, System
from wsgi_sessions.integrations.beaker import BeakerMiddleware
from wsgi_sessions.migration.beaker import BeakerSource, FileContainer
from wsgi_sessions.migration.bulk import Report
from wsgi_sessions.testing import ReplacedClock

HOUR = 3_600_000
PASSWORD = "geheim"
COMMAND = [sys.executable, "-m", "wsgi_sessions"]


def write_beaker(directory: Path, values: dict[str, Any], *, age: float = 0, id: str | None = None) -> str:
    """Write a session as Beaker 1.11 does into its data_dir, and return its id."""
    id, used = id or uuid4().hex, time.time() - age
    data = {"_creation_time": used, "_accessed_time": used, "_domain": None, "_path": "/", **values}
    path = directory / "container_file" / id[0] / id[:2] / f"{id}.cache"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps({"session": data}, 2))
    return id


def write_beaker_dbm(directory: Path, values: dict[str, Any]) -> None:
    """Write a session as Beaker does with ``session.type = dbm``."""
    id, used = uuid4().hex, time.time()
    path = directory / "container_dbm" / id[0] / id[:2] / f"{id}.dbm"
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {"_creation_time": used, "_accessed_time": used, "_domain": None, "_path": "/", **values}
    with closing(dbm.dumb.open(str(path), "c")) as database:
        database[b"session"] = pickle.dumps(data, 2)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A data_dir of Beaker's with three sessions."""
    directory = tmp_path / "old"
    for name in ("anna", "bert", "carl"):
        write_beaker(directory, {"user": name})
    return directory


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The URL of a store that is not made yet."""
    return f"sqlite:///{tmp_path / 'new.db'}"


# click 8.1 keeps the two outputs apart if it is told to, 8.2 always.
_APART: dict[str, Any] = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}


def run(*arguments: object, env: dict[str, str] | None = None) -> Result:
    result = CliRunner(**_APART).invoke(commands, [str(argument) for argument in arguments], env=env)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    for output in (result.stdout, result.stderr):
        assert "Traceback" not in output
        assert PASSWORD not in output
    return result


def run_import(old: Path, url: str, *options: str) -> Result:
    return run("import", "beaker", old, "--serializer", "pickle", "--timeout", 3600, "--to", url, *options)


def run_without_timeout(old: object, url: str, *options: str) -> Result:
    return run("import", "beaker", old, "--serializer", "pickle", "--no-timeout", "--to", url, *options)


def rows(output: str) -> dict[str, str]:
    """Return the last part of each line of a table by its first."""
    found = (re.fullmatch(r"(\S.*?) {2,}(\d+)\s*", line) for line in output.splitlines())
    return {match[1]: match[2] for match in found if match}


def stored_in(url: str) -> int:
    with closing(store_from_url(url)) as store:
        return sum(1 for _ in store.scan())


class TestImport:
    def test_it_ends_with_a_table(self, old: Path, url: str) -> None:
        result = run_import(old, url)
        assert result.exit_code == 0
        assert rows(result.stdout) == {
            "read": "3", "imported": "3", "renewed": "0", "already there": "0", "expired": "0",
            "ended there": "0", "dropped keys": "0", "unreadable": "0",
        }  # fmt: skip
        assert stored_in(url) == 3

    def test_twice_is_once(self, old: Path, url: str) -> None:
        run_import(old, url)
        result = run_import(old, url)
        assert result.exit_code == 0
        assert rows(result.stdout)["already there"] == "3"
        assert rows(result.stdout)["imported"] == "0"
        assert stored_in(url) == 3

    def test_what_went_on_there_is_imported_again(self, old: Path, url: str) -> None:
        id = write_beaker(old, {"cart": 1})
        run_import(old, url)
        write_beaker(old, {"user": "dora"}, id=id)
        assert rows(run_import(old, url, "--dry-run").stdout)["would be renewed"] == "1"
        result = run_import(old, url)
        assert rows(result.stdout)["renewed"] == "1"
        assert rows(result.stdout)["already there"] == "3"

    def test_the_visitor_is_logged_in_when_the_old_directory_is_gone(self, old: Path, url: str) -> None:
        id = write_beaker(old, {"user": "dora"})
        source = BeakerSource(FileContainer(old / "container_file"), serializer="pickle")
        run_import(old, url)
        shutil.rmtree(old)

        def app(environ: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [str(get_session(environ).get("user")).encode()]

        browser = Client(SessionMiddleware(app, store_from_url(url), legacy=[source]))
        assert browser.get("/", buffered=True).text == "None"
        browser.set_cookie("beaker.session.id", id)
        assert browser.get("/", buffered=True).text == "dora"
        assert browser.get_cookie("beaker.session.id") is None
        assert browser.get("/", buffered=True).text == "dora"

    def test_what_is_unreadable_is_told_and_makes_the_exit_code_1(self, old: Path, url: str) -> None:
        id = write_beaker(old, {})
        (path,) = old.rglob(f"{id}.cache")
        path.write_bytes(b"\x80\x02nonsense")
        result = run_import(old, url)
        assert result.exit_code == 1
        assert rows(result.stdout)["unreadable"] == "1"
        assert rows(result.stdout)["imported"] == "3"
        (line,) = [line for line in result.stdout.splitlines() if line.startswith("  corrupt")]
        assert id[:6] in line
        # Beaker's ids are unsigned by default: who reads a log must not be able to present one.
        assert id not in result.output

    def test_expired_ones_and_dropped_keys_are_told(self, old: Path, url: str) -> None:
        write_beaker(old, {"user": "dora"}, age=7200)
        write_beaker(old, {"user": "emil", "form": sqlalchemy.text("x")})
        result = run_import(old, url)
        assert result.exit_code == 0
        assert rows(result.stdout)["expired"] == "1"
        assert rows(result.stdout)["dropped keys"] == "1"
        (line,) = [line for line in result.stdout.splitlines() if "sqlalchemy" in line]
        assert line.split()[-1] == "form"

    def test_on_unknown_refuse_leaves_such_sessions_where_they_are(self, old: Path, url: str) -> None:
        write_beaker(old, {"user": "emil", "form": sqlalchemy.text("x")})
        result = run_import(old, url, "--on-unknown", "refuse")
        assert result.exit_code == 1
        assert stored_in(url) == 3

    def test_convert_names_a_function_of_the_application(
        self, old: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_beaker(old, {"user": "emil", "form": sqlalchemy.text("x")})
        (tmp_path / "shop_sessions.py").write_text("def converted(path, unknown):\n    return unknown.name\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        result = run_import(old, url, "--convert", "shop_sessions:converted")
        assert result.exit_code == 0
        assert rows(result.stdout)["dropped keys"] == "0"

    def test_convert_is_found_in_the_directory_of_the_application(
        self, old: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_beaker(old, {"user": "emil", "form": sqlalchemy.text("x")})
        (tmp_path / "shop_conversion.py").write_text("def converted(path, unknown):\n    return unknown.name\n")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", list(sys.path))
        result = run_import(old, url, "--convert", "shop_conversion:converted")
        assert result.exit_code == 0, result.output
        assert rows(result.stdout)["dropped keys"] == "0"

    @pytest.mark.parametrize(
        ("code", "told"),
        [
            ("raise RuntimeError('geheim')", "RuntimeError at {}/shop_failing.py, line 1"),
            ("def f(:", "SyntaxError at {}/shop_failing.py, line 1"),
            ("import sys\nsys.exit('geheim')", "SystemExit at {}/shop_failing.py, line 2"),
            ("import shop_missing", "shop_missing"),
        ],
    )
    def test_a_module_of_convert_that_fails_is_told(
        self, code: str, told: str, old: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "shop_failing.py").write_text(code)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        result = run_import(old, url, "--convert", "shop_failing:f")
        sys.modules.pop("shop_failing", None)
        assert result.exit_code == 2
        assert "--convert" in result.stderr
        assert told.format(tmp_path) in result.stderr

    def test_a_dry_run_writes_nothing(self, old: Path, url: str, tmp_path: Path) -> None:
        result = run_import(old, url, "--dry-run")
        assert result.exit_code == 0
        assert rows(result.stdout)["would be imported"] == "3"
        assert [path.name for path in tmp_path.iterdir()] == ["old"]

    def test_one_without_an_end_gets_the_default_lifetime(self, old: Path, url: str) -> None:
        with ReplacedClock() as replaced:
            run_without_timeout(old, url, "--default-lifetime", "2")
            ends = {record.expires for record in store_from_url(url).scan()}
            # From the last use, a moment ago.
            assert all(0 <= replaced.now() + 48 * HOUR - end < 60_000 for end in ends)
            assert len(ends) > 0

    def test_names_of_keys_cannot_command_the_terminal(self, old: Path, url: str) -> None:
        write_beaker(old, {"\x1b[2J\n[red]ende": sqlalchemy.text("x"), "\udc80": 1})
        result = run_import(old, url)
        assert "\x1b" not in result.output
        assert "\\x1b[2J\\n[red]ende" in result.output

    def test_the_old_storage_is_not_changed(self, old: Path, url: str) -> None:
        before = {path: path.read_bytes() for path in old.rglob("*.cache")}
        run_import(old, url)
        assert {path: path.read_bytes() for path in old.rglob("*.cache")} == before

    def test_a_directory_may_be_a_url(self, old: Path, url: str) -> None:
        result = run_without_timeout(f"file://{old}", url)
        assert rows(result.stdout)["imported"] == "3"

    def test_the_directory_of_the_containers_may_be_named_itself(self, old: Path, url: str) -> None:
        assert rows(run_import(old / "container_file", url).stdout)["imported"] == "3"

    def test_of_the_two_containers_it_takes_the_one_with_sessions(self, tmp_path: Path, url: str) -> None:
        cached = tmp_path / "old" / "container_file" / "a" / "ab" / f"{'ab' * 20}.cache"
        cached.parent.mkdir(parents=True)
        cached.write_bytes(pickle.dumps({"a page": "text"}, 2))
        write_beaker_dbm(tmp_path / "old", {"user": "anna"})
        assert rows(run_import(tmp_path / "old", url).stdout)["imported"] == "1"

    def test_a_container_may_have_another_name(self, tmp_path: Path, url: str) -> None:
        write_beaker_dbm(tmp_path, {"user": "anna"})
        (tmp_path / "container_dbm").rename(tmp_path / "saved")
        assert rows(run_import(tmp_path / "saved", url).stdout)["imported"] == "1"

    def test_of_two_with_sessions_one_has_to_be_named(self, old: Path, url: str) -> None:
        write_beaker_dbm(old, {"user": "anna"})
        result = run_import(old, url)
        assert result.exit_code == 2
        assert "container_file and container_dbm" in result.stderr
        assert rows(run_import(old / "container_dbm", url).stdout)["imported"] == "1"

    def test_a_place_without_sessions_is_told_and_makes_the_exit_code_1(self, tmp_path: Path, url: str) -> None:
        (tmp_path / "wrong").mkdir()
        result = run_import(tmp_path / "wrong", url)
        assert result.exit_code == 1
        assert (
            result.stderr == "nothing of beaker is there: is this the right place, and are these the right options?\n"
        )

    def test_without_pickle_it_says_why_nothing_is_read(self, redis_url: str, url: str) -> None:
        prefix = new_name()
        with Redis.from_url(redis_url) as client:
            client.set(f"{prefix}{uuid4()}", pickle.dumps({"user": "anna"}))
        command = ("import", "flask-session", redis_url, "--key-prefix", prefix, "--to", url)
        result = run(*command, "--serializer", "msgpack")
        assert result.exit_code == 1
        assert "pickle-disabled" in result.stdout
        result = run(*command, "--serializer", "pickle")
        assert result.exit_code == 0
        assert rows(result.stdout)["imported"] == "1"

    def test_out_of_a_cluster(self, url: str) -> None:
        cluster, prefix = services.url_of("redis-cluster"), new_name()
        host, port = cluster.removeprefix("redis+cluster://").partition(",")[0].split(":")
        with closing(RedisCluster(host, int(port))) as client:
            for _ in range(20):
                client.set(f"{prefix}{uuid4()}", b'{"user": "anna"}', ex=600)
        command = ("import", "flask-session", cluster, "--serializer", "json", "--key-prefix", prefix)
        assert rows(run(*command, "--to", url).stdout)["imported"] == "20"

    def test_out_of_a_database_into_one(self, tmp_path: Path, postgresql_url: str) -> None:
        database = tmp_path / "flask.db"
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("CREATE TABLE sessions (id INTEGER PRIMARY KEY, session_id, data, expiry)")
            row = ("session:" + "a" * 43, b'{"user": "anna"}', "2999-01-01 00:00:00.000000")
            connection.execute("INSERT INTO sessions (session_id, data, expiry) VALUES (?, ?, ?)", row)
            connection.commit()
        with new_table(postgresql_url) as table:
            to = f"{postgresql_url}?table={table}"
            result = run("import", "flask-session", f"sqlite:///{database}", "--serializer", "json", "--to", to)
            assert result.exit_code == 0, result.output
            assert stored_in(to) == 1


def settings_of(system: System, kind: str) -> Iterator[str]:
    """Yield every option of a system, with a value that makes sense."""
    for setting in system.settings:
        if setting.name in ("table", "schema") and kind != SQL:
            continue
        yield f"--{setting.name.replace('_', '-')}"
        if setting.kind is not bool:
            yield value_of(setting, system)


def value_of(setting: Setting, system: System) -> str:
    if isinstance(setting.kind, tuple):
        return setting.kind[-1]
    special = {
        "table": system.table or "cache",
        "schema": "main",
        "zone": "Europe/Berlin",
        "filename_template": "sess_%s",
        "timeout": "3600",
        "version": "2",
    }
    units = {"env:NAME|@FILE": "env:OLD_SECRET", "SECONDS": "3600"}
    return special.get(setting.name) or units.get(setting.unit or "") or new_name()


COLUMNS = {
    "beaker": "beaker_cache (id, namespace, accessed, created, data)",
    "flask-session": "sessions (id, session_id, data, expiry)",
    "django": "django_session (session_key, session_data, expire_date)",
    "django-cache": "cache (cache_key, value, expires)",
}


class TestSystems:
    """Each over an empty storage of each kind that it has, with each of its options."""

    @pytest.mark.parametrize(
        ("system", "kind"),
        [pytest.param(system, kind, id=f"{system.name}-{kind}") for system in SYSTEMS for kind in system.storages],
    )
    def test_it_reads_what_is_there(self, system: System, kind: str, tmp_path: Path, redis_url: str, url: str) -> None:
        if kind == SQL:
            with closing(sqlite3.connect(tmp_path / "old.db")) as connection:
                connection.execute(f"CREATE TABLE {COLUMNS[system.name]}")
        (tmp_path / "old").mkdir()
        location = {FILES: tmp_path / "old", REDIS: redis_url, SQL: f"sqlite:///{tmp_path / 'old.db'}"}[kind]
        options = settings_of(system, kind)
        env = {"OLD_SECRET": PASSWORD}
        result = run("import", system.name, location, *options, "--to", url, "--dry-run", env=env)
        if (system.name, kind) == ("beaker", REDIS):
            # Whatever other tests have there.
            assert result.exit_code in (0, 1), result.output
            return
        # It found the place, and nothing in it.
        assert result.exit_code == 1, result.output
        assert rows(result.stdout)["read"] == "0"

    def test_a_storage_that_it_cannot_have_is_refused(self, redis_url: str, url: str) -> None:
        result = run("import", "cherrypy", redis_url, "--serializer", "pickle", "--to", url)
        assert result.exit_code == 2
        assert "no sessions of cherrypy" in result.stderr

    @pytest.mark.parametrize(("system", "limit"), [("beaker", "timeout"), ("werkzeug", "lifetime")])
    def test_what_had_ended_there_does_not_live_again_because_nobody_said_when(
        self, system: str, limit: str, tmp_path: Path, url: str
    ) -> None:
        """The storages of these do not tell it."""
        command = ("import", system, tmp_path, "--serializer", "pickle", "--to", url)
        for wrong in ((), (f"--{limit}", "60", f"--no-{limit}")):
            result = run(*command, *wrong)
            assert result.exit_code == 2
            assert f"either --{limit} SECONDS or --no-{limit}" in result.stderr
        assert rows(run(*command, f"--no-{limit}").stdout)["read"] == "0"
        assert rows(run(*command, f"--{limit}", "60").stdout)["read"] == "0"

    def test_nor_does_a_file_of_django(self, tmp_path: Path, url: str) -> None:
        command = ("import", "django", tmp_path, "--secret-key", "env:KEY", "--serializer", "json", "--to", url)
        result = run(*command, env={"KEY": PASSWORD})
        assert result.exit_code == 2
        assert "--cookie-age" in result.stderr
        assert rows(run(*command, "--cookie-age", "60", env={"KEY": PASSWORD}).stdout)["read"] == "0"

    def test_each_is_named_by_help(self) -> None:
        output = run("import", "--help").output
        assert {system.name for system in SYSTEMS} <= set(output.split())

    def test_an_option_is_never_one_of_the_common_ones(self) -> None:
        for command in import_commands.commands.values():
            names = [name for option in command.params for name in option.opts]
            assert len(names) == len(set(names))


class TestUsage:
    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (("import", "beaker", "/nowhere", "--serializer", "json", "--to", "memory:"), "there is no directory"),
            (("import", "beaker", ".", "--to", "memory:"), "--serializer"),
            (("import", "beaker", ".", "--serializer", "json"), "--to"),
            (("import", "beaker", ".", "--serializer", "yaml", "--to", "memory:"), "yaml"),
            (("import", "beaker", ".", "--serializer", "json", "--to", f"nosql://u:{PASSWORD}@h"), "nosql:"),
            (("import", "beaker", ".", "--serializer", "json", "--to", f"redis://u:{PASSWORD}@h:port"), "port"),
            (("import", "beaker", ".", "--serializer", "json", "--to", "memory:", "--timeout", "soon"), "soon"),
            (
                ("import", "beaker", ".", "--serializer", "json", "--to", "memory:", "--timeout", "-5"),
                "'--timeout': it must be more than 0 seconds; if there was none, write --no-timeout\n",
            ),
            (
                ("import", "beaker", ".", "--serializer", "json", "--to", "memory:", "--no-timeout", "--table", "t"),
                "--table",
            ),
            (
                ("import", "beaker", f"nosql://u:{PASSWORD}@h", "--serializer", "json", "--to", "memory:"),
                "write one of",
            ),
            (("import", "beaker", f"redis://u:{PASSWORD}@h:p/x", "--serializer", "json", "--to", "memory:"), "Redis"),
            (("import", "beaker", "file://host/x", "--serializer", "json", "--to", "memory:"), "absolute path"),
            (("import", "beaker", "sqlite:///no.db", "--serializer", "json", "--to", "memory:"), "no file"),
            (
                ("import", "beaker", ".", "--serializer", "json", "--to", "memory:", "--encrypt-key", PASSWORD),
                "env:NAME",
            ),
            (
                ("import", "beaker", ".", "--serializer", "json", "--to", "memory:", "--encrypt-key", "env:NO"),
                "the environment variable NO is not set, or empty",
            ),
            (
                ("import", "beaker", ".", "--serializer", "json", "--to", "memory:", "--encrypt-key", "@/no"),
                "cannot read",
            ),
            (
                ("import", "beaker", ".", "--serializer", "json", "--to", "memory:", "--convert", "no.such:f"),
                "imported",
            ),
            (("import", "beaker", ".", "--serializer", "json", "--to", "memory:", "--convert", "os:sep"), "to call"),
            (("import", "beaker", ".", "--serializer", "json", "--to", "memory:", "--default-lifetime", "0"), "0"),
            (("import", "cherrypy", ".", "--serializer", "pickle", "--to", "memory:", "--zone", "Moon"), "Moon"),
            (("import", "werkzeug", ".", "--serializer", "pickle", "--to", "memory:", "--lifetime", "x"), "seconds"),
            (
                ("import", "werkzeug", ".", "--serializer", "pickle", "--to", "memory:", "--lifetime", "0"),
                "--no-lifetime",
            ),
            (("import", "zope", "."), "zope"),
            (("sweep", f"nosql://u:{PASSWORD}@h"), "nosql:"),
            (("import", "beaker", ".", "--serializer", "json", "--to", "memory:", "--no-timeout"), "in memory"),
            (("copy", "memory:", "memory:"), "in memory"),
            (("frob",), "frob"),
        ],
    )
    def test_what_makes_no_sense_is_told_and_the_exit_code_is_2(self, arguments: tuple[str, ...], told: str) -> None:
        result = run(*arguments)
        assert result.exit_code == 2
        assert told in result.stderr
        assert result.stdout == ""

    @pytest.mark.parametrize(
        ("system", "source", "stored"),
        [
            ("flask", "FlaskSource", "flask-session"),
            ("pyramid", "PyramidSource", "pyramid-session-redis"),
            ("bottle", "BottleSource", None),
            ("secure-cookie", "SecureCookieSource", "werkzeug"),
            ("django-cookie", "DjangoCookieSource", "django"),
        ],
    )
    def test_sessions_in_cookies_are_said_to_move_with_their_visitors(
        self, system: str, source: str, stored: str | None, tmp_path: Path
    ) -> None:
        for arguments in ((), ("--help",), (tmp_path, "--to", "memory:")):
            result = run("import", system, *arguments)
            assert result.exit_code == 2
            assert "in the cookies of their visitors: there is nothing to import" in result.stderr
            assert f"legacy=[{source}(...)]" in result.stderr
            assert (f"import {stored}" in result.stderr) == (stored is not None)

    def test_it_makes_no_database_where_there_is_none(self, tmp_path: Path) -> None:
        assert run_without_timeout(f"sqlite:///{tmp_path / 'no.db'}", "memory:").exit_code == 2
        assert list(tmp_path.iterdir()) == []

    def test_a_url_may_be_in_a_variable_or_a_file(self, old: Path, url: str, tmp_path: Path) -> None:
        (tmp_path / "url.txt").write_text(f"{url}\n")
        assert run_import(old, f"@{tmp_path / 'url.txt'}").exit_code == 0
        assert stored_in(url) == 3
        assert run("revoke", "env:SESSIONS", "anna", env={"SESSIONS": url}).stdout == "ended 0 sessions\n"

    @pytest.mark.parametrize("secret", [PASSWORD, f"{PASSWORD}:x", f"sqlite:///{PASSWORD}.db", f"file:///{PASSWORD}"])
    @pytest.mark.parametrize("is_file", [True, False])
    def test_a_secret_that_is_taken_for_a_place_is_not_repeated(
        self, is_file: bool, secret: str, url: str, tmp_path: Path
    ) -> None:
        (tmp_path / "key.txt").write_text(secret)
        given = f"@{tmp_path / 'key.txt'}" if is_file else "env:KEY"
        options = ("--serializer", "json", "--no-timeout", "--to", url)
        result = run("import", "beaker", given, *options, env={"KEY": secret})
        assert result.exit_code == 2
        assert given in result.stderr
        for command in ("stats", "sweep"):
            assert run(command, given, env={"KEY": secret}).exit_code == 2

    def test_what_is_missing_is_named_all_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "redis", None)
        result = run_without_timeout("env:PLACE", "memory:")
        assert "the environment variable PLACE is not set, or empty" in result.stderr
        result = run(
            "import", "beaker", "env:PLACE", "--serializer", "json", "--to", "memory:", env={"PLACE": "redis://h"}
        )
        assert "pip install" in result.stderr

    def test_a_file_that_is_no_text_is_not_repeated(self, tmp_path: Path) -> None:
        (tmp_path / "url.txt").write_bytes(PASSWORD.encode() + b"\xff")
        assert run("stats", f"@{tmp_path / 'url.txt'}").exit_code == 2


class TestFailures:
    def test_a_missing_table_is_told_and_the_exit_code_is_3(self, tmp_path: Path, url: str) -> None:
        sqlite3.connect(tmp_path / "old.db").close()
        (tmp_path / "old.db").touch()
        result = run_without_timeout(f"sqlite:///{tmp_path / 'old.db'}", url)
        assert result.exit_code == 3
        assert "there is no table 'beaker_cache'" in result.stderr

    def test_a_server_that_is_down_is_told(self, url: str, old: Path) -> None:
        down = f"redis://u:{PASSWORD}@127.0.0.1:1/0"
        assert run_without_timeout(down, url).exit_code == 3
        result = run_import(old, down)
        assert result.exit_code == 3
        assert "imported       0" in result.stdout
        assert "the same command goes on" in result.stderr

    @pytest.mark.parametrize("scheme", ["redis+cluster", "postgresql", "mysql"])
    def test_so_is_each_other_kind(self, scheme: str, url: str) -> None:
        down = f"{scheme}://u:{PASSWORD}@127.0.0.1:1/0"
        result = run("import", "flask-session", down, "--serializer", "json", "--to", url)
        assert result.exit_code == 3
        assert "of the old sessions failed" in result.stderr

    def test_a_driver_that_is_not_installed_is_named(self) -> None:
        result = run("import", "django-cache", "mssql+pymssql://h/d", "--serializer", "pickle", "--to", "memory:")
        assert result.exit_code == 2
        assert "needs the driver pymssql" in result.stderr

    def test_a_store_that_cannot_list_is_told(self) -> None:
        result = run("stats", "memcached://localhost:1")
        assert result.exit_code == 2
        assert "cannot list" in result.stderr


class TestStores:
    def filled(self, url: str) -> None:
        store = store_from_url(url)
        for name in ("anna", "anna", "bert"):
            with open_session(store) as session:
                session["user"] = name
                session.owner = name
        store.create(Record("waiting", b"payload", clock.now() + HOUR))
        store.close()

    def test_stats(self, url: str) -> None:
        self.filled(url)
        output = run("stats", url).stdout
        assert "sessions         4\n" in output
        assert "of users         3, of 2 users\n" in output
        assert "UTC" in output

    def test_stats_does_not_count_who_has_not_come_yet(self, old: Path, url: str) -> None:
        run_import(old, url)
        output = run("stats", url).stdout
        assert "sessions         0\n" in output
        assert "waiting for their visitors 3\n" in output

    def test_stats_of_an_empty_store(self, tmp_path: Path) -> None:
        (tmp_path / "sessions").mkdir(0o700)
        output = run("stats", f"file://{tmp_path / 'sessions'}").stdout
        assert "sessions         0\n" in output
        assert "waiting for their visitors 0\n" in output

    @pytest.mark.parametrize("place", ["sqlite:///{}/typo.db", "file://{}/typo"])
    @pytest.mark.parametrize("command", [("stats",), ("sweep",), ("revoke", "anna"), ("copy", "{}/copied")])
    def test_a_wrong_place_is_told_and_nothing_is_made(
        self, command: tuple[str, ...], place: str, tmp_path: Path
    ) -> None:
        name, *others = command
        others = [f"file://{other.format(tmp_path)}" if name == "copy" else other for other in others]
        result = run(name, place.format(tmp_path), *others)
        assert result.exit_code == 2
        assert "file or directory is missing" in result.stderr
        assert list(tmp_path.iterdir()) == []

    def test_revoke(self, url: str) -> None:
        self.filled(url)
        assert run("revoke", url, "anna").stdout == "ended 2 sessions\n"
        assert stored_in(url) == 2

    def test_sweep(self, url: str) -> None:
        self.filled(url)
        with ReplacedClock() as replaced:
            replaced.advance(timedelta(days=365))
            assert run("sweep", url).stdout == "deleted 4 records\n"
            assert run("sweep", url).stdout == "deleted 0 records\n"

    def test_copy(self, url: str, tmp_path: Path) -> None:
        self.filled(url)
        other = f"file://{tmp_path / 'copied'}"
        assert run("copy", url, other).stdout == "copied 4 records\n"
        assert run("copy", url, other).stdout == "copied 0 records\n"
        assert stored_in(other) == 4

    def test_create_schema(self, postgresql_url: str) -> None:
        name = new_name()
        url = f"{postgresql_url}?table={name}"
        assert run("stats", url).exit_code == 3
        for _ in range(2):
            assert run("create-schema", url).stdout == "the table is there\n"
        assert run("stats", url).exit_code == 0
        engine = sqlalchemy.create_engine(postgresql_url.replace("postgresql:", "postgresql+psycopg:"))
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text(f"DROP TABLE {name}"))
        engine.dispose()

    def test_create_schema_of_a_store_without_one(self, url: str) -> None:
        assert "nothing to do" in run("create-schema", url).stdout


class TestLines:
    def test_one_comes_every_ten_seconds(self) -> None:
        stream, report = StringIO(), Report()
        with ReplacedClock() as replaced:
            lines = Lines(400, stream)
            for number in range(1, 301):
                report.read = report.imported = number
                replaced.advance(timedelta(seconds=0.1))
                lines.show(report)
        assert stream.getvalue().splitlines() == [
            "read 100 of 400, imported 100, renewed 0, 10/s",
            "read 200 of 400, imported 200, renewed 0, 10/s",
            "read 300 of 400, imported 300, renewed 0, 10/s",
        ]


class TestPage:
    """What docs/migrating.rst shows."""

    def test_the_imports_run_as_shown(self, old: Path, tmp_path: Path) -> None:
        (code,) = blocks(parsed("docs/migrating.rst"), "sh")
        code = code.replace("/var/cache/app", str(old)).replace("/var/lib/app", str(tmp_path))
        lines = [shlex.split(line) for line in code.splitlines() if line.startswith("wsgi-sessions")]
        assert ["--dry-run" in line for line in lines] == [True, False]
        outputs = [run(*line[1:]).stdout for line in lines]
        assert rows(outputs[0])["would be imported"] == rows(outputs[1])["imported"] == "3"

    def test_what_is_imported_beside_the_old_files_is_found_by_the_middleware_for_beaker(self, old: Path) -> None:
        id = write_beaker(old, {"user": "dora"})
        assert run_import(old, f"file://{old / 'wsgi_sessions'}").exit_code == 0
        shutil.rmtree(old / "container_file")

        def app(environ: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [str(environ["beaker.session"].get("user")).encode()]

        options = {"session.type": "file", "session.data_dir": str(old), "session.timeout": "3600"}
        browser = Client(BeakerMiddleware(app, options))
        browser.set_cookie("beaker.session.id", id)
        assert browser.get("/", buffered=True).text == "dora"

    def test_every_command_is_named(self) -> None:
        text = (ROOT / "docs" / "migrating.rst").read_text()
        names = [
            name for name in commands.commands if f"{name} URL" not in text and f"wsgi-sessions {name}" not in text
        ]
        assert names == []


class TestCounting:
    def test_it_takes_no_memory_for_each_file_of_a_directory(self, tmp_path: Path) -> None:
        peaks = []
        for count in (300, 3000):
            (tmp_path / f"{count}" / "below").mkdir(parents=True)
            for number in range(count):
                (tmp_path / f"{count}" / "below" / f"{number:064}").touch()
            tracemalloc.start()
            assert count_files(str(tmp_path / f"{count}"), ("?" * 64,)) == count
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert peaks[1] < 1.5 * peaks[0]

    def test_links_and_what_cannot_be_read_are_passed_over(self, tmp_path: Path) -> None:
        (tmp_path / "one.cache").touch()
        (tmp_path / "round").symlink_to(tmp_path)
        (tmp_path / "closed").mkdir(0)
        assert count_files(str(tmp_path), ("*.cache",)) == 1
        assert count_files(str(tmp_path / "nowhere"), ("*.cache",)) == 0


def many(directory: Path, count: int) -> Path:
    for number in range(count):
        write_beaker(directory, {"user": f"number {number}", "cart": list(range(50))})
    return directory


def importing(old: Path, url: str) -> list[str]:
    return [*COMMAND, "import", "beaker", str(old), "--serializer", "pickle", "--no-timeout", "--to", url]


def started(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "TERM": "xterm", **options.pop("env", {})}
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "CI"):
        environment.pop(name, None)
    return subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, **options)


def seen_on_a_terminal(command: list[str]) -> tuple[str, int]:
    """Run a command on a terminal of its own, and return what it showed and its exit code."""
    ours, its = pty.openpty()
    ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 140, 0, 0))
    process = started(command, stdin=its, stdout=its, stderr=its)
    os.close(its)
    seen = b""
    with ended(process):
        while True:
            try:
                chunk = os.read(ours, 65536)
            except OSError as error:
                # The end of a terminal, as Linux has it.
                if error.errno != errno.EIO:
                    raise
                break
            if not chunk:
                break
            seen += chunk
        os.close(ours)
        return seen.decode(), process.wait(TIMEOUT)


def run_code(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )


def waited_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def counted(path: str) -> int:
    """Count as another program does, while the store is being written."""
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM session").fetchone()[0])
    return 0


class TestProcesses:
    def test_a_terminal_sees_a_bar_with_rate_and_time_left(self, tmp_path: Path, url: str) -> None:
        seen, code = seen_on_a_terminal(importing(many(tmp_path / "old", 1500), url))
        assert code == 0
        assert "\x1b[" in seen
        assert "━" in seen
        assert re.search(r"importing.*1500/1500.*\d+/s", seen)
        assert re.search(r"\d:\d\d:\d\d", seen)
        assert seen.count("importing") > 2
        assert rows(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen).replace("\r", ""))["imported"] == "1500"

    def test_a_pipe_sees_plain_text(self, old: Path, url: str) -> None:
        process = started(importing(old, url), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with ended(process):
            stdout, stderr = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 0
        assert b"\x1b" not in stdout + stderr
        assert stderr == b""
        assert rows(stdout.decode())["imported"] == "3"

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
    def test_after_being_killed_in_the_middle_it_goes_on(
        self, number: signal.Signals, code: int, tmp_path: Path, url: str
    ) -> None:
        old, path = many(tmp_path / "old", 1500), url.removeprefix("sqlite:///")
        process = started(importing(old, url), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with ended(process):
            waited_for(lambda: counted(path) > 100)
            process.send_signal(number)
            _, stderr = process.communicate(timeout=TIMEOUT)
        assert process.returncode == code
        assert (b"Interrupted" in stderr) == (number is signal.SIGINT)
        assert b"Traceback" not in stderr
        before = counted(path)
        assert 100 < before < 1500
        result = run_without_timeout(old, url)
        assert rows(result.stdout)["already there"] == str(before)
        assert rows(result.stdout)["imported"] == str(1500 - before)
        assert stored_in(url) == 1500

    @pytest.mark.parametrize("command", [("stats",), ("sweep",), ("revoke", "anna"), ("copy", "file://{}/copied")])
    def test_every_command_can_be_interrupted(self, command: tuple[str, ...], tmp_path: Path) -> None:
        name, *others = (part.format(tmp_path) for part in command)
        with closing(socket.create_server(("127.0.0.1", 0))) as server:
            server.settimeout(TIMEOUT)
            url = f"postgresql://u@127.0.0.1:{server.getsockname()[1]}/d"
            process = started([*COMMAND, name, url, *others], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            with ended(process):
                connection, _ = server.accept()
                with closing(connection):
                    process.send_signal(signal.SIGINT)
                    _, stderr = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 130
        assert stderr.split() == [b"Interrupted"]

    def test_an_interruption_while_it_starts_is_no_traceback(self) -> None:
        code = """
import sys
class Interrupting:
    def find_spec(self, name, *_):
        if name == "rich":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupting())
from wsgi_sessions.cli import main
main()
"""
        result = run_code(code)
        assert result.returncode == 130
        assert result.stderr.split() == ["Interrupted"]

    def test_a_fault_of_ours_is_told_in_a_line_without_values(self, url: str) -> None:
        store_from_url(url).create(Record("id", b"payload", clock.now() + HOUR))
        code = f"""
import sys
from wsgi_sessions import SQLiteStore, cli
def scan(self):
    raise LookupError("{PASSWORD}")
SQLiteStore.scan = scan
sys.argv = ["wsgi-sessions", "stats", {url!r}]
cli.main()
"""
        result = run_code(code)
        assert result.returncode == 3
        assert result.stderr == "Error: this should not have happened: LookupError at <string>, line 5\n"

    @pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), (["frob"], 2), (["stats", "memory:"], 0)])
    def test_the_process_ends_with_the_code_of_the_command(self, arguments: list[str], code: int) -> None:
        result = subprocess.run([*COMMAND, *arguments], cwd=ROOT, capture_output=True, timeout=TIMEOUT, check=False)
        assert result.returncode == code

    def test_a_log_in_ascii_is_no_reason_to_fail(self, old: Path, url: str) -> None:
        write_beaker(old, {"größe": sqlalchemy.text("x")})
        environment = {"PYTHONIOENCODING": "ascii"}
        process = started(importing(old, url), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        with ended(process):
            stdout, _ = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 0
        assert b"gr\\xf6\\xdfe" in stdout

    @pytest.mark.parametrize("missing", ["click", "rich"])
    def test_without_its_extra_it_says_what_to_install(self, missing: str) -> None:
        code = f"import sys; sys.modules[{missing!r}] = None; from wsgi_sessions.cli import main; main()"
        result = run_code(code)
        assert result.returncode == 1
        assert result.stderr == "the command line needs click and rich: pip install wsgi-sessions[cli]\n"

    def test_it_is_known_by_its_name(self) -> None:
        result = subprocess.run(
            [*COMMAND, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT, check=True
        )
        assert result.stdout.startswith("Usage: wsgi-sessions ")
