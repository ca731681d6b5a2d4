"""One cookie of another library in one request, and the session of ours that it comes to."""

from __future__ import annotations

import base64
import hmac
import logging
import os
from contextlib import suppress
from datetime import timedelta

from . import clock, codec
from .exceptions import RecordExists, RecordNotFound, StoreError, VersionConflict
from .expiry import OnInactivity
from .legacy import LegacyError, LegacySession, LegacySource, Reason
from .notes import ENDED, Note, encode_note, encoded, note_id, open_note, salt_id
from .presented import Presented, Standing, verify
from .record import SCHEMA, Envelope, Record, seal
from .settings import Settings
from .token import SessionToken

_log = logging.getLogger("wsgi_sessions.migration")

# How long requests that were sent before our cookie arrived may still come to the new session. Milliseconds.
_JOINING = 60_000
# How long the note of a session without an end is kept: ten years.
_FOREVER = 10 * 365 * 24 * 60 * 60 * 1000
_SALT_BYTES = 16


class Arrival:
    """One legacy cookie in one request.

    :raises LegacyError: if it is not one of its system's.
    """

    def __init__(self, settings: Settings, source: LegacySource, cookie: str) -> None:
        self.source = source
        self._settings = settings
        self._store = settings.store
        self._cookie = cookie
        self._identities = source.identify(cookie)
        self._ids = [note_id(source.system, identity) for identity in self._identities]

    def take(self, retires: bool) -> tuple[Presented, tuple[tuple[str, str], ...] | None]:
        """Return our session, and what was dropped for it; None for that if another request has made it a moment ago.

        :raises LegacyError: if there is none.
        :raises StoreError: if a store failed.
        """
        note, record = self._noted()
        if note is not None and note.id:
            return self._join(note, retires), None
        try:
            session, end, kept_until = self._read(note, record)
        except LegacyError:
            # The request that was faster has deleted it.
            note, _ = self._noted()
            if note is not None and note.id:
                return self._join(note, retires), None
            raise
        return self._make(session, record, end, _FOREVER if not retires or kept_until is None else kept_until, retires)

    def forget(self) -> None:
        """Note that the session has ended, unless it is noted already."""
        note, record = self._noted()
        if note is None or not note.id:
            self._remember(Note(SCHEMA, ENDED, 0), record, _FOREVER)

    def removals(self, retires: bool) -> list[tuple[str, str]]:
        """Return the headers that remove its cookie, once ours is sent."""
        ours = self._settings.cookie
        return self.source.removals(ours) if retires and ours is not None else []

    def _make(
        self, session: LegacySession, imported: Record | None, end: int | None, kept_until: int, retires: bool
    ) -> tuple[Presented, tuple[tuple[str, str], ...] | None]:
        """Store a salt, the session and the note, in this order, so that whoever finds one finds what went before."""
        now, salt = clock.now(), os.urandom(_SALT_BYTES)
        token = SessionToken(SessionToken.generate().id, self._secret(salt))
        ours, envelope = self._ours(session, token, end)
        try:
            self._store.create(Record(salt_id(token.id), salt, now + _JOINING))
            self._store.create(ours)
            is_first = self._remember(Note(SCHEMA, token.id, now), imported, kept_until)
        except StoreError:
            self._drop(token.id)
            raise
        if not is_first:
            self._drop(token.id)
            note, _ = self._noted()
            if note is None or not note.id:
                raise LegacyError(Reason.REPLAYED)
            return self._join(note, retires), None
        if retires:
            self._discard()
        return self._presented(ours, envelope, token, retires), session.dropped

    def _drop(self, id: str) -> None:
        """Delete what turned out to be in vain, if the store lets us; nobody knows its token, and it ends by itself."""
        with suppress(StoreError):
            self._store.delete(id)
            self._store.delete(salt_id(id))

    def _noted(self) -> tuple[Note | None, Record | None]:
        for id in self._ids:
            record = self._store.load(id)
            if record is not None:
                return open_note(record), record
        return None, None

    def _read(self, note: Note | None, record: Record | None) -> tuple[LegacySession, int | None, int | None]:
        """Return the session, its end and that of its cookie: from the note if it was imported, or from its source."""
        if note is not None and record is not None:
            try:
                data = {key: codec.decode(value) for key, value in note.data.items()}
            except ValueError:
                raise LegacyError(Reason.CORRUPT, "what was imported of it") from None
            session = LegacySession(data=data, created=note.created, persistent=note.persistent)
            return session, record.expires, note.end
        session = self.source.open(self._cookie)
        if session.expires is not None and session.expires <= clock.now():
            raise LegacyError(Reason.EXPIRED)
        return session, session.expires, session.expires

    def _ours(self, session: LegacySession, token: SessionToken, end: int | None) -> tuple[Record, Envelope]:
        now, settings = clock.now(), self._settings
        created = now if session.created is None else min(session.created, now)
        ends = [settings.expiry.expires(now)]
        if end is not None:
            ends.append(end)
        elif session.accessed is not None:
            ends.append(settings.expiry.expires(session.accessed))
        if settings.max_lifetime is not None:
            ends.append(created + settings.max_lifetime)
        if min(ends) <= now:
            raise LegacyError(Reason.EXPIRED)
        policy = None
        if session.persistent and not settings.expiry.persistent:
            policy = OnInactivity(timedelta(milliseconds=ends[0] - now)).dump()
        hashed = token.secret_hash()
        envelope = Envelope(SCHEMA, token.id, created, hashed, None, 0, policy, encoded(session.data))
        payload = seal(envelope)
        if len(payload) > settings.max_payload:
            raise LegacyError(Reason.UNSTORABLE, f"{len(payload)} bytes, over the limit of {settings.max_payload}")
        return Record(token.id, payload, min(ends)), envelope

    def _remember(self, note: Note, imported: Record | None, kept_until: int) -> bool:
        """Store the note; False if another request was faster."""
        expires = max(clock.now() + _JOINING, clock.now() + _FOREVER if kept_until == _FOREVER else kept_until)
        payload = encode_note(note)
        try:
            if imported is None:
                self._insert(Record(self._ids[0], payload, expires))
            else:
                self._store.save(Record(imported.id, payload, expires, imported.version))
        except (RecordExists, VersionConflict, RecordNotFound):
            return False
        if self._store.atomic:
            return True
        # Here the last one wins, which all of them see.
        stored, _ = self._noted()
        return stored is not None and stored.id == note.id

    def _insert(self, record: Record) -> None:
        try:
            self._store.create(record)
        except RecordExists:
            if self._store.load(record.id) is not None:
                raise
            # An imported one that has ended, and that nobody has swept.
            self._store.delete(record.id)
            self._store.create(record)

    def _join(self, note: Note, retires: bool) -> Presented:
        """Return the session that another request has made of the same one a moment ago."""
        salt = self._store.load(salt_id(note.id))
        if salt is None or clock.now() - note.taken > _JOINING:
            raise LegacyError(Reason.REPLAYED)
        presented = verify(self._settings, SessionToken(note.id, self._secret(salt.payload)))
        if presented.record is None or presented.envelope is None or presented.token is None:
            if presented.standing is Standing.NEW:
                raise LegacyError(Reason.REPLAYED)
            return presented
        return self._presented(presented.record, presented.envelope, presented.token, retires)

    def _secret(self, salt: bytes) -> str:
        """Return the secret that all requests with this session's cookie come to, as long as the salt is there."""
        digest = hmac.digest(salt, self._identities[0].encode("utf-8", "surrogatepass"), "sha256")[:16]
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def _presented(self, record: Record, envelope: Envelope, token: SessionToken, retires: bool) -> Presented:
        return Presented(record, envelope, token, is_taken_over=True, removals=tuple(self.removals(retires)))

    def _discard(self) -> None:
        try:
            self.source.discard(self._cookie)
        except StoreError:
            # The note holds, so it cannot come back by its cookie.
            _log.warning("a session of %s was taken over and not deleted there", self.source.system, exc_info=True)
