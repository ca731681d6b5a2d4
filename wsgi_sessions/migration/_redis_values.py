"""Values that a library has put into Redis, read with a client of redis-py."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from .. import clock
from ..legacy import LegacyError, Reason
from ._failures import failure
from ._reading import MAX_BYTES

# Keys that one round trip asks for.
_BATCH = 100
# What PTTL returns for a key that is not there.
_MISSING = -2
# Characters: half of a UUID's secret, or more.
_HIDDEN = 32
_escape = re.compile(r"([*?\[\]\\])")


class RedisValues:
    """Reads and deletes values under keys that are text.

    :param client: a ``Redis`` or ``RedisCluster``.
    :raises TypeError: if it is neither.
    :raises ValueError: if it decodes what it reads.
    """

    def __init__(self, client: Any) -> None:
        try:
            from redis import Redis, RedisCluster
        except ImportError as error:
            raise ImportError("sessions in Redis need redis-py: pip install wsgi-sessions[redis]") from error
        if not isinstance(client, Redis | RedisCluster):
            raise TypeError(f"the client must be a Redis or RedisCluster of redis-py, not {type(client).__name__}")
        if client.get_connection_kwargs().get("decode_responses"):
            raise ValueError("the client must not decode: sessions are bytes; leave decode_responses=True out")
        self._client = client

    def read(self, key: str) -> tuple[bytes, int | None]:
        """Return a value and when it ends, Unix milliseconds; None if it does not.

        :raises LegacyError: if there is none, or the key holds something else.
        :raises StoreError: if the server fails.
        """
        with _store_errors():
            ((value, expires),) = self._values([key])
        if value is None:
            raise LegacyError(Reason.NOT_FOUND)
        if not isinstance(value, bytes):
            raise LegacyError(Reason.CORRUPT, "its key in Redis holds no string")
        return value, expires

    def delete(self, key: str) -> None:
        """Delete a key if it is there.

        :raises StoreError: if the server fails.
        """
        with _store_errors():
            self._client.unlink(key)

    def scan(self, prefix: str) -> Iterator[tuple[str, bytes, int | None]]:
        """Yield each key of a prefix that holds a string, with it and its end; some may come twice, as SCAN has it.

        :raises StoreError: if the server fails.
        """
        with _store_errors():
            keys = self._keys(prefix)
            while batch := list(islice(keys, _BATCH)):
                for key, (value, expires) in zip(batch, self._values(batch), strict=True):
                    if isinstance(value, bytes):
                        yield key, value, expires

    def _keys(self, prefix: str) -> Iterator[str]:
        for key in self._client.scan_iter(match=_escape.sub(r"\\\1", prefix) + "*", count=1000):
            try:
                yield key.decode()
            except UnicodeDecodeError:
                # No library that is read here has such keys.
                continue

    def _values(self, keys: list[str]) -> list[tuple[Any, int | None]]:
        """Return each key's value and end; an error in place of the value of a key that holds something else."""
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            # Some keys of a scan may be an application's own, of any size.
            pipeline.getrange(key, 0, MAX_BYTES)
            pipeline.pttl(key)
        answers = pipeline.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, Exception) and not str(answer).startswith("WRONGTYPE"):
                raise answer
        now = clock.now()
        return [_value(value, left, now) for value, left in zip(answers[::2], answers[1::2], strict=True)]


def _value(value: Any, left: int, now: int) -> tuple[Any, int | None]:
    """Return a value and its end; None and None if PTTL says that there is none, by which an empty one is told."""
    if left == _MISSING:
        return None, None
    return value, now + left if left >= 0 else None


def shown(key: str) -> str:
    """Return what tells an operator which key it is; the end is left out, or whoever reads it could present it."""
    return f"{key[:-_HIDDEN]}..."


@contextmanager
def _store_errors() -> Iterator[None]:
    from redis.exceptions import RedisClusterException, RedisError

    try:
        yield
    except (RedisError, RedisClusterException, OSError) as error:
        raise failure("the Redis of the old sessions", error) from None
