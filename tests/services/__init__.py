"""Real servers for the tests: those that the machine runs, or private ones from its installed programs.

``url_of("postgresql")`` is for tests that only need a server. What a test
kills or stops is its own::

    with temporary_directory() as directory, PostgreSQL(directory) as server:
        server.kill()
        server.start()
"""

from .mariadb import MariaDB
from .memcached import Memcached
from .ports import free_port, silent_port
from .postgresql import PostgreSQL
from .programs import require, temporary_directory, unavailable
from .proxy import Proxy
from .redis import DURABLE, Redis
from .redis_cluster import RedisCluster
from .redis_sentinel import RedisSentinel
from .server import Server, ServerError
from .session import end, session_directory, until_the_end
from .shared_servers import borrowed, shared, url_of
from .waiting import TIMEOUT, wait_until

__all__ = [
    "DURABLE",
    "TIMEOUT",
    "MariaDB",
    "Memcached",
    "PostgreSQL",
    "Proxy",
    "Redis",
    "RedisCluster",
    "RedisSentinel",
    "Server",
    "ServerError",
    "borrowed",
    "end",
    "free_port",
    "require",
    "session_directory",
    "shared",
    "silent_port",
    "temporary_directory",
    "unavailable",
    "until_the_end",
    "url_of",
    "wait_until",
]
