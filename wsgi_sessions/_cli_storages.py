"""Where a legacy system keeps its sessions: a directory, a Redis, a SQL database, as one argument names it."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from os import scandir
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from .exceptions import StoreError

#: Kinds of storage, each with how it is written.
FILES, REDIS, SQL = "files", "redis", "sql"
EXAMPLES = {
    FILES: "/var/lib/app/sessions",
    REDIS: "redis://host:6379/0",
    SQL: "postgresql://user:password@host/database",
}
# The drivers that our own extras install.
_DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
# Seconds without an answer. A statement of an import may have to read a whole table.
_CONNECT, _ANSWER = 10, 120


class Storage(NamedTuple):
    """A storage that has been opened.

    :param kind: which of the kinds.
    :param opened: what a source's constructor takes: a directory, a client, an Engine.
    :param close: gives back what it holds open.
    """

    kind: str
    opened: Any
    close: Callable[[], object]


def open_storage(location: str) -> Storage:
    """Open what an argument names. It connects when it is first used, except to a cluster.

    :raises ValueError: if it names none. A path is repeated, a URL never.
    :raises ImportError: if it needs what is not installed.
    :raises StoreError: if it is a cluster that cannot be reached.
    """
    scheme, separator, _ = location.partition("://")
    if not separator:
        return _files(location)
    if scheme == "file":
        parts = urlsplit(location)
        if parts.netloc or parts.query or parts.fragment:
            raise ValueError("file:// is followed by an absolute path and nothing else, such as file:///var/cache/app")
        return _files(unquote(parts.path))
    if scheme in ("redis", "rediss", "redis+cluster", "rediss+cluster"):
        return _redis(location, is_cluster=scheme.endswith("+cluster"))
    return _sql(location)


def _files(path: str) -> Storage:
    if not Path(path).is_dir():
        raise ValueError(f"there is no directory {path!r}")
    return Storage(FILES, path, lambda: None)


def _redis(url: str, *, is_cluster: bool) -> Storage:
    try:
        from redis import Redis
        from redis.exceptions import RedisClusterException, RedisError
    except ImportError:
        raise ImportError("sessions in Redis need redis-py: pip install wsgi-sessions[redis]") from None
    client: Any
    try:
        if is_cluster:
            client = _cluster(url.replace("+cluster", "", 1))
        else:
            client = Redis.from_url(url, socket_timeout=_ANSWER, socket_connect_timeout=_CONNECT)
    except (ValueError, TypeError):
        raise ValueError(f"this is no URL of a Redis: write it as {EXAMPLES[REDIS]}") from None
    except (RedisError, RedisClusterException, OSError) as error:
        # A cluster is asked at once what it consists of.
        raise StoreError(f"the Redis of the old sessions failed: {type(error).__name__}") from error
    return Storage(REDIS, client, client.close)


def _cluster(url: str) -> Any:
    """Return a client of a cluster, of whose hosts the URL names some, separated by commas."""
    from redis import RedisCluster
    from redis.cluster import ClusterNode

    parts = urlsplit(url)
    first, *others = parts.netloc.split(",")
    addresses = [urlsplit(f"//{other}") for other in others]
    nodes = [ClusterNode(address.hostname or "", address.port or 6379) for address in addresses]
    return RedisCluster.from_url(
        parts._replace(netloc=first).geturl(),
        startup_nodes=nodes,
        socket_timeout=_ANSWER,
        socket_connect_timeout=_CONNECT,
    )


def _sql(url: str) -> Storage:
    try:
        from sqlalchemy import create_engine, make_url
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError
    except ImportError:
        raise ImportError("sessions in a database need SQLAlchemy: pip install wsgi-sessions[sql]") from None
    try:
        parsed = make_url(url)
        parsed = parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))
        backend = parsed.get_backend_name()
        engine = create_engine(parsed, hide_parameters=True)
    except (ArgumentError, NoSuchModuleError, ValueError, TypeError):
        # Not its text, which may repeat the URL.
        known = ", ".join(EXAMPLES.values())
        raise ValueError(f"nothing is known to be there: write one of {known}") from None
    except ImportError as error:
        raise ImportError(f"this database needs the driver {error.name}") from None
    # SQLite makes what is missing.
    if backend == "sqlite" and not Path(parsed.database or "").is_file():
        raise ValueError(f"there is no file {parsed.database!r}; after sqlite:/// a fourth slash begins absolute paths")
    return Storage(SQL, engine, engine.dispose)


def count_files(directory: str, patterns: tuple[str, ...]) -> int:
    """Return how many files have names like these, in all directories below.

    What cannot be listed is passed over: the import itself will tell.
    """
    count = 0
    try:
        # As they come: a directory may hold millions.
        with scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    count += count_files(entry.path, patterns)
                else:
                    count += any(fnmatchcase(entry.name, pattern) for pattern in patterns)
    except OSError:
        pass
    return count


def count_keys(client: Any, prefix: str) -> int | None:
    """Return how many keys begin with a prefix; None if the server does not tell, as the import itself will."""
    from redis.exceptions import RedisClusterException, RedisError

    pattern = re.sub(r"([*?\[\]\\])", r"\\\1", prefix) + "*"
    try:
        return sum(1 for _ in client.scan_iter(match=pattern, count=5000))
    except (RedisError, RedisClusterException, OSError):
        return None


def count_rows(engine: Any, table: str, schema: str | None) -> int:
    """Return how many rows a table has.

    :raises StoreError: if there is none, or the database fails.
    """
    from sqlalchemy import MetaData, Table, func, inspect, select
    from sqlalchemy.exc import SQLAlchemyError

    try:
        if not inspect(engine).has_table(table, schema=schema):
            raise StoreError(f"there is no table {table!r} in the database of the old sessions")
        with engine.connect() as connection:
            found = connection.execute(select(func.count()).select_from(Table(table, MetaData(), schema=schema)))
            return int(found.scalar_one())
    except (SQLAlchemyError, OSError) as error:
        raise StoreError(f"the database of the old sessions failed: {type(error).__name__}") from error
