"""The signed cookie: nothing without a valid signature comes out."""

import hashlib
import logging
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from itsdangerous import Signer

from wsgi_sessions.cookies import SessionCookie, SignedCookie
from wsgi_sessions.token import SessionToken

GOOD = SessionToken("GoodGoodGoodGoodGoodGA", "1234567890123456789-_A")
OTHER = SessionToken("EvilEvilEvilEvilEvilEA", "9876543210987654321-_A")
OLD, NEW, STRANGE = (random.Random(seed).randbytes(32).hex() for seed in range(3))
COOKIE = SignedCookie([OLD, NEW])


def value_of(cookie, token=GOOD):
    return cookie.header(token)[1].partition(";")[0].partition("=")[2]


def signed_elsewhere(salt, key=NEW):
    signer = Signer(key, salt=salt, key_derivation="hmac", digest_method=hashlib.sha256)
    return signer.sign(GOOD.value).decode()


def test_what_is_written_is_read_back():
    header = f"theme=dark; id={value_of(COOKIE)}; other=1"
    assert COOKIE.candidates(header) == [GOOD]


def test_attributes_are_those_of_the_plain_cookie():
    """T-23: also when removing."""
    options = {"path": "/app", "domain": "a.com", "secure": False, "http_only": False, "same_site": "strict"}
    signed, plain = SignedCookie([NEW], "s", **options), SessionCookie("s", **options)
    assert signed.header(None) == plain.header(None)
    assert signed.header(GOOD, 60)[1].partition(";")[2] == plain.header(GOOD, 60)[1].partition(";")[2]
    assert SignedCookie([NEW], same_site="None", partitioned=True).partitioned


def test_signature_is_that_of_itsdangerous():
    """T-32: the salt is bound to the package, the form and the cookie's name."""
    assert value_of(SignedCookie([NEW], "s")) == signed_elsewhere("wsgi_sessions.SignedCookie.1:s")


def test_any_other_character_is_refused():
    """T-30: every bit of every character."""
    value = value_of(COOKIE)
    for position, character in enumerate(value):
        for bit in range(8):
            changed = value[:position] + chr(ord(character) ^ 1 << bit) + value[position + 1 :]
            assert COOKIE.candidates(f"id={changed}") == [], changed


def test_other_spelling_of_the_same_signature_is_refused():
    """T-30: base64 decodes four last characters alike; itsdangerous takes them all."""
    value = value_of(COOKIE)
    signer = Signer(NEW, salt="wsgi_sessions.SignedCookie.1:id", key_derivation="hmac", digest_method=hashlib.sha256)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    aliases = [value[:-1] + last for last in alphabet if last != value[-1] and signer.validate(value[:-1] + last)]
    assert len(aliases) == 3
    for alias in [*aliases, value + "=", value + "==", value[:50] + "\n" + value[50:]]:
        assert COOKIE.candidates(f"id={alias}") == []


def test_truncated_value_is_refused():
    """T-30: from both ends, at every length."""
    value = value_of(COOKIE)
    for length in range(len(value)):
        assert COOKIE.candidates(f"id={value[:length]}") == []
        assert COOKIE.candidates(f"id={value[len(value) - length :]}") == []


@pytest.mark.parametrize("extra", ["A", "=", ".", "\0", "\x0b", "\xa0", '"', ",x", ".A", "A" * 8192])
def test_longer_value_is_refused(extra):
    """T-30."""
    assert COOKIE.candidates(f"id={value_of(COOKIE)}{extra}") == []
    assert COOKIE.candidates(f"id={extra}{value_of(COOKIE)}") == []


def test_parts_of_two_cookies_do_not_mix():
    """T-30: one user's id with another's secret or signature."""
    first, second = (value_of(COOKIE, token).split(".") for token in (GOOD, OTHER))
    for choice in range(1, 7):
        mixed = ".".join((first, second)[choice >> part & 1][part] for part in range(3))
        assert COOKIE.candidates(f"id={mixed}") == []
    assert COOKIE.candidates(f"id={'.'.join(first)}; id={'.'.join(second)}") == [GOOD, OTHER]


@settings(deadline=None)
@given(st.text(max_size=200) | st.text(max_size=60).map(f"{GOOD.value}.".__add__))
def test_any_text_is_refused_without_an_exception(text):
    """T-30: also a signature that is not ASCII."""
    assert COOKIE.candidates(f"id={text}") == []


@pytest.mark.parametrize("signature", ["", "é" * 43, "\u2000" * 43, "\udc80" * 43, "A" * 43])
def test_made_up_signature_is_refused_and_logged(signature, caplog):
    """T-30: quietly for the visitor, and without the value."""
    caplog.set_level(logging.INFO, "wsgi_sessions.security")
    assert COOKIE.candidates(f"id={GOOD.value}.{signature}") == []
    assert caplog.messages == ["malformed session cookie 'id'"]


def test_forged_cookies_do_not_use_up_the_candidates():
    """T-29, T-30: only what is well signed counts towards the five."""
    forged = "; ".join(f"id={GOOD.value}.{'A' * 42}{last}" for last in "ABCDEFGHIJ")
    assert COOKIE.candidates(f"{forged}; id={value_of(COOKIE)}") == [GOOD]


def test_plain_token_is_refused_and_signed_one_is_no_plain_one():
    """T-31: no fallback in either direction."""
    assert COOKIE.candidates(f"id={value_of(SessionCookie())}") == []
    assert SessionCookie().candidates(f"id={value_of(COOKIE)}") == []


def test_cookie_of_another_name_is_refused():
    """T-32: a value cannot be moved from one cookie to another."""
    first, second = SignedCookie([NEW], "first"), SignedCookie([NEW], "second")
    assert first.candidates(f"first={value_of(first)}") == [GOOD]
    assert first.candidates(f"first={value_of(second)}") == []
    assert second.candidates(f"second={value_of(first)}") == []


@pytest.mark.parametrize(
    "salt", ["itsdangerous.Signer", "cookie-session", "wsgi_sessions", "wsgi_sessions.SignedCookie.1:", "id"]
)
def test_signature_for_another_purpose_is_refused(salt):
    """T-32: the same key signs other things in the same application."""
    assert COOKIE.candidates(f"id={signed_elsewhere('wsgi_sessions.SignedCookie.1:id')}") == [GOOD]
    assert COOKIE.candidates(f"id={signed_elsewhere(salt)}") == []


def test_older_key_is_read_and_marked_for_reissue():
    """T-33: [old] becomes [old, new]."""
    before, after = SignedCookie([OLD]), SignedCookie([OLD, NEW])
    (token,) = after.candidates(f"id={value_of(before)}")
    assert (token.value, token.reissue) == (GOOD.value, True)
    (renewed,) = after.candidates(f"id={value_of(after, token)}")
    assert (renewed.value, renewed.reissue) == (GOOD.value, False)


def test_last_key_writes():
    """T-33: so that the first can go."""
    assert value_of(SignedCookie([OLD, NEW])) == value_of(SignedCookie([NEW]))
    assert value_of(SignedCookie([OLD, NEW])) != value_of(SignedCookie([OLD]))


def test_dropped_key_is_read_no_more():
    """T-33: and raises nothing."""
    assert SignedCookie([NEW]).candidates(f"id={value_of(SignedCookie([OLD]))}") == []
    assert COOKIE.candidates(f"id={value_of(SignedCookie([STRANGE]))}") == []


@pytest.mark.parametrize("position", range(5))
def test_each_of_five_keys_is_read(position):
    """T-33."""
    keys = [random.Random(seed).randbytes(32) for seed in range(5)]
    (token,) = SignedCookie(keys).candidates(f"id={value_of(SignedCookie([keys[position]]))}")
    assert token.reissue == (position < 4)


def test_same_token_under_two_keys_is_one_candidate():
    """T-29, T-33: a rotation makes no session ambiguous."""
    header = f"id={value_of(SignedCookie([OLD]))}; id={value_of(SignedCookie([NEW]))}"
    assert [token.value for token in COOKIE.candidates(header)] == [GOOD.value]


@pytest.mark.parametrize("key", ["", "secret", "changeme", "a" * 64, NEW[:31]])
def test_weak_key_is_refused(key):
    """T-34: at construction."""
    with pytest.raises(ValueError, match=r"keys\[1\]"):
        SignedCookie([NEW, key])


def test_too_many_keys_are_refused():
    """T-33: six."""
    with pytest.raises(ValueError, match="1 to 5 keys"):
        SignedCookie([random.Random(seed).randbytes(32) for seed in range(6)])


def test_attributes_are_checked():
    """T-35, T-36: as those of the plain cookie."""
    with pytest.raises(ValueError):
        SignedCookie([NEW], "a;b")
    with pytest.raises(ValueError):
        SignedCookie([NEW], "__Host-id", secure=False)


def test_longest_name_leaves_room_for_the_signature():
    """T-37: name and value are 4096 characters at most."""
    longest = "n" * (4096 - len(value_of(COOKIE)))
    assert len(longest) + len(value_of(SignedCookie([NEW], longest))) == 4096
    with pytest.raises(ValueError, match="4096"):
        SignedCookie([NEW], longest + "n")


def test_keys_are_not_shown():
    """T-72: neither in the repr nor in what a debugger or an error reporter dumps."""
    shown = repr(COOKIE) + repr(vars(COOKIE)) + str(COOKIE)
    for key in (OLD, NEW):
        assert key not in shown
        assert repr(key.encode())[2:-1] not in shown
        assert repr(hashlib.sha256(key.encode()).digest())[2:-1] not in shown
    assert repr(COOKIE).startswith("SignedCookie(name='id', path='/'")


def test_cookies_of_different_keys_differ():
    assert SignedCookie([OLD, NEW]) == COOKIE
    assert SignedCookie([NEW]) != COOKIE
    assert SignedCookie([OLD, NEW], "other") != COOKIE
    assert SessionCookie() != COOKIE
