"""Values of options: text, as configuration files have it, or of the right type already.

No message repeats a value: it may be a key, or a URL with a password, also in
the place of something else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from difflib import get_close_matches
from pkgutil import resolve_name
from typing import Any, TypeVar

from ..legacy import LegacySource
from ..takeover import Takeover

Value = TypeVar("Value")
#: What reads the value of each option.
Readers = Mapping[str, Callable[[Any], Any]]

_MILLISECOND = timedelta(milliseconds=1)
_UNITS = ("seconds", "minutes", "hours", "days", "weeks")
_is_duration = re.compile(rf"([0-9]+(?:\.[0-9]+)?)(?:\s*({'|'.join(unit[:-1] for unit in _UNITS)})s?)?").fullmatch
_DURATION = f"a number of seconds, or a number and one of {', '.join(_UNITS)}, such as 30 minutes"
_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
# "memory:", "memory:?max_records=5" and "file:///sessions" are none.
_is_dotted_name = re.compile(r"(?:[^\W\d]\w*\.)*[^\W\d]\w*:(?:[^\W\d]\w*\.)*[^\W\d]\w*").fullmatch
# A key on a line that should have been indented becomes the name of an option, up to its "=".
_is_shown = re.compile(r"[A-Za-z_.\-]{1,40}").fullmatch


class WrongValue(ValueError):
    """A value is not what its option needs; the text goes on after the option's name."""


class Options:
    """The options among some settings, by their names without the prefix.

    None stands for what was not given.

    :param prefix: of the settings that are options; errors name them with it.
    """

    def __init__(self, settings: Mapping[str, Any], prefix: str) -> None:
        self._prefix = prefix
        self._names = [name.removeprefix(prefix) for name in settings if name.startswith(prefix)]
        self._values = {name: value for name in self._names if (value := settings[prefix + name]) is not None}
        # The one whose default, no domain, has no other text.
        if str(self._values.get("cookie.domain", "none")).strip() == "":
            del self._values["cookie.domain"]

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def parts(self, group: str) -> list[str]:
        """Return the names of what was given as ``group.<name>``, without the group."""
        return [name.removeprefix(f"{group}.") for name in self._values if name.startswith(f"{group}.")]

    def read(self, name: str, reader: Callable[[Any], Value]) -> Value:
        """Return what a reader makes of a value.

        :raises ValueError: naming the option, if it is empty or the reader refuses it.
        """
        value = self._values[name]
        if isinstance(value, str):
            value = value.strip()
            if not value:
                raise self.error(name, "is empty: give it a value, or leave it out")
        try:
            return reader(value)
        except WrongValue as error:
            raise self.error(name, str(error)) from error.__cause__

    def error(self, name: str, text: str) -> ValueError:
        """Return an error that names an option as it was written, and goes on with the text."""
        return ValueError(f"{self._prefix}{name} {text}")

    def refuse_unknown(self, known: Iterable[str], group: str) -> None:
        """Raise ValueError if a name is not among these, nor in the group whose names are not known here."""
        names = sorted(known)
        for name in self._names:
            if name in names or (name.startswith(f"{group}.") and name != f"{group}."):
                continue
            shown = repr(self._prefix + name) if _is_shown(name) else "(no name: is a line not indented?)"
            can_be = ", ".join(self._prefix + option for option in (*names, f"{group}.<option>"))
            raise ValueError(f"unknown option {shown}; {self._nearest(name, names)}known are {can_be}")

    def _nearest(self, name: str, names: list[str]) -> str:
        # "domain" is near to "cookie.domain" as well.
        candidates = {option.rpartition(".")[2]: option for option in names} | {option: option for option in names}
        nearest = get_close_matches(name.lower(), candidates, n=1)
        return f"did you mean {self._prefix}{candidates[nearest[0]]}? " if nearest else ""


def read_text(value: object) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise WrongValue(f"must be a text, not {type(value).__name__}")
    return value


def read_boolean(value: object) -> bool:
    """Return True or False, whatever the case of the text."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _BOOLEANS:
        return _BOOLEANS[value.lower()]
    raise WrongValue("must be true or false, yes or no, on or off, 1 or 0")


def read_size(value: object) -> int:
    """Return a number of bytes, at least one."""
    if isinstance(value, str) and re.fullmatch("[0-9]{1,18}", value):
        value = int(value)
    if type(value) is not int or value < 1:
        raise WrongValue("must be a number of bytes, such as 65536")
    return value


def read_duration(value: object) -> timedelta:
    """Return a duration; a number is one of seconds."""
    if isinstance(value, timedelta):
        return value
    number, unit = value, "second"
    if isinstance(value, str) and (match := _is_duration(value.lower())):
        number, unit = float(match[1]), match[2] or unit
    if isinstance(number, int | float) and not isinstance(number, bool):
        try:
            return timedelta(**{f"{unit}s": number})
        except (OverflowError, ValueError):
            raise WrongValue(f"is too long, or no number: write {_DURATION}") from None
    raise WrongValue(f"must be {_DURATION}")


def read_positive_duration(value: object) -> timedelta:
    """Return a duration of at least a millisecond."""
    duration = read_duration(value)
    if duration < _MILLISECOND:
        raise WrongValue("must be at least a millisecond")
    return duration


def read_duration_or_never(value: object) -> timedelta | None:
    """Return a duration; of the text ``never``, None."""
    if isinstance(value, str) and value.lower() == "never":
        return None
    try:
        return read_duration(value)
    except WrongValue as error:
        raise WrongValue(f"{error}, or never") from None


def read_moment(value: object) -> datetime:
    """Return a moment in a zone, out of ISO 8601."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        moment = None
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise WrongValue("must be a date and time with its zone, such as 2030-01-31T12:00:00+00:00")
    return moment


def read_keys(value: object) -> list[str | bytes]:
    """Return keys, of a text what whitespace separates, for a cookie to check."""
    if isinstance(value, str):
        return [*value.split()]
    if not isinstance(value, list | tuple):
        raise WrongValue("must be keys with whitespace between them, oldest first, or a list of keys")
    return [*value]


def read_callable(value: object) -> Callable[..., Any]:
    """Return something to call, of a text what it names as ``package.module:attribute``."""
    found: object = resolve(value) if isinstance(value, str) else value
    if not callable(found):
        raise WrongValue(f"must be something to call, not {type(found).__name__}")
    return found


def read_sources(value: object) -> Sequence[LegacySource]:
    """Return a list of sources, or what a function returns that makes it; of a text, of what it names."""
    found: Any = resolve(value) if isinstance(value, str) else value
    if callable(found):
        found = call_without_arguments(found)
    try:
        Takeover(found)
    except TypeError as error:
        # It begins with the name of the option.
        raise WrongValue(str(error).partition(" ")[2]) from None
    sources: Sequence[LegacySource] = found
    return sources


def read_retirement(value: object) -> str:
    """Return what becomes of what other libraries have stored."""
    if value not in ("delete", "keep"):
        raise WrongValue("must be delete or keep")
    return str(value)


def call_without_arguments(function: Callable[[], Any]) -> Any:
    """Return what a function returns."""
    try:
        return function()
    except TypeError as error:
        raise WrongValue(f"names what cannot be called without arguments: {error}") from error


def is_dotted_name(text: str) -> bool:
    """Tell whether a text is ``module:attribute`` or ``package.module:attribute.attribute``."""
    return _is_dotted_name(text) is not None


def resolve(name: str) -> Any:
    """Return what a dotted name is the name of; importing its module runs that module's code."""
    if not is_dotted_name(name):
        raise WrongValue("must be a name such as package.module:attribute")
    try:
        return resolve_name(name)
    except (ImportError, AttributeError) as error:
        # Their texts hold names only.
        raise WrongValue(f"cannot be imported: {error}") from error
