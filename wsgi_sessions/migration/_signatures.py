"""How the cookies of Flask and Pyramid are signed.

No other text is as good as the one that was sent: a session would have two identities, and come back under the second.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from functools import partial

from itsdangerous import Signer

from ..legacy import LegacyError, Reason
from ._reading import read_base64, read_base64url

_DERIVATIONS = ("concat", "django-concat", "hmac", "none")
_is_hex_signed = re.compile(r"[0-9a-f]{40}[0-9A-Za-z+/]+={0,2}").fullmatch


def check_secret(secret: object, name: str) -> None:
    """Refuse what cannot be a secret.

    :raises TypeError: if it is neither ``str`` nor ``bytes``.
    :raises ValueError: if it is empty.
    """
    if not isinstance(secret, str | bytes):
        raise TypeError(f"{name} must be str or bytes, not {type(secret).__name__}")
    if not secret:
        raise ValueError(f"{name} must not be empty: write the one that the old application signed with")


def checked_secrets(secret: str | bytes, name: str, fallbacks: Iterable[str | bytes]) -> list[str | bytes]:
    """Return a secret, and others that were in its place.

    :raises TypeError: if one is neither ``str`` nor ``bytes``.
    :raises ValueError: if one is empty.
    """
    if isinstance(fallbacks, str | bytes):
        raise TypeError("fallbacks must be a list of keys: write [key]")
    secrets = [secret, *fallbacks]
    for number, each in enumerate(secrets):
        check_secret(each, f"fallbacks[{number - 1}]" if number else name)
    return secrets


def check_digest(digest: str, name: str) -> None:
    """Raise ValueError for what hashlib does not know as a digest of a fixed size."""
    if digest not in hashlib.algorithms_available or not hashlib.new(digest).digest_size:
        raise ValueError(f"{name} must be a digest that hashlib knows, such as 'sha1', not {digest!r}")


class DottedSigner:
    """Verifies what itsdangerous has signed: a text, a dot, and the signature.

    :param secrets: any of them may have signed.
    :raises TypeError: if a secret is neither ``str`` nor ``bytes``.
    :raises ValueError: if one is empty, or itsdangerous does not know the rest.
    """

    def __init__(
        self, secrets: Iterable[str | bytes], *, salt: str, digest: str = "sha1", derivation: str = "hmac"
    ) -> None:
        check_digest(digest, "digest_method")
        if derivation not in _DERIVATIONS:
            raise ValueError(f"key_derivation must be one of {', '.join(map(repr, _DERIVATIONS))}, not {derivation!r}")
        method = partial(hashlib.new, digest)
        self._signers = [
            Signer(secret, salt=salt, key_derivation=derivation, digest_method=method) for secret in secrets
        ]

    def verify(self, text: str) -> str:
        """Return what was signed.

        :raises LegacyError: if it was not.
        """
        signed, dot, signature = text.rpartition(".")
        if dot and text.isascii():
            value, presented = signed.encode(), signature.encode()
            for signer in self._signers:
                if hmac.compare_digest(signer.get_signature(value), presented):
                    return signed
        raise LegacyError(Reason.BAD_SIGNATURE)


class PrefixSigner:
    """Verifies what ``webob.cookies.SignedSerializer`` has signed: URL-safe base64 of the signature and the payload.

    :raises TypeError: if the secret is neither ``str`` nor ``bytes``.
    :raises ValueError: if it is empty, or hashlib does not know the digest.
    """

    def __init__(self, secret: str | bytes, *, salt: str, digest: str = "sha512") -> None:
        check_secret(secret, "secret")
        check_digest(digest, "hashalg")
        self._key = _salted(salt, secret)
        self._digest = digest
        self._size = hashlib.new(digest).digest_size

    def verify(self, text: str) -> bytes:
        """Return the payload that was signed.

        :raises LegacyError: if none was.
        """
        try:
            signed = read_base64url(text)
        except LegacyError:
            signed = b""
        signature, payload = signed[: self._size], signed[self._size :]
        if not hmac.compare_digest(hmac.digest(self._key, payload, self._digest), signature):
            raise LegacyError(Reason.BAD_SIGNATURE)
        return payload


class HexSigner:
    """Verifies what ``pyramid.session.signed_serialize`` of Pyramid before 2.0 has signed: 40 hex digits, then base64.

    :raises TypeError: if the secret is neither ``str`` nor ``bytes``.
    :raises ValueError: if it is empty.
    """

    def __init__(self, secret: str | bytes) -> None:
        check_secret(secret, "secret")
        self._key = _salted("", secret)

    def verify(self, text: str) -> bytes:
        """Return the payload that was signed.

        :raises LegacyError: if none was.
        """
        if _is_hex_signed(text):
            try:
                payload = read_base64(text[40:])
            except LegacyError:
                payload = b""
            if hmac.compare_digest(hmac.digest(self._key, payload, "sha1").hex(), text[:40]):
                return payload
        raise LegacyError(Reason.BAD_SIGNATURE)


def _salted(salt: str, secret: str | bytes) -> bytes:
    """Return salt and secret as WebOb joins them: latin-1, and UTF-8 if one of them does not fit."""
    try:
        return _encoded(salt, "latin-1") + _encoded(secret, "latin-1")
    except UnicodeEncodeError:
        return _encoded(salt, "utf-8") + _encoded(secret, "utf-8")


def _encoded(text: str | bytes, encoding: str) -> bytes:
    return text if isinstance(text, bytes) else text.encode(encoding)
