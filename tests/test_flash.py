"""Flash messages over a mapping."""

import doctest

import flask
import pytest
from markupsafe import Markup

from wsgi_sessions import codec
from wsgi_sessions.flash import Flash, flash, peek_flashes, pop_flashes

# The package exports the function of this name, which hides the module.
flash_module = __import__("sys").modules["wsgi_sessions.flash"]


class ReadOnlyDict(dict):
    """A mapping that fails when it is written to."""

    def _refuse(self, *arguments):
        raise AssertionError("written to")

    __setitem__ = __delitem__ = pop = setdefault = update = clear = _refuse


def test_messages_are_popped_in_order():
    session = {}
    flash(session, "one")
    flash(session, "two", "error")
    assert pop_flashes(session) == [Flash("message", "one"), Flash("error", "two")]


def test_popping_the_last_removes_the_key():
    session = {"user": 1}
    flash(session, "one")
    pop_flashes(session)
    assert session == {"user": 1}


def test_popping_one_category_keeps_the_others():
    session = {}
    flash(session, "one", "info")
    flash(session, "two", "error")
    flash(session, "three", "info")
    assert pop_flashes(session, "info") == [Flash("info", "one"), Flash("info", "three")]
    assert session == {"_flashes": [["error", "two"]]}


def test_popping_the_only_category_removes_the_key():
    session = {}
    flash(session, "one", "info")
    pop_flashes(session, "info")
    assert session == {}


def test_popping_from_a_session_without_flashes_does_not_write():
    assert pop_flashes(ReadOnlyDict(user=1)) == []


def test_popping_a_category_that_is_not_there_does_not_write():
    assert pop_flashes(ReadOnlyDict(_flashes=[["info", "one"]]), "error") == []


def test_peeking_keeps_the_messages():
    session = ReadOnlyDict(_flashes=[["info", "one"], ["error", "two"]])
    assert peek_flashes(session) == [Flash("info", "one"), Flash("error", "two")]
    assert peek_flashes(session, "error") == [Flash("error", "two")]


def test_flash_assigns_a_new_list():
    earlier = [["info", "one"]]
    session = {"_flashes": earlier}
    flash(session, "two")
    assert earlier == [["info", "one"]]
    assert session["_flashes"] == [["info", "one"], ["message", "two"]]


def test_markup_stays_markup():
    session = {}
    flash(session, Markup("<b>done</b>"))
    stored = {"_flashes": codec.decode(codec.encode(session["_flashes"]))}
    ((_, message),) = pop_flashes(stored)
    assert type(message) is Markup


def test_flash_has_named_parts():
    session = {}
    flash(session, "one", "info")
    (popped,) = pop_flashes(session)
    assert (popped.category, popped.message) == ("info", "one")


@pytest.fixture
def application():
    application = flask.Flask(__name__)
    application.secret_key = "x" * 32
    return application


def test_messages_of_flask_are_read(application):
    with application.test_request_context():
        flask.flash("one", "info")
        assert pop_flashes(flask.session) == [Flash("info", "one")]
        assert "_flashes" not in flask.session


def test_flask_reads_our_messages(application):
    with application.test_request_context():
        flash(flask.session, "one", "info")
        flash(flask.session, "two", "error")
        found = flask.get_flashed_messages(with_categories=True, category_filter=["info"])
        assert [tuple(pair) for pair in found] == [("info", "one")]


def test_docstring_examples_hold():
    outcome = doctest.testmod(flash_module)
    assert outcome.attempted > 0
    assert outcome.failed == 0
