"""Flask-Session, 0.3 to 0.8: sessions in Redis, in a table, or in files; the cookie is their id."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, ClassVar, Protocol, Self

import msgspec

from ..legacy import LegacyError, LegacySession, Reason
from ._cachelib_files import CachelibFiles
from ._configurations import flask_cookie
from ._flask_session_table import FlaskSessionTable
from ._payloads import check_serializer, read_payload
from ._reading import refuse_ended
from ._redis_values import RedisValues, shown
from ._signatures import DottedSigner, check_secret
from .base import Convert, Imported, Source, Unknown, checked_id, imported

_is_id = re.compile(r"[0-9A-Za-z_-]{16,128}").fullmatch


class FlaskSessionSource(Source):
    """Reads the sessions of a Flask application with Flask-Session; exactly one of the first three arguments is given.

    What msgspec has written, MessagePack and JSON, is always read: one storage may hold both, and pickles besides.

    :param redis: a client of redis-py, as its ``SESSION_REDIS`` is.
    :param engine: an ``Engine`` of SQLAlchemy for the database of its ``SESSION_SQLALCHEMY``.
    :param directory: its ``SESSION_FILE_DIR``, or that of a ``cachelib.FileSystemCache``; these are pickles, always.
    :param secret_key: the application's ``SECRET_KEY`` if it has ``SESSION_USE_SIGNER``; None if not.
    :param key_prefix: its ``SESSION_KEY_PREFIX``.
    :param table: its ``SESSION_SQLALCHEMY_TABLE``.
    :param schema: its ``SESSION_SQLALCHEMY_SCHEMA``.
    :param serializer: ``"msgpack"`` or ``"json"``; or ``"pickle"``, as Flask-Session before 0.7 wrote: reads all three.
    :param takes_last: whether it took the last of several cookies of one name, as Werkzeug before 1.0 did.
    :param cookie_name: this and all others: see :class:`Source`.
    :raises TypeError: if a value is of the wrong type.
    :raises ValueError: if a value makes no sense, or there is no such directory.
    """

    system: ClassVar[str] = "flask-session"

    def __init__(
        self,
        *,
        redis: Any = None,
        engine: Any = None,
        directory: str | os.PathLike[str] | None = None,
        secret_key: str | bytes | None = None,
        key_prefix: str = "session:",
        table: str = "sessions",
        schema: str | None = None,
        serializer: str = "msgpack",
        takes_last: bool = False,
        cookie_name: str = "session",
        path: str = "/",
        domain: str | None = None,
        secure: bool | None = None,
        partitioned: bool = False,
        convert: Convert | None = None,
        on_unknown: str = "drop",
    ) -> None:
        super().__init__(
            cookie_name,
            path=path,
            domain=domain,
            secure=secure,
            partitioned=partitioned,
            convert=convert,
            on_unknown=on_unknown,
        )
        self._pickled = check_serializer(serializer, ("msgpack", "json", "pickle"))
        self._signer = None if secret_key is None else _signer(secret_key)
        self.takes_last = takes_last
        self._storage = _storage(redis, engine, directory, key_prefix, table, schema)
        if directory is not None and not self._pickled:
            raise ValueError("the files are pickles, whatever the application's format: write serializer='pickle'")

    @classmethod
    def from_config(cls, config: Mapping[str, Any], **others: Any) -> Self:
        """Return the source for an application that keeps its configuration.

        :param config: ``app.config``, which has the prefix, the table, whether ids are signed, and all of the cookie.
        :param others: arguments of the class, which come before: where the sessions are, and what was other than the
            configuration says now.
        """
        own = {
            "secret_key": config.get("SECRET_KEY") if config.get("SESSION_USE_SIGNER") else None,
            "key_prefix": config.get("SESSION_KEY_PREFIX", "session:"),
            "table": config.get("SESSION_SQLALCHEMY_TABLE", "sessions"),
            "schema": config.get("SESSION_SQLALCHEMY_SCHEMA"),
        }
        return cls(**{**own, **flask_cookie(config), **others})

    def identify(self, cookie: str) -> list[str]:
        """Return the id; of a file the names that it may have, which are hashes of the id."""
        return self._storage.identities(self._id(cookie))

    def open(self, cookie: str) -> LegacySession:
        """Return the session that a cookie presents; see :class:`LegacySource`."""
        payload, expires = self._storage.read(self._id(cookie))
        return self._session(self._value(payload), expires)

    def discard(self, cookie: str) -> None:
        """Delete what is stored of a session; see :class:`LegacySource`."""
        # A cookie that is none of this system's has nothing stored.
        with suppress(LegacyError):
            self._storage.delete(self._id(cookie))

    def scan(self) -> Iterator[Imported]:
        """Yield every session of the storage; see :meth:`Source.scan`."""
        for identity, where, stored in self._storage.scan():
            yield from imported(identity, where, stored, self._found)

    def _found(self, stored: Any) -> LegacySession | None:
        payload, expires = self._storage.parts(stored)
        value = self._value(payload)
        # A cache may be in the same directory.
        return self._session(value, expires) if type(value) is dict else None

    def _id(self, cookie: str) -> str:
        id = cookie if self._signer is None else self._signer.verify(cookie)
        return checked_id(id, _is_id)

    def _value(self, payload: bytes) -> Any:
        return read_payload(payload, pickled=self._pickled, binary=_read_msgpack)

    def _session(self, value: Any, expires: int | None) -> LegacySession:
        refuse_ended(expires)
        if type(value) is not dict:
            raise LegacyError(Reason.CORRUPT, "no session")
        data = dict(value)
        permanent = bool(data.pop("_permanent", False))
        kept, dropped = self._storable(data)
        return LegacySession(data=kept, expires=expires, persistent=permanent, dropped=dropped)


class _Storage(Protocol):
    """Where the sessions are. What reads raises LegacyError, and StoreError if the storage failed."""

    def identities(self, id: str) -> list[str]:
        """Return what identifies a session."""

    def read(self, id: str) -> tuple[bytes, int | None]:
        """Return a payload, and when it ends."""

    def delete(self, id: str) -> None:
        """Delete a session if it is there."""

    def scan(self) -> Iterator[tuple[str, str, Any]]:
        """Yield for each session what identifies it, what tells an operator which it is, and what is stored.

        In place of what cannot be read is the LegacyError.
        """

    def parts(self, stored: Any) -> tuple[bytes, int | None]:
        """Return a payload, and when it ends, of what is stored."""


class _InRedis:
    def __init__(self, client: Any, prefix: str) -> None:
        self._values = RedisValues(client)
        self._prefix = prefix

    def identities(self, id: str) -> list[str]:
        return [id]

    def read(self, id: str) -> tuple[bytes, int | None]:
        return self._values.read(self._prefix + id)

    def delete(self, id: str) -> None:
        self._values.delete(self._prefix + id)

    def scan(self) -> Iterator[tuple[str, str, Any]]:
        for key, payload, expires in self._values.scan(self._prefix):
            yield key.removeprefix(self._prefix), shown(key), (payload, expires)

    def parts(self, stored: tuple[bytes, int | None]) -> tuple[bytes, int | None]:
        return stored


def _storage(
    redis: Any, engine: Any, directory: str | os.PathLike[str] | None, prefix: str, table: str, schema: str | None
) -> _Storage:
    if sum(argument is not None for argument in (redis, engine, directory)) != 1:
        raise ValueError("write one of redis, engine and directory: where the sessions are")
    if redis is not None:
        return _InRedis(redis, prefix)
    if engine is not None:
        return FlaskSessionTable(engine, prefix, table, schema)
    assert directory is not None
    return CachelibFiles(directory, prefix)


def _signer(secret_key: str | bytes) -> DottedSigner:
    check_secret(secret_key, "secret_key")
    return DottedSigner([secret_key], salt="flask-session")


def _read_msgpack(payload: bytes) -> Any:
    try:
        return msgspec.msgpack.decode(payload, ext_hook=_extension)
    except (msgspec.MsgspecError, ValueError, TypeError, ArithmeticError, RecursionError):
        # Not chained: the message of a UnicodeDecodeError holds the text.
        pass
    raise LegacyError(Reason.CORRUPT, "MessagePack")


def _extension(code: int, data: memoryview) -> Unknown:
    return Unknown(f"MessagePack extension {code}", bytes(data))
