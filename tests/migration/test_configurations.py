"""A source that is made of the old application's own configuration reads what that application has set."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import flask
import pytest
import redis
from django.conf import LazySettings
from test_django_source import engine_of, written

from wsgi_sessions import SessionCookie, clock
from wsgi_sessions.migration._configurations import django_session
from wsgi_sessions.migration.django import DjangoCacheSource, DjangoCookieSource, DjangoSource
from wsgi_sessions.migration.flask import FlaskSource
from wsgi_sessions.migration.flask_session import FlaskSessionSource

CONFIG: dict[str, Any] = {
    "SECRET_KEY": "the key",
    "SECRET_KEY_FALLBACKS": ["the one before"],
    "SESSION_COOKIE_NAME": "shop",
    "SESSION_COOKIE_PATH": "/shop",
    "SESSION_COOKIE_DOMAIN": "example.com",
    "SESSION_COOKIE_SECURE": True,
    "PERMANENT_SESSION_LIFETIME": 3600,
}


def application(**config: Any) -> flask.Flask:
    app = flask.Flask(__name__)
    app.config.update(config)

    @app.get("/shop/")
    def index() -> str:
        flask.session["user"] = "anna"
        return "ok"

    return app


def cookie_set_by(app: flask.Flask) -> str:
    response = app.test_client().get("/shop/", base_url="https://example.com")
    return response.headers["Set-Cookie"]


class TestFlask:
    def test_it_reads_what_the_application_sets_and_removes_it_as_it_was_set(self) -> None:
        app = application(**CONFIG)
        header = cookie_set_by(app)
        source = FlaskSource.from_config(app.config)
        (cookie,) = source.cookies(header.partition(";")[0])
        session = source.open(cookie)
        assert (session.data, session.idle) == ({"user": "anna"}, 3_600_000)
        removals = [value for _, value in source.removals(SessionCookie())]
        assert all(removal.startswith("shop=;") for removal in removals)
        assert any("Path=/shop" in removal and "Domain=example.com" in removal for removal in removals)
        assert all("Secure" in removal for removal in removals)

    def test_it_needs_no_more_than_the_key(self) -> None:
        app = application(SECRET_KEY="the key")
        source = FlaskSource.from_config(app.config)
        (cookie,) = source.cookies(cookie_set_by(app).partition(";")[0])
        assert source.open(cookie).idle == timedelta(days=31) // timedelta(milliseconds=1)

    def test_an_old_key_is_read(self) -> None:
        header = cookie_set_by(application(**{**CONFIG, "SECRET_KEY": "the one before"}))
        source = FlaskSource.from_config(CONFIG)
        (cookie,) = source.cookies(header.partition(";")[0])
        assert source.open(cookie).data == {"user": "anna"}

    def test_the_arguments_come_first(self) -> None:
        source = FlaskSource.from_config(CONFIG, cookie_name="session", secret_key="another")
        assert source.cookie_name == "session"

    def test_a_missing_key_is_refused(self) -> None:
        with pytest.raises(TypeError, match="secret_key"):
            FlaskSource.from_config({})

    def test_the_prefix_and_the_signature_of_flask_session_are_those_of_the_application(self, redis_url: str) -> None:
        with redis.Redis.from_url(redis_url) as client:
            config = {**CONFIG, "SESSION_KEY_PREFIX": "shop:", "SESSION_USE_SIGNER": True}
            signed = FlaskSessionSource.from_config(config, redis=client)
            plain = FlaskSessionSource.from_config({**config, "SESSION_USE_SIGNER": False}, redis=client)
            id = "a" * 43
            assert plain.identify(id) == [id]
            with pytest.raises(Exception, match="signature"):
                signed.identify(id)
            assert (signed.cookie_name, plain.cookie_name) == ("shop", "shop")


class TestDjango:
    """Read with Django's own settings object, whose defaults are Django's."""

    def settings(self, tmp_path: Path, **changes: Any) -> tuple[dict[str, Any], Any]:
        """Return what a settings module holds, and the object that Django makes of it."""
        given = {
            "DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db")}},
            "SESSION_FILE_PATH": str(tmp_path),
            "SECRET_KEY": "the key",
            "SESSION_COOKIE_NAME": "shop",
            "SESSION_COOKIE_AGE": 600,
            "SESSION_COOKIE_PATH": "/shop",
            **changes,
        }
        settings = LazySettings()
        settings.configure(**given)
        return given, settings

    @pytest.mark.parametrize("use_tz", [True, False])
    def test_it_reads_what_the_project_sets(self, tmp_path: Path, use_tz: bool) -> None:
        given, settings = self.settings(tmp_path, USE_TZ=use_tz, TIME_ZONE="Asia/Tokyo")
        began = clock.now()
        cookies = written(given, [(engine, {"user": "anna"}, None) for engine in ("signed_cookies", "db", "file")])
        sources = (
            DjangoCookieSource.from_settings(settings),
            DjangoSource.from_settings(settings, engine=engine_of(tmp_path / "db")),
            DjangoSource.from_settings(settings, directory=tmp_path),
        )
        for source, cookie in zip(sources, cookies, strict=True):
            session = source.open(cookie)
            assert session.data == {"user": "anna"}
            assert session.expires is not None
            assert began + 599_000 < session.expires <= clock.now() + 600_000
            assert session.persistent
            assert source.cookie_name == "shop"
            assert all("Path=/shop" in removal for _, removal in source.removals(SessionCookie()))

    def test_the_arguments_come_first(self, tmp_path: Path) -> None:
        _, settings = self.settings(tmp_path)
        assert DjangoCookieSource.from_settings(settings, cookie_name="sessionid").cookie_name == "sessionid"

    def test_pickles_are_read_if_the_project_had_set_that(self, tmp_path: Path) -> None:
        _, settings = self.settings(tmp_path, SESSION_SERIALIZER="django.contrib.sessions.serializers.PickleSerializer")
        assert django_session(settings)["serializer"] == "pickle"
        assert django_session(self.settings(tmp_path)[1])["serializer"] == "json"

    def test_a_cache_has_to_be_named(self, tmp_path: Path, redis_url: str) -> None:
        _, settings = self.settings(tmp_path, SESSION_EXPIRE_AT_BROWSER_CLOSE=True)
        with redis.Redis.from_url(redis_url) as client:
            source = DjangoCacheSource.from_settings(settings, serializer="pickle", redis=client)
        assert source.cookie_name == "shop"
        with pytest.raises(ValueError, match="redis, engine and directory"):
            DjangoCacheSource.from_settings(settings, serializer="pickle")
