"""The record and its envelope: whatever lies in the payload, it opens, is refused, or is left alone."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_sessions import codec
from wsgi_sessions.record import SCHEMA, CorruptEnvelope, Envelope, Record, UnknownSchema, open_envelope, seal
from wsgi_sessions.token import SessionToken

ID = "AAAAAAAAAAAAAAAAAAAAAA"
OTHER = "BBBBBBBBBBBBBBBBBBBBBA"
HASH = SessionToken(ID, "a secret").secret_hash()

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False) | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
ENVELOPES = st.builds(
    lambda created, previous, replaced, expiry, data: Envelope(
        SCHEMA, ID, created, HASH, previous, replaced, expiry, {key: raw(value) for key, value in data.items()}
    ),
    st.integers(0, 2**45),
    st.none() | st.binary(min_size=32, max_size=32),
    st.integers(0, 2**45),
    st.none() | st.just(["OnInactivity", 60_000, 6_000]) | st.just(["AtDateTime", 5]),
    st.dictionaries(st.text(), VALUES, max_size=4),
)


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(codec.encode(value))


def parts(envelope: Envelope) -> list[Any]:
    """Return what an envelope holds, its values as bytes."""
    *head, data = msgspec.structs.astuple(envelope)
    return [*head, {key: bytes(value) for key, value in data.items()}]


def sample(**data: Any) -> Envelope:
    return Envelope(SCHEMA, ID, 1, HASH, None, 0, None, {key: raw(value) for key, value in data.items()})


def opens_or_is_refused(payload: bytes) -> None:
    """No other exception leaves, and never what belongs to another id."""
    try:
        envelope = open_envelope(payload, ID)
    except (CorruptEnvelope, UnknownSchema):
        return
    assert envelope.id == ID
    assert envelope.schema == SCHEMA


@given(ENVELOPES)
def test_what_is_sealed_opens_as_what_it_was(envelope: Envelope) -> None:
    assert parts(open_envelope(seal(envelope), ID)) == parts(envelope)


@given(ENVELOPES, st.data())
def test_a_truncated_envelope_is_corrupt(envelope: Envelope, data: st.DataObject) -> None:
    """T-43."""
    payload = seal(envelope)
    cut = data.draw(st.integers(0, len(payload) - 1))
    with pytest.raises(CorruptEnvelope):
        open_envelope(payload[:cut], ID)


def test_every_truncation_of_one_is_corrupt() -> None:
    """T-43."""
    payload = seal(sample(user=1, cart=["apple"]))
    for cut in range(len(payload)):
        with pytest.raises(CorruptEnvelope):
            open_envelope(payload[:cut], ID)


def test_every_flipped_bit_is_survived() -> None:
    """T-43: the envelope has no checksum of its own, so a flip may go unseen; it never raises anything else."""
    payload = seal(sample(user=1, cart=["apple", 2.5, {"key": None}]))
    for position in range(len(payload)):
        for bit in range(8):
            flipped = bytearray(payload)
            flipped[position] ^= 1 << bit
            opens_or_is_refused(bytes(flipped))


@given(st.binary())
def test_any_bytes_are_survived(payload: bytes) -> None:
    """T-43."""
    opens_or_is_refused(payload)


@given(st.lists(VALUES, max_size=9))
def test_any_json_is_survived(value: Any) -> None:
    """T-43."""
    opens_or_is_refused(codec.encode(value))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0" * 100,
        b"5",
        b"[]",
        b"[1,2]",
        b'{"v":999}',
        b"null",
        b'"' + b"\xff" * 10 + b'"',
        seal(sample()) + b"[]",
        seal(sample()).replace(b"{}", b'{"\xff":1}'),
        seal(sample()).replace(b"{}", b'{"\xed\xa0\x80":1}'),
        seal(sample()).replace(b"{}", b'{"a":nan}'),
        b"\x80\x04\x95\x0e\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.",  # a pickle
    ],
)
def test_what_is_no_envelope_is_corrupt(payload: bytes) -> None:
    """T-43, T-42."""
    with pytest.raises(CorruptEnvelope):
        open_envelope(payload, ID)


@pytest.mark.parametrize("bomb", [b"[" * 100_000, b"[1," * 100_000, b'{"a":' * 100_000, b"9" * 5000], ids=len)
def test_a_bomb_is_corrupt(bomb: bytes) -> None:
    """T-44: neither RecursionError nor the limit on digits is anybody else's business."""
    with pytest.raises(CorruptEnvelope):
        open_envelope(bomb, ID)


def test_a_bomb_among_the_values_leaves_the_others_alone() -> None:
    """T-44: values are decoded one at a time, so the envelope around one still opens."""
    payload = seal(sample(good=1)).replace(b'{"good":1}', b'{"bad":' + b"[" * 3000 + b"]" * 3000 + b',"good":1}')
    try:
        envelope = open_envelope(payload, ID)
    except CorruptEnvelope:
        return
    assert codec.decode(envelope.data["good"]) == 1
    # From Python 3.12 on, so many levels may be within its limit.
    with contextlib.suppress(ValueError):
        codec.decode(envelope.data["bad"])


@given(ENVELOPES)
def test_an_envelope_under_another_id_is_corrupt(envelope: Envelope) -> None:
    """T-43, T-47: a record that was moved under another key opens nothing."""
    with pytest.raises(CorruptEnvelope, match="another session"):
        open_envelope(seal(envelope), OTHER)


@given(
    st.integers(SCHEMA + 1, 2**63),
    st.lists(VALUES, max_size=9),
)
def test_a_later_schema_is_unknown_whatever_follows(schema: int, rest: list[Any]) -> None:
    """T-43: a rolling deploy must not destroy what the newer version wrote."""
    with pytest.raises(UnknownSchema):
        open_envelope(codec.encode([schema, *rest]), ID)


def test_a_later_schema_of_the_very_same_shape_is_unknown() -> None:
    envelope = sample(a=1)
    envelope.schema = SCHEMA + 1
    with pytest.raises(UnknownSchema):
        open_envelope(seal(envelope), ID)


@pytest.mark.parametrize("schema", [0, -1, None, "1", 1.5, True])
def test_any_other_schema_is_corrupt(schema: object) -> None:
    payload = json.dumps([schema, *json.loads(seal(sample()))[1:]]).encode()
    with pytest.raises(CorruptEnvelope):
        open_envelope(payload, ID)


def test_no_message_quotes_the_payload() -> None:
    """T-72."""
    for payload in (
        b'[1,"hunter2"]',
        b"hunter2",
        b'{"hunter2":1}',
        seal(sample(a="hunter2")).replace(b"[1,", b'["1",'),
    ):
        with pytest.raises(CorruptEnvelope) as raised:
            open_envelope(payload, ID)
        assert "hunter2" not in f"{raised.value!r} {raised.value.__cause__!r}"


def test_the_reprs_hold_neither_secret_nor_value() -> None:
    """T-72."""
    envelope = sample(password="hunter2")
    record = Record(ID, seal(envelope), 5, owner="alice")
    for shown in (repr(envelope), repr(record)):
        assert ID in shown
        assert "hunter2" not in shown
        assert "password" not in shown
        assert repr(HASH) not in shown


def test_no_secret_is_in_the_payload() -> None:
    """T-09, trap 23: a stolen store opens nothing."""
    token = SessionToken.generate()
    envelope = Envelope(SCHEMA, token.id, 1, token.secret_hash(), None, 0, None, {})
    assert token.secret.encode() not in seal(envelope)


def test_a_record_cannot_be_changed_and_starts_at_version_one() -> None:
    record = Record(ID, b"", 5)
    assert (record.version, record.owner) == (1, None)
    with pytest.raises(AttributeError):
        record.expires = 6  # type: ignore[misc]
