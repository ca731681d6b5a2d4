"""Values to JSON bytes and back."""

import contextlib
import dataclasses
import doctest
import enum
import math
import os
import random
import string
import subprocess
import sys
import uuid
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from io import BytesIO
from typing import Annotated, Any, Literal, TypedDict
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from wsgi_sessions import codec, conversion
from wsgi_sessions.exceptions import SerializationError

LONDON = ZoneInfo("Europe/London")
SECRET = "hunter2"


def same(a, b):
    """Tell whether two values are equal and of the same types all the way down."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    if isinstance(a, Decimal):
        return a.as_tuple() == b.as_tuple()
    if isinstance(a, (datetime, time)):
        return a.replace(tzinfo=None) == b.replace(tzinfo=None) and a.fold == b.fold and same_zone(a.tzinfo, b.tzinfo)
    if isinstance(a, dict):
        return len(a) == len(b) and all(map(same, a.items(), b.items()))
    if isinstance(a, (set, frozenset)):
        return len(a) == len(b) and all(map(same, *(sorted(members, key=codec.encode) for members in (a, b))))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def same_zone(a, b):
    if type(a) is timezone and type(b) is timezone:
        return repr(a) == repr(b)
    return a is b


def round_trip(value):
    return codec.decode(codec.encode(value))


texts = st.text(st.characters(exclude_categories=["Cs"]))
offsets = st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59))
fixed_zones = st.just(UTC) | st.builds(timezone, offsets) | st.builds(timezone, offsets, texts)
zones = st.none() | fixed_zones | st.sampled_from([LONDON, ZoneInfo("UTC"), ZoneInfo("America/St_Johns")])
hashable_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**80), 2**80),
    st.floats(),
    texts,
    st.sampled_from(["$", "", '{"$":', '{"$":["tuple",[]]}']),
    texts.map(Markup),
    st.binary(),
    st.decimals(allow_nan=False) | st.sampled_from([Decimal("NaN12"), Decimal("-0"), Decimal("1E+5")]),
    st.uuids(),
    st.dates(),
    st.datetimes(timezones=st.none()).flatmap(lambda moment: zones.map(lambda zone: moment.replace(tzinfo=zone))),
    st.builds(datetime.replace, st.datetimes(), fold=st.sampled_from([0, 1]), tzinfo=zones),
    st.times().flatmap(
        lambda moment: st.builds(moment.replace, tzinfo=zones.filter(bool), fold=st.sampled_from([0, 1]))
    ),
    st.times(),
    st.timedeltas(),
)
# Datetimes of a zone look up its offset to be hashed, which fails at the ends of the calendar.
keys = st.recursive(
    hashable_scalars, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=4
).filter(lambda value: _hashes(value))


def _hashes(value):
    try:
        hash(value)
    except (OverflowError, ValueError):
        return False
    return True


values = st.recursive(
    hashable_scalars | st.just(Decimal("sNaN7")) | st.sets(keys, max_size=4) | st.frozensets(keys, max_size=4),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(texts | st.just("$"), inner, max_size=4),
        st.dictionaries(keys, inner, max_size=4),
    ),
    max_leaves=12,
)

EXAMPLES = [
    (None, b"null"),
    (True, b"true"),
    (5, b"5"),
    (-0.0, b"-0.0"),
    (1.0, b"1.0"),
    ("caf\u00e9 \0", '"caf\u00e9 \\u0000"'.encode()),
    ([1, [2]], b"[1,[2]]"),
    ({"": 1, "a": {}}, b'{"":1,"a":{}}'),
    ((1, "a"), b'{"$":["tuple",[1,"a"]]}'),
    ((), b'{"$":["tuple",[]]}'),
    ({2, 1}, b'{"$":["set",[1,2]]}'),
    (set(), b'{"$":["set",[]]}'),
    (frozenset({"b", "a"}), b'{"$":["frozenset",["a","b"]]}'),
    (b"\xff\0", b'{"$":["bytes","/wA="]}'),
    (datetime(2024, 5, 1, 12, 0, 0, 5), b'{"$":["datetime","2024-05-01T12:00:00.000005"]}'),
    (datetime(2024, 5, 1, tzinfo=UTC), b'{"$":["datetime","2024-05-01T00:00:00+00:00"]}'),
    (
        datetime(2024, 5, 1, tzinfo=timezone(timedelta(hours=-3, seconds=7))),
        b'{"$":["datetime","2024-05-01T00:00:00-02:59:53"]}',
    ),
    (
        datetime(2024, 5, 1, tzinfo=timezone(timedelta(hours=1), "CET")),
        b'{"$":["datetime",["2024-05-01T00:00:00",0,[0,3600,0,"CET"]]]}',
    ),
    (
        datetime(2024, 10, 27, 1, 30, fold=1, tzinfo=LONDON),
        b'{"$":["datetime",["2024-10-27T01:30:00",1,"Europe/London"]]}',
    ),
    (datetime(2024, 5, 1, fold=1), b'{"$":["datetime",["2024-05-01T00:00:00",1,null]]}'),
    (
        time(1, tzinfo=timezone(timedelta(microseconds=1))),
        b'{"$":["time",["01:00:00",0,[0,0,1,null]]]}',
    ),
    (date(2024, 5, 1), b'{"$":["date","2024-05-01"]}'),
    (time(1, 2, 3, 4), b'{"$":["time","01:02:03.000004"]}'),
    (time(1, tzinfo=UTC), b'{"$":["time","01:00:00+00:00"]}'),
    (time(1, tzinfo=LONDON), b'{"$":["time",["01:00:00",0,"Europe/London"]]}'),
    (timedelta(days=-1, microseconds=1), b'{"$":["timedelta",[-1,0,1]]}'),
    (Decimal("1.10"), b'{"$":["Decimal","1.10"]}'),
    (Decimal("sNaN7"), b'{"$":["Decimal","sNaN7"]}'),
    (
        uuid.UUID("12345678-1234-5678-1234-567812345678"),
        b'{"$":["UUID","12345678-1234-5678-1234-567812345678"]}',
    ),
    (Markup("<b>"), b'{"$":["Markup","<b>"]}'),
    (math.nan, b'{"$":["float","nan"]}'),
    (-math.inf, b'{"$":["float","-inf"]}'),
    (2**64 - 1, b"18446744073709551615"),
    (2**64, b'{"$":["int","0x10000000000000000"]}'),
    (-(2**63), b"-9223372036854775808"),
    (-(2**63) - 1, b'{"$":["int","-0x8000000000000001"]}'),
    ([2**64, 1], b'[{"$":["int","0x10000000000000000"]},1]'),
    ({"a": -(2**63) - 1}, b'{"a":{"$":["int","-0x8000000000000001"]}}'),
    ({"$": 1}, b'{"$":["dict",[["$",1]]]}'),
    ({1: "a", "1": "b"}, b'{"$":["dict",[[1,"a"],["1","b"]]]}'),
    ({"a": 1, "b": (2,), "c": 3}, b'{"a":1,"b":{"$":["tuple",[2]]},"c":3}'),
    ([1, (2,), 3], b'[1,{"$":["tuple",[2]]},3]'),
    ('{"$":["tuple",[]]}', b'"{\\"$\\":[\\"tuple\\",[]]}"'),
    (['{"$":["tuple",[]]}'], b'["{\\"$\\":[\\"tuple\\",[]]}"]'),
    ({'{"$': 1}, b'{"{\\"$":1}'),
]


@pytest.mark.parametrize(("value", "encoded"), EXAMPLES, ids=[repr(encoded)[:40] for _, encoded in EXAMPLES])
def test_encoding_has_this_form(value, encoded):
    assert codec.encode(value) == encoded


@pytest.mark.parametrize(("value", "encoded"), EXAMPLES, ids=[repr(encoded)[:40] for _, encoded in EXAMPLES])
def test_decoding_gives_back_value_and_type(value, encoded):
    assert same(codec.decode(encoded), value)


@given(values)
def test_any_nesting_of_supported_types_round_trips(value):
    assert same(round_trip(value), value)


@given(values)
def test_encoding_leaves_the_value_alone(value):
    before = repr(value)
    codec.encode(value)
    assert repr(value) == before


@given(values)
def test_encoding_what_was_decoded_changes_nothing(value):
    encoded = codec.encode(value)
    assert codec.encode(codec.decode(encoded)) == encoded


@pytest.mark.parametrize("wrap", [bytes, memoryview, msgspec.Raw], ids=lambda wrap: wrap.__name__)
def test_decoding_takes_any_buffer(wrap):
    assert codec.decode(wrap(b'[{"$":["tuple",[1]]}]')) == [(1,)]


def test_integer_of_any_length_round_trips():
    value = 7**20000
    assert round_trip([value, -value]) == [value, -value]


def test_two_nans_in_a_set_stay_two():
    assert len(round_trip({float("nan"), float("nan")})) == 2


def test_nan_as_a_key_round_trips():
    ((key, item),) = round_trip({math.nan: 1}).items()
    assert math.isnan(key)
    assert item == 1


def test_order_of_a_dict_survives():
    assert list(round_trip({"b": (1,), "a": 2})) == ["b", "a"]
    assert list(round_trip({"b": 1, 0: 2, "a": 3})) == ["b", 0, "a"]


@given(st.lists(keys, unique_by=repr, max_size=8), st.randoms())
def test_equal_sets_have_equal_encodings(members, shuffler):
    shuffled = members[:]
    shuffler.shuffle(shuffled)
    members = [member for member in members if sum(member == other for other in members) == 1]
    assert codec.encode(set(members)) == codec.encode({member for member in shuffled if member in members})


def test_set_has_one_encoding_whatever_the_hash_seed():
    program = "from wsgi_sessions import codec; print(codec.encode({'a', 'b', 'c', 'd', frozenset('xyz')}))"
    outputs = {
        subprocess.check_output([sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed})
        for seed in ("1", "2", "3", "4")
    }
    assert len(outputs) == 1


@given(st.binary() | st.text(string.printable).map(str.encode) | st.text('{}[]",:$1 ').map(str.encode))
def test_arbitrary_bytes_are_a_value_or_value_error(encoded):
    assert_value_or_value_error(encoded)


@pytest.mark.parametrize("wraps", range(100, 400, 7))
def test_tags_of_any_depth_are_a_value_or_value_error(wraps):
    assert_value_or_value_error(b'[{"$":["tuple",' * wraps + b"[]" + b"]}]" * wraps)


BODIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text("a0$-:+.TZ"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("a$"), inner, max_size=2),
    max_leaves=6,
)


@given(st.sampled_from([*codec._LOADERS, "pickle", "", 1, None, []]), BODIES)
def test_tag_with_any_body_is_a_value_or_value_error(name, body):
    assert_value_or_value_error(msgspec.json.encode({"$": [name, body]}))


@given(values, st.integers(0), st.integers(0, 7))
def test_damaged_encoding_is_a_value_or_value_error(value, position, bit):
    encoded = codec.encode(value)
    position %= len(encoded)
    assert_value_or_value_error(encoded[:position])
    damaged = bytearray(encoded)
    damaged[position] ^= 1 << bit
    assert_value_or_value_error(bytes(damaged))


def assert_value_or_value_error(encoded):
    """Fail, by letting it pass, at any error but a ValueError; which message that has, others test."""
    with contextlib.suppress(ValueError):
        codec.decode(encoded)


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"{",
        b"\0\0",
        b'"\xff"',
        b'{"\xff":1}',
        b'"\\ud800"',
        b"1" * 5000,
        b"1e999",
        b"NaN",
        b"1 2",
        b"[" * 100000,
        b'{"$":' * 100000,
        b'{"$":1}',
        b'{"$":[]}',
        b'{"$":["set"]}',
        b'{"$":["set",5]}',
        b'{"$":["set",[[]]]}',
        b'{"$":["set",[{}]]}',
        b'{"$":["set",[1],2]}',
        b'{"$":["set",[1]],"a":1}',
        b'{"$":["unknown",1]}',
        b'{"$":[["set"],[]]}',
        b'{"$":["tuple",{"a":1}]}',
        b'{"$":["frozenset","ab"]}',
        b'{"$":["dict",[[1]]]}',
        b'{"$":["dict",[[1,2,3]]]}',
        b'{"$":["dict",[[[],2]]]}',
        b'{"$":["dict",[5]]}',
        b'{"$":["dict",{}]}',
        b'{"$":["bytes","a"]}',
        b'{"$":["bytes","YQ==x"]}',
        b'{"$":["bytes","\xc3\xa9"]}',
        b'{"$":["bytes",[1]]}',
        b'{"$":["float","x"]}',
        b'{"$":["float",1]}',
        b'{"$":["int",1]}',
        b'{"$":["int","0xg"]}',
        b'{"$":["Decimal","x"]}',
        b'{"$":["Decimal",1]}',
        b'{"$":["Decimal",[0,[1],2]]}',
        b'{"$":["UUID","x"]}',
        b'{"$":["UUID",5]}',
        b'{"$":["Markup",5]}',
        b'{"$":["date","2024-02-30"]}',
        b'{"$":["date",20240101]}',
        b'{"$":["datetime","x"]}',
        b'{"$":["datetime",5]}',
        b'{"$":["datetime",["2024-05-01T00:00:00",2,null]]}',
        b'{"$":["datetime",["2024-05-01T00:00:00",0,"Nowhere/Land"]]}',
        b'{"$":["datetime",["2024-05-01T00:00:00",0,"../../secret"]]}',
        b'{"$":["datetime",["2024-05-01T00:00:00",0,"Europe"]]}',
        b'{"$":["datetime",["2024-05-01T00:00:00",0,5]]}',
        b'{"$":["datetime",["2024-05-01T00:00:00",0,[0,0,"x"]]]}',
        b'{"$":["datetime",[1,0,null]]}',
        b'{"$":["time",[]]}',
        b'{"$":["time","25:00"]}',
        b'{"$":["timedelta",[9999999999,0,0]]}',
        b'{"$":["timedelta",["1",0,0]]}',
        b'{"$":["timedelta",{}]}',
    ],
    ids=lambda encoded: repr(encoded[:40]),
)
def test_what_is_no_encoding_raises_value_error(encoded):
    with pytest.raises(ValueError, match=r"^not the encoding of a value$"):
        codec.decode(encoded)


def test_decoding_error_does_not_tell_the_value():
    with pytest.raises(ValueError) as caught:
        codec.decode(msgspec.json.encode({"$": ["float", SECRET]}))
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None


def test_markup_does_not_decode_without_markupsafe(monkeypatch):
    monkeypatch.setitem(sys.modules, "markupsafe", None)
    with pytest.raises(ValueError, match=r"^not the encoding of a value$"):
        codec.decode(b'{"$":["Markup","x"]}')


def test_codec_does_not_import_markupsafe():
    program = (
        "import sys, msgspec, importlib.util as u, types\n"
        "package = types.ModuleType('wsgi_sessions'); package.__path__ = [sys.argv[1]]\n"
        "sys.modules['wsgi_sessions'] = package\n"
        "from wsgi_sessions import codec\n"
        "codec.encode([1, {2}])\n"
        "try: codec.encode(object())\n"
        "except Exception: pass\n"
        "from wsgi_sessions import conversion\n"
        "conversion.to_plain({}, 'value')\n"
        "print('markupsafe' in sys.modules)"
    )
    folder = os.path.dirname(codec.__file__)
    assert subprocess.check_output([sys.executable, "-c", program, folder], text=True).strip() == "False"


class Colour(enum.Enum):
    RED = SECRET


class Number(enum.IntEnum):
    ONE = 1


class Own:
    def __repr__(self):
        return SECRET


class Text(str):
    __slots__ = ()


class Moment(datetime):
    pass


class OwnZone(tzinfo):
    def utcoffset(self, moment):
        return timedelta(0)

    def tzname(self, moment):
        return SECRET


@dataclasses.dataclass
class Fields:
    a: str = SECRET


Pair = namedtuple("Pair", "a b")

UNSUPPORTED = {
    "object": Own(),
    "enum": Colour.RED,
    "int enum": Number.ONE,
    "str subclass": Text(SECRET),
    "namedtuple": Pair(SECRET, 1),
    "ordered dict": OrderedDict(a=SECRET),
    "datetime subclass": Moment(2024, 1, 1),
    "dataclass": Fields(),
    "bytearray": bytearray(SECRET.encode()),
    "complex": 1j,
    "fraction": Fraction(1, 3),
    "class": Own,
    "function": len,
    "generator": iter(()),
    "file": BytesIO(),
    "own zone": datetime(2024, 1, 1, tzinfo=OwnZone()),
    "own zone of a time": time(1, tzinfo=OwnZone()),
    "surrogate": SECRET + "\ud800",
    "surrogate in Markup": Markup(SECRET + "\ud800"),
    "surrogate in a zone": datetime(2024, 1, 1, tzinfo=timezone(timedelta(0), SECRET + "\ud800")),
}
unsupported = pytest.mark.parametrize("value", UNSUPPORTED.values(), ids=UNSUPPORTED.keys())


@unsupported
def test_unsupported_value_is_refused_without_telling_it(value):
    with pytest.raises(SerializationError) as caught:
        codec.encode(value, "session['a']")
    assert caught.value.path == "session['a']"
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None


@unsupported
def test_path_leads_to_the_unsupported_value(value):
    session = {"a": 1, "b": [{"price": ("x", value)}]}
    with pytest.raises(SerializationError) as caught:
        codec.encode(session, "session")
    assert caught.value.path == "session['b'][0]['price'][1]"
    assert eval(caught.value.path) is value


steps = st.lists(
    st.sampled_from(["list", "tuple"]) | texts.map(lambda text: ("dict", text)) | keys.map(lambda key: ("dict", key)),
    max_size=12,
)


@given(steps, st.sampled_from(list(UNSUPPORTED.values())), values)
def test_path_leads_to_the_unsupported_value_anywhere(steps, value, neighbour):
    nested = value
    for step in steps:
        if step == "list":
            nested = [neighbour, nested, neighbour]
        elif step == "tuple":
            nested = (nested, neighbour)
        else:
            nested = {step[1]: nested}
    with pytest.raises(SerializationError) as caught:
        codec.encode(nested, "nested")
    expected = "nested" + "".join(
        "[1]" if step == "list" else "[0]" if step == "tuple" else f"[{step[1]!r}]" for step in reversed(steps)
    )
    assert caught.value.path == expected


@pytest.mark.parametrize("value", [{1, Own()}, frozenset({(1, Own())})], ids=["set", "tuple in a frozenset"])
def test_unsupported_member_is_reported_at_its_set(value):
    with pytest.raises(SerializationError, match=r"^value\['a'\]: in a member: .*Own cannot be stored") as caught:
        codec.encode({"a": value})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("key", [Number.ONE, (1, Number.ONE), frozenset({Number.ONE})])
def test_unsupported_key_is_reported_at_its_dict(key):
    with pytest.raises(SerializationError, match=r"^value\[0\]: in a key: .*Number is an enum"):
        codec.encode([{key: 1}])


def test_lone_surrogate_in_a_key_is_reported_at_its_dict():
    with pytest.raises(SerializationError, match=r"^value\[0\]: in a key: a lone surrogate") as caught:
        codec.encode([{SECRET + "\ud800": 1}])
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (Number.ONE, r"Number is an enum: store its value$"),
        (Text(), r"Text would come back as str: convert it to str first$"),
        (Pair(1, 2), r"Pair would come back as tuple: convert it to tuple first$"),
        (Moment(2024, 1, 1), r"Moment would come back as datetime: convert it to datetime first$"),
        (Fields(), r"Fields has fields of its own: store it with store_bucket\(\)$"),
        (1j, r"^value: complex cannot be stored: convert it to "),
        (datetime(2024, 1, 1, tzinfo=OwnZone()), r"OwnZone is its time zone: use datetime.timezone or a ZoneInfo"),
    ],
)
def test_refusal_says_what_to_do(value, advice):
    with pytest.raises(SerializationError, match=advice):
        codec.encode(value)


def test_zone_without_a_key_is_refused():
    with open(_zone_file(), "rb") as file:
        zone = ZoneInfo.from_file(file)
    with pytest.raises(SerializationError, match="ZoneInfo with a key"):
        codec.encode(datetime(2024, 1, 1, tzinfo=zone))


def _zone_file():
    import zoneinfo

    for folder in zoneinfo.TZPATH:
        if os.path.exists(path := os.path.join(folder, "UTC")):
            return path
    pytest.skip("no time zone files on this system")


def test_list_that_contains_itself_is_refused():
    loop: list[Any] = [1]
    loop.append({"a": loop})
    with pytest.raises(SerializationError, match=r"^value\[1\]\['a'\]: it contains itself$"):
        codec.encode(loop)


def test_same_list_twice_is_no_cycle():
    shared = [1]
    assert codec.encode([shared, shared, {"a": shared}]) == b'[[1],[1],{"a":[1]}]'


@pytest.mark.parametrize(
    "wrap",
    [lambda x: [x], lambda x: (x,), lambda x: {"a": x}, lambda x: {"$": x}, lambda x: frozenset({x})],
    ids=["list", "tuple", "dict", "pairs", "frozenset"],
)
def test_nesting_is_limited_in_writing(wrap):
    value: Any = 1
    for _ in range(codec.MAX_DEPTH):
        value = wrap(value)
    assert same(round_trip(value), value)
    with pytest.raises(SerializationError, match=f"nested deeper than {codec.MAX_DEPTH} levels$"):
        codec.encode(wrap(value))


def test_empty_container_counts_as_a_level():
    value: Any = []
    for _ in range(codec.MAX_DEPTH):
        value = [value]
    with pytest.raises(SerializationError, match="nested deeper"):
        codec.encode(value)


SUPPORTED = [None, True, 1, 1.0, "", [], {}, (), set(), frozenset(), b"", Decimal(1), uuid.uuid4(), Markup("")]
SUPPORTED += [datetime.now(UTC), date.today(), time(1), timedelta(1)]


@pytest.mark.parametrize("value", SUPPORTED, ids=lambda value: type(value).__name__)
def test_check_accepts_every_supported_type(value):
    assert codec.check(value, "session['a']") is None


@pytest.mark.parametrize("value", [Own(), Number.ONE, Text(SECRET), OrderedDict(), Pair(1, 2), bytearray()])
def test_check_refuses_another_type(value):
    with pytest.raises(SerializationError, match=r"^session\['a'\]: ") as caught:
        codec.check(value, "session['a']")
    assert SECRET not in str(caught.value)


def test_check_does_not_look_inside():
    assert codec.check([Own()], "session['a']") is None


def test_mutable_are_the_types_that_change_in_place():
    assert frozenset({list, dict, set, tuple}) == codec.MUTABLE


class Item(msgspec.Struct):
    price: Decimal
    seen: datetime
    id: uuid.UUID
    tags: set[str]
    blob: bytes
    size: tuple[int, int]
    kinds: frozenset[Colour]
    title: Markup


class Line(TypedDict):
    quantity: int


@dataclasses.dataclass
class Cart:
    lines: list[Line] = dataclasses.field(default_factory=list)
    by_name: dict[str, Line] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if len(self.lines) > 2:
            raise ValueError(f"too long: {SECRET}")


ITEM = Item(
    Decimal("1.10"),
    datetime(2024, 5, 1, tzinfo=LONDON),
    uuid.UUID(int=5),
    {"a", "b"},
    b"\xff",
    (1, 2),
    frozenset({Colour.RED}),
    Markup("<b>"),
)


def test_struct_survives_plain_and_back():
    plain = conversion.to_plain(ITEM, "session['item']")
    assert conversion.convert(round_trip(plain), Item, "session['item']") == ITEM


def test_plain_form_keeps_rich_types():
    plain = conversion.to_plain(ITEM, "session['item']")
    assert {name: type(value) for name, value in plain.items()} == {
        "price": Decimal,
        "seen": datetime,
        "id": uuid.UUID,
        "tags": list,
        "blob": bytes,
        "size": tuple,
        "kinds": list,
        "title": Markup,
    }


def test_decoded_values_convert_as_they_are():
    decoded = {name: getattr(ITEM, name) for name in Item.__struct_fields__} | {"kinds": frozenset({SECRET})}
    assert conversion.convert(round_trip(decoded), Item, "session['item']") == ITEM


def test_plain_form_is_detached():
    line: Line = {"quantity": 1}
    plain = conversion.to_plain(Cart([line]), "session['cart']")
    line["quantity"] = 2
    assert plain == {"lines": [{"quantity": 1}], "by_name": {}}


def test_what_has_no_plain_form_is_refused():
    with pytest.raises(SerializationError, match=r"^session\['cart'\]: .*Own cannot be stored") as caught:
        conversion.to_plain(Cart([Own()]), "session['cart']")  # type: ignore[list-item]
    assert SECRET not in str(caught.value)


def test_cycle_has_no_plain_form():
    cart = Cart()
    cart.by_name["a"] = cart.by_name  # type: ignore[assignment]
    with pytest.raises(SerializationError, match=r"^session\['cart'\]: it contains itself"):
        conversion.to_plain(cart, "session['cart']")


class Dog(msgspec.Struct, tag=True):
    a: int = 1


class Cat(msgspec.Struct, tag=True):
    a: int = 1


@pytest.mark.parametrize(
    ("value", "type", "message"),
    [
        ({"lines": [{"quantity": SECRET}]}, Cart, "p['lines'][0]['quantity']: expected `int`, got `str`"),
        ({"lines": [{}]}, Cart, "p['lines'][0]: object missing required field `quantity`"),
        ({"by_name": {SECRET: {"quantity": None}}}, Cart, "p['by_name'][...]['quantity']: expected `int`, got `null`"),
        ({"lines": [{"quantity": 1}] * 3}, Cart, "p: it does not fit the type"),
        ([{"lines": [{"quantity": 1}] * 3}], list[Cart], "p[0]: it does not fit the type"),
        (SECRET * 2, Colour, "p: it does not fit the type"),
        (SECRET, Literal["a", "b"], "p: it does not fit the type"),
        ({"type": SECRET}, Dog | Cat, "p['type']: it does not fit the type"),
        ({SECRET: 1}, dict[int, int], "p: in a key: expected `int`, got `str`"),
        (SECRET, Annotated[str, msgspec.Meta(max_length=3)], "p: it does not fit the type"),
        (SECRET, date, "p: it does not fit the type"),
        (True, int, "p: expected `int`, got `bool`"),
        (SECRET, int | None, "p: expected `int | null`, got `str`"),
        (timedelta(1), float, "p: expected `float`, got `duration`"),
    ],
)
def test_mismatch_tells_place_and_types_but_no_value(value, type, message):
    with pytest.raises(SerializationError) as caught:
        conversion.convert(value, type, "p")
    assert str(caught.value) == message
    assert caught.value.__context__ is None


def test_mismatch_with_line_breaks_in_its_message_is_told():
    @dataclasses.dataclass
    class Strict:
        a: int

        def __post_init__(self):
            raise ValueError("\n - at `$.a`\n" + SECRET)

    with pytest.raises(SerializationError, match=r"^p: it does not fit the type$"):
        conversion.convert({"a": 1}, Strict, "p")


def test_docstring_examples_hold():
    outcome = doctest.testmod(codec)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_comparison_of_these_tests_sees_differences():
    differences = [(0.0, -0.0), (1, True), (1, 1.0), ("a", Markup("a")), ([1], (1,)), ({1}, frozenset({1}))]
    differences += [({"a": 1, "b": 2}, {"b": 2, "a": 1}), (Decimal("1.0"), Decimal("1.00")), ({1}, {True})]
    differences += [(time(1), time(1, fold=1)), (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=LONDON))]
    assert not any(same(a, b) for a, b in differences)


def test_plain_session_of_a_shop_is_what_msgspec_writes():
    word = random.Random(0).choices
    session = {"id": 1, "cart": [{"sku": "".join(word("abc", k=9)), "price": "9.99"}] * 7, "at": 1.25, "x": None}
    assert codec.encode(session) == msgspec.json.encode(session)
