"""The data that old libraries were made to store, by the names that the samples call them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

_JSON = {
    "s": "plain",
    "u": "Zażółć gęślą jaźń \u20ac \U0001f600 \u2028",
    "empty": "",
    "i": 42,
    "neg": -7,
    "big": 2**53 + 1,
    "f": 3.25,
    "t": True,
    "fa": False,
    "n": None,
    "nested": {"a": [1, 2, {"b": ["x", None, True]}], "d": {}, "l": []},
    "quote": 'he said "hi"; ok, a=b\\c\n\t\x00',
}
_RICH = {
    **_JSON,
    "dt": datetime(2024, 2, 29, 12, 34, 56, 789012),
    "date": date(2024, 2, 29),
    "time": time(12, 34, 56),
    "td": timedelta(days=1, seconds=2, microseconds=3),
    "bytes": b"\x00\xff\x80abc",
    "tup": (1, "two", (3.0, None)),
    "set": {1, 2, 3},
    "fset": frozenset(["a"]),
    "dec": Decimal("1.10"),
    "uuid": UUID("12345678-1234-5678-1234-567812345678"),
    "od": {"z": 1, "a": 2},
    "dd": {"k": [1]},
    "intkeys": {1: "one", (1, 2): "tuple key"},
    "bigint": 2**200,
    "inf": float("inf"),
    "ba": b"xy",
}
_RICH_3 = {
    "range": [0, 1, 2],
    "dtz": datetime(2024, 2, 29, 12, 34, 56, tzinfo=UTC),
    "dtz2": datetime(2024, 2, 29, 12, 34, 56, tzinfo=timezone(timedelta(hours=2), "X")),
    "deque": [1, 2],
    "counter": {"a": 2, "b": 1},
}

#: What was put in, as it is read: ``complex``, which nothing else has, was there as well.
DATA: dict[str, dict[str, Any]] = {"json": _JSON, "rich": {**_RICH, **_RICH_3}, "rich-2": {**_RICH, "range": None}}


def types_of(value: Any) -> Any:
    """Return a value with its type, all the way down: 1 equals True, and a datetime one in another zone."""
    if isinstance(value, dict):
        return dict, {key: types_of(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [types_of(item) for item in value]
    return type(value), repr(value) if isinstance(value, datetime | float) else value
