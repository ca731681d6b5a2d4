"""Arguments that several sources take, checked."""

from __future__ import annotations

from datetime import timedelta


def check_is_pickle(serializer: str) -> None:
    """Raise ValueError for what is not ``"pickle"``, where there is no other, but where it has to be said."""
    if serializer != "pickle":
        raise ValueError("these sessions are pickles: write serializer='pickle'")


def checked_lifetime(lifetime: timedelta, name: str) -> int:
    """Return a lifetime in milliseconds.

    :param name: of the argument.
    :raises TypeError: if it is none.
    :raises ValueError: if it is not longer than nothing.
    """
    if not isinstance(lifetime, timedelta):
        raise TypeError(f"{name} must be a timedelta, such as timedelta(days=31), not {type(lifetime).__name__}")
    if lifetime <= timedelta():
        raise ValueError(f"{name} must be longer than nothing: write the one that the old application has")
    return lifetime // timedelta(milliseconds=1)


def checked_timeout(timeout: int | None) -> int | None:
    """Return a timeout in seconds; None for none.

    :raises TypeError: if it is no number.
    :raises ValueError: if it is not more than 0.
    """
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int)):
        raise TypeError(f"timeout must be a number of seconds or None, not {type(timeout).__name__}")
    if timeout is not None and timeout <= 0:
        raise ValueError("timeout must be more than 0 seconds, or None")
    return timeout
