"""All sessions of a legacy system's storage into one of our stores, before their visitors come.

Nobody is logged in by it: each session waits in the store, under what identified it there, until its visitor presents
the legacy cookie to a middleware that has the source among its ``legacy``. From then on the old storage is not needed.
Sessions that are in cookies alone need no import, and there is none.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

from .. import clock
from ..exceptions import RecordExists, SerializationError, SessionTooLarge
from ..legacy import LegacyError, LegacySession, Reason
from ..notes import imported_record
from ..record import Record
from ..settings import MAX_PAYLOAD
from ..stores.base import SessionStore
from .base import Imported, Source

# What a storage has of no use to anybody: the marks of what was ended there, and what was deleted while it was read.
_ENDED = (Reason.DELETED, Reason.NOT_FOUND)
# How much a report remembers, whatever the sessions hold: names of keys may come from visitors.
_MOST_CAUSES = 50
_MOST_EXAMPLES = 3
_LONGEST = 120
_OTHERS = "others"


class Causes:
    """How often something happened, by its cause, and where for example; in bounded memory."""

    def __init__(self) -> None:
        #: By cause; what comes after the first fifty causes is counted as ``others``.
        self.counts: Counter[str] = Counter()
        #: The first places of each cause.
        self.examples: dict[str, list[str]] = {}

    def add(self, cause: str, where: str) -> None:
        """Count one more."""
        cause = cause[:_LONGEST]
        if cause not in self.counts and len(self.counts) >= _MOST_CAUSES:
            cause = _OTHERS
        self.counts[cause] += 1
        examples = self.examples.setdefault(cause, [])
        where = where[:_LONGEST]
        if len(examples) < _MOST_EXAMPLES and where not in examples:
            examples.append(where)

    @property
    def total(self) -> int:
        """How often, whatever the cause."""
        return self.counts.total()


class Report:
    """What an import has come to, so far or in the end."""

    def __init__(self) -> None:
        #: How many sessions the storage has yielded: each is one of the next six.
        self.read = 0
        #: Stored now; in a dry run, what would be.
        self.imported = 0
        #: Imported before, or taken over since: left alone.
        self.already_there = 0
        #: By the legacy system's rules.
        self.expired = 0
        #: Logged out there, or gone between two looks.
        self.ended = 0
        #: By reason; the places are the storage's names of sessions.
        self.unreadable = Causes()
        #: What sessions that were imported had to leave behind, by reason; the places are keys.
        self.dropped = Causes()


def import_sessions(
    source: Source,
    store: SessionStore,
    *,
    default_lifetime: timedelta,
    dry_run: bool = False,
    max_payload: int = MAX_PAYLOAD,
    report: Report | None = None,
    on_progress: Callable[[Report], object] | None = None,
) -> Report:
    """Import what a legacy system has stored, and return what came of it.

    It can be repeated, also after it was interrupted: what was imported before, or has been taken over since, is left
    alone. The legacy storage is not changed.

    :param source: as the middleware will have it among its ``legacy``; its secrets do not matter here unless
        they are needed to read what is stored.
    :param store: the one that the middleware has.
    :param default_lifetime: how long to keep a session for its visitor that has no end of its own: after its last use,
        or from now where the system does not tell that.
    :param dry_run: write nothing, and count what would be written.
    :param max_payload: as the middleware has it: what is larger could not be taken over.
    :param report: an empty one to fill in, for who wants to know how far it came when it fails.
    :param on_progress: called with the report after each session.
    :raises ValueError: if a limit is not positive.
    :raises NotImplementedError: if the system keeps its sessions in cookies only.
    :raises StoreError: if either side failed; what had been imported stays so.
    """
    if default_lifetime <= timedelta(0):
        raise ValueError("default_lifetime must be positive")
    if max_payload < 1:
        raise ValueError("max_payload must be positive")
    lifetime = max(1, default_lifetime // timedelta(milliseconds=1))
    importing = _Importing(report or Report(), source.system, store, lifetime, max_payload)
    create: Callable[[Record], None] = store.create
    if dry_run:
        # To look into a store in a directory or a file makes it.
        create = importing.pretend if _is_made(store) else _pass_over
    for found in source.scan():
        importing.add(found, create)
        if on_progress is not None:
            on_progress(importing.report)
    return importing.report


class _Importing:
    def __init__(
        self, report: Report, system: str, store: SessionStore, default_lifetime: int, max_payload: int
    ) -> None:
        self.report = report
        self._system = system
        self._store = store
        self._default_lifetime = default_lifetime
        self._max_payload = max_payload

    def add(self, found: Imported, create: Callable[[Record], None]) -> None:
        """Import one session, or count why not."""
        report = self.report
        report.read += 1
        try:
            session = _session_of(found)
            create(self._record(found.identity, session))
        except RecordExists:
            report.already_there += 1
        except LegacyError as error:
            self._count(error, found.where)
        except (SerializationError, SessionTooLarge) as error:
            self._count(LegacyError(Reason.UNSTORABLE, str(error)), found.where)
        else:
            report.imported += 1
            for path, why in session.dropped:
                report.dropped.add(why, path)

    def pretend(self, record: Record) -> None:
        """Do as the store's ``create`` would, without writing."""
        if self._store.load(record.id) is not None:
            raise RecordExists

    def _record(self, identity: str, session: LegacySession) -> Record:
        now = clock.now()
        expires = session.expires
        if expires is None:
            expires = (now if session.accessed is None else session.accessed) + self._default_lifetime
        if expires <= now:
            raise LegacyError(Reason.EXPIRED)
        record = imported_record(self._system, identity, session, expires)
        if len(record.payload) > self._max_payload:
            raise LegacyError(Reason.UNSTORABLE, f"over the limit of {self._max_payload} bytes")
        return record

    def _count(self, error: LegacyError, where: str) -> None:
        if error.reason is Reason.EXPIRED:
            self.report.expired += 1
        elif error.reason in _ENDED:
            self.report.ended += 1
        else:
            self.report.unreadable.add(str(error), where)


def _session_of(found: Imported) -> LegacySession:
    if found.session is None:
        raise found.error or LegacyError(Reason.CORRUPT)
    return found.session


def _is_made(store: SessionStore) -> bool:
    places = (getattr(store, name, None) for name in ("directory", "path"))
    return all(os.path.lexists(place) for place in places if isinstance(place, str))


def _pass_over(_record: Record) -> None: ...
