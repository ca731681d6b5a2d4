"""The installed programs, and what to do without them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

# Where Debian installs servers: an ordinary user's PATH does not lead there.
_SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin")
_POSTGRESQL_VERSIONS = Path("/usr/lib/postgresql")


def unavailable(reason: str) -> NoReturn:
    """Skip the test because something is not there, or fail it where REQUIRE_SERVICES=1 says that all must be."""
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(f"REQUIRE_SERVICES=1, but {reason}", pytrace=False)
    pytest.skip(reason)


def require(program: str, package: str) -> str:
    """Return the path of a program; without it, the test is skipped.

    :param package: the Debian package that has the program.
    """
    path = shutil.which(program) or shutil.which(program, path=_other_folders())
    if path is None:
        unavailable(f"{program} is missing: install the Debian package {package}")
    return path


def _other_folders() -> str:
    versions = [path for path in _POSTGRESQL_VERSIONS.glob("*/bin") if path.parent.name.isdecimal()]
    newest_first = sorted(versions, key=lambda path: int(path.parent.name), reverse=True)
    return os.pathsep.join((*_SYSTEM_FOLDERS, *map(str, newest_first)))


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """Make a directory with a short path, which other users can enter, and remove it afterwards.

    pytest's are closed to all but the user who runs it, and PostgreSQL does not run as root.
    """
    directory = Path(tempfile.mkdtemp(prefix="wsgi-sessions-")).resolve()
    try:
        directory.chmod(0o755)
        yield directory
    finally:
        shutil.rmtree(directory)
