"""A signed cookie: a made-up one is thrown away before the store is asked.

Run ``python examples/signed.py 8000``, then
``curl -c jar -b jar -X POST 'http://127.0.0.1:8000/login?user=anna'``.
"""

import secrets
import sys
from urllib.parse import parse_qs
from wsgiref.simple_server import make_server

from wsgi_sessions import MemoryStore, SessionMiddleware, SignedCookie, get_session


def app(environ, start_response):
    session = get_session(environ)
    match environ["REQUEST_METHOD"], environ["PATH_INFO"]:
        case "POST", "/login":
            session.cycle_id()  # A new cookie: whoever knows the old one does not get in with us.
            session.owner = parse_qs(environ["QUERY_STRING"])["user"][0]  # Check a password first.
            text = f"Welcome, {session.owner}\n"
        case "POST", "/logout":
            session.flush()
            text = "Good bye\n"
        case _:
            visits = session.mutate("visits", lambda visits: visits + 1, default=0)
            text = f"Visit number {visits} of {session.owner or 'a guest'}\n"
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [text.encode()]


# Keep yours outside of the source: every process, and the next start, must have the same.
# To replace a key, append the new one: the last one signs, all of them are accepted.
keys = [secrets.token_bytes(32)]
# The example speaks plain http; leave secure out wherever there is https.
application = SessionMiddleware(app, MemoryStore(), cookie=SignedCookie(keys, secure=False))


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    make_server("127.0.0.1", port, application).serve_forever()


if __name__ == "__main__":
    main()
