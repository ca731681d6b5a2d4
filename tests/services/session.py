"""What lasts as long as the test run."""

from __future__ import annotations

import tempfile
from contextlib import AbstractContextManager, ExitStack
from functools import cache
from pathlib import Path
from typing import TypeVar

from .processes import end_watcher
from .programs import temporary_directory

_Entered = TypeVar("_Entered")
_ends = ExitStack()


def until_the_end(context: AbstractContextManager[_Entered]) -> _Entered:
    """Enter a context that is left at the end of the test run."""
    return _ends.enter_context(context)


def session_directory() -> Path:
    """Make a directory, a new one at each call, that is removed at the end of the test run."""
    directory = Path(tempfile.mkdtemp(dir=_root()))
    directory.chmod(0o755)
    return directory


def end() -> None:
    """End all that lasts as long as the test run; nothing can be started after it."""
    try:
        _ends.close()
    finally:
        end_watcher()


@cache
def _root() -> Path:
    return until_the_end(temporary_directory())
