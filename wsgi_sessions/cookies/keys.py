"""The keys of signed and encrypted cookies: what is accepted as one.

A key protects every session, so one that can be guessed is refused when the
cookie is made. No message holds a key, nor a part of it. A key that passes is
not therefore a good one: only a random one is.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

# 256 bits: the strength of HMAC-SHA256 and AES-256.
_MIN_KEY_BYTES = 32
# Every cookie that matches none is checked against all of them.
_MAX_KEYS = 5
# Shannon entropy per byte. The lowest among 20,000 random keys of 32 hex digits had 2.8, of 32 decimal digits 2.4.
_MIN_BITS = 2.25
# What has to remain of a key once the words below are taken out.
_MIN_REMAINDER = 16

_HINT = 'make one with python -c "import secrets; print(secrets.token_hex(32))"'

# Printed in documentation and copied from there into applications.
_PUBLISHED = {
    b"192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf",  # Flask, "Configuration Handling"
    b"09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",  # FastAPI, "OAuth2 with JWT tokens"
}
# Django's startproject writes it in front of a key that it checks in with the source (its check security.W009).
_INSECURE_PREFIX = b"django-insecure-"

# What placeholders are made of: "CHANGE_ME_TO_A_COMPLEX_RANDOM_SECRET", "please-change-this-secret-key-in-production".
_WORDS = (
    "at least be bit bits bytes change changeit changeme characters complex cookie default demo dev development django"
    " do example fixme flask for generated here insecure in is it jwt keep key keyboardcat letmein long me my not on"
    " only own passphrase password passwd please private prod production put qwerty qwertyuiop random replace safe"
    " secret secretkey secure session share sign signing so some string strong super supersecret test testing that the"
    " this to todo token unsafe use value very with you your zxcvbnm asdfghjkl admin 0123456789 1234567890 12345678"
    " abcdefgh"
)
# The longest first: "dev" would otherwise leave most of "development".
_remove_words = re.compile("|".join(sorted(_WORDS.split(), key=len, reverse=True)).encode()).sub
_SEPARATORS = b" \t\r\n_-.,:;!?/'\"()[]{}<>$"


def check_keys(keys: Sequence[str | bytes]) -> tuple[bytes, ...]:
    """Return the keys as bytes, in the order given: oldest first.

    :param keys: one to five, of 32 bytes or more each.
    :raises TypeError: if they are no list or tuple, or one is neither ``str`` nor ``bytes``.
    :raises ValueError: if there are none or too many, or one is weak.
    """
    if isinstance(keys, str | bytes):
        raise TypeError("keys must be a list of keys, oldest first: write [key]")
    if not isinstance(keys, Sequence):
        raise TypeError(f"keys must be a list of keys, oldest first, not {type(keys).__name__}")
    if not 1 <= len(keys) <= _MAX_KEYS:
        raise ValueError(f"keys must be 1 to {_MAX_KEYS} keys, not {len(keys)}: drop the oldest, or {_HINT}")
    return tuple(_check_key(key, f"keys[{index}]") for index, key in enumerate(keys))


def fingerprint(keys: tuple[bytes, ...]) -> bytes:
    """Return 32 bytes that tell lists of keys apart and do not give the keys away."""
    return hashlib.sha256(b"".join(hashlib.sha256(key).digest() for key in keys)).digest()


def _check_key(key: str | bytes, where: str) -> bytes:
    if isinstance(key, str):
        # An encoding error would quote the key.
        key = key.encode("utf-8", "surrogatepass")
    elif not isinstance(key, bytes):
        raise TypeError(f"{where} must be str or bytes, not {type(key).__name__}")
    if len(key) < _MIN_KEY_BYTES:
        raise ValueError(f"{where} is shorter than {_MIN_KEY_BYTES} bytes: {_HINT}")
    if _is_well_known(key):
        raise ValueError(f"{where} is a placeholder or a published example: {_HINT}")
    if _is_predictable(key):
        raise ValueError(f"{where} is a repetition, a sequence or of too few different characters: {_HINT}")
    return key


def _is_well_known(key: bytes) -> bool:
    # Files and shells add whitespace at the ends.
    folded = key.strip().lower()
    if folded in _PUBLISHED or folded.startswith(_INSECURE_PREFIX):
        return True
    return len(_remove_words(b"", folded.translate(None, _SEPARATORS))) < _MIN_REMAINDER


def _is_predictable(key: bytes) -> bool:
    # The steps between neighbours betray what counts up or down: its bytes all differ, its steps are all alike.
    steps = bytes((following - byte) % 256 for byte, following in pairwise(key))
    return min(_bits_per_byte(key), _bits_per_byte(steps)) < _MIN_BITS or _is_repetition(key)


def _bits_per_byte(data: bytes) -> float:
    shares = [count / len(data) for count in Counter(data).values()]
    return -sum(share * math.log2(share) for share in shares)


def _is_repetition(key: bytes) -> bool:
    """Tell whether a unit shorter than a key makes up the whole, the last one possibly cut."""
    longest = min(len(key) // 2, _MIN_KEY_BYTES - 1)
    return any(key[length:] == key[:-length] for length in range(1, longest + 1))
