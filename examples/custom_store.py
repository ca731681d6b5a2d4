"""A store of your own: each record as one JSON text, here in a dictionary, in place of a key-value service.

It passes the suite that the stores of this package pass, and this is all it takes::

    class TestDictionaryStore(wsgi_sessions.testing.StoreContract):
        def make_store(self):
            return DictionaryStore()
"""

import sys
from threading import Lock
from wsgiref.simple_server import make_server

from msgspec import json, structs

from wsgi_sessions import Record, SessionCookie, SessionMiddleware, SessionStore, clock, get_session
from wsgi_sessions.exceptions import RecordExists, RecordNotFound, VersionConflict
from wsgi_sessions.stores.base import renew_after_fork


class DictionaryStore(SessionStore):
    """Atomic among the threads of one process, by its lock; other processes see nothing of it."""

    enumerable = False  # Neither scan nor find_by_owner: the suite skips their tests, in sight.

    def __init__(self):
        self._texts = {}
        self._after_fork()
        renew_after_fork(self)

    def _after_fork(self):
        self._lock = Lock()  # Some thread of the parent may hold the old one, for ever.

    def create(self, record):
        with self._lock:
            if record.id in self._texts:
                raise RecordExists(f"there is a record {record.id!r} already")
            self._texts[record.id] = json.encode(record)

    def load(self, id):
        text = self._texts.get(id)
        record = text and json.decode(text, type=Record)
        return record if record and clock.now() < record.expires else None

    def save(self, record):
        with self._lock:  # What came between the comparison and the write would be lost.
            stored = self.load(record.id)
            if stored is None:
                raise RecordNotFound(f"no live record {record.id!r}")
            if stored.version != record.version:
                raise VersionConflict(f"record {record.id!r} is at version {stored.version}")
            saved = structs.replace(record, version=record.version + 1)
            self._texts[record.id] = json.encode(saved)
        return saved

    def delete(self, id):
        with self._lock:
            self._texts.pop(id, None)

    def delete_expired(self, limit=500):
        with self._lock:
            records = (json.decode(text, type=Record) for text in self._texts.values())
            expired = [record for record in records if record.expires <= clock.now()][:limit]
            return [record for record in expired if self._texts.pop(record.id)]


def counter(environ, start_response):
    session = get_session(environ)
    session["visits"] = session.get("visits", 0) + 1
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Visit number %d\n" % session["visits"]]


application = SessionMiddleware(counter, DictionaryStore(), cookie=SessionCookie(secure=False))


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    make_server("127.0.0.1", port, application).serve_forever()


if __name__ == "__main__":
    main()
