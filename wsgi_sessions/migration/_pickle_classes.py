"""The classes of the standard library, and some like them, that a session holds: each with what makes its values.

Nothing that a pickle names is imported: a class is here, or it is unknown. Every value goes through the public
constructor, which checks it; the one that pickles use does not.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from ._pickle_nodes import Call, Malformed, OldText, Pairs
from ._pickle_values import Builder, Maker
from .unknown import Unknown

_MAX_DECIMAL = 200
_LATIN_1 = frozenset(("latin1", "latin-1", "latin_1", "iso-8859-1", "iso8859-1"))
_zone = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,2}")


def _moment(builder: Builder, call: Call) -> Any:
    state, zone = _state(builder, call, 10)
    century, year, month, day, hour, minute, second, *microsecond = state
    # The highest bit of the month is the fold (PEP 495).
    year, month, fold = century << 8 | year, month & 0x7F, month >> 7
    naive = datetime(year, month, day, hour, minute, second, int.from_bytes(microsecond), fold=fold)
    if isinstance(zone, Unknown):
        return Unknown("datetime.datetime", (naive, zone))
    return naive.replace(tzinfo=zone)


def _date(builder: Builder, call: Call) -> date:
    state, _ = _state(builder, call, 4)
    return date(state[0] << 8 | state[1], *state[2:])


def _time(builder: Builder, call: Call) -> Any:
    state, zone = _state(builder, call, 6)
    hour, minute, second, *microsecond = state
    naive = time(hour & 0x7F, minute, second, int.from_bytes(microsecond), fold=hour >> 7)
    if isinstance(zone, Unknown):
        return Unknown("datetime.time", (naive, zone))
    return naive.replace(tzinfo=zone)


def _state(builder: Builder, call: Call, size: int) -> tuple[bytes, Any]:
    """Return what a date or time is packed in, and its zone."""
    node = call.arguments[0]
    value = node.raw if isinstance(node, OldText) else builder.value(node)
    # As Python 3 reads what Python 2 wrote, and may write again.
    state = value.encode("latin-1") if isinstance(value, str) else value
    if type(state) is not bytes or len(state) != size:
        raise Malformed
    zone = builder.value(call.arguments[1]) if len(call.arguments) > 1 else None
    if not isinstance(zone, tzinfo | Unknown | None):
        raise Malformed
    return state, zone


def _timedelta(builder: Builder, call: Call) -> timedelta:
    return timedelta(*_integers(builder, call))


def _timezone(builder: Builder, call: Call) -> timezone:
    offset, *name = builder.values(call.arguments)
    return timezone(offset, *name)


def _zone_info(builder: Builder, call: Call) -> Any:
    key = builder.value(call.arguments[0])
    if not isinstance(key, str) or not _zone.fullmatch(key):
        raise Malformed
    if key not in builder.zones:
        builder.limits.zones -= 1
        if builder.limits.zones < 0:
            raise Malformed
        builder.zones[key] = _installed_zone(key)
    return builder.zones[key]


def _installed_zone(key: str) -> Any:
    try:
        return ZoneInfo(key)
    except (OSError, LookupError, ValueError):  # it is not installed here
        return Unknown("zoneinfo.ZoneInfo", key)


def _pytz(builder: Builder, call: Call) -> Any:
    """Make the zone of ``pytz._p(name, offset, dst, abbreviation)``: fixed, as pytz has one for each offset."""
    if len(call.arguments) < 2:
        return _zone_info(builder, call)
    return timezone(timedelta(seconds=builder.value(call.arguments[1])))


def _fixed(builder: Builder, call: Call) -> timezone:
    """Make the zone of a fixed offset: the one timedelta that its class was given in whatever place, or minutes."""
    given = builder.values(call.arguments)
    state = builder.value(call.state)
    values = [*given, *state.values()] if isinstance(state, dict) else given
    offsets = {value for value in values if type(value) is timedelta} or {timedelta(minutes=given[0])}
    (offset,) = offsets
    return timezone(offset)


def _utc(builder: Builder, call: Call) -> timezone:
    return UTC


def _decimal(builder: Builder, call: Call) -> Decimal:
    text = _text(builder, call)
    if len(text) > _MAX_DECIMAL:
        raise Malformed
    return Decimal(text)


def _uuid(builder: Builder, call: Call) -> UUID:
    state = builder.value(call.state)
    return UUID(int=state["int"])


def _set(builder: Builder, call: Call) -> Any:
    return builder.members(set, _sequence(builder, call))


def _frozenset(builder: Builder, call: Call) -> Any:
    return builder.members(frozenset, _sequence(builder, call))


def _sequence(builder: Builder, call: Call) -> list[Any]:
    first = builder.value(call.arguments[0]) if call.arguments else []
    if not isinstance(first, list | tuple | set | frozenset):
        raise Malformed
    return [*first, *builder.values(call.items)]


def _mapping(builder: Builder, call: Call) -> Any:
    # Of a defaultdict, it is what makes the defaults.
    first = call.arguments[0] if call.arguments and isinstance(call.arguments[0], Pairs | list | tuple) else ()
    pairs = first.pairs if isinstance(first, Pairs) else first
    return builder.mapping([_pair(builder, pair) for pair in (*pairs, *call.pairs)])


def _pair(builder: Builder, pair: Any) -> tuple[Any, Any]:
    key, value = pair
    return builder.value(key), builder.value(value)


def _range(builder: Builder, call: Call) -> list[int]:
    numbers = range(*_integers(builder, call))
    # Not len(), which is limited to what an index can be.
    count = (numbers.stop - numbers.start) // numbers.step
    size = count * (max(abs(numbers.start), abs(numbers.stop)).bit_length() >> 3)
    if count > builder.limits.nodes or size > builder.limits.size:
        raise Malformed
    builder.limits.nodes -= len(numbers)
    builder.limits.size -= max(0, size)
    return list(numbers)


def _integers(builder: Builder, call: Call) -> list[int]:
    values = builder.values(call.arguments)
    if any(type(value) is not int for value in values):
        raise Malformed
    return values


def _encoded(builder: Builder, call: Call) -> bytes:
    """Make the bytes that Python 3 writes as text for protocols that have none."""
    text, encoding = builder.values(call.arguments)
    if not isinstance(text, str) or encoding not in _LATIN_1:
        raise Malformed
    return text.encode("latin-1")


def _bytes(builder: Builder, call: Call) -> bytes:
    if len(call.arguments) == 2:
        return _encoded(builder, call)
    value = builder.value(call.arguments[0]) if call.arguments else b""
    # Not an integer: that many bytes would be made.
    if not isinstance(value, bytes | list):
        raise Malformed
    return bytes(value)


def _markup(builder: Builder, call: Call) -> str:
    text = _text(builder, call)
    try:
        from markupsafe import Markup  # optional: werkzeug has it, but need not
    except ImportError:
        return text
    return Markup(text)


def _text(builder: Builder, call: Call) -> str:
    text = builder.value(call.arguments[0]) if call.arguments else ""
    if not isinstance(text, str):
        raise Malformed
    return text


_ZONES: dict[tuple[str, str], Maker] = {
    ("datetime", "timezone"): _timezone,
    ("zoneinfo", "ZoneInfo._unpickle"): _zone_info,
    ("pytz", "_p"): _pytz,
    ("pytz", "_UTC"): _utc,
    ("pytz", "FixedOffset"): _fixed,
    ("psycopg2.tz", "FixedOffsetTimezone"): _fixed,
    ("dateutil.tz", "tzoffset"): _fixed,
    ("dateutil.tz.tz", "tzoffset"): _fixed,
    ("django.utils.timezone", "FixedOffset"): _fixed,
    ("dateutil.tz", "tzutc"): _utc,
    ("dateutil.tz.tz", "tzutc"): _utc,
    ("django.utils.timezone", "UTC"): _utc,
}
_MARKUP: dict[tuple[str, str], Maker] = {
    ("markupsafe", "Markup"): _markup,
    ("markupsafe._speedups", "Markup"): _markup,
    ("flask", "Markup"): _markup,
    ("jinja2.utils", "Markup"): _markup,
    ("webhelpers.html.builder", "literal"): _markup,
    ("webhelpers2.html.builder", "literal"): _markup,
    ("django.utils.safestring", "SafeString"): _markup,
    ("django.utils.safestring", "SafeText"): _markup,
    ("django.utils.safestring", "SafeUnicode"): _markup,
}
#: By module and name, as Python 3 has them.
MAKERS: dict[tuple[str, str], Maker] = {
    **_ZONES,
    **_MARKUP,
    ("datetime", "datetime"): _moment,
    ("datetime", "date"): _date,
    ("datetime", "time"): _time,
    ("datetime", "timedelta"): _timedelta,
    ("decimal", "Decimal"): _decimal,
    ("uuid", "UUID"): _uuid,
    ("builtins", "set"): _set,
    ("builtins", "frozenset"): _frozenset,
    ("builtins", "range"): _range,
    ("builtins", "xrange"): _range,
    ("builtins", "bytes"): _bytes,
    ("builtins", "bytearray"): _bytes,
    ("_codecs", "encode"): _encoded,
    ("collections", "deque"): _sequence,
    ("collections", "OrderedDict"): _mapping,
    ("collections", "defaultdict"): _mapping,
    ("collections", "Counter"): _mapping,
}
