"""Bottle: install the plugin, and callbacks that take a ``session`` get it; ``bottle.request.session`` is it, too.

Run ``python examples/bottle_app.py 8000``, then
``curl -c jar -b jar -X POST 'http://127.0.0.1:8000/login?user=anna'``.
"""

import sys

from bottle import Bottle, html_escape, request

from wsgi_sessions import MemoryStore, SessionCookie
from wsgi_sessions.integrations.bottle import SessionPlugin

# FileStore or a database instead, where the server has several processes.
store = MemoryStore()
# The example speaks plain http; leave secure out wherever there is https.
cookie = SessionCookie(secure=False)

app = Bottle()
app.install(SessionPlugin(store, cookie=cookie))


@app.get("/")
def index(session):
    # Of two requests at once, mutate counts both.
    visits = session.mutate("visits", lambda visits: visits + 1, default=0)
    return f"Visit number {visits} of {html_escape(session.owner or 'a guest')}\n"


@app.post("/login")
def login(session):
    session.cycle_id()  # A new cookie: whoever knows the old one does not get in with us.
    session.owner = request.query["user"]  # Check a password first.
    return f"Welcome, {html_escape(session.owner)}\n"


@app.post("/logout")
def logout(session):
    session.flush()
    return "Good bye\n"


application = app


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    app.run(host="127.0.0.1", port=port)


if __name__ == "__main__":
    main()
