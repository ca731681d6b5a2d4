"""What the ini files of tests/integrations/test_paste.py name: an application, and what options of a filter name."""

import os
import threading

from wsgi_sessions import MemoryStore, get_session
from wsgi_sessions.migration.flask import FlaskSource

TEXT = [("Content-Type", "text/plain")]
store = MemoryStore()
swept = threading.Event()
deleted = []


def make_app(global_conf, **local_conf):
    """Return an application that counts a visitor's requests, and tells their number and the process."""

    def app(environ, start_response):
        text = PAGES[environ["PATH_INFO"]](environ)
        start_response("200 OK", list(TEXT))
        return [text.encode()]

    return app


def count(environ):
    return str(get_session(environ).mutate("visits", lambda visits: visits + 1, default=0))


def read(environ):
    return str(get_session(environ).get("visits", 0))


def log_in(environ):
    session = get_session(environ)
    session.cycle_id()
    session.owner = "anna"
    return "Welcome"


def log_out(environ):
    get_session(environ).flush()
    return "Good bye"


def enlarge(environ):
    get_session(environ)["large"] = "x" * 2000
    return "large"


PAGES = {
    "/": count,
    "/read": read,
    "/login": log_in,
    "/logout": log_out,
    "/who": lambda environ: get_session(environ).owner or "a guest",
    "/large": enlarge,
    "/plain": lambda environ: "plain",
    "/pid": lambda environ: str(os.getpid()),
}


def sources():
    """Return what reads the sessions of the application before."""
    return [FlaskSource("of the old application")]


def busy(environ, start_response):
    """Answer in place of an application whose sessions cannot be read."""
    start_response("503 Busy", [*TEXT, ("Retry-After", "60")])
    return [b"come back later"]


def remember(records):
    """Take what the sweeper deleted."""
    deleted.extend(records)
    swept.set()
