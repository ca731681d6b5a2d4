"""One line for each store: a URL, as configuration files and environment variables have them.

What a URL cannot say, such as a function or an Engine, the store's own constructor takes.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

from ._address import Address, parse_address
from .base import SessionStore
from .file import FileStore
from .memory import MemoryStore
from .sqlite import SQLiteStore

# A user's password and certificates, and where in a cluster to connect: what deployments need of the drivers' options.
_POSTGRESQL = ("application_name", "sslcert", "sslkey", "sslmode", "sslrootcert", "target_session_attrs")
_MYSQL = ("charset", "ssl_ca", "ssl_cert", "ssl_key", "unix_socket")


def store_from_url(url: str) -> SessionStore:
    """Return the store that a URL names; it connects when it is first used.

    ==========================================================  ================================================
    URL                                                         store, and its options
    ==========================================================  ================================================
    ``memory:``                                                 MemoryStore: ``max_records``
    ``file:///var/lib/app/sessions``                            FileStore: ``durability``, ``lock_timeout``,
                                                                ``max_payload``
    ``sqlite:///relative.db``, ``sqlite:////absolute.db``       SQLiteStore: ``durability``, ``lock_timeout``
    ``postgresql://user:password@host:5432/database``           SQLStore: ``table``, ``schema``, libpq's for TLS
    ``mysql://user:password@host:3306/database``                SQLStore: ``table``, ``schema``, PyMySQL's for TLS
    ``redis://user:password@host:6379/0``                       RedisStore: ``prefix``; ``rediss://`` is TLS
    ``redis+cluster://host:6379,host:6380``                     RedisStore: ``prefix``
    ``redis+sentinel://host:26379,host:26380/mymaster/0``       RedisStore: ``prefix``, ``sentinel_username``,
                                                                ``sentinel_password``
    ``memcached://host:11211,host:11212``                       CachelibStore over MemcachedCache: ``prefix``
    ==========================================================  ================================================

    ``postgres:`` and ``mariadb:`` are the same as ``postgresql:`` and ``mysql:``. Options are query
    parameters: ``file:///var/lib/app/sessions?durability=power``; durations are seconds.

    >>> store_from_url("memory:?max_records=1000")
    MemoryStore(0 records)

    :raises ValueError: if the URL is not of one of these forms or has an unknown option. It is never repeated.
    :raises ImportError: if the store needs what is not installed; says what to install.
    """
    address = parse_address(url)
    make = _MAKERS.get(address.scheme)
    if make is None:
        raise ValueError(f"no store has URLs that begin with {address.scheme}:; known are {', '.join(_MAKERS)}")
    return make(url, address)


def _memory(_url: str, address: Address) -> SessionStore:
    if address.hosts or address.path.strip("/"):
        raise ValueError("memory: is followed by nothing but options")
    return MemoryStore(**_options(address, {"max_records": int}))


def _file(_url: str, address: Address) -> SessionStore:
    options = _options(address, {"durability": str, "lock_timeout": _seconds, "max_payload": int})
    return FileStore(_path(address, "file:///var/lib/app/sessions"), **options)


def _sqlite(_url: str, address: Address) -> SessionStore:
    # As SQLAlchemy has it: three slashes are followed by a relative path, four by an absolute one.
    path = _path(address, "sqlite:////var/lib/app/sessions.db").removeprefix("/")
    return SQLiteStore(path, **_options(address, {"durability": str, "lock_timeout": _seconds}))


def _sql(url: str, address: Address, drivers_own: tuple[str, ...]) -> SessionStore:
    address.refuse_unknown(("table", "schema", *drivers_own))
    from .sql import SQLStore

    own = {name: address.options.pop(name) for name in ("table", "schema") if name in address.options}
    rest = urlencode(address.options)
    return SQLStore(url.partition("?")[0] + (f"?{rest}" if rest else ""), **own)


def _redis(url: str, _address: Address) -> SessionStore:
    from .redis import RedisStore

    return RedisStore(url)


def _memcached(_url: str, address: Address) -> SessionStore:
    options = _options(address, {"prefix": str})
    if address.path.strip("/") or address.username or address.password:
        raise ValueError("a memcached: URL has hosts and options only, such as memcached://host:11211")
    from ._memcached import memcached
    from .cachelib import CachelibStore

    servers = [(host, port or 11211) for host, port in address.hosts or [("localhost", None)]]
    return CachelibStore(partial(memcached, servers, **options))


_MAKERS: dict[str, Callable[[str, Address], SessionStore]] = {
    "memory": _memory,
    "file": _file,
    "sqlite": _sqlite,
    **dict.fromkeys(("postgresql", "postgres", "postgresql+psycopg"), partial(_sql, drivers_own=_POSTGRESQL)),
    **dict.fromkeys(("mysql", "mariadb", "mysql+pymysql", "mariadb+pymysql"), partial(_sql, drivers_own=_MYSQL)),
    **dict.fromkeys(("redis", "redis+cluster", "redis+sentinel"), _redis),
    **dict.fromkeys(("rediss", "rediss+cluster", "rediss+sentinel"), _redis),
    "memcached": _memcached,
}


def _options(address: Address, kinds: dict[str, Callable[[str], Any]]) -> dict[str, Any]:
    """Return the options of a URL as what they are."""
    address.refuse_unknown(tuple(kinds))
    found = {}
    for name, text in address.options.items():
        try:
            found[name] = kinds[name](text)
        except (ValueError, OverflowError):
            raise ValueError(f"{address.scheme}: the option {name} must be a number") from None
    return found


def _seconds(text: str) -> timedelta:
    return timedelta(seconds=float(text))


def _path(address: Address, example: str) -> str:
    if address.hosts or not address.path.strip("/"):
        raise ValueError(f"{address.scheme}: is followed by slashes and a path, such as {example}")
    return address.path
