"""``flask sessions``: what an operator does to the store of a Flask application."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from flask.cli import AppGroup, with_appcontext

from .._store_commands import store_commands
from ..stores.base import SessionStore


def sessions_commands(store: SessionStore) -> AppGroup:
    """Return the group of commands for a store."""

    def with_store(command: Callable[..., None]) -> Callable[..., Any]:
        return with_appcontext(wraps(command)(partial(command, store)))

    group = AppGroup("sessions", help="Look after the stored sessions.")
    for command in store_commands(with_store):
        group.add_command(command)
    return group
