"""What the core has to know of sessions that another library has written: their form here, and who reads them."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Protocol

import msgspec

from .cookies.cookie import SessionCookie


class Reason(StrEnum):
    """Why a legacy session is not taken over; what is logged and counted."""

    #: The signature, or the form of a signed value, is not right: a wrong secret makes all of them so.
    BAD_SIGNATURE = "bad-signature"
    #: What should be an id is none.
    BAD_ID = "bad-id"
    NOT_FOUND = "not-found"
    #: It was ended there: what is left of it says so.
    DELETED = "deleted"
    EXPIRED = "expired"
    #: It was taken over before, and ended since.
    REPLAYED = "replayed"
    CORRUPT = "corrupt"
    #: It is a pickle, and the source was not told to read pickles.
    PICKLE_DISABLED = "pickle-disabled"
    #: It holds what cannot be stored, and the source was told to refuse such a session.
    UNSTORABLE = "unstorable"


class LegacyError(Exception):
    """A legacy session cannot be taken over. It holds no value of it.

    :param reason: which of the reasons that are counted.
    :param detail: what somebody who knows the system needs besides.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason


class LegacySession(msgspec.Struct, frozen=True, kw_only=True):
    """A session as a legacy system has stored it, its values as ours.

    :param data: what ours will hold: keys are str, values are what the codec takes.
    :param created: when it began, Unix milliseconds; None if the system does not say.
    :param expires: when it ends by that system's rules, Unix milliseconds; None if it has no end, or does not say.
    :param accessed: when it was used last, Unix milliseconds, for those without an end; None if that is not known.
    :param persistent: whether its cookie was to outlive the browser.
    :param idle: for how long a persistent one lives on after each use, milliseconds; None for as long as ours.
    :param personal: no two visitors can have the same cookie. Parallel requests with one come to the same session then;
        otherwise each to one of its own.
    :param dropped: what could not be taken along: where it was, and why.
    """

    data: dict[str, Any]
    created: int | None = None
    expires: int | None = None
    accessed: int | None = None
    persistent: bool = False
    idle: int | None = None
    personal: bool = True
    dropped: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(keys={len(self.data)}, dropped={len(self.dropped)})"


class LegacySource(Protocol):
    """Reads the sessions of one legacy system."""

    @property
    def system(self) -> str:
        """What logs and counts call it, such as ``beaker``; part of what a session taken over is remembered by."""

    def cookies(self, header: str) -> list[str]:
        """Return the values of the system's cookie in a Cookie header, at most five, quotes undone. Never raises.

        The first is the one that the system itself took.
        """

    def identify(self, cookie: str) -> list[str]:
        """Return what identifies the session that a cookie presents, after its signature was verified.

        The first of them is what it will be remembered by; it may have been imported under the others.

        :raises LegacyError: if the cookie is not one of this system's.
        """

    def open(self, cookie: str) -> LegacySession:
        """Return the session that a cookie presents.

        :raises LegacyError: if there is none, or it cannot be read.
        :raises StoreError: if the system's storage failed.
        """

    def discard(self, cookie: str) -> None:
        """Delete what the system has stored of the session, if anything; it has been taken over.

        :raises StoreError: if the system's storage failed.
        """

    def removals(self, ours: SessionCookie) -> list[tuple[str, str]]:
        """Return the Set-Cookie headers that remove the system's cookie, but for one whose very place ours takes."""
