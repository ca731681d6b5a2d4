"""A counter, in plain WSGI: the smallest application with a session.

Run ``python examples/counter.py 8000``, then
``curl -c jar -b jar http://127.0.0.1:8000/``.
"""

import sys
from datetime import timedelta
from wsgiref.simple_server import make_server

from wsgi_sessions import MemoryStore, OnInactivity, SessionCookie, SessionMiddleware, get_session


def counter(environ, start_response):
    session = get_session(environ)
    visits = session.get("visits", 0) + 1
    session["visits"] = visits
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Visit number %d\n" % visits]


application = SessionMiddleware(
    counter,
    MemoryStore(),
    cookie=SessionCookie(secure=False),  # The example speaks plain http; leave it out wherever there is https.
    expiry=OnInactivity(timedelta(seconds=10)),
)


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    make_server("127.0.0.1", port, application).serve_forever()


if __name__ == "__main__":
    main()
