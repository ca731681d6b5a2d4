"""Bottle's signed cookies, in which an application has its session."""

from __future__ import annotations

import hmac
import re
from binascii import b2a_base64
from typing import Any, ClassVar

from ..legacy import LegacyError, LegacySession, Reason
from . import pickles
from ._arguments import check_is_pickle
from ._reading import read_base64
from ._signatures import check_digest, check_secret
from .base import Convert, Source

# By the length of the signature: SHA-256 since 0.13, MD5 before.
_DIGESTS = {44: "sha256", 24: "md5"}
_is_signed = re.compile(r"!([A-Za-z0-9+/]+={0,2})\?([A-Za-z0-9+/]+={0,2})").fullmatch


class BottleSource(Source):
    """Reads a cookie of ``response.set_cookie(name, value, secret=...)``.

    A value that is a dict becomes the session; any other becomes one key of it. The cookie does not say when it ends.

    :param secret: as the application gave it to ``set_cookie``.
    :param cookie_name: the name of the cookie.
    :param serializer: ``"pickle"``: there is no other, but it has to be said.
    :param key: which key of the session a value becomes that is no dict; the cookie's name if it is None.
    :param digestmod: the name of a digest, if the application does not use Bottle's own.
    :param persistent: whether the cookie was to outlive the browser.
    :param path: of the cookie; Bottle takes the path of the request if it is told none. This and all others: see
        :class:`Source`.
    :raises TypeError: if the secret is neither ``str`` nor ``bytes``.
    :raises ValueError: if it is empty, or another value makes no sense.
    """

    system: ClassVar[str] = "bottle"

    def __init__(
        self,
        secret: str | bytes,
        cookie_name: str,
        *,
        serializer: str,
        key: str | None = None,
        digestmod: str | None = None,
        persistent: bool = False,
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
        check_secret(secret, "secret")
        if digestmod is not None:
            check_digest(digestmod, "digestmod")
        self._secret = secret if isinstance(secret, bytes) else secret.encode()
        self._digest = digestmod
        self._key = cookie_name if key is None else key
        self._persistent = persistent

    def identify(self, cookie: str) -> list[str]:
        """Return the cookie itself: there is no other id. Each change of the session makes another one."""
        self._verified(cookie)
        return [cookie]

    def open(self, cookie: str) -> LegacySession:
        """Return the session in a cookie; see :class:`LegacySource`."""
        signed = pickles.load(read_base64(self._verified(cookie)))
        # A list since 0.13, a tuple before.
        if type(signed) not in (list, tuple) or len(signed) != 2:
            raise LegacyError(Reason.CORRUPT, "no session")
        name, value = signed
        if name != self.cookie_name:
            raise LegacyError(Reason.BAD_SIGNATURE, "it was signed for another cookie")
        data: dict[Any, Any] = value if type(value) is dict else {self._key: value}
        kept, dropped = self._storable(data)
        return LegacySession(data=kept, persistent=self._persistent, personal=False, dropped=dropped)

    def _verified(self, cookie: str) -> str:
        """Return the payload that was signed, not read yet."""
        found = _is_signed(cookie)
        if found is None:
            raise LegacyError(Reason.BAD_SIGNATURE)
        presented, payload = found.groups()
        digest = self._digest or _DIGESTS.get(len(presented))
        if digest is None:
            raise LegacyError(Reason.BAD_SIGNATURE)
        # As text: of what base64 stands for there would be more than one.
        expected = b2a_base64(hmac.digest(self._secret, payload.encode(), digest), newline=False)
        if not hmac.compare_digest(expected, presented.encode()):
            raise LegacyError(Reason.BAD_SIGNATURE)
        return payload
