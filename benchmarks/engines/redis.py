"""Redis through redis-py: a database of its own, one kept connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from redis import Redis

from benchmarks import places, systems
from benchmarks.engines.engine import Engine, Functions, changed, example_record, later, random_ids
from wsgi_sessions import Record
from wsgi_sessions.stores.redis import RedisStore

_BUDGETS = {"read": "<= 1.25 x raw", "write": "<= 1.35 x raw", "create": "<= 1.35 x raw"}
# The least that compares and swaps: the value begins with the version, in sixteen digits.
_COMPARE_AND_SWAP = """
if redis.call('GETRANGE', KEYS[1], 0, 15) ~= ARGV[1] then
    return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PXAT', ARGV[3])
return 1
"""


@contextmanager
def opened(folder: Path) -> Iterator[Engine]:
    """Yield what is measured, all in one database."""
    with places.redis() as url, closing(RedisStore(url)) as store, closing(Redis.from_url(url)) as client:
        yield Engine(
            title=f"Redis {client.info('server')['redis_version']}: the ten-key session of 1 KB",
            ours=systems.ours("ours", store),
            raw=_floors(client, example_record()),
            budgets=_BUDGETS,
            peers={
                "Django": later("django.cache_peer", "django.core.cache.backends.redis.RedisCache", url),
                "Beaker": later("beaker.peer", "ext:redis", url, folder),
                "Flask-Session": later("flask_session.redis_peer", url),
                "pyramid_session_redis": later("pyramid_session_redis.peer", url),
            },
            notes=["Raw are GET, GET with EVALSHA of a script that compares and swaps, and SET NX PXAT."],
        )


def _floors(client: Redis, record: Record) -> Functions:
    payload, expires, key = record.payload, record.expires, f"raw:{record.id}"
    digest = client.script_load(_COMPARE_AND_SWAP)
    client.set(key, b"%016d%b" % (1, payload), pxat=expires)
    new_ids = random_ids()

    def read() -> None:
        client.get(key)

    def write() -> None:
        value: Any = client.get(key)
        version = int(value[:16]) + 1
        swapped = client.evalsha(digest, 1, key, value[:16], b"%016d%b" % (version, changed(payload, version)), expires)
        assert swapped == 1

    def create() -> None:
        client.set(f"raw:{next(new_ids)}", b"%016d%b" % (1, payload), nx=True, pxat=expires)

    return {"read": read, "write": write, "create": create}
