"""When a session ends: the three policies and how they travel inside a record.

A policy is a value. It says at which moment a session that is active now would
end, whether the browser keeps the cookie after it is closed, and by how much
the end must move before a mere read is worth a write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any, ClassVar, Protocol

_MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: Stands for "a tenth of the duration" in a signature; the policy replaces it.
A_TENTH = timedelta.min


class Expiry(Protocol):
    """What the session asks of a policy."""

    #: Whether the cookie outlives the browser (it then has a Max-Age).
    @property
    def persistent(self) -> bool: ...

    #: By how many milliseconds the end must move before it is moved; ``None``:
    #: only a save moves it, and always.
    @property
    def step(self) -> int | None: ...

    def expires(self, now: int) -> int:
        """Return the end, in Unix milliseconds, of a session active at ``now``."""

    def tolerates(self, remaining: int) -> bool:
        """Tell whether a mere read surely leaves an end that lies so many milliseconds ahead."""

    def dump(self) -> list[Any]:
        """Return plain JSON that :func:`load_expiry` turns back into this policy."""


def to_datetime(milliseconds: int) -> datetime:
    """Return Unix milliseconds as an aware UTC datetime, at most the last one there is."""
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class OnSessionEnd:
    """End with the browser session: a cookie without Max-Age.

    Browsers do not tell when they close, and many restore such cookies, so
    the server forgets the session ``ttl`` after the last activity.

    :param ttl: how long the server keeps an unused session.
    :param touch_every: a read counts as activity once it would move the end by
        this much; a tenth of ``ttl`` unless given. ``None``: only saves count.
    :raises TypeError: if a duration is no timedelta.
    :raises ValueError: if ``ttl`` is under a millisecond, or ``touch_every`` negative or over ``ttl``.
    """

    ttl: timedelta = timedelta(weeks=2)
    touch_every: timedelta | None = A_TENTH
    step: int | None = field(init=False, repr=False, compare=False)
    _duration: int = field(init=False, repr=False, compare=False)
    _nearest: float = field(init=False, repr=False, compare=False)
    _farthest: float = field(init=False, repr=False, compare=False)
    persistent: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _settle(self, "ttl", self.ttl, self.touch_every)

    def expires(self, now: int) -> int:
        """Return the end, in Unix milliseconds, of a session active at ``now``."""
        return now + self._duration

    def tolerates(self, remaining: int) -> bool:
        """Tell whether a mere read surely leaves an end that lies so many milliseconds ahead."""
        # Both ways: a default that was made shorter holds for the sessions that exist.
        return self._nearest < remaining < self._farthest

    def dump(self) -> list[Any]:
        """Return plain JSON that :func:`load_expiry` turns back into this policy."""
        return ["OnSessionEnd", self._duration, self.step]


class KeptEnd(OnSessionEnd):
    """The policy of a session outside of a request, where the middleware's is not known: its stored end stays."""

    def tolerates(self, remaining: int) -> bool:
        """Return True: nothing moves the end."""
        return True


@dataclass(frozen=True, slots=True)
class OnInactivity:
    """End ``idle`` after the last activity: a cookie with that Max-Age.

    :param idle: how long a session may go unused.
    :param touch_every: a read counts as activity once it would move the end by
        this much; a tenth of ``idle`` unless given. ``None``: only saves count.
    :raises TypeError: if a duration is no timedelta.
    :raises ValueError: if ``idle`` is under a millisecond, or ``touch_every`` negative or over ``idle``.
    """

    idle: timedelta
    touch_every: timedelta | None = A_TENTH
    step: int | None = field(init=False, repr=False, compare=False)
    _duration: int = field(init=False, repr=False, compare=False)
    _nearest: float = field(init=False, repr=False, compare=False)
    _farthest: float = field(init=False, repr=False, compare=False)
    persistent: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _settle(self, "idle", self.idle, self.touch_every)

    def expires(self, now: int) -> int:
        """Return the end, in Unix milliseconds, of a session active at ``now``."""
        return now + self._duration

    def tolerates(self, remaining: int) -> bool:
        """Tell whether a mere read surely leaves an end that lies so many milliseconds ahead."""
        # Both ways: a default that was made shorter holds for the sessions that exist.
        return self._nearest < remaining < self._farthest

    def dump(self) -> list[Any]:
        """Return plain JSON that :func:`load_expiry` turns back into this policy."""
        return ["OnInactivity", self._duration, self.step]


@dataclass(frozen=True, slots=True)
class AtDateTime:
    """End at a fixed moment, whatever the visitor does.

    :param at: an aware datetime, in any zone.
    :raises TypeError: if ``at`` is no datetime.
    :raises ValueError: if ``at`` is naive.
    """

    at: datetime
    step: ClassVar[int | None] = 0
    persistent: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.at, datetime):
            raise TypeError(f"at must be a datetime, not {type(self.at).__name__}")
        if self.at.utcoffset() is None:
            raise ValueError("at must be an aware datetime: write datetime.now(UTC) + timedelta(...)")

    def expires(self, now: int) -> int:
        """Return the fixed moment in Unix milliseconds."""
        return (self.at - _EPOCH) // _MILLISECOND

    def tolerates(self, remaining: int) -> bool:
        """Return False: only a look at the moment itself can tell."""
        return False

    def dump(self) -> list[Any]:
        """Return plain JSON that :func:`load_expiry` turns back into this policy."""
        return ["AtDateTime", self.expires(0)]


def load_expiry(dumped: Sequence[Any]) -> Expiry:
    """Return the policy that ``dump`` wrote.

    :raises ValueError: if it is none of this version's policies.
    """
    try:
        match dumped:
            case ["AtDateTime", int(at)]:
                return AtDateTime(_EPOCH + timedelta(milliseconds=at))
            case ["OnSessionEnd", int(ttl), int() | None as step]:
                return OnSessionEnd(timedelta(milliseconds=ttl), _duration_or_none(step))
            case ["OnInactivity", int(idle), int() | None as step]:
                return OnInactivity(timedelta(milliseconds=idle), _duration_or_none(step))
    except OverflowError as error:
        raise ValueError("expiry policy out of range") from error
    raise ValueError("unknown expiry policy")


def _duration_or_none(milliseconds: int | None) -> timedelta | None:
    return None if milliseconds is None else timedelta(milliseconds=milliseconds)


def _settle(policy: OnSessionEnd | OnInactivity, name: str, duration: timedelta, touch_every: timedelta | None) -> None:
    """Check the durations of a sliding policy and keep them as milliseconds too."""
    if not isinstance(duration, timedelta):
        raise TypeError(f"{name} must be a timedelta, not {type(duration).__name__}")
    if duration < _MILLISECOND:
        raise ValueError(f"{name} must be at least a millisecond")
    if touch_every is A_TENTH:
        touch_every = duration / 10
    if touch_every is not None:
        if not isinstance(touch_every, timedelta):
            raise TypeError(f"touch_every must be a timedelta or None, not {type(touch_every).__name__}")
        if not timedelta(0) <= touch_every <= duration:
            raise ValueError(f"touch_every must lie between 0 and {name}")
    milliseconds = duration // _MILLISECOND
    step = None if touch_every is None else touch_every // _MILLISECOND
    # The dataclass is frozen for its users; these complete its construction.
    object.__setattr__(policy, "touch_every", touch_every)
    object.__setattr__(policy, "step", step)
    object.__setattr__(policy, "_duration", milliseconds)
    object.__setattr__(policy, "_nearest", -inf if step is None else milliseconds - step)
    object.__setattr__(policy, "_farthest", inf if step is None else milliseconds + step)
