"""Which records an owner has, in Redis: a sorted set of ids for each owner, by the time at which they were noted.

An id is noted before its record names the owner, so none is missed; and is
removed some time after the record is gone, whether that ended, was deleted or
never came. What an id is worth, its record alone tells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, islice

from .. import clock
from ..record import Record
from ._redis_scripts import NOTE, NOTED_LONG_AGO_SECONDS, PRUNE
from ._redis_server import RedisServer

# How many steps through all keys one sweep takes: what is left in an index is in no hurry.
_STEPS_PER_SWEEP = 10
_PATTERN_CHARACTERS = str.maketrans({character: f"\\{character}" for character in "*?[]^-\\"})


class OwnerIndex:
    """The sets of all owners.

    :param prefix: what their keys begin with.
    :param values: returns what is stored under each of some ids, None for one that is gone.
    :param live: returns the record in such a value, None if it has ended.
    """

    def __init__(
        self,
        server: RedisServer,
        prefix: str,
        values: Callable[[list[str]], list[bytes | None]],
        live: Callable[[str, bytes | None], Record | None],
    ) -> None:
        self._server = server
        self._prefix = prefix
        self._values = values
        self._live = live
        # A sweep's way through all keys, None between two of them.
        self._walk: Iterator[list[bytes]] | None = None

    def note(self, owner: str, id: str) -> None:
        """Have an owner's set know an id, and remove from it what is long gone."""
        key = self._prefix + owner
        self._prune(key, _decoded(self._server.run_script(NOTE, key, id)))

    def find(self, owner: str) -> list[Record]:
        """Return the live records of an owner, and remove from the set what is long gone."""
        key = self._prefix + owner
        ids = _decoded(self._server.read(lambda connections: connections.run(key, "ZRANGE", key, 0, -1)))
        values = self._values(ids)
        gone = [id for id, value in zip(ids, values, strict=True) if value is None]
        if gone:
            self._prune(key, gone)
        records = map(self._live, ids, values)
        return [record for record in records if record is not None and record.owner == owner]

    def sweep(self) -> None:
        """Remove from some of the sets what is long gone; the next call goes on from there."""
        # Taken, so that a second thread does not step on it; that one begins anew.
        walk, self._walk = self._walk, None
        if walk is None:
            walk = self._server.connections.scan(pattern(self._prefix))
        steps = list(islice(walk, _STEPS_PER_SWEEP))
        for key in chain.from_iterable(steps):
            self._prune_noted_long_ago(decoded(key))
        if len(steps) == _STEPS_PER_SWEEP:
            self._walk = walk

    def close(self) -> None:
        """Let the next sweep begin at the beginning."""
        self._walk = None

    def _prune_noted_long_ago(self, key: str) -> None:
        old = clock.now() // 1000 - NOTED_LONG_AGO_SECONDS
        noted = self._server.read(lambda connections: connections.run(key, "ZRANGEBYSCORE", key, "-inf", old))
        self._prune(key, _decoded(noted))

    def _prune(self, key: str, ids: list[str]) -> None:
        """Remove the ids from a set that are gone, unless they were noted lately; put the others at its end.

        A record that has ended by this host's clock is not gone: another host may be about to renew it.
        """
        if not ids:
            return
        there = [id for id, value in zip(ids, self._values(ids), strict=True) if value is not None]
        gone = set(ids).difference(there)
        self._server.run_script(PRUNE, key, len(gone), *gone, *there)


def _decoded(ids: list[bytes]) -> list[str]:
    return [decoded(id) for id in ids]


def decoded(text: bytes) -> str:
    """Return a text; what is none was not written by a store, and becomes one that no record has."""
    return text.decode(errors="replace")


def pattern(prefix: str) -> str:
    """Return the pattern that matches all keys that begin like this."""
    return prefix.translate(_PATTERN_CHARACTERS) + "*"
