"""The desk over the store that $STORE names."""

import os

from desk import app

from wsgi_sessions import SessionCookie, SessionMiddleware, store_from_url

application = SessionMiddleware(app, store_from_url(os.environ["STORE"]), cookie=SessionCookie(secure=False))
