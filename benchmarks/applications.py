"""The applications that are compared: one page each, with and without a session."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.payload import large, small

HEADERS = [("Content-Type", "text/plain")]
SMALL, LARGE = small(), large()
GetSession = Callable[[dict[str, Any]], Any]
