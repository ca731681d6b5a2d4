"""What all sessions of one BeakerMiddleware have in common."""

from __future__ import annotations

from copy import copy

from ..cookies.cookie import SessionCookie
from ._beaker_config import Configuration

#: Where the cookie is set, which is stored where it is not as configured.
PLACE = ("_domain", "_path")
#: The keys that Beaker keeps in a session for itself; ours answers to them.
INTERNAL = (*PLACE, "_creation_time", "_accessed_time")


class Terms:
    """What all sessions of one BeakerMiddleware have in common.

    :param cookie: how it is set unless a session says otherwise.
    :param explicit_save: what is not saved is lost.
    :param list_internals: Beaker's own keys are among the others.
    """

    def __init__(
        self, configuration: Configuration, cookie: SessionCookie, *, explicit_save: bool, list_internals: bool
    ) -> None:
        self.options = configuration.options
        self.expiry = configuration.expiry
        self.cookie = cookie
        self.explicit_save = explicit_save and not self.options.auto
        self.list_internals = list_internals
        #: What has been logged once.
        self.warned: set[str] = set()
        #: What applications look for in Beaker's ``_params``, and no secret.
        self.params = {
            "key": cookie.name,
            **{name: getattr(self.options, name) for name in ("type", "auto", "timeout", "cookie_expires")},
        }


def placed(cookie: SessionCookie, domain: str | None, path: str) -> SessionCookie:
    """Return a cookie like another one, but for another place.

    :raises TypeError: if domain or path is no text.
    :raises ValueError: if a browser would drop it.
    """
    plain = SessionCookie(
        cookie.name,
        path=path,
        domain=domain,
        secure=cookie.secure,
        http_only=cookie.http_only,
        same_site=cookie.same_site,
        partitioned=cookie.partitioned,
    )
    if type(cookie) is SessionCookie:
        return plain
    # One with keys: they cannot be asked for, and do not depend on the place.
    moved = copy(cookie)
    for name in ("domain", "path", "_attributes"):
        object.__setattr__(moved, name, getattr(plain, name))
    return moved
