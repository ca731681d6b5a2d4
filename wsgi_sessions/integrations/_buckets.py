"""What the integrations have in common of ``@with_bucket``: a typed part of the session as a view's parameter."""

from __future__ import annotations

import functools
import inspect
import sys
import typing
from collections.abc import Callable, MutableMapping
from typing import Any

from ..buckets import bucket, load_bucket, store_bucket
from ..exceptions import SerializationError

View = Callable[..., Any]

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
# What such a function returns has not run yet: the bucket would be stored before it is changed.
_RUNS_LATER = (inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction)


def inject_bucket(
    kind: type[Any],
    name: str | None,
    parameter: str | None,
    *,
    find_session: Callable[[tuple[Any, ...]], MutableMapping[str, Any]],
    answers: tuple[type[BaseException], ...],
) -> Callable[[View], View]:
    """Return the decorator that gives a view its bucket.

    :param find_session: returns the session of the request, given the view's positional arguments.
    :param answers: what the framework has views raise to answer a request, such as a redirection:
        the bucket is stored all the same.
    :raises TypeError: if a bucket of this kind cannot be made or has no name; the decorator, if the view cannot
        be given one.
    """
    _check_kind(kind, name)

    def decorate(view: View) -> View:
        keyword, signature = _parameter_of(view, kind, parameter)
        position = _position_of(keyword, view)

        @functools.wraps(view)
        def with_bucket(*arguments: Any, **keywords: Any) -> Any:
            with bucket(find_session(arguments), kind, name) as value:
                if len(arguments) > position:
                    arguments = (*arguments[:position], value, *arguments[position:])
                else:
                    keywords[keyword] = value
                result, answer = _outcome_of(view, arguments, keywords, answers)
            if answer is None:
                return result
            try:
                raise answer
            finally:
                answer = None  # its traceback holds this frame: a reference cycle

        # Frameworks look at the parameters to decide what to pass; this one is not theirs.
        with_bucket.__signature__ = signature  # type: ignore[attr-defined]  # what inspect.signature() asks for
        return with_bucket

    return decorate


def _check_kind(kind: Any, name: str | None) -> None:
    """Refuse when a view is decorated what would otherwise fail in a visitor's first or second request."""
    if inspect.isroutine(kind) or not callable(kind):
        raise TypeError("@with_bucket takes the class of the bucket: write @with_bucket(Guest)")
    stored: dict[str, Any] = {}
    try:
        store_bucket(stored, load_bucket(stored, kind, name), "bucket")
        load_bucket(stored, kind, "bucket")
    except TypeError as error:
        raise TypeError(
            f"@with_bucket({_named(kind)}): a first visitor's bucket is made without arguments, and stored under "
            f"the name of its class or name='...'; {error}"
        ) from error
    except SerializationError as error:
        raise TypeError(
            f"@with_bucket({_named(kind)}): what is made for a first visitor could not be read again ({error.reason}); "
            "a TypedDict needs total=False"
        ) from error


def _parameter_of(view: View, kind: type[Any], parameter: str | None) -> tuple[str, inspect.Signature]:
    """Return the name of the parameter that takes the bucket, and the view's signature without it."""
    if any(runs_later(view) for runs_later in _RUNS_LATER):
        raise TypeError(
            f"@with_bucket: {_named(view)}() is a generator or coroutine, which runs after its bucket would have been "
            "stored: use bucket() of wsgi_sessions.buckets inside of it"
        )
    signature = inspect.signature(view)
    if parameter is None:
        hints = _hints_of(view)
        annotated = [name for name in signature.parameters if _is_of_kind(hints.get(name), kind)]
        if len(annotated) != 1:
            raise TypeError(
                f"@with_bucket({_named(kind)}) needs one parameter of {_named(view)}() that is annotated "
                f"with {_named(kind)}, or parameter='its name'"
            )
        (parameter,) = annotated
    if parameter not in signature.parameters:
        raise TypeError(f"@with_bucket: {_named(view)}() has no parameter {parameter!r}")
    if signature.parameters[parameter].kind not in _BY_NAME:
        raise TypeError(f"@with_bucket: the parameter {parameter!r} of {_named(view)}() cannot be given by its name")
    others = [other for name, other in signature.parameters.items() if name != parameter]
    return parameter, signature.replace(parameters=others)


def _position_of(keyword: str, view: View) -> int:
    """Return where the parameter stands among those that can be given by their position."""
    parameters = inspect.signature(view).parameters
    if parameters[keyword].kind is inspect.Parameter.KEYWORD_ONLY:
        return sys.maxsize
    return list(parameters).index(keyword)


def _outcome_of(
    view: View, arguments: tuple[Any, ...], keywords: dict[str, Any], answers: tuple[type[BaseException], ...]
) -> tuple[Any, BaseException | None]:
    """Return what a view returns, or the answer that it raises."""
    try:
        return view(*arguments, **keywords), None
    except answers as answer:
        return None, answer


def _hints_of(view: View) -> dict[str, Any]:
    try:
        return typing.get_type_hints(view)
    except (NameError, TypeError):  # one of them is only there for type checkers, or the view is no function
        return {name: parameter.annotation for name, parameter in inspect.signature(view).parameters.items()}


def _is_of_kind(hint: Any, kind: type[Any]) -> bool:
    # A hint that could not be evaluated is the text of it.
    return hint == kind or (isinstance(hint, str) and hint in (_named(kind), getattr(kind, "__name__", None)))


def _named(thing: Any) -> str:
    return getattr(thing, "__qualname__", None) or repr(thing)
