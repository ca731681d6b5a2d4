"""What a configuration of Beaker's sessions means for ours: which store, cookie and expiry, and what is ignored."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from msgspec.structs import replace

from .. import clock
from ..cookies.cookie import SessionCookie
from ..exceptions import StoreError
from ..expiry import AtDateTime, Expiry, OnInactivity, OnSessionEnd
from ..legacy import LegacySource
from ..migration.base import Convert
from ..migration.beaker import NoContainer, SQLContainer, read_options, source_of
from ._beaker_ignored import nearly_prefixed, without_effect

_log = logging.getLogger("wsgi_sessions")

_PREFIXES = ("beaker.session.", "session.", "session_")
_SQL_TYPES = ("ext:database", "ext:sqla")
_FALSE = frozenset(("false", "no", "off", "n", "f", "0"))
# Beaker's cookies "for ever" end in 2038; browsers keep none for longer than this (RFC 6265bis).
_FOREVER = timedelta(days=400)


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

    def cookie(self, name: str | None = None) -> SessionCookie:
        """Return the cookie: attributes as they were set; of what was not, http_only is safer than Beaker's.

        :param name: in place of the configured one.
        :raises ValueError: if a browser would drop it.
        """
        options, given = self.options, self._given
        if "secure" not in given:
            _log.warning(
                "session.secure is not set, so the session's cookie travels over http as well, as Beaker's does: "
                "set session.secure = true if the site is on https"
            )
        return SessionCookie(
            options.key if name is None else name,
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
        """Return what reads Beaker's own sessions; None where there were none.

        :raises ImportError: if reading them needs what is not installed.
        :raises ValueError: if an option for it is missing or wrong.
        """
        if not self.options.is_readable:
            return None
        container = None
        if missing := self._missing():
            _log.warning("there are no sessions of Beaker's to take over in %s", missing)
            container = NoContainer()
        source = source_of(self.options, container=container, convert=convert, on_unknown=on_unknown)
        return cast("LegacySource | None", source)

    def _missing(self) -> str:
        """Return the place of Beaker's sessions if it is not there."""
        directory = self._directory()
        if directory is not None and not os.path.isdir(directory):
            return (
                f"{directory!r}, but those that were imported: if there should be, session.data_dir is another one, or "
                "relative to another directory"
            )
        if self.options.type in _SQL_TYPES and not self._has_table():
            return (
                "the database, for it has no such table, but those that were imported: if it should have, session.url "
                "is another one"
            )
        return ""

    def _has_table(self) -> bool:
        container = self.options.container()
        try:
            return not isinstance(container, SQLContainer) or container.is_there()
        except StoreError:
            # A database that is down now can be up when a visitor comes.
            return True

    def _directory(self) -> str | None:
        options = self.options
        chosen = {"file": options.file_dir, "dbm": options.dbm_dir}
        if options.type not in chosen or (chosen[options.type] is None and options.data_dir is None):
            return None
        return chosen[options.type] or os.path.join(options.data_dir or "", f"container_{options.type}")

    def warn_of_ignored(self, *, take_over: bool, has_store: bool, cookie: SessionCookie | None) -> None:
        """Log every option that has no effect, and why.

        :param take_over: Beaker's sessions are read.
        :param has_store: a store was given.
        :param cookie: the one that was given.
        """
        for name, reason in without_effect(
            self.options, self._given, is_taken_over=take_over, has_store=has_store, cookie=cookie
        ):
            shown = name if name in self._configuration else f"session.{name}"
            _log.warning("of Beaker's configuration, %s is ignored: %s", shown, reason)
        for key, hint in nearly_prefixed(self._configuration):
            _log.warning("of Beaker's configuration, %s is ignored: %s", key, hint)
        if self.options.encrypt_key is not None:
            _log.warning(
                "session.encrypt_key encrypts no session of ours in the store: those of Beaker's are decrypted with it"
            )


def _given(configuration: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was written, by the names of the options; None counts as not written.

    Of several prefixes for one name, the entry that comes last in the dictionary counts, and arguments over all.
    """
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
        fixed = AtDateTime(at)
        if idle is None or fixed.expires(0) <= OnInactivity(idle).expires(clock.now()):
            return fixed
        return OnInactivity(idle, **touches)
    kept = _FOREVER if cookie_expires is False else cookie_expires
    return OnInactivity(kept if idle is None else min(kept, idle), **touches)
