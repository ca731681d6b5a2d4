"""The command line, ``wsgi-sessions``: it needs the extra ``cli``, which nothing else does."""

from __future__ import annotations

import sys

from ._cli_faults import described

# What a shell has for a process that Ctrl-C has ended.
_INTERRUPTED = 130
_FAILED = 3


def main() -> None:
    """Run the command that the arguments of the process name, and exit.

    The code is 0; 1 if an import found what it could not read, or nothing; 2 if the command line makes no sense; 3 if
    a store failed, or whatever else went wrong, which is told in one line without a traceback; 130 if it was
    interrupted.
    """
    try:
        code = _run()
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted\n")
        code = _INTERRUPTED
    except Exception as error:
        sys.stderr.write(f"Error: this should not have happened: {described(error)}\n")
        code = _FAILED
    sys.exit(code)


def _run() -> int:
    # It takes a while, in which somebody may change their mind.
    try:
        from ._cli_commands import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("click", "rich"):
            raise
        sys.exit("the command line needs click and rich: pip install wsgi-sessions[cli]")
    return run()
