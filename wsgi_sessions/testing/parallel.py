"""Runs the same work in several threads or processes at once and gathers what they return.

Processes are forked, so that they have what the test has; each result travels
as JSON through a pipe, every wait is bounded, and no process outlives the call.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any
from unittest import SkipTest

#: Gets its number and a function that waits until all others are ready as well;
#: returns something that JSON can carry.
Work = Callable[[int, Callable[[], object]], Any]

# Seconds between two chances for another thread: the default of 5 ms hides most races.
_SWITCH_INTERVAL = 1e-5
# For all processes together, after their answer: one that waits for a lock will not end by itself.
_SECONDS_TO_END = 1.0


def in_threads(work: Work, count: int, timeout: float) -> list[Any]:
    """Return what ``work`` returned in each of ``count`` threads.

    :param timeout: seconds for all of it.
    :raises AssertionError: if one of them raised or is not done in time.
    """
    barrier = threading.Barrier(count)
    results: list[Any] = [None] * count
    errors: list[str] = []

    def run(index: int) -> None:
        try:
            results[index] = work(index, lambda: barrier.wait(timeout))
        except Exception:
            errors.append(traceback.format_exc())
            barrier.abort()

    with _many_switches():
        threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(count)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + timeout
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
    assert not errors, errors[0]
    assert not any(thread.is_alive() for thread in threads), f"a thread was not done after {timeout} seconds"
    return results


def in_processes(work: Work, count: int, timeout: float) -> list[Any]:
    """Return what ``work`` returned in each of ``count`` forked processes.

    :param timeout: seconds for each step of all of them.
    :raises AssertionError: if one of them raised, died or is not done in time.
    :raises unittest.SkipTest: where there is no fork.
    """
    skip_without_fork()
    children: list[tuple[BaseProcess, Connection]] = []
    try:
        for index in range(count):
            children.append(_fork(work, index))
        for _process, connection in children:
            _receive(connection, timeout)
        for _process, connection in children:
            connection.send_bytes(b"start")
        return [_receive(connection, timeout) for _process, connection in children]
    finally:
        _end(children)


def skip_without_fork() -> None:
    """Skip the running test on a platform that cannot fork."""
    if "fork" not in multiprocessing.get_all_start_methods():
        raise SkipTest("this platform has no fork")


@contextmanager
def _many_switches() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_INTERVAL)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def _fork(work: Work, index: int) -> tuple[BaseProcess, Connection]:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run_child, args=(work, index, theirs), daemon=True)
    with warnings.catch_warnings():
        # Python 3.12 warns about a fork beside other threads; surviving one is what some tests check.
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    # The only copy of their end is now the child's: if it dies, ours reads the end.
    theirs.close()
    return process, ours


def _run_child(work: Work, index: int, connection: Connection) -> None:
    started = False

    def start() -> None:
        nonlocal started
        started = True
        connection.send_bytes(b'{"result": null}')
        connection.recv_bytes()

    try:
        answer = {"result": work(index, start)}
    except Exception:
        answer = {"error": traceback.format_exc()}
    if not started and "error" not in answer:
        start()
    # A parent that has failed meanwhile no longer listens.
    with suppress(OSError):
        connection.send_bytes(json.dumps(answer).encode())


def _receive(connection: Connection, timeout: float) -> Any:
    assert connection.poll(timeout), f"a process did not answer within {timeout} seconds"
    try:
        answer = json.loads(connection.recv_bytes())
    except EOFError:
        raise AssertionError("a process died without an answer") from None
    assert "error" not in answer, answer["error"]
    return answer["result"]


def _end(children: list[tuple[BaseProcess, Connection]]) -> None:
    """Let the processes end by themselves if they are about to, and see that they are gone."""
    for _process, connection in children:
        connection.close()
    deadline = time.monotonic() + _SECONDS_TO_END
    for process, _connection in children:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
        process.close()
