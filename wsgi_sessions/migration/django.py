"""Django's sessions, 1.4 to 6: in signed cookies, and in a table, in files, or in a cache, with an id for a cookie."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, timedelta, tzinfo
from typing import Any, ClassVar, Self

from msgspec.structs import replace

from ..legacy import LegacySession
from ._configurations import django_keys, django_session
from ._django_sessions import DjangoSessions, StoredSessions
from ._django_signing import DjangoSigner
from ._django_storages import cache_storage, session_storage
from ._payloads import read_payload
from ._personal import PERSONAL_KEYS, checked_names, is_personal
from ._reading import read_dotted, refuse_ended
from .base import Convert

_TWO_WEEKS = timedelta(weeks=2)


class DjangoCookieSource(DjangoSessions):
    """Reads the cookie of the engine ``signed_cookies``.

    :param secret_key: the application's ``SECRET_KEY``.
    :param fallbacks: its ``SECRET_KEY_FALLBACKS``, and other keys that it had.
    :param serializer: ``"json"``; or ``"pickle"`` for its ``PickleSerializer``, which Django had before 5.0, and which
        reads both.
    :param cookie_age: its ``SESSION_COOKIE_AGE``.
    :param expire_at_browser_close: its ``SESSION_EXPIRE_AT_BROWSER_CLOSE``.
    :param zone: its ``TIME_ZONE``, if its ``USE_TZ`` is not set.
    :param personal_keys: whose values, unless they are false, no two visitors share; see :class:`FlaskSource`.
    :param cookie_name: this and all others: see :class:`Source`.
    :raises TypeError: if a key is neither ``str`` nor ``bytes``.
    :raises ValueError: if a key is empty, or another value makes no sense.
    """

    system: ClassVar[str] = "django-cookie"

    def __init__(
        self,
        secret_key: str | bytes,
        *,
        fallbacks: Iterable[str | bytes] = (),
        serializer: str = "json",
        cookie_age: timedelta = _TWO_WEEKS,
        expire_at_browser_close: bool = False,
        zone: tzinfo = UTC,
        personal_keys: Iterable[str] = PERSONAL_KEYS,
        cookie_name: str = "sessionid",
        path: str = "/",
        domain: str | None = None,
        secure: bool | None = None,
        partitioned: bool = False,
        convert: Convert | None = None,
        on_unknown: str = "drop",
    ) -> None:
        super().__init__(
            serializer,
            cookie_age,
            expire_at_browser_close,
            zone,
            cookie_name=cookie_name,
            path=path,
            domain=domain,
            secure=secure,
            partitioned=partitioned,
            convert=convert,
            on_unknown=on_unknown,
        )
        self._personal_keys = checked_names(personal_keys)
        self._signer = DjangoSigner(secret_key, fallbacks, salt="django.contrib.sessions.backends.signed_cookies")

    @classmethod
    def from_settings(cls, settings: Any, **others: Any) -> Self:
        """Return the source for a project that keeps its settings.

        :param settings: ``django.conf.settings``.
        :param others: arguments of the class, which come before: what was other than the settings say now.
        """
        return cls(**{**django_keys(settings), **django_session(settings), **others})

    def identify(self, cookie: str) -> list[str]:
        """Return the cookie itself: there is no other id. Each change of the session makes another one."""
        self._signer.verify(cookie)
        return [cookie]

    def open(self, cookie: str) -> LegacySession:
        """Return the session in a cookie; see :class:`LegacySource`."""
        payload, signed_at = self._signer.verify(cookie)
        # Django accepts none that is older, whatever is said in it.
        refuse_ended(signed_at + self._age)
        session = self._session(read_payload(read_dotted(payload), pickled=self._pickled), None, signed_at)
        return replace(session, personal=is_personal(session.data, self._personal_keys))

    def _end(self, expiry: Any, modified: int) -> int | None:
        ends = (super()._end(expiry, modified), modified + self._age)
        return min(end for end in ends if end is not None)


class DjangoSource(StoredSessions):
    """Reads the sessions of the engines ``db``, ``cached_db`` and ``file``.

    What ``cached_db`` has in the cache besides is not deleted there: end the old application, or empty its cache.

    :param secret_key: the application's ``SECRET_KEY``.
    :param engine: of SQLAlchemy, for the database; this or the next.
    :param directory: its ``SESSION_FILE_PATH``, or the directory for temporary files.
    :param fallbacks: its ``SECRET_KEY_FALLBACKS``, and other keys that it had.
    :param table: the name of the table.
    :param schema: the schema of the table, if it is not the database's default.
    :param store_class: the name of the class that signed, if the application has its own ``SessionStore``.
    :param serializer: this and all others: see :class:`DjangoCookieSource`.
    :raises TypeError: if a key is neither ``str`` nor ``bytes``.
    :raises ValueError: if a key is empty, there is no such directory, or another value makes no sense.
    """

    system: ClassVar[str] = "django"

    def __init__(
        self,
        secret_key: str | bytes,
        *,
        engine: Any = None,
        directory: str | os.PathLike[str] | None = None,
        fallbacks: Iterable[str | bytes] = (),
        table: str = "django_session",
        schema: str | None = None,
        store_class: str = "SessionStore",
        serializer: str = "json",
        cookie_age: timedelta = _TWO_WEEKS,
        expire_at_browser_close: bool = False,
        zone: tzinfo = UTC,
        cookie_name: str = "sessionid",
        path: str = "/",
        domain: str | None = None,
        secure: bool | None = None,
        partitioned: bool = False,
        convert: Convert | None = None,
        on_unknown: str = "drop",
    ) -> None:
        super().__init__(
            serializer,
            cookie_age,
            expire_at_browser_close,
            zone,
            cookie_name=cookie_name,
            path=path,
            domain=domain,
            secure=secure,
            partitioned=partitioned,
            convert=convert,
            on_unknown=on_unknown,
        )
        self._signer = DjangoSigner(
            secret_key,
            fallbacks,
            salt=f"django.contrib.sessions.{store_class}",
            old_salt=f"django.contrib.sessions{store_class}",
        )
        self._storage = session_storage(
            engine=engine, directory=directory, table=table, schema=schema, zone=zone, prefix=cookie_name
        )

    @classmethod
    def from_settings(cls, settings: Any, **others: Any) -> Self:
        """Return the source for a project that keeps its settings.

        :param settings: ``django.conf.settings``.
        :param others: arguments of the class, which come before: where the sessions are, and what was other than the
            settings say now.
        """
        return cls(**{**django_keys(settings), **django_session(settings), **others})

    def _value(self, payload: bytes) -> Any:
        # Decoded so that nothing that could be signed becomes another text, or an error.
        return super()._value(self._signer.read(payload.decode("latin-1")))


class DjangoCacheSource(StoredSessions):
    """Reads the sessions of the engine ``cache``: in Redis, a table, or files, as Django's own backends write them.

    They are pickles without a signature, whatever the application's ``SESSION_SERIALIZER`` says.

    :param serializer: ``"pickle"``; or ``"json"``, for a cache that was told to write that: in Redis only.
    :param redis: a client of redis-py; this or one of the next two.
    :param engine: of SQLAlchemy, for the database.
    :param directory: the cache's ``LOCATION``. Other dicts that are cached there look like sessions when all are read.
    :param table: the name of the table, the cache's ``LOCATION``.
    :param schema: the schema of the table, if it is not the database's default.
    :param key_prefix: the cache's ``KEY_PREFIX``.
    :param version: the cache's ``VERSION``.
    :param expire_at_browser_close: this and all others: see :class:`DjangoCookieSource`.
    :raises TypeError: if what should be a client or an engine is none.
    :raises ValueError: if there is no such directory, or another value makes no sense.
    """

    system: ClassVar[str] = "django-cache"

    def __init__(
        self,
        *,
        serializer: str,
        redis: Any = None,
        engine: Any = None,
        directory: str | os.PathLike[str] | None = None,
        table: str = "",
        schema: str | None = None,
        key_prefix: str = "",
        version: int = 1,
        expire_at_browser_close: bool = False,
        zone: tzinfo = UTC,
        cookie_name: str = "sessionid",
        path: str = "/",
        domain: str | None = None,
        secure: bool | None = None,
        partitioned: bool = False,
        convert: Convert | None = None,
        on_unknown: str = "drop",
    ) -> None:
        super().__init__(
            serializer,
            _TWO_WEEKS,
            expire_at_browser_close,
            zone,
            cookie_name=cookie_name,
            path=path,
            domain=domain,
            secure=secure,
            partitioned=partitioned,
            convert=convert,
            on_unknown=on_unknown,
        )
        if redis is None and not self._pickled:
            raise ValueError("the cache holds pickles, whatever SESSION_SERIALIZER says: write serializer='pickle'")
        if engine is not None and not table:
            raise ValueError("table must not be empty: write the LOCATION of the cache")
        self._storage = cache_storage(
            redis=redis,
            engine=engine,
            directory=directory,
            table=table,
            schema=schema,
            zone=zone,
            prefix=key_prefix,
            version=version,
        )

    @classmethod
    def from_settings(cls, settings: Any, **others: Any) -> Self:
        """Return the source for a project that keeps its settings.

        :param settings: ``django.conf.settings``.
        :param others: arguments of the class, which come before: the cache, how it writes, and what was other than the
            settings say now.
        """
        return cls(**{**django_session(settings), **others})
