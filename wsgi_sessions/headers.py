"""The response headers that go with a session: Vary, Cache-Control, one Set-Cookie.

Nothing here changes the application's list; each function returns a new one.
"""

from __future__ import annotations

import logging

from werkzeug.datastructures import ResponseCacheControl
from werkzeug.http import parse_cache_control_header, parse_set_header

from .response import Headers

_log = logging.getLogger("wsgi_sessions")


def vary_by_cookie(headers: Headers) -> Headers:
    """Merge Cookie into Vary: a cache must not give one visitor's page to another (RFC 9110 12.5.5)."""
    if not _has(headers, "vary"):
        return [*headers, ("Vary", "Cookie")]
    positions = [position for position, header in enumerate(headers) if header[0].lower() == "vary"]
    all_of_them = parse_set_header(",".join([headers[position][1] for position in positions]))
    if "*" in all_of_them or "cookie" in all_of_them:
        return list(headers)
    first = positions[0]
    name, value = headers[first]
    vary = parse_set_header(value)
    vary.add("Cookie")
    return [*headers[:first], (name, vary.to_header()), *headers[first + 1 :]]


def forbid_storing(headers: Headers) -> Headers:
    """Keep caches from storing a response that sets a cookie, unless the application already does."""
    if not _has(headers, "cache-control"):
        return [*headers, ("Cache-Control", "no-store")]
    values = [value for name, value in headers if name.lower() == "cache-control"]
    control = parse_cache_control_header(",".join(values).lower(), None, ResponseCacheControl)
    # A directive that names fields, such as no-cache="Set-Cookie", restricts only these.
    if control.no_store or control.private is True or control.private == "*":
        return list(headers)
    # A shared cache may keep what has to be revalidated, and send the cookie to the next visitor.
    shared = control.public or control.s_maxage is not None
    if control.no_cache in (True, "*") and not shared:
        return list(headers)
    _log.debug("Cache-Control %s was replaced by no-store: the response sets a session cookie", values)
    kept = [header for header in headers if header[0].lower() != "cache-control"]
    return [*kept, ("Cache-Control", "no-store")]


def set_cookie(headers: Headers, name: str, set_cookie_header: tuple[str, str]) -> Headers:
    """Add the session's cookie in the place of any other of its name (RFC 6265bis 4.1.1)."""
    if not _has(headers, "set-cookie"):
        return [*headers, set_cookie_header]
    kept = [header for header in headers if header[0].lower() != "set-cookie" or _cookie_name(header[1]) != name]
    if len(kept) != len(headers):
        _log.warning("the application set a cookie of the session's name %r itself; it was dropped", name)
    return [*kept, set_cookie_header]


def _has(headers: Headers, lower_name: str) -> bool:
    for header in headers:  # noqa: SIM110  # any() costs as much as the whole loop: a generator
        if header[0].lower() == lower_name:
            return True
    return False


def _cookie_name(value: str) -> str:
    name, equals, _ = value.partition("=")
    return name.strip(" \t") if equals else ""
