"""The options of the cookie: its attributes, its form and its keys."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..cookies.cookie import SessionCookie
from ..cookies.signed import SignedCookie
from ._options import Options, Readers, WrongValue, read_boolean, read_keys, read_text

_ATTRIBUTES: Readers = {
    "name": read_text,
    "path": read_text,
    "domain": read_text,
    "secure": read_boolean,
    "http_only": read_boolean,
    "same_site": read_text,
    "partitioned": read_boolean,
}

#: The names of the options, all but the cookie itself.
COOKIE_OPTIONS = tuple(f"cookie.{name}" for name in (*_ATTRIBUTES, "form", "keys"))


def read_cookie(options: Options) -> SessionCookie:
    """Return the cookie that options give.

    :raises ValueError: naming the option, if one is wrong or of another form.
    """
    if "cookie" in options:
        for name in options.parts("cookie"):
            raise options.error("cookie", f"cannot be combined with cookie.{name}: give that to the cookie itself")
        return options.read("cookie", _check_cookie)
    attributes = {
        name: options.read(f"cookie.{name}", partial(_check_attribute, name, reader))
        for name, reader in _ATTRIBUTES.items()
        if f"cookie.{name}" in options
    }
    form = options.read("cookie.form", _read_form) if "cookie.form" in options else _read_form("plain")
    if form is SessionCookie:
        if "cookie.keys" in options:
            raise options.error("cookie.keys", "is for cookie.form = signed or encrypted: a plain cookie has no keys")
        return _combined(options, form, attributes)
    if "cookie.keys" not in options:
        raise options.error("cookie.keys", "is missing: a cookie that is signed or encrypted needs one to five keys")
    keys = options.read("cookie.keys", partial(_check_keys, form))
    return _combined(options, partial(form, keys), attributes)


def _check_cookie(value: object) -> SessionCookie:
    if not isinstance(value, SessionCookie):
        raise WrongValue("is for a SessionCookie made by code: write cookie.name, cookie.path and so on instead")
    return value


def _check_attribute(name: str, reader: Callable[[Any], Any], value: object) -> Any:
    """Have the cookie check one attribute by itself, so that the error can name its option."""
    attribute = reader(value)
    try:
        SessionCookie(**{name: attribute})
    except ValueError as error:
        raise WrongValue(f"cannot be used: {error}") from None
    return attribute


def _read_form(value: object) -> Callable[..., SessionCookie]:
    match value:
        case "plain":
            return SessionCookie
        case "signed":
            return SignedCookie
        case "encrypted":
            # It needs an extra.
            from ..cookies.encrypted import EncryptedCookie

            return EncryptedCookie
    raise WrongValue("must be plain, signed or encrypted")


def _check_keys(form: Callable[..., SessionCookie], value: object) -> list[str | bytes]:
    keys = read_keys(value)
    try:
        form(keys)
    except (TypeError, ValueError) as error:
        raise WrongValue(f"cannot be used: {error}") from None
    return keys


def _combined(options: Options, form: Callable[..., SessionCookie], attributes: dict[str, Any]) -> SessionCookie:
    try:
        return form(**attributes)
    except ValueError as error:
        given = ", ".join(f"cookie.{name}" for name in attributes)
        raise options.error("cookie", f"cannot be made of {given}: {error}") from None
