"""A notebook in Pyramid, as they are written for Beaker."""

from beaker.middleware import SessionMiddleware
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPForbidden, HTTPFound
from pyramid.response import Response


def session_of(request):
    return request.environ["beaker.session"]


def index(request):
    s = request.sessions
    s["visits"] = s.setdefault("visits", 0) + 1
    s.save()
    return Response(f"{s.get('user', 'stranger')}, visit {s['visits']}")


def login(request):
    s = request.sessions
    s.invalidate()
    s.update(user=request.matchdict["name"], notes=[{"title": "first", "tags": {"a"}}])
    s.save()
    return HTTPFound("/")


def write(request):
    s = request.sessions
    if "user" not in s:
        raise HTTPForbidden("log in first")
    s["notes"].append({"title": request.matchdict["title"], "tags": set()})
    s.save()
    return Response(repr([note["title"] for note in s["notes"]]))


def read(request):
    s = request.sessions
    return Response(repr([(note["title"], note["tags"]) for note in s.get("notes", [])]))


def change_mind(request):
    s = request.sessions
    s["user"] = "somebody else"
    s.revert()
    return Response(f"{s['user']} {s.dirty()}")


def remember(request):
    s = request.sessions
    s._set_cookie_expires(False)
    s._update_cookie_out()
    s.save()
    return Response("remembered")


def logout(request):
    request.sessions.delete()
    return Response("bye")


def make_application(config):
    with Configurator() as configurator:
        configurator.add_request_method(session_of, "sessions", reify=True)
        for name, pattern, view in (
            ("index", "/", index),
            ("login", "/login/{name}", login),
            ("write", "/write/{title}", write),
            ("read", "/read", read),
            ("change_mind", "/change_mind", change_mind),
            ("remember", "/remember", remember),
            ("logout", "/logout", logout),
        ):
            configurator.add_route(name, pattern)
            configurator.add_view(view, route_name=name)
        app = configurator.make_wsgi_app()
    return SessionMiddleware(app, config)
