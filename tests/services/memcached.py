"""Private memcached servers."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheError

from .programs import require
from .server import Server


class Memcached(Server):
    """Memcached. It has no data on disk: what it held is gone after a kill, a stop, and a start.

    :param options: from its command line.
    """

    # It has nothing to put in order, and takes a second for that.
    STOP_SIGNAL = signal.SIGKILL
    ERRORS = (MemcacheError, OSError)

    def __init__(self, *options: str) -> None:
        super().__init__(Path(tempfile.gettempdir()), *options)

    @property
    def url(self) -> str:
        return f"memcached://127.0.0.1:{self.port}"

    @staticmethod
    def ask(url: str, seconds: float) -> str:
        address = urlsplit(url)
        client = Client((address.hostname, address.port or 11211), connect_timeout=seconds, timeout=seconds)
        try:
            return str(int(client.stats()[b"pid"]))
        finally:
            client.close()

    def _is_own(self, answer: str) -> bool:
        return answer == str(self.pid)

    def _command(self) -> list[str]:
        start = [require("memcached", "memcached"), "-l", "127.0.0.1", "-p", str(self.port), "-U", "0"]
        # It refuses to run as root unless told so.
        user = ["-u", "root"] if os.geteuid() == 0 else []
        return [*start, *user, *self.options]
