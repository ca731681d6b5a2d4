"""The values that the tree of a pickle stands for, within limits that hold however often it refers to one part."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import tzinfo
from decimal import Decimal
from typing import Any

import msgspec

from ._pickle_nodes import Call, Malformed, Members, Name, OldText, Pairs, Refused
from .unknown import Unknown

#: Makes the value of one class that is known.
Maker = Callable[["Builder", Call], Any]

_MAX_DEPTH = 64
_MAX_NODES = 100_000
# Characters and bytes of all values: a text may be referred to a hundred thousand times.
_MAX_SIZE = 4 * 1024 * 1024
# The hashes of numbers are not random: 40,000 that collide cost a set eight seconds.
_MAX_HASHED = 5000
# Files of time zones that are looked for.
_MAX_ZONES = 20

_name = re.compile(r"[\w.<>]{1,500}")
# Python 3 has given them other names.
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}
_PLAIN = frozenset((type(None), bool, float))
_SHAREABLE = (str, bytes, Decimal)


class Limits(msgspec.Struct):
    """What is left to be spent."""

    nodes: int = _MAX_NODES
    size: int = _MAX_SIZE
    hashed: int = _MAX_HASHED
    zones: int = _MAX_ZONES


class Builder:
    """Makes values of nodes. An instance of a class without a maker becomes an :class:`Unknown`, as a malformed one.

    :param makers: by module and name.
    """

    def __init__(self, makers: Mapping[tuple[str, str], Maker]) -> None:
        self.limits = Limits()
        # Of the states of unknown instances: what those refer to must not cost the session its other values.
        self._state_limits = Limits()
        self._makers = makers
        self._depth = 0
        # The instances that are being made, by the id of their node: most models refer to themselves somehow.
        self._open: set[int] = set()
        # Made once, however often it is referred to.
        self._made: dict[int, Any] = {}
        #: Time zones by key, each looked for once.
        self.zones: dict[str, Any] = {}

    def value(self, node: Any) -> Any:
        """Return the value of a node.

        :raises Refused: if a limit is reached, or the node is malformed.
        """
        self.limits.nodes -= 1
        if self.limits.nodes < 0:
            raise Refused("too many values")
        kind = type(node)
        if kind in _PLAIN:
            return node
        if kind is OldText:
            node = node.value
        elif kind not in (str, bytes, int):
            return self._deeper(kind, node)
        self._spend(node)
        return node

    def values(self, nodes: Iterable[Any]) -> list[Any]:
        """Return the values of nodes."""
        return [self.value(node) for node in nodes]

    def mapping(self, pairs: Iterable[tuple[Any, Any]]) -> Any:
        """Return the dict of pairs of values; an Unknown if a key is one, or holds one."""
        made = list(pairs)
        if not self._are_keys(key for key, value in made):
            return Unknown("builtins.dict", tuple(made))
        return dict(made)

    def members(self, kind: type, items: list[Any]) -> Any:
        """Return the set or frozenset of values; an Unknown if a member is one, or holds one."""
        if not self._are_keys(items):
            return Unknown(f"builtins.{kind.__name__}", tuple(items))
        return kind(items)

    def _spend(self, value: Any) -> None:
        if type(value) is int:
            self.limits.size -= value.bit_length() >> 3
        else:
            # A Decimal takes what it is written with.
            self.limits.size -= len(value if isinstance(value, str | bytes) else str(value))
        if self.limits.size < 0:
            raise Refused("too much text")

    def _deeper(self, kind: type, node: Any) -> Any:
        self._depth += 1
        try:
            if self._depth > _MAX_DEPTH:
                raise Refused("nested too deeply")
            return self._container(kind, node)
        finally:
            self._depth -= 1

    def _container(self, kind: type, node: Any) -> Any:
        if kind is list:
            return self.values(node)
        if kind is tuple:
            return tuple(self.values(node))
        if kind is Pairs:
            return self.mapping(self._pairs(node.pairs))
        if kind is Members:
            return self.members(node.kind, self.values(node.items))
        if kind is Name:
            return Unknown(_name_of(node))
        return self._instance(node)

    def _pairs(self, pairs: Iterable[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        return [(self.value(key), self.value(value)) for key, value in pairs]

    def _are_keys(self, values: Iterable[Any]) -> bool:
        """Tell whether all values can be hashed, at a price that is bounded."""
        are_keys = True
        for value in values:
            price = _price(value)
            if price is None:
                are_keys = False
            else:
                self.limits.hashed -= price
            if self.limits.hashed < 0:
                raise Refused("too many keys that are no text")
        return are_keys

    def _instance(self, node: Call) -> Any:
        if id(node) in self._made:
            value = self._made[id(node)]
        elif maker := self._maker(call := _direct(node)):
            value = self._make(maker, call)
        else:
            return self._unknown(node, call)
        if isinstance(value, _SHAREABLE):
            self._made[id(node)] = value
            self._spend(value)
        return value

    def _maker(self, call: Call) -> Maker | None:
        name = call.called
        if type(name) is not Name or call.named is not None:
            return None
        return self._makers.get((_RENAMED.get(name.module, name.module), name.name))

    def _make(self, maker: Maker, call: Call) -> Any:
        try:
            return maker(self, call)
        except (Malformed, ValueError, TypeError, LookupError, ArithmeticError):
            # It costs the session one key, as an instance of a class that is not known does.
            return Unknown(_name_of(call.called))

    def _unknown(self, node: Call, call: Call) -> Unknown:
        name = _name_of(call.called)
        if id(node) in self._open:
            return Unknown(name)
        outer, self.limits = self.limits, self._state_limits
        self._open.add(id(node))
        try:
            return Unknown(name, self._state(call))
        except Refused:
            return Unknown(name)
        finally:
            self._open.discard(id(node))
            self.limits = outer

    def _state(self, call: Call) -> Any:
        if call.state is not None:
            return self.value(call.state)
        if call.pairs:
            return self.mapping(self._pairs(call.pairs))
        if call.items:
            return self.values(call.items)
        return tuple(self.values(call.arguments)) or None


def _direct(call: Call) -> Call:
    """Return the call of a class itself, for one that goes through a function of copyreg: protocols 0 and 1."""
    function, arguments = call.called, call.arguments
    if type(function) is not Name or function.module not in ("copyreg", "copy_reg"):
        return call
    if not arguments or type(arguments[0]) is not Name:
        return call
    if function.name == "_reconstructor" and len(arguments) == 3:
        direct = Call(arguments[0], () if arguments[2] is None else arguments[2:])
    elif function.name == "__newobj__":
        direct = Call(arguments[0], arguments[1:])
    else:
        return call
    direct.state, direct.items, direct.pairs = call.state, call.items, call.pairs
    return direct


def _name_of(called: Name | Call) -> str:
    if type(called) is not Name or not _name.fullmatch(name := f"{called.module}.{called.name}"):
        return "unknown"
    return name


def _price(key: Any) -> int | None:
    """Return how much of a limit hashing a key takes; None if it has no hash, or one that is not its value's."""
    if isinstance(key, str | bytes):
        return 0
    if type(key) is int:
        return 1 + (key.bit_length() >> 6)
    if type(key) in _PLAIN:
        return 1
    if type(key) in (tuple, frozenset):
        prices = [_price(item) for item in key]
        return None if None in prices else 1 + sum(filter(None, prices))
    if isinstance(key, list | dict | set | tzinfo | Unknown) or (type(key) is Decimal and key.is_snan()):
        return None
    return 5
