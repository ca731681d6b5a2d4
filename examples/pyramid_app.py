"""Pyramid: include the integration, and ``request.session`` is the session.

Run ``python examples/pyramid_app.py 8000``, then
``curl -c jar -b jar -X POST 'http://127.0.0.1:8000/login?user=anna'``.
"""

import sys
from wsgiref.simple_server import make_server

from pyramid.config import Configurator


def index(request):
    # Of two requests at once, mutate counts both.
    visits = request.session.mutate("visits", lambda visits: visits + 1, default=0)
    return f"Visit number {visits} of {request.session.owner or 'a guest'}\n"


def login(request):
    request.session.cycle_id()  # A new cookie: whoever knows the old one does not get in with us.
    request.session.owner = request.params["user"]  # Check a password first.
    return f"Welcome, {request.session.owner}\n"


def logout(request):
    request.session.invalidate()
    return "Good bye\n"


settings = {
    # A file or a database instead, where the server has several processes: sqlite:////var/lib/app/sessions.db
    "wsgi_sessions.store": "memory:",
    # The example speaks plain http; leave this out wherever there is https.
    "wsgi_sessions.cookie.secure": "false",
}

with Configurator(settings=settings) as config:
    config.include("wsgi_sessions.integrations.pyramid")
    for method, path, view in (("GET", "/", index), ("POST", "/login", login), ("POST", "/logout", logout)):
        config.add_route(view.__name__, path, request_method=method)
        config.add_view(view, route_name=view.__name__, renderer="string")
    application = config.make_wsgi_app()


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    make_server("127.0.0.1", port, application).serve_forever()


if __name__ == "__main__":
    main()
