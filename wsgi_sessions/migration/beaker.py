"""Beaker's sessions, 1.6 to 1.14: those that it stores under an id, and those that it keeps in a cookie."""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, ClassVar

from ..legacy import LegacyError, LegacySession
from ._arguments import checked_timeout
from ._beaker_configuration import BeakerOptions as BeakerOptions
from ._beaker_configuration import read_options as read_options
from ._beaker_containers import Container as Container
from ._beaker_containers import DBMContainer as DBMContainer
from ._beaker_containers import FileContainer as FileContainer
from ._beaker_containers import NoContainer as NoContainer
from ._beaker_format import Format, check_cryptography, is_id, nonce_length, own_data, times_of, unsigned
from ._beaker_servers import MemcachedContainer as MemcachedContainer
from ._beaker_servers import RedisContainer as RedisContainer
from ._beaker_servers import SQLContainer as SQLContainer
from ._payloads import check_serializer
from .base import Convert, Imported, Source, checked_id, imported

# What Flask-Login calls a session's identifier.
_is_of_browser = re.compile(r"[0-9a-f]{32,128}").fullmatch


class BeakerSource(Source):
    """Reads sessions that Beaker stores: every ``session.type`` but ``cookie`` and ``memory``.

    Each parameter is Beaker's option of that name, unless it says otherwise. A store may hold what several versions of
    Beaker have written.

    >>> BeakerSource(FileContainer("/var/lib/app/sessions/container_file"), secret="...")  # doctest: +SKIP

    :param container: where they are.
    :param secret: what ids are signed with; None if they are not.
    :param serializer: ``"pickle"``, which is Beaker's own default, or ``"json"``. A dict that Beaker before 1.12 has
        stored without serializing it is read with either; either reads JSON.
    :param timeout: seconds after the last access; None for no end.
    :param encrypt_key: None if they are not encrypted.
    :param validate_key: needed with ``encrypt_key`` only.
    :param encrypt_nonce_bits: None for the default, whichever it was; other lengths cannot be told from the text if
        they are a multiple of 24.
    :param persistent: whether ``cookie_expires`` was anything but True.
    :param cookie_name: Beaker's ``key``; this and all others: see :class:`Source`.
    :raises ImportError: if they are encrypted, and cryptography is not installed.
    :raises TypeError: if the container is none, or a key no text.
    :raises ValueError: if another value makes no sense.
    """

    system: ClassVar[str] = "beaker"

    def __init__(
        self,
        container: Container,
        *,
        secret: str | None = None,
        serializer: str = "json",
        timeout: int | None = None,
        encrypt_key: str | None = None,
        validate_key: str | None = None,
        encrypt_nonce_bits: int | None = None,
        persistent: bool = False,
        cookie_name: str = "beaker.session.id",
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
        if not isinstance(container, Container):
            raise TypeError(f"the container must be a Container, such as FileContainer, not {type(container).__name__}")
        self._container = container
        self._secret = None if secret is None else _key(secret, "secret")
        self._format = _format(serializer, encrypt_key, validate_key, encrypt_nonce_bits, may_be_plain=True)
        self._timeout = checked_timeout(timeout)
        self._persistent = persistent

    def identify(self, cookie: str) -> list[str]:
        """Return the id that a cookie presents."""
        session_id = cookie if self._secret is None else unsigned(cookie, self._secret)
        return [checked_id(session_id, is_id)]

    def open(self, cookie: str) -> LegacySession:
        """Return the session that is stored under the id of a cookie; see :class:`LegacySource`."""
        (session_id,) = self.identify(cookie)
        return self._session(self._container.read(session_id))

    def discard(self, cookie: str) -> None:
        """Delete what is stored under the id of a cookie; nothing, if the cookie is not one of Beaker's."""
        try:
            (session_id,) = self.identify(cookie)
        except LegacyError:
            return
        self._container.delete(session_id)

    def scan(self) -> Iterator[Imported]:
        """Yield every session of the container; see :meth:`Source.scan`."""
        for stored in self._container.scan():
            where = self._container.where(stored.session_id)
            yield from imported(stored.session_id, where, stored.record, self._session)

    def _session(self, record: bytes) -> LegacySession:
        data = self._format.read(self._container.value(record))
        times = times_of(data, self._timeout)
        kept, dropped = self._storable(own_data(data))
        return LegacySession(
            data=kept,
            created=times.created,
            expires=times.expires,
            accessed=times.accessed,
            persistent=self._persistent,
            dropped=dropped,
        )


class BeakerCookieSource(Source):
    """Reads sessions that Beaker keeps in a cookie: ``session.type = cookie``.

    Each parameter is Beaker's option of that name, unless it says otherwise.

    >>> source = BeakerCookieSource("old validate key", serializer="pickle", timeout=3600)

    :param validate_key: what cookies are signed with.
    :param encrypt_key: None if they are not encrypted.
    :param encrypt_nonce_bits: as :class:`BeakerSource` has it; this and all others.
    :raises ImportError: if they are encrypted, and cryptography is not installed.
    :raises TypeError: if a key is no text.
    :raises ValueError: if another value makes no sense.
    """

    system: ClassVar[str] = "beaker"

    def __init__(
        self,
        validate_key: str,
        *,
        encrypt_key: str | None = None,
        encrypt_nonce_bits: int | None = None,
        serializer: str = "json",
        timeout: int | None = None,
        persistent: bool = False,
        cookie_name: str = "beaker.session.id",
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
        self._key = _key(validate_key, "validate_key")
        self._format = _format(serializer, encrypt_key, validate_key, encrypt_nonce_bits)
        self._timeout = checked_timeout(timeout)
        self._persistent = persistent

    def identify(self, cookie: str) -> list[str]:
        """Return the id in a cookie: Beaker writes a new cookie for each request, all of them of one session."""
        data = self._data(cookie)
        identity, began = data.get("_id"), data.get("_creation_time")
        if isinstance(identity, str) and is_id(identity):
            return [identity]
        # Flask-Login has put its own in the place, which is the same for several sessions of one browser.
        if isinstance(identity, str) and _is_of_browser(identity) and isinstance(began, float):
            return [f"{identity}:{began!r}"]
        return [sha256(cookie.encode()).hexdigest()]

    def open(self, cookie: str) -> LegacySession:
        """Return the session in a cookie; see :class:`LegacySource`."""
        data = self._data(cookie)
        times = times_of(data, self._timeout)
        own = own_data(data)
        if isinstance(identity := own.get("_id"), str) and is_id(identity):
            del own["_id"]
        kept, dropped = self._storable(own)
        return LegacySession(
            data=kept,
            created=times.created,
            expires=times.expires,
            accessed=times.accessed,
            persistent=self._persistent,
            dropped=dropped,
        )

    def _data(self, cookie: str) -> dict[Any, Any]:
        return self._format.read(unsigned(cookie, self._key))


def source_of(
    options: BeakerOptions,
    *,
    container: Container | None = None,
    convert: Convert | None = None,
    on_unknown: str = "drop",
) -> BeakerSource | BeakerCookieSource | None:
    """Return the source that reads what Beaker wrote with these options; None if nothing of it can be read.

    Why not, ``options.unused`` tells.

    >>> options = read_options({"session.type": "cookie", "session.validate_key": "old validate key"})
    >>> source_of(options).cookie_name
    'beaker.session.id'

    :param container: where the sessions are, in place of what the options say.
    :param convert: this and the next: see :class:`Source`.
    :raises ValueError: if an option makes no sense, or is missing; this and other errors as the sources have them.
    """
    container = options.container() if container is None else container
    common: dict[str, Any] = {
        "serializer": options.data_serializer,
        "timeout": options.timeout,
        "encrypt_key": options.encrypt_key,
        "encrypt_nonce_bits": options.encrypt_nonce_bits,
        "persistent": options.cookie_expires is not True,
        "cookie_name": options.key,
        "path": options.cookie_path,
        "domain": options.cookie_domain,
        # Where it is not, a cookie may still have the name of one that is: False is Beaker's default.
        "secure": options.secure or None,
        "convert": convert,
        "on_unknown": on_unknown,
    }
    if container is not None:
        return BeakerSource(container, secret=options.secret, validate_key=options.validate_key, **common)
    if not options.is_readable:
        return None
    if options.validate_key is None:
        raise ValueError("session.type = cookie needs session.validate_key, as Beaker does")
    return BeakerCookieSource(options.validate_key, **common)


def _format(
    serializer: str,
    encrypt_key: str | None,
    validate_key: str | None,
    encrypt_nonce_bits: int | None,
    *,
    may_be_plain: bool = False,
) -> Format:
    is_pickled = check_serializer(serializer)
    length = nonce_length(encrypt_nonce_bits)
    if encrypt_key is None:
        return Format(is_pickled)
    if validate_key is None:
        raise ValueError("encrypt_key needs validate_key, as Beaker does")
    _key(validate_key, "validate_key")
    check_cryptography()
    return Format(is_pickled, _key(encrypt_key, "encrypt_key"), validate_key, may_be_plain, length)


def _key(key: str, name: str) -> bytes:
    if not isinstance(key, str):
        raise TypeError(f"{name} must be str, not {type(key).__name__}")
    if not key:
        raise ValueError(f"{name} must not be empty: write the one that Beaker was given")
    return key.encode("utf-8")
