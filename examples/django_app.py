"""Django: name the engine and the store in the settings, and put our middleware in the place of Django's.

Run ``python examples/django_app.py 8000``, then
``curl -c jar -b jar -X POST 'http://127.0.0.1:8000/login?user=anna'``.
"""

import sys
from html import escape
from wsgiref.simple_server import make_server

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.http import require_POST

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    # Where pages have forms, add Django's CsrfViewMiddleware after it.
    MIDDLEWARE=["wsgi_sessions.integrations.django.SessionMiddleware"],
    SESSION_ENGINE="wsgi_sessions.integrations.django",
    # file: or a database instead, where the server has several processes.
    WSGI_SESSIONS_STORE="memory:",
    # The example speaks plain http; True wherever there is https.
    SESSION_COOKIE_SECURE=False,
)


def index(request):
    visits = request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(f"Visit number {visits} of {escape(request.session.get('user', 'a guest'))}\n")


@require_POST
def login(request):
    # With django.contrib.auth, its login() and logout() do what these two do, and check a password first.
    request.session.cycle_key()  # A new cookie: whoever knows the old one does not get in with us.
    request.session["user"] = request.GET["user"]
    return HttpResponse(f"Welcome, {escape(request.session['user'])}\n")


@require_POST
def logout(request):
    request.session.flush()
    return HttpResponse("Good bye\n")


urlpatterns = [path("", index), path("login", login), path("logout", logout)]
application = get_wsgi_application()


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    make_server("127.0.0.1", port, application).serve_forever()


if __name__ == "__main__":
    main()
