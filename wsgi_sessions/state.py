"""What a session knows once it has been used, and how it gets into the store.

The session's way in: ``read`` verifies what was presented. Its way out:
``persist`` creates, saves or touches the record, whichever it takes. A save
never inserts and never overwrites what another request has saved meanwhile:
on a conflict the changes are carried over to the other's version.
"""

from __future__ import annotations

import logging
import random
import threading
from typing import Any

import msgspec

from . import clock
from .exceptions import RecordExists, RecordNotFound, SessionTooLarge, StoreError, VersionConflict
from .expiry import Expiry, load_expiry
from .presented import Presented, Standing, find_presented, load_live
from .record import SCHEMA, Envelope, Record, UnknownSchema, seal
from .settings import Settings
from .token import SessionToken
from .values import Changes, Values

_log = logging.getLogger("wsgi_sessions.security")

# An id has 128 random bits: whoever meets two that are taken has a broken store, not bad luck.
_CREATE_ATTEMPTS = 3
# Conflicts are met at once this many times, then after a pause, then not at all.
_IMMEDIATE_ROUNDS = 4
_LONGEST_PAUSE_SECONDS = 0.02
_PATIENCE_SECONDS = 5.0


class State:
    """One session, loaded. Not safe for threads by itself: hold ``lock``.

    :param settings: what the middleware's sessions have in common.
    """

    # The defaults are those of a session that nobody presented; most requests change few of them.

    is_loaded = False
    #: A store error has been raised to the application.
    store_failed = False
    #: The request presented a live session: the browser has a cookie that may have to go.
    presented = False
    #: Flushed or deleted in this request.
    ended = False
    deleted = False
    #: The response failed: what has not been saved by now never is.
    discarded = False
    #: A token, or a new Max-Age for it, is durable and waits to be sent.
    announce = False
    #: What is stored, as it was loaded or saved last; both None for a session that is not stored.
    record: Record | None = None
    envelope: Envelope | None = None
    #: None also where only the hash of the secret is known: outside of a request.
    token: SessionToken | None = None
    standing = Standing.NEW
    owner: str | None = None
    #: The policy set for this very session; None: the middleware's holds.
    own_expiry: Expiry | None = None
    #: A new token was asked for.
    cycle = False
    is_new = True

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.lock = threading.RLock()

    def read(self, cookie_header: str) -> None:
        """Find out which session was presented, if any.

        :raises StoreError: if the store cannot tell; asking again asks it again.
        """
        self.adopt(find_presented(self.settings, cookie_header))
        self.presented = self.record is not None

    def adopt(self, presented: Presented) -> None:
        """Become that session, without any change to it."""
        envelope = presented.envelope
        if envelope is None:
            self.become_new(presented.standing)
            return
        record = presented.record
        assert record is not None
        self.values = Values(envelope.data)
        self.record = record
        self.envelope = envelope
        self.token = presented.token
        self.created = envelope.created
        self.owner = record.owner
        self.own_expiry = None if envelope.expiry is None else load_expiry(envelope.expiry)
        self.cycle = False
        self.is_new = False
        self.is_loaded = True

    def become_new(self, standing: Standing) -> None:
        """Become a session without a record."""
        self.values = Values({})
        self.record = self.envelope = self.token = self.owner = self.own_expiry = None
        self.created = clock.now()
        self.standing = standing
        self.cycle = False
        self.is_new = True
        self.is_loaded = True

    def read_again(self, cookie_header: str) -> None:
        """Forget the local changes and take what is stored now.

        :raises StoreError: if the store failed.
        """
        if self.record is None or self.envelope is None:
            if self.ended:
                self.become_new(self.standing)
            else:
                self.read(cookie_header)
            return
        was_new, record, envelope = self.is_new, self.record, self.envelope
        theirs = self._load_theirs(record, envelope)
        if theirs is not None:
            self.adopt(Presented(*theirs, self.token))
            self.is_new = was_new

    def end(self) -> None:
        """Delete the record now and become an empty, new session.

        :raises StoreError: if it may still be there; nothing has changed then.
        """
        standing = self.standing
        if self.record is not None:
            self.settings.store.delete(self.record.id)
            standing = Standing.NEW
        self.ended = True
        self.announce = False
        self.become_new(standing)

    @property
    def policy(self) -> Expiry:
        """The session's own policy, or the middleware's."""
        return self.own_expiry or self.settings.expiry

    @property
    def is_worth_storing(self) -> bool:
        """Whether a new session holds anything."""
        return bool(len(self.values)) or self.owner is not None

    @property
    def is_changed(self) -> bool:
        """Whether there is anything that a save would store.

        :raises SerializationError: if a changed value cannot be stored.
        """
        changes = self.values.changes()
        return bool(changes.changed or changes.removed) or self._has_new_terms()

    def expires(self, now: int, *, only_read: bool = False) -> int:
        """Return the end in Unix milliseconds: the stored one, unless it has to move."""
        policy = self.policy
        target = policy.expires(now)
        lifetime = self.settings.max_lifetime
        if lifetime is not None:
            target = min(target, self.created + lifetime)
        if self.record is None or self._has_new_expiry():
            return target
        stored = self.record.expires
        if policy.step is None:
            return stored if only_read else target
        # Both ways: a default that was made shorter holds for the sessions that exist.
        distance = abs(target - stored)
        return target if distance and distance >= policy.step else stored

    def persist(self) -> None:
        """Create, save or touch the record, or do nothing, as it takes.

        :raises StoreError: if it may not have been stored.
        :raises SerializationError: if a value cannot be stored.
        :raises SessionTooLarge: if all of them together are over the limit.
        """
        if self.record is None:
            if self.is_worth_storing and self._may_be_created():
                self._create()
            return
        if self._has_new_terms():
            self._save(self.values.changes())
            return
        if self.values.may_have_changed:
            changes = self.values.changes()
            if changes.changed or changes.removed:
                self._save(changes)
                return
        self._touch()

    def _has_new_expiry(self) -> bool:
        """Tell whether the application has given an existing session another policy."""
        stored = None if self.envelope is None else self.envelope.expiry
        if self.own_expiry is None:
            return stored is not None
        return stored != self.own_expiry.dump()

    def _has_new_terms(self) -> bool:
        if self.record is None:
            return self.owner is not None or self.own_expiry is not None
        return self.cycle or self.owner != self.record.owner or self._has_new_expiry()

    def _may_be_created(self) -> bool:
        if self.standing is Standing.NEW:
            return True
        if self.standing is Standing.SUPERSEDED and (self.cycle or self.owner is not None):
            # A login: the browser may never have received the answer to its first one.
            return True
        _log.info("the changes of a request whose session is closed to it were dropped")
        return False

    def _create(self) -> None:
        data = self.values.merged(self.values.changes())
        for _ in range(_CREATE_ATTEMPTS):
            token = SessionToken.generate()
            expiry = self._dumped_expiry()
            envelope = Envelope(SCHEMA, token.id, self.created, token.secret_hash(), None, 0, expiry, data)
            record = Record(token.id, self._seal(envelope), self.expires(clock.now()), 1, self.owner)
            try:
                self.settings.store.create(record)
            except RecordExists:
                continue
            self._settle(record, envelope, token)
            self.standing = Standing.NEW
            self.announce = True
            return
        raise StoreError(f"the store claims to hold {_CREATE_ATTEMPTS} ids that were just made up")

    def _save(self, changes: Changes) -> None:
        patience_ends = clock.monotonic() + _PATIENCE_SECONDS
        rounds = 0
        while not self._try_save(changes):
            if not self._rebase():
                return
            changes = self.values.changes()
            rounds += 1
            if rounds >= _IMMEDIATE_ROUNDS:
                if clock.monotonic() > patience_ends:
                    raise StoreError(f"other requests kept changing the session for {_PATIENCE_SECONDS:g} seconds")
                clock.sleep(random.uniform(0, _LONGEST_PAUSE_SECONDS))

    def _try_save(self, changes: Changes) -> bool:
        """Save once; False means that another request was faster."""
        assert self.record is not None
        assert self.envelope is not None
        now = clock.now()
        data = self.values.merged(changes)
        envelope, token = self._next(self.envelope, data, now)
        before = self.record
        record = Record(before.id, self._seal(envelope), self.expires(now), before.version, self.owner)
        try:
            saved = self.settings.store.save(record)
        except VersionConflict:
            return False
        except RecordNotFound:
            self._close(f"changes to session {record.id} were dropped: it was ended elsewhere")
            return True
        if self._needs_cookie(saved, token):
            self.announce = True
        self._settle(saved, envelope, token)
        return True

    def _needs_cookie(self, saved: Record, token: SessionToken | None) -> bool:
        """Tell whether the browser has to learn of what was saved; asked before it is settled."""
        if token is not self.token or (token is not None and token.reissue):
            return True
        assert self.record is not None
        assert self.envelope is not None
        before = load_expiry(self.envelope.expiry) if self.envelope.expiry else self.settings.expiry
        if self.policy.persistent:
            return saved.expires != self.record.expires or not before.persistent
        return before.persistent

    def _next(
        self, envelope: Envelope, data: dict[str, msgspec.Raw], now: int
    ) -> tuple[Envelope, SessionToken | None]:
        """Return the envelope to save and the token that opens it."""
        expiry = self._dumped_expiry()
        assert self.record is not None
        current, previous, replaced = envelope.secret_hash, envelope.previous_hash, envelope.replaced
        token = self.token
        if self.cycle or self.owner != self.record.owner:
            token = SessionToken.generate(self.record.id)
            current, previous, replaced = token.secret_hash(), current, now
        return Envelope(SCHEMA, envelope.id, envelope.created, current, previous, replaced, expiry, data), token

    def _rebase(self) -> bool:
        """Carry the changes over to what another request has stored; False if there is nothing left to save."""
        assert self.record is not None
        assert self.envelope is not None
        theirs = self._load_theirs(self.record, self.envelope)
        if theirs is None:
            return False
        record, envelope = theirs
        self.values.rebase(envelope.data)
        if self.owner == self.record.owner:
            self.owner = record.owner
        if not self._has_new_expiry():
            self.own_expiry = load_expiry(envelope.expiry) if envelope.expiry else None
        self.record = record
        self.envelope = envelope
        return self.is_changed

    def _load_theirs(self, record: Record, envelope: Envelope) -> tuple[Record, Envelope] | None:
        """Return what is stored now, or close the session if it is no longer ours."""
        try:
            theirs = load_live(self.settings, record.id)
        except UnknownSchema:
            theirs = None
        if theirs is None:
            self._close(f"changes to session {record.id} were dropped: it was ended elsewhere")
        elif theirs[1].secret_hash != envelope.secret_hash:
            theirs = None
            self._close(f"changes to session {record.id} were dropped: its secret was replaced elsewhere")
        return theirs

    def _touch(self) -> None:
        assert self.record is not None
        expires = self.expires(clock.now(), only_read=True)
        record = self.record
        if expires == record.expires:
            return
        try:
            moved = self.settings.store.touch(record.id, record.version, expires)
        except RecordNotFound:
            self._close(f"session {record.id} was not renewed: it was ended elsewhere")
            return
        if moved:
            self.record = Record(record.id, record.payload, expires, record.version, record.owner)
            self.announce = self.announce or self.policy.persistent

    def _close(self, reason: str) -> None:
        _log.warning(reason)
        self.announce = False
        self.become_new(Standing.CLOSED)

    def _settle(self, record: Record, envelope: Envelope, token: SessionToken | None) -> None:
        self.record = record
        self.envelope = envelope
        self.token = token
        self.cycle = False
        self.values.settle(envelope.data)

    def _dumped_expiry(self) -> list[Any] | None:
        return None if self.own_expiry is None else self.own_expiry.dump()

    def _seal(self, envelope: Envelope) -> bytes:
        payload = seal(envelope)
        if len(payload) > self.settings.max_payload:
            raise SessionTooLarge(
                f"the session takes {len(payload)} bytes, over the limit of {self.settings.max_payload}"
            )
        return payload
