"""The commands of ``wsgi-sessions``: what an operator does to a store, whatever the framework."""

from __future__ import annotations

from typing import Any

import click

from ._cli_import import Failed, import_commands
from ._cli_values import ELSEWHERE
from ._cli_values import store as read_store
from .exceptions import SessionError
from .expiry import to_datetime
from .operations import copy, revoke, statistics
from .stores.base import SessionStore


class Commands(click.Group):
    """Tells in one line what a store could not do."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except SessionError as error:
            raise Failed(str(error)) from error
        except NotImplementedError as error:
            raise click.UsageError(str(error)) from error


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"URL names a store as store_from_url() does, such as sqlite:////var/lib/app/sessions.db. {ELSEWHERE}",
)
@click.version_option(package_name="wsgi-sessions")
def commands() -> None:
    """Look after stored sessions, and bring in those of other libraries.

    Run it as the user that the application runs as: files that it makes belong to that user alone.
    """


commands.add_command(import_commands)


@commands.command("create-schema")
@click.argument("store", type=read_store, metavar="URL")
def create_schema_command(store: SessionStore) -> None:
    """Make the table of the sessions in a SQL database where it is missing."""
    create_schema = getattr(store, "create_schema", None)
    if create_schema is None:
        click.echo("nothing to do: this store needs no schema")
        return
    create_schema()
    click.echo("the table is there")


@commands.command("sweep")
@click.argument("store", type=read_store, metavar="URL")
def sweep_command(store: SessionStore) -> None:
    """Delete the records of sessions that have ended."""
    count = 0
    while deleted := store.delete_expired():
        count += len(deleted)
    suffix = "; this store forgets them by itself" if store.expires_itself else ""
    click.echo(f"deleted {count} records{suffix}")


@commands.command("stats")
@click.argument("store", type=read_store, metavar="URL")
def stats_command(store: SessionStore) -> None:
    """Count the live sessions.

    Those that were imported and wait for their visitors are not among them.
    """
    found = statistics(store)
    click.echo(f"sessions         {found.sessions}")
    click.echo(f"of users         {found.owned}, of {found.owners} users")
    click.echo(f"bytes            {found.payload_bytes}, the largest {found.largest_payload}")
    if found.first_end is not None and found.last_end is not None:
        click.echo(f"the next ends    {to_datetime(found.first_end):%Y-%m-%d %H:%M:%S} UTC")
        click.echo(f"the last ends    {to_datetime(found.last_end):%Y-%m-%d %H:%M:%S} UTC")


@commands.command("revoke")
@click.argument("store", type=read_store, metavar="URL")
@click.argument("owner")
@click.option("--keep", metavar="ID", help="The public id of a session that stays.")
def revoke_command(store: SessionStore, owner: str, keep: str | None) -> None:
    """End all sessions of OWNER: log the user out everywhere.

    Sessions that were imported and wait for their visitors have no owner yet.
    """
    click.echo(f"ended {revoke(store, owner, keep)} sessions")


@commands.command("copy")
@click.argument("source", type=read_store, metavar="FROM")
@click.argument("target", type=read_store, metavar="TO")
def copy_command(source: SessionStore, target: SessionStore) -> None:
    """Copy what one store holds into another, while no application uses either.

    Ids that are there already are left alone, so it can be repeated.
    """
    click.echo(f"copied {copy(source, target)} records")
