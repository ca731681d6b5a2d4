"""What happens to a session when the head of the response is about to leave, and when its body has ended."""

from __future__ import annotations

import logging
from typing import NamedTuple

from . import clock
from .exceptions import StoreError
from .mapping import FROZEN, HEAD_SENT
from .saving import persist
from .session import Session
from .state import State
from .token import SessionToken

_log = logging.getLogger("wsgi_sessions")


class CookieChange(NamedTuple):
    """What the response has to tell the browser.

    :param token: to be kept; None removes the cookie.
    :param max_age: seconds to keep it, None for the browser's session.
    """

    token: SessionToken | None
    max_age: int | None = None


_REMOVAL = CookieChange(None)


def commit(session: Session, status: int, phase: int = HEAD_SENT) -> CookieChange | None:
    """Store what the session holds, before the head of the response leaves.

    :param status: the status code of the response, without which nothing can be decided.
    :param phase: how far the response is afterwards.
    :returns: what the browser must be told, None for nothing.
    :raises StoreError: if it may not have been stored.
    :raises SerializationError: if a value cannot be stored.
    :raises SessionTooLarge: if all of them together are over the limit.
    """
    state = session._state
    if session._settings.always_save and (state is None or not (state.is_loaded or state.store_failed)):
        return _keep_alive(session, status, phase)
    if state is None:
        return None
    # Whoever waits for the lock finds the phase changed, and what it would write refused.
    with state.lock:
        change = _commit_loaded(state, status) if state.is_loaded else None
        session._phase = phase
        return change


def _commit_loaded(state: State, status: int) -> CookieChange | None:
    """The commit table: the first row that fits."""
    if state.ended and state.record is None and (status >= 500 or not state.is_worth_storing):
        return _REMOVAL if state.presented else None
    if state.announce and not state.token_is_new:
        _check_announcement(state)
    if status < 500:
        _persist(state)
    return _announcement(state) if state.announce else None


def _check_announcement(state: State) -> None:
    """Keep a Max-Age that an earlier ``save()`` left to be sent only with a token that is still valid.

    The cookie of a login that was answered meanwhile must not be overwritten with a dead one.
    """
    try:
        state.load_theirs()
    except StoreError:
        # One that was just taken over opens nothing by its old cookie any more: without ours it would be lost.
        state.announce = state.is_taken_over


def _persist(state: State) -> None:
    try:
        persist(state)
    except StoreError:
        # A handler that caught this very failure in save() and answers all the same is left alone.
        if not state.save_failed:
            raise
        _log.exception("the changes that a failed save() has left are lost")
    else:
        state.save_failed = False


def commit_late(session: Session, status: int) -> None:
    """Save what has changed while the body streamed. The head is out: an error can only be logged."""
    state = session._state
    if status >= 500 or state is None or not state.is_loaded or state.save_failed:
        return
    with state.lock:
        try:
            if state.record is not None:
                persist(state)
        except Exception:  # a function given to mutate may raise anything
            _log.exception("changes made while the body was sent are lost")
        session._phase = FROZEN


def _keep_alive(session: Session, status: int, phase: int) -> CookieChange | None:
    """Count a request as activity that did not touch its session; an outage is not its business."""
    before = session._state
    try:
        if status < 500:
            session._load()
            return commit(session, status, phase)
    except StoreError:
        _log.warning("a session could not be kept alive", exc_info=True)
        if before is None:
            del session._state
    session._phase = phase
    return None


def _announcement(state: State) -> CookieChange | None:
    token = state.token
    if state.record is None or token is None:
        return None
    if not state.policy.persistent:
        return CookieChange(token)
    return CookieChange(token, max(0, state.record.expires - clock.now()) // 1000)
