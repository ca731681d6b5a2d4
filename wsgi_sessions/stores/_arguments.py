"""Checks of what the constructors of several stores take."""

from __future__ import annotations

import os
import re
from datetime import timedelta


def checked_path(kind: str, path: str | os.PathLike[str], example: str) -> str:
    """Return a path as an absolute one, without a slash at the end, which would follow a symbolic link.

    :param kind: of what it names.
    :raises TypeError: if it is neither a str nor a Path.
    :raises ValueError: if it names nothing.
    """
    text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(f"the path of a {kind} must be a str or a pathlib.Path, not bytes")
    if not text or "\0" in text:
        raise ValueError(f"the path must name a {kind}, such as {example!r}")
    return os.path.abspath(text)


def checked_durability(durability: str) -> bool:
    """Return whether what was stored has to survive a power failure.

    :raises ValueError: if it is neither of the two words.
    """
    if durability not in ("process", "power"):
        raise ValueError(f"durability must be 'process' or 'power', not {durability!r}")
    return durability == "power"


def checked_seconds(name: str, duration: timedelta) -> float:
    """Return a timedelta as seconds.

    :raises TypeError: if it is no timedelta.
    :raises ValueError: if it is not positive.
    """
    if not isinstance(duration, timedelta):
        raise TypeError(f"{name} must be a timedelta such as timedelta(seconds=2), not {duration!r}")
    if duration <= timedelta(0):
        raise ValueError(f"{name} must be positive, such as timedelta(seconds=2)")
    return duration.total_seconds()


def checked_identifier(name: str, identifier: str) -> str:
    """Return the name of a table or schema: a letter or underscore, then letters, digits and underscores.

    :raises ValueError: if it is anything else, or longer than PostgreSQL's 63 characters.
    """
    if not isinstance(identifier, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", identifier, re.ASCII):
        raise ValueError(f"{name} must be a name such as 'wsgi_session': a letter or _, then letters, digits or _")
    return identifier


def checked_prefix(prefix: str) -> str:
    """Return what the keys of a shared server begin with.

    :raises ValueError: if it is empty or not plain ASCII without blanks.
    """
    if not isinstance(prefix, str) or not re.fullmatch(r"[!-~]{1,100}", prefix, re.ASCII):
        raise ValueError("prefix must be 1 to 100 printable ASCII characters without blanks, such as 'myapp:'")
    return prefix
