"""Whether two visitors may have the very same signed cookie: with the same data, signed in the same second."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

#: What is a user, or a random token, in the sessions of Flask, Django, and what extends them.
PERSONAL_KEYS = (
    "user",
    "user_id",
    "username",
    "_user_id",
    "_auth_user_id",
    "csrf_token",
    "_csrf_token",
    "_csrftoken",
)


def checked_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of keys.

    :raises TypeError: if it is a single one.
    """
    if isinstance(names, str):
        raise TypeError(f"personal_keys must be a list of names: write [{names!r}]")
    return tuple(names)


def is_personal(data: Mapping[str, Any], keys: Iterable[str]) -> bool:
    """Tell whether a session has a value that no two visitors share."""
    return any(data.get(key) for key in keys)
