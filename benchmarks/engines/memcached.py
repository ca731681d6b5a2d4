"""Memcached through pymemcache: a server that was empty, one kept connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from time import time
from typing import Any

from pymemcache import PooledClient

from benchmarks import places, systems
from benchmarks.engines.engine import Engine, Functions, changed, example_record, later, random_ids
from wsgi_sessions import Record, store_from_url

# As for ours: what nobody acknowledges is not stored for sure.
_OPTIONS: dict[str, Any] = {"no_delay": True, "default_noreply": False}
_DJANGO = "django.core.cache.backends.memcached.PyMemcacheCache"


@contextmanager
def opened(folder: Path) -> Iterator[Engine]:
    """Yield what is measured, all on one server."""
    with ExitStack() as stack:
        url = stack.enter_context(places.memcached())
        server = places.memcached_server(url)
        store = stack.enter_context(closing(store_from_url(url)))
        client = stack.enter_context(closing(PooledClient(server, **_OPTIONS)))
        yield Engine(
            title=f"Memcached {client.version().decode()}: the ten-key session of 1 KB",
            ours=systems.ours("ours", store),
            raw=_floors(client, example_record()),
            budgets={},
            peers={
                "Django": later("django.cache_peer", _DJANGO, f"{server[0]}:{server[1]}"),
                "Flask-Session": later("flask_session.memcached_peer", PooledClient(server, **_OPTIONS)),
            },
            notes=[
                "Raw are get, gets with cas, and add. Through cachelib ours has no cas: it is get, get again, set.",
                "Beaker was left out: it has no use for pymemcache.",
            ],
        )


def _floors(client: PooledClient, record: Record) -> Functions:
    # Later than a month from now it has to be a moment; this is one as well.
    payload, expires, key = record.payload, int(time()) + 1_209_600, f"raw:{record.id}"
    client.set(key, b"%016d%b" % (1, payload), expire=expires)
    new_ids = random_ids()

    def read() -> None:
        client.get(key)

    def write() -> None:
        value, unique = client.gets(key)
        version = int(value[:16]) + 1
        client.cas(key, b"%016d%b" % (version, changed(payload, version)), unique, expire=expires)

    def create() -> None:
        client.add(f"raw:{next(new_ids)}", b"%016d%b" % (1, payload), expire=expires)

    return {"read": read, "write": write, "create": create}
