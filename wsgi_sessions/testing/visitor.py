"""A visitor who has a session already, for an application's own tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..cookies.cookie import SessionCookie
from ..middleware import open_session
from ..stores.base import SessionStore


def cookie_of_visitor(
    store: SessionStore,
    values: Mapping[str, Any],
    *,
    owner: str | None = None,
    cookie: SessionCookie | None = None,
) -> tuple[str, str]:
    """Store a session and return the name and the value of the cookie that opens it.

    >>> from wsgi_sessions import MemoryStore
    >>> name, value = cookie_of_visitor(MemoryStore(), {"user": "alice"})
    >>> name
    'id'

    :param store: the one that the application's middleware has.
    :param values: what the session holds.
    :param owner: the user it belongs to.
    :param cookie: the one that the application's middleware has, if it is not the default.
    :raises ValueError: if there is nothing to store: such a visitor has no cookie.
    """
    with open_session(store) as session:
        session.update(values)
        session.owner = owner
        session.save()
        token = session.token
    if token is None:
        raise ValueError("a session without values and owner is not stored: give it one of them")
    name, _, value = (cookie or SessionCookie()).header(token)[1].partition(";")[0].partition("=")
    return name, value
