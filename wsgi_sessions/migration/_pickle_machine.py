"""The machine that pickles are programs for, without what makes them dangerous: it names things, and calls none.

Every step takes time in proportion to the bytes or items that it consumes, so the size of the input bounds the whole.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from typing import Any

from ._pickle_nodes import MAX_NAME, Call, Members, Name, OldText, Pairs, Refused

MAX_OPCODES = 200_000
# Decimal text is slow to read (CVE-2020-10735), and the bytes of an integer are slow to write as text.
_MAX_DIGITS, _MAX_INTEGER_BYTES = 1000, 512
_HIGHEST_PROTOCOL = 5

_escape = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"\\": b"\\", b"'": b"'", b'"': b'"'}


class Machine:
    """A stack, a memo, and a place in the pickle; the opcodes are in :mod:`._pickle_opcodes`."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.stack: list[Any] = []
        # The stacks below the marks that are open.
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def result(self) -> Any:
        """Return the one value that is left at the end."""
        value = self.pop()
        if self.stack or self.below:
            raise Refused("unfinished values")
        return value

    def take(self, count: int) -> bytes:
        """Return the next bytes of the pickle."""
        if not 0 <= count <= len(self.data) - self.position:
            raise Refused("cut off")
        self.position += count
        return self.data[self.position - count : self.position]

    def byte(self) -> int:
        """Return the next byte."""
        # Two of three reads are of one: not by take(), which would be the slowest part of an import.
        if self.position >= len(self.data):
            raise Refused("cut off")
        self.position += 1
        return self.data[self.position - 1]

    def line(self) -> bytes:
        """Return the bytes up to the end of the line, which is passed over."""
        end = self.data.find(b"\n", self.position)
        line = self.take(end - self.position)
        self.position += 1
        return line

    def number(self, form: str) -> Any:
        """Return the next number, in a form of :mod:`struct`."""
        (number,) = struct.unpack(form, self.take(struct.calcsize(form)))
        return number

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def pop(self) -> Any:
        """Take the topmost value off the stack."""
        if not self.stack:
            raise Refused("too few values")
        return self.stack.pop()

    def top(self) -> Any:
        """Return the topmost value, which stays."""
        if not self.stack:
            raise Refused("too few values")
        return self.stack[-1]

    def marked(self) -> list[Any]:
        """Return what was pushed since the last mark."""
        if not self.below:
            raise Refused("too few marks")
        values, self.stack = self.stack, self.below.pop()
        return values

    def mark(self) -> None:
        """Begin what the next :meth:`marked` returns."""
        self.below.append(self.stack)
        self.stack = []

    def drop(self) -> None:
        """Take the topmost value off the stack, or the mark."""
        if self.stack:
            self.stack.pop()
        else:
            self.marked()

    def remember(self, index: int) -> None:
        """Store the topmost value in the memo."""
        # By the count of opcodes, not of bytes: the standard library allocates as many places as the index says.
        if not 0 <= index <= MAX_OPCODES:
            raise Refused("a place in the memo that is too high")
        self.memo[index] = self.top()

    def recall(self, index: int) -> None:
        """Put a value of the memo on the stack."""
        if index not in self.memo:
            raise Refused("a place in the memo that is empty")
        self.stack.append(self.memo[index])

    def check_protocol(self) -> None:
        """Pass over the number of the protocol."""
        if self.byte() > _HIGHEST_PROTOCOL:
            raise Refused("a protocol that is not known")

    def text(self, size: int) -> str:
        """Return the next bytes as text."""
        return self.take(size).decode("utf-8", "surrogatepass")

    def old_integer(self) -> int | bool | Call:
        """Return the number in the next line, which may be a boolean."""
        line = self.line()
        return line == b"01" if line in (b"00", b"01") else _number(line)

    def old_long(self) -> int | Call:
        """Return the number in the next line."""
        return _number(self.line())

    def long(self, size: int) -> int | Call:
        """Return the next bytes as a number."""
        digits = self.take(size)
        return int.from_bytes(digits, "little", signed=True) if size <= _MAX_INTEGER_BYTES else _too_long()

    def float_line(self) -> float:
        """Return the number in the next line."""
        line = self.line()
        if len(line) > _MAX_DIGITS:
            raise Refused("a number with too many digits")
        return float(line)

    def quoted(self) -> OldText:
        """Return the next line as Python 2 wrote a literal."""
        line = self.line().strip()
        if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
            raise Refused("a text without quotes")
        return OldText(_escape.sub(_unescaped, line[1:-1]))

    def escaped(self) -> str:
        """Return the next line as Python 2 wrote a literal of Unicode."""
        text = self.line().decode("raw-unicode-escape")
        # Python 2 wrote what is beyond U+FFFF as two.
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")

    def last(self, count: int) -> tuple[Any, ...]:
        """Take values off the stack, and return them in the order in which they came there."""
        if len(self.stack) < count:
            raise Refused("too few values")
        values = tuple(self.stack[-count:])
        del self.stack[-count:]
        return values

    def add_items(self, items: list[Any]) -> None:
        """Append to the list on top of the stack."""
        target = self.top()
        if type(target) is list:
            target.extend(items)
        elif isinstance(target, Call):
            target.items.extend(items)
        else:
            raise Refused("items for what is no list")

    def add_members(self, items: list[Any]) -> None:
        """Add to the set on top of the stack."""
        target = self.top()
        if not isinstance(target, Call | Members):
            raise Refused("members for what is no set")
        target.items.extend(items)

    def add_pairs(self, flat: list[Any] | tuple[Any, ...]) -> None:
        """Add keys and values, in turn, to the dict on top of the stack."""
        target = self.top()
        if not isinstance(target, Call | Pairs):
            raise Refused("keys for what is no dict")
        target.pairs.extend(paired(flat))

    def build(self) -> None:
        """Give the instance below it the state on top of the stack."""
        state = self.pop()
        target = self.top()
        # On a class or function, it would be changed for the whole process.
        if not isinstance(target, Call):
            raise Refused("a state for what has none")
        target.state = state

    def name_line(self) -> Name:
        """Return the name of a class in the next two lines."""
        module = self.line().decode("utf-8")
        return Name(module, self.line().decode("utf-8"))

    def name_pushed(self) -> Name:
        """Return the name of a class that is on the stack."""
        module, name = self.last(2)
        if type(module) is not str or type(name) is not str:
            raise Refused("a name that is no text")
        return Name(module, name)

    def call(self, called: Any, arguments: Any, named: Any = None) -> None:
        """Put what a call would return on the stack."""
        call = Call(called, arguments, named)
        self.push(_attribute(call) or call)

    def old_object(self) -> None:
        """Put an instance of the marked class, of the marked arguments, on the stack."""
        values = self.marked()
        if not values:
            raise Refused("an object without a class")
        self.call(values[0], tuple(values[1:]))


def _attribute(call: Call) -> Name | None:
    """Return the name of an attribute that would be got of a class, such as a member of an enum."""
    if not isinstance(call.called, Name) or call.called.name != "getattr" or len(call.arguments) != 2:
        return None
    owner, attribute = call.arguments
    attribute = attribute.value if isinstance(attribute, OldText) else attribute
    if type(owner) is not Name or type(attribute) is not str:
        return None
    return Name(owner.module, f"{owner.name}.{attribute}") if len(attribute) <= MAX_NAME else None


def integer(line: bytes) -> int:
    """Return the number that a line says."""
    digits = line.strip().removesuffix(b"L")
    if len(digits) > _MAX_DIGITS:
        raise Refused("an integer with too many digits")
    return int(digits)


def _number(line: bytes) -> int | Call:
    return integer(line) if len(line) <= _MAX_DIGITS else _too_long()


def _too_long() -> Call:
    """Return what stands for an integer with too many digits, of which nothing is made."""
    return Call(Name("builtins", "int"), ())


def paired(flat: list[Any] | tuple[Any, ...]) -> Iterable[tuple[Any, Any]]:
    """Yield keys and values that come in turn as pairs."""
    return zip(flat[::2], flat[1::2], strict=True)


def _unescaped(found: re.Match[bytes]) -> bytes:
    if found[1]:
        return bytes((int(found[1], 16),))
    if found[2] not in _ESCAPES:
        raise Refused("an escape that is not known")
    return _ESCAPES[found[2]]
