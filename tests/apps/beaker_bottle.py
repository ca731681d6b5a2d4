"""A shop in Bottle, as they are written for Beaker."""

from datetime import datetime

import bottle
from beaker.middleware import SessionMiddleware
from bottle import request

app = bottle.Bottle()


def session():
    return request.environ.get("beaker.session")


@app.get("/")
def index():
    s = session()
    s["visits"] = s.get("visits", 0) + 1
    s.save()
    return f"{s.get('user', 'stranger')}, visit {s['visits']}"


@app.post("/login/<name>")
def login(name):
    s = session()
    s["user"] = name
    s["since"] = datetime(2024, 2, 29, 12, 34, 56)
    s["roles"] = ("editor", "reader")
    s.regenerate_id()
    s.save()
    bottle.redirect("/")


@app.post("/cart/<item>")
def add(item):
    s = session()
    if not s.has_key("cart"):
        s["cart"] = []
    s["cart"].append(item)
    s.save()
    return f"{len(s['cart'])} in the cart"


@app.get("/account")
def account():
    s = session()
    if "user" not in s:
        bottle.abort(401, "log in first")
    own = sorted(key for key in s if not key.startswith("_"))
    return f"{s['user']} since {s['since'].isoformat()} as {s['roles']!r}: {own} {s.get('cart')}"


@app.get("/facts")
def facts():
    s = session()
    previous = s.last_accessed is not None and s.last_accessed >= s.created
    own = sorted(dict(**s).keys() & {"user", "cart"})
    return f"new {s.is_new}, true {bool(s)}, previous {previous}, {own}"


@app.post("/token/<name>")
def token(name):
    s = request.environ["beaker.get_session"]()
    s["user"] = name
    s.save()
    return s.id


@app.get("/token/<id>")
def owner(id):
    s = session().get_by_id(id)
    return "nobody's" if s is None else s["user"]


@app.post("/forget")
def forget():
    s = session()
    s.invalidate()
    s["hint"] = "welcome back"
    s.save()
    return f"{s.was_invalidated} {sorted(key for key in s if not key.startswith('_'))}"


@app.post("/logout")
def logout():
    session().delete()
    return "bye"


def make_application(config):
    return SessionMiddleware(app, config)
