"""The desk over each store of $STORES, all of which have been used before the server forked its workers.

``/redis/get?key=a`` is the desk's ``/get?key=a`` over the store that $STORES, a JSON object of URLs, calls redis.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor

from desk import app
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from wsgi_sessions import SessionCookie, SessionMiddleware, store_from_url

cookie = SessionCookie(secure=False)
desks = {
    name: SessionMiddleware(app, store_from_url(url), cookie=cookie)
    for name, url in json.loads(os.environ["STORES"]).items()
}
application = DispatcherMiddleware(app, {f"/{name}": desk for name, desk in desks.items()})


def warm_up(desk):
    client = Client(desk)
    for page in ("/login?user=anna", "/put?key=a&value=b", "/get?key=a", "/logout"):
        assert client.post(page).status_code == 200


# Under --preload this is the master. At once, so that the stores have several connections.
with ThreadPoolExecutor(4) as pool:
    list(pool.map(warm_up, 10 * list(desks.values())))
