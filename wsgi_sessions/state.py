"""What a session knows once it has been used.

It comes from what the request presented and goes back to the store through
``saving``. Everything here that is called ``stored`` is as it was loaded or
saved last; a session without a record is not stored.
"""

from __future__ import annotations

import logging
from _thread import RLock  # threading.RLock is a function around it
from collections.abc import Callable

from . import clock
from .expiry import Expiry, load_expiry
from .presented import Presented, Standing, find_presented, load_live
from .record import Envelope, Record, UnknownSchema
from .settings import Settings
from .token import SessionToken
from .values import Values

_log = logging.getLogger("wsgi_sessions.security")


class State:
    """One session, loaded. Not safe for threads by itself: hold ``lock``.

    :param settings: what the middleware's sessions have in common.
    """

    # The defaults are those of a session that nobody presented; most requests change few of them.

    #: The store has been asked; until then there are no values.
    is_loaded = False
    #: A store error has been raised to the application.
    store_failed = False
    #: The request presented a live session: the browser has a cookie that may have to go.
    presented = False
    #: Flushed or deleted in this request.
    ended = False
    deleted = False
    #: The application may have changed something; what it read and can change in place is not counted.
    is_written = False
    #: A token, or a new Max-Age for it, is durable and waits to be sent.
    announce = False
    #: The token was made for this request, and the browser does not have it yet.
    token_is_new = False
    #: The store failed in a save, and nobody knows whether it happened: what was to be saved.
    uncertain: tuple[bytes, Envelope, SessionToken | None] | None = None
    #: A failed save was raised to the application, which knows since then.
    save_failed = False
    #: None, like the envelope, for a session that is not stored.
    record: Record | None = None
    envelope: Envelope | None = None
    #: None also where only the hash of the secret is known: outside of a request.
    token: SessionToken | None = None
    standing = Standing.NEW
    owner: str | None = None
    #: The policy set for this very session, None for the middleware's; another object than the stored one if changed.
    own_expiry: Expiry | None = None
    stored_expiry: Expiry | None = None
    #: A new token was asked for.
    cycle = False
    #: It came by the cookie of another library in this request.
    is_taken_over = False
    #: What goes with the next cookie: the Set-Cookie headers that remove that library's.
    removals: tuple[tuple[str, str], ...] = ()
    #: To be called if no response tells the browser of it.
    if_lost: Callable[[], None] | None = None
    is_new = True
    #: The public id that a new session has been told, and gets when it is stored.
    reserved_id: str | None = None
    #: A new session is worth storing also if it holds nothing.
    is_kept_empty = False

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.lock = RLock()

    def read(self, cookie_header: str, *, may_send_cookies: bool = True) -> None:
        """Become what a request presents; only for a state that is new itself, or was made so again.

        :param may_send_cookies: the head of the response has not left.
        :raises StoreError: if the store cannot tell; asking again asks it again.
        """
        presented = find_presented(self.settings, cookie_header, may_send_cookies=may_send_cookies)
        self.adopt(presented)
        self.presented = self.record is not None
        self.removals = presented.removals
        if presented.is_taken_over:
            self.announce = self.is_taken_over = True
            self.if_lost = presented.if_lost

    def adopt(self, presented: Presented) -> None:
        """Become what a request presented: a live session without any change to it, or a new one.

        Only for a state that is new itself, or was made so again by ``become_new``.
        """
        record, envelope = presented.record, presented.envelope
        if record is None or envelope is None:
            self.values = Values({}, {}, self.lock)
            self.created = clock.now()
            self.standing = presented.standing
            self.is_loaded = True
            return
        data = envelope.data
        self.values = Values(data, data.copy(), self.lock)
        self.record = record
        self.envelope = envelope
        self.token = presented.token
        self.created = envelope.created
        self.owner = record.owner
        if envelope.expiry is not None:
            self.own_expiry = self.stored_expiry = load_expiry(envelope.expiry)
        self.is_new = False
        self.is_loaded = True

    def become_new(self, standing: Standing) -> None:
        """Forget everything about the session and become an empty one without a record."""
        self.record = self.envelope = self.token = self.owner = self.own_expiry = self.stored_expiry = None
        self.cycle = self.token_is_new = False
        self.is_new = True
        self.uncertain = None
        self.adopt(Presented(standing=standing))

    def take_terms(self, record: Record, envelope: Envelope) -> None:
        """Take these as what is stored."""
        self.record = record
        self.envelope = envelope
        self.stored_expiry = None if envelope.expiry is None else load_expiry(envelope.expiry)

    def read_again(self, cookie_header: str, *, may_send_cookies: bool = True) -> None:
        """Forget the local changes and take what is stored now.

        :param may_send_cookies: the head of the response has not left.
        :raises StoreError: if the store failed.
        """
        if self.record is not None:
            theirs = self.load_theirs()
            if theirs is not None:
                self._adopt_again(*theirs)
        elif self.ended or self.standing is Standing.CLOSED:
            self.become_new(self.standing)
        else:
            self.become_new(self.standing)
            self.read(cookie_header, may_send_cookies=may_send_cookies)

    def revert(self) -> None:
        """Forget the local changes and take what was loaded or saved last."""
        if self.record is not None and self.envelope is not None:
            self._adopt_again(self.record, self.envelope)
        else:
            self.become_new(self.standing)

    def _adopt_again(self, record: Record, envelope: Envelope) -> None:
        """Take a version of the session that it is already."""
        was_new, token, token_is_new = self.is_new, self.token, self.token_is_new
        self.become_new(Standing.NEW)
        self.adopt(Presented(record, envelope, token))
        self.is_new, self.token_is_new = was_new, token_is_new

    def load_theirs(self) -> tuple[Record, Envelope] | None:
        """Return what is stored now, or close the session if it is no longer ours.

        :raises StoreError: if the store failed.
        """
        assert self.record is not None and self.envelope is not None
        id = self.record.id
        try:
            theirs = load_live(self.settings, id)
        except UnknownSchema:
            theirs = None
        if theirs is None:
            self.close(f"changes to session {id} were dropped: it was ended elsewhere")
        elif theirs[1].secret_hash != self.envelope.secret_hash:
            theirs = None
            self.close(f"changes to session {id} were dropped: its secret was replaced elsewhere")
        return theirs

    def close(self, reason: str) -> None:
        """Let go of a record that is no longer ours: nothing more is stored or announced for this request."""
        _log.warning(reason)
        self.announce = False
        self.if_lost = None
        # The cookie may belong to a newer login by now: it is not ours to remove.
        self.presented = False
        self.become_new(Standing.CLOSED)

    def end(self, cookie_header: str) -> None:
        """Delete the record now and become an empty, new session.

        :param cookie_header: what it presents of other libraries is not to come back.
        :raises StoreError: if it may still be there; nothing has changed then.
        """
        standing = self.standing
        if self.record is not None:
            if self.settings.takeover is not None:
                # First: afterwards nobody would know what is not to come back.
                self.settings.takeover.forget(self.settings, cookie_header, self.record.id)
            self.settings.store.delete(self.record.id)
            standing = Standing.NEW
        self.ended = True
        self.announce = self.is_kept_empty = False
        self.reserved_id = self.if_lost = None
        self.become_new(standing)

    @property
    def policy(self) -> Expiry:
        """The session's own policy, or the middleware's."""
        return self.own_expiry or self.settings.expiry

    @property
    def is_worth_storing(self) -> bool:
        """Whether a new session holds anything, or is to be stored without."""
        return len(self.values) > 0 or self.owner is not None or self.is_kept_empty

    @property
    def has_new_terms(self) -> bool:
        """Whether anything but the values is other than what is stored."""
        if self.record is None:
            return self.owner is not None or self.own_expiry is not None
        return self.cycle or self.owner != self.record.owner or self.own_expiry is not self.stored_expiry

    @property
    def is_changed(self) -> bool:
        """Whether there is anything that a save would store.

        :raises SerializationError: if a changed value cannot be stored.
        """
        return self.has_new_terms or self.values.has_changed

    def expires(self, now: int, *, only_read: bool = False) -> int:
        """Return the end in Unix milliseconds: the stored one, unless it has to move."""
        policy = self.own_expiry or self.settings.expiry
        record = self.record
        if record is None or self.own_expiry is not self.stored_expiry or (policy.step is None and not only_read):
            return self._target(policy, now)
        if policy.tolerates(record.expires - now):
            return record.expires
        target = self._target(policy, now)
        # Both ways: a default that was made shorter holds for the sessions that exist.
        return target if abs(target - record.expires) >= (policy.step or 0) else record.expires

    def _target(self, policy: Expiry, now: int) -> int:
        target = policy.expires(now)
        lifetime = self.settings.max_lifetime
        return target if lifetime is None else min(target, self.created + lifetime)
