"""Flat options, as configuration files have them: the store and the middleware's arguments out of names and texts.

Not for code that can call the constructors: SessionMiddleware, the cookies and
the policies take the same, and a type checker sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast
from urllib.parse import urlencode

from ..expiry import AtDateTime, Expiry, OnInactivity, OnSessionEnd
from ..settings import check_expiry
from ..stores.base import SessionStore
from ..stores.url import store_from_url
from ._cookie_options import COOKIE_OPTIONS, read_cookie
from ._options import (
    Options,
    Readers,
    WrongValue,
    call_without_arguments,
    is_dotted_name,
    read_boolean,
    read_callable,
    read_duration_or_never,
    read_moment,
    read_positive_duration,
    read_retirement,
    read_size,
    read_sources,
    resolve,
)

_REST: Readers = {
    "max_lifetime": read_positive_duration,
    "always_save": read_boolean,
    "max_payload": read_size,
    "error_app": read_callable,
    "sweep_every": read_positive_duration,
    "on_deleted": read_callable,
    "legacy": read_sources,
    "retire": read_retirement,
}
_SLIDING = {"touch_every": read_duration_or_never}
_POLICIES: dict[str, tuple[Callable[..., Expiry], Readers]] = {
    "OnSessionEnd": (OnSessionEnd, {"ttl": read_positive_duration, **_SLIDING}),
    "OnInactivity": (OnInactivity, {"idle": read_positive_duration, **_SLIDING}),
    "AtDateTime": (AtDateTime, {"at": read_moment}),
}
# What a policy cannot do without, and what it may look like.
_REQUIRED = {"OnInactivity": ("idle", "30 minutes"), "AtDateTime": ("at", "2030-01-31T12:00:00+00:00")}

#: The names of all options; to these come the store's own, as ``store.<option>``.
OPTIONS = frozenset(
    (
        *("store", "cookie", "expiry"),
        *COOKIE_OPTIONS,
        *(f"expiry.{name}" for _, readers in _POLICIES.values() for name in readers),
        *_REST,
    )
)
_STORES = "a URL such as sqlite:////var/lib/app/sessions.db, or package.module:attribute of a store"


def read_options(settings: Mapping[str, Any], prefix: str = "") -> tuple[SessionStore, dict[str, Any]]:
    """Return the store and the arguments of SessionMiddleware that settings give.

    A value is a text, or of the right type already; None counts as not given.
    What is not given is not among the arguments.

    >>> read_options({"store": "memory:", "max_lifetime": "8 hours"})
    (MemoryStore(0 records), {'max_lifetime': datetime.timedelta(seconds=28800)})

    :param prefix: of the settings that are options, such as ``"wsgi_sessions."``; others are left alone.
    :raises ValueError: if an option is missing, unknown, of a wrong value, or of a form that was not chosen. It
        names the option, and never holds a key or the URL of the store.
    :raises ImportError: if the store or cookie needs what is not installed; says what to install.
    """
    options = Options(settings, prefix)
    options.refuse_unknown(OPTIONS, group="store")
    arguments = {name: options.read(name, reader) for name, reader in _REST.items() if name in options}
    if "on_deleted" in arguments and "sweep_every" not in arguments:
        raise options.error("on_deleted", f"is called by the sweeper: give {prefix}sweep_every too")
    if "retire" in arguments and "legacy" not in arguments:
        raise options.error("retire", f"is for the sessions of other libraries: give {prefix}legacy too")
    if "cookie" in options or options.parts("cookie"):
        arguments["cookie"] = read_cookie(options)
    if "expiry" in options or options.parts("expiry"):
        arguments["expiry"] = _read_expiry(options)
    return _read_store(options), arguments


def _read_store(options: Options) -> SessionStore:
    if "store" not in options:
        raise options.error("store", f"is missing: write {_STORES}")
    own = {name: options.read(f"store.{name}", _read_url_option) for name in options.parts("store")}
    return options.read("store", partial(_make_store, own))


def _read_url_option(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise WrongValue("must be a text or a number, as in the URL of the store")
    return str(value)


def _make_store(own: dict[str, str], value: object) -> SessionStore:
    if isinstance(value, str) and not is_dotted_name(value):
        return _store_at(value, own)
    for name in own:
        raise WrongValue(f"is no URL to which store.{name} could be added: give {name} to the store itself")
    found = resolve(value) if isinstance(value, str) else value
    if isinstance(value, str) and callable(found) and not isinstance(found, SessionStore):
        found = call_without_arguments(found)
    if not isinstance(found, SessionStore):
        described = f"the class {found.__name__}" if isinstance(found, type) else type(found).__name__
        raise WrongValue(f"must be {_STORES}, not {described}")
    return found


def _store_at(url: str, own: dict[str, str]) -> SessionStore:
    if own:
        # One that stands in the URL as well is refused there.
        url += ("&" if "?" in url else "?") + urlencode(own)
    try:
        return store_from_url(url)
    except ValueError as error:
        raise WrongValue(f"cannot be used: {error}") from None


def _read_expiry(options: Options) -> Expiry:
    own = options.parts("expiry")
    chosen = options.read("expiry", _read_policy) if "expiry" in options else "OnSessionEnd"
    if not isinstance(chosen, str):
        for name in own:
            raise options.error("expiry", f"cannot be combined with expiry.{name}: give that to the policy itself")
        return chosen
    policy, readers = _POLICIES[chosen]
    for name in own:
        if name not in readers:
            owners = " and ".join(other for other, (_, theirs) in _POLICIES.items() if name in theirs)
            raise options.error(f"expiry.{name}", f"is an option of {owners}, and expiry is {chosen}")
    needed, example = _REQUIRED.get(chosen, (None, ""))
    if needed is not None and needed not in own:
        raise options.error(f"expiry.{needed}", f"is missing: {chosen} needs it, such as {example}")
    arguments = {name: options.read(f"expiry.{name}", readers[name]) for name in own}
    try:
        return policy(**arguments)
    except ValueError as error:
        # Each by itself is right already: it begins with the name of the one that does not go with the other.
        name, _, text = str(error).partition(" ")
        raise options.error(f"expiry.{name}", text) from None


def _read_policy(value: object) -> Expiry | str:
    if isinstance(value, str) and value in _POLICIES:
        return value
    try:
        check_expiry(value)
    except TypeError:
        raise WrongValue(f"must be {', '.join(_POLICIES)}; or, given by code, a policy") from None
    return cast("Expiry", value)
