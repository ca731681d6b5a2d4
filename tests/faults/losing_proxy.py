"""A proxy that loses answers: what a write looks like whose connection dies after the server has got it."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Self

# Bytes, of one read.
_CHUNK = 65_536
# Seconds between two looks at whether the proxy was closed.
_PAUSE = 0.02


class LosingProxy:
    """Forwards connections to a server's port on 127.0.0.1, inside of a ``with`` block.

    A connection whose command is to be lost is cut when the answer to it has come, which the client does not get.
    """

    def __init__(self, target: int) -> None:
        #: Where it listens; 0 before the block.
        self.port = 0
        #: How often the command that lose() was told last has been forwarded since.
        self.seen = 0
        #: Those that are open.
        self.connections: set[object] = set()
        #: The port of the server.
        self.target = target
        self._command = b""
        self._losses = 0
        self._lock = threading.Lock()

    def through(self, url: str) -> str:
        """Return a URL of the server with the proxy's port instead of the server's."""
        return url.replace(f":{self.target}", f":{self.port}")

    def lose(self, command: bytes, times: int = 1) -> None:
        """Lose the answers to the next requests that contain these bytes.

        :param times: to how many of them; those after them are counted and answered.
        """
        with self._lock:
            self._command, self._losses, self.seen = command, times, 0

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.proxy = self
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_PAUSE,), name="losing proxy")
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.is_closing = True
        self._thread.join()
        # Waits for the connections.
        self._server.server_close()

    def is_lost(self, data: bytes) -> bool:
        """Tell whether the answer to a request is to be lost."""
        with self._lock:
            if not self._command or self._command not in data:
                return False
            self.seen += 1
            self._losses -= 1
            return self._losses >= 0


class _Server(ThreadingTCPServer):
    request_queue_size = 128
    proxy: LosingProxy
    is_closing = False


class _Connection(BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        client, proxy = self.request, self.server.proxy
        with socket.create_connection(("127.0.0.1", proxy.target)) as server:
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            proxy.connections.add(self)
            try:
                self._forward(client, server)
            except ConnectionError:
                # One side has closed it, and so does this one.
                return

    def finish(self) -> None:
        with suppress(OSError):  # the client has closed it
            self.request.shutdown(socket.SHUT_RDWR)
        self.server.proxy.connections.discard(self)

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        is_lost = False
        while not self.server.is_closing:
            ready, _, _ = select.select([client, server], [], [], _PAUSE)
            for source in ready:
                data = source.recv(_CHUNK)
                if not data or (source is server and is_lost):
                    return
                is_lost = is_lost or (source is client and self.server.proxy.is_lost(data))
                (server if source is client else client).sendall(data)
