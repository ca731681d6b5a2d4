"""What is told of an error that nobody has foreseen: not its text, which may hold what was stored, or a password."""

from __future__ import annotations


def described(error: BaseException) -> str:
    """Return what kind of error it is and where it was raised, such as ``KeyError at /srv/shop/views.py, line 7``."""
    kind = type(error).__name__
    if isinstance(error, SyntaxError):
        return f"{kind} at {error.filename}, line {error.lineno}"
    trace = error.__traceback__
    if trace is None:
        return kind
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{kind} at {trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno}"
