"""The credential: made of chance, parsed strictly, never shown."""

from __future__ import annotations

import hashlib
import os
import random
import warnings
from base64 import urlsafe_b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_sessions import token as token_module
from wsgi_sessions.token import SessionToken

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
LAST = "AQgw"
PARTS = st.builds(lambda start, last: start + last, st.text(ALPHABET, min_size=21, max_size=21), st.sampled_from(LAST))
VALID = "AAAAAAAAAAAAAAAAAAAAAA.BBBBBBBBBBBBBBBBBBBBBA"


def decoded(part: str) -> bytes:
    return urlsafe_b64decode(part + "==")


@given(id=PARTS, secret=PARTS)
def test_every_canonical_pair_parses_to_itself(id: str, secret: str) -> None:
    token = SessionToken.parse(f"{id}.{secret}")
    assert token is not None
    assert (token.id, token.secret, token.reissue) == (id, secret, False)
    assert token.value == f"{id}.{secret}"


def test_a_generated_token_parses_to_itself() -> None:
    token = SessionToken.generate()
    assert SessionToken.parse(token.value) == token


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        VALID[1:],
        VALID[:-1],
        VALID + "A",
        "A" + VALID,
        VALID.replace(".", ""),
        VALID.replace(".", ".."),
        VALID.replace(".", ":"),
        VALID + "\n",
        "\n" + VALID,
        " " + VALID,
        VALID + " ",
        f'"{VALID}"',
        VALID.replace("B", "=", 1),
        VALID.replace("B", "+", 1),
        VALID.replace("B", "/", 1),
        VALID.replace("B", "\0", 1),
        VALID.replace("B", "\r", 1),
        VALID.replace("B", "\xe9", 1),
        VALID.replace("B", "\u0663", 1),  # a digit to str.isdigit and to \d
        VALID.replace("B", "%2e", 1),
        "../../etc/passwd",
        "a/b",
        "%2e%2e",
        "A" * 22,
        "A" * 5000,
        f"{VALID}.{'C' * 21}A",
    ],
)
def test_anything_else_is_no_token(text: str) -> None:
    """T-05, T-06: what is malformed reaches no store."""
    assert SessionToken.parse(text) is None


@given(st.text())
def test_no_text_raises(text: str) -> None:
    """T-06."""
    token = SessionToken.parse(text)
    assert token is None or token.value == text


@pytest.mark.parametrize("place", [21, 44])
def test_no_two_texts_stand_for_the_same_bytes(place: int) -> None:
    """T-07: the last character carries two bits; its aliases are refused."""
    meant = [VALID[:place] + char + VALID[place + 1 :] for char in ALPHABET]
    assert [text[place] for text in meant if SessionToken.parse(text)] == [char for char in ALPHABET if char in LAST]


def test_ids_and_secrets_are_128_random_bits_each() -> None:
    """T-01, T-03: every bit is a fair coin, so none tells a time, a process or a counter."""
    count = 4000
    tokens = [SessionToken.generate() for _ in range(count)]
    assert len({token.id for token in tokens}) == len({token.secret for token in tokens}) == count
    numbers = [int.from_bytes(decoded(token.id) + decoded(token.secret), "big") for token in tokens]
    for bit in range(256):
        ones = sum(number >> bit & 1 for number in numbers)
        # Seven standard deviations of a fair coin.
        assert abs(ones - count / 2) < 7 * (count / 4) ** 0.5, bit


def test_seeding_the_random_module_repeats_nothing() -> None:
    """T-01."""
    state = random.getstate()
    try:
        random.seed(0)
        first = SessionToken.generate()
        random.seed(0)
        second = SessionToken.generate()
    finally:
        random.setstate(state)
    assert first.id != second.id
    assert first.secret != second.secret


def test_the_bytes_come_from_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """T-01, T-02: nothing is kept in the process that a fork could copy."""
    asked = []

    def urandom(count: int) -> bytes:
        asked.append(count)
        return bytes(range(count))

    monkeypatch.setattr(token_module.os, "urandom", urandom)
    token = SessionToken.generate()
    assert sum(asked) == 32
    assert decoded(token.id) + decoded(token.secret) == bytes(range(32))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_makes_other_tokens() -> None:
    """T-02."""
    SessionToken.generate()
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of any fork while another test's thread lives; this child touches no lock.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.write(writing, " ".join(SessionToken.generate().value for _ in range(20)).encode())
        os._exit(0)
    os.close(writing)
    ours = {SessionToken.generate().value for _ in range(20)}
    with os.fdopen(reading) as pipe:
        theirs = set(pipe.read().split())
    os.waitpid(child, 0)
    assert len(theirs) == 20
    assert not ours & theirs


def test_a_new_secret_for_an_id_keeps_the_id() -> None:
    before = SessionToken.generate()
    after = SessionToken.generate(before.id)
    assert after.id == before.id
    assert after.secret != before.secret


def test_the_hash_is_that_of_the_secret_alone() -> None:
    token = SessionToken.generate()
    assert token.secret_hash() == hashlib.sha256(token.secret.encode()).digest()
    assert SessionToken("another", token.secret).secret_hash() == token.secret_hash()


def test_a_token_opens_its_own_hash_only() -> None:
    token = SessionToken.generate()
    other = SessionToken.generate(token.id)
    assert token.opens(token.secret_hash())
    assert not token.opens(other.secret_hash())
    assert not token.opens(b"")
    assert not token.opens(token.secret_hash()[:16])


def test_hashes_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """T-09."""
    compared = []
    monkeypatch.setattr(token_module, "compare_digest", lambda *pair: compared.append(pair) or True)
    token = SessionToken.generate()
    assert token.opens(b"hash")
    assert compared == [(token.secret_hash(), b"hash")]


def test_the_repr_names_the_id_and_hides_the_secret() -> None:
    """T-72."""
    token = SessionToken.generate()
    assert token.id in repr(token)
    assert token.secret not in f"{token!r} {token} {[token]}"


def test_a_token_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        SessionToken.generate().secret = "another"  # type: ignore[misc]
