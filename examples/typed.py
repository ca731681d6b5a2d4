"""A typed guest book: one key of the session, read and written as a class.

Run ``python examples/typed.py 8000``, then
``curl -c jar -b jar http://127.0.0.1:8000/``.
"""

import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from wsgiref.simple_server import make_server

from wsgi_sessions import MemoryStore, SessionCookie, SessionMiddleware, get_session
from wsgi_sessions.buckets import bucket


def now():
    return datetime.now(UTC)


@dataclass
class Guest:
    pageviews: int = 0
    first_seen: datetime = field(default_factory=now)
    last_seen: datetime = field(default_factory=now)


def guest_book(environ, start_response):
    session = get_session(environ)
    if environ["REQUEST_METHOD"] == "POST" and environ["PATH_INFO"] == "/logout":
        session.flush()
        text = "Good bye\n"
    else:
        with bucket(session, Guest) as guest:  # Stored when the block ends.
            guest.pageviews += 1
            guest.last_seen = now()
        text = f"Visit number {guest.pageviews}, first seen {guest.first_seen}, last seen {guest.last_seen}\n"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text.encode()]


# The example speaks plain http; leave secure out wherever there is https.
application = SessionMiddleware(guest_book, MemoryStore(), cookie=SessionCookie(secure=False))


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    make_server("127.0.0.1", port, application).serve_forever()


if __name__ == "__main__":
    main()
