"""What happens to a session when the head of the response is about to leave, and when its body has ended."""

from __future__ import annotations

import logging
from typing import NamedTuple

from . import clock
from .exceptions import SerializationError, SessionTooLarge, StoreError
from .mapping import HEAD_SENT
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


def commit(session: Session, status: int) -> CookieChange | None:
    """Store what the session holds, before the head of the response leaves.

    :param status: the status code of the response, without which nothing can be decided.
    :returns: what the browser must be told, None for nothing.
    :raises StoreError: if it may not have been stored.
    :raises SerializationError: if a value cannot be stored.
    :raises SessionTooLarge: if all of them together are over the limit.
    """
    state = session._state
    if state is None:
        return _keep_alive(session, status) if session._settings.always_save else None
    with state.lock:
        session._phase = HEAD_SENT
        if not state.is_loaded:
            return None
        if state.ended and state.record is None and (status >= 500 or not state.is_worth_storing):
            return _REMOVAL if state.presented else None
        if status < 500:
            persist(state)
        return _announcement(state) if state.announce else None


def commit_late(session: Session, status: int) -> None:
    """Save what has changed while the body streamed. The head is out: an error can only be logged."""
    state = session._state
    if status >= 500 or state is None or not state.is_loaded or state.record is None:
        return
    try:
        with state.lock:
            persist(state)
    except (StoreError, SerializationError, SessionTooLarge):
        _log.exception("changes made while the body was sent are lost")


def _keep_alive(session: Session, status: int) -> CookieChange | None:
    """Count a request as activity that did not touch its session; an outage is not its business."""
    try:
        if status < 500:
            session._load()
            return commit(session, status)
    except StoreError:
        _log.warning("a session could not be kept alive", exc_info=True)
        del session._state
    session._phase = HEAD_SENT
    return None


def _announcement(state: State) -> CookieChange | None:
    token = state.token
    if state.record is None or token is None:
        return None
    if not state.policy.persistent:
        return CookieChange(token)
    return CookieChange(token, max(0, state.record.expires - clock.now()) // 1000)
