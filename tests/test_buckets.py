"""Typed namespaces over a mapping."""

import dataclasses
import doctest
from typing import TypedDict

import msgspec
import pytest

from wsgi_sessions import buckets
from wsgi_sessions.buckets import bucket, load_bucket, store_bucket
from wsgi_sessions.exceptions import SerializationError


@dataclasses.dataclass
class Guest:
    pageviews: int = 0
    seen: set[str] = dataclasses.field(default_factory=set)


class Cart(msgspec.Struct):
    items: list[str] = []


class Settings(TypedDict, total=False):
    theme: str


class WatchedDict(dict):
    """A mapping that counts how often it is written to."""

    writes = 0

    def __setitem__(self, key, value):
        self.writes += 1
        super().__setitem__(key, value)


def test_bucket_that_was_never_stored_is_a_new_instance():
    assert load_bucket({}, Guest) == Guest()


def test_loading_does_not_write():
    session = WatchedDict()
    load_bucket(session, Guest)
    assert (session.writes, session) == (0, {})


@pytest.mark.parametrize("value", [Guest(3, {"/a", "/b"}), Cart(["tea"])], ids=["dataclass", "struct"])
def test_stored_bucket_loads_equal(value):
    session = {}
    store_bucket(session, value)
    assert load_bucket(session, type(value)) == value


def test_key_is_the_qualified_name_of_the_type():
    session = {}
    store_bucket(session, Guest())
    assert list(session) == ["Guest"]


def test_key_can_be_named():
    session = {}
    store_bucket(session, Guest(1), "first")
    store_bucket(session, Guest(2), "second")
    assert load_bucket(session, Guest, "first") == Guest(1)
    assert load_bucket(session, Guest, "second") == Guest(2)


def test_typed_dict_is_stored_under_a_name():
    session = {}
    store_bucket(session, Settings(theme="dark"), "settings")
    assert load_bucket(session, Settings, "settings") == {"theme": "dark"}


def test_typed_dict_is_not_stored_without_a_name():
    with pytest.raises(TypeError, match="name is missing"):
        store_bucket({}, Settings(theme="dark"))


def test_loaded_bucket_is_detached():
    session = {"Guest": {"pageviews": 1, "seen": ["/a"]}, "Cart": {"items": ["tea"]}}
    load_bucket(session, Cart).items.append("milk")
    assert session["Cart"] == {"items": ["tea"]}


def test_stored_bucket_is_detached():
    session = {}
    cart = Cart(["tea"])
    store_bucket(session, cart)
    cart.items.append("milk")
    assert load_bucket(session, Cart) == Cart(["tea"])


def test_stored_value_of_another_type_is_refused_without_telling_it():
    with pytest.raises(SerializationError) as caught:
        load_bucket({"Guest": {"pageviews": "hunter2"}}, Guest)
    assert str(caught.value) == "session['Guest']['pageviews']: expected `int`, got `str`"


def test_stored_none_is_not_taken_for_absent():
    with pytest.raises(SerializationError):
        load_bucket({"Guest": None}, Guest)


def test_what_cannot_be_stored_leaves_the_session_alone():
    session = {"Cart": {"items": ["tea"]}}
    with pytest.raises(SerializationError, match=r"^session\['Cart'\]\['items'\]\[0\]: a lone surrogate"):
        store_bucket(session, Cart(["\ud800"]))
    assert session == {"Cart": {"items": ["tea"]}}


def test_changed_bucket_is_stored_when_the_block_ends():
    session = {}
    with bucket(session, Guest) as guest:
        guest.pageviews += 1
        assert session == {}
    with bucket(session, Guest) as guest:
        guest.pageviews += 1
    assert load_bucket(session, Guest).pageviews == 2


def test_change_inside_a_field_is_stored():
    session = {"Cart": {"items": ["tea"]}}
    with bucket(session, Cart) as cart:
        cart.items.append("milk")
    assert session == {"Cart": {"items": ["tea", "milk"]}}


def test_unchanged_bucket_is_not_stored():
    session = WatchedDict(Guest={"pageviews": 1, "seen": ["/a", "/b"]})
    with bucket(session, Guest) as guest:
        guest.pageviews += 0
    assert session.writes == 0


def test_untouched_new_bucket_is_not_stored():
    session = WatchedDict()
    with bucket(session, Guest):
        pass
    assert (session.writes, session) == (0, {})


def count_and_fail(session):
    with bucket(session, Guest) as guest:
        guest.pageviews += 1
        raise ZeroDivisionError


def test_block_that_raises_stores_nothing():
    session = {}
    with pytest.raises(ZeroDivisionError):
        count_and_fail(session)
    assert session == {}


def test_docstring_examples_hold():
    outcome = doctest.testmod(buckets)
    assert outcome.attempted > 0
    assert outcome.failed == 0
