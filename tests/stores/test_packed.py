"""A record as one value: what goes in comes out, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_sessions import Record
from wsgi_sessions.stores._packed import Corrupt, pack, pack_expires, unpack

OWNERS = st.none() | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=255
)
RECORDS = st.builds(
    Record,
    id=st.text("abc", min_size=1, max_size=3),
    payload=st.binary(max_size=100),
    expires=st.integers(-999_999_999_999_999, 9_999_999_999_999_999),
    version=st.integers(1, 999_999_999_999_999),
    owner=OWNERS,
)


@given(RECORDS)
def test_what_goes_in_comes_out(record: Record) -> None:
    assert unpack(record.id, pack(record)) == record


@given(RECORDS, st.integers(0, 9_999_999_999_999_999))
def test_a_touch_replaces_sixteen_bytes(record: Record, expires: int) -> None:
    value = pack(record)
    touched = value[:16] + pack_expires(expires) + value[32:]
    assert unpack(record.id, touched) == Record(record.id, record.payload, expires, record.version, record.owner)


@given(st.binary(max_size=60))
def test_anything_else_is_corrupt_or_a_record(value: bytes) -> None:
    try:
        record = unpack("id", value)
    except Corrupt:
        return
    assert value.startswith(b"1")
    assert isinstance(record.version, int)


@given(RECORDS, st.data())
def test_a_value_without_its_end_is_corrupt_or_has_less_payload(record: Record, data: st.DataObject) -> None:
    value = pack(record)
    cut = value[: data.draw(st.integers(0, len(value) - 1))] if value else b""
    try:
        shorter = unpack(record.id, cut)
    except Corrupt:
        return
    assert record.payload.startswith(shorter.payload)
    assert (shorter.version, shorter.expires, shorter.owner) == (record.version, record.expires, record.owner)


@pytest.mark.parametrize("value", [b"", b"1", b"2" + b"0" * 35, b"x" * 36, b"1" + b"0" * 31 + b"0009", b"\x80\x04N."])
def test_foreign_values_are_corrupt(value: bytes) -> None:
    with pytest.raises(Corrupt):
        unpack("id", value)
