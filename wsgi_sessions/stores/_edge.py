"""The edge of a store: where a driver's error becomes a StoreError, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from ..exceptions import StoreError
from .base import SessionStore

#: A read that failed at once, because its connection was dead, is tried again; one that took its time is not.
AT_ONCE_SECONDS = 0.5

_Store = TypeVar("_Store", bound=SessionStore)
_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")
_Method = Callable[Concatenate[_Store, _Parameters], _Result]


def raises_store_error(
    *errors: type[Exception],
) -> Callable[[_Method[_Store, _Parameters, _Result]], _Method[_Store, _Parameters, _Result]]:
    """Decorate a method of a store so that these errors of its driver leave it as StoreError.

    The message names the store by its repr, which tells no password.
    """

    def decorate(method: _Method[_Store, _Parameters, _Result]) -> _Method[_Store, _Parameters, _Result]:
        @wraps(method)
        def at_the_edge(self: _Store, /, *args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
            try:
                return method(self, *args, **kwargs)
            except errors as error:
                raise StoreError(f"{method.__name__} failed in {self!r}: {error}") from error

        return at_the_edge

    return decorate
