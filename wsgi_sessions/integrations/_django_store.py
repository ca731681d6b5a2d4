"""The store of a Django project, as its settings name it, and what its sessions have in common."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import msgspec
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from ..cookies.cookie import SessionCookie
from ..settings import MAX_PAYLOAD, Settings
from ..stores.base import SessionStore
from ..token import SessionToken
from .base import read_options

_PREFIX = "WSGI_SESSIONS_"
#: What can be set, as settings with the prefix.
_OPTIONS = ("store", "max_payload", "max_lifetime")
_SETTING = _PREFIX + "STORE"
# As Django's own settings have it; everything else is for read_options() to understand.
_is_dotted = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+").fullmatch
# Those of this process, once they are used.
_made: dict[str, Settings] = {}


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
    made = _made.get(_SETTING)
    if made is None:
        # setdefault is atomic: of several threads, all get the store that came first.
        made = _made.setdefault(_SETTING, _make_settings())
    return made


def settings_until(end: int) -> Settings:
    """Return the same for a save that makes its session end at that moment, in Unix milliseconds."""
    # As copy() does it, in a fifth of the time.
    found = Settings.__new__(Settings)
    found.__dict__.update(current_settings().__dict__, expiry=GivenEnd(end))
    return found


class _SessionKey(SessionCookie):
    """Takes the token out of what Django took out of the cookie."""

    def candidates(self, header: str) -> list[SessionToken]:
        token = SessionToken.parse(header)
        return [] if token is None else [token]


_BY_KEY = _SessionKey()


def _make_settings() -> Settings:
    store, options = _read_settings()
    return Settings(
        store,
        cookie=_BY_KEY,
        expiry=GivenEnd(0),
        max_lifetime=options.get("max_lifetime"),
        always_save=False,
        max_payload=options.get("max_payload", MAX_PAYLOAD),
    )


def _read_settings() -> tuple[SessionStore, dict[str, Any]]:
    given = {name: getattr(settings, _PREFIX + name.upper(), None) for name in _OPTIONS}
    if isinstance(given["store"], str) and _is_dotted(given["store"]):
        given["store"] = ":".join(given["store"].rsplit(".", 1))
    try:
        return read_options(given)
    except (ValueError, ImportError) as error:
        name, _, reason = str(error).partition(" ")
        raise ImproperlyConfigured(f"{_PREFIX}{name.upper()} {reason}") from error


def _forget_store(*, setting: str, **_: object) -> None:
    """Let go of the store when a test has overridden the setting."""
    if setting.startswith(_PREFIX) and _SETTING in _made:
        _made.pop(_SETTING).store.close()


setting_changed.connect(_forget_store)
