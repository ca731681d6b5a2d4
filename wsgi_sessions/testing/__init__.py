"""For tests: the suite that every store passes, a clock that obeys, a visitor who is signed in.

Needs nothing that the package itself does not need: the suite is plain
``assert`` statements and runs under pytest and unittest alike.
"""

from .clock import ReplacedClock
from .store_contract import StoreContract
from .visitor import cookie_of_visitor

__all__ = ["ReplacedClock", "StoreContract", "cookie_of_visitor"]
