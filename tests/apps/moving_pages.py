"""The pages of a shop that moves: the same whichever framework serves them, and whichever library has the sessions.

What was put into a session is told by the environment's ``$VALUES``: what the old library could store.
"""

import os
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

JSON = {
    "user": "anna",
    "user id": 7,
    "cart": [{"title": "Żółw", "count": 2, "price": 1.5}],
    "seen": {"a": None, "b": [True]},
}
FLASK = {
    **JSON,
    "pair": ("a", 1),
    "bytes": b"\x00\xff",
    "since": datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC),
    "order": UUID(int=7),
}
PICKLE = {
    **FLASK,
    "groups": {"staff"},
    "total": Decimal("12.50"),
    "day": date(2030, 1, 2),
    "since": datetime(2030, 1, 2),
}
VALUES = {"json": JSON, "flask": FLASK, "pickle": PICKLE}

# Beaker's own and Flask's, which are not the application's.
_INTERNALS = ("_creation_time", "_accessed_time", "_id", "_domain", "_path", "_permanent")


def log_in(session):
    session.update(VALUES[os.environ["VALUES"]])
    return "welcome"


def who(session):
    """All that is in the session, with its types."""
    return repr(sorted((key, value) for key, value in session.items() if key not in _INTERNALS))


def add(session):
    # A new list: not every old library notices another change.
    session["cart"] = [*session["cart"], {"title": "Jeż"}]
    return "added"


def respond(start_response, text):
    """Answer a request of WSGI."""
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [text.encode()]


def site(session_of, save, end):
    """Return the pages as an application of WSGI alone.

    :param session_of: the session of an environ.
    :param save: called with a session that has changed.
    :param end: called with a session at the logout.
    """

    def log_out(session):
        end(session)
        return "bye"

    views = {"/login": log_in, "/who": who, "/add": add, "/logout": log_out}

    def application(environ, start_response):
        view = views[environ["PATH_INFO"]]
        session = session_of(environ)
        text = view(session)
        if view in (log_in, add):
            save(session)
        return respond(start_response, text)

    return application
