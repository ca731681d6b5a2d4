"""The encrypted cookie: nothing can be read from it, and nothing else comes out of it."""

import importlib
import random
import subprocess
import sys
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsgi_sessions.cookies import SessionCookie, SignedCookie
from wsgi_sessions.token import SessionToken

pytest.importorskip("cryptography", reason="needs the extra wsgi-sessions[encrypted]")

from wsgi_sessions.cookies.encrypted import EncryptedCookie

GOOD = SessionToken("GoodGoodGoodGoodGoodGA", "1234567890123456789-_A")
OTHER = SessionToken("EvilEvilEvilEvilEvilEA", "9876543210987654321-_A")
OLD, NEW, STRANGE = (random.Random(seed).randbytes(32).hex() for seed in range(3))
COOKIE = EncryptedCookie([OLD, NEW])
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

FORMS = {
    "plain": lambda key, name="id": SessionCookie(name),
    "signed": lambda key, name="id": SignedCookie([key], name),
    "encrypted": lambda key, name="id": EncryptedCookie([key], name),
}


def value_of(cookie, token=GOOD):
    return cookie.header(token)[1].partition(";")[0].partition("=")[2]


def test_what_is_written_is_read_back():
    header = f"theme=dark; id={value_of(COOKIE)}; other=1"
    assert COOKIE.candidates(header) == [GOOD]


@settings(deadline=None)
@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_any_token_is_read_back(id, secret):
    token = SessionToken(*(urlsafe_b64encode(part).rstrip(b"=").decode() for part in (id, secret)))
    assert COOKIE.candidates(f"id={value_of(COOKIE, token)}") == [token]


def test_attributes_are_those_of_the_plain_cookie():
    """T-23: also when removing."""
    options = {"path": "/app", "domain": "a.com", "secure": False, "http_only": False, "same_site": "strict"}
    encrypted, plain = EncryptedCookie([NEW], "s", **options), SessionCookie("s", **options)
    assert encrypted.header(None) == plain.header(None)
    assert encrypted.header(GOOD, 60)[1].partition(";")[2] == plain.header(GOOD, 60)[1].partition(";")[2]
    assert EncryptedCookie([NEW], same_site="None", partitioned=True).partitioned


def test_value_shows_neither_id_nor_secret():
    value = value_of(COOKIE)
    raw = urlsafe_b64decode(value + "==")
    for part in (GOOD.id, GOOD.secret):
        assert part not in value
        assert part.encode() not in raw
        assert urlsafe_b64decode(part + "==") not in raw


def test_nonces_do_not_repeat():
    """T-32: AES-GCM fails with the first nonce used twice; the same token never looks the same."""
    values = [value_of(COOKIE) for _ in range(100_000)]
    # 12 bytes are 16 characters.
    assert len({value[:16] for value in values}) == len(values)
    assert len({value[16:] for value in values}) == len(values)


def test_any_other_character_is_refused():
    """T-30: every bit of every character."""
    value = value_of(COOKIE)
    for position, character in enumerate(value):
        for bit in range(8):
            changed = value[:position] + chr(ord(character) ^ 1 << bit) + value[position + 1 :]
            assert COOKIE.candidates(f"id={changed}") == [], changed


def test_any_other_bit_is_refused():
    """T-30: nonce, ciphertext and tag."""
    raw = urlsafe_b64decode(value_of(COOKIE) + "==")
    for bit in range(len(raw) * 8):
        changed = (int.from_bytes(raw) ^ 1 << bit).to_bytes(len(raw))
        assert COOKIE.candidates(f"id={urlsafe_b64encode(changed).rstrip(b'=').decode()}") == []


def test_other_spelling_of_the_same_bytes_is_refused():
    """T-30: base64 decodes sixteen last characters alike."""
    value = value_of(COOKIE)
    raw = urlsafe_b64decode(value + "==")
    aliases = [value[:-1] + last for last in ALPHABET if urlsafe_b64decode(value[:-1] + last + "==") == raw]
    assert len(aliases) == 16
    assert [alias for alias in aliases if COOKIE.candidates(f"id={alias}")] == [value]
    for alias in [
        value + "=",
        value + "==",
        value[:50] + "\n" + value[50:],
        value.translate({45: "+", 95: "/"}) + "==",
    ]:
        assert COOKIE.candidates(f"id={alias}") == []


def test_truncated_value_is_refused():
    """T-30: from both ends, at every length, as text and as bytes."""
    value = value_of(COOKIE)
    raw = urlsafe_b64decode(value + "==")
    for length in range(len(value)):
        assert COOKIE.candidates(f"id={value[:length]}") == []
        assert COOKIE.candidates(f"id={value[len(value) - length :]}") == []
    for length in range(len(raw)):
        assert COOKIE.candidates(f"id={urlsafe_b64encode(raw[:length]).rstrip(b'=').decode()}") == []


@pytest.mark.parametrize("extra", ["A", "AAAA", "=", ".", "\0", "\x0b", "\xa0", '"', ",x", "A" * 8192])
def test_longer_value_is_refused(extra):
    """T-30."""
    assert COOKIE.candidates(f"id={value_of(COOKIE)}{extra}") == []
    assert COOKIE.candidates(f"id={extra}{value_of(COOKIE)}") == []


def test_parts_of_two_cookies_do_not_mix():
    """T-30: the nonce of one, the ciphertext of another."""
    first, second = value_of(COOKIE), value_of(COOKIE, OTHER)
    for position in range(1, len(first)):
        if first[:position] != second[:position] and first[position:] != second[position:]:
            assert COOKIE.candidates(f"id={first[:position]}{second[position:]}") == []
    assert COOKIE.candidates(f"id={first}; id={second}") == [GOOD, OTHER]


@settings(deadline=None)
@given(st.text(max_size=200) | st.text(ALPHABET, min_size=97, max_size=97).map(lambda text: text + "A"))
def test_any_text_is_refused_without_an_exception(text):
    """T-30: also what has the right form."""
    assert COOKIE.candidates(f"id={text}") == []


def test_what_decrypts_to_no_token_is_refused():
    """T-06, T-30: the key of another version of this form, with other contents."""
    nonce = bytes(12)
    for text in (b"a" * 45, b"\xff" * 45):
        for cipher in COOKIE._ciphers:
            value = urlsafe_b64encode(nonce + cipher.encrypt(nonce, text, b"id")).rstrip(b"=").decode()
            assert COOKIE.candidates(f"id={value}") == []


@pytest.mark.parametrize("written_as", FORMS)
@pytest.mark.parametrize("read_as", FORMS)
def test_each_form_reads_only_itself(written_as, read_as):
    """T-31 (CVE-2026-39324): nine pairs under the same key, no fallback to a weaker decoder."""
    value = value_of(FORMS[written_as](NEW))
    expected = [GOOD] if written_as == read_as else []
    assert FORMS[read_as](NEW).candidates(f"id={value}") == expected


@pytest.mark.parametrize("form", ["signed", "encrypted"])
def test_key_that_is_not_in_the_list_opens_nothing(form):
    """T-31."""
    assert FORMS[form](NEW).candidates(f"id={value_of(FORMS[form](STRANGE))}") == []


def test_cookie_of_another_name_is_refused():
    """T-32: a value cannot be moved from one cookie to another."""
    first, second = EncryptedCookie([NEW], "first"), EncryptedCookie([NEW], "second")
    assert first.candidates(f"first={value_of(first)}") == [GOOD]
    assert first.candidates(f"first={value_of(second)}") == []
    assert second.candidates(f"second={value_of(first)}") == []


def test_key_is_derived_for_this_purpose():
    """T-32: the same key encrypts other things in the same application."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    key, nonce = random.Random(3).randbytes(32), bytes(12)
    sealed = AESGCM(key).encrypt(nonce, GOOD.value.encode(), b"id")
    value = urlsafe_b64encode(nonce + sealed).rstrip(b"=").decode()
    assert EncryptedCookie([key]).candidates(f"id={value}") == []


def test_older_key_is_read_and_marked_for_reissue():
    """T-33: [old] becomes [old, new]."""
    before, after = EncryptedCookie([OLD]), EncryptedCookie([OLD, NEW])
    (token,) = after.candidates(f"id={value_of(before)}")
    assert (token.value, token.reissue) == (GOOD.value, True)
    (renewed,) = after.candidates(f"id={value_of(after, token)}")
    assert (renewed.value, renewed.reissue) == (GOOD.value, False)


def test_last_key_writes():
    """T-33: so that the first can go."""
    value = value_of(EncryptedCookie([OLD, NEW]))
    assert EncryptedCookie([NEW]).candidates(f"id={value}") == [GOOD]
    assert EncryptedCookie([OLD]).candidates(f"id={value}") == []


@pytest.mark.parametrize("position", range(5))
def test_each_of_five_keys_is_read(position):
    """T-33."""
    keys = [random.Random(seed).randbytes(32) for seed in range(5)]
    (token,) = EncryptedCookie(keys).candidates(f"id={value_of(EncryptedCookie([keys[position]]))}")
    assert token.reissue == (position < 4)


@pytest.mark.parametrize("key", ["", "secret", "changeme", "a" * 64, NEW[:31]])
def test_weak_key_is_refused(key):
    """T-34: at construction."""
    with pytest.raises(ValueError, match=r"keys\[1\]"):
        EncryptedCookie([NEW, key])


def test_too_many_keys_are_refused():
    """T-33: six."""
    with pytest.raises(ValueError, match="1 to 5 keys"):
        EncryptedCookie([random.Random(seed).randbytes(32) for seed in range(6)])


def test_attributes_are_checked():
    """T-35, T-36: as those of the plain cookie."""
    with pytest.raises(ValueError):
        EncryptedCookie([NEW], "a;b")
    with pytest.raises(ValueError):
        EncryptedCookie([NEW], "__Host-id", secure=False)


def test_longest_name_leaves_room_for_the_ciphertext():
    """T-37: name and value are 4096 characters at most."""
    longest = "n" * (4096 - len(value_of(COOKIE)))
    assert len(longest) + len(value_of(EncryptedCookie([NEW], longest))) == 4096
    with pytest.raises(ValueError, match="4096"):
        EncryptedCookie([NEW], longest + "n")


def test_keys_are_not_shown():
    """T-72: neither in the repr nor in what a debugger or an error reporter dumps."""
    shown = repr(COOKIE) + repr(vars(COOKIE)) + str(COOKIE)
    for key in (OLD, NEW):
        assert key not in shown
    assert repr(COOKIE).startswith("EncryptedCookie(name='id', path='/'")


def test_cookies_of_different_keys_differ():
    assert EncryptedCookie([OLD, NEW]) == COOKIE
    assert EncryptedCookie([NEW]) != COOKIE
    assert SignedCookie([OLD, NEW]) != COOKIE


def test_without_cryptography_the_import_says_what_to_install(monkeypatch):
    for module in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "wsgi_sessions.cookies.encrypted")
    with pytest.raises(ImportError, match=r"pip install wsgi-sessions\[encrypted\]"):
        importlib.import_module("wsgi_sessions.cookies.encrypted")


def test_cookies_import_nothing_optional():
    code = "import sys, wsgi_sessions.cookies; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
