"""The servers that tests ask for by the name of a fixture.

A URL is of a server that all tests share, so a test keeps to records or
tables of its own there. A server whose name begins with ``own`` is the test's
alone, started for it, to be killed, paused and filled.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import backends
import harness
import pytest
import services
from services import DURABLE, MariaDB, Memcached, PostgreSQL, Redis, RedisCluster, RedisSentinel

# One of each kind that differs in what the middleware can see of it.
_BACKENDS = (
    "memory",
    "file",
    "sqlite",
    "sqlite-by-sqlalchemy",
    "postgresql",
    "mariadb",
    "redis",
    "redis-cluster",
    "redis-sentinel",
    "redis-cache",
    "memcached",
    "redis-cache-before-postgresql",
)
# For the table of all situations, which takes long and looks at little of a store.
_FEW_BACKENDS = ("memory", "sqlite", "postgresql", "redis")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        is_table = metafunc.module.__name__ == "test_commit"
        metafunc.parametrize("backend", _FEW_BACKENDS if is_table else _BACKENDS, indirect=True)


@pytest.fixture
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run the test once over each kind of store: those of a module that says ``usefixtures("backend")``."""
    with ExitStack() as stores:
        monkeypatch.setattr(harness, "new_store", lambda: stores.enter_context(backends.empty_store(request.param)))
        yield request.param


def pytest_unconfigure() -> None:
    """Not a fixture: url_of() can also be called where there are none."""
    services.end()
    url = services.borrowed("redis")
    if url is not None:
        backends.remove_keys(url)


@pytest.fixture(scope="session")
def postgresql_url() -> str:
    return services.url_of("postgresql")


@pytest.fixture(scope="session")
def mariadb_url() -> str:
    return services.url_of("mariadb")


@pytest.fixture(scope="session")
def redis_url() -> str:
    return services.url_of("redis")


@pytest.fixture(scope="session")
def memcached_url() -> str:
    return services.url_of("memcached")


@pytest.fixture(scope="session")
def redis_cluster() -> RedisCluster:
    """A cluster without replicas."""
    return services.shared("redis-cluster")


@pytest.fixture(scope="session")
def redis_sentinel() -> RedisSentinel:
    return services.shared("redis-sentinel")


@pytest.fixture
def server_directory() -> Iterator[Path]:
    """A folder for private servers, which tmp_path cannot be: see temporary_directory()."""
    with services.temporary_directory() as directory:
        yield directory


@pytest.fixture
def own_postgresql(server_directory: Path) -> Iterator[PostgreSQL]:
    with PostgreSQL(server_directory) as server:
        yield server


@pytest.fixture
def own_mariadb(server_directory: Path) -> Iterator[MariaDB]:
    with MariaDB(server_directory) as server:
        yield server


@pytest.fixture
def own_redis(server_directory: Path) -> Iterator[Redis]:
    """It keeps over a kill what it has answered."""
    with Redis(server_directory, *DURABLE) as server:
        yield server


@pytest.fixture
def own_memcached() -> Iterator[Memcached]:
    with Memcached() as server:
        yield server


@pytest.fixture
def own_redis_cluster(server_directory: Path) -> Iterator[RedisCluster]:
    """Three primaries with a replica each."""
    with RedisCluster(server_directory, *DURABLE, replicas=1) as cluster:
        yield cluster


@pytest.fixture
def own_redis_sentinel(server_directory: Path) -> Iterator[RedisSentinel]:
    with RedisSentinel(server_directory, *DURABLE) as group:
        yield group
