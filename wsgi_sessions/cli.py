"""The command line, ``wsgi-sessions``: it needs the extra ``cli``, which nothing else does."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command that the arguments of the process name, and exit.

    The code is 0; 1 if an import found what it could not read; 2 if the command line makes no sense; 3 if a store
    failed; 130 if it was interrupted.
    """
    try:
        from ._cli_commands import commands
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("click", "rich"):
            raise
        sys.exit("the command line needs click and rich: pip install wsgi-sessions[cli]")
    commands(prog_name="wsgi-sessions")
