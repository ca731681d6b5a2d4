"""Pickles, read as data: nothing that one names is imported, nothing is called, so none can run code here.

Unpickling with a list of classes that are allowed is not safe: with no class at all, a pickle can take all memory, or
end the process. What this returns is bounded in size and depth, and so is the time it takes. It is still to be
kept to where somebody has said that the sessions are pickles, and, in a cookie, to what is signed.
"""

from __future__ import annotations

from typing import Any

from ..legacy import LegacyError, Reason
from ._pickle_classes import MAKERS
from ._pickle_nodes import Refused
from ._pickle_opcodes import parse
from ._pickle_values import Builder


def load(data: bytes) -> Any:
    """Return the value of a pickle, of whatever protocol, Python 2 or 3.

    It is made of ``dict``, ``list``, ``tuple``, ``set``, ``frozenset``, ``str``, ``bytes``, ``int``, ``float``,
    ``bool``, ``None``, ``datetime``, ``date``, ``time``, ``timedelta``, ``Decimal``, ``UUID``, ``Markup``, time zones,
    and :class:`~wsgi_sessions.migration.base.Unknown` for instances of other classes, and the classes themselves.
    An ``OrderedDict``, ``defaultdict`` or ``Counter`` is a dict, a ``deque`` or ``range`` a list, a ``bytearray``
    bytes. A ``str`` of Python 2 is text if it is UTF-8, else bytes. A dict or set with instances of other classes
    for keys is an Unknown itself.

    :raises LegacyError: if it is malformed, hostile, or larger than a session can be.
    """
    return load_first(data)[0]


def load_first(data: bytes) -> tuple[Any, int]:
    """Return the value of the pickle that some bytes begin with, and how many of them it took.

    :raises LegacyError: as :func:`load`.
    """
    try:
        tree, size = parse(data)
        return Builder(MAKERS).value(tree), size
    except Refused as refused:
        reason = str(refused)
    except RecursionError:  # under a caller that has left little room
        reason = "nested too deeply"
    raise LegacyError(Reason.CORRUPT, f"a pickle: {reason}")
