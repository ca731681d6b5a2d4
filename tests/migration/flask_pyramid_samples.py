"""Sessions that old versions of Flask's and Pyramid's libraries have written, and the data that was put into them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from wsgi_sessions.testing import ReplacedClock

SAMPLES = Path(__file__).with_name("samples")
STORES = SAMPLES / "stores"

#: What JSON can say.
JSON = {
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
#: What only pickles can say, as ours: what was an OrderedDict is a dict, and a deque a list.
RICH = {
    **JSON,
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
    "range": [0, 1, 2],
    "ba": b"xy",
    "dtz": datetime(2024, 2, 29, 12, 34, 56, tzinfo=UTC),
    "dtz2": datetime(2024, 2, 29, 12, 34, 56, tzinfo=timezone(timedelta(hours=2))),
    "deque": [1, 2],
    "counter": {"a": 2, "b": 1},
}


def entries(name: str) -> list[Any]:
    """Return the samples of a file that set a cookie."""
    text = (SAMPLES / f"{name}.json").read_text(encoding="utf-8")
    return [entry for entry in json.loads(text) if entry["set_cookie"]]


def label(entry: dict[str, Any]) -> str:
    return f"{entry['version']}-{entry['variant']}"


def cookie_of(entry: dict[str, Any]) -> tuple[str, str]:
    """Return the name and value of a sample's cookie."""
    name, _, value = entry["set_cookie"][0].partition(";")[0].partition("=")
    return name, value


def written_at(entry: dict[str, Any]) -> ReplacedClock:
    """Return a clock of the moment in which a sample was written."""
    return ReplacedClock(start=int(entry["t"] * 1000))


def mutated(cookie: str) -> Iterator[str]:
    """Yield texts that differ a little from a cookie."""
    alphabet = "AQgw09_-.=+/ \xe9\x00"
    # Of a long one not every place, but its ends, where signatures are.
    step = len(cookie) // 300 + 1
    for place in sorted({*range(0, len(cookie), step), *range(90), *range(len(cookie) - 30, len(cookie))}):
        if place >= len(cookie):
            break
        yield cookie[:place] + cookie[place + 1 :]
        yield cookie[:place] + cookie[place].swapcase() + cookie[place + 1 :] + "A" * cookie[place].isdigit()
        yield cookie[:place] + alphabet[place % len(alphabet)] + cookie[place:]
        yield cookie[:place]
        # One bit of the base64 character: the last ones of a group may stand for nothing.
        yield cookie[:place] + chr(ord(cookie[place]) ^ 1) + cookie[place + 1 :]
    for end in ("A", ".", "=", "==", "\n", " ", "\x00"):
        yield cookie + end
        yield end + cookie
    yield cookie * 2
    yield cookie[::-1]
