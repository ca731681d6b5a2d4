"""All that a browser visits: ``/framework/kind-of-cookie/``; one store, so that a session is the same everywhere."""

import os
from datetime import timedelta
from pathlib import Path

import browser_bottle
import browser_flask
import browser_pyramid
from werkzeug.exceptions import NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from wsgi_sessions import OnInactivity, SessionCookie, store_from_url

FRAMEWORKS = {"flask": browser_flask, "bottle": browser_bottle, "pyramid": browser_pyramid}
# Of one name and two kinds, a browser would have one cookie: each has a name of its own.
KINDS = {
    "default": {},
    "insecure": {"cookie": SessionCookie("insecure", secure=False)},
    "open": {"cookie": SessionCookie("open", http_only=False)},
    "host": {"cookie": SessionCookie("__Host-id")},
    "strict": {"cookie": SessionCookie("strict", same_site="Strict")},
    "none": {"cookie": SessionCookie("none", same_site="None")},
    "partitioned": {"cookie": SessionCookie("partitioned", same_site="None", partitioned=True)},
    "persistent": {"cookie": SessionCookie("persistent"), "expiry": OnInactivity(timedelta(hours=1))},
}

store = store_from_url(Path(os.environ["SESSIONS"]).as_uri())
application = DispatcherMiddleware(
    NotFound(),
    {
        f"/{framework}/{kind}": module.make_application(store, **options)
        for framework, module in FRAMEWORKS.items()
        for kind, options in KINDS.items()
    },
)
