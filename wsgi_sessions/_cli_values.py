"""What arguments of the command line stand for: stores, secrets, hooks. No message repeats a URL or a secret."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Protocol, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

from ._cli_faults import described
from ._cli_storages import Storage, open_storage
from .stores.base import SessionStore
from .stores.url import store_from_url

#: What help says of URLs.
ELSEWHERE = "As env:NAME or @FILE it is read from an environment variable or a file, which other users cannot see."
_VARIABLE, _FILE = "env:", "@"
_is_function = re.compile(r"\w+(\.\w+)*:\w+(\.\w+)*").fullmatch


class _Closable(Protocol):
    @property
    def close(self) -> Callable[[], object]: ...


_Opened = TypeVar("_Opened", bound=_Closable)


def text_or_elsewhere(value: str) -> str:
    """Return a text, from the environment variable or file that it names if it names one."""
    if value.startswith(_VARIABLE):
        name = value.removeprefix(_VARIABLE)
        text, missing = os.environ.get(name, ""), f"the environment variable {name} is not set, or empty"
    elif value.startswith(_FILE):
        name = value.removeprefix(_FILE)
        text, missing = _contents(name), f"there is nothing in {name!r}"
    else:
        return value
    # An editor ends the last line.
    text = text.rstrip("\r\n")
    if not text:
        raise click.BadParameter(missing)
    return text


def _contents(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8")
    except OSError as error:
        reason = os.strerror(error.errno or 0)
    except ValueError:
        # Not its text, which holds the file's.
        reason = "it is no text in UTF-8"
    raise click.BadParameter(f"cannot read the file {name!r}: {reason}")


def secret(value: str) -> str:
    """Return a secret, which is never an argument itself."""
    if not value.startswith((_VARIABLE, _FILE)):
        raise click.BadParameter("other users can see a command line: write env:NAME or @FILE for where the secret is")
    return text_or_elsewhere(value)


def store(value: str) -> SessionStore:
    """Return the store that a URL names; it connects when it is first used, and is closed after the command."""
    return _opened(value, store_from_url)


def check_shared(target: SessionStore) -> None:
    """Refuse to write into a store that is gone when the command has ended.

    :raises click.UsageError: if it is one.
    """
    if not target.shared:
        raise click.UsageError("a store in memory is gone when this command has ended: write into another one")


def storage(value: str) -> Storage:
    """Return the storage that a directory or a URL names; it is closed after the command."""
    return _opened(value, open_storage)


def _opened(value: str, open: Callable[[str], _Opened]) -> _Opened:
    place = text_or_elsewhere(value)
    try:
        found = open(place)
    except ImportError as error:
        raise click.BadParameter(str(error)) from error
    except (ValueError, TypeError, RuntimeError) as error:
        if place == value:
            raise click.BadParameter(str(error)) from error
        # Not what it says, which may quote a secret that was named by mistake.
        raise click.BadParameter(f"what is in {value!r} names no place that is known here") from None
    click.get_current_context().call_on_close(found.close)
    return found


def hook(value: str) -> Callable[..., Any]:
    """Return the function that ``package.module:function`` names; importing its module runs that module's code."""
    if not _is_function(value):
        raise click.BadParameter("write it as package.module:function")
    # As flask and gunicorn have it: where the application is.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = resolve_name(value)
    except (ImportError, AttributeError) as error:
        raise click.BadParameter(f"it cannot be imported: {error}") from error
    except (Exception, SystemExit) as error:  # it is the application's
        raise click.BadParameter(f"it cannot be imported: {described(error)}") from error
    if not callable(found):
        raise click.BadParameter(f"it must be something to call, not {type(found).__name__}")
    called: Callable[..., Any] = found
    return called


def seconds(value: str) -> timedelta:
    """Return a duration."""
    try:
        return timedelta(seconds=float(value))
    except (ValueError, OverflowError):
        raise click.BadParameter(f"it must be a number of seconds, not {value!r}") from None


def zone(value: str) -> ZoneInfo:
    """Return a time zone."""
    try:
        return ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise click.BadParameter(f"there is no time zone {value!r}: write one such as Europe/Warsaw") from None
