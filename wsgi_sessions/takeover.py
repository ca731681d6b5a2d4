"""A session of another library becomes one of ours: once, whatever arrives in parallel, and never again after its end.

Beside the new session a note is stored under a hash of what identified the old one. It is
made with an insert that only one of several requests can win; the others read it
and come to the same session and the same token, which is made of the old identity and a salt. The salt is
there for a minute. Then the note only says that the old session has been taken over,
so that its cookie, which nobody can revoke, opens nothing any more. The minute is a day
where an exception left the application, so that no response told the browser of the new token.

What identifies the session of a signed cookie is its text, and two visitors may have the same: the same data, signed in
the same second. They must not meet in one session, so each request with such a cookie makes its own, without a note.
Where it came from is stored instead; the note is made when one of them is ended.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial

import msgspec

from . import clock
from .arrival import JOINING, Arrival
from .cookies.cookie import SessionCookie
from .exceptions import StoreError
from .legacy import LegacyError, LegacySource, Reason
from .notes import remember_end, salt_id
from .presented import Presented, Standing
from .settings import Settings

_log = logging.getLogger("wsgi_sessions.migration")

# Whoever presents one of these has no use for its cookie any more. Others can be read again once a mistake is mended.
_GONE = (Reason.DELETED, Reason.EXPIRED, Reason.REPLAYED)
_WHY_NONE = ": source_of() returns None where Beaker kept the sessions in memory, or where they cannot be read"
# Of the dropped keys of one session, which may have come from its visitor.
_MOST_LOGGED = 20


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
        if not isinstance(sources, list | tuple):
            raise TypeError(f"legacy must be a list of sources, not {_described(sources)}: write legacy=[source]")
        for source in sources:
            if isinstance(source, type) or not callable(getattr(source, "identify", None)):
                raise TypeError(
                    f"legacy must be a list of sources such as FlaskSource(secret_key), not of {_described(source)}"
                    f"{_WHY_NONE if source is None else ''}"
                )
        self._sources = tuple(sources)
        self._retires = retire == "delete"
        # When and under which id this process has stored a salt.
        self._salts: deque[tuple[int, str]] = deque()
        #: How many sessions were taken over, and why others were not, by system and reason.
        self.counts: Counter[tuple[str, str]] = Counter()

    def check_cookie(self, ours: SessionCookie) -> None:
        """Refuse to keep a cookie in whose very place ours would be set.

        :raises ValueError: if that is so.
        """
        if not self._retires and not all(source.removals(ours) for source in self._sources):
            raise ValueError(f"retire='keep' needs another cookie name than {ours.name!r}, which the old one has")

    def complete(self, settings: Settings, presented: Presented, cookie_header: str) -> Presented:
        """Return the session that a request presents: ours, or one that a legacy cookie has brought.

        With it go the removals of the legacy cookies that are of no use any more.

        :param presented: ours, if there is one that is alive.
        :raises StoreError: if our store or the legacy system's failed.
        """
        self._delete_salts(settings)
        if presented.record is not None:
            removals = self._left_over(settings, cookie_header)
        elif presented.standing is Standing.NEW:
            presented, removals = self._find(settings, presented, cookie_header)
        else:
            return presented
        return msgspec.structs.replace(presented, removals=removals) if removals else presented

    def forget(self, settings: Settings, cookie_header: str, id: str) -> None:
        """Note of what a session of ours was made of, and of all that is presented beside it, that it has ended.

        :param id: of ours.
        :raises StoreError: if our store failed.
        """
        remember_end(settings.store, id)
        for arrival in self._arrivals(settings, cookie_header):
            try:
                arrival.forget()
            except LegacyError as error:
                self._refuse(arrival.source, error)

    def is_theirs(self, name: str, text: str) -> bool:
        """Tell whether a cookie of that name and value is one that a source accepts."""
        return any(_accepts(source, cookie) for source in self._sources for cookie in source.cookies(f"{name}={text}"))

    def _find(
        self, settings: Settings, presented: Presented, cookie_header: str
    ) -> tuple[Presented, tuple[tuple[str, str], ...]]:
        removals: dict[tuple[str, str], None] = {}
        found: Presented | None = None
        for arrival in self._arrivals(settings, cookie_header):
            try:
                if found is None:
                    found = self._taken(arrival)
                elif arrival.forget():
                    # It must not come back after the logout.
                    self._count(arrival.source, "left-behind")
                    _log.warning(
                        "a visitor presented several sessions; one of %s was left behind", arrival.source.system
                    )
            except LegacyError as error:
                self._refuse(arrival.source, error)
                if error.reason not in _GONE:
                    continue
            removals.update(dict.fromkeys(self._removals(settings, arrival.source)))
        return found or presented, tuple(removals)

    def _left_over(self, settings: Settings, cookie_header: str) -> tuple[tuple[str, str], ...]:
        """Return the removals of what is presented beside a session of ours: set by an old process, since."""
        removals: dict[tuple[str, str], None] = {}
        for source in self._sources:
            # Most requests have none.
            if not source.cookies(cookie_header):
                continue
            own = self._removals(settings, source)
            if own and any(True for _ in self._arrivals_of(settings, source, cookie_header)):
                removals.update(dict.fromkeys(own))
        return tuple(removals)

    def _arrivals(self, settings: Settings, cookie_header: str) -> Iterator[Arrival]:
        for source in self._sources:
            yield from self._arrivals_of(settings, source, cookie_header)

    def _arrivals_of(self, settings: Settings, source: LegacySource, cookie_header: str) -> Iterator[Arrival]:
        ours = settings.cookie
        for cookie in source.cookies(cookie_header):
            if ours is not None and ours.is_ours(cookie):
                # One of ours, under the same name.
                continue
            try:
                yield Arrival(settings, source, cookie, retires=self._retires)
            except LegacyError as error:
                self._refuse(source, error)

    def _removals(self, settings: Settings, source: LegacySource) -> list[tuple[str, str]]:
        return source.removals(settings.cookie) if self._retires and settings.cookie is not None else []

    def _taken(self, arrival: Arrival) -> Presented:
        presented = arrival.take()
        if arrival.first_of is not None:
            self._salts.append((clock.now(), salt_id(arrival.first_of)))
            presented = msgspec.structs.replace(presented, if_lost=partial(self._lose, arrival))
        if arrival.dropped is not None:
            self._count(arrival.source, "taken-over")
            _log.info("a session of %s was taken over", arrival.source.system)
            for _ in arrival.dropped:
                self._count(arrival.source, "dropped-key")
            for where, why in arrival.dropped[:_MOST_LOGGED]:
                _log.info("of a session of %s, %s was dropped: %s", arrival.source.system, where, why)
            if more := len(arrival.dropped[_MOST_LOGGED:]):
                _log.info("of a session of %s, %d more were dropped", arrival.source.system, more)
        return presented

    def _lose(self, arrival: Arrival) -> None:
        """Leave the old cookie its use: it is the only one that the browser has."""
        for stored in tuple(self._salts):
            if stored[1] == salt_id(arrival.first_of or ""):
                with suppress(ValueError):
                    self._salts.remove(stored)
        try:
            arrival.lose()
        except (LegacyError, StoreError):
            system = arrival.source.system
            _log.warning("a session of %s was taken over, and its visitor may not get into it", system, exc_info=True)

    def _delete_salts(self, settings: Settings) -> None:
        """Delete those that have ended: with one in hand, and the old storage, a token can be made."""
        while self._salts:
            try:
                # Taken out before it is looked at: another thread may take the next one meanwhile.
                stored, id = self._salts.popleft()
            except IndexError:
                return
            if clock.now() - stored <= JOINING:
                self._salts.appendleft((stored, id))
                return
            with suppress(StoreError):
                settings.store.delete(id)

    def _refuse(self, source: LegacySource, error: LegacyError) -> None:
        self._count(source, error.reason)
        # One that only we cannot store is lost as a whole.
        level = logging.WARNING if error.reason is Reason.UNSTORABLE else logging.INFO
        _log.log(level, "a session of %s was not taken over: %s", source.system, error)

    def _count(self, source: LegacySource, what: str) -> None:
        self.counts[source.system, str(what)] += 1


def _accepts(source: LegacySource, cookie: str) -> bool:
    try:
        return bool(source.identify(cookie))
    except LegacyError:
        return False


def _described(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
