"""A cookie whose token is signed: a forged one never reaches the store.

The token needs no signature to be safe; with one, made-up tokens cost no read
of the store. Whoever wants the public id hidden as well uses
:mod:`wsgi_sessions.cookies.encrypted`.
"""

from __future__ import annotations

import hashlib
import hmac
from binascii import b2a_base64
from typing import ClassVar

from itsdangerous import Signer

from ..token import SessionToken
from .keyed import KeyedCookie

_URL_SAFE = bytes.maketrans(b"+/", b"-_")


class SignedCookie(KeyedCookie):
    """A cookie with the token and its HMAC-SHA256, as itsdangerous writes it.

    The signature is bound to this package and to the cookie's name. Nothing
    without a valid one is accepted: turning it on ends the sessions begun in
    plain cookies.

    To replace a key, append the new one; take the old one out when the cookies
    signed with it have ended or have been written anew.

    :param keys: one to five, oldest first, of 32 random bytes or more each; the last one signs, all are read.
    :param name: this and all others: see :class:`SessionCookie`.
    :raises TypeError: if a value is of the wrong type.
    :raises ValueError: if a key is weak, or for what :class:`SessionCookie` refuses.
    """

    # The token, a dot, and 32 bytes in base64url.
    _value_length: ClassVar[int] = 45 + 1 + 43

    def _use_keys(self, newest_first: tuple[bytes, ...]) -> None:
        self._codes = tuple(_keyed_code(key, self.name) for key in newest_first)

    def _wrap(self, token: SessionToken) -> str:
        value = token.value
        return f"{value}.{_signature(self._codes[0], value.encode()).decode()}"

    def _unwrap(self, text: str) -> SessionToken | None:
        signed, _, signature = text.rpartition(".")
        token = SessionToken.parse(signed)
        # compare_digest takes ASCII only.
        if token is None or not signature.isascii():
            return None
        value, presented = signed.encode(), signature.encode()
        for position, code in enumerate(self._codes):
            # Texts are compared, not the bytes they stand for: base64 has several texts for the same bytes.
            if hmac.compare_digest(_signature(code, value), presented):
                return SessionToken(token.id, token.secret, reissue=True) if position else token
        return None


def _keyed_code(key: bytes, name: str) -> hmac.HMAC:
    """Return the HMAC of an empty text; copying it spares each cookie the key's derivation and set-up."""
    signer = Signer(
        key,
        salt=f"wsgi_sessions.SignedCookie.1:{name}",
        key_derivation="hmac",
        digest_method=hashlib.sha256,
    )
    return hmac.new(signer.derive_key(), digestmod="sha256")


def _signature(code: hmac.HMAC, value: bytes) -> bytes:
    code = code.copy()
    code.update(value)
    # 32 bytes are 43 characters and a padding; half the cost of itsdangerous.encoding.base64_encode.
    return b2a_base64(code.digest(), newline=False).translate(_URL_SAFE)[:43]
