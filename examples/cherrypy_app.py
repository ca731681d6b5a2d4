"""CherryPy: wrap the application, and find the session in the environ of ``cherrypy.request``.

Run ``python examples/cherrypy_app.py 8000``, then
``curl -c jar -b jar -d user=anna http://127.0.0.1:8000/login``.
"""

import sys
from html import escape
from wsgiref.simple_server import make_server

import cherrypy

from wsgi_sessions import MemoryStore, SessionCookie, SessionMiddleware, get_session


def current_session():
    return get_session(cherrypy.request.wsgi_environ)


class Root:
    @cherrypy.expose
    def index(self):
        session = current_session()
        # Of two requests at once, mutate counts both.
        visits = session.mutate("visits", lambda visits: visits + 1, default=0)
        return f"Visit number {visits} of {escape(session.owner or 'a guest')}\n"

    @cherrypy.expose
    @cherrypy.tools.allow(methods=["POST"])
    def login(self, user):
        session = current_session()
        session.cycle_id()  # A new cookie: whoever knows the old one does not get in with us.
        session.owner = user  # Check a password first.
        return f"Welcome, {escape(session.owner)}\n"

    @cherrypy.expose
    @cherrypy.tools.allow(methods=["POST"])
    def logout(self):
        current_session().flush()
        return "Good bye\n"


app = cherrypy.Application(Root())

# The example speaks plain http; leave secure out wherever there is https.
cookie = SessionCookie(secure=False)
# FileStore or a database instead, where the server has several processes.
application = SessionMiddleware(app, MemoryStore(), cookie=cookie)


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    make_server("127.0.0.1", port, application).serve_forever()


if __name__ == "__main__":
    main()
