"""The shop after it has moved: its sessions are ours, in ``$STORE``, and those of ``$SYSTEM`` come along."""

import logging
import os
from pathlib import Path

import moving_frameworks as frameworks
import moving_pages as pages

from wsgi_sessions import SessionCookie, SessionMiddleware, get_session, store_from_url

OLD = Path(os.environ["SESSIONS"], "old")
OPTIONS = {"retire": os.environ.get("RETIRE", "delete")}

logging.basicConfig(level=logging.INFO)
store = store_from_url(os.environ["STORE"])


def plain(source):
    site = pages.site(get_session, lambda session: None, lambda session: session.flush())
    return SessionMiddleware(site, store, legacy=[source], **OPTIONS)


def flask(source, **options):
    from wsgi_sessions.integrations.flask import WSGISessions

    app = frameworks.flask_site()
    WSGISessions(app, store, legacy=[source], **OPTIONS, **options)
    return app


def pyramid(source):
    from wsgi_sessions.integrations.pyramid import session_factory

    return frameworks.pyramid_site(session_factory(store, legacy=[source], **OPTIONS))


def beaker_files():
    from wsgi_sessions.migration.beaker import BeakerSource, FileContainer

    container = FileContainer(OLD / "container_file")
    return plain(BeakerSource(container, secret="a secret of Beaker", serializer="pickle", timeout=3600))


def beaker_cookie():
    from wsgi_sessions.migration.beaker import BeakerCookieSource

    return plain(BeakerCookieSource("a key of Beaker", timeout=3600))


def beaker_drop_in():
    from wsgi_sessions.integrations.beaker import BeakerMiddleware

    site = pages.site(
        lambda environ: environ["beaker.session"], lambda session: session.save(), lambda session: session.delete()
    )
    options = {"type": "file", "data_dir": str(OLD), "secret": "a secret of Beaker", "timeout": 3600}
    return BeakerMiddleware(site, {f"session.{name}": value for name, value in options.items()}, store=store)


def flask_cookie():
    from wsgi_sessions.migration.flask import FlaskSource

    return flask(FlaskSource("a secret of Flask"))


def flask_session_files():
    from wsgi_sessions.migration.flask_session import FlaskSessionSource

    # Ours takes the very place of the old cookie.
    return flask(FlaskSessionSource(directory=OLD, serializer="pickle"), cookie=SessionCookie("session"))


def flask_session_redis():
    from redis import Redis

    from wsgi_sessions.migration.flask_session import FlaskSessionSource

    return flask(FlaskSessionSource(redis=Redis.from_url(os.environ["REDIS"]), secret_key="a secret of Flask"))


def pyramid_cookie():
    from wsgi_sessions.migration.pyramid import PyramidSource

    return pyramid(PyramidSource("a secret of Pyramid"))


def pyramid_session_redis():
    from redis import Redis

    from wsgi_sessions.migration.pyramid_session_redis import PyramidSessionRedisSource

    client = Redis.from_url(os.environ["REDIS"])
    return pyramid(PyramidSessionRedisSource("a secret of Pyramid", client, serializer="pickle"))


def django_cookie():
    from wsgi_sessions.migration.django import DjangoCookieSource

    return plain(DjangoCookieSource("a secret of Django"))


def django_db():
    from sqlalchemy import create_engine

    from wsgi_sessions.migration.django import DjangoSource

    return plain(DjangoSource("a secret of Django", engine=create_engine(f"sqlite:///{OLD / 'django.db'}")))


def django_files():
    from wsgi_sessions.migration.django import DjangoSource

    return plain(DjangoSource("a secret of Django", directory=OLD))


def cherrypy():
    import cherrypy

    from wsgi_sessions.migration.cherrypy import CherryPySource

    site = frameworks.cherrypy_site(
        lambda: get_session(cherrypy.request.wsgi_environ), lambda session: session.flush(), {}
    )
    return SessionMiddleware(site, store, legacy=[CherryPySource(OLD, serializer="pickle")], **OPTIONS)


def bottle():
    from bottle import Bottle

    from wsgi_sessions.integrations.bottle import SessionPlugin
    from wsgi_sessions.migration.bottle import BottleSource

    app = Bottle()
    source = BottleSource("a secret of Bottle", "account", serializer="pickle")
    app.install(SessionPlugin(store, legacy=[source], **OPTIONS))
    app.post("/login", callback=lambda session: pages.log_in(session))
    app.get("/who", callback=lambda session: pages.who(session))
    app.post("/add", callback=lambda session: pages.add(session))

    @app.post("/logout")
    def log_out(session):
        session.flush()
        return "bye"

    return app


def secure_cookie():
    from wsgi_sessions.migration.werkzeug import WerkzeugSource

    return plain(WerkzeugSource(OLD, serializer="pickle", filename_template="secure_cookie_%s.session"))


SYSTEMS = {
    "beaker-files": beaker_files,
    "beaker-files-drop-in": beaker_drop_in,
    "beaker-cookie": beaker_cookie,
    "flask": flask_cookie,
    "flask-session-files": flask_session_files,
    "flask-session-redis": flask_session_redis,
    "pyramid": pyramid_cookie,
    "pyramid-session-redis": pyramid_session_redis,
    "django-cookie": django_cookie,
    "django-db": django_db,
    "django-files": django_files,
    "cherrypy": cherrypy,
    "bottle": bottle,
    "secure-cookie": secure_cookie,
}
application = SYSTEMS[os.environ["SYSTEM"]]()
