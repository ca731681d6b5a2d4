"""What ``mutate`` did to a key, so that it can be done again to another request's value."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple

from msgspec import Raw

from . import codec


class Mutations(NamedTuple):
    """The functions that were applied to one key, in their order.

    :param steps: each function with its default.
    :param result: the encoding after the last step; if it is another by now, the key was also changed by hand.
    """

    steps: list[tuple[Callable[[Any], Any], Any]]
    result: bytes

    def replay(self, theirs: Raw | None) -> Any:
        """Return what the functions make of another value; None stands for none.

        Whatever they raise goes to the caller.
        """
        absent, value = theirs is None, None
        if theirs is not None:
            try:
                value = codec.decode(theirs)
            except ValueError:
                absent = True
        for position, (function, default) in enumerate(self.steps):
            if position:
                # A function may return an object of its own, which the next one must not change.
                value = codec.decode(codec.encode(value))
            value = function(fresh(default) if absent else value)
            absent = False
        return value


def fresh(default: Any) -> Any:
    """Return a default that a function may change in place and still be given again, unchanged."""
    return deepcopy(default) if type(default) in codec.MUTABLE else default
