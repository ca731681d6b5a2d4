"""How Beaker writes a session, 1.6 to 1.14: a dict, or base64 of a pickle or of deflated JSON, encrypted or not."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from ..legacy import LegacyError, Reason
from . import pickles
from ._reading import inflate, milliseconds, read_base64, read_json, refuse_ended

#: What a session's id is; anything else could be a path.
is_id = re.compile(r"[0-9a-f]{32}").fullmatch
_SIGNATURE = 40
# Beaker always writes protocol 2, and what zlib writes begins otherwise.
_PICKLE_BEGIN, _PICKLE_END = b"\x80\x02", b"."
# Of an AES-GCM message.
_IV, _TAG = 12, 16
# Base64 characters of a nonce of 48 bits, all that came before Beaker 1.8. Those of 128 bits end in "==".
_SHORT_NONCE = 8
_padded_nonce = re.compile(r"[A-Za-z0-9+/]{1,64}={1,2}(?=[A-Za-z0-9+/])")
_INTERNAL = ("_creation_time", "_accessed_time", "_domain", "_path")


def unsigned(value: str, key: bytes) -> str:
    """Return what Beaker has signed with a key: 40 hex digits of HMAC-SHA1 come before it.

    :raises LegacyError: if it was not signed with that key.
    """
    signature, payload = value[:_SIGNATURE], value[_SIGNATURE:]
    if not payload or not value.isascii():
        raise LegacyError(Reason.BAD_SIGNATURE)
    if not hmac.compare_digest(hmac.digest(key, payload.encode(), "sha1").hex(), signature):
        raise LegacyError(Reason.BAD_SIGNATURE)
    return payload


class Times(msgspec.Struct, frozen=True):
    """When a session began, was used last, and ends, Unix milliseconds; None where that is not said."""

    created: int | None
    accessed: int
    expires: int | None


class Format(msgspec.Struct, frozen=True):
    """Reads what Beaker has stored under the key ``session``, or in a cookie.

    :param is_pickled: whether the sessions may be pickles.
    :param encrypt_key: None if they are not encrypted.
    :param may_be_plain: whether what should be encrypted may not be: Beaker without an AES library stored it as it
        was, except in cookies.
    :param nonce_length: base64 characters that a nonce has; None if that is to be told from its padding.
    """

    is_pickled: bool
    encrypt_key: bytes | None = None
    validate_key: str = ""
    may_be_plain: bool = False
    nonce_length: int | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def read(self, stored: Any) -> dict[Any, Any]:
        """Return the dict that a session is, with Beaker's own keys.

        :param stored: text; a dict before Beaker 1.12, which used no serializer where nothing was encrypted.
        :raises LegacyError: if it cannot be read.
        """
        if isinstance(stored, bytes):
            stored = stored.decode("latin-1")
        if isinstance(stored, str):
            if not stored.isascii():
                raise LegacyError(Reason.CORRUPT, "base64")
            stored = self._deserialized(stored) if self.encrypt_key is None else self._decrypted(stored)
        elif self.encrypt_key is not None:
            raise LegacyError(Reason.CORRUPT, "it is not encrypted")
        if not isinstance(stored, dict):
            raise LegacyError(Reason.CORRUPT, "it is no dict")
        return stored

    def _deserialized(self, text: str) -> Any:
        return self._parsed(read_base64(text))

    def _parsed(self, payload: bytes) -> Any:
        if not (payload.startswith(_PICKLE_BEGIN) and payload.endswith(_PICKLE_END)):
            return read_json(inflate(payload))
        if not self.is_pickled:
            raise LegacyError(Reason.PICKLE_DISABLED)
        return pickles.load(payload)

    def _decrypted(self, text: str) -> Any:
        """Return the value of the first way to decrypt it that leads to one.

        Neither the cipher nor the length of the nonce is written down. Only AES-GCM proves that it was ours; the rest
        must be readable.
        """
        for length in self._nonce_lengths(text):
            key = self._key(text[:length])
            for decrypt in self._ways():
                try:
                    return self._parsed(decrypt(read_base64(text[length:]), key))
                except LegacyError as error:
                    if error.reason is Reason.PICKLE_DISABLED:
                        raise
        raise LegacyError(Reason.CORRUPT, "it cannot be decrypted with this key")

    def _nonce_lengths(self, text: str) -> Iterator[int]:
        if self.nonce_length is not None:
            yield self.nonce_length
        yield len(found[0]) if (found := _padded_nonce.match(text)) else _SHORT_NONCE

    def _ways(self) -> Iterator[Callable[[bytes, bytes], bytes]]:
        yield _by_gcm
        yield _by_counter
        if self.may_be_plain:
            yield lambda message, key: message

    def _key(self, nonce: str) -> bytes:
        # One iteration, as Beaker has it: the keys are to be random.
        return hashlib.pbkdf2_hmac("sha1", self.encrypt_key or b"", (self.validate_key + nonce).encode(), 1, 32)


def nonce_length(bits: int | None) -> int | None:
    """Return the base64 characters of a nonce of so many bits, which are Beaker's ``encrypt_nonce_bits``.

    :raises TypeError: if they are no number.
    :raises ValueError: if they are no number of bytes.
    """
    if bits is None:
        return None
    if isinstance(bits, bool) or not isinstance(bits, int):
        raise TypeError(f"encrypt_nonce_bits must be a number or None, not {type(bits).__name__}")
    if bits < 0 or bits % 8:
        raise ValueError("encrypt_nonce_bits must be a multiple of 8")
    return (bits // 8 + 2) // 3 * 4


def check_cryptography() -> None:
    """Raise ImportError where encrypted sessions cannot be read."""
    try:
        import cryptography.hazmat.primitives.ciphers  # noqa: F401
    except ImportError as error:
        raise ImportError("encrypted sessions need cryptography: pip install wsgi-sessions[encrypted]") from error


def _by_gcm(message: bytes, key: bytes) -> bytes:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    # Beaker puts the tag in front, AESGCM expects it at the end.
    iv, tag, encrypted = message[:_IV], message[_IV : _IV + _TAG], message[_IV + _TAG :]
    if len(tag) == _TAG:
        try:
            return AESGCM(key).decrypt(iv, encrypted + tag, None)
        except InvalidTag:
            pass
    raise LegacyError(Reason.CORRUPT)


def _by_counter(message: bytes, key: bytes) -> bytes:
    """Decrypt what Beaker wrote with PyCrypto: AES in counter mode from 0."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    decryptor = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).decryptor()
    return decryptor.update(message) + decryptor.finalize()


def times_of(data: dict[Any, Any], timeout: int | None) -> Times:
    """Return when a session began, was used last, and ends.

    :param timeout: seconds after the last access; None for no end.
    :raises LegacyError: if it was deleted: Beaker leaves a record that says neither; or if it has ended.
    """
    began, accessed = data.get("_creation_time"), data.get("_accessed_time")
    if began is None and accessed is None:
        raise LegacyError(Reason.DELETED)
    last = began if accessed is None else accessed
    used = milliseconds(last)
    expires = None if timeout is None else used + timeout * 1000
    refuse_ended(expires)
    return Times(None if began is None else milliseconds(began), used, expires)


def own_data(data: dict[Any, Any]) -> dict[Any, Any]:
    """Return the application's part of a session."""
    own = {key: value for key, value in data.items() if key not in _INTERNAL}
    # pyramid_beaker's token is bytes, and forms that are open hold it as text.
    token = own.get("_csrft_")
    if isinstance(token, bytes) and token.isascii():
        own["_csrft_"] = token.decode()
    return own
