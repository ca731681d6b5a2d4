"""Werkzeug: ``request.session``, for applications that are made of Werkzeug's requests and responses alone.

The middleware does the work; the mixin is a property more::

    import werkzeug
    from wsgi_sessions.integrations.werkzeug import SessionRequestMixin

    class Request(SessionRequestMixin, werkzeug.Request):
        ...

Not for Flask, whose requests are Werkzeug's: there, ``flask.session`` is it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from werkzeug.utils import cached_property

from ..request_sessions import get_session
from ..session import Session

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


class SessionRequestMixin:
    """Adds ``session`` to a subclass of ``werkzeug.Request``."""

    environ: WSGIEnvironment
    #: The name of the cookie whose session is meant; None for that of the innermost middleware.
    session_cookie_name: str | None = None

    @cached_property
    def session(self) -> Session:
        """The session of the request.

        :raises SessionMissing: if no SessionMiddleware is wrapped around the application.
        """
        return get_session(self.environ, self.session_cookie_name)
