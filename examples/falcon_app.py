"""Falcon: wrap the application, and find the session in the environ of the request, ``req.env``.

Run ``python examples/falcon_app.py 8000``, then
``curl -c jar -b jar -X POST 'http://127.0.0.1:8000/login?user=anna'``.
"""

import sys
from wsgiref.simple_server import make_server

import falcon

from wsgi_sessions import MemoryStore, SessionCookie, SessionMiddleware, get_session


class Index:
    def on_get(self, req, resp):
        session = get_session(req.env)
        # Of two requests at once, mutate counts both.
        visits = session.mutate("visits", lambda visits: visits + 1, default=0)
        resp.text = f"Visit number {visits} of {session.owner or 'a guest'}\n"


class Login:
    def on_post(self, req, resp):
        session = get_session(req.env)
        session.cycle_id()  # A new cookie: whoever knows the old one does not get in with us.
        session.owner = req.get_param("user", required=True)  # Check a password first.
        resp.text = f"Welcome, {session.owner}\n"


class Logout:
    def on_post(self, req, resp):
        get_session(req.env).flush()
        resp.text = "Good bye\n"


app = falcon.App(media_type=falcon.MEDIA_TEXT)
app.add_route("/", Index())
app.add_route("/login", Login())
app.add_route("/logout", Logout())

# The example speaks plain http; leave secure out wherever there is https.
cookie = SessionCookie(secure=False)
# FileStore or a database instead, where the server has several processes.
application = SessionMiddleware(app, MemoryStore(), cookie=cookie)


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    make_server("127.0.0.1", port, application).serve_forever()


if __name__ == "__main__":
    main()
