"""Server-side sessions as middleware for every synchronous Python web app.

>>> from wsgi_sessions import MemoryStore, SessionMiddleware, get_session
>>> def app(environ, start_response):
...     session = get_session(environ)
...     session["visits"] = session.get("visits", 0) + 1
...     start_response("200 OK", [("Content-Type", "text/plain")])
...     return [b"%d" % session["visits"]]
>>> application = SessionMiddleware(app, MemoryStore())
"""

from .cookies.cookie import SessionCookie
from .cookies.signed import SignedCookie
from .exceptions import (
    HeadersSent,
    RecordExists,
    RecordNotFound,
    SerializationError,
    SessionDeleted,
    SessionError,
    SessionFrozen,
    SessionMissing,
    SessionTooLarge,
    StoreError,
    VersionConflict,
)
from .expiry import AtDateTime, OnInactivity, OnSessionEnd
from .middleware import SessionMiddleware, get_session, open_session
from .record import Record
from .session import Session
from .stores.base import SessionStore
from .stores.cachelib import CachelibStore
from .stores.caching import CachingStore
from .stores.file import FileStore
from .stores.memory import MemoryStore
from .stores.migrating import MigratingStore
from .stores.sqlite import SQLiteStore
from .stores.url import store_from_url
from .sweeper import Sweeper
from .token import SessionToken

__all__ = [
    "AtDateTime",
    "CachelibStore",
    "CachingStore",
    "FileStore",
    "HeadersSent",
    "MemoryStore",
    "MigratingStore",
    "OnInactivity",
    "OnSessionEnd",
    "Record",
    "RecordExists",
    "RecordNotFound",
    "SQLiteStore",
    "SerializationError",
    "Session",
    "SessionCookie",
    "SessionDeleted",
    "SessionError",
    "SessionFrozen",
    "SessionMiddleware",
    "SessionMissing",
    "SessionStore",
    "SessionToken",
    "SessionTooLarge",
    "SignedCookie",
    "StoreError",
    "Sweeper",
    "VersionConflict",
    "get_session",
    "open_session",
    "store_from_url",
]
