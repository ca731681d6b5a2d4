"""What stands for instances of classes that are not imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec


class Unknown(msgspec.Struct, frozen=True):
    """Stands for an instance of a class that is not imported.

    :param name: ``module.qualname`` as it was written.
    :param state: what it was made of, inert: never looked into unless ``convert`` does.
    """

    name: str
    state: Any = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


#: Given where a value is (``"user"`` or ``"cart.items.0"``, no more than 1000 characters of it) and what stands for it,
#: returns what to store in its place; raises LookupError if it has nothing.
Convert = Callable[[str, Unknown], Any]
