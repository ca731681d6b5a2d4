"""Tokens against cross-site request forgery."""

import doctest
import re

import pytest

from wsgi_sessions import csrf


class ReadOnlyDict(dict):
    """A mapping that fails when it is written to."""

    def __setitem__(self, key, value):
        raise AssertionError("written to")


def test_token_is_32_random_bytes_in_base64url():
    assert re.fullmatch("[A-Za-z0-9_-]{43}", csrf.token({}))


def test_token_stays_the_same_in_a_session():
    session = {}
    assert csrf.token(session) == csrf.token(session) == session["_csrf_token"]


def test_second_call_does_not_write():
    session = {}
    first = csrf.token(session)
    assert csrf.token(ReadOnlyDict(session)) == first


def test_tokens_of_two_sessions_differ():
    assert csrf.token({}) != csrf.token({})


def test_presented_token_is_verified():
    session = {}
    assert csrf.verify(session, csrf.token(session)) is True


@pytest.mark.parametrize(
    "presented",
    [None, "", "x", "x" * 43, "\u00e9", "\ud800", "\0", 5, b"x", [], True],
    ids=ascii,
)
def test_anything_else_is_not_verified(presented):
    session = {}
    csrf.token(session)
    assert csrf.verify(session, presented) is False


def test_token_as_bytes_is_not_verified():
    session = {}
    assert csrf.verify(session, csrf.token(session).encode()) is False


def test_longer_and_shorter_tokens_are_not_verified():
    session = {}
    token = csrf.token(session)
    assert not csrf.verify(session, token[:-1])
    assert not csrf.verify(session, token + "A")


@pytest.mark.parametrize("presented", ["", "None", None, "x" * 43])
def test_session_without_a_token_verifies_nothing_and_gets_none(presented):
    session = {}
    assert csrf.verify(session, presented) is False
    assert session == {}


@pytest.mark.parametrize("stored", ["", None, 5, b"token", ["token"]])
def test_stored_value_that_is_no_token_verifies_nothing(stored):
    assert csrf.verify({"_csrf_token": stored}, stored) is False
    assert csrf.verify({"_csrf_token": stored}, "token") is False


@pytest.mark.parametrize("stored", ["", None, 5, b"token"])
def test_stored_value_that_is_no_token_is_replaced(stored):
    session = {"_csrf_token": stored}
    assert csrf.verify(session, csrf.token(session))


def test_token_beyond_ascii_is_compared_too():
    assert csrf.verify({"_csrf_token": "\u00e9\ud800"}, "\u00e9\ud800") is True
    assert csrf.verify({"_csrf_token": "\u00e9"}, "e") is False


def test_rotated_token_replaces_the_old_one():
    session = {}
    old = csrf.token(session)
    new = csrf.rotate(session)
    assert new != old
    assert csrf.token(session) == new
    assert csrf.verify(session, new)
    assert not csrf.verify(session, old)


def test_docstring_examples_hold():
    outcome = doctest.testmod(csrf)
    assert outcome.attempted > 0
    assert outcome.failed == 0
