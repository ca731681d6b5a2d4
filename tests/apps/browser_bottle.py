"""The application that a browser visits, in Bottle."""

import browser_pages as pages
from bottle import Bottle, redirect, request

from wsgi_sessions.integrations.bottle import SessionPlugin


def make_application(store, **options):
    app = Bottle()
    app.install(SessionPlugin(store, **options))
    app.get("/", callback=welcome)
    app.get("/login", callback=login_form)
    app.post("/login", callback=log_in)
    app.post("/logout", callback=log_out)
    app.post("/end", callback=end)
    app.get("/who", callback=who)
    app.post("/poll", callback=poll)
    app.get("/keys", callback=keys)
    app.post("/keys", callback=put)
    app.post("/held", callback=held)
    app.get("/parallel", callback=parallel)
    app.get("/poller", callback=poller)
    app.get("/frame", callback=frame)
    return app


def welcome(session):
    return pages.welcome(session)


def login_form():
    return pages.LOGIN


def log_in(session):
    pages.log_in(session, request.forms.user)
    redirect("./", 303)


def log_out(session):
    session.flush()
    redirect("./", 303)


def end(session):
    return pages.end(session)


def who(session):
    return pages.who(session)


def poll(session):
    return pages.poll(session)


def keys(session):
    return pages.keys(session)


def put(session):
    return pages.put(session, request.forms.key, request.forms.value)


def held(session):
    return pages.held(session, request.forms.read)


def parallel():
    return pages.PARALLEL


def poller():
    return pages.POLLER


def frame():
    return pages.frame(request.query.address)
