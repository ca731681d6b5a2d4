"""The desk over a directory on a small disk, that $SESSIONS is a link to: FileStore itself follows none."""

import os

from desk import app

from wsgi_sessions import FileStore, SessionCookie, SessionMiddleware

directory = os.path.realpath(os.environ["SESSIONS"])
application = SessionMiddleware(app, FileStore(directory + "/kept"), cookie=SessionCookie(secure=False))
