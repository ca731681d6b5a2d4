"""Sessions that old versions of Flask's and Pyramid's libraries have written, and the data that was put into them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich_data import DATA

from wsgi_sessions.testing import ReplacedClock

SAMPLES = Path(__file__).with_name("samples")
STORES = SAMPLES / "stores"

#: What JSON can say, and what only pickles can.
JSON, RICH = DATA["json"], DATA["rich"]


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
