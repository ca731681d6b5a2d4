"""Every error that wsgi_sessions raises, factored out so that no module has to import another for one.

Messages say what was wrong and what to do about it. None of them holds a
secret, a token, a key or a stored value; the public id may appear.
"""


class SessionError(Exception):
    """The root of all errors of this package."""


class StoreError(SessionError):
    """The store is down, timed out, or failed to read or write.

    Deliberately no ``OSError``: gunicorn takes one that leaves the application
    for a lost connection and closes the socket without an answer. The driver's
    own error is the ``__cause__``.
    """


class SerializationError(SessionError):
    """A value cannot be stored as what it is, or is not of the type asked for.

    :param reason: what is wrong; never the value itself.
    :param path: where it is, such as ``session['cart'][3]``.
    """

    def __init__(self, reason: str, path: str = "session") -> None:
        super().__init__(reason, path)
        self.reason = reason
        self.path = path

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class SessionTooLarge(SessionError):
    """The encoded session is over the limit; the stored one is unchanged."""


class RecordExists(SessionError):
    """``create`` was called with an id that the store already holds."""


class RecordNotFound(SessionError):
    """``save`` or ``touch`` was called for a record that is gone or has expired."""


class VersionConflict(SessionError):
    """``save`` was called with a version that is no longer the stored one."""


class SessionMissing(SessionError):
    """The environ holds no session: no middleware is wrapped around this application."""


class SessionDeleted(SessionError):
    """The session was written to after its ``delete()``."""


class HeadersSent(SessionError):
    """A change that needs a cookie came after the head of the response had left."""


class SessionFrozen(SessionError):
    """The session was used after its response had ended."""
