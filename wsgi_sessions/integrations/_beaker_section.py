"""The arguments of BeakerMiddleware in a section of an ini file, where all of them are texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..stores.base import SessionStore
from ..stores.url import store_from_url
from ._options import Options, WrongValue, read_boolean, read_positive_duration, read_size

_BY_CODE = ("app", "wrap_app", "config", "cookie", "convert", "error_app", "on_deleted")


def read_section(section: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a section, our own ones as values of their types; Beaker's are left as they are.

    >>> read_section({"take_over": "false", "timeout": "3600"})
    {'take_over': False, 'timeout': '3600'}

    :raises ValueError: if the value of one makes no sense, or it can be given by code only.
    """
    for name in _BY_CODE:
        if name in section:
            raise ValueError(
                f"{name} cannot be given in an ini file: write a factory of your own, that returns a BeakerMiddleware"
            )
    options = Options(section, "")
    own = {name: options.read(name, reader) for name, reader in _READERS.items() if name in options}
    return {**section, **own}


def _read_store(value: object) -> SessionStore:
    if isinstance(value, SessionStore):
        return value
    if not isinstance(value, str):
        raise WrongValue(f"must be a URL such as sqlite:////var/lib/app/sessions.db, not {type(value).__name__}")
    try:
        return store_from_url(value)
    except ValueError as error:
        raise WrongValue(f"cannot be used: {error}") from None


_READERS: dict[str, Callable[[Any], Any]] = {
    "store": _read_store,
    "explicit_save": read_boolean,
    "list_internals": read_boolean,
    "take_over": read_boolean,
    "max_lifetime": read_positive_duration,
    "max_payload": read_size,
    "sweep_every": read_positive_duration,
}
