"""Django: ``request.session`` is kept in one of our stores.

Two lines of the settings, and one in ``MIDDLEWARE`` in the place of Django's own, are all it takes::

    SESSION_ENGINE = "wsgi_sessions.integrations.django"
    WSGI_SESSIONS_STORE = "sqlite:////var/lib/app/sessions.db"
    MIDDLEWARE = ["wsgi_sessions.integrations.django.SessionMiddleware", ...]

Django sets and reads the cookie; where an application is only in part Django's,
a SessionMiddleware around the other parts shares the sessions: same store, same cookie name.
"""

try:
    from ._django_middleware import SessionMiddleware
    from ._django_session import SessionStore
    from ._django_store import current_store, legacy_counts
except ImportError as error:
    raise ImportError("the integration needs Django: pip install wsgi-sessions[django]") from error

__all__ = ["SessionMiddleware", "SessionStore", "current_store", "legacy_counts"]
