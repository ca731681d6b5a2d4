"""What a configuration of Beaker's sessions means for ours: which store, cookie and expiry, and what is ignored."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Any, cast

from msgspec.structs import replace

from .. import clock
from ..cookies.cookie import SessionCookie
from ..expiry import AtDateTime, Expiry, OnInactivity, OnSessionEnd, to_datetime
from ..legacy import LegacySource
from ..migration.base import Convert
from ..migration.beaker import BeakerOptions, read_options, source_of
from ..stores.base import SessionStore
from ..stores.file import FileStore
from ..stores.memory import MemoryStore
from ..stores.sqlite import SQLiteStore
from ..stores.url import store_from_url

_log = logging.getLogger("wsgi_sessions")

# In the order in which Beaker looks for them; a later one takes precedence, and arguments over all.
_PREFIXES = ("beaker.session.", "session.", "session_")
_NAMES = tuple(name for name in BeakerOptions.__struct_fields__ if name != "unused")
_FALSE = frozenset(("false", "no", "off", "n", "f", "0"))
# Beaker's cookies "for ever" end in 2038; browsers keep none for longer than this (RFC 6265bis).
_FOREVER = timedelta(days=400)
#: What is made beside Beaker's own files, and not among them.
_OWN = "wsgi_sessions"


class Configuration:
    """Beaker's options, and what was written of them.

    :param configuration: Beaker's ``config``, which may hold the options of other things.
    :param options: Beaker's keyword arguments.
    :raises ValueError: if a value makes no sense to Beaker either.
    """

    def __init__(self, configuration: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self._configuration = configuration
        found = read_options(configuration, **options)
        if found.cookie_domain is not None:
            # Browsers have ignored the dot since RFC 6265.
            found = replace(found, cookie_domain=found.cookie_domain.lstrip("."))
        self.options = found
        self._given = _given(configuration, options)
        #: Whether a request that only reads counts as activity.
        self.counts_reads = str(self._given.get("save_accessed_time", True)).strip().lower() not in _FALSE
        if not self.counts_reads and found.timeout is not None:
            raise ValueError("session.timeout needs session.save_accessed_time = true, as Beaker does")

    def cookie(self) -> SessionCookie:
        """Return the cookie: attributes as they were set; of what was not, http_only is safer than Beaker's.

        :raises ValueError: if a browser would drop it.
        """
        options, given = self.options, self._given
        if "secure" not in given:
            _log.warning(
                "session.secure is not set, so the session's cookie travels over http as well, as Beaker's does: "
                "set session.secure = true if the site is on https"
            )
        return SessionCookie(
            options.key,
            path=options.cookie_path,
            domain=options.cookie_domain,
            secure=options.secure,
            http_only=options.httponly if "httponly" in given else True,
            same_site=self._same_site(),
        )

    def _same_site(self) -> str:
        options = self.options
        # Where there is no such attribute, browsers behave as if it was Lax.
        if options.samesite is None or options.samesite.lower() != "none":
            return options.samesite or "Lax"
        if options.secure:
            return "None"
        _log.warning("session.samesite = None is ignored: browsers accept it with session.secure = true only")
        return "Lax"

    def expiry(self, cookie_expires: bool | timedelta | datetime | None = None) -> Expiry:
        """Return when sessions end.

        :param cookie_expires: in place of the configured one.
        """
        chosen = self.options.cookie_expires if cookie_expires is None else cookie_expires
        timeout = self.options.timeout
        return _expiry(chosen, None if timeout is None else timedelta(seconds=timeout), self.counts_reads)

    def source(self, *, convert: Convert | None, on_unknown: str) -> LegacySource | None:
        """Return what reads Beaker's own sessions; None where there are none.

        :raises ImportError: if reading them needs what is not installed.
        :raises ValueError: if an option for it is missing or wrong.
        """
        directory = self._directory()
        if directory is not None and not os.path.isdir(directory):
            _log.warning(
                "there are no sessions of Beaker's to take over in %r: if there should be, "
                "session.data_dir is another one, or relative to another directory",
                directory,
            )
            return None
        return cast("LegacySource | None", source_of(self.options, convert=convert, on_unknown=on_unknown))

    def _directory(self) -> str | None:
        options = self.options
        chosen = {"file": options.file_dir, "dbm": options.dbm_dir}
        if options.type not in chosen or (chosen[options.type] is None and options.data_dir is None):
            return None
        return chosen[options.type] or os.path.join(options.data_dir or "", f"container_{options.type}")

    def store(self) -> SessionStore:
        """Return a store in the place where Beaker keeps sessions, but apart from them; its table is made if need be.

        :raises ImportError: if the store needs what is not installed.
        :raises StoreError: if its table cannot be made.
        :raises ValueError: if there is none for this type, or an option is missing or wrong.
        """
        make = _STORES.get(self.options.type)
        if make is None:
            raise ValueError(
                f"session.type = {self.options.type} names no place for sessions of ours: give BeakerMiddleware a "
                "store, such as store=SQLiteStore('/var/lib/app/sessions.db')"
            )
        return make(self.options)

    def warn_of_ignored(self) -> None:
        """Log every option that has no effect, and why."""
        for name, reason in self._ignored():
            _log.warning("of Beaker's configuration, %s is ignored: %s", name, reason)

    def _ignored(self) -> Iterator[tuple[str, str]]:
        for name, reason in self.options.unused:
            if name == "save_accessed_time":
                continue
            near = get_close_matches(name, _NAMES, n=1, cutoff=0.75) if name not in _NAMES else []
            hint = f"; did you mean session.{near[0]}?" if near else ""
            yield (name if name in self._configuration else f"session.{name}"), reason + hint
        for key in self._configuration:
            prefix, _, name = key.rpartition(".")
            if name in _NAMES and prefix and not key.startswith(_PREFIXES):
                near = get_close_matches(f"{prefix}.".lower(), _PREFIXES, n=1, cutoff=0.8)
                if near:
                    yield key, f"did you mean {near[0]}{name}?"


def _given(configuration: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was written, by the names of the options; None counts as not written."""
    given = {}
    for key, value in (*configuration.items(), *options.items()):
        for prefix in _PREFIXES:
            if key.startswith(prefix):
                given[key.removeprefix(prefix)] = value
                break
        else:
            if key in options:
                given[key] = value
    return {name: value for name, value in given.items() if value is not None}


def _expiry(cookie_expires: bool | timedelta | datetime, idle: timedelta | None, counts_reads: bool) -> Expiry:
    touches: dict[str, Any] = {} if counts_reads else {"touch_every": None}
    if cookie_expires is True:
        return OnSessionEnd(**touches) if idle is None else OnSessionEnd(idle, **touches)
    if isinstance(cookie_expires, datetime):
        # Beaker writes a naive one into the cookie as if it was UTC.
        at = cookie_expires if cookie_expires.tzinfo else cookie_expires.replace(tzinfo=UTC)
        if idle is None or at <= to_datetime(clock.now()) + idle:
            return AtDateTime(at)
        return OnInactivity(idle, **touches)
    kept = _FOREVER if cookie_expires is False else cookie_expires
    return OnInactivity(kept if idle is None else min(kept, idle), **touches)


def _files(options: BeakerOptions) -> SessionStore:
    parent = options.data_dir or (options.file_dir if options.type == "file" else options.dbm_dir)
    if parent is None:
        raise ValueError(f"session.data_dir is missing: session.type = {options.type} needs it")
    # As Beaker makes it.
    os.makedirs(parent, exist_ok=True)
    return FileStore(os.path.join(parent, _OWN))


def _sql(options: BeakerOptions) -> SessionStore:
    database = options.url if options.bind is None else options.bind
    if database is None:
        raise ValueError(f"session.url is missing: session.type = {options.type} needs it")
    if isinstance(database, str) and database.startswith("sqlite"):
        path = database.partition(":///")[2].partition("?")[0]
        if not path or path == ":memory:":
            raise ValueError("session.url names a database in memory: write the file of one, or session.type = memory")
        # SQLiteStore shares no file with other tables.
        return SQLiteStore(f"{path}.{_OWN}")
    from ..stores.sql import SQLStore

    store = SQLStore(database, schema=options.schema_name)
    # As Beaker makes its own.
    store.create_schema()
    return store


def _redis(options: BeakerOptions) -> SessionStore:
    from ..stores.redis import RedisStore

    if options.url is None:
        raise ValueError("session.url is missing: session.type = ext:redis needs it")
    return RedisStore(options.url)


def _memcached(options: BeakerOptions) -> SessionStore:
    servers = [name.strip().removeprefix("inet:") for name in str(options.url or "").split(";") if name.strip()]
    if not servers or any(name.startswith(("unix:", "/")) for name in servers):
        raise ValueError(
            "session.url must name servers of Memcached by host and port, such as 10.0.0.1:11211; "
            "for sockets in the file system give BeakerMiddleware a store"
        )
    return store_from_url(f"memcached://{','.join(servers)}")


_STORES: dict[str, Callable[[BeakerOptions], SessionStore]] = {
    "memory": lambda options: MemoryStore(),
    "file": _files,
    "dbm": _files,
    "ext:database": _sql,
    "ext:sqla": _sql,
    "ext:redis": _redis,
    "ext:memcached": _memcached,
}
