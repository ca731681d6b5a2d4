"""The opcodes of a pickle, protocols 0 to 5, and the tree that a run of them leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ._pickle_machine import MAX_OPCODES, Machine, integer, paired
from ._pickle_nodes import Members, OldText, Pairs, Refused

_MAX_SIZE = 1024 * 1024


def parse(data: bytes) -> tuple[Any, int]:
    """Return the tree that a pickle describes, and the number of bytes it took.

    :raises Refused: if it is none.
    """
    if len(data) > _MAX_SIZE:
        raise Refused(f"larger than {_MAX_SIZE} bytes")
    machine = Machine(data)
    try:
        for _ in range(MAX_OPCODES):
            opcode = machine.byte()
            if opcode == _STOP:
                return machine.result(), machine.position
            step = _OPCODES.get(opcode)
            # EXT1 to EXT4, PERSID, BINPERSID, NEXT_BUFFER and READONLY_BUFFER refer to what is outside of the pickle.
            if step is None:
                raise Refused("an opcode that is not read")
            step(machine)
    except (ValueError, OverflowError):  # its message would quote what could not be read
        raise Refused("a malformed value") from None
    raise Refused(f"more than {MAX_OPCODES} opcodes")


_STOP: Final = ord(".")
_Step = Callable[[Machine], Any]


def _pushing(value: _Step) -> _Step:
    return lambda machine: machine.push(value(machine))


_VALUES: dict[bytes, _Step] = {
    b"N": lambda m: None,
    b"\x88": lambda m: True,
    b"\x89": lambda m: False,
    b"I": Machine.old_integer,
    b"J": lambda m: m.number("<i"),
    b"K": Machine.byte,
    b"M": lambda m: m.number("<H"),
    b"L": Machine.old_long,
    b"\x8a": lambda m: m.long(m.byte()),
    b"\x8b": lambda m: m.long(m.number("<i")),
    b"F": Machine.float_line,
    b"G": lambda m: m.number(">d"),
    b"S": Machine.quoted,
    b"T": lambda m: OldText(m.take(m.number("<i"))),
    b"U": lambda m: OldText(m.take(m.byte())),
    b"V": Machine.escaped,
    b"X": lambda m: m.text(m.number("<I")),
    b"\x8c": lambda m: m.text(m.byte()),
    b"\x8d": lambda m: m.text(m.number("<Q")),
    b"B": lambda m: m.take(m.number("<I")),
    b"C": lambda m: m.take(m.byte()),
    b"\x8e": lambda m: m.take(m.number("<Q")),
    b"\x96": lambda m: m.take(m.number("<Q")),  # a bytearray
    b"]": lambda m: [],
    b"l": Machine.marked,
    b")": lambda m: (),
    b"t": lambda m: tuple(m.marked()),
    b"\x85": lambda m: m.last(1),
    b"\x86": lambda m: m.last(2),
    b"\x87": lambda m: m.last(3),
    b"}": lambda m: Pairs(),
    b"d": lambda m: Pairs(paired(m.marked())),
    b"\x8f": lambda m: Members(set, []),
    b"\x91": lambda m: Members(frozenset, m.marked()),
    b"c": Machine.name_line,
    b"\x93": Machine.name_pushed,
    b"2": Machine.top,
}
_STEPS: dict[bytes, _Step] = {
    b"(": Machine.mark,
    b"0": Machine.drop,
    b"1": Machine.marked,
    b"\x80": Machine.check_protocol,
    b"\x95": lambda m: m.take(8),  # the size of a frame
    b"p": lambda m: m.remember(integer(m.line())),
    b"q": lambda m: m.remember(m.byte()),
    b"r": lambda m: m.remember(m.number("<I")),
    b"\x94": lambda m: m.remember(len(m.memo)),
    b"g": lambda m: m.recall(integer(m.line())),
    b"h": lambda m: m.recall(m.byte()),
    b"j": lambda m: m.recall(m.number("<I")),
    b"a": lambda m: m.add_items([m.pop()]),
    b"e": lambda m: m.add_items(m.marked()),
    b"\x90": lambda m: m.add_members(m.marked()),
    b"s": lambda m: m.add_pairs(m.last(2)),
    b"u": lambda m: m.add_pairs(m.marked()),
    b"R": lambda m: m.call(*m.last(2)),
    b"\x81": lambda m: m.call(*m.last(2)),
    b"\x92": lambda m: m.call(*m.last(3)),
    b"i": lambda m: m.call(m.name_line(), tuple(m.marked())),
    b"o": Machine.old_object,
    b"b": Machine.build,
}
_OPCODES: dict[int, _Step] = {
    **{opcode[0]: _pushing(value) for opcode, value in _VALUES.items()},
    **{opcode[0]: step for opcode, step in _STEPS.items()},
}
