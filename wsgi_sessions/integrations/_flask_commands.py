"""``flask sessions``: what an operator does to the store of a Flask application."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click
from flask.cli import AppGroup

from ..exceptions import StoreError
from ..expiry import to_datetime
from ..operations import revoke, statistics
from ..stores.base import SessionStore


def sessions_commands(store: SessionStore) -> AppGroup:
    """Return the group of commands for a store."""
    group = AppGroup("sessions", help="Look after the stored sessions.")

    @group.command("sweep")
    @_told
    def sweep() -> None:
        """Delete the records of sessions that have ended."""
        count = 0
        while deleted := store.delete_expired():
            count += len(deleted)
        suffix = "; this store forgets them by itself" if store.expires_itself else ""
        click.echo(f"deleted {count} records{suffix}")

    @group.command("stats")
    @_told
    def stats() -> None:
        """Count the live sessions."""
        found = statistics(store)
        click.echo(f"sessions         {found.sessions}")
        click.echo(f"of users         {found.owned}, of {found.owners} users")
        click.echo(f"bytes            {found.payload_bytes}, the largest {found.largest_payload}")
        if found.first_end is not None and found.last_end is not None:
            click.echo(f"the next ends    {to_datetime(found.first_end):%Y-%m-%d %H:%M:%S} UTC")
            click.echo(f"the last ends    {to_datetime(found.last_end):%Y-%m-%d %H:%M:%S} UTC")

    @group.command("revoke")
    @click.argument("owner")
    @click.option("--keep", metavar="ID", help="The public id of a session that stays.")
    @_told
    def revoke_command(owner: str, keep: str | None) -> None:
        """End all sessions of OWNER: log the user out everywhere."""
        click.echo(f"ended {revoke(store, owner, keep)} sessions")

    create_schema = getattr(store, "create_schema", None)
    if create_schema is not None:

        @group.command("create-schema")
        @_told
        def create_schema_command() -> None:
            """Make the table of the sessions where it is missing."""
            create_schema()
            click.echo("the table is there")

    return group


def _told(command: Callable[..., Any]) -> Callable[..., Any]:
    """Have a command tell in one line why the store could not do it."""

    @wraps(command)
    def told(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except (StoreError, NotImplementedError) as error:
            raise click.ClickException(str(error)) from error

    return told
