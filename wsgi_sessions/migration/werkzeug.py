"""The sessions that Werkzeug had before 1.0 and secure-cookie has now: in files, and in a signed cookie."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any, ClassVar

from ..legacy import LegacyError, LegacySession, Reason
from . import pickles
from ._arguments import check_is_pickle, checked_lifetime
from ._payloads import check_serializer
from ._reading import milliseconds, read_base64, read_json, refuse_ended
from ._secure_cookie import SecureCookieSigner
from ._session_files import SessionFiles, StoredFile
from .base import Convert, Imported, Source, checked_id, imported

_OF_SECURE_COOKIE = "secure_cookie_%s.session"
_is_id = re.compile(r"[0-9a-f]{40}").fullmatch


class WerkzeugSource(Source):
    """Reads the files of ``FilesystemSessionStore``, of ``werkzeug.contrib.sessions`` or secure-cookie.

    The store never ends a session. A file is written when its session changes, and not when it is read.

    :param directory: the store's ``path``, or the directory for temporary files; whoever can write there can make
        sessions.
    :param serializer: ``"pickle"``: there is no other, but it has to be said.
    :param filename_template: the store's: of secure-cookie it is ``"secure_cookie_%s.session"``.
    :param lifetime: how long after its last change a session ends; None if it does not.
    :param persistent: whether the cookie was to outlive the browser.
    :param cookie_name: this and all others: see :class:`Source`.
    :raises ValueError: if there is no such directory, or another value makes no sense.
    """

    system: ClassVar[str] = "werkzeug"

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        serializer: str,
        filename_template: str = "werkzeug_%s.sess",
        lifetime: timedelta | None = None,
        persistent: bool = False,
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
        prefix, percent, suffix = filename_template.partition("%s")
        if not percent or "%" in prefix + suffix or "/" in filename_template:
            raise ValueError(f"filename_template must be a name with one '%s' in it, not {filename_template!r}")
        self._files = SessionFiles(directory, prefix, suffix, _is_id)
        # As Werkzeug did until 1.0, which secure-cookie came after.
        self.takes_last = filename_template != _OF_SECURE_COOKIE
        self._lifetime = None if lifetime is None else checked_lifetime(lifetime, "lifetime")
        self._persistent = persistent

    def identify(self, cookie: str) -> list[str]:
        """Return the id."""
        return [checked_id(cookie, _is_id)]

    def open(self, cookie: str) -> LegacySession:
        """Return the session that a cookie presents; see :class:`LegacySource`."""
        return self._session(self._files.read(checked_id(cookie, _is_id)))

    def discard(self, cookie: str) -> None:
        """Delete a session's file; see :class:`LegacySource`."""
        # A cookie that is no id has none.
        with suppress(LegacyError):
            self._files.delete(checked_id(cookie, _is_id))

    def scan(self) -> Iterator[Imported]:
        """Yield every session of the directory; see :meth:`Source.scan`."""
        for id, file in self._files.scan():
            yield from imported(id, self._files.shown(id), file, self._session)

    def _session(self, file: StoredFile) -> LegacySession:
        expires = None if self._lifetime is None else file.modified + self._lifetime
        refuse_ended(expires)
        data = pickles.load(file.contents)
        if type(data) is not dict:
            raise LegacyError(Reason.CORRUPT, "no session")
        kept, dropped = self._storable(data)
        # It began no later, so an absolute lifetime holds for it as well.
        return LegacySession(
            data=kept,
            created=file.modified,
            expires=expires,
            accessed=file.modified,
            persistent=self._persistent,
            dropped=dropped,
        )


class SecureCookieSource(Source):
    """Reads the cookie of ``SecureCookie``, of ``werkzeug.contrib.securecookie`` or secure-cookie.

    :param secret_key: as the application gave it to ``SecureCookie``.
    :param serializer: ``"json"``, as secure-cookie writes; or ``"pickle"``, as Werkzeug did, which reads both.
    :param hash_method: the name of a digest, if the application has changed it.
    :param persistent: whether the cookie was to outlive the browser.
    :param cookie_name: this and all others: see :class:`Source`.
    :raises TypeError: if the key is neither ``str`` nor ``bytes``.
    :raises ValueError: if it is empty, or another value makes no sense.
    """

    system: ClassVar[str] = "secure-cookie"

    def __init__(
        self,
        secret_key: str | bytes,
        *,
        serializer: str = "json",
        hash_method: str = "sha1",
        persistent: bool = False,
        cookie_name: str = "session",
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
        self._signer = SecureCookieSigner(secret_key, hash_method)
        self._pickled = check_serializer(serializer)
        # Pickles are of Werkzeug before 1.0; see WerkzeugSource.
        self.takes_last = self._pickled
        self._persistent = persistent

    def identify(self, cookie: str) -> list[str]:
        """Return the cookie itself: there is no other id. Each change of the session makes another one."""
        self._signer.verify(cookie)
        return [cookie]

    def open(self, cookie: str) -> LegacySession:
        """Return the session in a cookie; see :class:`LegacySource`."""
        data = {key: self._value(read_base64(text)) for key, text in self._signer.verify(cookie)}
        end = data.pop("_expires", None)
        expires = None if end is None else milliseconds(end)
        refuse_ended(expires)
        kept, dropped = self._storable(data)
        return LegacySession(data=kept, expires=expires, persistent=self._persistent, personal=False, dropped=dropped)

    def _value(self, text: bytes) -> Any:
        # All pickles end with a dot, and no JSON does.
        if not text.endswith(b"."):
            return read_json(text)
        if not self._pickled:
            raise LegacyError(Reason.PICKLE_DISABLED)
        return pickles.load(text)
