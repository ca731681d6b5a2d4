"""How Django signs sessions: with ``django.core.signing``; where it stored them before 3.1, in another way."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable

from ..legacy import LegacyError, Reason
from ._reading import milliseconds, read_base64, read_dotted, write_base64url
from ._signatures import checked_secrets

# By the length of the signature: SHA-256 since 3.1, SHA-1 before.
_DIGESTS = {43: "sha256", 27: "sha1"}
_BASE62 = {digit: value for value, digit in enumerate("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")}
_is_stamp = re.compile(r"[0-9A-Za-z]{1,11}").fullmatch
_hex_signed = re.compile(rb"([0-9a-f]{40}):(.*)", re.DOTALL).fullmatch


class DjangoSigner:
    """Verifies what an application's secret keys have signed.

    :param fallbacks: other keys that may have.
    :param salt: of ``django.core.signing``.
    :param old_salt: of what was stored before 3.1; None where that was no different.
    :raises TypeError: if a key is neither ``str`` nor ``bytes``.
    :raises ValueError: if one is empty.
    """

    def __init__(
        self,
        secret_key: str | bytes,
        fallbacks: Iterable[str | bytes],
        *,
        salt: str,
        old_salt: str | None = None,
    ) -> None:
        keys = checked_secrets(secret_key, "secret_key", fallbacks)
        self._keys = [key if isinstance(key, bytes) else key.encode() for key in keys]
        self._salt = salt + "signer"
        self._old_salt = old_salt

    def verify(self, text: str) -> tuple[str, int]:
        """Return the payload that was signed, not read yet, and when it was, Unix milliseconds.

        :raises LegacyError: if none was.
        """
        signed, _, signature = text.rpartition(":")
        payload, colon, stamp = signed.rpartition(":")
        digest = _DIGESTS.get(len(signature))
        if digest is None or not colon or not text.isascii() or not self._is_signed(signed, signature, digest):
            raise LegacyError(Reason.BAD_SIGNATURE)
        return payload, _milliseconds(stamp)

    def read(self, text: str) -> bytes:
        """Return the payload of what was signed, in whichever way.

        :raises LegacyError: if it was not signed, or cannot be read.
        """
        if ":" not in text and self._old_salt is not None:
            return self._read_old(text, self._old_salt)
        payload, _ = self.verify(text)
        return read_dotted(payload)

    def _is_signed(self, signed: str, signature: str, digest: str) -> bool:
        return any(
            hmac.compare_digest(write_base64url(_salted_hmac(self._salt, key, signed.encode(), digest)), signature)
            for key in self._keys
        )

    def _read_old(self, text: str, salt: str) -> bytes:
        # The first versions broke the lines of the base64.
        found = _hex_signed(read_base64(text.replace("\n", "")))
        if found is not None:
            presented, payload = found.groups()
            for key in self._keys:
                if hmac.compare_digest(_salted_hmac(salt, key, payload, "sha1").hex().encode(), presented):
                    return payload
        raise LegacyError(Reason.BAD_SIGNATURE)


def _salted_hmac(salt: str, key: bytes, value: bytes, digest: str) -> bytes:
    return hmac.digest(hashlib.new(digest, salt.encode() + key).digest(), value, digest)


def _milliseconds(stamp: str) -> int:
    if not _is_stamp(stamp):
        raise LegacyError(Reason.CORRUPT, "a time is none")
    seconds = 0
    for digit in stamp:
        seconds = seconds * 62 + _BASE62[digit]
    return milliseconds(seconds)
