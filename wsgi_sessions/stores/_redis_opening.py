"""How a RedisStore is given its connections: bounded in time, and repeating nothing.

redis-py repeats a command that failed, ten times by default. A save that is
repeated after it succeeded meets itself as a conflict, so each store has
connections of its own that repeat nothing, also where it is given a client,
whose settings it takes over.
"""

from __future__ import annotations

from typing import Any

from redis import Connection, ConnectionPool, Redis, RedisCluster, SSLConnection
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from ._address import Address, parse_address
from ._redis_connections import ClusterConnections, Connections, ServerConnections

#: Seconds, after which a server that says nothing has failed: both together leave time for an answer within 3 s.
CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 1.5
#: What a sentinel, of which there are several to ask, may take.
SENTINEL_SECONDS = 0.5
#: What a server of a cluster may take: where the keys are, is asked of one after the other.
CLUSTER_SECONDS = 0.7
_NO_LIMIT = 2**31
# What a client's connections may have been given that ours need as well; everything else is redis-py's own affair.
_TAKEN_OVER = ("host", "port", "path", "db", "username", "password", "credential_provider", "client_name")
_TAKEN_OVER_PREFIXES = ("ssl_", "socket_")
_SENTINEL_LOGIN = ("sentinel_username", "sentinel_password")
_ENCRYPTION = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")


def bounded_client(client: Redis | RedisCluster) -> Redis | RedisCluster:
    """Return a client with the settings of another one that repeats nothing and does not wait for ever.

    That of a cluster stays what it is.
    """
    connections = of_client(client)
    return Redis(connection_pool=connections.pool) if isinstance(connections, ServerConnections) else client


def of_client(client: Redis | RedisCluster) -> Connections:
    """Return connections with the settings of a client; it stays its owner's.

    :raises ValueError: if the client of a cluster decodes what it reads.
    """
    if isinstance(client, RedisCluster):
        if client.get_encoder().decode_responses:
            raise ValueError("payloads are bytes: make the RedisCluster without decode_responses")
        return ClusterConnections(client, is_ours=False)
    pool = client.connection_pool
    options = _own(pool.connection_kwargs)
    if isinstance(pool, SentinelConnectionPool):
        sentinels = [sentinel.connection_pool.connection_kwargs for sentinel in pool.sentinel_manager.sentinels]
        return _of_sentinels(sentinels, pool.service_name, options, connection_class=pool.connection_class)
    return ServerConnections(ConnectionPool(connection_class=pool.connection_class, **_bounded(options)))


def _of_sentinels(
    sentinels: list[dict[str, Any]], service: str, options: dict[str, Any], **more: Any
) -> ServerConnections:
    """Return connections to the master of a service.

    :param sentinels: the options of a connection to each.
    :param options: those of a connection to the master.
    """
    manager = Sentinel([])
    manager.sentinels = [Redis(**_bounded(_own(each), SENTINEL_SECONDS, SENTINEL_SECONDS)) for each in sentinels]
    # It asks them who the master is each time it connects.
    return ServerConnections(SentinelConnectionPool(service, manager, **_bounded(options), **more))


def checked_address(url: str) -> Address:
    """Take a URL apart.

    :raises ValueError: if it names no server, or has options that are not known.
    """
    address = parse_address(url)
    secure, _, kind = address.scheme.partition("+")
    if secure not in ("redis", "rediss") or kind not in ("", "cluster", "sentinel"):
        raise ValueError("a RedisStore's URL begins with redis:, rediss:, redis+cluster: or redis+sentinel:")
    address.refuse_unknown(_known_options(address.scheme))
    if not kind and len(address.hosts) > 1:
        raise ValueError("a redis: URL has one host; redis+cluster: and redis+sentinel: have several")
    if kind == "sentinel" and not _service(address):
        raise ValueError("a sentinel's URL names the service: redis+sentinel://host:26379/mymaster/0")
    database = _database(address)
    if (database and not (database.isascii() and database.isdigit())) or (database.strip("0") and kind == "cluster"):
        raise ValueError(
            "the path of a redis: URL ends in the number of the database, such as /0; a cluster has only 0"
        )
    return address


def _known_options(scheme: str) -> tuple[str, ...]:
    """Return the options that a URL of this scheme may have."""
    sentinel = _SENTINEL_LOGIN if scheme.endswith("+sentinel") else ()
    return ("prefix", *sentinel, *(_ENCRYPTION if scheme.startswith("rediss") else ()))


def of_address(address: Address) -> Connections:
    """Return connections to what a checked URL names; a cluster is asked at once where its keys are."""
    login = {"username": address.username, "password": address.password}
    options = {name: value for name, value in {**login, **_encryption(address)}.items() if value is not None}
    hosts = address.hosts or [("localhost", None)]
    is_encrypted = address.scheme.startswith("rediss")
    if address.scheme.endswith("+cluster"):
        nodes = [ClusterNode(host, port or 6379) for host, port in hosts]
        # All of them may be asked, one after the other.
        bounds = _bounded(options, CLUSTER_SECONDS, CLUSTER_SECONDS)
        del bounds["retry"]
        client = RedisCluster(startup_nodes=nodes, retry=_never_twice(), ssl=is_encrypted, **bounds)
        return ClusterConnections(client, is_ours=True)
    options["db"] = int(_database(address) or 0)
    if address.scheme.endswith("+sentinel"):
        names = dict(zip(("username", "password"), map(address.options.get, _SENTINEL_LOGIN), strict=True))
        sentinels = [{**names, "host": host, "port": port or 26379} for host, port in hosts]
        return _of_sentinels(sentinels, _service(address), options, ssl=is_encrypted)
    host, port = hosts[0]
    server = _bounded({**options, "host": host, "port": port or 6379})
    return ServerConnections(ConnectionPool(connection_class=SSLConnection if is_encrypted else Connection, **server))


def _service(address: Address) -> str:
    return address.path.strip("/").partition("/")[0]


def _database(address: Address) -> str:
    path = address.path.strip("/")
    return path.partition("/")[2] if address.scheme.endswith("+sentinel") else path


def _encryption(address: Address) -> dict[str, Any]:
    found: dict[str, Any] = {name: value for name, value in address.options.items() if name in _ENCRYPTION}
    if "ssl_check_hostname" in found:
        found["ssl_check_hostname"] = found["ssl_check_hostname"] not in ("0", "false", "no")
    return found


def _own(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a connection that another one may have as well."""
    return {
        name: value
        for name, value in options.items()
        if value is not None and (name in _TAKEN_OVER or name.startswith(_TAKEN_OVER_PREFIXES))
    }


def _never_twice() -> Retry:
    """Return the policy of a client that repeats nothing."""
    return Retry(NoBackoff(), 0)


def _bounded(
    options: dict[str, Any], answer: float = ANSWER_SECONDS, connect: float = CONNECT_SECONDS
) -> dict[str, Any]:
    """Return the options of connections that repeat nothing and wait no longer than this."""
    return {
        **options,
        "retry": _never_twice(),
        # Older commands do, and the newer protocol brings nothing that a store needs.
        "protocol": 2,
        # Newer versions fail beyond 100, rather than wait; how many are needed, the server's threads decide.
        "max_connections": _NO_LIMIT,
        "socket_timeout": min(options.get("socket_timeout") or answer, answer),
        "socket_connect_timeout": min(options.get("socket_connect_timeout") or connect, connect),
    }
