"""Flash messages: said in one request, shown once in a later one.

They are kept in the shape that Flask gives them, under the key that it uses, so that
each reads what the other wrote.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, NamedTuple

_KEY = "_flashes"


class Flash(NamedTuple):
    """One message.

    :param category: what kind it is: ``message`` unless said otherwise.
    :param message: the text, or whatever else a session can hold, such as ``Markup``.
    """

    category: str
    message: Any


def flash(session: MutableMapping[str, Any], message: Any, category: str = "message") -> None:
    """Keep a message for the next time that messages are shown.

    >>> session = {}
    >>> flash(session, "Saved.")
    >>> pop_flashes(session)
    [Flash(category='message', message='Saved.')]
    >>> session
    {}
    """
    session[_KEY] = [*session.get(_KEY, ()), [category, message]]


def peek_flashes(session: MutableMapping[str, Any], category: str | None = None) -> list[Flash]:
    """Return the messages, oldest first, and keep them.

    :param category: only those of this category; None: all.
    """
    flashes = [Flash(*pair) for pair in session.get(_KEY, ())]
    return flashes if category is None else [kept for kept in flashes if kept.category == category]


def pop_flashes(session: MutableMapping[str, Any], category: str | None = None) -> list[Flash]:
    """Return the messages, oldest first, and forget them.

    A session that has none to return is not written to.

    :param category: only those of this category, the others are kept; None: all.
    """
    popped = peek_flashes(session, category)
    if not popped:
        return popped
    kept = [] if category is None else [list(pair) for pair in session[_KEY] if pair[0] != category]
    if kept:
        session[_KEY] = kept
    else:
        del session[_KEY]
    return popped
