"""What holds for each kind of store, through the middleware: ids that look alike, and sessions as large as allowed."""

import pytest
from backends import PLACES, empty_store
from harness import Site
from msgspec.structs import replace
from outages import new_record, payload_of

from wsgi_sessions import SessionTooLarge

pytestmark = pytest.mark.servers

_LIMIT = 65_536


@pytest.fixture(params=PLACES)
def store(request):
    with empty_store(request.param) as store:
        yield store


def test_ids_that_differ_only_in_case_are_different_sessions(store):
    """T-08."""
    lower, upper = "abcdefghijklmnopqrstuv", "ABCDEFGHIJKLMNOPQRSTUV"
    mixed = new_record("AbCdEfGhIjKlMnOpQrStUv", b"mixed")
    store.create(new_record(lower, b"lower"))
    assert payload_of(store, upper) is None
    store.create(new_record(upper, b"upper"))
    store.create(mixed)
    store.save(replace(mixed, payload=b"saved"))
    assert [payload_of(store, id) for id in (lower, upper, mixed.id)] == [b"lower", b"upper", b"saved"]
    store.delete(lower)
    assert [payload_of(store, id) for id in (lower, upper, mixed.id)] == [None, b"upper", b"saved"]


def test_owners_that_differ_only_in_case_are_different_users(store):
    if not store.enumerable:
        with pytest.raises(NotImplementedError):
            store.find_by_owner("anna")
        return
    store.create(new_record("one", owner="anna"))
    store.create(new_record("two", owner="Anna"))
    assert [record.id for record in store.find_by_owner("anna")] == ["one"]
    assert [record.id for record in store.find_by_owner("Anna")] == ["two"]
    assert store.find_by_owner("ANNA") == []


def test_a_cookie_in_another_case_opens_nothing(store):
    site = Site(store)
    visitor, thief = site.visitor(), site.visitor()
    visitor.set(number=1)
    # The last character of an id carries but two bits, and must not change.
    thief.put("id", visitor.id[:-1].swapcase() + visitor.id[-1] + visitor.token[len(visitor.id) :])
    assert thief.read() == {}
    assert visitor.read() == {"number": 1}


def test_a_session_of_the_largest_size_comes_back_whole(store):
    visitor = Site(store, max_payload=_LIMIT).visitor()
    visitor.set(text="")
    empty = len(payload_of(store, visitor.id))
    text = "".join(chr(32 + number % 90) for number in range(_LIMIT - empty)).replace("\\", "/").replace('"', "'")
    assert visitor.set(text=text).status == 200
    assert len(payload_of(store, visitor.id)) == _LIMIT
    assert visitor.read() == {"text": text}
    with pytest.raises(SessionTooLarge):
        visitor.set(text=text + "x")
    assert visitor.read() == {"text": text}
