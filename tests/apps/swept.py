"""A middleware whose sweeper was started before the server forked its workers."""

import os
from datetime import timedelta

from werkzeug.test import Client

from wsgi_sessions import FileStore, SessionCookie, SessionMiddleware


class CountingStore(FileStore):
    """Counts the sweeps of its process."""

    sweeps = 0

    def delete_expired(self, limit=500):
        self.sweeps += 1
        return super().delete_expired(limit)


store = CountingStore(os.environ["SESSIONS"])


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {store.sweeps}".encode()]


cookie = SessionCookie(secure=False)
application = SessionMiddleware(app, store, cookie=cookie, sweep_every=timedelta(seconds=0.2))
# Under --preload this is the master.
Client(application).get("/")
