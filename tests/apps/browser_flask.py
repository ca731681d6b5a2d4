"""The application that a browser visits, in Flask."""

import browser_pages as pages
from flask import Flask, redirect, request, session

from wsgi_sessions.integrations.flask import WSGISessions


def make_application(store, **options):
    app = Flask(__name__)
    app.add_url_rule("/", view_func=welcome)
    app.add_url_rule("/login", view_func=login_form)
    app.add_url_rule("/login", view_func=log_in, methods=["POST"])
    app.add_url_rule("/logout", view_func=log_out, methods=["POST"])
    app.add_url_rule("/end", view_func=end, methods=["POST"])
    app.add_url_rule("/who", view_func=who)
    app.add_url_rule("/poll", view_func=poll, methods=["POST"])
    app.add_url_rule("/keys", view_func=keys)
    app.add_url_rule("/keys", view_func=put, methods=["POST"])
    app.add_url_rule("/held", view_func=held, methods=["POST"])
    app.add_url_rule("/parallel", view_func=parallel)
    app.add_url_rule("/poller", view_func=poller)
    app.add_url_rule("/frame", view_func=frame)
    WSGISessions(app, store, **options)
    return app


def welcome():
    return pages.welcome(session)


def login_form():
    return pages.LOGIN


def log_in():
    pages.log_in(session, request.form["user"])
    return redirect("./", 303)


def log_out():
    session.flush()
    return redirect("./", 303)


def end():
    return pages.end(session)


def who():
    return pages.who(session)


def poll():
    return pages.poll(session)


def keys():
    return pages.keys(session)


def put():
    return pages.put(session, request.form["key"], request.form["value"])


def held():
    return pages.held(session, request.form["read"])


def parallel():
    return pages.PARALLEL


def poller():
    return pages.POLLER


def frame():
    return pages.frame(request.args["address"])
