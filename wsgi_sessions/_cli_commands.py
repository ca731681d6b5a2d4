"""The commands of ``wsgi-sessions``: what an operator does to a store, whatever the framework."""

from __future__ import annotations

from typing import Any

import click

from ._cli_import import import_commands
from ._cli_values import ELSEWHERE, check_shared
from ._cli_values import store as read_store
from ._store_commands import check_made, store_commands, told
from .operations import copy
from .stores.base import SessionStore


class Commands(click.Group):
    """Tells in one line what a store could not do."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        with told():
            return super().invoke(ctx)


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
for _command in store_commands(click.argument("store", type=read_store, metavar="URL")):
    commands.add_command(_command)


@commands.command("copy")
@click.argument("source", type=read_store, metavar="FROM")
@click.argument("target", type=read_store, metavar="TO")
def copy_command(source: SessionStore, target: SessionStore) -> None:
    """Copy what one store holds into another, while no application uses either.

    Ids that are there already are left alone, so it can be repeated.
    """
    check_made(source)
    check_shared(target)
    click.echo(f"copied {copy(source, target)} records")


def run() -> int:
    """Run the command that the arguments of the process name, and return its exit code.

    :raises KeyboardInterrupt: if it was interrupted.
    """
    try:
        return int(commands(prog_name="wsgi-sessions", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        raise KeyboardInterrupt from None
