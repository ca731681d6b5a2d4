"""Times functions against each other so that a machine's drift hits all of them alike.

Each function runs in batches of some milliseconds, all of them in turn, many
rounds; what is reported is the median of its batches.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

BATCH_SECONDS = 0.008
ROUNDS = 31
_SIZING_REPEATS = 5

Environ = dict[str, Any]


def drive(app: Any, template: Environ) -> Callable[[], None]:
    """Return a function that sends one request through a WSGI application, as a server would."""

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        return _write

    def request() -> None:
        body = app(template.copy(), start_response)
        for _ in body:
            pass
        close = getattr(body, "close", None)
        if close is not None:
            close()

    return request


def compare(
    functions: Mapping[str, Callable[[], object]],
    rounds: int = ROUNDS,
    *,
    between: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Return the median time of each function in microseconds, all measured in one interleaved run.

    :param between: is called before each batch, and not measured.
    """
    sizes = {name: _batch_size(function) for name, function in functions.items()}
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            between()
            gc.collect()
            # What is cold after all that, caches and connections, is not the function's.
            function()
            times[name].append(_batch(function, sizes[name]))
    return {name: statistics.median(batches) * 1e6 for name, batches in times.items()}


def _batch_size(function: Callable[[], object]) -> int:
    """Return how many calls fill a batch; warms the function up on the way."""
    size = 1
    while True:
        seconds = _batch(function, size) * size
        if seconds > BATCH_SECONDS / 4:
            # Whatever was slow the first time is no longer.
            seconds = min(_batch(function, size) for _ in range(_SIZING_REPEATS)) * size
            return max(1, int(size * BATCH_SECONDS / seconds))
        size *= 2


def _batch(function: Callable[[], object], size: int) -> float:
    repeat = range(size)
    begin = time.perf_counter()
    for _ in repeat:
        function()
    return (time.perf_counter() - begin) / size


def _write(data: bytes) -> None:
    """Take what an application writes; none of these does."""
