"""Arguments of an integration that have no effect if it is given no store."""

from __future__ import annotations

from collections.abc import Mapping

from ..settings import MAX_PAYLOAD

# Of all arguments.
_DEFAULTS: tuple[object, ...] = (None, False, MAX_PAYLOAD, (), [], "delete")


def refuse_without_store(arguments: Mapping[str, object], remedy: str) -> None:
    """Raise TypeError if an argument is given whose place is where the store is.

    :param remedy: how to give a store.
    """
    given = [name for name, value in arguments.items() if value not in _DEFAULTS]
    if given:
        raise TypeError(
            f"{', '.join(given)} without a store: {remedy}, or give it to the SessionMiddleware that is wrapped around "
            "the application"
        )
