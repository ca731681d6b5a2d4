"""Flask: WSGISessions makes ``flask.session`` ours.

Run ``python examples/flask_app.py 8000``, then
``curl -c jar -b jar -X POST 'http://127.0.0.1:8000/login?user=anna'``.
"""

import sys
from wsgiref.simple_server import make_server

from flask import Flask, request, session
from markupsafe import escape

from wsgi_sessions import MemoryStore, SessionCookie
from wsgi_sessions.integrations.flask import WSGISessions

app = Flask(__name__)
# FileStore or a database instead, where the server has several processes.
# The example speaks plain http; leave the cookie out wherever there is https.
WSGISessions(app, MemoryStore(), cookie=SessionCookie(secure=False))


@app.get("/")
def index():
    # Of two requests at once, mutate counts both.
    visits = session.mutate("visits", lambda visits: visits + 1, default=0)
    return f"Visit number {visits} of {escape(session.owner or 'a guest')}\n"


@app.post("/login")
def login():
    session.cycle_id()  # A new cookie: whoever knows the old one does not get in with us.
    session.owner = request.args["user"]  # Check a password first.
    return f"Welcome, {escape(session.owner)}\n"


@app.post("/logout")
def logout():
    session.flush()
    return "Good bye\n"


application = app


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    make_server("127.0.0.1", port, application).serve_forever()


if __name__ == "__main__":
    main()
