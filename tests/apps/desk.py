"""One page for everything that the tests of real servers ask of an application."""

import os
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from urllib.parse import parse_qsl

from cachelib import RedisCache

from wsgi_sessions import CachingStore, SessionCookie, SessionMiddleware, get_session, store_from_url

# One list for all requests, as some applications have it: nobody may add to it.
HEADERS = [("Content-Type", "text/plain")]
DIRECTORY = Path(os.environ["SESSIONS"]).parent
# What went to the server as the body of its last /file: whether that was of the server's own type.
was_file_wrapper = False
# How often the system was asked to send a file by itself.
sendfile_calls = 0


def make_store():
    """Return the store that $STORE names, files unless it does, behind the Redis at the port $CACHE if that is set."""
    store = store_from_url(os.environ.get("STORE") or Path(os.environ["SESSIONS"]).as_uri())
    if "CACHE" not in os.environ:
        return store
    cache = partial(RedisCache, port=int(os.environ["CACHE"]), key_prefix=os.environ["SESSIONS"])
    return CachingStore(cache, store, max_staleness=timedelta(hours=1))


def app(environ, start_response):
    query = dict(parse_qsl(environ["QUERY_STRING"]))
    result = PAGES[environ["PATH_INFO"]](environ, **query)
    start_response("200 OK", HEADERS)
    return [result.encode()] if isinstance(result, str) else result


def login(environ, user):
    session = get_session(environ)
    session.cycle_id()
    session.owner = user
    session["user"] = user
    return user


def logout(environ):
    get_session(environ).flush()
    return "gone"


def put(environ, key, value):
    get_session(environ)[key] = value
    return value


def get(environ, key):
    return get_session(environ).get(key, "nothing")


def slow(environ, value):
    """Read the session, wait until the test lets go, and write."""
    session = get_session(environ)
    session.get("user")
    (DIRECTORY / "started").touch()
    deadline = time.monotonic() + 15
    while not (DIRECTORY / "go").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    session["late"] = value
    return value


def file(environ):
    get_session(environ)["downloads"] = 1
    return environ["wsgi.file_wrapper"](open(__file__, "rb"))  # the server closes it


PAGES = {
    "/login": login,
    "/logout": logout,
    "/put": put,
    "/get": get,
    "/slow": slow,
    "/file": file,
    "/plain": lambda environ: "plain",
    "/pid": lambda environ: str(os.getpid()),
    "/scheme": lambda environ: environ["wsgi.url_scheme"] + put(environ, "scheme", "!"),
    "/descriptors": lambda environ: str(len(os.listdir("/proc/self/fd"))),
    "/was-file-wrapper": lambda environ: f"{was_file_wrapper} {sendfile_calls}",
}


def watched(environ, start_response):
    """Look at what the middleware hands to the server."""
    global was_file_wrapper
    body = middleware(environ, start_response)
    if environ["PATH_INFO"] == "/file":
        was_file_wrapper = isinstance(body, environ["wsgi.file_wrapper"])
    return body


def count_sendfile(*arguments):
    global sendfile_calls
    sendfile_calls += 1
    return real_sendfile(*arguments)


real_sendfile, os.sendfile = os.sendfile, count_sendfile
store = make_store()
secure = SessionMiddleware(app, store)
middleware = SessionMiddleware(app, store, cookie=SessionCookie(secure=False))
application = watched
