"""For tests: the suite that every store passes, and a clock that obeys.

Needs nothing that the package itself does not need: the suite is plain
``assert`` statements and runs under pytest and unittest alike.
"""

from .clock import ReplacedClock
from .store_contract import StoreContract

__all__ = ["ReplacedClock", "StoreContract"]
