"""Flask's own sessions, 0.10 to 3.1: all of them in a signed cookie."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, ClassVar, Self
from uuid import UUID

from werkzeug.http import parse_date

from .. import clock
from ..legacy import LegacyError, LegacySession, Reason
from ._arguments import checked_lifetime
from ._configurations import flask_cookie, flask_lifetime
from ._personal import PERSONAL_KEYS, checked_names, is_personal
from ._reading import read_base64url, read_dotted, read_json, refuse_ended
from ._signatures import DottedSigner, checked_secrets
from .base import Convert, Source, Unknown

# itsdangerous before 1.0 counted from 2011 on. No cookie is as old as a number below this says otherwise.
_ITSDANGEROUS_EPOCH = 1_293_840_000
# Milliseconds by which the clock of the server that signed may have been ahead of ours.
_AHEAD = 60_000


class FlaskSource(Source):
    """Reads the cookie of a Flask application without a session extension.

    Flask accepts a cookie for ``lifetime`` after it was written, permanent or not; so does this.

    :param secret_key: the application's ``SECRET_KEY``.
    :param fallbacks: its ``SECRET_KEY_FALLBACKS``, and other keys that it had. Flask 3.1.0 signed with one of them.
    :param lifetime: its ``PERMANENT_SESSION_LIFETIME``.
    :param salt: as its session interface has it, if it is not Flask's own; this and the next two.
    :param digest_method: the name of a digest: ``"sha1"``.
    :param key_derivation: ``"hmac"``, ``"concat"``, ``"django-concat"`` or ``"none"``.
    :param personal_keys: whose values, unless they are false, no two visitors share: not one that guests have, too.
        With one of them, parallel requests come to the same new session; without, each to one of its own, because
        two visitors may have the very same cookie.
    :param python2: whether it ran on Python 2, whose byte strings were meant as text.
    :param takes_last: whether it took the last of several cookies of one name, as Werkzeug before 1.0 did; if it is
        None, that is so on Python 2.
    :param cookie_name: this and all others: see :class:`Source`.
    :raises TypeError: if a key is neither ``str`` nor ``bytes``.
    :raises ValueError: if a key is empty, or another value makes no sense.
    """

    system: ClassVar[str] = "flask"

    def __init__(
        self,
        secret_key: str | bytes,
        *,
        fallbacks: Iterable[str | bytes] = (),
        lifetime: timedelta = timedelta(days=31),
        salt: str = "cookie-session",
        digest_method: str = "sha1",
        key_derivation: str = "hmac",
        personal_keys: Iterable[str] = PERSONAL_KEYS,
        python2: bool = False,
        takes_last: bool | None = None,
        cookie_name: str = "session",
        path: str = "/",
        domain: str | None = None,
        secure: bool | None = None,
        partitioned: bool = False,
        convert: Convert | None = None,
        on_unknown: str = "drop",
    ) -> None:
        super().__init__(
            cookie_name,
            path=path,
            domain=domain,
            secure=secure,
            partitioned=partitioned,
            convert=convert,
            on_unknown=on_unknown,
        )
        keys = checked_secrets(secret_key, "secret_key", fallbacks)
        self._signer = DottedSigner(keys, salt=salt, digest=digest_method, derivation=key_derivation)
        self._lifetime = checked_lifetime(lifetime, "lifetime")
        self._personal_keys = checked_names(personal_keys)
        self._python2 = python2
        self.takes_last = python2 if takes_last is None else takes_last

    @classmethod
    def from_config(cls, config: Mapping[str, Any], **others: Any) -> Self:
        """Return the source for an application that keeps its configuration.

        >>> FlaskSource.from_config({"SECRET_KEY": "key", "SESSION_COOKIE_NAME": "shop"}).cookie_name
        'shop'

        :param config: ``app.config``, which has the key, its fallbacks, the lifetime, and all about the cookie.
        :param others: arguments of the class, which come before: what was other than the configuration says now.
        """
        own = {
            "secret_key": config.get("SECRET_KEY"),
            "fallbacks": config.get("SECRET_KEY_FALLBACKS") or (),
            "lifetime": flask_lifetime(config),
        }
        return cls(**{**own, **flask_cookie(config), **others})

    def identify(self, cookie: str) -> list[str]:
        """Return the cookie itself: there is no other id. Each change of the session makes another one."""
        self._signer.verify(cookie)
        return [cookie]

    def open(self, cookie: str) -> LegacySession:
        """Return the session in a cookie; see :class:`LegacySource`."""
        payload, _, stamp = self._signer.verify(cookie).rpartition(".")
        expires = self._end(stamp)
        try:
            data = self._data(read_json(read_dotted(payload)))
        except RecursionError:
            raise LegacyError(Reason.CORRUPT, "nested too deeply") from None
        permanent = bool(data.pop("_permanent", False))
        kept, dropped = self._storable(data)
        return LegacySession(
            data=kept,
            expires=expires,
            persistent=permanent,
            idle=self._lifetime,
            personal=is_personal(data, self._personal_keys),
            dropped=dropped,
        )

    def _data(self, tagged: Any) -> dict[Any, Any]:
        data = _untag(tagged)
        if type(data) is not dict:
            raise LegacyError(Reason.CORRUPT, "no session")
        if self._python2:
            return {key: _as_text(value) for key, value in data.items()}
        if "_flashes" in data:
            # Messages and their categories are text, whoever wrote them.
            data["_flashes"] = _as_text(data["_flashes"])
        return data

    def _end(self, stamp: str) -> int:
        """Return when a cookie ends that was signed at a time.

        :raises LegacyError: if it has.
        """
        seconds = int.from_bytes(read_base64url(stamp), "big")
        signed = (seconds + _ITSDANGEROUS_EPOCH if seconds < _ITSDANGEROUS_EPOCH else seconds) * 1000
        if signed > clock.now() + _AHEAD:
            # Not as one that has expired, whose cookie would go: it is good once our clock has come as far.
            raise LegacyError(Reason.CORRUPT, "signed in the future")
        expires = signed + self._lifetime
        refuse_ended(expires)
        return expires


def _untag(value: Any) -> Any:
    """Return a value with its tags resolved, the innermost first."""
    if type(value) is list:
        return [_untag(item) for item in value]
    if type(value) is not dict:
        return value
    value = {key: _untag(item) for key, item in value.items()}
    if len(value) != 1:
        return value
    ((tag, body),) = value.items()
    if tag not in _TAGS:
        return value
    try:
        return _TAGS[tag](body)
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError):
        # An application's own dict may have looked like a tag: Flask has an escape for that since 1.0 only.
        return Unknown(f"flask tag{tag}", body)


def _moment(body: str) -> Any:
    moment = parse_date(body)
    if moment is None:
        raise ValueError
    return moment


def _escaped(body: dict[str, Any]) -> dict[str, Any]:
    ((key, value),) = body.items()
    return {key[:-2]: value}


def _markup(body: str) -> Any:
    from markupsafe import Markup

    return Markup(body)


_TAGS: dict[str, Callable[[Any], Any]] = {
    " t": tuple,
    " b": b64decode,
    " m": _markup,
    " u": UUID,
    " d": _moment,
    " di": _escaped,
}


def _as_text(value: Any) -> Any:
    """Return a value in which byte strings are text, but for those that are no UTF-8."""
    if type(value) is bytes:
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    if type(value) in (list, tuple):
        return type(value)(_as_text(item) for item in value)
    if type(value) is dict:
        return {key: _as_text(item) for key, item in value.items()}
    return value
