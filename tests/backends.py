"""Every kind of store, over what really keeps the records: for the suites that all of them pass.

A *place* is where records are kept: a folder, a table, a prefix. It is empty
when a test gets it, and nobody else's.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

import services
from cachelib import FileSystemCache, RedisCache, SimpleCache
from redis import Redis
from sqlalchemy import text

from wsgi_sessions import CachelibStore, CachingStore, FileStore, MemoryStore, SessionStore, SQLiteStore, store_from_url
from wsgi_sessions.stores._sql_engine import parse_url, schema_engine
from wsgi_sessions.stores.migrating import MigratingStore
from wsgi_sessions.stores.redis import RedisStore
from wsgi_sessions.stores.sql import SQLStore
from wsgi_sessions.testing import ReplacedClock

#: Opens another store at the same place.
Open = Callable[[], SessionStore]
Place = Callable[[], AbstractContextManager[Open]]


# All that this run leaves on a server that is not its own has this in its name.
_RUN = uuid4().hex[:8]


def new_name() -> str:
    """Return a name for a table or a prefix that no other test has."""
    return f"test_{_RUN}_{uuid4().hex[:12]}"


def remove_keys(url: str) -> None:
    """Remove the keys of this run from a Redis that goes on after it."""
    with Redis.from_url(url) as client:
        keys = list(client.scan_iter(f"test_{_RUN}_*", 1000))
        if keys:
            client.unlink(*keys)


@contextmanager
def _folder() -> Iterator[Path]:
    folder = services.session_directory() / new_name()
    folder.mkdir(0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def memory() -> Iterator[Open]:
    """Not a place: each store has one of its own."""
    yield MemoryStore


@contextmanager
def file() -> Iterator[Open]:
    """A folder."""
    with _folder() as folder:
        yield lambda: FileStore(folder / "sessions")


@contextmanager
def sqlite() -> Iterator[Open]:
    """A database file."""
    with _folder() as folder:
        yield lambda: SQLiteStore(folder / "sessions.db")


@contextmanager
def sqlite_by_sqlalchemy() -> Iterator[Open]:
    """A database file that SQLStore uses."""
    with _folder() as folder:
        url = f"sqlite:///{folder / 'sessions.db'}"
        with closing(sqlite3.connect(folder / "sessions.db")) as connection:
            # Without a write-ahead log, which stays with the file, crowded writers can wait longer than they are given.
            connection.execute("PRAGMA journal_mode = WAL")
        SQLStore(url).create_schema()
        yield lambda: SQLStore(url)


@contextmanager
def new_table(url: str) -> Iterator[str]:
    """Make a table on a database server, and yield its name."""
    name = new_name()
    store = SQLStore(url, table=name)
    store.create_schema()
    try:
        yield name
    finally:
        with schema_engine(store._source).begin() as connection:
            connection.execute(text(f"DROP TABLE {name}"))


@contextmanager
def table(kind: str) -> Iterator[Open]:
    """A table on a database server."""
    url = services.url_of(kind)
    name = _idle_tables[kind].pop() if _idle_tables[kind] else services.until_the_end(new_table(url))
    yield lambda: SQLStore(url, table=name)
    with schema_engine(parse_url(url)).begin() as connection:
        connection.execute(text(f"DELETE FROM {name}"))
    _idle_tables[kind].append(name)


@contextmanager
def prefix(kind: str) -> Iterator[Open]:
    """A prefix of the keys on Redis."""
    url, name = services.url_of(kind), f"{new_name()}:"
    with closing(RedisStore(url, prefix=name)) as store:
        yield lambda: RedisStore(url, prefix=name)
        _empty(store)


@contextmanager
def simple_cache() -> Iterator[Open]:
    """Not a place: each store has a cache of its own."""
    yield lambda: CachelibStore(SimpleCache(threshold=sys.maxsize))


@contextmanager
def file_system_cache() -> Iterator[Open]:
    """A folder that cachelib uses."""
    with _folder() as folder:
        yield lambda: CachelibStore(FileSystemCache(str(folder), threshold=0))


@contextmanager
def redis_cache() -> Iterator[Open]:
    """A prefix of the keys on Redis, used through cachelib."""
    prefix = new_name()
    yield lambda: CachelibStore(_redis_cache(prefix))


@contextmanager
def memcached() -> Iterator[Open]:
    """A prefix of the keys on Memcached."""
    url = f"{services.url_of('memcached')}?prefix={new_name()}"
    yield lambda: store_from_url(url)


@contextmanager
def cached_in_process(behind: Place) -> Iterator[Open]:
    """A place behind caches that each process has for itself."""
    with behind() as open:
        # So short that what another process has done is seen when it matters.
        yield lambda: CachingStore(SimpleCache(), open(), max_staleness=timedelta(milliseconds=1))


@contextmanager
def cached_in_redis(behind: Place) -> Iterator[Open]:
    """A place behind a cache that all processes share."""
    prefix = new_name()
    with behind() as open:
        yield lambda: CachingStore(_redis_cache(prefix), open(), max_staleness=timedelta(hours=1))


@contextmanager
def cached_in_memcached(behind: Place) -> Iterator[Open]:
    """A place behind another cache that all processes share."""
    from wsgi_sessions.stores._memcached import memcached as make

    host, _, port = services.url_of("memcached").rpartition("/")[2].partition(":")
    cache = partial(make, [(host, int(port))], new_name())
    with behind() as open:
        yield lambda: CachingStore(cache, open(), max_staleness=timedelta(hours=1))


@contextmanager
def migrating(old: Place, new: Place) -> Iterator[Open]:
    """A place whose sessions move to another one."""
    with old() as open_old, new() as open_new:
        yield lambda: MigratingStore(open_old(), open_new())


def _redis_cache(prefix: str) -> RedisCache:
    host, _, port = services.url_of("redis").rpartition("/")[0].rpartition("/")[2].partition(":")
    return RedisCache(host, int(port), key_prefix=prefix)


#: By the name that the tests have in their ids.
PLACES: dict[str, Place] = {
    "memory": memory,
    "file": file,
    "sqlite": sqlite,
    "sqlite-by-sqlalchemy": sqlite_by_sqlalchemy,
    "postgresql": partial(table, "postgresql"),
    "mariadb": partial(table, "mariadb"),
    "redis": partial(prefix, "redis"),
    "redis-cluster": partial(prefix, "redis-cluster"),
    "redis-sentinel": partial(prefix, "redis-sentinel"),
    "simple-cache": simple_cache,
    "file-system-cache": file_system_cache,
    "redis-cache": redis_cache,
    "memcached": memcached,
    "simple-cache-before-postgresql": partial(cached_in_process, partial(table, "postgresql")),
    "redis-cache-before-postgresql": partial(cached_in_redis, partial(table, "postgresql")),
    "memcached-before-mariadb": partial(cached_in_memcached, partial(table, "mariadb")),
    "postgresql-to-redis": partial(migrating, partial(table, "postgresql"), partial(prefix, "redis")),
}

# What can be emptied is used again, which takes less than to make it: tables of a server, and stores by kind, each at a
# place of its own.
_idle_tables: dict[str, list[str]] = defaultdict(list)
_idle: dict[str, list[SessionStore]] = defaultdict(list)
_USED_ONCE = ("memory", "simple-cache", "file-system-cache", "redis-cache", "memcached")


@contextmanager
def empty_store(kind: str) -> Iterator[SessionStore]:
    """Have a store of a kind, at a place of its own, that holds nothing."""
    if kind in _USED_ONCE:
        with PLACES[kind]() as open, closing(open()) as store:
            yield store
        return
    store = _idle[kind].pop() if _idle[kind] else _opened_for_all(kind)
    try:
        yield store
    finally:
        _empty(store)
        _idle[kind].append(store)


def _opened_for_all(kind: str) -> SessionStore:
    open = services.until_the_end(PLACES[kind]())
    return services.until_the_end(closing(open()))


def _empty(store: SessionStore) -> None:
    # In 1970 nothing had expired, whatever the clock of the test says.
    with ReplacedClock(0):
        for record in list(store.scan()):
            store.delete(record.id)
