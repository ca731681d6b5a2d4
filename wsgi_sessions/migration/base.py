"""What the sources have in common: their cookie, the way of foreign values into ours, and the walk over a storage."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import msgspec

from ..cookies.cookie import SessionCookie
from ..legacy import LegacyError, LegacySession, Reason
from .unknown import Convert, Unknown
from .values import storable

__all__ = ["Convert", "Imported", "Source", "Unknown", "checked_id", "imported"]

T = TypeVar("T")

_MAX_COOKIES = 5
# As the parser of our own cookie has it.
_MAX_HEADER = 16 * 1024
# RFC 6265bis 4.1.3 and its successor, layered cookies; browsers ignore the case.
_SECURE_PREFIXES = ("__host-", "__secure-", "__http-")
# RFC 2109 quoting, which http.cookies writes for what is no token: "\054" is a comma.
_escape = re.compile(r"\\(?:([0-3][0-7][0-7])|(.))", re.DOTALL)


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """One session of a storage, found without its cookie.

    :param identity: what ``identify`` returns for its cookie, or one of those.
    :param where: how to tell an operator which it is: a file's name, a key; no credential.
    :param session: None if it cannot be taken over.
    :param error: why not.
    """

    identity: str
    where: str
    session: LegacySession | None = None
    error: LegacyError | None = None


class Source(ABC):
    """A legacy system; see :class:`LegacySource` for what the core asks of it.

    :param cookie_name: the name of its cookie.
    :param path: the path it was set with, which its removal repeats, as the next three.
    :param domain: None for the host that set it.
    :param secure: whether it was set with Secure. If it is None, that is so if its name has a prefix which browsers
        accept with Secure only, such as ``__Host-``.
    :param partitioned: whether it was set with Partitioned.
    :param convert: what becomes of instances of the application's own classes; without it they are dropped.
    :param on_unknown: ``"drop"`` what cannot be stored, or ``"refuse"`` the session that holds it: a dropped key
        can be a restriction.
    :raises ValueError: if a value makes no sense.
    """

    #: What logs and counts call it.
    system: ClassVar[str]
    #: Of several cookies of its name the system took the last, as http.cookies does; otherwise the first.
    takes_last: bool = True

    def __init__(
        self,
        cookie_name: str,
        *,
        path: str = "/",
        domain: str | None = None,
        secure: bool | None = None,
        partitioned: bool = False,
        convert: Convert | None = None,
        on_unknown: str = "drop",
    ) -> None:
        if on_unknown not in ("drop", "refuse"):
            raise ValueError(f"on_unknown must be 'drop' or 'refuse', not {on_unknown!r}")
        if isinstance(domain, str):
            # Old configurations have a dot in front, which browsers leave away.
            domain = domain.removeprefix(".")
        # Its SameSite is of no consequence: a browser compares name, domain and path only.
        self._cookie = SessionCookie(
            cookie_name,
            path=path,
            domain=domain,
            secure=_was_secure(cookie_name, True if partitioned else secure),
            partitioned=partitioned,
        )
        self.cookie_name = cookie_name
        self._convert = convert
        self._on_unknown = on_unknown

    def cookies(self, header: str) -> list[str]:
        """Return the values of the system's cookie in a Cookie header, at most five, quotes undone. Never raises.

        The first is the one that the system itself took.
        """
        if len(header) > _MAX_HEADER or self.cookie_name not in header:
            return []
        found = []
        for pair in header.split(";"):
            name, equals, value = pair.partition("=")
            if equals and name.strip(" \t") == self.cookie_name:
                found.append(_unquoted(value.strip(" \t")))
        if self.takes_last:
            found.reverse()
        return list(dict.fromkeys(found))[:_MAX_COOKIES]

    @abstractmethod
    def identify(self, cookie: str) -> list[str]:
        """Return what identifies the session that a cookie presents; see :class:`LegacySource`."""

    @abstractmethod
    def open(self, cookie: str) -> LegacySession:
        """Return the session that a cookie presents; see :class:`LegacySource`."""

    def discard(self, cookie: str) -> None:
        """Delete what the system has stored of the session; nothing, where all of it is in the cookie."""

    def removals(self, ours: SessionCookie) -> list[tuple[str, str]]:
        """Return the Set-Cookie headers that remove the system's cookie, but for one whose very place ours takes.

        With a domain there are two: an application may have set it without one, too, before or after.
        """
        theirs = self._cookie
        # What a browser tells cookies apart by, RFC 6265bis 5.7.
        if (theirs.name, theirs.path, theirs.domain) == (ours.name, ours.path, ours.domain):
            return []
        removals = [theirs.header(None)]
        if theirs.domain is not None and theirs.name != ours.name:
            removals.append(replace(theirs, domain=None).header(None))
        return removals

    def scan(self) -> Iterator[Imported]:
        """Yield every session of the storage, also those that cannot be taken over, in no order.

        :raises NotImplementedError: if the system keeps its sessions in cookies only.
        """
        raise NotImplementedError(f"{self.system} keeps its sessions in cookies: there is nothing to import")

    def _storable(self, data: dict[Any, Any]) -> tuple[dict[str, Any], tuple[tuple[str, str], ...]]:
        """Return what of a session can be stored, and what was dropped; see :func:`migration.values.storable`.

        :raises LegacyError: if something was, and the source was told to refuse.
        """
        kept, dropped = storable(data, self._convert)
        if dropped and self._on_unknown == "refuse":
            raise LegacyError(Reason.UNSTORABLE, f"{dropped[0][0]}: {dropped[0][1]}")
        return kept, dropped


def checked_id(id: str, is_id: Callable[[str], object]) -> str:
    """Return an id, or raise LegacyError if it is none."""
    if not is_id(id):
        raise LegacyError(Reason.BAD_ID)
    return id


def imported(
    identity: str, where: str, stored: T | LegacyError, read: Callable[[T], LegacySession | None]
) -> Iterator[Imported]:
    """Yield what becomes of one that a storage holds.

    :param identity: as :class:`Imported` has it; this and the next.
    :param stored: what there is, or why it cannot be read.
    :param read: makes a session of it; None for what is none, such as another value of a cache, of which nothing comes.
    """
    try:
        if isinstance(stored, LegacyError):
            raise stored
        session = read(stored)
    except LegacyError as error:
        yield Imported(identity=identity, where=where, error=error)
    else:
        if session is not None:
            yield Imported(identity=identity, where=where, session=session)


def _was_secure(name: str, secure: bool | None) -> bool:
    """Return whether a cookie was set with Secure, as it is said, or as its name tells."""
    needs_it = isinstance(name, str) and name.lower().startswith(_SECURE_PREFIXES)
    if needs_it and secure is False:
        raise ValueError(
            f"without Secure no browser has accepted a cookie of the name {name!r} (RFC 6265bis 4.1.3): "
            "leave secure out"
        )
    return needs_it if secure is None else secure


def _unquoted(value: str) -> str:
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    return _escape.sub(lambda found: chr(int(found[1], 8)) if found[1] else found[2], value[1:-1])
