"""What an operator is told of a storage that failed: enough to find out why, and nothing that opens a session.

The messages of drivers are no part of it, nor are the exceptions, which a log would show with a traceback: they hold
names of files, statements and their parameters, and those hold ids.
"""

from __future__ import annotations

import os
import re
from typing import Any

from ..exceptions import StoreError

# SQLSTATE, the number of an error in MySQL, or the name of one in SQLite.
_is_code = re.compile(r"[0-9A-Z_]{3,50}").fullmatch


def failure(storage: str, error: BaseException) -> StoreError:
    """Return what is to be raised, ``from None``, for what a driver or the system has raised.

    >>> failure("the files of the old sessions", PermissionError(13, "Permission denied", "/sessions/0123"))
    StoreError('the files of the old sessions failed: PermissionError: permission denied')

    :param storage: what failed.
    """
    names = [type(error).__name__, _system_text(error) or _code(getattr(error, "orig", None))]
    return StoreError(f"{storage} failed: {': '.join(filter(None, names))}")


def _system_text(error: BaseException | None) -> str:
    """Return what the operating system says, which may be the cause of what a client of a server does."""
    for _ in range(5):
        if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
            return os.strerror(error.errno).lower()
        if error is None:
            break
        error = error.__cause__ or error.__context__
    return ""


def _code(error: Any) -> str:
    """Return the code that a driver of a database gives an error."""
    first = error.args[0] if isinstance(error, Exception) and error.args else None
    numbers = (first,) if isinstance(first, int) else ()
    for code in (*(getattr(error, name, None) for name in ("sqlstate", "pgcode", "sqlite_errorname")), *numbers):
        if code is not None and _is_code(str(code)):
            return str(code)
    return ""
