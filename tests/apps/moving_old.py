"""The shop before it moves: with the library that ``$SYSTEM`` says, and what that stores in ``$SESSIONS``/old."""

import os
from datetime import timedelta
from pathlib import Path

import moving_frameworks as frameworks
import moving_pages as pages

OLD = Path(os.environ["SESSIONS"], "old")


def beaker(**options):
    from beaker.middleware import SessionMiddleware

    def end(session):
        session.delete()

    site = pages.site(lambda environ: environ["beaker.session"], lambda session: session.save(), end)
    return SessionMiddleware(site, **{f"session.{name}": value for name, value in options.items()})


def beaker_files():
    return beaker(type="file", data_dir=str(OLD), secret="a secret of Beaker", timeout=3600)


def beaker_cookie():
    return beaker(type="cookie", validate_key="a key of Beaker", data_serializer="json", timeout=3600)


def flask_session(**settings):
    from flask_session import Session

    app = frameworks.flask_site()
    app.config.update({f"SESSION_{name}": value for name, value in settings.items()})
    app.config["PERMANENT_SESSION_LIFETIME"] = timedelta(hours=1)
    Session(app)
    return app


def flask_session_files():
    from cachelib import FileSystemCache

    return flask_session(TYPE="cachelib", CACHELIB=FileSystemCache(str(OLD)))


def flask_session_redis():
    from redis import Redis

    return flask_session(TYPE="redis", REDIS=Redis.from_url(os.environ["REDIS"]), USE_SIGNER=True)


def pyramid():
    from pyramid.session import SignedCookieSessionFactory

    return frameworks.pyramid_site(SignedCookieSessionFactory("a secret of Pyramid"))


def pyramid_session_redis():
    from pyramid_session_redis import RedisSessionFactory

    factory = RedisSessionFactory("a secret of Pyramid", redis_url=os.environ["REDIS"])
    return frameworks.pyramid_site(factory)


def django(engine, **settings):
    from django.conf import settings as configured

    configured.configure(
        SECRET_KEY="a secret of Django",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="moving_django",
        INSTALLED_APPS=["django.contrib.sessions"],
        MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
        SESSION_ENGINE=f"django.contrib.sessions.backends.{engine}",
        **settings,
    )
    from django.core.management import call_command
    from django.core.wsgi import get_wsgi_application

    application = get_wsgi_application()
    if engine == "db":
        call_command("migrate", verbosity=0)
    return application


def django_cookie():
    return django("signed_cookies")


def django_db():
    return django("db", DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": OLD / "django.db"}})


def django_files():
    return django("file", SESSION_FILE_PATH=str(OLD))


def cherrypy():
    import cherrypy
    from cherrypy.lib.sessions import FileSession

    # It would clean up in a thread.
    FileSession.clean_freq = 0
    settings = {
        "tools.sessions.on": True,
        "tools.sessions.storage_class": FileSession,
        "tools.sessions.storage_path": str(OLD),
    }
    return frameworks.cherrypy_site(lambda: cherrypy.session, lambda session: session.delete(), settings)


def bottle():
    from bottle import Bottle, request, response

    app = Bottle()
    options = {"secret": "a secret of Bottle", "path": "/", "httponly": True}

    @app.post("/login")
    def log_in():
        session = {}
        text = pages.log_in(session)
        response.set_cookie("account", session, **options)
        return text

    @app.get("/who")
    def who():
        return pages.who(request.get_cookie("account", {}, secret=options["secret"]))

    return app


def secure_cookie():
    from secure_cookie.session import FilesystemSessionStore, SessionMiddleware

    site = pages.site(lambda environ: environ["secure_cookie.session"], lambda session: None, lambda session: None)
    return SessionMiddleware(site, FilesystemSessionStore(str(OLD)))


OLD.mkdir(parents=True, exist_ok=True)
SYSTEMS = {
    "beaker-files": beaker_files,
    "beaker-cookie": beaker_cookie,
    "flask": frameworks.flask_site,
    "flask-session-files": flask_session_files,
    "flask-session-redis": flask_session_redis,
    "pyramid": pyramid,
    "pyramid-session-redis": pyramid_session_redis,
    "django-cookie": django_cookie,
    "django-db": django_db,
    "django-files": django_files,
    "cherrypy": cherrypy,
    "bottle": bottle,
    "secure-cookie": secure_cookie,
}
application = SYSTEMS[os.environ["SYSTEM"].removesuffix("-drop-in")]()
