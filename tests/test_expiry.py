"""The three policies: values with a meaning, checked when made, unchanged by a round trip."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_sessions.expiry import AtDateTime, OnInactivity, OnSessionEnd, load_expiry, to_datetime

HOUR = timedelta(hours=1)
# Policies count milliseconds.
DURATIONS = st.integers(1, 10**13).map(lambda milliseconds: timedelta(milliseconds=milliseconds))
SLIDING = pytest.mark.parametrize("policy", [OnSessionEnd, OnInactivity])
MOMENTS = st.datetimes(timezones=st.just(UTC)).map(lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000))


@SLIDING
def test_a_sliding_policy_ends_its_duration_after_the_activity(policy: Any) -> None:
    assert policy(HOUR).expires(1_000) == 3_601_000


def test_on_session_end_keeps_two_weeks_by_default() -> None:
    assert OnSessionEnd().ttl == timedelta(weeks=2)
    assert OnSessionEnd().expires(0) == 14 * 86_400_000


def test_only_the_session_cookie_is_not_persistent() -> None:
    """seed 1.4: OnSessionEnd has no Max-Age, the others do."""
    assert not OnSessionEnd().persistent
    assert OnInactivity(HOUR).persistent
    assert AtDateTime(datetime.now(UTC)).persistent


@SLIDING
def test_a_tenth_is_the_step_unless_another_is_given(policy: Any) -> None:
    """T-20."""
    assert policy(HOUR).touch_every == timedelta(minutes=6)
    assert policy(HOUR).step == 360_000
    assert policy(HOUR, touch_every=timedelta(minutes=1)).step == 60_000
    assert policy(HOUR, touch_every=timedelta(0)).step == 0
    assert policy(HOUR, touch_every=HOUR).step == 3_600_000
    assert policy(HOUR, touch_every=None).step is None


def test_a_fixed_moment_is_the_same_in_every_zone() -> None:
    """T-21, trap 30: aware moments only, compared as Unix time."""
    at = datetime(2030, 7, 1, 12, tzinfo=UTC)
    east = at.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert AtDateTime(at).expires(0) == AtDateTime(east).expires(10**15) == 1_909_137_600_000


def test_a_fixed_moment_may_lie_in_the_past() -> None:
    assert AtDateTime(datetime(1960, 1, 1, tzinfo=UTC)).expires(0) < 0


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="needs tzset")
@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kathmandu"])
def test_the_local_time_zone_changes_nothing(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """T-21."""
    before_the_switch = 1_899_331_200_000
    try:
        with monkeypatch.context() as context:
            context.setenv("TZ", zone)
            time.tzset()
            assert AtDateTime(datetime(2030, 3, 10, tzinfo=UTC)).expires(0) == before_the_switch
            assert OnInactivity(timedelta(hours=24)).expires(before_the_switch) == before_the_switch + 86_400_000
            assert to_datetime(before_the_switch).isoformat() == "2030-03-10T00:00:00+00:00"
    finally:
        time.tzset()


@SLIDING
@given(data=st.data())
def test_a_sliding_policy_survives_its_record(policy: Any, data: st.DataObject) -> None:
    """Trap 8: the policy is persisted."""
    duration = data.draw(DURATIONS)
    part = st.integers(0, duration // timedelta(milliseconds=1)).map(lambda count: timedelta(milliseconds=count))
    before = policy(duration, touch_every=data.draw(st.none() | part))
    assert load_expiry(msgspec.json.decode(msgspec.json.encode(before.dump()))) == before


@given(DURATIONS)
def test_a_policy_with_the_default_step_survives_its_record(duration: timedelta) -> None:
    before = OnInactivity(duration)
    after = load_expiry(before.dump())
    assert (after.expires(5), after.step, after.dump()) == (before.expires(5), before.step, before.dump())


@given(MOMENTS)
def test_a_fixed_moment_survives_its_record(at: datetime) -> None:
    assert load_expiry(AtDateTime(at).dump()) == AtDateTime(at)


@pytest.mark.parametrize(
    "dumped",
    [
        [],
        ["OnInactivity"],
        ["OnInactivity", 60_000],
        ["OnInactivity", "60000", None],
        ["OnInactivity", 60_000, 1.5],
        ["OnInactivity", 60_000, 60_001],
        ["OnInactivity", 60_000, -1],
        ["OnInactivity", 0, None],
        ["OnSessionEnd", -5, None],
        ["OnSessionEnd", 10**30, None],
        ["AtDateTime", None],
        ["AtDateTime", 10**30],
        ["AtDateTime", -(10**30)],
        ["AtDateTime", 5, 6],
        ["AtNoon", 5],
        [None, 5],
        [["AtDateTime"], 5],
    ],
    ids=repr,
)
def test_what_is_no_policy_is_a_value_error(dumped: list[Any]) -> None:
    """T-43: the only exception that a corrupt record may cause here."""
    with pytest.raises(ValueError):
        load_expiry(dumped)


@given(st.lists(st.one_of(st.sampled_from(["OnInactivity", "OnSessionEnd", "AtDateTime"]), st.integers(), st.none())))
def test_no_list_raises_anything_else(dumped: list[Any]) -> None:
    """T-43."""
    with contextlib.suppress(ValueError):
        load_expiry(dumped)


@SLIDING
@pytest.mark.parametrize("duration", [3600, "1h", None, 1.5])
def test_a_duration_that_is_no_timedelta_is_refused(policy: Any, duration: object) -> None:
    with pytest.raises(TypeError, match="must be a timedelta"):
        policy(duration)


@SLIDING
@pytest.mark.parametrize("duration", [timedelta(0), timedelta(microseconds=999), timedelta(days=-1)])
def test_a_duration_under_a_millisecond_is_refused(policy: Any, duration: timedelta) -> None:
    with pytest.raises(ValueError, match="at least a millisecond"):
        policy(duration)


@SLIDING
@pytest.mark.parametrize("touch_every", [timedelta(seconds=-1), HOUR + timedelta(seconds=1)])
def test_a_step_outside_of_the_duration_is_refused(policy: Any, touch_every: timedelta) -> None:
    with pytest.raises(ValueError, match="touch_every must lie between"):
        policy(HOUR, touch_every=touch_every)


@SLIDING
@pytest.mark.parametrize("touch_every", [0, 60, "a tenth"])
def test_a_step_that_is_no_timedelta_is_refused(policy: Any, touch_every: object) -> None:
    with pytest.raises(TypeError, match="touch_every must be a timedelta"):
        policy(HOUR, touch_every=touch_every)


@pytest.mark.parametrize("at", [5, "2030-01-01", None, timedelta(hours=1)])
def test_a_moment_that_is_no_datetime_is_refused(at: object) -> None:
    with pytest.raises(TypeError, match="must be a datetime"):
        AtDateTime(at)  # type: ignore[arg-type]


def test_a_naive_moment_is_refused_with_advice() -> None:
    """T-21."""
    with pytest.raises(ValueError, match=r"datetime\.now\(UTC\)"):
        AtDateTime(datetime(2030, 1, 1))


def test_policies_are_equal_by_value_and_hashable() -> None:
    assert OnInactivity(HOUR) == OnInactivity(timedelta(minutes=60))
    assert OnInactivity(HOUR) != OnSessionEnd(HOUR)
    assert OnInactivity(HOUR) != OnInactivity(HOUR, touch_every=None)
    assert len({OnInactivity(HOUR), OnInactivity(HOUR), OnSessionEnd(HOUR)}) == 2


def test_a_policy_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        OnInactivity(HOUR).idle = timedelta(days=1)  # type: ignore[misc]


def test_a_policy_shows_how_to_write_it() -> None:
    assert repr(OnInactivity(HOUR)) == (
        "OnInactivity(idle=datetime.timedelta(seconds=3600), touch_every=datetime.timedelta(seconds=360))"
    )


def test_milliseconds_become_an_aware_moment() -> None:
    assert to_datetime(1_500) == datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)
    assert to_datetime(1_500).utcoffset() == timedelta(0)


def test_a_moment_beyond_the_calendar_is_its_last() -> None:
    assert to_datetime(10**17) == datetime.max.replace(tzinfo=UTC)
