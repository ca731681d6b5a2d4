"""Of the values of another library, what can be stored is kept as it is, and the rest is told."""

from __future__ import annotations

import collections
import enum
import inspect
import logging
import sys
from datetime import UTC, datetime, time, timedelta, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from harness import Site
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup
from rich_data import DATA, types_of

from wsgi_sessions import codec
from wsgi_sessions.legacy import LegacyError
from wsgi_sessions.migration.base import Unknown
from wsgi_sessions.migration.values import storable
from wsgi_sessions.migration.werkzeug import WerkzeugSource

USER = Unknown("app.User", {"id": 7})


class Zone(tzinfo):
    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=1)


class Level(enum.IntEnum):
    HIGH = 3


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


def no_convert(path: str, unknown: Unknown) -> Any:
    raise LookupError(path)


class TestKept:
    @pytest.mark.parametrize("name", DATA)
    def test_what_the_codec_keeps_stays_as_it_is(self, name: str) -> None:
        kept, dropped = storable(DATA[name], None)
        assert (types_of(kept), dropped) == (types_of(DATA[name]), ())
        assert types_of(codec.decode(codec.encode(kept))) == types_of(DATA[name])

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (collections.OrderedDict(a=1), {"a": 1}),
            (collections.defaultdict(list, a=[]), {"a": []}),
            (collections.Counter("aab"), {"a": 2, "b": 1}),
            (collections.deque([1, (2,)]), [1, (2,)]),
            (range(3), [0, 1, 2]),
            (bytearray(b"\xff"), b"\xff"),
            (Markup("<b>"), Markup("<b>")),
            ({1: {None: {3, 2.5}}}, {1: {None: {3, 2.5}}}),
            (nested(codec.MAX_DEPTH), nested(codec.MAX_DEPTH)),
        ],
        ids=lambda value: repr(value)[:20],
    )
    def test_what_is_like_it_becomes_it(self, value: Any, expected: Any) -> None:
        kept, dropped = storable({"k": value}, None)
        assert (types_of(kept["k"]), dropped) == (types_of(expected), ())
        codec.encode(kept["k"])

    def test_keys_become_text(self) -> None:
        data = {1: "b", None: "c", 2.5: "d", b"e": "e", Markup("f"): "f"}
        assert storable(data, None) == ({"1": "b", "null": "c", "2.5": "d", "e": "e", "f": "f"}, ())
        assert storable({True: 1, False: 2}, None)[0] == {"true": 1, "false": 2}
        assert {type(key) for key in storable(data, None)[0]} == {str}

    def test_what_was_given_is_not_changed(self) -> None:
        inner = [1]
        data = {"a": inner, "b": USER}
        storable(data, None)[0]["a"].append(2)
        assert data == {"a": [1], "b": USER}


class TestDropped:
    @pytest.mark.parametrize(
        ("value", "path", "reason"),
        [
            (USER, "k", "an instance of app.User"),
            ([1, {"u": USER, "a": 1}], "k.1.u", "an instance of app.User"),
            ({"a": {"b": (1, USER)}}, "k.a.b", "an instance of app.User"),
            ({"a": {2: USER}}, "k.a.(int)", "an instance of app.User"),
            (Unknown("builtins.dict", ((USER, 1),)), "k", "a dict whose keys are instances of other classes"),
            (Unknown("builtins.set", (USER,)), "k", "a set whose keys are instances of other classes"),
            (1 + 2j, "k", "complex cannot be stored"),
            (Level.HIGH, "k", "is an enum"),
            ("\ud800", "k", "a lone surrogate"),
            ({"\ud800": 1}, "k.\\ud800", "a lone surrogate"),
            (datetime(2024, 1, 1, tzinfo=Zone()), "k", "is its time zone"),
            (UTC, "k", "timezone cannot be stored"),
            (collections.namedtuple("Point", "x")(1), "k", "would come back as tuple"),
            (nested(codec.MAX_DEPTH + 1), "k", "nested too deeply"),
            ({range(2): 1}, "k.(range)", "no hash"),
            ({range(2)}, "k", "no hash"),
        ],
        ids=lambda value: repr(value)[:20],
    )
    def test_it_is_told_where_and_why(self, value: Any, path: str, reason: str) -> None:
        kept, dropped = storable({"k": value, "other": 1}, None)
        assert kept["other"] == 1
        assert [place for place, _ in dropped] == [path]
        assert reason in dropped[0][1]
        codec.encode(kept)

    def test_the_nearest_dict_loses_a_key_and_no_list_an_item(self) -> None:
        data = {"a": {"list": [1, USER, 2], "b": 1}, "c": [{"u": USER, "d": 1}]}
        assert storable(data, None)[0] == {"a": {"b": 1}, "c": [{"d": 1}]}

    @pytest.mark.parametrize(
        ("key", "path"),
        [((1, 2), "(tuple)"), (b"\xff", "(bytes)"), (UUID(int=1), "(UUID)"), (10**5000, "(int)")],
        ids=["tuple", "bytes", "UUID", "int"],
    )
    def test_a_key_that_is_no_text(self, key: Any, path: str) -> None:
        kept, ((place, _),) = storable({key: 1, "a": 1}, None)
        assert (kept, place) == ({"a": 1}, path)

    def test_the_second_key_of_the_same_text(self) -> None:
        assert storable({1: "a", "1": "b"}, None) == ({"1": "a"}, (("1", "another key has the same text"),))

    @pytest.mark.parametrize(
        ("key", "path"),
        [
            ("a\nERROR forged", "a\\nERROR forged"),
            ("\x1b[2J\x00\x7f", "\\x1b[2J\\x00\\x7f"),
            ("\u202eleft\u2028", "\\u202eleft\\u2028"),
            ("Größe", "Größe"),
            ("x" * 100, "x" * 100),
            ("x" * 101, "x" * 97 + "..."),
            ("\n" * 5000, "\\n" * 48 + "\\..."),
        ],
    )
    def test_a_path_can_be_logged(self, key: str, path: str) -> None:
        assert storable({key: USER}, None) == ({}, ((path, "an instance of app.User"),))
        _, ((place, _),) = storable({"k": {key: USER}}, None)
        assert place.isprintable()
        assert len(place) <= 100

    def test_a_reason_holds_no_value(self) -> None:
        data = {"a": Unknown("app.User", "secret"), "b": [complex(7777)], "c": "secret\ud800", "d": b"secret".hex}
        assert "secret" not in repr(storable(data, None)[1])
        assert "7777" not in repr(storable(data, None)[1])


class TestDeepCallers:
    def test_no_room_is_a_reason_and_no_error(self) -> None:
        data = {"a": nested(codec.MAX_DEPTH - 4)}

        def deep(levels: int) -> Any:
            return deep(levels - 1) if levels else storable(data, None)

        assert deep(200) == (data, ())
        depth = len(inspect.stack(0))
        with pytest.raises(LegacyError, match="corrupt: nested too deeply"):
            deep(sys.getrecursionlimit() - depth - 40)


class TestLog:
    @pytest.mark.parametrize(("count", "lines"), [(20, 20), (21, 21), (5000, 21)])
    def test_a_session_of_many_keys_that_are_dropped_does_not_fill_the_log(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, count: int, lines: int
    ) -> None:
        caplog.set_level(logging.INFO, "wsgi_sessions.migration")
        pickled = b"}(" + b"".join(b"\x8c\x05%05dcapp\nA\n" % key for key in range(count)) + b"u."
        (tmp_path / f"werkzeug_{'ab' * 20}.sess").write_bytes(pickled)
        site = Site(legacy=[WerkzeugSource(tmp_path, serializer="pickle")])
        visitor = site.visitor()
        visitor.put("session_id", "ab" * 20)
        visitor.visit(lambda session: session.get("user"))
        taken, *messages = [each.getMessage() for each in caplog.records]
        assert taken == "a session of werkzeug was taken over"
        assert len(messages) == lines
        assert messages[19] == "of a session of werkzeug, 00019 was dropped: an instance of app.A"
        if count > 20:
            assert messages[20] == f"of a session of werkzeug, {count - 20} more were dropped"
        assert site.middleware.legacy_counts["werkzeug", "dropped-key"] == count


class TestConvert:
    def test_it_is_told_where_and_what(self) -> None:
        seen = []
        storable({"a": {"b": [USER]}}, lambda path, unknown: seen.append((path, unknown)))
        assert seen == [("a.b.0", USER)]

    def test_it_is_told_no_more_than_the_beginning_of_a_long_place(self) -> None:
        seen = []
        storable({"k" * 2000: {"a": USER}, "b" * 995: [{"c": USER}]}, lambda path, unknown: seen.append(path))
        assert seen == ["k" * 1000, "b" * 995 + ".0.c"]

    def test_what_it_returns_takes_the_place(self) -> None:
        kept, dropped = storable({"a": [USER], "b": USER}, lambda path, unknown: unknown.state)
        assert (kept, dropped) == ({"a": [{"id": 7}], "b": {"id": 7}}, ())

    def test_it_may_have_nothing(self) -> None:
        assert storable({"a": USER, "b": 1}, no_convert) == ({"b": 1}, (("a", "an instance of app.User"),))

    @pytest.mark.parametrize(
        "returned", [USER, [USER], object(), nested(70)], ids=["same", "in a list", "other", "deep"]
    )
    def test_what_it_returns_may_be_no_better(self, returned: Any) -> None:
        kept, dropped = storable({"a": USER, "b": 1}, lambda path, unknown: returned)
        assert kept == {"b": 1}
        assert len(dropped) == 1

    def test_what_it_raises_costs_the_session_nothing_else(self) -> None:
        kept, dropped = storable({"a": USER, "b": 1}, lambda path, unknown: 1 / 0)
        assert kept == {"b": 1}
        assert dropped == (("a", "an instance of app.User: convert raised ZeroDivisionError"),)


class TestAny:
    @settings(max_examples=150, deadline=None)
    @given(
        st.dictionaries(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.uuids(),
            st.recursive(
                st.none()
                | st.sampled_from([USER, Markup("<"), bytearray(b"a"), Decimal("sNaN"), 1j, "\udc80", range(2), time()])
                | st.integers()
                | st.floats()
                | st.text()
                | st.datetimes(timezones=st.sampled_from([None, UTC, ZoneInfo("Europe/Rome")])),
                lambda inner: (
                    st.lists(inner)
                    | st.dictionaries(st.text() | st.integers() | st.tuples(st.text(), st.floats()), inner)
                    | st.tuples(inner)
                    | st.frozensets(st.integers() | st.text() | st.frozensets(st.text()))
                ),
                max_leaves=10,
            ),
        )
    )
    def test_all_that_is_kept_can_be_stored(self, data: dict[Any, Any]) -> None:
        kept, dropped = storable(data, None)
        assert all(type(key) is str for key in kept)
        assert len(kept) + len(dropped) >= len(data)
        codec.decode(codec.encode(kept))
