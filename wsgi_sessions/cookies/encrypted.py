"""A cookie whose token is encrypted: not even the public id can be read.

It needs the extra ``wsgi-sessions[encrypted]``. The session's data are in the
store whatever the cookie; without a reason to hide the id, a plain or signed
cookie does.
"""

from __future__ import annotations

import os
import re
from base64 import urlsafe_b64encode
from binascii import a2b_base64
from typing import ClassVar

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
except ImportError as error:
    raise ImportError("EncryptedCookie needs cryptography: pip install wsgi-sessions[encrypted]") from error

from ..token import SessionToken
from .keyed import KeyedCookie

# Bytes; the length for which AES-GCM is specified (NIST SP 800-38D 8.2).
_NONCE_LENGTH = 12
# 73 bytes: nonce, token and tag of 16. The last of 98 characters carries 2 bits: only these four
# are canonical, so no two texts stand for the same bytes.
_is_canonical = re.compile(r"[A-Za-z0-9_-]{97}[AQgw]").fullmatch
_STANDARD = bytes.maketrans(b"-_", b"+/")


class EncryptedCookie(KeyedCookie):
    """A cookie with the token in AES-256-GCM, authenticated with the cookie's name.

    Nothing else is accepted, whether plain or signed: turning it on ends the
    sessions begun in other cookies.

    To replace a key, append the new one; take the old one out when the cookies
    encrypted with it have ended or have been written anew. Random nonces are
    good for 2**32 cookies a key (NIST SP 800-38D 8.3).

    :param keys: one to five, oldest first, of 32 random bytes or more each; the last one encrypts, all are read.
    :param name: this and all others: see :class:`SessionCookie`.
    :raises TypeError: if a value is of the wrong type.
    :raises ValueError: if a key is weak, or for what :class:`SessionCookie` refuses.
    """

    # 12 bytes of nonce, 45 of token and 16 of tag in base64url.
    _value_length: ClassVar[int] = 98

    def _use_keys(self, newest_first: tuple[bytes, ...]) -> None:
        self._ciphers = tuple(_cipher(key) for key in newest_first)
        self._bound_to = self.name.encode()

    def _wrap(self, token: SessionToken) -> str:
        nonce = os.urandom(_NONCE_LENGTH)
        sealed = self._ciphers[0].encrypt(nonce, token.value.encode(), self._bound_to)
        return urlsafe_b64encode(nonce + sealed).rstrip(b"=").decode()

    def _unwrap(self, text: str) -> SessionToken | None:
        if not _is_canonical(text):
            return None
        data = a2b_base64(text.encode().translate(_STANDARD) + b"==")
        nonce, sealed = data[:_NONCE_LENGTH], data[_NONCE_LENGTH:]
        for position, cipher in enumerate(self._ciphers):
            try:
                opened = cipher.decrypt(nonce, sealed, self._bound_to)
            except InvalidTag:
                continue
            token = SessionToken.parse(opened.decode("latin-1"))
            return SessionToken(token.id, token.secret, reissue=True) if token and position else token
        return None


def _cipher(key: bytes) -> AESGCM:
    # Derived, so that a key shared with another use, or with SignedCookie, is another key here.
    derivation = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"wsgi_sessions.EncryptedCookie.1")
    return AESGCM(derivation.derive(key))
