"""Private Redis servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from .programs import require
from .server import Server

#: The Debian package of the server, the cluster and the sentinels.
PACKAGE = "redis-server"
#: Options with which what was answered is still there after a kill and a start.
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


class Redis(Server):
    """Redis, which keeps nothing on disk unless its options say so.

    :param options: of its configuration, as on its command line: ``"--maxmemory", "1mb"``.
    """

    ERRORS = (redis.RedisError, OSError)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @staticmethod
    def ask(url: str, seconds: float) -> str:
        with _client(url, seconds) as client:
            # Not answered while it reads its data.
            client.ping()
            return str(client.info("server")["process_id"])

    def client(self) -> redis.Redis:
        """Return a client, to be closed, that answers with str and tries nothing twice."""
        return _client(f"redis://127.0.0.1:{self.port}/0", 2)

    def replication(self) -> dict[str, Any]:
        """Return its own view of its role: ``role``, and for a replica ``master_port`` and ``master_link_status``."""
        with self.client() as client:
            return dict(client.info("replication"))

    def _is_own(self, answer: str) -> bool:
        return answer == str(self.pid)

    @property
    def _data(self) -> Path:
        return self.directory / "redis"

    def _prepare(self) -> None:
        self._data.mkdir()
        # Where it writes the role that it was given while it ran, and finds that after a kill.
        (self._data / "redis.conf").write_text(self._configuration())

    def _configuration(self) -> str:
        return ""

    def _command(self) -> list[str]:
        start = [require("redis-server", PACKAGE), str(self._data / "redis.conf"), "--port", str(self.port)]
        settings = ["--bind", "127.0.0.1", "--dir", str(self._data), "--save", ""]
        return [*start, *settings, *self.options]


def _client(url: str, seconds: float) -> redis.Redis:
    client: redis.Redis = redis.Redis.from_url(
        url, socket_timeout=seconds, socket_connect_timeout=seconds, decode_responses=True, retry=Retry(NoBackoff(), 0)
    )
    return client
