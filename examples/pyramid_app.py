"""Pyramid: wrap what ``make_wsgi_app`` returns, and find the session in the environ of the request.

Run ``python examples/pyramid_app.py 8000``, then
``curl -c jar -b jar -X POST 'http://127.0.0.1:8000/login?user=anna'``.
"""

import sys
from wsgiref.simple_server import make_server

from pyramid.config import Configurator

from wsgi_sessions import MemoryStore, SessionCookie, SessionMiddleware, get_session


def index(request):
    session = get_session(request.environ)
    # Of two requests at once, mutate counts both.
    visits = session.mutate("visits", lambda visits: visits + 1, default=0)
    return f"Visit number {visits} of {session.owner or 'a guest'}\n"


def login(request):
    session = get_session(request.environ)
    session.cycle_id()  # A new cookie: whoever knows the old one does not get in with us.
    session.owner = request.params["user"]  # Check a password first.
    return f"Welcome, {session.owner}\n"


def logout(request):
    get_session(request.environ).flush()
    return "Good bye\n"


with Configurator() as config:
    for method, path, view in (("GET", "/", index), ("POST", "/login", login), ("POST", "/logout", logout)):
        config.add_route(view.__name__, path, request_method=method)
        config.add_view(view, route_name=view.__name__, renderer="string")

# The example speaks plain http; leave secure out wherever there is https.
cookie = SessionCookie(secure=False)
# FileStore or a database instead, where the server has several processes.
application = SessionMiddleware(config.make_wsgi_app(), MemoryStore(), cookie=cookie)


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    make_server("127.0.0.1", port, application).serve_forever()


if __name__ == "__main__":
    main()
