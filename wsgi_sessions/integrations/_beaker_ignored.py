"""What of a configuration of Beaker's has no effect here, and why."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from difflib import get_close_matches
from itertools import chain
from typing import Any

from ..cookies.cookie import SessionCookie
from ..migration.beaker import BeakerOptions

#: What BeakerMiddleware takes besides Beaker's own options.
OURS = (
    *("app", "config", "environ_key", "wrap_app", "store", "cookie", "cookie_name", "explicit_save", "list_internals"),
    *("take_over", "retire", "convert", "on_unknown", "max_lifetime", "max_payload", "error_app", "sweep_every"),
    "on_deleted",
)
_PREFIXES = ("beaker.session.", "session.", "session_")
_NAMES = tuple(name for name in BeakerOptions.__struct_fields__ if name != "unused")
# What tells where sessions are, by their type.
_SQL = ("url", "bind", "table", "table_name", "schema_name")
_PLACES: dict[str, tuple[str, ...]] = {
    "file": ("data_dir", "file_dir"),
    "dbm": ("data_dir", "dbm_dir"),
    "ext:database": _SQL,
    "ext:sqla": _SQL,
    "ext:redis": ("url",),
    "ext:memcached": ("url",),
}
_PLACE = frozenset(chain.from_iterable(_PLACES.values()))
# Our own table has a name of its own.
_OF_BEAKERS_TABLE = ("table", "table_name")
# What Beaker's sessions are read with.
_KEYS = ("secret", "validate_key", "encrypt_nonce_bits", "data_serializer")
# The attributes of the cookie, as ours calls them.
_COOKIE = {
    "key": "name",
    "cookie_domain": "domain",
    "cookie_path": "path",
    "secure": "secure",
    "httponly": "http_only",
    "samesite": "same_site",
}


def without_effect(
    options: BeakerOptions,
    written: Container[str],
    *,
    is_taken_over: bool,
    has_store: bool,
    cookie: SessionCookie | None,
) -> Iterator[tuple[str, str]]:
    """Yield the options that have no effect, each with the reason; of ``encrypt_key`` see the middleware.

    :param written: the names of those that were given.
    :param is_taken_over: Beaker's sessions are read.
    :param has_store: a store was given.
    :param cookie: the one that was given.
    """
    is_taken_over = is_taken_over and options.is_readable
    # What is told last is the type: sessions in memory are kept in memory here as well, and there are none to read.
    for name, reason in options.unused[:-1] if options.type == "memory" else options.unused:
        if name != "save_accessed_time":
            near = get_close_matches(name, _NAMES, n=1, cutoff=0.75) if name not in _NAMES else []
            yield name, reason + (f"; did you mean session.{near[0]}?" if near else "")
    found = chain(_places(options, is_taken_over, has_store), _keys(options, is_taken_over))
    yield from ((name, reason) for name, reason in found if name in written)
    if cookie is not None:
        yield from ((name, reason) for name, reason in _attributes(options, is_taken_over, cookie) if name in written)


def refuse_misspelt(options: Iterable[str]) -> None:
    """Refuse an option without a prefix that is none of Beaker's, and nearly one of ours.

    What it should have kept may be gone when somebody reads a warning: the default of ``retire`` deletes.

    :raises ValueError: if there is one.
    """
    known = (*OURS, *_NAMES)
    for name in options:
        if name in known or name.startswith(_PREFIXES):
            continue
        near = get_close_matches(name.lower(), known, n=1, cutoff=0.8)
        if near and near[0] in OURS:
            raise ValueError(f"unknown option {name!r}; did you mean {near[0]}?")


def nearly_prefixed(configuration: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the keys that look like an option of Beaker's with a wrong prefix, each with a hint."""
    for key in configuration:
        prefix, _, name = key.rpartition(".")
        if name in _NAMES and prefix and not key.startswith(_PREFIXES):
            near = get_close_matches(f"{prefix}.".lower(), _PREFIXES, n=1, cutoff=0.8)
            if near:
                yield key, f"did you mean {near[0]}{name}?"


def _places(options: BeakerOptions, is_taken_over: bool, has_store: bool) -> Iterator[tuple[str, str]]:
    for name in sorted(_PLACE):
        if name not in _PLACES.get(options.type, ()):
            yield name, f"session.type = {options.type} does not need it"
        elif has_store and not is_taken_over:
            yield name, "sessions are kept in the store that was given"
        elif name in _OF_BEAKERS_TABLE and not is_taken_over:
            yield name, "no sessions of Beaker's are read"
    if has_store and not is_taken_over and options.is_readable:
        yield "type", "sessions are kept in the store that was given"


def _keys(options: BeakerOptions, is_taken_over: bool) -> Iterator[tuple[str, str]]:
    if not is_taken_over:
        yield from ((name, "no sessions of Beaker's are read") for name in _KEYS)
    elif options.type == "cookie":
        yield "secret", "session.type = cookie does not need it"
    elif options.encrypt_key is None:
        yield "validate_key", "without session.encrypt_key nothing needs it"
    if is_taken_over and options.encrypt_key is None:
        yield "encrypt_nonce_bits", "without session.encrypt_key nothing needs it"


def _attributes(options: BeakerOptions, is_taken_over: bool, cookie: SessionCookie) -> Iterator[tuple[str, str]]:
    for name, ours in _COOKIE.items():
        own = getattr(cookie, ours, None)
        # By its name, Beaker's own cookie is found.
        if getattr(options, name) != own and not (name == "key" and is_taken_over):
            yield name, f"the cookie that was given has {ours}={own!r}"
