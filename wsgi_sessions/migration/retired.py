"""A legacy system whose storage is gone: only what was imported of it is taken over."""

from __future__ import annotations

from ..cookies.cookie import SessionCookie
from ..legacy import LegacyError, LegacySession, LegacySource, Reason


class RetiredSource:
    """Recognizes the cookies of another source, and never asks its storage.

    Without it, a storage that was switched off is an outage for each visitor who was not imported.

    >>> RetiredSource(FlaskSessionSource(redis=redis.Redis()))  # doctest: +SKIP

    :param source: as it was given to the import; it still needs the client or the directory that it is made with.
    """

    def __init__(self, source: LegacySource) -> None:
        self._source = source
        #: That of the source.
        self.system = source.system

    def cookies(self, header: str) -> list[str]:
        """Return what the source does; see :class:`LegacySource`, as for the others."""
        return self._source.cookies(header)

    def identify(self, cookie: str) -> list[str]:
        """Return what the source does."""
        return self._source.identify(cookie)

    def removals(self, ours: SessionCookie) -> list[tuple[str, str]]:
        """Return what the source does."""
        return self._source.removals(ours)

    def open(self, cookie: str) -> LegacySession:
        """Raise LegacyError: there is no session."""
        self.identify(cookie)
        raise LegacyError(Reason.NOT_FOUND)

    def discard(self, cookie: str) -> None:
        """Do nothing: there is nothing left."""
