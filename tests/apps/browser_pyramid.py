"""The application that a browser visits, in Pyramid."""

import browser_pages as pages
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPSeeOther
from pyramid.response import Response

from wsgi_sessions.integrations.pyramid import session_factory


def make_application(store, **options):
    with Configurator() as config:
        config.set_session_factory(session_factory(store, **options))
        for method, path, view in VIEWS:
            name = f"{method} {path}"
            config.add_route(name, path, request_method=method)
            config.add_view(view, route_name=name)
    return config.make_wsgi_app()


def welcome(request):
    return Response(pages.welcome(request.session))


def login_form(request):
    return Response(pages.LOGIN)


def log_in(request):
    pages.log_in(request.session, request.POST["user"])
    return HTTPSeeOther("./")


def log_out(request):
    request.session.flush()
    return HTTPSeeOther("./")


def end(request):
    return Response(pages.end(request.session))


def who(request):
    return Response(pages.who(request.session))


def poll(request):
    return Response(pages.poll(request.session))


def keys(request):
    return Response(pages.keys(request.session))


def put(request):
    return Response(pages.put(request.session, request.POST["key"], request.POST["value"]))


def held(request):
    return Response(pages.held(request.session, request.POST["read"]))


def parallel(request):
    return Response(pages.PARALLEL)


def poller(request):
    return Response(pages.POLLER)


def frame(request):
    return Response(pages.frame(request.GET["address"]))


VIEWS = [
    ("GET", "/", welcome),
    ("GET", "/login", login_form),
    ("POST", "/login", log_in),
    ("POST", "/logout", log_out),
    ("POST", "/end", end),
    ("GET", "/who", who),
    ("POST", "/poll", poll),
    ("GET", "/keys", keys),
    ("POST", "/keys", put),
    ("POST", "/held", held),
    ("GET", "/parallel", parallel),
    ("GET", "/poller", poller),
    ("GET", "/frame", frame),
]
