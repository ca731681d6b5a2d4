"""One cookie of another library in one request, and the session of ours that it comes to."""

from __future__ import annotations

import base64
import hmac
import logging
import os
from contextlib import suppress
from datetime import timedelta

import msgspec

from . import clock, codec
from .exceptions import RecordExists, StoreError
from .expiry import Expiry, OnInactivity
from .legacy import LegacyError, LegacySession, LegacySource, Reason
from .notes import (
    ENDED,
    Note,
    Noted,
    encode_origin,
    encoded,
    look_for_note,
    note_id,
    origin_id,
    salt_id,
    store_note,
)
from .presented import Presented, Standing, verify
from .record import SCHEMA, Envelope, Record, seal
from .settings import Settings
from .token import SessionToken

_log = logging.getLogger("wsgi_sessions.migration")

#: How long requests that were sent before our cookie arrived may still come to the new session. Milliseconds.
JOINING = 60_000
# For how long they may if no response has told the browser of it. A day.
_JOINING_LOST = 24 * 60 * 60 * 1000
# For longer than the legacy session may go on without us: old processes that still run may renew it. A day.
_MARGIN = 24 * 60 * 60 * 1000
# How long the note of a session without an end is kept: ten years.
_FOREVER = 10 * 365 * 24 * 60 * 60 * 1000
_SALT_BYTES = 16
# How often an import may come in between.
_ROUNDS = 4


class _Found(msgspec.Struct, frozen=True):
    """What is to become one of ours.

    :param end: when it is to end at the latest, Unix milliseconds; None for when ours would.
    :param kept: until when it is remembered that it was taken over, Unix milliseconds.
    """

    session: LegacySession
    end: int | None
    kept: int


class Arrival:
    """One legacy cookie in one request.

    :param retires: what the legacy system has stored goes.
    :raises LegacyError: if it is not one of its system's.
    """

    #: What could not be taken along, once this request has made a session of it; None as long as none has been made.
    dropped: tuple[tuple[str, str], ...] | None = None
    #: The session that this request is the first to come to; None if another one has told the browser of it, or will.
    first_of: str | None = None

    def __init__(self, settings: Settings, source: LegacySource, cookie: str, *, retires: bool) -> None:
        self.source = source
        self._settings = settings
        self._store = settings.store
        self._cookie = cookie
        self._retires = retires
        self._identities = source.identify(cookie)
        self._ids = [note_id(source.system, identity) for identity in self._identities]

    def take(self) -> Presented:
        """Return our session.

        :raises LegacyError: if there is none.
        :raises StoreError: if a store failed.
        """
        noted = self._noted()
        if noted is None or not noted.is_over:
            try:
                return self._make(self._read(noted), noted)
            except LegacyError as error:
                # The request that was faster may have deleted it.
                noted = self._noted() if error.reason is Reason.NOT_FOUND else None
                if noted is None or not noted.is_over:
                    raise
        return self._join(noted)

    def lose(self) -> None:
        """Let requests with the cookie come to the session for a day: no response tells the browser of it.

        :raises LegacyError: if what was noted of it cannot be read.
        :raises StoreError: if our store failed.
        """
        noted = self._noted()
        if noted is None or noted.note.id != self.first_of:
            return
        salt = self._store.load(salt_id(noted.note.id))
        if salt is not None:
            self._count_from(noted, salt, clock.now() + _JOINING_LOST - JOINING)

    def forget(self) -> bool:
        """Note of a session that could be taken over that it has ended, and delete it there; False if it could not.

        :raises LegacyError: if it has ended there.
        :raises StoreError: if our store failed.
        """
        noted = self._noted()
        if noted is not None and noted.is_over:
            return False
        try:
            kept = self._read(noted).kept
        except StoreError:
            kept = self._kept(None)
        self._remember(Note(SCHEMA, ENDED, 0), kept, noted)
        self._discard()
        return True

    def _noted(self) -> Noted | None:
        return look_for_note(self._store, self._ids)

    def _read(self, imported: Noted | None) -> _Found:
        """Return the session as its source has it, or else as it was imported."""
        try:
            session = self.source.open(self._cookie)
        except LegacyError as error:
            if imported is None or error.reason is not Reason.NOT_FOUND:
                raise
        except StoreError:
            # What was imported does not need the old storage.
            if imported is None:
                raise
        else:
            if session.expires is not None and session.expires <= clock.now():
                raise LegacyError(Reason.EXPIRED)
            return _Found(session, session.expires, self._kept(session.expires))
        note = imported.note
        try:
            data = {key: codec.decode(value) for key, value in note.data.items()}
        except ValueError:
            raise LegacyError(Reason.CORRUPT, "what was imported of it") from None
        session = LegacySession(data=data, created=note.created, expires=note.end, persistent=note.persistent)
        return _Found(session, imported.record.expires, self._kept(note.end))

    def _join(self, noted: Noted) -> Presented:
        """Return the session that another request has made of the same one a moment ago.

        :raises LegacyError: if it was not then, or has ended.
        """
        note, now = noted.note, clock.now()
        salt = None if note.id == ENDED else self._store.load(salt_id(note.id))
        if salt is None or now - note.taken > JOINING:
            raise LegacyError(Reason.REPLAYED)
        presented = verify(self._settings, SessionToken(note.id, self._secret(salt.payload)))
        if presented.record is None:
            if presented.standing is Standing.NEW:
                raise LegacyError(Reason.REPLAYED)
            return presented
        if note.taken - now > JOINING:
            # It was lost, and this request is the one to tell of it.
            self.first_of = note.id
            self._count_from(noted, salt, now)
        return msgspec.structs.replace(presented, is_taken_over=True)

    def _count_from(self, noted: Noted, salt: Record, taken: int) -> None:
        """Let requests come to the session until a minute after a moment, unless another one says otherwise."""
        note = Note(SCHEMA, noted.note.id, taken)
        if store_note(self._store, note, self._ids, noted.record.expires, noted):
            self._store.touch(salt.id, salt.version, taken + JOINING)

    def _make(self, found: _Found, noted: Noted | None) -> Presented:
        """Store what leads to the session and then the session, so that whoever finds it finds what went before."""
        salt = os.urandom(_SALT_BYTES)
        token = SessionToken.generate()
        personal = found.session.personal
        if personal:
            token = SessionToken(token.id, self._secret(salt))
        ours, envelope = self._ours(found, token)
        try:
            for record in (self._way(found, token.id, salt), ours):
                # Its id was made up here: if it is there, a driver has repeated what had been done.
                with suppress(RecordExists):
                    self._store.create(record)
        except StoreError:
            self._drop(token.id)
            raise
        # If this fails it may have been done: then the next request joins it.
        faster = self._remember(Note(SCHEMA, token.id, clock.now()), found.kept, noted) if personal else None
        if faster is not None:
            self._drop(token.id)
            return self._join(faster)
        self.first_of = token.id
        self.dropped = found.session.dropped
        self._discard()
        return Presented(ours, envelope, token, is_taken_over=True)

    def _remember(self, note: Note, kept: int, noted: Noted | None) -> Noted | None:
        """Store the note; return None if it is there, or the one of another request that was faster."""
        for _ in range(_ROUNDS):
            if store_note(self._store, note, self._ids, kept, noted):
                return None
            noted = self._noted()
            if noted is not None and noted.is_over:
                return noted
            # An import has brought it, or brought it again, in between.
        raise StoreError("what was imported of a session kept changing while it was taken over")

    def _way(self, found: _Found, id: str, salt: bytes) -> Record:
        """Return what leads from a legacy session to one of ours, or back from ours if several may be made of it."""
        if found.session.personal:
            return Record(salt_id(id), salt, clock.now() + JOINING)
        return Record(origin_id(id), encode_origin(self._ids), found.kept)

    def _drop(self, id: str) -> None:
        """Delete what turned out to be in vain, if the store lets us; nobody knows its token, and it ends by itself."""
        for stored in (id, salt_id(id), origin_id(id)):
            with suppress(StoreError):
                self._store.delete(stored)

    def _ours(self, found: _Found, token: SessionToken) -> tuple[Record, Envelope]:
        now, settings, session = clock.now(), self._settings, found.session
        created = now if session.created is None else min(session.created, now)
        policy = _own_policy(settings.expiry, session, now)
        end = (policy or settings.expiry).expires(now)
        if found.end is not None:
            end = min(end, found.end)
        elif session.accessed is not None:
            end = min(end, (policy or settings.expiry).expires(session.accessed))
        if settings.max_lifetime is not None:
            end = min(end, created + settings.max_lifetime)
        if end <= now:
            raise LegacyError(Reason.EXPIRED)
        dumped = None if policy is None else policy.dump()
        envelope = Envelope(SCHEMA, token.id, created, token.secret_hash(), None, 0, dumped, encoded(session.data))
        payload = seal(envelope)
        if len(payload) > settings.max_payload:
            raise LegacyError(Reason.UNSTORABLE, f"{len(payload)} bytes, over the limit of {settings.max_payload}")
        return Record(token.id, payload, end), envelope

    def _kept(self, end: int | None) -> int:
        """Return when a note is to end.

        :param end: of the session there.
        """
        now = clock.now()
        return now + _FOREVER if end is None or not self._retires else max(now + JOINING, end + _MARGIN)

    def _secret(self, salt: bytes) -> str:
        """Return the secret that all requests with this session's cookie come to, as long as the salt is there."""
        digest = hmac.digest(salt, self._identities[0].encode(), "sha256")[:16]
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def _discard(self) -> None:
        if not self._retires:
            return
        try:
            self.source.discard(self._cookie)
        except StoreError:
            # The note holds, so it cannot come back by its cookie.
            _log.warning("a session of %s was taken over and not deleted there", self.source.system, exc_info=True)


def _own_policy(ours: Expiry, session: LegacySession, now: int) -> Expiry | None:
    """Return the policy of a session whose cookie is to outlive the browser; None if the middleware's holds."""
    if not session.persistent or (session.idle is None and ours.persistent):
        return None
    return OnInactivity(timedelta(milliseconds=ours.expires(now) - now if session.idle is None else session.idle))
