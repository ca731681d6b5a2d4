"""FileStore over an operating system that fails on demand.

``/save?errno=ENOSPC&event=os.rename``: from where the application begins to
the end of the response, the system calls of that audit event fail.
"""

import errno as errors
import os
import sys
import threading
from urllib.parse import parse_qsl

from wsgi_sessions import FileStore, SessionCookie, SessionMiddleware, get_session

current = threading.local()


def fail_on_demand(event, arguments):
    if event == getattr(current, "event", None):
        raise OSError(current.errno, os.strerror(current.errno))


def app(environ, start_response):
    query = dict(parse_qsl(environ["QUERY_STRING"]))
    page = environ["PATH_INFO"]
    session = get_session(environ)
    if page != "/load":
        len(session)  # reads it, before anything fails
    if "errno" in query:
        current.errno = getattr(errors, query["errno"])
        current.event = query["event"]
    if page == "/plain":
        result = "plain"
    elif page == "/stream":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return stream(session)
    else:
        result = PAGES[page](session)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(result).encode()]


def change(session):
    session["number"] = session.get("number", 0) + 1
    return session["number"]


def save_now(session):
    change(session)
    session.save()
    return session["number"]


def stream(session):
    yield b"first "
    change(session)
    yield b"second"


PAGES = {
    "/load": lambda session: session.get("number"),
    "/change": change,
    "/save": save_now,
    "/cycle": lambda session: session.cycle_id(),
    "/flush": lambda session: session.flush(),
}


def application(environ, start_response):
    current.event = None
    return middleware(environ, start_response)


sys.addaudithook(fail_on_demand)
middleware = SessionMiddleware(app, FileStore(os.environ["SESSIONS"]), cookie=SessionCookie(secure=False))
