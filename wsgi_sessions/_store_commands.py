"""What an operator does to a store, as commands: for ``wsgi-sessions`` and for the command lines of frameworks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from .exceptions import SessionError
from .expiry import to_datetime
from .operations import is_made, revoke, statistics
from .stores.base import SessionStore

#: Has the callback of a command called with the store as its parameter ``store``.
WithStore = Callable[[Callable[..., None]], Callable[..., Any]]


class Failed(click.ClickException):
    """A storage failed: that is not the command line's fault."""

    exit_code = 3


@contextmanager
def told() -> Iterator[None]:
    """Have what a store could not do in a block told in one line.

    :raises Failed: if the store failed.
    :raises click.UsageError: if it can do no such thing.
    """
    try:
        yield
    except SessionError as error:
        raise Failed(str(error)) from error
    except NotImplementedError as error:
        raise click.UsageError(str(error)) from error


def check_made(store: SessionStore) -> None:
    """Refuse to look into a store whose directory or file is missing, which would make it.

    :raises click.UsageError: if it is. What is missing may be a secret that was taken for a path, so it is not named.
    """
    if not is_made(store):
        raise click.UsageError("there is no such store yet: its file or directory is missing")


def store_commands(with_store: WithStore) -> list[click.Command]:
    """Return the commands ``create-schema``, ``sweep``, ``stats`` and ``revoke``."""
    keep = click.option("--keep", metavar="ID", help="The public id of a session that stays.")
    return [
        _command("create-schema", _create_schema, with_store),
        _command("sweep", _sweep, with_store),
        _command("stats", _stats, with_store),
        _command("revoke", _revoke, with_store, keep, click.argument("owner")),
    ]


def _command(name: str, lines: Callable[..., list[str]], with_store: WithStore, *parameters: Any) -> click.Command:
    def run(store: SessionStore, **options: Any) -> None:
        with told():
            for line in lines(store, **options):
                click.echo(line)

    for parameter in parameters:
        run = parameter(run)
    return click.command(name, help=lines.__doc__)(with_store(run))


def _create_schema(store: SessionStore) -> list[str]:
    """Make the table of the sessions in a SQL database where it is missing."""
    create_schema = getattr(store, "create_schema", None)
    if create_schema is None:
        return ["nothing to do: this store needs no schema"]
    create_schema()
    return ["the table is there"]


def _sweep(store: SessionStore) -> list[str]:
    """Delete the records of sessions that have ended."""
    check_made(store)
    count = 0
    while deleted := store.delete_expired():
        count += len(deleted)
    suffix = "; this store forgets them by itself" if store.expires_itself else ""
    return [f"deleted {count} records{suffix}"]


def _stats(store: SessionStore) -> list[str]:
    """Count the live sessions, and apart from them those that were imported and wait for their visitors."""
    check_made(store)
    found = statistics(store)
    lines = [
        f"sessions         {found.sessions}",
        f"of users         {found.owned}, of {found.owners} users",
        f"bytes            {found.payload_bytes}, the largest {found.largest_payload}",
    ]
    if found.first_end is not None and found.last_end is not None:
        lines.append(f"the next ends    {to_datetime(found.first_end):%Y-%m-%d %H:%M:%S} UTC")
        lines.append(f"the last ends    {to_datetime(found.last_end):%Y-%m-%d %H:%M:%S} UTC")
    return [*lines, f"waiting for their visitors {found.waiting}"]


def _revoke(store: SessionStore, owner: str, keep: str | None) -> list[str]:
    """End all sessions of OWNER: log the user out everywhere.

    Sessions that were imported and wait for their visitors have no owner yet.
    """
    check_made(store)
    return [f"ended {revoke(store, owner, keep)} sessions"]
