"""How ``SecureCookie`` signs: base64 of the signature, a question mark, and items as in a query string."""

from __future__ import annotations

import hmac
import re
from binascii import b2a_base64
from urllib.parse import unquote_plus

from ..legacy import LegacyError, Reason
from ._signatures import check_digest, check_secret

# Where an item ends is signed as a bar, so with one in a key or value another text would have the same signature.
_are_items = re.compile(r"[!-~]*").fullmatch
_FORBIDDEN = "|"


class SecureCookieSigner:
    """Verifies what a secret key has signed.

    :raises TypeError: if the key is neither ``str`` nor ``bytes``.
    :raises ValueError: if it is empty, or hashlib does not know the digest.
    """

    def __init__(self, secret_key: str | bytes, digest: str) -> None:
        check_secret(secret_key, "secret_key")
        check_digest(digest, "hash_method")
        self._key = secret_key if isinstance(secret_key, bytes) else secret_key.encode()
        self._digest = digest

    def verify(self, text: str) -> list[tuple[str, str]]:
        """Return the keys, and the values as they were written.

        :raises LegacyError: if none were signed.
        """
        presented, mark, items = text.partition("?")
        if not mark or not text.isascii() or not _are_items(items) or _FORBIDDEN in items:
            raise LegacyError(Reason.BAD_SIGNATURE)
        signed = "".join(f"|{item}" for item in items.split("&"))
        # As text: of what base64 stands for there would be more than one.
        expected = b2a_base64(hmac.digest(self._key, signed.encode(), self._digest), newline=False)
        if not hmac.compare_digest(expected, presented.encode()):
            raise LegacyError(Reason.BAD_SIGNATURE)
        return [_parts(item) for item in items.split("&")]


def _parts(item: str) -> tuple[str, str]:
    key, equals, value = item.partition("=")
    if not equals:
        raise LegacyError(Reason.CORRUPT, "an item has no value")
    return unquote_plus(key), value
