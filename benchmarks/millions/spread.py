"""How far measured times lie apart."""

from __future__ import annotations

from typing import NamedTuple


class Spread(NamedTuple):
    """Of many times; in the unit that they had."""

    number: int
    median: float
    p99: float
    longest: float


def spread(times: list[float]) -> Spread:
    """Return it; of no time at all, zeros."""
    if not times:
        return Spread(0, 0.0, 0.0, 0.0)
    ordered = sorted(times)
    last = len(ordered) - 1
    return Spread(len(ordered), ordered[last // 2], ordered[round(last * 0.99)], ordered[last])
