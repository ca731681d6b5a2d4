"""How a session's token travels: one file for each form of cookie.

:class:`wsgi_sessions.cookies.encrypted.EncryptedCookie` is left where it is,
because it needs the ``encrypted`` extra.
"""

from .cookie import SessionCookie
from .signed import SignedCookie

__all__ = ["SessionCookie", "SignedCookie"]
