"""A private server: what all kinds have in common."""

from __future__ import annotations

import signal
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

from .ports import free_port
from .processes import Process, ServerError
from .waiting import TIMEOUT

# So often another process takes the port between the choice of it and the server's start, and one more chance.
_PORTS_TRIED = 5
_PAUSE = 0.01


class Server(ABC):
    """A server on a port of 127.0.0.1, with its data in a folder; it runs inside of a ``with`` block.

    :param directory: where the data's folder is made; two servers of a kind need two.
    :param options: more of the program's own, from its command line.
    """

    #: How much further it listens, too.
    PORTS_BESIDE: tuple[int, ...] = ()
    #: Asks it to end in order, without waiting for its clients.
    STOP_SIGNAL = signal.SIGTERM
    #: What its driver raises when it does not answer.
    ERRORS: tuple[type[Exception], ...] = (OSError,)

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.options = options
        #: 0 before the first start, and the same ever after.
        self.port = 0
        # None before the first start.
        self._process: Process | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """What store_from_url() takes."""

    @staticmethod
    @abstractmethod
    def ask(url: str, seconds: float) -> str:
        """Return something that no other server says of itself, or raise one of ERRORS."""

    @abstractmethod
    def _command(self) -> list[str]:
        """Return the command that runs it in the foreground."""

    @abstractmethod
    def _is_own(self, answer: str) -> bool:
        """Whether this server, and not another one on its port, gave that answer to ask()."""

    def _prepare(self) -> None:
        """Make the data, before the first start."""

    def _discard(self) -> None:
        """Remove what a server that was killed leaves elsewhere than in its folder."""

    def _user(self) -> str | None:
        """Return who runs it, None for who runs the tests."""
        return None

    @property
    def is_running(self) -> bool:
        """Whether its process has not ended; a paused one has not."""
        return self._process is not None and self._process.is_running

    @property
    def pid(self) -> int:
        """The id of its main process, since the last start."""
        assert self._process is not None, "it has not been started"
        return self._process.pid

    @property
    def log(self) -> str:
        """What it wrote since its last start."""
        return "" if self._process is None else self._process.log

    def start(self) -> None:
        """Start it, again with the same data on the same port, and wait until it answers.

        :raises ServerError: it ended, or did not answer in time.
        """
        assert not self.is_running, "it runs already"
        if self.port:
            self._launch()
            return
        self._prepare()
        for _ in range(_PORTS_TRIED):
            self.port = free_port(*self.PORTS_BESIDE)
            try:
                self._launch()
            except ServerError:
                if "Address already in use" in self.log:
                    continue
                raise
            return
        raise ServerError(f"{self._command()[0]} found no port")

    def stop(self) -> None:
        """End it in order, if it runs."""
        if self._process is not None:
            self._process.stop(self.STOP_SIGNAL)

    def kill(self) -> None:
        """End all of its processes in the middle of what they do, as a crash does."""
        if self._process is not None:
            self._process.kill()

    def pause(self) -> None:
        """Stop all of its processes: connections stay, new ones are taken by the kernel, and nobody answers."""
        assert self._process is not None, "it has not been started"
        self._process.pause()

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None, "it has not been started"
        self._process.resume()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
        self._discard()

    def _launch(self) -> None:
        self._process = Process(self._command(), self.directory, user=self._user())
        try:
            self._wait_for_answer(self._process)
        except BaseException:
            self._process.kill()
            raise

    def _wait_for_answer(self, process: Process) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not self._answers():
            if not process.is_running:
                raise ServerError(f"{type(self).__name__} ended instead of answering:\n{process.log}")
            if time.monotonic() > deadline:
                raise ServerError(f"{type(self).__name__} does not answer:\n{process.log}")
            time.sleep(_PAUSE)

    def _answers(self) -> bool:
        try:
            return self._is_own(self.ask(self.url, 2))
        except self.ERRORS:
            return False
