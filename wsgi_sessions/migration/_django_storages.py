"""Where Django has its sessions, other than in the cookie."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from datetime import tzinfo
from typing import Any, NamedTuple, Protocol

from ..legacy import LegacyError, Reason
from ._reading import inflate, milliseconds, moment, read_base64
from ._redis_values import RedisValues
from ._session_files import SessionFiles, StoredFile, shown
from ._sql_rows import Row, SQLRows
from .pickles import load_first

#: Django's are of 32 characters; applications have made others.
is_id = re.compile(r"[a-z0-9]{8,40}").fullmatch

_CACHE_KEY = "django.contrib.sessions.cache"
_is_digest = re.compile(r"[0-9a-f]{32}").fullmatch


class Stored(NamedTuple):
    """What is stored of a session.

    :param payload: signed text, or, from a cache, a pickle.
    :param end: as the storage has it, Unix milliseconds; None if it has none.
    :param modified: when it was written, Unix milliseconds; None if the storage does not say.
    """

    payload: bytes
    end: int | None = None
    modified: int | None = None


#: What identifies a session, what tells an operator which it is, and what is stored, or why it cannot be read.
Found = tuple[str, str, Any]


class Storage(Protocol):
    """Where sessions are. What reads raises LegacyError, and StoreError if the storage failed."""

    #: Whether it holds other things too, and cannot tell which.
    is_shared: bool

    def identities(self, id: str) -> list[str]:
        """Return what identifies a session."""

    def read(self, id: str) -> Any:
        """Return what is stored of a session."""

    def stored(self, raw: Any) -> Stored:
        """Return the parts of what ``read`` or ``scan`` has returned."""

    def delete(self, id: str) -> None:
        """Delete a session if it is there."""

    def scan(self) -> Iterator[Found]:
        """Yield all sessions."""


class _Table:
    """The table of the engines ``db`` and ``cached_db``."""

    is_shared = False

    def __init__(self, engine: Any, name: str, schema: str | None, zone: tzinfo) -> None:
        self._rows = SQLRows(engine, name, schema, ("session_key", "session_data", "expire_date"))
        self._zone = zone

    def identities(self, id: str) -> list[str]:
        return [id]

    def read(self, id: str) -> Row:
        return self._rows.read(id)

    def stored(self, raw: Row) -> Stored:
        return Stored(_bytes(raw.value), moment(raw.end, self._zone))

    def delete(self, id: str) -> None:
        self._rows.delete(id)

    def scan(self) -> Iterator[Found]:
        for row in self._rows.scan(""):
            yield row.key, shown(row.key), row


class _Files:
    """The files of the engine ``file``."""

    is_shared = False

    def __init__(self, directory: str | os.PathLike[str], prefix: str) -> None:
        # Files that are being written have "_out_" in their names, which no id has.
        self._files = SessionFiles(directory, prefix, "", is_id)

    def identities(self, id: str) -> list[str]:
        return [id]

    def read(self, id: str) -> StoredFile:
        return self._files.read(id)

    def stored(self, raw: StoredFile) -> Stored:
        contents, modified = raw
        if not contents:
            # Django makes an empty file before it writes one.
            raise LegacyError(Reason.NOT_FOUND, "an empty file")
        return Stored(contents, modified=modified)

    def delete(self, id: str) -> None:
        self._files.delete(id)

    def scan(self) -> Iterator[Found]:
        for id, raw in self._files.scan():
            yield id, self._files.shown(id), raw


class _RedisCache:
    """A cache in Redis, as Django's own backend writes it."""

    is_shared = False

    def __init__(self, client: Any, prefix: str, version: int) -> None:
        self._values = RedisValues(client)
        self._prefix = _cache_key(prefix, version)

    def identities(self, id: str) -> list[str]:
        return [id]

    def read(self, id: str) -> tuple[bytes, int | None]:
        return self._values.read(self._prefix + id)

    def stored(self, raw: tuple[bytes, int | None]) -> Stored:
        return Stored(*raw)

    def delete(self, id: str) -> None:
        self._values.delete(self._prefix + id)

    def scan(self) -> Iterator[Found]:
        for key, value, end in self._values.scan(self._prefix):
            id = key.removeprefix(self._prefix)
            yield id, shown(id), (value, end)


class _TableCache:
    """A cache in a table."""

    is_shared = False

    def __init__(self, engine: Any, name: str, schema: str | None, zone: tzinfo, prefix: str, version: int) -> None:
        self._rows = SQLRows(engine, name, schema, ("cache_key", "value", "expires"))
        self._zone = zone
        self._prefix = _cache_key(prefix, version)

    def identities(self, id: str) -> list[str]:
        return [id]

    def read(self, id: str) -> Row:
        return self._rows.read(self._prefix + id)

    def stored(self, raw: Row) -> Stored:
        # Django 1.4 broke the lines of the base64.
        value = _bytes(raw.value).decode("latin-1").replace("\n", "")
        return Stored(read_base64(value), moment(raw.end, self._zone))

    def delete(self, id: str) -> None:
        self._rows.delete(self._prefix + id)

    def scan(self) -> Iterator[Found]:
        for row in self._rows.scan(self._prefix):
            id = row.key.removeprefix(self._prefix)
            yield id, shown(id), row


class _FileCache:
    """A cache in files, whose names are hashes of the keys."""

    is_shared = True

    def __init__(self, directory: str | os.PathLike[str], prefix: str, version: int) -> None:
        self._files = SessionFiles(directory, "", ".djcache", _is_digest)
        self._prefix = _cache_key(prefix, version)

    def identities(self, id: str) -> list[str]:
        # The second, where only the file's name is known, is no id, or whoever knows the name could present it.
        return [id, f"md5:{self._name(id)}"]

    def read(self, id: str) -> StoredFile:
        return self._files.read(self._name(id))

    def stored(self, raw: StoredFile) -> Stored:
        contents, _ = raw
        seconds, size = load_first(contents)
        end = None if seconds is None else milliseconds(seconds)
        return Stored(inflate(contents[size:]), end)

    def delete(self, id: str) -> None:
        self._files.delete(self._name(id))

    def scan(self) -> Iterator[Found]:
        for name, raw in self._files.scan():
            yield f"md5:{name}", f"{name}.djcache", raw

    def _name(self, id: str) -> str:
        return hashlib.md5((self._prefix + id).encode(), usedforsecurity=False).hexdigest()


def session_storage(
    *, engine: Any, directory: str | os.PathLike[str] | None, table: str, schema: str | None, zone: tzinfo, prefix: str
) -> Storage:
    """Return the storage of the engines ``db`` and ``file``.

    :raises ValueError: if it is not one of the two.
    """
    if (engine is None) == (directory is None):
        raise ValueError("write one of engine and directory: where the sessions are")
    if directory is not None:
        return _Files(directory, prefix)
    return _Table(engine, table, schema, zone)


def cache_storage(
    *,
    redis: Any,
    engine: Any,
    directory: str | os.PathLike[str] | None,
    table: str,
    schema: str | None,
    zone: tzinfo,
    prefix: str,
    version: int,
) -> Storage:
    """Return the storage of the engine ``cache``.

    :raises ValueError: if it is not one of the three.
    """
    if sum(argument is not None for argument in (redis, engine, directory)) != 1:
        raise ValueError("write one of redis, engine and directory: where the cache is")
    if redis is not None:
        return _RedisCache(redis, prefix, version)
    if directory is not None:
        return _FileCache(directory, prefix, version)
    return _TableCache(engine, table, schema, zone, prefix, version)


def _cache_key(prefix: str, version: int) -> str:
    return f"{prefix}:{version}:{_CACHE_KEY}"


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, bytes | memoryview):
        return bytes(value)
    raise LegacyError(Reason.CORRUPT, "no text")
