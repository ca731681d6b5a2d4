"""URLs that name a store, taken apart. No error repeats one: it may hold a password."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

_SHAPE = "write scheme://user:password@host:port/path?option=value, each part percent-encoded where it needs to be"


class Address(NamedTuple):
    """The parts of a URL, decoded.

    :param scheme: in lower case.
    :param hosts: each with its port, None for the default; several are separated by commas in the URL.
    :param path: with the slash that it begins with; empty if there is none.
    :param options: of the query.
    """

    scheme: str
    username: str | None
    password: str | None
    hosts: list[tuple[str, int | None]]
    path: str
    options: dict[str, str]

    def __repr__(self) -> str:
        hosts = ",".join(host if port is None else f"{host}:{port}" for host, port in self.hosts)
        return f"{self.scheme}://{hosts}{self.path}"

    def refuse_unknown(self, known: tuple[str, ...]) -> None:
        """Raise ValueError if there is an option that is not among these."""
        unknown = [name for name in self.options if name not in known]
        if unknown:
            can_be = f"known are {', '.join(sorted(known))}" if known else "there are none"
            # An odd one may be the rest of a password with a question mark in it.
            named = [repr(name) if name.isidentifier() else "that is no name" for name in unknown]
            raise ValueError(f"{self.scheme}: has no option {', '.join(named)}; {can_be}")


def parse_address(url: str) -> Address:
    """Take a URL apart.

    :raises TypeError: if it is no str.
    :raises ValueError: if it has no scheme, a port that is no number, or an option twice.
    """
    if not isinstance(url, str):
        raise TypeError(f"a store's URL must be a str, not {type(url).__name__}")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(f"this is no URL: {_SHAPE}") from None
    if not parts.scheme:
        raise ValueError(f"a store's URL needs a scheme: {_SHAPE}")
    if parts.fragment:
        raise ValueError(f"a store's URL has no '#'; in a password it is %23: {_SHAPE}")
    credentials, _, hosts = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    options = dict(pairs)
    if len(options) < len(pairs):
        raise ValueError("an option stands twice in a store's URL")
    return Address(
        parts.scheme,
        unquote(username) or None,
        unquote(password) or None,
        [_host(host) for host in hosts.split(",") if host],
        unquote(parts.path),
        options,
    )


def _host(text: str) -> tuple[str, int | None]:
    """Take ``host``, ``host:port`` or ``[address]:port`` apart."""
    host, bracket, rest = text.rpartition("]")
    if not bracket:
        host, _, port = rest.partition(":")
    else:
        host, port = host.removeprefix("["), rest.removeprefix(":")
    if port and not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError("a port in a store's URL must be a number below 65536")
    return unquote(host), int(port) if port else None
