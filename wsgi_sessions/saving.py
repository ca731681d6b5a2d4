"""A session's way into the store: created, saved or touched, whichever it takes.

A save never inserts, so what was ended elsewhere stays ended; and it never
overwrites what another request has saved meanwhile: on a conflict the changes
are carried over to the other's version and saved above it.
"""

from __future__ import annotations

import logging
import random
from typing import Any

import msgspec

from . import clock
from .exceptions import RecordExists, RecordNotFound, SessionTooLarge, StoreError, VersionConflict
from .expiry import Expiry
from .presented import Standing
from .record import SCHEMA, Envelope, Record, seal
from .settings import Settings
from .state import State
from .token import SessionToken

_log = logging.getLogger("wsgi_sessions.security")

# An id has 128 random bits: whoever meets three that are taken has a broken store, not bad luck.
_CREATE_ATTEMPTS = 3
# Conflicts are met at once this many times, then after a pause, then not at all.
_IMMEDIATE_ROUNDS = 4
_LONGEST_PAUSE_SECONDS = 0.02
_PATIENCE_SECONDS = 5.0


def persist(state: State) -> None:
    """Create, save or touch the session's record, or do nothing, as it takes.

    :raises StoreError: if it may not have been stored.
    :raises SerializationError: if a value cannot be stored.
    :raises SessionTooLarge: if all of them together are over the limit.
    """
    record = state.record
    if record is None:
        if state.is_worth_storing and _may_be_created(state):
            create(state)
        return
    values = state.values
    if state.is_written or values.watched:
        changed = values.changes()
        if changed or values.removed or state.has_new_terms:
            _save(state, changed)
            return
    if state.is_taken_over:
        # Its end is the one that it had; from the next request on it moves by our rules.
        return
    expires = state.expires(clock.now(), only_read=True)
    if expires != record.expires:
        _touch(state, record, expires)


def _may_be_created(state: State) -> bool:
    if state.standing is Standing.NEW:
        return True
    if state.standing is Standing.SUPERSEDED and (state.cycle or state.owner is not None):
        # A login: the browser may never have received the answer to its first one.
        return True
    _log.info("the changes of a request whose session is closed to it were dropped")
    return False


def create(state: State) -> None:
    """Store a session that has no record, also an empty one.

    :raises StoreError: if it may not have been stored.
    :raises SerializationError: if a value cannot be stored.
    :raises SessionTooLarge: if all of them together are over the limit.
    """
    settings = state.settings
    data = state.values.merged(state.values.changes())
    for _ in range(_CREATE_ATTEMPTS):
        token = SessionToken.generate(state.reserved_id)
        dumped = _dumped(state.own_expiry)
        envelope = Envelope(SCHEMA, token.id, state.created, token.secret_hash(), None, 0, dumped, data)
        record = Record(token.id, _seal(settings, envelope), state.expires(clock.now()), 1, state.owner)
        try:
            settings.store.create(record)
        except RecordExists:
            state.reserved_id = None
            continue
        state.reserved_id = None
        _settle(state, record, envelope, token)
        state.standing = Standing.NEW
        state.announce = state.token_is_new = True
        return
    raise StoreError(f"the store claims to hold {_CREATE_ATTEMPTS} ids that were just made up")


def _touch(state: State, record: Record, expires: int) -> None:
    try:
        moved = state.settings.store.touch(record.id, record.version, expires)
    except RecordNotFound:
        state.close(f"session {record.id} was not renewed: it was ended elsewhere")
        return
    if moved:
        state.record = Record(record.id, record.payload, expires, record.version, record.owner)
        state.announce = state.announce or state.policy.persistent or (state.token is not None and state.token.reissue)


def _save(state: State, changed: dict[str, msgspec.Raw]) -> None:
    if _try_save(state, changed):
        return
    patience_ends = clock.monotonic() + _PATIENCE_SECONDS
    rounds = 1
    while _rebase(state) and not _try_save(state, state.values.changes()):
        rounds += 1
        if rounds < _IMMEDIATE_ROUNDS:
            continue
        if clock.monotonic() > patience_ends:
            raise StoreError(f"other requests kept changing the session for {_PATIENCE_SECONDS:g} seconds")
        clock.sleep(random.uniform(0, _LONGEST_PAUSE_SECONDS))


def _try_save(state: State, changed: dict[str, msgspec.Raw]) -> bool:
    """Save once; False means that another request was faster."""
    before, stored = state.record, state.envelope
    assert before is not None and stored is not None
    now = clock.now()
    token = state.token
    secret_hash, previous_hash, replaced = stored.secret_hash, stored.previous_hash, stored.replaced
    if state.cycle or state.owner != before.owner:
        token = SessionToken.generate(before.id)
        if not state.token_is_new:
            # A secret that was made in this request and never sent is nobody's previous one.
            previous_hash, replaced = secret_hash, now
        secret_hash = token.secret_hash()
    dumped = _dumped(state.own_expiry)
    data = state.values.merged(changed)
    envelope = Envelope(SCHEMA, stored.id, stored.created, secret_hash, previous_hash, replaced, dumped, data)
    payload = _seal(state.settings, envelope)
    try:
        saved = state.settings.store.save(Record(before.id, payload, state.expires(now), before.version, state.owner))
    except VersionConflict:
        return False
    except RecordNotFound:
        state.close(f"changes to session {before.id} were dropped: it was ended elsewhere")
        return True
    except StoreError:
        state.uncertain = payload, envelope, token
        raise
    _announce(state, saved, token)
    _settle(state, saved, envelope, token)
    return True


def _announce(state: State, saved: Record, token: SessionToken | None) -> None:
    """Note what the browser has to learn of a save that is about to be settled."""
    before = state.record
    assert before is not None
    if token is not state.token:
        state.announce = state.token_is_new = True
    elif token is not None and token.reissue:
        state.announce = True
    elif saved.expires != before.expires or state.own_expiry is not state.stored_expiry:
        state.announce = state.announce or _has_new_max_age(state, before, saved)


def _has_new_max_age(state: State, before: Record, saved: Record) -> bool:
    """Tell whether the browser keeps the cookie for longer, shorter or another reason than before."""
    was_persistent = (state.stored_expiry or state.settings.expiry).persistent
    if state.policy.persistent:
        return saved.expires != before.expires or not was_persistent
    return was_persistent


def _rebase(state: State) -> bool:
    """Carry the changes over to what another request has stored; False if there is nothing left to save."""
    before, expiry_is_new = state.record, state.own_expiry is not state.stored_expiry
    assert before is not None
    if _happened(state, before):
        return state.is_changed
    theirs = state.load_theirs()
    if theirs is None:
        return False
    record, envelope = theirs
    state.values.rebase(envelope.data)
    state.take_terms(record, envelope)
    if state.owner == before.owner:
        state.owner = record.owner
    if not expiry_is_new:
        state.own_expiry = state.stored_expiry
    if state.is_changed:
        return True
    # The other request has stored the same.
    state.values.settle(envelope.data)
    return False


def _happened(state: State, before: Record) -> bool:
    """Tell whether a save that seemed to fail is what is stored, and take it as done if so."""
    uncertain, state.uncertain = state.uncertain, None
    if uncertain is None:
        return False
    payload, envelope, token = uncertain
    stored = state.settings.store.load(before.id)
    if stored is None or stored.payload != payload:
        return False
    _announce(state, stored, token)
    own_expiry = state.own_expiry
    state.take_terms(stored, envelope)
    state.token = token
    state.cycle = False
    state.own_expiry = state.stored_expiry if _dumped(own_expiry) == envelope.expiry else own_expiry
    state.values.settle_uncertain(envelope.data)
    return True


def _dumped(expiry: Expiry | None) -> list[Any] | None:
    return None if expiry is None else expiry.dump()


def _settle(state: State, record: Record, envelope: Envelope, token: SessionToken | None) -> None:
    """Take what was just stored as what is stored."""
    state.record = record
    state.envelope = envelope
    state.token = token
    state.stored_expiry = state.own_expiry
    state.cycle = False
    state.values.settle(envelope.data)


def _seal(settings: Settings, envelope: Envelope) -> bytes:
    payload = seal(envelope)
    if len(payload) > settings.max_payload:
        raise SessionTooLarge(f"the session takes {len(payload)} bytes, over the limit of {settings.max_payload}")
    return payload
