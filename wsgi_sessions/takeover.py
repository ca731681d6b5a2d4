"""A session of another library becomes one of ours: once, whatever arrives in parallel, and never again after its end.

Beside the new session a note is stored under a hash of what identified the old one. It is
made with an insert that only one of several requests can win; the others read it
and come to the same session and the same token, which is made of the old identity and a salt. The salt is
stored for a minute. Then the note only says that the old session has been taken over,
so that its cookie, which nobody can revoke, opens nothing any more.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence

from .arrival import Arrival
from .cookies.cookie import SessionCookie
from .legacy import LegacyError, LegacySource
from .presented import Presented
from .settings import Settings

_log = logging.getLogger("wsgi_sessions.migration")


class Takeover:
    """Takes over the sessions of legacy systems, as their visitors come.

    :param sources: the systems, the likeliest first.
    :param retire: ``"delete"`` what the legacy system has stored, and its cookie; or ``"keep"`` both, as long as it may
        be put back into service.
    :raises TypeError: if a source is none.
    :raises ValueError: if ``retire`` is neither.
    """

    def __init__(self, sources: Sequence[LegacySource], retire: str = "delete") -> None:
        if retire not in ("delete", "keep"):
            raise ValueError(f"retire must be 'delete' or 'keep', not {retire!r}")
        for source in sources:
            if isinstance(source, type) or not callable(getattr(source, "identify", None)):
                kind = f"the class {source.__name__}" if isinstance(source, type) else type(source).__name__
                raise TypeError(f"legacy must be a list of sources such as FlaskSource(secret_key), not of {kind}")
        self._sources = tuple(sources)
        self._retires = retire == "delete"
        #: How many sessions were taken over, and why others were not, by system and reason.
        self.counts: Counter[tuple[str, str]] = Counter()

    def check_cookie(self, ours: SessionCookie) -> None:
        """Refuse to keep a cookie in whose very place ours would be set.

        :raises ValueError: if that is so.
        """
        if not self._retires and not all(source.removals(ours) for source in self._sources):
            raise ValueError(f"retire='keep' needs another cookie name than {ours.name!r}, which the old one has")

    def find(self, settings: Settings, cookie_header: str) -> Presented | None:
        """Return the session that a legacy cookie has brought, as one of ours that is stored.

        Where none has, but one that has ended there or here, the removals of its cookie; None if there is nothing.

        :raises StoreError: if our store or the legacy system's failed.
        """
        found: Presented | None = None
        stale: list[tuple[str, str]] = []
        for arrival in self._arrivals(settings, cookie_header):
            try:
                if found is None:
                    found = self._taken(arrival)
                else:
                    # Another one of the same visitor, which must not come back after the logout.
                    arrival.forget()
            except LegacyError as error:
                self._refuse(arrival.source, error)
                stale.extend(arrival.removals(self._retires))
        if found is not None or not stale:
            return found
        return Presented(removals=tuple(dict.fromkeys(stale)))

    def forget(self, settings: Settings, cookie_header: str) -> None:
        """Note of all legacy sessions that a request presents that they have ended: its own of ours has.

        :raises StoreError: if our store failed.
        """
        for arrival in self._arrivals(settings, cookie_header):
            try:
                arrival.forget()
            except LegacyError as error:
                self._refuse(arrival.source, error)

    def _arrivals(self, settings: Settings, cookie_header: str) -> Iterator[Arrival]:
        for source in self._sources:
            for cookie in source.cookies(cookie_header):
                try:
                    yield Arrival(settings, source, cookie)
                except LegacyError as error:
                    self._refuse(source, error)

    def _taken(self, arrival: Arrival) -> Presented:
        presented, dropped = arrival.take(self._retires)
        if dropped is not None:
            self._count(arrival.source, "taken-over")
            for where, why in dropped:
                self._count(arrival.source, "dropped-key")
                _log.info("of a session of %s, %s was dropped: %s", arrival.source.system, where, why)
        return presented

    def _refuse(self, source: LegacySource, error: LegacyError) -> None:
        self._count(source, error.reason)
        _log.info("a session of %s was not taken over: %s", source.system, error)

    def _count(self, source: LegacySource, what: str) -> None:
        self.counts[source.system, str(what)] += 1
