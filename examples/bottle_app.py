"""Bottle: wrap the application when its routes are defined, and run the wrapped one.

Run ``python examples/bottle_app.py 8000``, then
``curl -c jar -b jar -X POST 'http://127.0.0.1:8000/login?user=anna'``.
"""

import sys
from wsgiref.simple_server import make_server

from bottle import Bottle, request

from wsgi_sessions import MemoryStore, SessionCookie, SessionMiddleware, get_session

app = Bottle()


@app.get("/")
def index():
    session = get_session(request.environ)
    # Of two requests at once, mutate counts both.
    visits = session.mutate("visits", lambda visits: visits + 1, default=0)
    return f"Visit number {visits} of {session.owner or 'a guest'}\n"


@app.post("/login")
def login():
    session = get_session(request.environ)
    session.cycle_id()  # A new cookie: whoever knows the old one does not get in with us.
    session.owner = request.query["user"]  # Check a password first.
    return f"Welcome, {session.owner}\n"


@app.post("/logout")
def logout():
    get_session(request.environ).flush()
    return "Good bye\n"


# The example speaks plain http; leave secure out wherever there is https.
cookie = SessionCookie(secure=False)
# FileStore or a database instead, where the server has several processes.
application = SessionMiddleware(app, MemoryStore(), cookie=cookie)


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    make_server("127.0.0.1", port, application).serve_forever()


if __name__ == "__main__":
    main()
