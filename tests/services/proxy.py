"""A proxy that can hang."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

# Bytes, of one read.
_CHUNK = 65_536
# Seconds. This machine's ports take connections at once, and a thread whose sockets are shut ends at once.
_TIMEOUT = 10


class Proxy:
    """Forwards connections to a server's port on 127.0.0.1 from one of its own, inside of a ``with`` block."""

    def __init__(self, target: int) -> None:
        #: Where it listens; 0 before the block.
        self.port = 0
        #: How often a client has spoken after its server had, or first: what takes a way there and back.
        self.round_trips = 0
        self._target = target
        # Guards the two below, and the end of connections.
        self._changed = threading.Condition()
        self._is_frozen = False
        self._connections: set[_Connection] = set()

    def through(self, url: str) -> str:
        """Return a URL of the server with the proxy's port instead of the server's."""
        assert f":{self._target}" in url, f"no port {self._target} in {url!r}"
        return url.replace(f":{self._target}", f":{self.port}")

    def freeze(self) -> None:
        """Take connections and keep them, but forward nothing any more, not even that one was closed."""
        with self._changed:
            self._is_frozen = True

    def thaw(self) -> None:
        """Forward again, and first what came meanwhile."""
        with self._changed:
            self._is_frozen = False
            self._changed.notify_all()

    def cut(self) -> None:
        """Close all connections; new ones are taken."""
        with self._changed:
            connections = list(self._connections)
            for connection in connections:
                connection.shut()
            self._changed.notify_all()
        for connection in connections:
            connection.thread.join(_TIMEOUT)

    def close(self) -> None:
        """Close all connections and the port; no thread is left."""
        with suppress(OSError):  # it was closed before
            # Wakes the thread that waits for a connection, which close() would not.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(_TIMEOUT)
        self._listener.close()
        self.cut()

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name="proxy", daemon=True)
        self._acceptor.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target), _TIMEOUT)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            connection = _Connection(client, server, self._wait_until_thawed, self._count_round_trip, self._forget)
            with self._changed:
                self._connections.add(connection)
            connection.thread.start()

    def _wait_until_thawed(self, connection: _Connection) -> bool:
        """Return whether the connection goes on."""
        with self._changed:
            self._changed.wait_for(lambda: connection.is_shut or not self._is_frozen)
            return not connection.is_shut

    def _count_round_trip(self) -> None:
        with self._changed:
            self.round_trips += 1

    def _forget(self, connection: _Connection) -> None:
        with self._changed:
            self._connections.discard(connection)
            connection.close()


class _Connection:
    """One connection, and a thread for each direction.

    :param may_forward: called before anything is forwarded, with the connection; False ends it.
    :param client_spoke: called when the client speaks after the server.
    :param ended: called when both directions have ended.
    """

    def __init__(
        self,
        client: socket.socket,
        server: socket.socket,
        may_forward: Callable[[_Connection], bool],
        client_spoke: Callable[[], None],
        ended: Callable[[_Connection], None],
    ) -> None:
        self._sockets = (client, server)
        self._may_forward = may_forward
        self._client_spoke = client_spoke
        self._ended = ended
        self._last_speaker: socket.socket | None = None
        self.is_shut = False
        self.thread = threading.Thread(target=self._run, name="proxied", daemon=True)
        for end in self._sockets:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def shut(self) -> None:
        """End it; the threads close it when they see that."""
        self.is_shut = True
        for end in self._sockets:
            with suppress(OSError):  # the other side has closed it
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for end in self._sockets:
            end.close()

    def _run(self) -> None:
        client, server = self._sockets
        answers = threading.Thread(target=self._pump, args=(server, client), name="proxied answers", daemon=True)
        answers.start()
        self._pump(client, server)
        answers.join()
        self._ended(self)

    def _listen(self, speaker: socket.socket) -> None:
        if speaker is self._sockets[0] is not self._last_speaker:
            self._client_spoke()
        self._last_speaker = speaker

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(_CHUNK):
                if not self._may_forward(self):
                    return
                self._listen(source)
                sink.sendall(data)
            if self._may_forward(self):
                # The other direction may still have something to say.
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            # Reset by one side, or shut.
            self.shut()
