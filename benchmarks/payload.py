"""The session contents that every system stores: plain JSON types, ten keys, so that each one's serializer takes it."""

from __future__ import annotations

import random
import string
from typing import Any

# What a browser commonly sends beside the session's own cookie.
NOISE_COOKIE = "_ga=GA1.2.1103848281.1698765432; theme=dark; "


def small(seed: int = 0) -> dict[str, Any]:
    """Return ten keys, about 1 KB as compact JSON: what a shop keeps for a signed-in user."""
    return _shop(random.Random(seed), lines=7)


def large(seed: int = 0) -> dict[str, Any]:
    """Return the same ten keys, about 50 KB: the cart swollen."""
    return _shop(random.Random(seed), lines=574)


def _shop(source: random.Random, lines: int) -> dict[str, Any]:
    return {
        "user_id": 4211,
        "counter": 0,
        "username": _word(source, 16),
        "email": _word(source, 12) + "@example.com",
        "csrf_token": _word(source, 43),
        "roles": ["member", "editor", "billing"],
        "login_at": 1700000000.25,
        "prefs": {"lang": "en-GB", "tz": "Europe/London", "theme": "dark", "page": 25},
        "cart": [_line(source) for _ in range(lines)],
        "recent": [_word(source, 20) for _ in range(6)],
    }


def _line(source: random.Random) -> dict[str, Any]:
    return {"sku": _word(source, 12), "name": _word(source, 30), "qty": source.randint(1, 9), "price": "19.99"}


def _word(source: random.Random, length: int) -> str:
    return "".join(source.choices(string.ascii_letters + string.digits, k=length))
