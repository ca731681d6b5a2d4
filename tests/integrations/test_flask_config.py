"""What WSGISessions makes of an application's configuration: Flask's own settings, and Flask-Session's."""

from __future__ import annotations

import secrets
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import cachelib
import flask
import pytest
import redis
from backends import new_name
from flask_site import FlaskSite
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import text

from wsgi_sessions import CachelibStore, FileStore, MemoryStore, SessionCookie, SignedCookie, StoreError
from wsgi_sessions.integrations.flask import WSGISessions
from wsgi_sessions.stores.redis import RedisStore
from wsgi_sessions.stores.sql import SQLStore
from wsgi_sessions.testing import ReplacedClock


def cookie_of(**config: Any) -> SessionCookie:
    return FlaskSite(config=config).sessions.cookie


class TestCookie:
    def test_flasks_own_defaults_count_as_not_chosen(self) -> None:
        assert cookie_of() == SessionCookie("id")
        assert cookie_of(SESSION_COOKIE_NAME="session", SESSION_COOKIE_SECURE=False) == SessionCookie("id")

    @pytest.mark.parametrize(
        ("config", "cookie"),
        [
            ({"SESSION_COOKIE_NAME": "__Host-site"}, SessionCookie("__Host-site")),
            ({"SESSION_COOKIE_DOMAIN": "example.com"}, SessionCookie(domain="example.com")),
            ({"SESSION_COOKIE_DOMAIN": ".example.com"}, SessionCookie(domain="example.com")),
            ({"SESSION_COOKIE_DOMAIN": False}, SessionCookie()),
            ({"SESSION_COOKIE_PATH": "/shop"}, SessionCookie(path="/shop")),
            ({"APPLICATION_ROOT": "/shop"}, SessionCookie(path="/shop")),
            ({"APPLICATION_ROOT": "/shop", "SESSION_COOKIE_PATH": "/"}, SessionCookie(path="/")),
            ({"SESSION_COOKIE_HTTPONLY": False}, SessionCookie(http_only=False)),
            ({"SESSION_COOKIE_SECURE": True}, SessionCookie(secure=True)),
            ({"SESSION_COOKIE_SAMESITE": "Strict"}, SessionCookie(same_site="Strict")),
            ({"SESSION_COOKIE_SAMESITE": "None"}, SessionCookie(same_site="None")),
        ],
    )
    def test_what_was_chosen_is_honoured(self, config: dict[str, Any], cookie: SessionCookie) -> None:
        assert cookie_of(**config) == cookie

    @pytest.mark.skipif("SESSION_COOKIE_PARTITIONED" not in flask.Flask.default_config, reason="Flask 3.1 has it")
    def test_partitioned_is_honoured(self) -> None:
        assert cookie_of(SESSION_COOKIE_PARTITIONED=True) == SessionCookie(partitioned=True)

    def test_an_explicit_cookie_beats_them(self) -> None:
        site = FlaskSite(config={"SESSION_COOKIE_NAME": "other"}, cookie=SessionCookie("mine", secure=False))
        assert site.set(site.client(), k=1).headers["Set-Cookie"].startswith("mine=")
        assert "Secure" not in site.set(site.client(), k=1).headers["Set-Cookie"]

    def test_what_a_browser_would_drop_is_refused(self) -> None:
        with pytest.raises(ValueError, match="__Host-"):
            cookie_of(SESSION_COOKIE_NAME="__Host-site", SESSION_COOKIE_PATH="/shop")


class TestSigned:
    def test_the_secret_key_signs(self) -> None:
        key = secrets.token_urlsafe(32)
        site = FlaskSite(config={"SECRET_KEY": key}, signed=True)
        assert site.sessions.cookie == SignedCookie([key])
        client = site.client()
        site.set(client, k=1)
        assert site.ask(client, dict) == {"k": 1}

    @pytest.mark.parametrize(
        ("options", "config", "message"),
        [
            (
                {},
                {"SECRET_KEY": "hunter2", "SESSION_USE_SIGNER": True},
                "SESSION_USE_SIGNER signs the cookie with SECRET_KEY, which is too weak for that "
                "(shorter than 32 bytes): remove SESSION_USE_SIGNER, the token needs no signature",
            ),
            (
                {"signed": True},
                {"SECRET_KEY": "hunter2" * 5, "SESSION_USE_SIGNER": True},
                "signed=True signs the cookie with SECRET_KEY, which is too weak for that "
                "(a repetition, a sequence or of too few different characters): "
                "leave signed out, the token needs no signature",
            ),
            (
                {},
                {
                    "SECRET_KEY": secrets.token_hex(32),
                    "SECRET_KEY_FALLBACKS": [secrets.token_hex(32), "hunter2"],
                    "SESSION_USE_SIGNER": True,
                },
                "SESSION_USE_SIGNER has cookies read that were signed with SECRET_KEY_FALLBACKS[1], which is too weak "
                "for that (shorter than 32 bytes): remove SESSION_USE_SIGNER, the token needs no signature",
            ),
        ],
    )
    def test_a_key_that_is_too_weak_is_named_and_so_is_what_wants_it(
        self, options: dict[str, Any], config: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ValueError) as caught:
            FlaskSite(config=config, **options)
        assert str(caught.value) == message

    @pytest.mark.parametrize(
        ("key", "message"),
        [
            (12345, "SECRET_KEY must be str or bytes, not int"),
            ("", "SESSION_USE_SIGNER needs SECRET_KEY: set it before WSGISessions gets the app, or remove "),
        ],
    )
    def test_so_is_one_that_is_none(self, key: Any, message: str) -> None:
        with pytest.raises((TypeError, ValueError), match=f"^{message}"):
            cookie_of(SECRET_KEY=key, SESSION_USE_SIGNER=True)

    def test_fallbacks_are_read_and_the_secret_key_writes(self) -> None:
        """flask#5690: of the old ones Flask lists the most recent first."""
        old, older, new = (secrets.token_urlsafe(32) for _ in range(3))
        store = MemoryStore()
        before = FlaskSite(store, {"SECRET_KEY": older}, signed=True)
        client = before.client()
        before.set(client, k=1)
        after = FlaskSite(store, {"SECRET_KEY": new, "SECRET_KEY_FALLBACKS": [old, older]}, signed=True)
        assert after.sessions.cookie == SignedCookie([older, old, new])
        moved = after.client()
        moved.set_cookie("id", client.get_cookie("id").value)
        assert after.ask(moved, dict) == {"k": 1}

    def test_no_key_is_needed_otherwise(self) -> None:
        assert type(cookie_of()) is SessionCookie
        assert type(cookie_of(SECRET_KEY="dev")) is SessionCookie

    def test_without_one_it_says_what_is_missing(self) -> None:
        with pytest.raises(ValueError, match="SECRET_KEY"):
            FlaskSite(signed=True)

    def test_a_weak_one_is_refused_and_not_repeated(self) -> None:
        with pytest.raises(ValueError) as info:
            FlaskSite(config={"SECRET_KEY": "hunter2"}, signed=True)
        assert "hunter2" not in str(info.value)

    def test_flask_sessions_setting_asks_for_it_too(self) -> None:
        key = secrets.token_urlsafe(32)
        assert cookie_of(SECRET_KEY=key, SESSION_USE_SIGNER=True) == SignedCookie([key])

    def test_it_and_a_cookie_cannot_both_be_given(self) -> None:
        with pytest.raises(TypeError, match="either cookie or signed"):
            WSGISessions(cookie=SessionCookie(), signed=True)


def store_of(**config: Any) -> Any:
    return FlaskSite(False, config).sessions.store


class TestStore:
    def test_one_is_named_by_its_url(self, tmp_path: Path) -> None:
        assert isinstance(store_of(WSGI_SESSIONS_STORE=f"file://{tmp_path}"), FileStore)
        assert isinstance(FlaskSite("memory:").sessions.store, MemoryStore)

    def test_one_is_in_the_configuration(self) -> None:
        store = MemoryStore()
        assert store_of(WSGI_SESSIONS_STORE=store, SESSION_TYPE="redis") is store

    def test_an_explicit_one_beats_them(self) -> None:
        store = MemoryStore()
        assert FlaskSite(store, {"SESSION_TYPE": "redis"}).sessions.store is store

    def test_session_type_redis_takes_the_client_and_the_prefix(self, redis_url: str) -> None:
        prefix = f"{new_name()}:"
        client = redis.Redis.from_url(redis_url)
        site = FlaskSite(False, {"SESSION_TYPE": "redis", "SESSION_REDIS": client, "SESSION_KEY_PREFIX": prefix})
        assert isinstance(site.sessions.store, RedisStore)
        browser = site.client()
        site.set(browser, k=1)
        assert site.ask(browser, dict) == {"k": 1}
        keys = list(client.scan_iter(f"{prefix}*"))
        assert len(keys) == 1
        client.delete(*keys)
        site.sessions.store.close()
        client.close()

    def test_session_type_redis_alone_is_the_local_server(self) -> None:
        assert "localhost" in repr(store_of(SESSION_TYPE="Redis"))

    def test_session_type_cachelib(self) -> None:
        cache = cachelib.SimpleCache(threshold=sys.maxsize)
        site = FlaskSite(False, {"SESSION_TYPE": "cachelib", "SESSION_CACHELIB": cache})
        assert isinstance(site.sessions.store, CachelibStore)
        client = site.client()
        site.set(client, k=1)
        assert site.ask(client, dict) == {"k": 1}
        with pytest.raises(ValueError, match="SESSION_CACHELIB"):
            store_of(SESSION_TYPE="cachelib")

    def test_session_type_cachelib_with_a_cache_that_evicts_is_refused(self) -> None:
        """Flask-Session logs people out beyond its default of 500."""
        with pytest.raises(ValueError, match="threshold"):
            store_of(SESSION_TYPE="cachelib", SESSION_CACHELIB=cachelib.SimpleCache())

    def test_session_type_filesystem_keeps_out_of_flask_sessions_files(self, tmp_path: Path) -> None:
        (tmp_path / "0123").write_bytes(b"theirs")
        site = FlaskSite(False, {"SESSION_TYPE": "filesystem", "SESSION_FILE_DIR": str(tmp_path)})
        client = site.client()
        site.set(client, k=1)
        assert site.ask(client, dict) == {"k": 1}
        assert (tmp_path / "0123").read_bytes() == b"theirs"
        assert (tmp_path / "wsgi_sessions").is_dir()

    def test_session_type_memcached(self) -> None:
        assert isinstance(store_of(SESSION_TYPE="memcached"), CachelibStore)
        with pytest.raises(ValueError, match="WSGI_SESSIONS_STORE"):
            store_of(SESSION_TYPE="memcached", SESSION_MEMCACHED=object())

    def test_session_type_sqlalchemy_takes_the_engine_and_the_names(self, postgresql_url: str) -> None:
        app = flask.Flask("site")
        app.config["SQLALCHEMY_DATABASE_URI"] = postgresql_url.replace("postgresql:", "postgresql+psycopg:")
        database = SQLAlchemy()
        app.config.update(SESSION_TYPE="sqlalchemy", SESSION_SQLALCHEMY=database)
        with pytest.raises(ValueError, match="init_app"):
            WSGISessions(app)
        database.init_app(app)
        table = app.config["SESSION_SQLALCHEMY_TABLE"] = new_name()
        WSGISessions(app)
        store = app.wsgi_app.store  # type: ignore[attr-defined]
        assert isinstance(store, SQLStore)
        with app.app_context(), closing(store):
            engine = database.engine
            with pytest.raises(StoreError, match="create_schema"):
                store.load("id")
            try:
                result = app.test_cli_runner().invoke(args=["sessions", "create-schema"])
                assert result.exit_code == 0
                app.add_url_rule("/", view_func=lambda: str(flask.session.setdefault("n", 1)))
                assert app.test_client().get("/").text == "1"
                assert len(list(store.scan())) == 1
            finally:
                with engine.begin() as connection:
                    connection.execute(text(f"DROP TABLE IF EXISTS {table}"))
        engine.dispose()

    def test_session_type_sqlalchemy_takes_the_bind_and_the_schema(self, tmp_path: Path) -> None:
        app = flask.Flask("site")
        app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path}/main.db"
        app.config["SQLALCHEMY_BINDS"] = {"other": f"sqlite:///{tmp_path}/other.db"}
        database = SQLAlchemy(app)
        app.config.update(SESSION_TYPE="sqlalchemy", SESSION_SQLALCHEMY=database, SESSION_SQLALCHEMY_BIND_KEY="other")
        app.config["SESSION_SQLALCHEMY_SCHEMA"] = "main"
        WSGISessions(app)
        store = app.wsgi_app.store  # type: ignore[attr-defined]
        assert "main.wsgi_session" in " ".join(store.schema_ddl())
        with closing(store):
            assert app.test_cli_runner().invoke(args=["sessions", "create-schema"]).exit_code == 0
        assert (tmp_path / "other.db").stat().st_size > 0
        assert not (tmp_path / "main.db").exists()
        with app.app_context():
            for engine in database.engines.values():
                engine.dispose()

    def test_session_type_sqlalchemy_with_a_url_only(self, postgresql_url: str) -> None:
        assert isinstance(store_of(SESSION_TYPE="sqlalchemy", SQLALCHEMY_DATABASE_URI=postgresql_url), SQLStore)
        for url in (None, "sqlite:///shop.db"):
            with pytest.raises(ValueError, match="SESSION_SQLALCHEMY"):
                store_of(SESSION_TYPE="sqlalchemy", SQLALCHEMY_DATABASE_URI=url)

    def test_session_type_null_is_none(self) -> None:
        app = flask.Flask("site")
        app.config["SESSION_TYPE"] = "null"
        before = app.wsgi_app
        WSGISessions(app)
        assert app.wsgi_app == before

    @pytest.mark.parametrize("kind", ["mongodb", "dynamodb", "nonsense"])
    def test_others_are_refused_with_the_known_ones(self, kind: str) -> None:
        with pytest.raises(ValueError, match="known, but redis, cachelib, filesystem, memcached, sqlalchemy"):
            store_of(SESSION_TYPE=kind)

    def test_flask_sessions_sessions_are_permanent_by_default(self) -> None:
        config = {"SESSION_TYPE": "null", "PERMANENT_SESSION_LIFETIME": timedelta(days=1)}
        site = FlaskSite(config=config)
        with ReplacedClock():
            assert "Max-Age=86400" in site.set(site.client(), k=1).headers["Set-Cookie"]
        site = FlaskSite(config={**config, "SESSION_PERMANENT": False})
        assert "Max-Age" not in site.set(site.client(), k=1).headers["Set-Cookie"]

    def test_regenerate_is_known_by_flask_sessions_name(self) -> None:
        site = FlaskSite()
        client = site.client()
        site.set(client, k=1)
        before = client.get_cookie("id").value
        site.ask(client, lambda session: site.app.session_interface.regenerate(session))
        assert client.get_cookie("id").value != before
        assert site.ask(client, dict) == {"k": 1}


class TestCommands:
    def run(self, site: FlaskSite, *arguments: str) -> Any:
        return site.app.test_cli_runner().invoke(args=["sessions", *arguments])

    def site(self) -> FlaskSite:
        site = FlaskSite(MemoryStore())
        for owner in ("anna", "anna", "ben"):

            def login(owner: str = owner) -> str:
                flask.session.owner = owner
                return owner

            site.visit(site.client(), login)
        return site

    def test_stats_counts(self) -> None:
        output = self.run(self.site(), "stats").output
        assert "sessions         3\n" in output
        assert "3, of 2 users" in output
        assert " UTC\n" in output

    def test_revoke_ends_the_sessions_of_a_user(self) -> None:
        site = self.site()
        assert self.run(site, "revoke", "anna").output == "ended 2 sessions\n"
        assert [record.owner for record in site.records()] == ["ben"]

    def test_revoke_can_keep_one(self) -> None:
        site = self.site()
        kept = next(record.id for record in site.records() if record.owner == "anna")
        assert self.run(site, "revoke", "anna", "--keep", kept).output == "ended 1 sessions\n"
        assert kept in [record.id for record in site.records()]

    def test_sweep_deletes_what_has_expired(self) -> None:
        with ReplacedClock() as clock:
            site = self.site()
            clock.advance(timedelta(weeks=3))
            assert self.run(site, "sweep").output == "deleted 3 records\n"
            assert self.run(site, "sweep").output == "deleted 0 records\n"

    def test_what_a_store_cannot_do_is_told_in_a_line(self) -> None:
        site = FlaskSite(CachelibStore(cachelib.SimpleCache(threshold=sys.maxsize)))
        result = self.run(site, "stats")
        assert result.exit_code == 2
        assert result.output.endswith("Error: CachelibStore cannot list its records\n")

    def test_so_is_an_outage(self) -> None:
        site = FlaskSite()
        site.store.inner.scan = site.store.inner.find_by_owner = None
        site.store.fail_always()
        result = self.run(site, "sweep")
        assert result.exit_code == 3
        assert result.output.startswith("Error: ")

    def test_a_schema_is_made_only_where_there_is_one(self) -> None:
        assert self.run(self.site(), "create-schema").output == "nothing to do: this store needs no schema\n"

    @pytest.mark.parametrize("command", [["stats"], ["sweep"], ["revoke", "anna"]])
    def test_they_make_no_store_where_there_is_none(self, command: list[str], tmp_path: Path) -> None:
        result = self.run(FlaskSite(FileStore(tmp_path / "sessions")), *command)
        assert result.exit_code == 2
        assert "is missing" in result.output
        assert list(tmp_path.iterdir()) == []

    def test_they_run_in_the_context_of_the_application(self) -> None:
        """As a store may need it whose engine is the application's."""
        site, names = FlaskSite(), []
        site.store.create_schema = lambda: names.append(flask.current_app.name)
        assert self.run(site, "create-schema").output == "the table is there\n"
        assert names == ["site"]
