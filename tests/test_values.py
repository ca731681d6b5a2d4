"""The values of a session: what counts as a change, and how changes are carried over to another's version."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsgi_sessions import codec
from wsgi_sessions.exceptions import SerializationError
from wsgi_sessions.values import Values

UNREADABLE = msgspec.Raw(b'{"$":["complex",[1,2]]}')


def encoded(values: dict[str, Any]) -> dict[str, msgspec.Raw]:
    return {key: msgspec.Raw(codec.encode(value)) for key, value in values.items()}


def decoded(values: dict[str, msgspec.Raw]) -> dict[str, Any]:
    return {key: codec.decode(value) for key, value in values.items()}


def loaded_values(encodings: dict[str, msgspec.Raw]) -> Values:
    return Values(encodings, encodings.copy(), threading.RLock())


def loaded(**values: Any) -> Values:
    return loaded_values(encoded(values))


def with_unreadable(**values: Any) -> Values:
    return loaded_values({"bad": UNREADABLE, **encoded(values)})


def difference(values: Values) -> tuple[dict[str, Any], set[str]]:
    """Return what has changed, and what was removed."""
    return decoded(values.changes()), set(values.removed)


def stored(values: Values) -> dict[str, Any]:
    """Return what a save would store."""
    return decoded(values.merged(values.changes()))


NOTHING: tuple[dict[str, Any], set[str]] = ({}, set())


# What is a change


def test_what_was_not_read_is_no_change() -> None:
    values = loaded(a=1, b=[1])
    assert not values.watched and not values.removed
    assert difference(values) == NOTHING


def test_reading_is_no_change() -> None:
    """Trap 16: the encoding of what was read is the encoding of what was loaded."""
    values = loaded(a=1, b=[1], c={"x": (1, {2, 3})}, d={"$": 1}, e=b"x", f=float("nan"))
    for key in values:
        values[key]
    assert difference(values) == NOTHING


def test_reading_scalars_leaves_nothing_to_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what can change in place is compared: no scalar is encoded again."""
    values = loaded(a=1, b="x", c=None, d=True, e=1.5, f=b"x")
    assert [values[key] for key in values] == [1, "x", None, True, 1.5, b"x"]
    monkeypatch.setattr(codec, "encode", None)
    assert not values.watched and not values.removed
    assert difference(values) == NOTHING


def test_a_new_key_is_a_change() -> None:
    values = loaded(a=1)
    values["b"] = 2
    assert difference(values) == ({"b": 2}, set())
    assert stored(values) == {"a": 1, "b": 2}


@pytest.mark.parametrize("value", [1, "x", None, [1, 2], {"a": {"b": 1}}, (1,), {1, 2}, float("inf"), b"\0"], ids=repr)
def test_assigning_an_equal_value_is_no_change(value: Any) -> None:
    values = loaded(key=value)
    values["key"] = codec.decode(codec.encode(value))
    assert difference(values) == NOTHING


@pytest.mark.parametrize(("before", "after"), [(1, True), (1, 1.0), ([1], (1,)), (0, False), ("1", 1), ([1], [True])])
def test_an_equal_value_of_another_type_is_a_change(before: Any, after: Any) -> None:
    """T-45: what is read back is what was stored, type included."""
    values = loaded(key=before)
    values["key"] = after
    changed, removed = difference(values)
    assert type(changed["key"]) is type(after)
    assert removed == set()


def test_equal_sets_are_no_change_whatever_their_order() -> None:
    values = loaded(key={"a", "b", "c", "d"})
    values["key"] = {"d", "c", "b", "a"}
    assert difference(values) == NOTHING


@pytest.mark.parametrize(
    ("value", "change", "after"),
    [
        ([1], lambda value: value.append(2), [1, 2]),
        ({"a": [1]}, lambda value: value["a"].append(2), {"a": [1, 2]}),
        ({"a": {"b": {}}}, lambda value: value["a"]["b"].update(c=1), {"a": {"b": {"c": 1}}}),
        ({1}, lambda value: value.add(2), {1, 2}),
        (([1],), lambda value: value[0].append(2), ([1, 2],)),
        ([3, 1, 2], lambda value: value.sort(), [1, 2, 3]),
        ([[[[1]]]], lambda value: value[0][0][0].clear(), [[[[]]]]),
    ],
    ids=lambda value: None if callable(value) else repr(value),
)
def test_a_change_inside_a_value_is_a_change(value: Any, change: Callable[[Any], object], after: Any) -> None:
    """T-17, trap 17: no flag has to be set."""
    values = loaded(key=value, other=1)
    change(values["key"])
    assert difference(values) == ({"key": after}, set())


def test_a_change_inside_a_value_that_was_undone_is_no_change() -> None:
    values = loaded(key=[1])
    values["key"].append(2)
    values["key"].pop()
    assert difference(values) == NOTHING


def test_a_change_inside_an_assigned_value_is_seen() -> None:
    values = loaded()
    cart: list[int] = []
    values["cart"] = cart
    cart.append(1)
    assert difference(values) == ({"cart": [1]}, set())


def test_a_removed_key_is_a_removal() -> None:
    values = loaded(a=1, b=2)
    del values["a"]
    assert difference(values) == ({}, {"a"})
    assert stored(values) == {"b": 2}


def test_removing_a_key_that_is_not_there_is_no_change() -> None:
    """Trap 16."""
    values = loaded(a=1)
    with pytest.raises(KeyError):
        del values["b"]
    assert not values.watched and not values.removed


def test_setting_and_removing_a_new_key_is_no_change() -> None:
    values = loaded(a=1)
    values["b"] = 2
    del values["b"]
    assert difference(values) == NOTHING


@pytest.mark.parametrize("assign", [Values.__setitem__, lambda values, key, value: values.update({key: value})])
def test_setting_again_what_was_removed_takes_the_removal_back(assign: Any) -> None:
    values = loaded(a=1)
    del values["a"]
    assign(values, "a", 1)
    assert difference(values) == NOTHING
    del values["a"]
    assign(values, "a", 2)
    assert difference(values) == ({"a": 2}, set())
    assert stored(values) == {"a": 2}


def test_an_update_sets_all_or_nothing() -> None:
    values = loaded(a=1)
    with pytest.raises(SerializationError):
        values.update({"a": 2, "b": object()})
    assert difference(values) == NOTHING


def test_a_removed_value_that_was_changed_stays_removed() -> None:
    values = loaded(a=[1])
    kept = values["a"]
    del values["a"]
    kept.append(2)
    assert difference(values) == ({}, {"a"})


def test_clear_removes_everything() -> None:
    values = loaded(a=1, b=[2])
    values["c"] = 3
    values.clear()
    assert difference(values) == ({}, {"a", "b"})
    assert list(values) == []
    assert stored(values) == {}


# What is refused


@pytest.mark.parametrize("key", [1, None, b"key", ("a",)])
def test_a_key_that_is_no_str_is_refused(key: Any) -> None:
    values = loaded()
    with pytest.raises(SerializationError, match="keys of a session are str"):
        values[key] = 1
    assert len(values) == 0


def test_a_key_without_an_encoding_is_refused() -> None:
    values = loaded()
    with pytest.raises(SerializationError, match="surrogate"):
        values["\ud800"] = 1
    assert len(values) == 0


def test_a_value_of_a_wrong_type_is_refused_when_it_is_assigned() -> None:
    values = loaded(key=1)
    with pytest.raises(SerializationError, match=r"session\['key'\]: .*object"):
        values["key"] = object()
    assert values["key"] == 1
    assert difference(values) == NOTHING


def test_what_is_wrong_inside_a_value_is_refused_when_it_is_stored() -> None:
    values = loaded(key=[1])
    values["key"].append({"deep": object()})
    with pytest.raises(SerializationError, match=r"session\['key'\]\[1\]\['deep'\]"):
        values.changes()


# What does not decode


def test_a_value_that_does_not_decode_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    """T-43: one bad value is absent and logged, the others are there."""
    values = with_unreadable(good=1)
    with caplog.at_level(logging.ERROR, "wsgi_sessions.security"):
        assert list(values) == ["good"]
    assert [record.getMessage() for record in caplog.records] == [
        "a value of the session does not decode and is left out: 'bad'"
    ]
    assert "bad" not in values
    with pytest.raises(KeyError):
        values["bad"]


@pytest.mark.parametrize(
    "read", [list, lambda values: "bad" in values, lambda values: values.copy_of("bad"), lambda values: values["bad"]]
)
def test_reading_a_value_that_does_not_decode_changes_nothing(read: Callable[[Values], object]) -> None:
    """T-43: a mere read writes nothing, so a newer version still finds it."""
    values = with_unreadable(good=1)
    with suppress(KeyError):
        read(values)
    assert difference(values) == NOTHING


@pytest.mark.parametrize("is_read", [False, True])
def test_a_value_that_does_not_decode_is_stored_again(is_read: bool) -> None:
    """T-43: whether it was read or not, for another version may know it."""
    values = with_unreadable(good=1)
    if is_read:
        assert "bad" not in values
    values["good"] = 2
    assert bytes(values.merged(values.changes())["bad"]) == bytes(UNREADABLE)


def test_a_value_that_does_not_decode_can_be_replaced() -> None:
    values = with_unreadable()
    values["bad"] = 1
    assert stored(values) == {"bad": 1}


def test_a_value_that_does_not_decode_can_be_dropped() -> None:
    values = with_unreadable(good=1)
    assert "bad" not in values
    values.clear()
    assert stored(values) == {}
    values = with_unreadable(good=1)
    values["bad"] = 1
    del values["bad"]
    assert stored(values) == {"good": 1}


def test_mutate_takes_a_value_that_does_not_decode_for_absent() -> None:
    values = with_unreadable()
    assert values.mutate("bad", lambda value: value + 1, 0) == 1


# Copies


def test_a_copy_shares_nothing_with_the_value() -> None:
    values = loaded(read=[[1]], unread=[[1]])
    values["read"]
    for key in ("read", "unread"):
        values.copy_of(key)[0].append(2)
        assert values[key] == [[1]]
    assert difference(values) == NOTHING


def test_a_copy_holds_what_was_changed_in_place() -> None:
    values = loaded(key=[1])
    values["key"].append(2)
    assert values.copy_of("key") == [1, 2]


def test_there_is_no_copy_of_what_is_not_there() -> None:
    with pytest.raises(KeyError):
        loaded().copy_of("key")


# Mutations


def increment(value: int) -> int:
    return value + 1


def test_mutate_returns_and_sets_the_new_value() -> None:
    values = loaded(n=1)
    assert values.mutate("n", increment, 0) == 2
    assert values["n"] == 2
    assert difference(values) == ({"n": 2}, set())


def test_mutate_of_an_absent_key_starts_from_the_default() -> None:
    values = loaded()
    assert values.mutate("n", increment, 10) == 11


def test_mutate_gets_a_copy() -> None:
    """A function that fails half way leaves the value as it was."""
    values = loaded(key=[1])

    def fail(value: list[int]) -> None:
        value.append(2)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        values.mutate("key", fail, None)
    assert values["key"] == [1]
    assert difference(values) == NOTHING


def test_mutate_is_replayed_over_what_another_stored() -> None:
    """T-16."""
    values = loaded(n=1)
    values.mutate("n", increment, 0)
    values.mutate("n", lambda value: value * 10, 0)
    values.rebase(encoded({"n": 5}))
    assert values["n"] == 60
    assert stored(values) == {"n": 60}


def test_mutate_is_replayed_at_every_conflict() -> None:
    values = loaded(n=1)
    values.mutate("n", increment, 0)
    for theirs in (5, 50, 500):
        values.rebase(encoded({"n": theirs}))
        assert stored(values) == {"n": theirs + 1}


def test_mutate_is_replayed_from_the_default_if_another_removed_the_key() -> None:
    values = loaded(n=1)
    values.mutate("n", increment, 100)
    values.rebase(encoded({}))
    assert stored(values) == {"n": 101}


def test_mutate_is_replayed_over_what_another_created() -> None:
    values = loaded()
    values.mutate("n", increment, 0)
    values.rebase(encoded({"n": 7}))
    assert stored(values) == {"n": 8}


def test_the_default_of_mutate_is_not_used_up_by_the_first_run() -> None:
    """A function that changes a mutable default in place must start from the same default again."""
    values = loaded()

    def add(value: list[int]) -> list[int]:
        value.append(1)
        return value

    default: list[int] = []
    values.mutate("key", add, default)
    assert default == []
    values.rebase(encoded({"other": 1}))
    assert stored(values) == {"key": [1], "other": 1}


def test_a_default_that_marks_absence_stays_the_very_object() -> None:
    missing = object()
    values = loaded()
    values.mutate("key", lambda value: 1 if value is missing else value + 1, missing)
    values.rebase(encoded({"other": 1}))
    assert stored(values)["key"] == 1


def test_mutate_whose_result_cannot_be_stored_leaves_the_value() -> None:
    values = loaded(key=[1])
    with pytest.raises(SerializationError, match=r"session\['key'\]\[0\]"):
        values.mutate("key", lambda value: [object()], None)
    assert values["key"] == [1]
    assert difference(values) == NOTHING


def test_mutate_is_replayed_over_a_value_that_does_not_decode_as_over_none() -> None:
    """T-43: what another stored may be broken as well; it is no exception at commit."""
    values = loaded(bad=1)
    values.mutate("bad", increment, 0)
    values.rebase({"bad": UNREADABLE})
    assert stored(values) == {"bad": 1}


def test_mutate_after_an_assignment_is_not_replayed() -> None:
    values = loaded(n=1)
    values["n"] = 10
    values.mutate("n", increment, 0)
    values.rebase(encoded({"n": 5}))
    assert stored(values) == {"n": 11}


@pytest.mark.parametrize("assign", [Values.__setitem__, lambda values, key, value: values.update({key: value})])
@pytest.mark.parametrize("value", [10, 2])
def test_an_assignment_after_mutate_is_what_remains(assign: Any, value: int) -> None:
    """Also if it assigns what mutate returned."""
    values = loaded(n=1)
    assert values.mutate("n", increment, 0) == 2
    assign(values, "n", value)
    values.rebase(encoded({"n": 5}))
    assert stored(values) == {"n": value}


def test_mutate_after_a_removal_is_not_replayed() -> None:
    values = loaded(n=1)
    del values["n"]
    values.mutate("n", increment, 10)
    values.rebase(encoded({"n": 5}))
    assert stored(values) == {"n": 11}


def test_mutate_after_a_read_is_replayed() -> None:
    values = loaded(key=[1])
    assert values["key"] == [1]
    values.mutate("key", lambda value: [*value, 2], None)
    values.rebase(encoded({"key": [1, 5]}))
    assert stored(values) == {"key": [1, 5, 2]}


def test_a_change_in_place_after_mutate_is_what_remains() -> None:
    values = loaded(key=[1])
    values.mutate("key", lambda value: [*value, 2], None)
    values["key"].append(3)
    values.rebase(encoded({"key": [9]}))
    assert stored(values) == {"key": [1, 2, 3]}


def test_mutate_after_clear_is_not_replayed() -> None:
    values = loaded(n=1)
    values.clear()
    values.mutate("n", increment, 0)
    values.rebase(encoded({"n": 5, "m": 6}))
    assert stored(values) == {"n": 1}


def test_what_was_stored_is_not_replayed_again() -> None:
    values = loaded(n=1)
    values.mutate("n", increment, 0)
    values.settle(values.merged(values.changes()))
    values.mutate("n", increment, 0)
    values.rebase(encoded({"n": 50}))
    assert stored(values) == {"n": 51}


# Settling


def test_after_settling_there_are_no_changes_and_the_same_objects() -> None:
    values = loaded(a=1, b=2)
    cart = [1]
    values["cart"] = cart
    del values["a"]
    values.settle(values.merged(values.changes()))
    assert difference(values) == NOTHING
    assert values["cart"] is cart
    cart.append(2)
    assert difference(values) == ({"cart": [1, 2]}, set())


@pytest.mark.parametrize("before", [{}, {"a": 1}])
def test_after_settling_a_cleared_session_merges_again(before: dict[str, Any]) -> None:
    values = loaded(**before)
    values.clear()
    values.settle({})
    values["b"] = 2
    values.rebase(encoded({"c": 3}))
    assert stored(values) == {"b": 2, "c": 3}


# Rebasing


def test_different_keys_never_lose() -> None:
    """T-16, trap 5."""
    values = loaded(common=1)
    values["ours"] = 2
    values.rebase(encoded({"common": 1, "theirs": 3}))
    assert stored(values) == {"common": 1, "ours": 2, "theirs": 3}


def test_what_was_removed_here_stays_removed_and_what_was_added_there_stays() -> None:
    """T-16."""
    values = loaded(x=1)
    del values["x"]
    values.rebase(encoded({"x": 1, "y": 2}))
    assert stored(values) == {"y": 2}


def test_what_was_removed_there_and_only_read_here_is_gone() -> None:
    values = loaded(x=[1], y=1)
    values["x"]
    values["y"] = 2
    values.rebase(encoded({"y": 1}))
    assert stored(values) == {"y": 2}
    assert "x" not in values


def test_within_one_key_the_last_writer_wins() -> None:
    values = loaded(x=[1])
    values["x"].append(2)
    values.rebase(encoded({"x": [1, 3]}))
    assert stored(values) == {"x": [1, 2]}


def test_clear_drops_also_what_another_added() -> None:
    values = loaded(x=1)
    values.clear()
    values["x"] = 1
    values.rebase(encoded({"x": 2, "y": 3}))
    assert stored(values) == {"x": 1}


def test_what_nobody_changed_stays_the_very_object() -> None:
    values = loaded(cart=[1], n=1)
    cart = values["cart"]
    values["n"] = 2
    values.rebase(encoded({"cart": [1], "n": 1, "other": 5}))
    assert values["cart"] is cart
    cart.append(2)
    assert difference(values) == ({"cart": [1, 2], "n": 2}, set())


def test_new_keys_are_stored_in_the_order_in_which_they_were_set() -> None:
    """As in a dict; and the same session has the same bytes in every process."""
    names = [f"key{number}" for number in (7, 3, 9, 1, 8, 2)]
    values = loaded(first=1)
    for name in names:
        values[name] = [name]
    assert list(stored(values)) == ["first", *names]
    values.rebase(encoded({"first": 1, "theirs": 2}))
    assert list(stored(values)) == ["first", "theirs", *names]
    values.settle(values.merged(values.changes()))
    values.rebase(encoded({}))
    values.clear()
    for name in names:
        values[name] = [name]
    values.rebase(encoded({"first": 1, "theirs": 2}))
    assert list(stored(values)) == names


def test_a_read_during_which_another_thread_merges_sees_what_was_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    """T-66: never the encoded value."""
    values = loaded(cart=[1], n=1)
    decode = codec.decode

    def decode_while_another_saves(encoded_value: Any) -> Any:
        monkeypatch.setattr(codec, "decode", decode)
        values["n"] = 2
        values.rebase(encoded({"cart": [1, 2], "n": 1}))
        return decode(encoded_value)

    monkeypatch.setattr(codec, "decode", decode_while_another_saves)
    assert values["cart"] == [1, 2]
    assert stored(values) == {"cart": [1, 2], "n": 2}


def test_a_value_changed_here_stays_the_very_object() -> None:
    values = loaded(cart=[1])
    cart = values["cart"]
    cart.append(2)
    values.rebase(encoded({"cart": [5]}))
    assert values["cart"] is cart
    cart.append(3)
    assert stored(values) == {"cart": [1, 2, 3]}


def test_nothing_is_left_to_save_if_another_did_the_same() -> None:
    values = loaded(x=1)
    values["x"] = 2
    values.rebase(encoded({"x": 2}))
    assert difference(values) == NOTHING


class Model:
    """The same, as plain as it can be said: overlay the keys that changed, drop those that were removed.

    Values are lists of numbers. No two operations write the same number, so whatever is
    done to a key by hand changes it.
    """

    def __init__(self, values: dict[str, list[int]]) -> None:
        self.before = values
        self.now = {key: list(value) for key, value in values.items()}
        #: What mutate has added to a key to which nothing else was done.
        self.added: dict[str, list[int]] = {}
        self.by_hand: set[str] = set()
        self.cleared = False

    def set(self, key: str, value: list[int]) -> None:
        self.now[key] = value
        self._touch(key)

    def append(self, key: str, number: int) -> None:
        self.now[key].append(number)
        self._touch(key)

    def delete(self, key: str) -> None:
        del self.now[key]
        self._touch(key)
        if key not in self.before:
            self.by_hand.discard(key)

    def clear(self) -> None:
        self.now.clear()
        self.added.clear()
        self.cleared = True

    def mutate(self, key: str, number: int) -> None:
        self.now[key] = [*self.now.get(key, []), number]
        if key not in self.by_hand and not self.cleared:
            self.added.setdefault(key, []).append(number)

    def rebase(self, theirs: dict[str, list[int]]) -> None:
        merged = {} if self.cleared else {key: list(value) for key, value in theirs.items()}
        for key in self.before.keys() - self.now.keys():
            merged.pop(key, None)
        for key, value in self.now.items():
            if key in self.added:
                merged[key] = [*theirs.get(key, []), *self.added[key]]
            elif self.cleared or value != self.before.get(key):
                merged[key] = value
        self.before, self.now = theirs, merged

    def _touch(self, key: str) -> None:
        self.by_hand.add(key)
        self.added.pop(key, None)


KEYS = st.sampled_from("ab")
STORED = st.dictionaries(KEYS, st.lists(st.integers(0, 3), max_size=2))
STEPS = st.lists(
    st.tuples(st.sampled_from(["set", "append", "delete", "mutate", "mutate", "read", "equal"]), KEYS)
    | st.just(("clear", "")),
    max_size=8,
)


@settings(max_examples=200)
@given(before=STORED, steps=STEPS, conflicts=st.lists(st.tuples(STORED, STEPS), max_size=3))
def test_values_do_what_the_model_does(
    before: dict[str, list[int]],
    steps: list[tuple[str, str]],
    conflicts: list[tuple[dict[str, list[int]], list[tuple[str, str]]]],
) -> None:
    """T-16, T-17, trap 5: after any steps and any number of conflicts."""
    values, model = loaded_values(encoded(before)), Model(before)
    numbers = iter(range(100, 1000))
    apply(steps, values, model, numbers)
    agree(values, model)
    for theirs, more in conflicts:
        values.rebase(encoded(theirs))
        model.rebase(theirs)
        agree(values, model)
        if not (model.cleared or set(model.before) - set(model.now)):
            apply([step for step in more if step[0] in ("mutate", "append", "read")], values, model, numbers)
            agree(values, model)


def apply(steps: list[tuple[str, str]], values: Values, model: Model, numbers: Any) -> None:
    for step, key in steps:
        number = next(numbers)
        if step == "set":
            values[key] = [number]
            model.set(key, [number])
        elif step == "mutate":
            values.mutate(key, lambda value, number=number: [*value, number], [])
            model.mutate(key, number)
        elif step == "clear":
            values.clear()
            model.clear()
        elif key not in values:
            continue
        elif step == "append":
            values[key].append(number)
            model.append(key, number)
        elif step == "delete":
            del values[key]
            model.delete(key)
        elif step == "read":
            assert values[key] == model.now[key]


def agree(values: Values, model: Model) -> None:
    assert stored(values) == model.now
    changed = {key for key, value in model.now.items() if value != model.before.get(key)}
    assert difference(values) == ({key: model.now[key] for key in changed}, set(model.before) - set(model.now))
