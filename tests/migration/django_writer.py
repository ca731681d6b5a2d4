"""Writes sessions with the Django that is installed, in a process of its own: its settings can be set only once.

Takes a JSON object: ``settings``, and ``sessions``: for each the engine, and the data. Prints the cookies, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module

import django
from django.conf import settings
from django.core.management import call_command


def main() -> None:
    asked = json.loads(sys.argv[1])
    settings.configure(INSTALLED_APPS=["django.contrib.sessions"], LOGGING_CONFIG=None, **asked["settings"])
    # As a settings module does, and configure() does not.
    os.environ["TZ"] = settings.TIME_ZONE
    time.tzset()
    django.setup()
    call_command("migrate", verbosity=0)
    call_command("createcachetable", verbosity=0)
    cookies = []
    for engine, data, expiry in asked["sessions"]:
        session = import_module(f"django.contrib.sessions.backends.{engine}").SessionStore()
        session.update(data)
        session.set_expiry(expiry)
        session.save()
        cookies.append(session.session_key)
    sys.stdout.write(json.dumps(cookies))


if __name__ == "__main__":
    main()
