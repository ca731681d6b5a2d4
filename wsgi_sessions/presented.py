"""From a Cookie header to the one live session that it opens, if it opens one.

Ids are public, so nothing is said or done about a session before the secret
that was presented with its id has been verified.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from functools import partial

import msgspec

from . import clock
from .expiry import load_expiry
from .record import CorruptEnvelope, Envelope, Record, UnknownSchema, open_envelope
from .settings import Settings
from .token import SessionToken

_log = logging.getLogger("wsgi_sessions.security")

# How long the secret before the present one marks its bearer as a straggler of a login. Milliseconds.
_PREVIOUS_SECRET = 60_000


class Standing(enum.Enum):
    """What a session without a record may become."""

    #: Anything: stored when it holds something.
    NEW = enum.auto()
    #: The secret was replaced a moment ago: a parallel request has just got the new cookie,
    #: which this one must not overwrite, unless it is a login itself.
    SUPERSEDED = enum.auto()
    #: Nothing: its record went away or changed hands under it, or is not for this version to read.
    CLOSED = enum.auto()


class Presented(msgspec.Struct, frozen=True, gc=False):
    """The live session that a request presented, all None if there was none.

    :param is_taken_over: it came by the cookie of another library, so the browser does not have ours yet.
    :param removals: the Set-Cookie headers that remove that cookie, once ours is sent.
    :param if_lost: to be called if ours is not sent.
    """

    record: Record | None = None
    envelope: Envelope | None = None
    token: SessionToken | None = None
    standing: Standing = Standing.NEW
    is_taken_over: bool = False
    removals: tuple[tuple[str, str], ...] = ()
    if_lost: Callable[[], None] | None = None


_NOTHING = Presented()
# Told apart by identity only: a session of another library would not settle it.
_AMBIGUOUS = Presented()


def find_presented(settings: Settings, cookie_header: str, *, may_send_cookies: bool = True) -> Presented:
    """Return the session that a request presents.

    :param may_send_cookies: without one of ours, a session of another library cannot be taken over.
    :raises StoreError: if the store cannot tell.
    """
    cookie, takeover = settings.cookie, settings.takeover
    if cookie is None:
        return _NOTHING
    tokens = cookie.candidates(cookie_header, None if takeover is None else partial(takeover.is_theirs, cookie.name))
    presented = verify(settings, tokens[0]) if len(tokens) == 1 else _choose(settings, tokens)
    if takeover is None or presented is _AMBIGUOUS or not may_send_cookies:
        return presented
    completed: Presented = takeover.complete(settings, presented, cookie_header)
    return completed


def _choose(settings: Settings, tokens: list[SessionToken]) -> Presented:
    """Return the one live session that several tokens open, if it is one."""
    if not tokens:
        return _NOTHING
    found = [verify(settings, token) for token in tokens]
    live = [presented for presented in found if presented.record is not None]
    if len(live) == 1:
        return live[0]
    if live:
        _log.warning("several cookies open different live sessions; none is used")
        return _AMBIGUOUS
    return max(found, key=lambda presented: presented.standing.value)


def load_live(settings: Settings, id: str) -> tuple[Record, Envelope] | None:
    """Return a record and its envelope, or None if there is no such session that is alive.

    :raises UnknownSchema: if a newer version of this package wrote it.
    :raises StoreError: if the store failed.
    """
    record = settings.store.load(id)
    if record is None:
        return None
    try:
        envelope = open_envelope(record.payload, id)
        if (envelope.expiry is not None or settings.max_lifetime is not None) and _has_ended(settings, envelope):
            return None
    except CorruptEnvelope as error:
        _log.error("corrupt record of session %s: %s", id, error)
        return None
    return record, envelope


def verify(settings: Settings, token: SessionToken) -> Presented:
    """Return the live session that a token opens, or what one without it may become.

    :raises StoreError: if the store cannot tell.
    """
    try:
        found = load_live(settings, token.id)
    except UnknownSchema as error:
        _log.warning("session %s is not for this version: %s", token.id, error)
        return Presented(standing=Standing.CLOSED)
    if found is None:
        _log.info("no live session %s", token.id)
        return _NOTHING
    envelope = found[1]
    if token.opens(envelope.secret_hash):
        return Presented(found[0], envelope, token)
    if _was_opened_lately(envelope, token):
        _log.info("session %s was presented with the secret before its present one", token.id)
        return Presented(standing=Standing.SUPERSEDED)
    _log.warning("session %s was presented with a wrong secret", token.id)
    return _NOTHING


def _has_ended(settings: Settings, envelope: Envelope) -> bool:
    """Tell whether the session's own end, or the cap on its lifetime, lies behind it whatever the record says."""
    lifetime = settings.max_lifetime
    if lifetime is not None and envelope.created + lifetime <= clock.now():
        return True
    if envelope.expiry is None:
        return False
    try:
        policy = load_expiry(envelope.expiry)
    except ValueError as error:
        raise CorruptEnvelope(str(error)) from None
    now = clock.now()
    return policy.expires(now) <= now


def _was_opened_lately(envelope: Envelope, token: SessionToken) -> bool:
    if envelope.previous_hash is None or clock.now() - envelope.replaced > _PREVIOUS_SECRET:
        return False
    return token.opens(envelope.previous_hash)
