"""The session's cookie: its attributes, its reading and its writing.

The session and the middleware know two methods of it: ``candidates``, tokens
out of a Cookie header, and ``header``, a Set-Cookie header out of a token;
where other libraries' cookies come too, ``is_ours`` and ``is_in`` tell.
It is no general cookie parser: it sees one name, and values without quotes or
escapes.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar

from ..token import SessionToken

_log = logging.getLogger("wsgi_sessions.security")

# Servers allow more (gunicorn 8190 bytes a field, uWSGI 64 KiB); a browser's cookies for one site stay far below.
_MAX_HEADER = 16 * 1024
# Each one may cost a read of the store; a sibling domain can add as many as it likes.
_MAX_CANDIDATES = 5
# RFC 6265bis: browsers drop a cookie whose name and value are longer, and an attribute whose value is.
_MAX_NAME_AND_VALUE = 4096
_MAX_ATTRIBUTE = 1024
# 400 days in seconds, RFC 6265bis: browsers shorten what is longer.
_MAX_AGE = 400 * 24 * 60 * 60

# str.strip() would also take \x0b, \x1c, \x85 and \xa0, with which "\xa0__Host-id" passes for "__Host-id".
_WHITESPACE = " \t"
# How the text before a cookie ends in what browsers send: there is none, or a separator.
_BEFORE_A_COOKIE = frozenset(("", "; "))

# A token of RFC 9110 5.6.2, which RFC 6265bis 4.1.1 asks of a name.
_is_name = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
# RFC 6265bis 4.1.1 allows any printable character but ";" in a path; what parsers disagree about stays out.
_is_path = re.compile(r"/[!#-+\--:<-\[\]-~]*").fullmatch
_LABEL = "[0-9A-Za-z](?:[0-9A-Za-z-]{0,61}[0-9A-Za-z])?"
# Letters, digits and hyphens, RFC 1034 3.5.
_is_domain = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*").fullmatch
_SAME_SITE = {"strict": "Strict", "lax": "Lax", "none": "None"}


@dataclass(frozen=True)
class SessionCookie:
    """A cookie that carries the token as it is.

    That is enough: the token's secret is random and only its hash is stored.
    The values are checked against RFC 6265bis, since a browser drops what
    breaks its rules without a word.

    :param name: the name; ``"__Host-id"`` has browsers refuse a cookie of that name from a sibling domain.
    :param path: below which path the browser sends it.
    :param domain: ``None``: only the host that set it gets it. A domain: its subdomains too.
    :param secure: only over https.
    :param http_only: out of reach of scripts.
    :param same_site: ``"Strict"``, ``"Lax"`` or the text ``"None"``.
    :param partitioned: a jar of its own for each top-level site, for pages in a frame of another site.
    :raises TypeError: if a value is of the wrong type.
    :raises ValueError: if a browser would drop the cookie, or a character could end the value it stands in.
    """

    name: str = "id"
    _: KW_ONLY
    path: str = "/"
    domain: str | None = None
    secure: bool = True
    http_only: bool = True
    same_site: str = "Lax"
    partitioned: bool = False
    # Compared, so that two cookies of different keys differ; empty in a form without keys.
    _keyring: bytes = field(init=False, repr=False, default=b"")
    _start: str = field(init=False, repr=False, compare=False)
    _attributes: str = field(init=False, repr=False, compare=False)

    # The length of what _wrap returns, in characters; a form that overrides it sets this too.
    _value_length: ClassVar[int] = 45

    def __post_init__(self) -> None:
        _check_name(self.name, _MAX_NAME_AND_VALUE - self._value_length)
        _check_path(self.path)
        if self.domain is not None:
            _check_domain(self.domain)
        for attribute in ("secure", "http_only", "partitioned"):
            if not isinstance(getattr(self, attribute), bool):
                raise TypeError(f"{attribute} must be True or False")
        # The dataclass is frozen for its users; these complete its construction.
        object.__setattr__(self, "same_site", _normal_same_site(self.same_site))
        _check_contradictions(self)
        object.__setattr__(self, "_start", f"{self.name}=")
        object.__setattr__(self, "_attributes", _format_attributes(self))

    def candidates(self, header: str, is_theirs: Callable[[str], bool] | None = None) -> list[SessionToken]:
        """Return the tokens to try out of a Cookie header, in its order.

        At most five, no two alike. Never raises; a header over 16 KiB counts
        as empty. Cookies of this name that hold no token are logged, and skipped.

        :param header: ``HTTP_COOKIE`` as the server left it, or an empty text.
        :param is_theirs: tells whether a value that holds no token is that of another library's cookie of this name,
            which is skipped and not logged; None where there is no other.
        """
        if len(header) > _MAX_HEADER:
            _log.info("cookie header over %d characters ignored", _MAX_HEADER)
            return []
        # The common case, one cookie of ours and nothing that looks like it, without splitting what is not ours:
        # a second one of its name would hold "id=" again, or a space or tab before an equals sign.
        parts = header.split(self._start)
        if len(parts) == 2 and parts[0][-2:] in _BEFORE_A_COOKIE and " =" not in header and "\t=" not in header:
            token = self._unwrap(parts[1].partition(";")[0])
            if token is not None:
                return [token]
        tokens: list[SessionToken] = []
        name = self.name
        if name not in header:
            return tokens
        malformed = False
        for pair in header.split(";"):
            # Cheaper than partition and strip, and most pairs are not ours.
            if name not in pair:
                continue
            key, equals, text = pair.partition("=")
            if not equals or key.strip(_WHITESPACE) != name:
                continue
            text = text.strip(_WHITESPACE)
            token = self._unwrap(text)
            if token is None:
                malformed = malformed or is_theirs is None or not is_theirs(text)
            elif not tokens:
                tokens.append(token)
            elif token.value not in [known.value for known in tokens]:
                tokens.append(token)
                if len(tokens) == _MAX_CANDIDATES:
                    break
        if malformed:
            _log.info("malformed session cookie %r", name)
        return tokens

    def is_ours(self, text: str) -> bool:
        """Tell whether a cookie's value holds a token; what does not is not logged."""
        return self._unwrap(text) is not None

    def is_in(self, header: str) -> bool:
        """Tell whether a Cookie header holds a token; what does not is not logged."""
        return bool(self.candidates(header, lambda text: True))

    def header(self, token: SessionToken | None, max_age: int | None = None) -> tuple[str, str]:
        """Return the Set-Cookie header that hands out a token.

        :param token: ``None``: the header that removes the cookie.
        :param max_age: seconds the browser keeps it, cut to 0 and 400 days;
            ``None``: until it closes.
        """
        if token is None:
            # Max-Age for browsers; Expires for what is older than RFC 6265.
            expired = "; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
            return "Set-Cookie", f"{self._start}{self._attributes}{expired}"
        if max_age is None:
            return "Set-Cookie", f"{self._start}{self._wrap(token)}{self._attributes}"
        seconds = min(max(max_age, 0), _MAX_AGE)
        # "d" refuses a float, which browsers would not read as a Max-Age.
        return "Set-Cookie", f"{self._start}{self._wrap(token)}{self._attributes}; Max-Age={seconds:d}"

    def _wrap(self, token: SessionToken) -> str:
        """Return the cookie's value for a token: letters, digits, ``-``, ``_`` and ``.`` only."""
        return token.value

    def _unwrap(self, text: str) -> SessionToken | None:
        """Return the token in a cookie's value, or None if it is not what ``_wrap`` returned."""
        return SessionToken.parse(text)


def _format_attributes(cookie: SessionCookie) -> str:
    parts = {
        "; HttpOnly": cookie.http_only,
        f"; SameSite={cookie.same_site}": True,
        "; Partitioned": cookie.partitioned,
        "; Secure": cookie.secure,
        f"; Path={cookie.path}": True,
        f"; Domain={cookie.domain}": cookie.domain is not None,
    }
    return "".join(part for part, present in parts.items() if present)


def _check_name(name: str, longest: int) -> None:
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, not {type(name).__name__}")
    if not _is_name(name):
        raise ValueError(
            f"cookie name {name!r} must be letters, digits and !#$%&'*+-.^_`|~ only (RFC 6265bis 4.1.1): write 'id'"
        )
    if len(name) > longest:
        raise ValueError(
            f"cookie name is {len(name)} characters long: write at most {longest},"
            f" browsers drop a cookie of over {_MAX_NAME_AND_VALUE} characters (RFC 6265bis)"
        )


def _check_path(path: str) -> None:
    if not isinstance(path, str):
        raise TypeError(f"path must be a str, not {type(path).__name__}: write '/' for the whole site")
    if not path.startswith("/"):
        raise ValueError(f"path {path!r} must start with a slash (RFC 6265bis): write '/' for the whole site")
    if not _is_path(path):
        raise ValueError(
            f"path {path!r} holds a character that may not stand in a cookie (RFC 6265bis 4.1.1):"
            " write it percent-encoded, as the browser's address bar does"
        )
    if len(path) > _MAX_ATTRIBUTE:
        raise ValueError(
            f"path is {len(path)} characters long: write a shorter one,"
            f" browsers ignore one of over {_MAX_ATTRIBUTE} (RFC 6265bis)"
        )


def _check_domain(domain: str) -> None:
    if not isinstance(domain, str):
        raise TypeError(f"domain must be a str or None, not {type(domain).__name__}")
    if domain.startswith("."):
        raise ValueError(
            f"domain {domain!r} must not start with a dot: write {domain.lstrip('.')!r},"
            " which covers its subdomains as well (RFC 6265bis)"
        )
    if not _is_domain(domain):
        raise ValueError(
            f"domain {domain!r} must be a host name of letters, digits, hyphens and dots (RFC 6265bis):"
            " write 'example.com' without scheme or port, its xn-- form if it is international,"
            " or None for this host only"
        )


def _normal_same_site(same_site: str) -> str:
    if not isinstance(same_site, str):
        raise TypeError(
            f"same_site must be a str, not {type(same_site).__name__}:"
            " write the text \"None\" for cross-site use, or leave it out for 'Lax'"
        )
    normal = _SAME_SITE.get(same_site.lower())
    if normal is None:
        raise ValueError(f"same_site {same_site!r} must be 'Strict', 'Lax' or 'None' (RFC 6265bis)")
    return normal


def _check_contradictions(cookie: SessionCookie) -> None:
    """Refuse combinations for which a browser drops the cookie."""
    # RFC 6265bis 4.1.3 and its successor, layered cookies; browsers ignore the case of a prefix.
    name = cookie.name.lower()
    http = name.startswith(("__http-", "__host-http-"))
    if name.startswith("__host-") and (cookie.domain is not None or cookie.path != "/"):
        raise ValueError(
            "a __Host- cookie has no domain and path '/' (RFC 6265bis 4.1.3): leave both out, or rename it"
        )
    if http and not cookie.http_only:
        raise ValueError("an __Http- cookie needs http_only=True: leave http_only out, or rename it")
    if cookie.secure:
        return
    if http or name.startswith(("__host-", "__secure-")):
        raise ValueError(
            "a cookie of this prefix needs secure=True (RFC 6265bis 4.1.3): leave secure out, or rename it"
        )
    if cookie.same_site == "None":
        raise ValueError("same_site='None' needs secure=True (RFC 6265bis): leave secure out, or write 'Lax'")
    if cookie.partitioned:
        raise ValueError("partitioned=True needs secure=True (CHIPS): leave secure out")
