"""Datetimes and times as JSON that tells everything about them: offset, zone, fold.

ISO 8601 alone forgets which zone an offset came from and which of two equal
wall clock times is meant when clocks are set back (PEP 495).
"""

from __future__ import annotations

from datetime import datetime, time, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo


class Refused(Exception):
    """A value cannot be stored; the message is the reason."""


def tag_moment(value: datetime | time, depth: int) -> dict[str, Any]:
    """Return a tag whose body is ISO 8601, with the fold and the zone where that does not say all."""
    kind, zone, place = type(value).__name__, value.tzinfo, None
    if type(zone) is ZoneInfo and zone.key is not None:
        place = zone.key
    elif type(zone) is timezone:
        place = _offset(zone)
    elif zone is not None:
        raise Refused(f"a {name_of(type(zone))} is its time zone: use datetime.timezone or a ZoneInfo with a key")
    if place is None and not value.fold:
        return {"$": (kind, value.isoformat())}
    text = (value if place is None else value.replace(tzinfo=None)).isoformat()
    return {"$": (kind, (text, value.fold, place))}


def _offset(zone: timezone) -> Any:
    """Return the parts of an offset, or None if ISO 8601 says all of it."""
    offset, name = zone.utcoffset(None), zone.tzname(None)
    unnamed = name == timezone(offset).tzname(None)
    # Python 3.11 reads an offset of less than a second, +00:00:00.5, as UTC.
    if unnamed and not offset.microseconds:
        return None
    return offset.days, offset.seconds, offset.microseconds, None if unnamed else name


def load_moment(kind: Any, body: Any) -> Any:
    """Return the datetime or time of a tag's body.

    :raises ValueError: if the body is none; also LookupError, TypeError and OSError, as its parts have it.
    """
    text, fold, place = (body, 0, None) if type(body) is str else body
    moment = kind.fromisoformat(text).replace(fold=fold)
    if place is None:
        return moment
    if type(place) is str:
        return moment.replace(tzinfo=ZoneInfo(place))
    days, seconds, microseconds, name = place
    offset = timedelta(days, seconds, microseconds)
    return moment.replace(tzinfo=timezone(offset) if name is None else timezone(offset, name))


def name_of(kind: type) -> str:
    """Return what an error calls a type."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
