"""CherryPy's sessions in files, with their id for a cookie."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, tzinfo
from functools import partial
from typing import Any, ClassVar

from .. import clock
from ..legacy import LegacyError, LegacySession, Reason
from . import pickles
from ._arguments import check_is_pickle
from ._reading import milliseconds, refuse_ended
from ._session_files import SessionFiles, StoredFile
from .base import Convert, Imported, Source, checked_id, imported

_is_id = re.compile(r"[0-9a-f]{40}").fullmatch
# CherryPy writes in place: seconds in which a file is written to its end, and milliseconds for which that may go on.
_WRITING = 0.05
_JUST_WRITTEN = 2000


class CherryPySource(Source):
    """Reads the files of CherryPy's ``FileSession``.

    :param directory: the application's ``tools.sessions.storage_path``.
    :param serializer: ``"pickle"``: there is no other, but it has to be said.
    :param zone: the time zone of the server that wrote them, whose local time their ends are in; None if it is this
        machine's.
    :param persistent: its ``tools.sessions.persistent``.
    :param cookie_name: this and all others: see :class:`Source`.
    :raises TypeError: if the zone is none.
    :raises ValueError: if there is no such directory, or another value makes no sense.
    """

    system: ClassVar[str] = "cherrypy"

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        serializer: str,
        zone: tzinfo | None = None,
        persistent: bool = True,
        cookie_name: str = "session_id",
        path: str = "/",
        domain: str | None = None,
        secure: bool | None = None,
        partitioned: bool = False,
        convert: Convert | None = None,
        on_unknown: str = "drop",
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
        check_is_pickle(serializer)
        if zone is not None and not isinstance(zone, tzinfo):
            raise TypeError(f"zone must be a tzinfo, not {type(zone).__name__}: write ZoneInfo('Europe/Warsaw')")
        self._files = SessionFiles(directory, "session-", "", _is_id)
        self._zone = zone
        self._persistent = persistent

    def identify(self, cookie: str) -> list[str]:
        """Return the id."""
        return [checked_id(cookie, _is_id)]

    def open(self, cookie: str) -> LegacySession:
        """Return the session that a cookie presents; see :class:`LegacySource`."""
        id = checked_id(cookie, _is_id)
        return self._found(id, self._files.read(id))

    def discard(self, cookie: str) -> None:
        """Delete a session's file; see :class:`LegacySource`."""
        # A cookie that is no id has none.
        with suppress(LegacyError):
            self._files.delete(checked_id(cookie, _is_id))

    def scan(self) -> Iterator[Imported]:
        """Yield every session of the directory; see :meth:`Source.scan`."""
        for id, file in self._files.scan():
            yield from imported(id, self._files.shown(id), file, partial(self._found, id))

    def _found(self, id: str, file: StoredFile) -> LegacySession:
        return self._session(self._parsed(id, file))

    def _parsed(self, id: str, file: StoredFile) -> Any:
        try:
            return pickles.load(file.contents)
        except LegacyError:
            if abs(clock.now() - file.modified) > _JUST_WRITTEN:
                raise
            clock.sleep(_WRITING)
            return pickles.load(self._files.read(id).contents)

    def _session(self, stored: Any) -> LegacySession:
        if type(stored) is not tuple or len(stored) != 2 or type(stored[0]) is not dict:
            raise LegacyError(Reason.CORRUPT, "no session")
        data, end = stored
        expires = self._milliseconds(end)
        refuse_ended(expires)
        kept, dropped = self._storable(data)
        return LegacySession(data=kept, expires=expires, persistent=self._persistent, dropped=dropped)

    def _milliseconds(self, end: Any) -> int:
        if type(end) is not datetime:
            raise LegacyError(Reason.CORRUPT, "a time is none")
        try:
            # A naive one is of this machine's zone if no other is given.
            return milliseconds((end if end.tzinfo else end.replace(tzinfo=self._zone)).timestamp())
        except (OverflowError, ValueError, OSError):
            raise LegacyError(Reason.CORRUPT, "a time is none") from None
