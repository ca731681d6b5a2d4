"""All sessions of a legacy system's storage into one of our stores, before their visitors come.

Nobody is logged in by it: each session waits in the store, under what identified it there, until its visitor presents
the legacy cookie to a middleware that has the source among its ``legacy``. From then on the old storage is not needed.
Sessions that are in cookies alone need no import, and there is none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Protocol

from msgspec.structs import replace

from .. import clock
from ..exceptions import RecordExists, RecordNotFound, SerializationError, SessionTooLarge, VersionConflict
from ..legacy import LegacyError, LegacySession, Reason
from ..notes import encode_note, imported_record, note_id, waiting_note
from ..operations import is_made
from ..record import Record
from ..settings import MAX_PAYLOAD
from ..stores.base import SessionStore
from .base import Imported, Source

# What a storage has of no use to anybody: the marks of what was ended there, and what was deleted while it was read.
_ENDED = (Reason.DELETED, Reason.NOT_FOUND)
# What Redis tells is how much is left, which no two looks see the same of. Milliseconds.
_SAME_END = 10_000
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
        #: How many sessions the storage has yielded: each is one of the next seven.
        self.read = 0
        #: Stored now; in a dry run, what would be.
        self.imported = 0
        #: Imported before and not taken over since, but changed or used there: stored in its place.
        self.renewed = 0
        #: Imported before and the same there, or taken over or ended since: left alone.
        self.already_there = 0
        #: By the legacy system's rules.
        self.expired = 0
        #: Logged out there, or gone between two looks; what had been imported of it opens no session any more.
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

    It can be repeated, also after it was interrupted: what still waits is brought up to date, and what has been taken
    over since, or was ended here, is left alone. What was ended there since, and has left nothing there, goes on
    waiting. The last time is when the legacy application has stopped. The legacy storage is not changed.

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
    target: _Target = _Untouched(store) if dry_run else store
    importing = _Importing(report or Report(), source.system, target, lifetime, max_payload)
    for found in source.scan():
        importing.add(found)
        if on_progress is not None:
            on_progress(importing.report)
    return importing.report


class _Target(Protocol):
    """What an import needs of a store."""

    def create(self, record: Record) -> None: ...
    def load(self, id: str) -> Record | None: ...
    def save(self, record: Record) -> Record: ...
    def delete(self, id: str) -> None: ...


class _Untouched:
    """Answers as a store would, and writes nothing."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        # To look into a store in a directory or a file makes it.
        self._is_made = is_made(store)

    def create(self, record: Record) -> None:
        if self.load(record.id) is not None:
            raise RecordExists

    def load(self, id: str) -> Record | None:
        return self._store.load(id) if self._is_made else None

    def save(self, record: Record) -> Record:
        return record

    def delete(self, id: str) -> None: ...


class _Importing:
    def __init__(self, report: Report, system: str, target: _Target, default_lifetime: int, max_payload: int) -> None:
        self.report = report
        self._system = system
        self._target = target
        self._default_lifetime = default_lifetime
        self._max_payload = max_payload

    def add(self, found: Imported) -> None:
        """Import one session, or count why not."""
        report = self.report
        report.read += 1
        try:
            session = _session_of(found)
            is_new = self._store(self._record(found.identity, session), session)
        except (RecordExists, RecordNotFound, VersionConflict):
            report.already_there += 1
        except LegacyError as error:
            if error.reason in _ENDED:
                self._end(found.identity)
            self._count(error, found.where)
        except (SerializationError, SessionTooLarge) as error:
            self._count(LegacyError(Reason.UNSTORABLE, str(error)), found.where)
        else:
            report.imported += is_new
            report.renewed += not is_new
            for path, why in session.dropped:
                report.dropped.add(why, path)

    def _store(self, record: Record, session: LegacySession) -> bool:
        """Store a session; return whether it is new, or was there and went on where it comes from.

        :raises RecordExists: if it is there as it is; this or one of the next two, if somebody else was faster.
        :raises RecordNotFound: see above.
        :raises VersionConflict: see above.
        """
        try:
            self._target.create(record)
        except RecordExists:
            stored = self._target.load(record.id)
            if stored is not None:
                if not _went_on(stored, record, session):
                    raise
                self._target.save(replace(record, version=stored.version))
                return False
            # One that has ended, and that nobody has swept.
            self._target.delete(record.id)
            self._target.create(record)
        return True

    def _end(self, identity: str) -> None:
        """Take back what was imported before of a session that has ended there, unless it has been taken over."""
        stored = self._target.load(note_id(self._system, identity))
        # Its visitor may be faster, which a delete would not tell.
        if stored is not None and waiting_note(stored) is not None:
            with suppress(RecordNotFound, VersionConflict):
                self._target.save(replace(stored, expires=clock.now()))

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


def _went_on(stored: Record, record: Record, session: LegacySession) -> bool:
    """Tell whether a session still waits, and not as it is now where it comes from."""
    note = waiting_note(stored)
    if note is None:
        return False
    if encode_note(replace(note, end=session.expires)) != record.payload:
        return True
    has_moved = abs(stored.expires - record.expires) > _SAME_END
    # Otherwise the end is counted from now, each time.
    return has_moved and (session.expires is not None or session.accessed is not None)
