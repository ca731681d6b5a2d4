"""Pyramid's own sessions: all of them in a signed cookie, JSON since 2.0 and pickles before."""

from __future__ import annotations

from typing import Any, ClassVar

from ..legacy import LegacyError, LegacySession, Reason
from ._arguments import check_is_pickle, checked_timeout
from ._payloads import check_serializer, read_payload
from ._reading import milliseconds, refuse_ended
from ._signatures import HexSigner, PrefixSigner
from .base import Convert, Source


class PyramidSource(Source):
    """Reads the cookie of ``SignedCookieSessionFactory``.

    :param secret: as the factory has it; this and the next three.
    :param timeout: seconds after which an unused session ends; None for never.
    :param salt: text that goes before the secret.
    :param hashalg: the name of a digest.
    :param serializer: ``"json"``; or ``"pickle"``, as Pyramid before 2.0 wrote, which reads both.
    :param persistent: whether the cookie was to outlive the browser: the factory has a ``max_age``.
    :param cookie_name: this and all others: see :class:`Source`.
    :raises TypeError: if the secret is neither ``str`` nor ``bytes``.
    :raises ValueError: if it is empty, or another value makes no sense.
    """

    system: ClassVar[str] = "pyramid"

    def __init__(
        self,
        secret: str | bytes,
        *,
        timeout: int | None = 1200,
        salt: str = "pyramid.session.",
        hashalg: str = "sha512",
        serializer: str = "json",
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
        self._signer: PrefixSigner | HexSigner = PrefixSigner(secret, salt=salt, digest=hashalg)
        self._pickled = check_serializer(serializer)
        self._timeout = checked_timeout(timeout)
        self._persistent = persistent

    def identify(self, cookie: str) -> list[str]:
        """Return the cookie, without padding: there is no other id. Each change of the session makes another one."""
        self._signer.verify(cookie)
        return [cookie.rstrip("=")]

    def open(self, cookie: str) -> LegacySession:
        """Return the session in a cookie; see :class:`LegacySource`."""
        renewed, created, data = _parts(read_payload(self._signer.verify(cookie), pickled=self._pickled))
        expires = None if self._timeout is None else renewed + self._timeout * 1000
        refuse_ended(expires)
        kept, dropped = self._storable(data)
        return LegacySession(data=kept, created=created, expires=expires, persistent=self._persistent, dropped=dropped)


class PyramidUnencryptedSource(PyramidSource):
    """Reads the cookie of ``UnencryptedCookieSessionFactoryConfig``, which Pyramid had before 2.0; always a pickle.

    :param secret: as the factory has it.
    :param timeout: seconds after which an unused session ends; None for never.
    :param serializer: ``"pickle"``: there is no other, but it has to be said.
    :param persistent: this and all others: see :class:`PyramidSource`.
    :raises TypeError: if the secret is neither ``str`` nor ``bytes``.
    :raises ValueError: if it is empty, or another value makes no sense.
    """

    system: ClassVar[str] = "pyramid-unencrypted"

    def __init__(
        self,
        secret: str | bytes,
        *,
        serializer: str,
        timeout: int | None = 1200,
        persistent: bool = False,
        cookie_name: str = "session",
        path: str = "/",
        domain: str | None = None,
        secure: bool | None = None,
        partitioned: bool = False,
        convert: Convert | None = None,
        on_unknown: str = "drop",
    ) -> None:
        check_is_pickle(serializer)
        super().__init__(
            secret,
            serializer=serializer,
            timeout=timeout,
            persistent=persistent,
            cookie_name=cookie_name,
            path=path,
            domain=domain,
            secure=secure,
            partitioned=partitioned,
            convert=convert,
            on_unknown=on_unknown,
        )
        self._signer = HexSigner(secret)

    def identify(self, cookie: str) -> list[str]:
        """Return the cookie itself: there is no other id. Each change of the session makes another one."""
        self._signer.verify(cookie)
        return [cookie]


def _parts(value: Any) -> tuple[int, int, dict[Any, Any]]:
    """Return when a session was renewed, when it began, Unix milliseconds, and what it holds."""
    if type(value) not in (list, tuple) or len(value) != 3 or type(value[2]) is not dict:
        raise LegacyError(Reason.CORRUPT, "no session")
    return milliseconds(value[0]), milliseconds(value[1]), value[2]
