"""What a program has started, by the processes' ids, out of Linux's ``/proc``."""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from services import wait_until

_SECONDS = 10


def family(process: int, variable: str) -> set[int]:
    """Return the ids of a process, of all that descend from it, and of all that inherited a variable from it.

    Chromium's crash handlers are no descendants any more: only their environment tells whose they are.

    :param variable: ``NAME=value``, of an environment that is given to this process alone.
    """
    children = defaultdict(set)
    found = {process}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                children[_parent(entry)].add(int(entry.name))
                if variable.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.add(int(entry.name))
    unseen = list(found)
    while unseen:
        descendants = children[unseen.pop()] - found
        found |= descendants
        unseen += descendants
    return found


def end(processes: set[int]) -> set[int]:
    """Wait for the end of processes, and kill those that do not end; return those that had to be killed."""
    try:
        wait_until(lambda: not any(map(_is_running, processes)), "the end of processes", _SECONDS)
    except TimeoutError:
        lingering = set(filter(_is_running, processes))
        for process in lingering:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        return lingering
    return set()


def _status(entry: Path) -> list[str]:
    # A program's name may hold spaces and parentheses, what follows it does not.
    return (entry / "stat").read_text().rpartition(")")[2].split()


def _parent(entry: Path) -> int:
    return int(_status(entry)[1])


def _is_running(process: int) -> bool:
    try:
        # What is dead may lack someone who takes note of it.
        return _status(Path("/proc", str(process)))[0] not in "ZX"
    except OSError:
        return False
