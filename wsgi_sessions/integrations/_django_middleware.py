"""Django's session middleware, for stores that can fail and sessions that a login has just taken over."""

from __future__ import annotations

import logging
from http.cookies import Morsel
from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib.sessions import middleware
from django.http import HttpResponse
from django.utils.cache import patch_cache_control, patch_vary_headers

from ..exceptions import StoreError
from ..request_sessions import OUTAGE, RETRY_AFTER
from ._django_session import SessionStore
from ._django_store import takes_over

if TYPE_CHECKING:
    from django.http import HttpRequest

_log = logging.getLogger("wsgi_sessions")


class SessionMiddleware(middleware.SessionMiddleware):  # type: ignore[misc]  # Django has no types
    """Django's own, except that a store that fails is answered 503 with Retry-After, and no login is overwritten.

    A request that still came with the key that a login has replaced a moment ago neither removes the new cookie nor
    stores anything. A key that is new by then goes out with a server error too, since the old one opens nothing.
    Sessions of the libraries in ``WSGI_SESSIONS_LEGACY`` are taken over.
    """

    def process_request(self, request: HttpRequest) -> None:
        """Give the request its session, as Django does."""
        super().process_request(request)
        if isinstance(request.session, SessionStore) and takes_over():
            request.session.cookie_header = request.META.get("HTTP_COOKIE", "")

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer a store error that a view did not catch."""
        return self._unavailable(exception) if isinstance(exception, StoreError) else None

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Save the session and set or remove its cookie, as Django does."""
        session = getattr(request, "session", None)
        if not isinstance(session, SessionStore):
            return super().process_response(request, response)
        try:
            if not (session.accessed or session.modified or settings.SESSION_SAVE_EVERY_REQUEST):
                return response
            response = self._answer(session, request, response)
        finally:
            # Whatever is read while the body is sent comes too late for a cookie.
            session.cookie_header = None
        if session.is_taken_over:
            # A cache may know it by the old cookie, of which there may be a copy.
            patch_cache_control(response, private=True, no_store=True)
        if response.status_code >= 500 or session.is_taken_over:
            _announce_new_key(session, request, response)
        if session.is_taken_over or settings.SESSION_COOKIE_NAME in response.cookies:
            _remove_others(session, response)
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
        if not (session.is_superseded or (session.is_unread and not session.modified)):
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
        max_age=None if session.get_expire_at_browser_close() else session.stored_age,
        domain=settings.SESSION_COOKIE_DOMAIN,
        path=settings.SESSION_COOKIE_PATH,
        secure=settings.SESSION_COOKIE_SECURE or None,
        httponly=settings.SESSION_COOKIE_HTTPONLY or None,
        samesite=settings.SESSION_COOKIE_SAMESITE,
    )


class _Removal(Morsel[str]):
    """A Set-Cookie header among Django's cookies, as it is: Django has room for one of each name only."""

    def __init__(self, header: str) -> None:
        super().__init__()
        name, _, self._attributes = header.partition("=; ")
        self.set(name, "", "")

    def OutputString(self, attrs: object = None) -> str:  # as its base has it
        return f"{self.key}=; {self._attributes}"


def _remove_others(session: SessionStore, response: HttpResponse) -> None:
    """Remove the cookies of other libraries whose sessions were taken over, or are of no use any more."""
    for _, header in session.removals:
        removal = _Removal(header)
        key = header if removal.key in response.cookies else removal.key
        response.cookies[key] = removal
