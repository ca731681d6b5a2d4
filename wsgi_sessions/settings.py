"""What all sessions of one middleware have in common."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Protocol

from .cookies.cookie import SessionCookie
from .expiry import Expiry
from .stores.base import SessionStore

#: The most bytes of a stored session unless told otherwise.
MAX_PAYLOAD = 65536
_MILLISECOND = timedelta(milliseconds=1)


class LegacyFinder(Protocol):
    """Finds the sessions of other libraries: a Takeover."""

    def complete(self, settings: Settings, presented: Any, cookie_header: str) -> Any:
        """Return what a request presents, of ours and of theirs."""

    def is_theirs(self, name: str, text: str) -> bool:
        """Tell whether a cookie of that name and value is one of theirs."""

    def forget(self, settings: Settings, cookie_header: str, id: str) -> None:
        """Note that what a request presents of them ends with a session of ours, and what that was made of."""


class Settings:
    """The collaborators and limits of a session; checked when they are given.

    :param store: where sessions are kept.
    :param cookie: how a token travels; None outside a request.
    :param expiry: when a session ends that has no policy of its own.
    :param max_lifetime: caps every policy, from the session's creation.
    :param always_save: every request counts as activity, also one that does not touch its session.
    :param max_payload: the most bytes that a stored session may have.
    :param takeover: finds the sessions of other libraries; None where there are none.
    :raises TypeError: if an argument is of a wrong type.
    :raises ValueError: if a limit is not positive.
    """

    def __init__(
        self,
        store: SessionStore,
        *,
        cookie: SessionCookie | None,
        expiry: Expiry,
        max_lifetime: timedelta | None,
        always_save: bool,
        max_payload: int,
        takeover: LegacyFinder | None = None,
    ) -> None:
        _check_collaborators(store, cookie, expiry)
        _check_limits(max_lifetime, max_payload)
        self.store = store
        self.cookie = cookie
        self.expiry = expiry
        #: Milliseconds, or None for no cap.
        self.max_lifetime = None if max_lifetime is None else max_lifetime // _MILLISECOND
        self.always_save = bool(always_save)
        self.max_payload = max_payload
        self.takeover = takeover


def _check_collaborators(store: object, cookie: object, expiry: object) -> None:
    if not isinstance(store, SessionStore):
        raise TypeError(f"store must be a SessionStore such as MemoryStore(), not {_described(store)}")
    if cookie is not None and not isinstance(cookie, SessionCookie):
        raise TypeError(f"cookie must be a SessionCookie such as SessionCookie('id'), not {_described(cookie)}")
    check_expiry(expiry)


def check_expiry(expiry: object) -> None:
    """Raise TypeError unless this is a policy."""
    if isinstance(expiry, type) or not callable(getattr(expiry, "dump", None)):
        raise TypeError(f"expiry must be a policy such as OnInactivity(timedelta(hours=1)), not {_described(expiry)}")


def _check_limits(max_lifetime: object, max_payload: object) -> None:
    if max_lifetime is not None and not isinstance(max_lifetime, timedelta):
        raise TypeError(f"max_lifetime must be a timedelta or None, not {_described(max_lifetime)}")
    if isinstance(max_lifetime, timedelta) and max_lifetime < _MILLISECOND:
        raise ValueError("max_lifetime must be at least a millisecond")
    if type(max_payload) is not int:
        raise TypeError(f"max_payload must be a number of bytes, not {_described(max_payload)}")
    if max_payload < 1:
        raise ValueError("max_payload must be at least one byte")


def _described(value: object) -> str:
    """Name what was given; of a class, that it is one: a forgotten pair of parentheses."""
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
