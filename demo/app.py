"""What the visitor visits: a counter, login and logout, and notes that take their time."""

from __future__ import annotations

import time
from collections.abc import Callable

from werkzeug import Request, Response

from wsgi_sessions import Session, SessionCookie, SessionMiddleware, SessionStore, get_session, store_from_url


def build(store: SessionStore) -> SessionMiddleware:
    """Return the application.

    :param store: where sessions are kept.
    """
    # The demo speaks plain http; leave secure out wherever there is https.
    return SessionMiddleware(_app, store, cookie=SessionCookie(secure=False))


def build_from_url(url: str) -> SessionMiddleware:
    """Return the application; gunicorn calls this in each worker.

    :param url: of the store.
    """
    return build(store_from_url(url))


@Request.application
def _app(request: Request) -> Response:
    page = _PAGES.get((request.method, request.path))
    if page is None:
        return Response("Not found\n", 404)
    return Response(page(request, get_session(request.environ)))


def _count(request: Request, session: Session) -> str:
    visits = session.mutate("visits", lambda visits: visits + 1, default=0)
    return f"Visit number {visits} of {session.owner or 'a guest'}\n"


def _login(request: Request, session: Session) -> str:
    session.cycle_id()
    session.owner = request.args["user"]
    return f"Welcome, {session.owner}\n"


def _logout(request: Request, session: Session) -> str:
    session.flush()
    return "Good bye\n"


def _note(request: Request, session: Session) -> str:
    """Write one key, long after the session was read: parallel requests get in each other's way here."""
    seen = len(session)
    time.sleep(float(request.args.get("wait", 0)))
    session[request.args["key"]] = request.args["value"]
    return f"Noted beside {seen} others\n"


def _notes(request: Request, session: Session) -> str:
    return "".join(f"{key}={session[key]}\n" for key in sorted(session) if key != "visits")


_PAGES: dict[tuple[str, str], Callable[[Request, Session], str]] = {
    ("GET", "/"): _count,
    ("POST", "/login"): _login,
    ("POST", "/logout"): _logout,
    ("POST", "/note"): _note,
    ("GET", "/notes"): _notes,
}
