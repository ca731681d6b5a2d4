"""Our stores in the places where Beaker keeps sessions, but apart from them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

from ..migration.beaker import BeakerOptions
from ..stores.base import SessionStore
from ..stores.file import FileStore
from ..stores.memory import MemoryStore
from ..stores.sqlite import SQLiteStore
from ..stores.url import store_from_url

#: What is made beside Beaker's own files, and not among them.
_OWN = "wsgi_sessions"
# What tells one place from another.
_PLACE = ("type", "data_dir", "file_dir", "dbm_dir", "url", "bind", "schema_name")
# Middlewares of one configuration in one process have one store, whether one is inside of the other or beside it:
# Beaker's find the same sessions, also those in memory.
_made: WeakValueDictionary[tuple[Any, ...], SessionStore] = WeakValueDictionary()


def store_of(options: BeakerOptions) -> SessionStore:
    """Return a store in the place where Beaker keeps sessions, but apart from them; its table is made if need be.

    :raises ImportError: if the store needs what is not installed.
    :raises StoreError: if its table cannot be made.
    :raises ValueError: if there is none for this type, or an option is missing or wrong.
    """
    make = _STORES.get(options.type)
    if make is None:
        raise ValueError(
            f"session.type = {options.type} names no place for sessions of ours, as {', '.join(_STORES)} do: give "
            "BeakerMiddleware a store, such as store=SQLiteStore('/var/lib/app/sessions.db')"
        )
    # A path may be relative.
    place = (os.getcwd(), *(getattr(options, name) for name in _PLACE))
    store = _made.get(place)
    return _made.setdefault(place, make(options)) if store is None else store


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
    return RedisStore(_redis_client(options.url) if isinstance(options.url, str) else options.url)


def _redis_client(url: str) -> Any:
    """Return a client for what Beaker has redis-py read: sockets in the file system, and options of its own."""
    from redis import Redis

    try:
        return Redis.from_url(url)
    except ValueError:
        # Not chained: the message may hold what was meant for a password.
        pass
    raise ValueError("session.url is no URL that redis-py reads, such as redis://localhost:6379/0")


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
