"""Several Redis servers that know of each other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack
from typing import Self

from .redis import Redis


class RedisGroup(ABC):
    """Servers that start and end together; each of ``nodes`` can also be killed, paused and started alone."""

    def __init__(self, nodes: list[Redis]) -> None:
        self.nodes = nodes
        self._ends = ExitStack()

    @property
    @abstractmethod
    def url(self) -> str:
        """What store_from_url() takes."""

    def _introduce(self) -> None:
        """Make them know of each other after the first start, unless they were told before."""

    @abstractmethod
    def wait_until_ready(self) -> None:
        """Return when all of them run, and work as a group.

        :raises TimeoutError: they do not.
        """

    def start(self) -> None:
        """Start those that do not run, with their data, and wait until the group works."""
        for node in self.nodes:
            if not node.is_running:
                node.start()
        self.wait_until_ready()

    def stop(self) -> None:
        """End them in order."""
        for node in self.nodes:
            node.stop()

    def kill(self) -> None:
        """End them in the middle of what they do."""
        for node in self.nodes:
            node.kill()

    def pause(self) -> None:
        """Stop them: connections stay, and nobody answers.

        Sentinels that stood still for more than two seconds do nothing for half a minute, because they trust no clock.
        """
        for node in self.nodes:
            node.pause()

    def resume(self) -> None:
        """Let them go on."""
        for node in self.nodes:
            node.resume()

    def __enter__(self) -> Self:
        with ExitStack() as ends:
            for node in self.nodes:
                ends.enter_context(node)
            self._introduce()
            self.wait_until_ready()
            self._ends = ends.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ends.close()
