"""pyramid_session_redis, and pyramid_redis_sessions before it: sessions in Redis; the cookie is their signed id."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, ClassVar

from ..legacy import LegacyError, LegacySession, Reason
from . import pickles
from ._payloads import check_serializer, read_payload
from ._reading import milliseconds, refuse_ended
from ._redis_values import RedisValues, shown
from ._signatures import HexSigner, PrefixSigner
from .base import Convert, Imported, Source, checked_id, imported

# A prefix is part of the id.
_is_id = re.compile(r"[!-~]{16,250}").fullmatch
# Why what is no session at all cannot be read.
_OF_ANYTHING = (Reason.CORRUPT, Reason.PICKLE_DISABLED)


class PyramidSessionRedisSource(Source):
    """Reads the sessions of both libraries: one Redis may hold those of either, if the secret stayed the same.

    :param secret: as the factory has it.
    :param client: a client of redis-py for its server and its database.
    :param serializer: ``"json"`` if that is the application's own; or ``"pickle"``, the libraries' default, which
        reads both.
    :param persistent: whether the cookie was to outlive the browser: the factory has a ``cookie_max_age``.
    :param prefix: what ids begin with, if its ``prefix`` is set; only :meth:`scan` needs it.
    :param cookie_name: this and all others: see :class:`Source`.
    :raises TypeError: if the secret is neither ``str`` nor ``bytes``, or the client is none.
    :raises ValueError: if the secret is empty, or another value makes no sense.
    """

    system: ClassVar[str] = "pyramid_session_redis"

    def __init__(
        self,
        secret: str | bytes,
        client: Any,
        *,
        serializer: str = "json",
        persistent: bool = False,
        prefix: str = "",
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
        self._signer = PrefixSigner(secret, salt="pyramid_session_redis.")
        self._old_signer = HexSigner(secret)
        self._values = RedisValues(client)
        self._pickled = check_serializer(serializer)
        self._persistent = persistent
        self._prefix = prefix

    def identify(self, cookie: str) -> list[str]:
        """Return the id, which is the key in Redis."""
        return [self._id(cookie)]

    def open(self, cookie: str) -> LegacySession:
        """Return the session that a cookie presents; see :class:`LegacySource`."""
        session = self._found(self._values.read(self._id(cookie)))
        if session is None:
            raise LegacyError(Reason.CORRUPT, "no session")
        return session

    def discard(self, cookie: str) -> None:
        """Delete what is stored of a session; see :class:`LegacySource`."""
        # A cookie that is none of this system's has nothing stored.
        with suppress(LegacyError):
            self._values.delete(self._id(cookie))

    def scan(self) -> Iterator[Imported]:
        """Yield every session of the storage; see :meth:`Source.scan`.

        Whatever else is in the database is passed over. Without a prefix, so is what cannot be read: nothing tells
        that it is a session.
        """
        for key, payload, forgotten in self._values.scan(self._prefix):
            if not _is_id(key):
                continue
            for found in imported(key, shown(key), (payload, forgotten), self._found):
                if self._prefix or found.error is None or found.error.reason not in _OF_ANYTHING:
                    yield found

    def _id(self, cookie: str) -> str:
        try:
            signed = self._signer.verify(cookie)
        except LegacyError:
            # A pickle of a text, which needs no class: whether pickles may be read is asked for the session.
            id = pickles.load(self._old_signer.verify(cookie))
        else:
            id = signed.decode("ascii", "replace")
        return checked_id(id if isinstance(id, str) else "", _is_id)

    def _found(self, value: tuple[bytes, int | None]) -> LegacySession | None:
        """Return the session that a value is, None if it is none."""
        payload, forgotten = value
        stored = _stored(read_payload(payload, pickled=self._pickled))
        if stored is None:
            return None
        created, ends, data = stored
        expires = milliseconds(ends) if ends is not None else forgotten
        refuse_ended(expires)
        kept, dropped = self._storable(data)
        return LegacySession(
            data=kept,
            created=milliseconds(created),
            expires=expires,
            persistent=self._persistent,
            dropped=dropped,
        )


def _stored(value: Any) -> tuple[Any, Any, dict[Any, Any]] | None:
    """Return when a session began and when it ends, as stored, and what it holds; None if the value is none."""
    if type(value) is not dict:
        return None
    data = value.get("m", value.get("managed_dict"))
    created = value.get("c", value.get("created"))
    if type(data) is not dict or created is None:
        return None
    return created, value.get("x"), data
