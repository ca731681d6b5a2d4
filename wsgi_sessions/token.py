"""The credential in a cookie: a public id and a secret, ``id.secret``.

The id is the key in the store and may be logged. The secret opens the session;
only its SHA-256 is ever stored, so a stolen database opens nothing.
"""

from __future__ import annotations

import os
import re
from binascii import b2a_base64
from hashlib import sha256
from hmac import compare_digest
from typing import Any, Self

import msgspec

# 16 bytes are 22 characters of base64url, the last of which carries 2 bits: only
# A, Q, g and w are canonical there, so no two texts stand for the same bytes.
_PART = "[A-Za-z0-9_-]{21}[AQgw]"
_match = re.compile(rf"({_PART})\.({_PART})", re.ASCII).fullmatch
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


class SessionToken(msgspec.Struct, frozen=True, gc=False):
    """What opens one session.

    :param id: the public id, 22 characters of base64url.
    :param secret: the secret, 22 characters of base64url.
    :param reissue: it came in a form that is being retired (a cookie signed
        with an older key) and should go out anew with the next cookie.
    """

    id: str
    secret: str
    reissue: bool = False

    @classmethod
    def generate(cls, id: str | None = None) -> Self:
        """Return a token with a new secret of 128 random bits, and a new id unless one is given."""
        # os.urandom is what the secrets module reads.
        random = os.urandom(32)
        # Both parts in one go, each filled up to 18 bytes, which are 24 characters, of which 22 are its own.
        text = b2a_base64(b"\0\0".join((random[:16], random[16:], b""))).translate(_URL_SAFE).decode()
        return cls(id or text[:22], text[24:46])

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the token that ``text`` spells, or None if it is none."""
        found = _match(text)
        if found is None:
            return None
        id, secret = found.groups()
        return cls(id, secret)

    @property
    def value(self) -> str:
        """The credential itself, as it travels in the cookie: keep it out of logs."""
        return f"{self.id}.{self.secret}"

    def secret_hash(self) -> bytes:
        """Return the SHA-256 of the secret, 32 bytes: what a record keeps."""
        return sha256(self.secret.encode()).digest()

    def opens(self, secret_hash: bytes) -> bool:
        """Tell in constant time whether this secret has that hash."""
        return compare_digest(sha256(self.secret.encode()).digest(), secret_hash)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r}, secret=...)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("id", self.id)]
