"""The store of a Django project, as its settings name it, and what its sessions have in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from copy import copy
from datetime import timedelta
from typing import Any, ClassVar, NamedTuple

import msgspec
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from ..cookies.cookie import SessionCookie
from ..expiry import OnInactivity
from ..legacy import LegacySource
from ..settings import MAX_PAYLOAD, Settings
from ..stores.base import SessionStore
from ..takeover import Takeover
from ..token import SessionToken
from .base import read_options

_PREFIX = "WSGI_SESSIONS_"
#: What can be set, as settings with the prefix.
_OPTIONS = ("store", "max_payload", "max_lifetime", "legacy", "retire")
# Those whose value may be a dotted path.
_NAMED = ("store", "legacy")
_SETTING = _PREFIX + "STORE"
_DJANGOS_OWN = "django.contrib.sessions.middleware.SessionMiddleware"
# As Django's own settings have it; everything else is for read_options() to understand.
_is_dotted = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+").fullmatch


class _Made(NamedTuple):
    """What the settings give.

    :param settings: of a session that is opened by its key.
    :param takeover: of the sessions of other libraries, which only a request can bring; None if there are none.
    """

    settings: Settings
    takeover: Takeover | None


# Those of this process, once they are used.
_made: dict[str, _Made] = {}


class GivenEnd(msgspec.Struct, frozen=True, gc=False):  # a Struct because every save makes one
    """The policy of a save whose end Django has worked out, from its settings and from ``set_expiry``.

    :param end: Unix milliseconds.
    """

    end: int
    # A save moves the end whatever the difference, and nothing else does.
    step: ClassVar[int | None] = 0
    persistent: ClassVar[bool] = True

    def expires(self, now: int) -> int:
        """Return what was given, in Unix milliseconds."""
        return self.end

    def tolerates(self, remaining: int) -> bool:
        """Return False: only a look at the end itself can tell."""
        return False

    def dump(self) -> list[Any]:
        """Return nothing: it is not kept with a session."""
        return []


def current_store() -> SessionStore:
    """Return the store that ``WSGI_SESSIONS_STORE`` names, one for the whole process.

    :raises ImproperlyConfigured: if the setting is missing, or names no store.
    """
    return current_settings().store


def current_settings() -> Settings:
    """Return what the core has to know of all sessions of the current store.

    :raises ImproperlyConfigured: if there is none.
    """
    return _current().settings


def settings_until(of: Settings, end: int) -> Settings:
    """Return the same settings for a save that makes its session end at that moment, in Unix milliseconds."""
    # As copy() does it, in a fifth of the time.
    found = Settings.__new__(Settings)
    found.__dict__.update(of.__dict__, expiry=GivenEnd(end))
    return found


def takes_over() -> bool:
    """Tell whether requests may bring sessions of other libraries. Makes no store."""
    return getattr(settings, f"{_PREFIX}LEGACY", None) is not None


def settings_of_request(age: int) -> Settings:
    """Return what the core has to know of a session that a Cookie header presents, maybe one of another library.

    :param age: how long it lives after a use, seconds.
    """
    made = _current()
    found = copy(made.settings)
    found.cookie, found.takeover = _cookie(), made.takeover
    found.expiry = OnInactivity(timedelta(seconds=max(1, age)))
    return found


def legacy_counts() -> dict[tuple[str, str], int]:
    """Return how many sessions this process has taken over, and why it has not others, by system and reason."""
    takeover = _current().takeover
    return {} if takeover is None else dict(takeover.counts)


def _current() -> _Made:
    made = _made.get(_SETTING)
    if made is None:
        # setdefault is atomic: of several threads, all get the store that came first.
        made = _made.setdefault(_SETTING, _make())
    return made


class _SessionKey(SessionCookie):
    """Takes the token out of what Django took out of the cookie."""

    def candidates(self, header: str, is_theirs: Callable[[str], bool] | None = None) -> list[SessionToken]:
        token = SessionToken.parse(header)
        return [] if token is None else [token]


_BY_KEY = _SessionKey()


def _cookie() -> SessionCookie:
    """Return the cookie that Django sets, by what a browser tells cookies apart by; the rest is Django's to add."""
    domain = settings.SESSION_COOKIE_DOMAIN
    return SessionCookie(
        settings.SESSION_COOKIE_NAME,
        path=settings.SESSION_COOKIE_PATH or "/",
        # The dot before it means nothing (RFC 6265 5.2.3).
        domain=domain.lstrip(".") if domain else None,
    )


def _make() -> _Made:
    store, options = _read_settings()
    made = Settings(
        store,
        cookie=_BY_KEY,
        expiry=GivenEnd(0),
        max_lifetime=options.get("max_lifetime"),
        always_save=False,
        max_payload=options.get("max_payload", MAX_PAYLOAD),
    )
    sources = options.get("legacy")
    return _Made(made, _make_takeover(sources, options.get("retire", "delete")) if sources else None)


def _make_takeover(sources: Sequence[LegacySource], retire: str) -> Takeover:
    if _DJANGOS_OWN in settings.MIDDLEWARE:
        raise ImproperlyConfigured(
            f"{_PREFIX}LEGACY needs wsgi_sessions.integrations.django.SessionMiddleware in MIDDLEWARE, in the place of "
            "Django's own, which would remove the cookies of those sessions"
        )
    takeover = Takeover([_kept_whole(source) for source in sources], retire)
    try:
        takeover.check_cookie(_cookie())
    except ValueError as error:
        raise ImproperlyConfigured(f"{_PREFIX}RETIRE and SESSION_COOKIE_NAME: {error}") from error
    return takeover


def _kept_whole(source: LegacySource) -> LegacySource:
    """Return a source of Django's sessions that leaves in them what only Django knows to use."""
    if not hasattr(source, "keeps_internal"):
        return source
    # A copy: another application of this process may have the same source.
    source = copy(source)
    source.keeps_internal = True
    return source


def _read_settings() -> tuple[SessionStore, dict[str, Any]]:
    given = {name: getattr(settings, _PREFIX + name.upper(), None) for name in _OPTIONS}
    for option in _NAMED:
        path = given[option]
        if isinstance(path, str) and _is_dotted(path):
            given[option] = ":".join(path.rsplit(".", 1))
    try:
        return read_options(given)
    except (ValueError, ImportError) as error:
        name, _, reason = str(error).partition(" ")
        if name not in _OPTIONS:
            # Of a function that a setting names.
            raise
        raise ImproperlyConfigured(f"{_PREFIX}{name.upper()} {reason}") from error


def _forget_store(*, setting: str, **_: object) -> None:
    """Let go of the store when a test has overridden the setting."""
    if setting.startswith(_PREFIX) and _SETTING in _made:
        _made.pop(_SETTING).settings.store.close()


setting_changed.connect(_forget_store)
