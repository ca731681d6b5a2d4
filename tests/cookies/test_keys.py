"""Which keys are taken, and that those which can be guessed are not."""

import random
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_sessions.cookies.keys import check_keys, fingerprint

STRONG = "".join(random.Random(1).choices("0123456789abcdef", k=64))


@pytest.mark.parametrize(
    "key",
    [
        "",
        b"",
        "a",
        "secret",
        "changeme",
        "keyboard cat",
        "fLjUfxqXtfNoIldA0A0J",
        "\2\1thisismyscretkey\1\2\\e\\y\\y\\h",
        STRONG[:31],
        random.Random(2).randbytes(31),
    ],
)
def test_short_key_is_refused(key):
    """T-34: 31 bytes are too few, however random."""
    with pytest.raises(ValueError, match=r"keys\[0\] is shorter than 32 bytes: make one with"):
        check_keys([key])


@pytest.mark.parametrize(
    "key",
    [
        "a" * 64,
        b"\0" * 32,
        "ab" * 32,
        "secret" * 8,
        "changeme" * 4,
        "changemechangemechangemechangemec",
        "deadbeef" * 4,
        STRONG[:16] * 2,
        STRONG[:31] * 3,
        "01234567890123456789012345678901",
        "abcdefghijklmnopqrstuvwxyz012345",
        "zyxwvutsrqponmlkjihgfedcba987654",
        "0123456789abcdef" * 2,
        bytes(range(32)),
        bytes(range(200, 100, -2)),
        "11111111111111111111111111111112",
        "".join(random.Random(3).choices("acgt", k=64)),
    ],
)
def test_key_without_entropy_is_refused(key):
    """T-34 (CVE-2023-27524 and its kind): repetitions, sequences, a handful of characters."""
    with pytest.raises(ValueError, match=r"keys\[0\] is a (repetition, a sequence|placeholder)"):
        check_keys([key])


@pytest.mark.parametrize(
    "key",
    [
        "CHANGE_ME_TO_A_COMPLEX_RANDOM_SECRET",
        "YOUR_OWN_RANDOM_GENERATED_SECRET_KEY",
        "please-change-this-secret-key-in-production",
        "SomeRandomStringWith32Characters",
        "a-string-secret-at-least-256-bits-long",
        "this is a very secret key, do not share!",
        "password123password123password123!",
        "qwertyuiopasdfghjklzxcvbnm1234567890",
        "keyboardcat-development-my-keyboardcat",
        "s.e.c.r.e.t.k.e.y.c.h.a.n.g.e.m.e",
        "192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf",
        b"192B9BDD22AB9ED4D12E236C78AFCB9A393EC15F71BBF5DC987D54727823BCBF\n",
        "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
        "django-insecure-" + STRONG,
    ],
)
def test_well_known_key_is_refused(key):
    """T-34: placeholders, and keys printed in documentation."""
    with pytest.raises(ValueError, match=r"keys\[0\] is a placeholder or a published example: make one with"):
        check_keys([key])


@pytest.mark.parametrize("key", ["hunter2", "a" * 64, "CHANGE_ME_TO_A_COMPLEX_RANDOM_SECRET", "\udc80" * 7, 12345])
def test_refusal_does_not_show_the_key(key):
    """T-34, T-72: an error ends up in logs."""
    with pytest.raises((ValueError, TypeError)) as caught:
        check_keys([STRONG, key])
    assert "keys[1]" in str(caught.value)
    assert str(key) not in repr(caught.value)
    assert STRONG not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@given(st.binary(min_size=1, max_size=31), st.integers(64, 200))
def test_repeated_short_unit_is_refused(unit, length):
    """T-34: repeating a short key makes it longer, not stronger."""
    with pytest.raises(ValueError):
        check_keys([(unit * length)[:length]])


@given(st.integers(0, 255), st.integers(0, 255), st.integers(32, 200))
def test_counting_is_refused(start, step, length):
    """T-34: up, down, or in steps."""
    with pytest.raises(ValueError):
        check_keys([bytes((start + step * number) % 256 for number in range(length))])


@pytest.mark.parametrize("seed", range(100))
def test_random_keys_are_accepted(seed):
    """T-34: the twin of the refusals, for the forms in which random keys come."""
    source = random.Random(seed)
    keys = [
        source.randbytes(32),
        source.randbytes(16).hex(),
        source.randbytes(32).hex(),
        "".join(source.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", k=43)),
    ]
    assert check_keys(keys) == (keys[0], *(key.encode() for key in keys[1:]))


def test_what_the_messages_recommend_is_accepted():
    assert check_keys([secrets.token_hex(32)])


def test_long_random_unit_may_repeat():
    """T-34: 32 random bytes are enough, whatever follows."""
    assert check_keys([STRONG[:32] * 2]) == (STRONG[:32].encode() * 2,)


def test_text_is_encoded_as_utf_8():
    assert check_keys([STRONG + "é"]) == (STRONG.encode() + b"\xc3\xa9",)


@pytest.mark.parametrize("keys", [STRONG, STRONG.encode()])
def test_bare_key_is_refused_with_what_to_write(keys):
    with pytest.raises(TypeError, match=r"write \[key\]") as caught:
        check_keys(keys)
    assert STRONG not in str(caught.value)


@pytest.mark.parametrize("keys", [{STRONG}, None, 5, {STRONG: 1}, iter([STRONG])])
def test_keys_without_order_are_refused(keys):
    with pytest.raises(TypeError, match="must be a list of keys"):
        check_keys(keys)


@pytest.mark.parametrize("key", [None, 5, bytearray(STRONG.encode())])
def test_key_of_another_type_is_refused(key):
    with pytest.raises(TypeError, match=r"keys\[0\] must be str or bytes"):
        check_keys([key])


def test_one_to_five_keys():
    """T-33: every cookie may be checked against each of them."""
    five = [random.Random(seed).randbytes(32) for seed in range(5)]
    assert check_keys(five) == tuple(five)
    with pytest.raises(ValueError, match="1 to 5 keys, not 0"):
        check_keys([])
    with pytest.raises(ValueError, match="1 to 5 keys, not 6"):
        check_keys([*five, STRONG])


def test_fingerprint_tells_lists_of_keys_apart():
    one, other = STRONG.encode(), STRONG[::-1].encode()
    prints = {fingerprint(keys) for keys in [(one,), (other,), (one, other), (other, one), (one + other,)]}
    assert len(prints) == 5
    assert fingerprint((one, other)) == fingerprint((one, other))
