"""What the sources of Django's sessions have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta, tzinfo
from typing import Any

from ..legacy import LegacyError, LegacySession, Reason
from . import _django_storages as storages
from ._arguments import checked_lifetime
from ._payloads import check_serializer, read_payload
from ._reading import milliseconds, moment, refuse_ended
from .base import Convert, Imported, Source, checked_id, imported

# Of django.contrib.sessions itself; what its other applications have stored stays.
_INTERNAL = ("_session_expiry", "testcookie")


class DjangoSessions(Source):
    """What the engines have in common.

    :param serializer: ``"json"``, or ``"pickle"``, which reads both.
    :param cookie_age: the application's ``SESSION_COOKIE_AGE``.
    :param expire_at_browser_close: its ``SESSION_EXPIRE_AT_BROWSER_CLOSE``.
    :param zone: its ``TIME_ZONE``, if its ``USE_TZ`` is not set.
    """

    #: Leave in a session what Django keeps there for itself, such as what ``set_expiry`` was given: for a project that
    #: stays with Django.
    keeps_internal = False

    def __init__(
        self,
        serializer: str,
        cookie_age: timedelta,
        expire_at_browser_close: bool,
        zone: tzinfo,
        *,
        cookie_name: str,
        path: str,
        domain: str | None,
        secure: bool | None,
        partitioned: bool,
        convert: Convert | None,
        on_unknown: str,
    ) -> None:
        super().__init__(
            cookie_name,
            path=path,
            domain=domain,
            secure=secure,
            partitioned=partitioned,
            convert=convert,
            on_unknown=on_unknown,
        )
        if not isinstance(zone, tzinfo):
            raise TypeError(f"zone must be a tzinfo, not {type(zone).__name__}: write ZoneInfo('Europe/Warsaw')")
        self._pickled = check_serializer(serializer)
        self._age = checked_lifetime(cookie_age, "cookie_age")
        self._persistent = not expire_at_browser_close
        self._zone = zone

    def _session(self, value: Any, end: int | None, modified: int | None) -> LegacySession:
        """Return a session.

        :param end: as the storage has it, Unix milliseconds; None if it has none.
        :param modified: when it was written, Unix milliseconds; None where that is of no consequence.
        """
        if type(value) is not dict:
            raise LegacyError(Reason.CORRUPT, "no session")
        expiry = value.get("_session_expiry")
        if modified is not None:
            end = self._end(expiry, modified)
        refuse_ended(end)
        persistent = self._persistent if expiry is None else expiry != 0
        data = {key: item for key, item in value.items() if self.keeps_internal or key not in _INTERNAL}
        kept, dropped = self._storable(data)
        return LegacySession(data=kept, expires=end, persistent=persistent, dropped=dropped)

    def _end(self, expiry: Any, modified: int) -> int | None:
        """Return when a session ends that was written at a time, by its own seconds, or date and time."""
        if not expiry:
            return modified + self._age
        if isinstance(expiry, int | float):
            return milliseconds(modified // 1000 + expiry)
        return moment(expiry, self._zone)


class StoredSessions(DjangoSessions):
    """What the engines have in common whose cookie is an id."""

    _storage: storages.Storage

    def identify(self, cookie: str) -> list[str]:
        """Return the id; of a cache in files also what stands for the file, whose name is a hash of it."""
        return self._storage.identities(checked_id(cookie, storages.is_id))

    def open(self, cookie: str) -> LegacySession:
        """Return the session that a cookie presents; see :class:`LegacySource`."""
        raw = self._storage.read(checked_id(cookie, storages.is_id))
        stored = self._storage.stored(raw)
        return self._session(self._value(stored.payload), stored.end, stored.modified)

    def discard(self, cookie: str) -> None:
        """Delete what is stored of a session; see :class:`LegacySource`."""
        # A cookie that is no id has nothing stored.
        with suppress(LegacyError):
            self._storage.delete(checked_id(cookie, storages.is_id))

    def scan(self) -> Iterator[Imported]:
        """Yield every session of the storage; see :meth:`Source.scan`."""
        for identity, where, raw in self._storage.scan():
            yield from imported(identity, where, raw, self._found)

    def _found(self, raw: Any) -> LegacySession | None:
        stored = self._storage.stored(raw)
        value = self._value(stored.payload)
        if self._storage.is_shared and type(value) is not dict:
            return None
        return self._session(value, stored.end, stored.modified)

    def _value(self, payload: bytes) -> Any:
        return read_payload(payload, pickled=self._pickled)
