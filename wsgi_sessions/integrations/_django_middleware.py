"""Django's session middleware, for stores that can fail and sessions that a login has just taken over."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib.sessions import middleware
from django.http import HttpResponse
from django.utils.cache import patch_vary_headers

from ..exceptions import StoreError
from ..request_sessions import OUTAGE, RETRY_AFTER
from ._django_session import SessionStore

if TYPE_CHECKING:
    from django.http import HttpRequest

_log = logging.getLogger("wsgi_sessions")


class SessionMiddleware(middleware.SessionMiddleware):  # type: ignore[misc]  # Django has no types
    """Django's own, except that a store that fails is answered 503 with Retry-After, and no login is overwritten.

    A request that still came with the key that a login has replaced a moment ago neither removes the new cookie nor
    stores anything. A key that is new by then goes out with a server error too, since the old one opens nothing.
    """

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer a store error that a view did not catch."""
        return self._unavailable(exception) if isinstance(exception, StoreError) else None

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Save the session and set or remove its cookie, as Django does."""
        session = getattr(request, "session", None)
        if not isinstance(session, SessionStore):
            return super().process_response(request, response)
        if not (session.accessed or session.modified or settings.SESSION_SAVE_EVERY_REQUEST):
            return response
        response = self._answer(session, request, response)
        if response.status_code >= 500:
            _announce_new_key(session, request, response)
        return response

    def service_unavailable(self) -> HttpResponse:
        """Return the response to a request whose session could not be read or stored: override it for a page."""
        headers = {"Retry-After": RETRY_AFTER}
        return HttpResponse("Service Unavailable", status=503, content_type="text/plain", headers=headers)

    def _answer(self, session: SessionStore, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if session.store_failed and response.status_code >= 500:
            # The store error that another middleware met is a 500 by now.
            return response if response.status_code == 503 else self.service_unavailable()
        is_used = session.accessed
        try:
            return self._with_session(session, request, response)
        except StoreError as error:
            if is_used:
                return self._unavailable(error)
            _log.warning("a session could not be kept alive", exc_info=True)
            return response

    def _with_session(self, session: SessionStore, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if session.modified or settings.SESSION_SAVE_EVERY_REQUEST:
            # Only then it is known whether it is to be left alone.
            session.open()
        if not session.is_superseded:
            return super().process_response(request, response)
        if session.modified:
            _log.info("the changes of a request whose session is closed to it were dropped")
        patch_vary_headers(response, ("Cookie",))
        return response

    def _unavailable(self, error: Exception) -> HttpResponse:
        _log.error(OUTAGE, exc_info=error)
        return self.service_unavailable()


def _announce_new_key(session: SessionStore, request: HttpRequest, response: HttpResponse) -> None:
    """Set the cookie of a key that is stored already, though the rest of the session is not saved."""
    if session.session_key in (None, request.COOKIES.get(settings.SESSION_COOKIE_NAME)):
        return
    patch_vary_headers(response, ("Cookie",))
    response.set_cookie(
        settings.SESSION_COOKIE_NAME,
        session.session_key,
        max_age=None if session.get_expire_at_browser_close() else session.get_expiry_age(),
        domain=settings.SESSION_COOKIE_DOMAIN,
        path=settings.SESSION_COOKIE_PATH,
        secure=settings.SESSION_COOKIE_SECURE or None,
        httponly=settings.SESSION_COOKIE_HTTPONLY or None,
        samesite=settings.SESSION_COOKIE_SAMESITE,
    )
