"""A token against cross-site request forgery, one per session.

Put :func:`token` into a hidden field or a header of every form, and :func:`verify` what
comes back before anything is changed. Call :func:`rotate` at login, as one calls
``cycle_id``: a token that somebody learnt before is then worth nothing.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import MutableMapping
from typing import Any

_KEY = "_csrf_token"
# 256 bits, as OWASP's synchronizer token pattern has it: nobody guesses one of them.
_TOKEN_BYTES = 32


def token(session: MutableMapping[str, Any]) -> str:
    """Return the session's token, 43 characters of base64url; the first call makes it.

    >>> session = {}
    >>> verify(session, token(session))
    True
    """
    return _stored(session) or rotate(session)


def verify(session: MutableMapping[str, Any], presented: str | None) -> bool:
    """Tell in constant time whether a request presented the session's token.

    It is not an error that the request has none (None), or the session: both are False.
    """
    stored = _stored(session)
    if stored is None or not isinstance(presented, str):
        return False
    # As bytes, because compare_digest refuses text beyond ASCII; and a WSGI server may hand over lone surrogates.
    return hmac.compare_digest(stored.encode(errors="surrogatepass"), presented.encode(errors="surrogatepass"))


def rotate(session: MutableMapping[str, Any]) -> str:
    """Give the session a new token and return it: forms that hold the old one fail."""
    fresh = secrets.token_urlsafe(_TOKEN_BYTES)
    session[_KEY] = fresh
    return fresh


def _stored(session: MutableMapping[str, Any]) -> str | None:
    """Return the token, or None if the session holds none, or something that is none."""
    stored = session.get(_KEY)
    return stored if isinstance(stored, str) and stored else None
